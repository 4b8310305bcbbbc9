"""The C function pointers, called from C, Fortran, SciPy and threads, against the network."""

import copy
import ctypes
import gc
import os
import pickle
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.registry import cpu_target

import flatprop as fp
from flatprop import kernels
from flatprop.embedding import c_interface
from flatprop.kernels import compile
from flatprop.kernels.embedded import pointers
from flatprop.kernels.embedded.c_functions import FUNCTIONS, arguments
from flatprop.kernels.network.records import LAYER, LOSS_RECORD

pytestmark = pytest.mark.slow  # each function is compiled for C

HERE = Path(__file__).parent
HEADER = Path(fp.get_include()) / "flatprop.h"
DTYPES = ["float32", "float64"]
SUFFIX = {"float32": "f32", "float64": "f64"}
REAL = {"float32": "float", "float64": "double"}
COMPILER = shutil.which("cc") or shutil.which("gcc")
STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-O2"]
STACK = 64 * 1024
needs_compiler = pytest.mark.skipif(
    COMPILER is None or os.name != "posix", reason="there is no C compiler with pthreads here"
)
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
# What float32 is tested with; the rest, of the same source, need not be compiled.
USED = [
    "workspace_size",
    "gradient_workspace_size",
    "forward",
    "loss_and_gradient",
    "hessian_vector_product",
    "update",
    "training_step",
    "sgd_step",
]


def functions(dtype):
    return fp.c_functions(dtype, only=None if dtype == "float64" else USED)


def run(*command, **environment):
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shared_library(path, source, *flags):
    include = ["-I", fp.get_include()]
    run(COMPILER, "-std=c99", *STRICT, *include, *flags, "-shared", "-fPIC", source, "-o", path)
    return path


def test_library(path, dtype, *flags):
    flags = [f"-Dreal={REAL[dtype]}", f"-DNAME(x)=x##_{SUFFIX[dtype]}", f"-DSTACK={STACK}", *flags]
    flags += ["-D_XOPEN_SOURCE=700", "-pthread"]
    return shared_library(path, HERE / "c" / "library.c", *flags)


test_library.__test__ = False


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    folder = tmp_path_factory.mktemp("c")
    return {dtype: test_library(folder / f"{dtype}.so", dtype) for dtype in DTYPES}


def passed(value):
    """A value as an argument of the C library."""
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        return ctypes.c_void_p(value.ctypes.data)
    if isinstance(value, fp.c_interface.CFunctions):
        return ctypes.c_void_p(value.address)
    if isinstance(value, ctypes.Structure):
        return ctypes.byref(value)
    if isinstance(value, float):
        return ctypes.c_double(value)
    return None if value is None else ctypes.c_int64(value)


def call(library, name, *values, result=None, loader=ctypes.CDLL):
    function = getattr(loader(str(library)), name)
    function.restype = result
    return function(*map(passed, values))


def problem(dtype, loss="mse", rows=50, rng=0):
    last = fp.Dense(3, "softmax" if loss == "cross_entropy" else "identity")
    net = fp.Network(5, [fp.Dense(20, "tanh"), fp.Dense(17, "gelu"), last], loss, dtype, rng)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, 5)).astype(dtype)
    if loss == "cross_entropy":
        return net, x, rng.integers(0, 3, (rows, 1)).astype(dtype)
    return net, x, rng.normal(size=(rows, 3)).astype(dtype)


# ---- the header


@needs_compiler
@pytest.mark.parametrize("standard", ["c99", "c11", "c++11", "c++17"])
def test_the_header_compiles_strictly(standard, tmp_path):
    language = "c++" if "++" in standard else "c"
    source = tmp_path / "empty.txt"
    source.write_text('#include "flatprop.h"\n#include "flatprop.h"\nint main(void) { return 0; }')
    if language == "c++" and shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler here")
    run(
        "g++" if language == "c++" else COMPILER,
        *("-x", language, f"-std={standard}"),
        *(*STRICT, "-Wconversion", "-Wshadow"),
        *("-I", fp.get_include(), source, "-o", tmp_path / "program"),
    )


@needs_compiler
@both_dtypes
def test_structs_lie_as_their_records_do(dtype, libraries):
    out = np.zeros(64, np.int64)
    count = call(libraries[dtype], "layouts", out, result=ctypes.c_int)
    expected = []
    for record in (LAYER, LOSS_RECORD, pointers.NETWORK, pointers.OPTIMIZER):
        expected += [record.itemsize, *(record.fields[name][1] for name in record.names)]
    assert out[:count].tolist() == expected
    structs = (
        (c_interface.CNetwork, pointers.NETWORK),
        (c_interface.COptimizer, pointers.OPTIMIZER),
    )
    for struct, record in structs:
        assert tuple(name for name, _ in struct._fields_) == record.names
        assert ctypes.sizeof(struct) == record.itemsize


@needs_compiler
@both_dtypes
def test_the_table_is_the_header_s(dtype, libraries):
    table = functions(dtype)
    assert call(libraries[dtype], "fits", table, result=ctypes.c_int)
    out = np.zeros(64, np.int64)
    count = call(libraries[dtype], "table", table, out, result=ctypes.c_int)
    addresses = [
        ctypes.cast(getattr(table, name), ctypes.c_void_p).value if name in dir(table) else 0
        for name in FUNCTIONS
    ]
    assert out[:count].tolist() == addresses
    assert functions(dtype).address == table.address
    assert f"FLATPROP_ABI_VERSION {c_interface.ABI_VERSION}\n" in HEADER.read_text()


def test_the_header_names_the_arguments_in_their_order():
    text = re.sub(r"\\\n|\s+", " ", HEADER.read_text())
    typedefs = dict(re.findall(r"\(\*flatprop_(\w+)_##suffix\)\((.*?)\);", text))
    found = {}
    for kind, member in re.findall(r"flatprop_(\w+)_##suffix (\w+);", text):
        if kind in typedefs:
            found[member] = [part.split()[-1].strip("*") for part in typedefs[kind].split(",")]
    assert list(found) == list(FUNCTIONS)
    for name in FUNCTIONS:
        assert tuple(found[name]) == arguments(name)


# ---- the functions, one by one


def workspace(table, network, rows):
    return np.full(table.gradient_workspace_size(network, rows), np.nan, table.dtype)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_function_computes_what_the_jitted_one_does(loss, weighted):
    net, x, y = problem("float64", loss)
    rng = np.random.default_rng(2)
    rows, columns, size = len(x), y.shape[1], net.params.size
    weight = rng.uniform(0.5, 2, rows) if weighted else None
    v, dL_dy = rng.normal(size=size), rng.normal(size=(rows, 3))
    table, network = fp.c_functions("float64"), fp.c_network(net)
    space = workspace(table, network, rows)
    nothing = np.zeros((rows, 5)), np.zeros(size)
    cases = {  # what C gets between network and workspace, the jitted function, its results
        "forward": ((rows, x), (x,), [(rows, 3)]),
        "loss": ((rows, x, y, columns, weight), (x, y, weight), []),
        "loss_and_gradient": ((rows, x, y, columns, weight), (x, y, weight), [size]),
        "vjp": ((rows, x, dL_dy), (x, dL_dy), [(rows, 5), size]),
        "jacobian": ((rows, x), (x,), [(3 * rows, 5)]),
        "parameter_jacobian": ((rows, x), (x,), [(3 * rows, size)]),
        "per_sample_gradients": ((rows, x, y, columns), (x, y), [(rows, size)]),
        "hessian_vector_product": ((v, rows, x, y, columns, weight), (v, x, y, weight), [size]),
        "gauss_newton_vector_product": (
            (v, rows, x, y, columns, weight),
            (v, x, y, weight),
            [size],
        ),
    }
    for name, (given, jitted, shapes) in cases.items():
        actual, expected = ([np.zeros(shape) for shape in shapes] for _ in range(2))
        value = getattr(table, name)(network, *given, *actual, space)
        records = (net.layers, net.objectives) if "y" in arguments(name) else (net.layers,)
        wanted = getattr(kernels, name)(*records, net.params, *jitted, *expected, space)
        assert value == wanted, name
        for one, other in zip(actual, expected, strict=True):
            assert np.array_equal(one, other), name
            assert one.any(), name
    only = np.zeros(size)
    table.vjp(network, rows, x, dL_dy, None, only, space)
    assert np.array_equal(only, net.vjp(x, dL_dy)[1])
    table.vjp(network, rows, x, dL_dy, nothing[0], None, space)
    assert np.array_equal(nothing[0], net.vjp(x, dL_dy)[0])
    for name in ("workspace_size", "gradient_workspace_size"):
        assert getattr(table, name)(network, rows) == getattr(kernels, name)(net.layers, rows)


@needs_compiler
@both_dtypes
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_forward_from_c(dtype, rows, libraries):
    net, x, _ = problem(dtype, rows=rows)
    out = np.full((rows, 3), np.nan, dtype)
    call(libraries[dtype], "forward", functions(dtype), fp.c_network(net), rows, x, out)
    assert np.array_equal(out, net.predict(x))


# ---- training


@needs_compiler
@both_dtypes
def test_gradient_descent_written_in_c(dtype, libraries):
    net, x, y = problem(dtype)
    twins = net.copy(), net.copy()
    steps, rate = 40, 0.05
    losses, fused = np.zeros(steps), np.zeros(steps)
    data = len(x), x, y, rate, steps
    c, trained = libraries[dtype], [fp.c_network(twin) for twin in twins]
    call(c, "descend", functions(dtype), trained[0], *data, losses)
    call(c, "descend_fused", functions(dtype), trained[1], *data, fused)
    options = {"optimizer": fp.SGD(rate), "batch_size": None, "shuffle": False}
    history = net.fit(x, y, epochs=steps, **options)
    assert np.array_equal(twins[1].params, net.params)
    assert np.array_equal(fused, history.loss)
    assert losses[-1] < 0.9 * losses[0]
    # the C compiler rounds lr · g before it takes it off
    tolerance = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(twins[0].params, net.params, tolerance, tolerance)
    np.testing.assert_allclose(losses, history.loss, tolerance)


@needs_compiler
@both_dtypes
@pytest.mark.parametrize("in_two", [False, True], ids=["training_step", "gradient and update"])
@pytest.mark.parametrize("optimizer", ["adam", fp.SGD(0.1, momentum=0.9), fp.RMSprop(1e-3)])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_mini_batches_from_c_are_fit_s(dtype, in_two, optimizer, loss, libraries):
    net, x, y = problem(dtype, loss)
    trained, epochs = net.copy(), 12
    losses = np.zeros(epochs)
    network, rule = fp.c_network(trained), fp.c_optimizer(optimizer, trained)
    data = len(x), x, y, y.shape[1], None, 16, epochs, int(in_two)
    call(libraries[dtype], "train", functions(dtype), network, rule, *data, losses)
    target = y[:, 0].astype(int) if loss == "cross_entropy" else y
    history = net.fit(x, target, optimizer=optimizer, epochs=epochs, batch_size=16, shuffle=False)
    assert np.array_equal(trained.params, net.params)
    np.testing.assert_allclose(losses, history.loss, 1e-12)
    assert losses[-1] < losses[0]
    assert rule.arrays.settings[0] == 4 * epochs  # updates


@needs_compiler
def test_weights_from_c(libraries):
    net, x, y = problem("float64")
    trained, weight = net.copy(), np.random.default_rng(3).uniform(0, 2, len(x))
    losses = np.zeros(5)
    network, rule = fp.c_network(trained), fp.c_optimizer(fp.Adam(0.01), trained)
    data = len(x), x, y, 3, weight, len(x), 5, 0
    call(libraries["float64"], "train", functions("float64"), network, rule, *data, losses)
    options = {"batch_size": None, "shuffle": False, "sample_weight": weight}
    history = net.fit(x, y, optimizer=fp.Adam(0.01), epochs=5, **options)
    assert np.array_equal(trained.params, net.params)
    np.testing.assert_allclose(losses, history.loss, 1e-12)


def symbols_of_python(compiled):
    """What of Python's and of Numba's runtime the machine code of a C function refers to."""
    cache = compiled._cache
    key = cache._index_key(compiled._sig, cpu_target.target_context.codegen())
    library, *_ = cache._cache_file.load(key)
    _, kind, (code, _) = library
    assert kind == "object"
    return {name.decode() for name in re.findall(rb"(?:NRT|numba|Py[A-Z]?[a-z]*)_\w+", code)}


def test_no_function_refers_to_python():
    assert fp.c_functions("float64").address
    assert fp.low_level_callable(fp.Network(1, [fp.Dense(1)]))
    for (function, *_), compiled in compile._c_functions.items():
        assert not symbols_of_python(compiled), function


@compile.kernel
def divide(x):
    if x == 0:
        raise ZeroDivisionError
    return 1 / x


def raises(x):
    return divide(x)


def test_one_that_raises_would():
    compile.c_address(raises, numba.float64, (numba.float64,))
    compiled = compile._c_functions.pop((raises, numba.float64, (numba.float64,)))
    assert {"numba_gil_ensure", "PyErr_WriteUnraisable"} <= symbols_of_python(compiled)


COUNT = """
import ctypes, sys
import numpy as np
import flatprop as fp
library = ctypes.CDLL(sys.argv[1])
library.train.restype = library.allocations_so_far.restype = ctypes.c_long
before = library.allocations_so_far()
net = fp.Network(5, [fp.Dense(20, "tanh"), fp.Dense(200, "relu"), fp.Dense(3)], dtype="float64")
assert library.allocations_so_far() > before  # the counter counts
x, y, losses = np.ones((50, 5)), np.ones((50, 3)), np.zeros(20)
table = fp.c_functions("float64", ["gradient_workspace_size", "training_step"])
network, rule = fp.c_network(net), fp.c_optimizer("adam", net)
data = [ctypes.c_void_p(array.ctypes.data) for array in (x, y)]
i = ctypes.c_int64
structs = ctypes.c_void_p(table.address), ctypes.byref(network), ctypes.byref(rule)
print(library.train(*structs, i(50), *data, i(3), None, i(16), i(20), i(0),
                    ctypes.c_void_p(losses.ctypes.data)))
assert losses[-1] < losses[0]
"""


@needs_compiler
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="preloads a malloc of glibc's")
def test_training_from_c_allocates_nothing(tmp_path):
    path = test_library(tmp_path / "counting.so", "float64", "-DCOUNT_ALLOCATIONS")
    assert run(sys.executable, "-W", "error", "-c", COUNT, path, LD_PRELOAD=str(path)) == "0\n"


@needs_compiler
def test_the_example_of_the_documentation(tmp_path):
    library = shared_library(tmp_path / "example.so", HERE / "c" / "example.c")
    net, x, y = problem("float64")
    table, network = fp.c_functions("float64"), fp.c_network(net)
    optimizer = fp.c_optimizer(fp.Adam(0.01), net)
    before, twin = net.loss(x, y), net.copy()
    values = table, network, optimizer, len(x), x, y, 100
    assert call(library, "train", *values, result=ctypes.c_int) == 0
    assert net.loss(x, y) < before / 2
    twin.fit(x, y, optimizer=fp.Adam(0.01), epochs=100, batch_size=None)
    assert np.array_equal(twin.params, net.params)


# ---- functions written in C


@numba.njit
def cubic(z):
    return z + z**3 / 4, 1 + 3 * z * z / 4


@numba.njit
def quartic(prediction, y):
    return (prediction - y) ** 4, 4 * (prediction - y) ** 3


@needs_compiler
@both_dtypes
def test_an_activation_and_a_loss_written_in_c(dtype, libraries):
    net, x, y = problem(dtype)
    net.params[:] *= 0.5
    layers = [fp.Dense(20, cubic), fp.Dense(17, cubic), fp.Dense(3)]
    jitted = fp.Network(5, layers, fp.losses.Own(quartic), dtype)
    jitted.params = net.params
    v = np.random.default_rng(5).normal(size=net.params.size).astype(dtype)
    gradient, product = np.zeros((2, v.size), dtype)
    data = len(x), x, y, v, gradient, product
    structs = functions(dtype), fp.c_network(net)
    loss = call(libraries[dtype], "with_own", *structs, *data, result=ctypes.c_double)
    # half of the divisor is mse's, which the record in C keeps
    expected, slope = jitted.loss_and_gradient(x, y)
    curved = jitted.hessian_vector_product(x, y, v)
    scale = jitted.objectives[0]["divisor"] / net.objectives[0]["divisor"]
    tolerance = 200 * np.finfo(dtype).eps
    np.testing.assert_allclose(loss, expected * scale, tolerance)
    for actual, wanted in ((gradient, slope), (product, curved)):
        np.testing.assert_allclose(
            actual, wanted * scale, tolerance, tolerance * abs(wanted).max()
        )


def test_c_reads_own_functions_as_the_header_says():
    layers = [fp.Dense(20, cubic), fp.Dense(3)]
    net = fp.Network(5, layers, fp.losses.Own(quartic), "float64", rng=0)
    table, network = (
        fp.c_functions("float64", only=["workspace_size", "forward"]),
        fp.c_network(net),
    )
    for records, name in zip(network.records, ("activation", "loss"), strict=True):
        assert records[name][0] == -1  # FLATPROP_OWN
        assert records["function"][0] != 0
    assert network.layers == network.records[0].ctypes.data
    assert network.objective == network.records[1].ctypes.data
    x, out = np.linspace(-1, 1, 20).reshape(4, 5), np.empty((4, 3))
    table.forward(network, 4, x, out, np.empty(table.workspace_size(network, 4)))
    np.testing.assert_allclose(out, net.predict(x), rtol=1e-13)


# ---- threads


@needs_compiler
@both_dtypes
@pytest.mark.parametrize("loader", [ctypes.CDLL, ctypes.PyDLL])
def test_eight_pthreads_compute_what_one_does(dtype, loader, libraries):
    """Under PyDLL this thread holds the interpreter's lock until all of them are done."""
    rows, threads = 33, 8
    net, x, y = problem(dtype, rows=threads * rows)
    out, gradients = np.zeros_like(y), np.zeros((threads, net.params.size), dtype)
    losses = np.zeros(threads)
    data = rows, x, y, 300, out, gradients, losses
    structs = functions(dtype), fp.c_network(net)
    code = call(
        libraries[dtype],
        "in_threads",
        *structs,
        threads,
        *data,
        result=ctypes.c_int,
        loader=loader,
    )
    assert code == 0
    for i in range(threads):
        part = slice(i * rows, (i + 1) * rows)
        assert np.array_equal(out[part], net.predict(x[part]))
        loss, gradient = net.loss_and_gradient(x[part], y[part])
        assert losses[i] == loss
        assert np.array_equal(gradients[i], gradient)


def test_eight_python_threads_at_once():
    net, x, y = problem("float64", rows=40)
    table, network = fp.c_functions("float64"), fp.c_network(net)

    def work(seed):
        rows = np.random.default_rng(seed).permutation(len(x))
        one, other = x[rows], y[rows]
        gradient, space = np.zeros(net.params.size), workspace(table, network, len(x))
        for _ in range(200):
            loss = table.loss_and_gradient(network, 40, one, other, 3, None, gradient, space)
        return loss, gradient, net.loss_and_gradient(one, other)

    with ThreadPoolExecutor(8) as pool:
        for loss, gradient, (expected, slope) in pool.map(work, range(24)):
            assert loss == expected
            assert np.array_equal(gradient, slope)


# ---- Fortran


@pytest.mark.skipif(shutil.which("gfortran") is None, reason="there is no gfortran here")
def test_training_from_fortran(tmp_path):
    library = tmp_path / "training.so"
    flags = ["-std=f2008", "-Wall", "-Wextra", "-Werror", "-J", tmp_path, "-shared", "-fPIC"]
    run("gfortran", *flags, HERE / "c" / "training.f90", "-o", library)
    net, x, y = problem("float64")
    trained, steps = net.copy(), 30
    losses, out = np.zeros(steps), np.zeros((len(x), 3))
    structs = functions("float64"), fp.c_network(trained)
    call(library, "train", *structs, len(x), x, y, 0.05, steps, losses, out)
    options = {"optimizer": fp.SGD(0.05), "batch_size": None, "shuffle": False}
    history = net.fit(x, y, epochs=steps, **options)
    assert np.array_equal(losses, history.loss)
    assert np.array_equal(trained.params, net.params)
    assert np.array_equal(out, net.predict(x))


# ---- in Python


def test_what_does_not_fit_is_refused():
    net, x, _ = problem("float64")
    table, network = fp.c_functions("float64"), fp.c_network(net)
    out, space = np.zeros((len(x), 3)), workspace(table, fp.c_network(net), len(x))
    frozen = out.copy()
    frozen.flags.writeable = False
    single, _, _ = problem("float32")
    cases = [
        ((net, 50, x, out, space), "network must be what flatprop.c_network gives"),
        ((fp.c_network(single), 50, x, out, space), "for float64, but network is of float32"),
        ((network, 50.0, x, out, space), "argument 2"),
        ((network, 50, x.astype("float32"), out, space), "x must be a C-contiguous array"),
        ((network, 50, x[:, ::2], out, space), "x must be a C-contiguous array of float64"),
        ((network, 50, x.tolist(), out, space), "x must be an array of float64"),
        ((network, 50, None, out, space), "x must be an array of float64, got None"),
        ((network, 50, x, frozen, space), "out is overwritten, but the array is read-only"),
    ]
    for given, message in cases:
        with pytest.raises(ctypes.ArgumentError, match=re.escape(message)):
            table.forward(*given)
    assert not out.any()


def test_bad_requests():
    net = fp.Network(1, [fp.Dense(1)])
    with pytest.raises(ValueError, match='dtype must be "float32" or "float64"'):
        fp.c_functions("float16")
    with pytest.raises(ValueError, match=r"unknown function 'forwards'\. Did you mean 'forward'"):
        fp.c_functions("float32", only=["forwards"])
    with pytest.raises(TypeError, match=re.escape('write only=["forward"]')):
        fp.c_functions("float32", only="forward")
    with pytest.raises(AttributeError, match="no C function 'backward'; workspace_size"):
        _ = fp.c_functions("float32").backward
    with pytest.raises(TypeError, match=r"takes a flatprop\.Network"):
        fp.c_network(net.layers)
    with pytest.raises(TypeError, match=r"takes a flatprop\.Network"):
        fp.c_optimizer("adam", net.params)
    with pytest.raises(ValueError, match="Did you mean 'adam'"):
        fp.c_optimizer("adan", net)
    with pytest.raises(ValueError, match="output is 1, but the network has 1"):
        fp.low_level_callable(net, output=1)
    with pytest.raises(ValueError, match="unknown kind"):
        fp.low_level_callable(net, "integrands")


def test_a_struct_keeps_its_network_alive_and_shares_its_parameters():
    net, x, _ = problem("float64")
    network = fp.c_network(net)
    expected = net.predict(x)
    table, out = fp.c_functions("float64"), np.zeros((len(x), 3))
    del net
    gc.collect()
    space = workspace(table, network, len(x))
    table.forward(network, len(x), x, out, space)
    assert np.array_equal(out, expected)
    network.network.params[:] = 0
    table.forward(network, len(x), x, out, space)
    assert not out.any()


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_network_with_a_struct_is_still_copied(twin_of):
    net, x, _ = problem("float64")
    network = fp.c_network(net)
    twin = twin_of(net)
    twin.params[:] += 1
    assert network.params == net.params.ctypes.data != fp.c_network(twin).params
    assert not np.array_equal(net.predict(x), twin.predict(x))


def test_what_can_be_pickled():
    table = fp.c_functions("float64", only=["forward"])
    twin = pickle.loads(pickle.dumps(table))
    assert twin.address == table.address
    with pytest.raises(ValueError, match="pointers cannot be pickled"):
        pickle.dumps(fp.c_network(fp.Network(1, [fp.Dense(1)])))


FROM_CACHE = """
from numba.core import event
import flatprop as fp

with event.install_recorder("numba:compile") as recorder:
    table = fp.c_functions("float64", only=["forward", "workspace_size"])
    assert table.address
print(len(recorder.buffer))
"""


def test_the_second_process_compiles_nothing(tmp_path):
    first, second = (
        run(sys.executable, "-c", FROM_CACHE, NUMBA_CACHE_DIR=str(tmp_path)) for _ in "12"
    )
    assert int(first) > 0
    assert int(second) == 0


# ---- SciPy


def integrand(net, output=0):
    return lambda *x: float(net.predict([x])[0, output])


def test_quad_of_a_network():
    from scipy.integrate import quad

    net = fp.Network(1, [fp.Dense(1, "exp"), fp.Dense(2)], dtype="float64")
    net.params = [0.7, 0.2, 3.0, -2.0, 0.5, 0.25]  # 3 e^(0.7 x + 0.2) + 0.5, -2 e^... + 0.25
    area = (np.exp(1.6) - np.exp(0.2)) / 0.7  # from 0 to 2
    for output, exact in enumerate([3 * area + 1, -2 * area + 0.5]):
        callback = fp.low_level_callable(net, output=output)
        gc.collect()
        assert quad(callback, 0, 2)[0] == pytest.approx(exact, rel=1e-14)


@both_dtypes
def test_integrals_of_networks_of_several_inputs(dtype):
    from scipy.integrate import dblquad, nquad, quad

    net = fp.Network(2, [fp.Dense(6, "tanh"), fp.Dense(1)], dtype=dtype, rng=3)
    callback = fp.low_level_callable(net)
    options = {"epsabs": 1e-4, "epsrel": 1e-4}
    assert dblquad(callback, 0, 1, -1, 2, **options) == dblquad(
        integrand(net), 0, 1, -1, 2, **options
    )
    ranges = [[-1, 2], [0, 1]]
    assert nquad(callback, ranges, opts=options) == nquad(integrand(net), ranges, opts=options)
    one = quad(callback, 0, 1, args=(0.5,), **options)
    assert one == quad(integrand(net), 0, 1, args=(0.5,), **options)


def test_another_number_of_values_gives_nan():
    from scipy.integrate import IntegrationWarning, quad

    callback = fp.low_level_callable(fp.Network(2, [fp.Dense(1)], rng=0))
    with pytest.warns(IntegrationWarning):
        assert np.isnan(quad(callback, 0, 1)[0])


@both_dtypes
def test_a_network_as_a_filter(dtype):
    from scipy.ndimage import generic_filter

    net = fp.Network(9, [fp.Dense(12, "relu"), fp.Dense(2)], dtype=dtype, rng=0)
    image = np.random.default_rng(0).normal(size=(12, 9))
    callback = fp.low_level_callable(net, "filter", output=1)
    actual = generic_filter(image, callback, size=3)
    expected = generic_filter(image, lambda x: integrand(net, 1)(*x), size=3)
    assert np.array_equal(actual, expected)
    assert np.isnan(generic_filter(image, callback, size=2)).all()


def test_a_callback_is_for_one_thread_and_threads_have_their_own():
    from scipy.integrate import quad

    net = fp.Network(1, [fp.Dense(40, "tanh"), fp.Dense(1)], dtype="float64", rng=0)
    expected = quad(integrand(net), 0, 3)

    def work(_):
        return quad(fp.low_level_callable(net), 0, 3)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(64))) == {expected}


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match="pip install scipy"):
        fp.low_level_callable(fp.Network(1, [fp.Dense(1)]))
