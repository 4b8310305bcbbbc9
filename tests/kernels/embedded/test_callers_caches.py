"""What a user's own cached functions, and other processes, hold of the package."""

import os
import pickle
import shutil
import textwrap

import numpy as np
import pytest

import flatprop as fp
from own_functions import squared, swish
from processes import PACKAGE, PATH, edit, python, user

pytestmark = pytest.mark.slow  # each test compiles, most of them in processes of their own


# ---- users' cached functions, which hold code of the package

USER = """
import sys, warnings
import numba, numpy as np
import flatprop as fp

name, loss, rows, dtype = sys.argv[1:5]
net = fp.Network(2, [fp.Dense(2, name), fp.Dense(1)], loss=loss, dtype=dtype, rng=0)
s = fp.specialize(net, batch_size=int(rows) or None)
layers, objectives = net.layers, net.objectives
pair = layers, objectives

@numba.njit(cache=True)
def specialised(params, x, y, out):
    s.forward(params, x, out)
    return s.sgd_steps(params, x, y, None, 0.0, 2)

@numba.njit(cache=True)
def through_another(params, x, y, out):
    return specialised(params, x, y, out)

@numba.njit(cache=True)
def frozen(params, x, y, out):
    return layers[0].activation + 100 * objectives[0].loss

@numba.njit(cache=True)
def frozen_in_a_tuple(params, x, y, out):
    return pair[0][0].activation + 100 * pair[1][0].loss

x = np.array([[-1.0, 0.3], [2.0, 0.7], [0.5, -3.0]], dtype)
y, out = np.ones((3, 1), dtype), np.empty((3, 1), dtype)
codes = layers["activation"][0] + 100 * objectives["loss"][0]
for function in (specialised, through_another, frozen, frozen_in_a_tuple):
    out[:] = np.nan
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = function(net.params, x, y, out)
    if "frozen" in function.__name__:
        assert value == codes, function
    else:
        assert np.allclose(out, net.predict(x), rtol=1e-5), function
        assert np.isclose(value, net.loss(x, y), rtol=1e-5), function
    assert any("Cannot cache" in str(warning.message) for warning in caught), function
    assert not function.stats.cache_hits
"""


def test_a_user_s_cached_function_has_the_network_of_its_process(tmp_path):
    script = tmp_path / "user.py"
    script.write_text(USER)
    for network in (
        ("tanh", "mse", "0", "float32"),
        ("sigmoid", "mse", "0", "float32"),
        ("sigmoid", "ssr", "3", "float32"),
    ):
        user(script, {}, *network)


CALLER = """
import numba, numpy as np
import flatprop as fp
from flatprop import kernels

@numba.njit(cache=True)
def forward(layers, params, x, out, workspace):
    kernels.forward(layers, params, x, out, workspace)

@numba.njit(cache=True)
def outer(layers, params, x, out, workspace):
    forward(layers, params, x, out, workspace)

@numba.njit(cache=True)
def size(layers, rows):
    return kernels.workspace_size(layers, rows)

net = fp.Network(1, [fp.Dense(1, "leaky_relu")], dtype="float64")
net.params = [1.0, 0.0]
x, out, workspace = np.array([[-1.0]]), np.empty((1, 1)), np.empty(size(net.layers, 1))
outer(net.layers, net.params, x, out, workspace)
print(out[0, 0], outer.stats.cache_hits.total(), size.stats.cache_hits.total())
"""


def test_a_user_s_cached_function_is_compiled_anew_after_an_upgrade(copy_of_package, tmp_path):
    environment, folder = copy_of_package
    script = tmp_path / "user.py"
    script.write_text(CALLER)
    assert user(script, environment) == ["-0.01", "0", "0"]
    assert user(script, environment) == ["-0.01", "1", "1"]
    edit(folder)
    assert user(script, environment) == ["-0.5", "0", "0"]
    assert user(script, environment) == ["-0.5", "1", "1"]


EVERY_WAY = """
import os, sys, threading
import numba, numpy as np
from numba import carray, types
import flatprop as fp
from flatprop import kernels
from flatprop.kernels import checked

net = fp.Network(2, [fp.Dense(3, "leaky_relu"), fp.Dense(2)], dtype="float64", rng=0)
net.params = np.linspace(-1, 1, net.params.size)
LAYER, rows = net.layers.dtype, 5
x = np.linspace(-2, 2, 2 * rows).reshape(rows, 2)
size = kernels.gradient_workspace_size(net.layers, rows)

@numba.njit(cache=True)
def one(layers, params, x, out, workspace):
    kernels.forward(layers, params, x, out, workspace)

@numba.njit(cache=True)
def two(layers, params, x, out, workspace):
    one(layers, params, x, out, workspace)

@numba.njit(cache=True)
def three(layers, params, x, out, workspaces):
    two(layers, params, x, out, workspaces[0])

@numba.njit(cache=True, parallel=True)
def beside(layers, params, x, out, workspaces):
    for i in numba.prange(len(x)):
        kernels.forward(layers, params, x[i : i + 1], out[i : i + 1], workspaces[i])

@numba.njit(cache=True, parallel=True)
def beside_through_others(layers, params, x, out, workspaces):
    for i in numba.prange(len(x)):
        two(layers, params, x[i : i + 1], out[i : i + 1], workspaces[i])

@numba.njit(cache=True)
def with_checks(layers, params, x, out, workspaces):
    checked.forward(layers, params, x, out, workspaces[0])

signature = types.void(*[types.CPointer(types.float64)] * 4, types.voidptr, types.intp, types.intp)

@numba.cfunc(signature, cache=True)
def from_c(params, x, out, workspace, layers, n_layers, n_params):
    layers, params = carray(layers, (n_layers,), LAYER), carray(params, (n_params,))
    x, out = carray(x, (5, 2)), carray(out, (5, 2))
    kernels.forward(layers, params, x, out, carray(workspace, (1000,)))

def pointers(layers, params, x, out, workspaces):
    arrays = (a.ctypes.data_as(kind) for a, kind in zip((params, x, out, workspaces), argtypes))
    from_c.ctypes(*arrays, layers.ctypes.data, layers.size, params.size)

argtypes = from_c.ctypes.argtypes
functions = {f.__name__: f for f in (three, beside, beside_through_others, with_checks)}
chosen = sys.argv[2]
call = functions.get(chosen, pointers)

def work():
    out, workspaces = np.full((rows, 2), np.nan), np.empty((rows, max(size, 1000)))
    call(net.layers, net.params, x, out, workspaces)
    assert np.array_equal(out, net.predict(x)), out
    hits = call.stats.cache_hits.total() if chosen in functions else from_c.cache_hits
    print(out.tobytes().hex(), hits, flush=True)

if sys.argv[1] == "here":
    work()
elif sys.argv[1] == "thread":
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
else:
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture(scope="module")
def editions(tmp_path_factory):
    """The environments of two editions of the package, which share the caches of users."""
    folder = tmp_path_factory.mktemp("editions")
    shutil.copytree(PACKAGE, folder / "flatprop", ignore=shutil.ignore_patterns("__pycache__"))
    edit(folder / "flatprop")
    one = {"NUMBA_NUM_THREADS": "2"}
    return one, {**one, "PYTHONPATH": str(folder)}


def forks(caller):
    return pytest.param(
        caller, "child", marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
    )


@pytest.mark.parametrize(
    ("caller", "where"),
    [
        ("three", "here"),
        ("beside", "here"),
        ("beside_through_others", "here"),
        ("with_checks", "here"),
        ("from_c", "here"),
        ("beside", "thread"),
        forks("beside_through_others"),
        forks("with_checks"),
    ],
)
def test_every_cached_caller_finds_the_functions_of_its_process(caller, where, editions, tmp_path):
    """Callers of callers, parallel loops, C callbacks; the first call in a thread or a child."""
    script = tmp_path / "user.py"
    script.write_text(EVERY_WAY)
    old, new = editions
    (first, hits), (again, found) = (user(script, old, where, caller) for _ in range(2))
    assert (again, hits, found) == (first, "0", "1")
    other, hits = user(script, new, where, caller)
    assert other != first
    assert hits == "0"


GUFUNC = """
import sys
import numba, numpy as np
import flatprop as fp
from flatprop import kernels

if sys.argv[1:]:
    numba.njit(lambda: 1)()  # the functions that follow get other numbers

net = fp.Network(2, [fp.Dense(3, "leaky_relu"), fp.Dense(2)], dtype="float64", rng=0)
net.params = np.linspace(-1, 1, net.params.size)
LAYER = net.layers.dtype

@numba.guvectorize("(f8[:], f8[:], u1[:], f8[:], f8[:])", "(n),(p),(b),(m)->(m)", cache=True)
def outputs(x, params, layers, like, out):
    x, params, layers = x.copy(), params.copy(), layers.copy().view(LAYER)
    y = np.empty((1, out.size))
    kernels.forward(layers, params, x.reshape(1, x.size), y, np.empty(1000))
    out[:] = y[0]

x = np.linspace(-2, 2, 10).reshape(5, 2)
found = outputs(x, net.params, np.frombuffer(net.layers.tobytes(), np.uint8), np.zeros(2))
assert np.allclose(found, net.predict(x), rtol=1e-12)
print(found.tobytes().hex())
"""


def test_a_cached_gufunc_s_wrapper_is_compiled_anew_after_an_upgrade(editions, tmp_path):
    script = tmp_path / "gufunc.py"
    script.write_text(GUFUNC)
    old, new = editions
    first = user(script, old)
    assert user(script, old) == first
    other = user(script, new, "numbered differently")
    assert other != first
    assert user(script, new, "numbered differently") == other


FIRST_CALL = """
import numba, numpy as np
from numba.core import event
import flatprop as fp
from flatprop import kernels
from flatprop.kernels import checked

@numba.njit
def caller(layers, objectives, params, x, y, dL_dx, gradient, optimizer, workspace):
    size = kernels.gradient_workspace_size(layers, len(x))
    kernels.vjp(layers, params, x, y, dL_dx, gradient, workspace[:size])
    return checked.training_step(
        layers, objectives, params, x, y, None, optimizer, gradient, workspace
    )

@numba.njit(parallel=True)
def beside(layers, params, x, out, workspaces):
    for i in numba.prange(len(x)):
        kernels.forward(layers, params, x[i : i + 1], out[i : i + 1], workspaces[i])

net = fp.Network(2, [fp.Dense(3, "tanh"), fp.Dense(1)], dtype="float64", rng=0)
x, y, workspaces = np.ones((4, 2)), np.ones((4, 1)), np.empty((4, 1000))
gradient, state = np.zeros_like(net.params), fp.Adam().start(net.params)
rest = x, y, np.empty_like(x), gradient, state, workspaces[0]
with event.install_recorder("numba:compile") as recorder:
    caller(net.layers, net.objectives, net.params, *rest)
    beside(net.layers, net.params, x, y, workspaces)
print(*sorted({entry.data["dispatcher"].__name__ for _, entry in recorder.buffer}))
"""


def test_a_user_s_function_compiles_nothing_but_itself(tmp_path):
    environment = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert "vjp" in python(FIRST_CALL, **environment).split()
    # The lambda is how compiled code finds a function of sizes, which Python computes itself.
    assert python(FIRST_CALL, **environment).split() == ["<lambda>", "beside", "caller"]


# ---- records of another process

ELSEWHERE = textwrap.dedent("""
    import pickle, sys
    import numpy as np
    from flatprop import kernels
    from flatprop.kernels import checked
    nets, params, x, y = pickle.loads(sys.stdin.buffer.read())
    for layers, objectives in nets:
        for records in layers, objectives:
            records.flags.writeable = False  # one type: nothing is compiled twice
        workspace = np.empty(kernels.gradient_workspace_size(layers, 4))
        out, gradient = np.zeros((4, 2)), np.zeros_like(params)
        kernels.forward(layers, params, x, out, workspace)
        arguments = layers, objectives, params, x, y, None, gradient, workspace
        assert np.isnan(kernels.loss_and_gradient(*arguments))
        assert np.isnan(kernels.loss(*arguments[:6], workspace))
        product = np.zeros_like(params)
        kernels.hessian_vector_product(*arguments[:3], params, x, y, None, product, workspace)
        for array in (gradient, product):
            assert np.isnan(array).any()
        try:
            checked.loss_and_gradient(*arguments)
        except ValueError as error:
            assert "another process" in str(error), error
        else:
            raise AssertionError
        print(*np.isnan(out).all(axis=0))
""")


def test_records_of_another_process_give_nan(tmp_path):
    x, y = np.ones((4, 3)), np.zeros((4, 2))
    layers = [fp.Dense(5, swish), fp.Dense(2)]
    own = fp.Network(3, layers, squared, "float64", rng=0)
    plain = fp.Network(3, [fp.Dense(5), fp.Dense(2)], "mse", "float64", rng=0)
    np.save(tmp_path / "layers.npy", own.layers)
    ways = [
        (own.layers, own.objectives),
        (np.array(own.layers), own.objectives.copy()),
        (np.load(tmp_path / "layers.npy"), plain.objectives),
        (np.frombuffer(own.layers.tobytes(), own.layers.dtype), plain.objectives),
        (plain.layers, own.objectives),
    ]
    printed = python(ELSEWHERE, input=pickle.dumps((ways, own.params, x, y)), PYTHONPATH=PATH)
    assert printed.decode().split() == ["True", "True"] * 4 + ["False", "False"]


FORKED = """
import os, pickle, sys
import numba, numpy as np
import flatprop as fp
from flatprop.kernels import checked, forward, workspace_size

def bent(factor):
    @numba.njit
    def act(z):
        return z * factor, factor
    return fp.Network(2, [fp.Dense(3, act), fp.Dense(1)], dtype="float64", rng=0)

def outputs(layers, params):
    out, workspace = np.empty((1, 1)), np.empty(workspace_size(layers, 1))
    forward(layers, params, np.ones((1, 2)), out, workspace)
    return out[0, 0]

before = bent(0.5)
expected = before.predict([[1.0, 1.0]])[0, 0]
read, write = os.pipe()
child = os.fork()
if child == 0:
    assert outputs(before.layers, before.params) == expected
    after = bent(0.25)
    assert outputs(after.layers, after.params) == after.predict([[1.0, 1.0]])[0, 0]
    os.write(write, pickle.dumps((np.array(after.layers), np.array(after.params))))
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
layers, params = pickle.loads(os.read(read, 10**6))
later = [bent(1.0 + n) for n in range(12)]  # one of whose functions may lie at the same address
assert np.isnan(outputs(layers, params))
try:
    checked.forward(layers, params, np.ones((1, 2)), np.empty((1, 1)), np.empty(100))
except ValueError as error:
    assert "another process" in str(error)
else:
    raise SystemExit("not refused")
for net in (before, *later):
    assert outputs(net.layers, net.params) == net.predict([[1.0, 1.0]])[0, 0]
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_what_a_child_adds_is_unknown_to_its_parent():
    assert python(FORKED) == "done\n"
