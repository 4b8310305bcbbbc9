"""The functions for C: their header, what they compute, C and Fortran that call them."""

import ctypes
import platform
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.registry import cpu_target

import flatprop as fp
from c_library import (
    DTYPES,
    STRICT,
    both_dtypes,
    call,
    compiled_library,
    functions,
    problem,
    shared_library,
    workspace,
)
from compilers import COMPILER
from compilers import needs_posix_compiler as needs_compiler
from flatprop import kernels
from flatprop.embedding import c_interface
from flatprop.kernels import compile
from flatprop.kernels.embedded import pointers
from flatprop.kernels.embedded.linking import C_FUNCTIONS
from flatprop.kernels.embedded.roles import FUNCTIONS
from flatprop.kernels.network.records import LAYER, LOSS_RECORD
from own_functions import quartic
from processes import TESTS, run

pytestmark = pytest.mark.slow  # each function is compiled for C

HEADER = Path(fp.get_include()) / "flatprop.h"


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    folder = tmp_path_factory.mktemp("c")
    return {dtype: compiled_library(folder / f"{dtype}.so", dtype) for dtype in DTYPES}


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
        assert tuple(found[name]) == FUNCTIONS[name].c_arguments


# ---- the functions, one by one


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
        records = (
            (net.layers, net.objectives) if "y" in FUNCTIONS[name].arguments else (net.layers,)
        )
        wanted = getattr(kernels, name)(*records, net.params, *jitted, *expected, space)
        assert value == wanted, name
        for one, other in zip(actual, expected, strict=True):
            assert np.array_equal(one, other), name
            assert one.any(), name
    directions = rng.normal(size=(2, 5))
    du, d2u, empty = np.zeros((2 * rows, 3)), np.zeros((2 * rows, 3)), np.zeros((0, 3))
    space = np.empty(table.derivatives_workspace_size(network, rows, 2))
    assert space.size == kernels.derivatives_workspace_size(net.layers, rows, 2)
    u = np.zeros((rows, 3))
    table.derivatives(network, rows, x, 2, directions, u, du, d2u, space)
    expected = net.derivatives(x, directions)
    for ours, theirs in zip((u, du, d2u), expected, strict=True):
        assert np.array_equal(ours, theirs.reshape(-1, 3))
    table.derivatives(network, rows, x, 2, directions, u, d2u, None, space)
    assert np.array_equal(du, d2u)
    for second, wanted in ((None, empty), (d2u, d2u)):
        actual, expected = np.zeros(size), np.zeros(size)
        table.derivatives_vjp(network, rows, x, 2, directions, u, du, second, actual, space)
        kernels.derivatives_vjp(
            net.layers, net.params, x, directions, u, du, wanted, expected, space
        )
        assert np.array_equal(actual, expected)
        assert actual.any()
    space = np.empty(table.hessian_workspace_size(network, rows))
    assert space.size == kernels.hessian_workspace_size(net.layers, rows)
    actual, expected = np.zeros((2, rows * 3, 25))
    table.hessian(network, rows, x, actual, space)
    kernels.hessian(net.layers, net.params, x, expected, space)
    assert np.array_equal(actual, expected)
    space = workspace(table, network, rows)
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


def test_no_function_refers_to_python(monkeypatch):
    monkeypatch.setattr(compile, "_c_functions", {})  # without what other tests have compiled
    for function in C_FUNCTIONS.values():  # those of the table, and the checks
        assert function.address(np.dtype("float64"))
    assert fp.low_level_callable(fp.Network(1, [fp.Dense(1)]))
    assert len(compile._c_functions) > len(C_FUNCTIONS)
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
    path = compiled_library(tmp_path / "counting.so", "float64", "-DCOUNT_ALLOCATIONS")
    assert run(sys.executable, "-W", "error", "-c", COUNT, path, LD_PRELOAD=str(path)) == "0\n"


@needs_compiler
def test_the_example_of_the_documentation(tmp_path):
    library = shared_library(tmp_path / "example.so", TESTS / "c" / "example.c")
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


@numba.njit
def sum_to_the_fourth(prediction, y, slope):
    off = prediction.sum() - y[0]
    slope[:] = 4 * off**3
    return off**4


@needs_compiler
@both_dtypes
def test_a_loss_of_rows_written_in_c(dtype, libraries):
    net, x, y = problem(dtype)
    net.params[:] *= 0.5
    jitted = fp.Network(5, net.dense, fp.losses.Row(sum_to_the_fourth, targets=1), dtype)
    jitted.params, target = net.params, np.ascontiguousarray(y[:, :1])
    v = np.random.default_rng(5).normal(size=net.params.size).astype(dtype)
    gradient, product = np.zeros((2, v.size), dtype)
    structs = functions(dtype), fp.c_network(net)
    data = len(x), x, target, v, gradient, product
    loss = call(libraries[dtype], "with_own_row", *structs, *data, result=ctypes.c_double)
    expected, slope = jitted.loss_and_gradient(x, target)
    curved = jitted.hessian_vector_product(x, target, v)
    tolerance = 300 * np.finfo(dtype).eps
    np.testing.assert_allclose(loss, expected, tolerance)
    for actual, wanted in ((gradient, slope), (product, curved)):
        np.testing.assert_allclose(
            actual, wanted, max(tolerance, 1e-9), max(tolerance, 1e-9) * abs(wanted).max()
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
    run("gfortran", *flags, TESTS / "c" / "training.f90", "-o", library)
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
