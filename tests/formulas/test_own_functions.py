"""The user's own activations and losses: results, checks, files, no recompilation."""

import copy
import math
import pickle

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core import event

import flatprop as fp
from flatprop.kernels.loops import custom
from own_functions import squared, swish
from processes import PATH, python
from reference import error


@numba.njit
def ramp(z):
    return (z, 1.0) if z > 0 else (0.0, 0.0)


@numba.njit
def hyperbolic(z):
    a = np.tanh(z)
    return a, 1 - a**2


@numba.njit
def logistic(z):
    return 1 / (1 + math.exp(-z))  # called by another, and with Python's error model


@numba.njit
def nested(z):
    s = logistic(z)
    return z * s, s + z * s * (1 - s)


@numba.njit
def branches(z):
    if z > 2 or z < -3:
        return math.copysign(1.5, z), 0
    if abs(z) < 0.1:
        return z + 1e-3, 1
    size = max(abs(z), 0.25)
    return size**2.5 + math.sin(z), 2.5 * size**1.5 * np.sign(z) * (size > 0.25) + math.cos(z)


@numba.njit
def library(z):
    value = math.log1p(z * z) + math.erf(z) + math.expm1(-z * z) + math.atan(z) + math.tan(z / 9)
    slope = 2 * z / (1 + z * z) + 2 / math.sqrt(math.pi) * math.exp(-z * z)
    slope += -2 * z * math.exp(-z * z) + 1 / (1 + z * z) + (1 + math.tan(z / 9) ** 2) / 9
    return value + math.sinh(z / 9), slope + math.cosh(z / 9) / 9


@numba.njit
def looped(z):
    """e^(-|z| / 2) z by a loop whose length depends on z."""
    e, left = 1.0, abs(z) / 2
    while left > 0.01:
        e *= math.exp(-0.01)
        left -= 0.01
    e *= math.exp(-left)
    return e * z, e * (1 - abs(z) / 2)


@numba.njit
def table(z):
    knots = (0.0, 0.5, 2.0)
    return knots[int(abs(z)) % 3] + z, 1.0


@numba.njit
def truths(z):
    """Truth values that meet, and a bound beyond float32."""
    small = abs(z) < 1e300
    inside = z < 2 if z > 0.5 else z > -0.25 and small
    return (2 * z, 2.0) if inside == small else (z + 1, True)


@numba.njit
def powers(z):
    """A power whose exponent varies."""
    return 1.5**z, math.log(1.5) * 1.5**z


@numba.njit
def raises(z):
    if z > 100:
        raise ValueError("too much")
    return 3 * z, 3.0


BUILT_IN = {swish: "silu", ramp: "relu", hyperbolic: "tanh", nested: "silu"}
EVERY = (*BUILT_IN, branches, library, looped, table, truths, powers, raises)
POINTS = np.concatenate([np.linspace(-6, 6, 301), [0.0, -0.0, 0.25, 1e-30, 50.0, -50.0]])


def applied(function, z):
    """a, da/dz, d²a/dz² and d³a/dz³ by the compiled function that the records point to.

    A call that asks for fewer of them has the same ones.
    """
    import ctypes

    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * 4)
    call = kind(custom.activation_address(function, z.dtype))

    def results(count):
        arrays = [z.copy(), *(np.full_like(z, 7) for _ in range(count - 1))]
        call(z.size, *(array.ctypes.data for array in arrays), *[None] * (4 - count))
        return arrays

    all_four = results(4)
    for count in (1, 2, 3):
        np.testing.assert_array_equal(results(count), all_four[:count])
    return all_four


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "function",
    [*BUILT_IN, branches, library, looped, table, truths, raises],
    ids=lambda f: f.__name__,
)
def test_values_and_slopes_are_those_of_the_function(function, dtype):
    z = POINTS.astype(dtype)
    a, slope, *_ = applied(function, z)
    expected = np.array([function(float(x)) for x in z])
    epsilon = np.finfo(dtype).eps
    for ours, theirs in ((a, expected[:, 0]), (slope, expected[:, 1])):
        scale = np.maximum(np.abs(theirs), 1)
        # `looped` adds up hundreds of roundings of its own
        assert (np.abs(ours - theirs) / scale).max() < 20 * epsilon


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.integers(0, 3))
def test_an_element_does_not_depend_on_its_place(count, shift):
    z = np.linspace(-3, 3, 80)
    whole = applied(library, z)
    part = applied(library, z[shift : shift + count].copy())
    for one, other in zip(whole, part, strict=True):
        np.testing.assert_array_equal(one[shift : shift + count], other)


def test_where_the_function_raises_the_result_is_nan():
    a, slope, *_ = applied(raises, np.array([1.0, 101.0]))
    assert a[0] == 3
    assert np.isnan(a[1])
    assert np.isnan(slope[1])


def test_second_derivatives():
    z = np.linspace(-3, 3, 61) + 0.013
    for function, exact in (
        (swish, applied(nested, z)[2]),
        (powers, math.log(1.5) ** 2 * 1.5**z),
        (hyperbolic, -2 * np.tanh(z) * (1 - np.tanh(z) ** 2)),
        (looped, (abs(z) / 4 - 1) * np.sign(z) * np.exp(-abs(z) / 2)),  # by differences
    ):
        assert error(applied(function, z)[2], exact) < (1e-8 if function is looped else 1e-14)


def test_third_derivatives():
    z = np.linspace(-3, 3, 61) + 0.013
    bent, a = np.exp(-abs(z) / 2), np.tanh(z)
    for function, exact in (
        (powers, math.log(1.5) ** 3 * 1.5**z),
        (hyperbolic, (6 * a**2 - 2) * (1 - a**2)),
        (looped, (3 / 4 - abs(z) / 8) * bent),  # by differences
    ):
        assert error(applied(function, z)[3], exact) < (1e-6 if function is looped else 1e-14)


def networks(function, dtype, loss=squared, hidden=(16, 9)):
    """A network with an own activation and loss, and its built-in twin."""

    def make(activation, loss):
        layers = [*(fp.Dense(units, activation) for units in hidden), fp.Dense(2)]
        return fp.Network(3, layers, loss, dtype, rng=0)

    net, twin = make(function, loss), make(BUILT_IN[function], "mse")
    net.params = twin.params
    rng = np.random.default_rng(1)
    return net, twin, rng.normal(size=(50, 3)), rng.normal(size=(50, 2))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", BUILT_IN, ids=lambda f: f.__name__)
def test_a_training_is_that_of_the_built_in_twin(function, dtype):
    net, twin, X, y = networks(function, dtype)
    histories = [
        each.fit(X, y, epochs=30, batch_size=16, rng=3, sample_weight=np.arange(1.0, 51))
        for each in (net, twin)
    ]
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(histories[0].loss, histories[1].loss, rtol=tolerance)
    np.testing.assert_allclose(net.predict(X), twin.predict(X), atol=10 * tolerance)
    assert net.loss(X, y) == pytest.approx(twin.loss(X, y), rel=tolerance)
    assert "squared" in repr(net)
    assert function.__name__ in repr(net)
    assert function.__name__ in str(net.summary())


def test_no_kernel_is_compiled_for_an_own_function():
    net, twin, X, y = networks(swish, "float32")
    twin.fit(X, y, epochs=1)
    twin.predict(X)
    twin.loss_and_gradient(X, y)
    with event.install_recorder("numba:compile") as recorder:
        net.fit(X, y, epochs=1)
        net.predict(X)
        net.loss_and_gradient(X, y)
    assert not recorder.buffer


@pytest.mark.parametrize("reduction", fp.losses.REDUCTIONS)
def test_reductions(reduction):
    name = dict(zip(fp.losses.REDUCTIONS, ("mse", "half_mse", "ssr"), strict=True))[reduction]
    factor = 2 if name == "half_mse" else 1
    net, _, X, y = networks(ramp, "float64", fp.losses.Own(squared, reduction=reduction))
    twin = fp.Network(3, net.dense, name, "float64")
    twin.params = net.params
    loss, gradient = net.loss_and_gradient(X, y)
    expected, expected_gradient = twin.loss_and_gradient(X, y)
    assert loss == pytest.approx(factor * expected, rel=1e-13)
    np.testing.assert_allclose(gradient, factor * expected_gradient, rtol=1e-11, atol=1e-14)


def test_trace_and_check_gradients():
    net, twin, X, y = networks(hyperbolic, "float64")
    assert fp.check_gradients(net, X[:5], y[:5]) < 1e-6
    ours, theirs = net.trace(X[:4], y[:4]), twin.trace(X[:4], y[:4])
    for one, other in zip(ours.layers, theirs.layers, strict=True):
        np.testing.assert_allclose(one.dL_dW, other.dL_dW, atol=1e-14)
    assert "hyperbolic(z)" in str(ours)


FACTOR = 1.0


@numba.njit
def scaled(z):
    return FACTOR * z, FACTOR


@numba.njit
def scaled_in_a_loop(z):
    a, left = 0.0, 1.0 + abs(z)
    while left > 0:
        a, left = a + FACTOR * z, left - 100.0
    return a, FACTOR


@numba.njit
def scaled_loss(prediction, y):
    return FACTOR * (prediction - y) ** 2, 2 * FACTOR * (prediction - y)


@pytest.mark.parametrize("function", [scaled, scaled_in_a_loop], ids=lambda f: f.__name__)
def test_a_recompiled_function_has_its_new_code(function, monkeypatch):
    def make():
        net = fp.Network(1, [fp.Dense(1, function)], scaled_loss, "float64", rng=0)
        net.params = [1.0, 0.0]
        return net

    def results(net):
        return net.predict([[2.0]])[0, 0], net.loss([[2.0]], [[0.0]])

    before = make()
    assert results(before) == (2.0, 4.0)
    try:
        monkeypatch.setitem(globals(), "FACTOR", 3.0)
        function.recompile()
        assert make().predict([[2.0]]) == 6.0
        scaled_loss.recompile()
        assert results(make()) == results(before.copy()) == (6.0, 108.0)
        assert results(before) == (2.0, 4.0)  # as documented: what was made keeps its code
    finally:
        monkeypatch.undo()
        function.recompile()
        scaled_loss.recompile()
    assert results(make()) == (2.0, 4.0)


# ---- copies and files


def test_copies_and_pickles_work():
    net, _, X, y = networks(swish, "float64")
    for other in (net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(other.predict(X), net.predict(X))
        assert other.loss(X, y) == net.loss(X, y)


def test_a_pickle_works_in_another_process():
    net, _, X, _ = networks(swish, "float64")
    script = "import pickle, sys; net, X = pickle.loads(sys.stdin.buffer.read());"
    script += "print(net.predict(X).tobytes().hex())"
    printed = python(script, input=pickle.dumps((net, X)), PYTHONPATH=PATH)
    assert printed.decode().strip() == net.predict(X).tobytes().hex()


def test_a_file_holds_the_names(tmp_path):
    net, _, X, y = networks(swish, "float64")
    path = tmp_path / "own.net"
    net.save(path)
    with pytest.raises(ValueError, match=r'functions=\{"swish": swish\}'):
        fp.load(path)
    with pytest.raises(ValueError, match=r'functions=\{"squared": squared\}'):
        fp.load(path, functions={"swish": swish})
    again = fp.load(path, functions={"swish": swish, "squared": squared})
    np.testing.assert_array_equal(again.predict(X), net.predict(X))
    assert again.loss(X, y) == net.loss(X, y)


def test_two_functions_of_one_name_cannot_be_saved(tmp_path):
    def times(factor):
        @numba.njit
        def linear(z):
            return factor * z, factor

        return linear

    net = fp.Network(2, [fp.Dense(2, times(1.0)), fp.Dense(1, times(2.0))])
    with pytest.raises(ValueError, match="two of the network's own functions are called 'linear'"):
        net.save(tmp_path / "two.net")
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_resumes(tmp_path):
    whole, _, X, y = networks(swish, "float64")
    first = whole.copy()
    path = tmp_path / "checkpoint"
    whole.fit(X, y, epochs=6)
    first.fit(X, y, epochs=3, callbacks=fp.Checkpoint(path))
    other = networks(swish, "float64")[0]
    other.fit(X, y, epochs=6, resume=path)
    np.testing.assert_array_equal(other.params, whole.params)


# ---- what is refused


@numba.njit
def wrong_slope(z):
    return z * z, z


@numba.njit
def undefined(z):
    return np.sqrt(z), 0.5 / np.sqrt(z)


@numba.njit
def one_number(z):
    return 2 * z


@numba.njit
def three_numbers(z):
    return z, 1.0, 0.0


@numba.njit
def does_not_compile(z):
    return z.real_part(), 1.0


@numba.njit
def always_raises(z):
    if z < 100:
        raise OverflowError
    return z, 1.0


@numba.njit("UniTuple(float32, 2)(float32)")
def for_float32(z):
    return z, np.float32(1)


@numba.njit
def wrong_loss(prediction, y):
    return (prediction - y) ** 2, prediction - y


@numba.njit
def nowhere(prediction, y):
    return np.nan * prediction, np.nan


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (lambda z: (z, 1.0), TypeError, "decorate the function"),
        ("swihs", ValueError, "unknown activation"),
        (7, TypeError, "must be one of"),
        (wrong_slope, ValueError, "gives the slope .* but its value changes"),
        (undefined, ValueError, "must be finite"),
        (one_number, TypeError, "must return two numbers"),
        (three_numbers, TypeError, "must return two numbers"),
        (does_not_compile, TypeError, "does not compile for float64"),
        (for_float32, TypeError, "without a signature"),
        (always_raises, ValueError, "raises OverflowError"),
        (squared, TypeError, "cannot be called with 1 numbers"),
    ],
)
def test_wrong_activations_are_refused(given, kind, message):
    with pytest.raises(kind, match=message):
        fp.Dense(3, given)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (lambda p, y: (p, 1.0), TypeError, "decorate the function"),
        (wrong_loss, ValueError, "gives the slope"),
        (nowhere, ValueError, "finite nowhere"),
        (swish, TypeError, "cannot be called with 2 numbers"),
        (fp.losses.Own, TypeError, "function"),
    ],
)
def test_wrong_losses_are_refused(given, kind, message):
    with pytest.raises(kind, match=message):
        fp.Network(3, [fp.Dense(2)], given)


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'sum'"):
        fp.losses.Own(squared, reduction="sums")


def test_a_loss_with_a_domain():
    @numba.njit
    def gamma(prediction, y):
        value = y / prediction + math.log(prediction)
        return value, (1 - y / prediction) / prediction

    @numba.njit
    def relative(prediction, y):  # tried with y = 0, too
        return (prediction / y - 1) ** 2, 2 * (prediction / y - 1) / y

    fp.losses.Own(relative)
    net = fp.Network(1, [fp.Dense(4, "tanh"), fp.Dense(1, "exp")], gamma, "float64", rng=0)
    X = np.linspace(-1, 1, 40)[:, None]
    y = np.exp(X[:, 0])
    history = net.fit(X, y, epochs=300, optimizer=fp.Adam(0.02))
    assert history.loss[-1] < history.loss[0]
    assert error(net.predict(X)[:, 0], y) < 0.05
