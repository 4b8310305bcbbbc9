"""Derivatives of the outputs along directions in the inputs, their gradient, and the Hessian."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flatprop as fp
from flatprop.evaluation import along_inputs, calls
from layer_networks import torch_function
from networks import HIDDEN, double_first, network

LAST = ("identity", "softmax", "sigmoid", "tanh", "relu")


def problem(net, rows, count=None, seed=5):
    """X, directions (None for the axes), and gradients with respect to u, du and d2u."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, net.inputs))
    directions = None if count is None else rng.normal(size=(count, net.inputs))
    shape = rows, count or net.inputs, net.outputs
    slopes = rng.normal(size=(rows, net.outputs)), rng.normal(size=shape), rng.normal(size=shape)
    return X, directions, slopes


def error(ours, theirs):
    """The largest difference, relative to the largest number."""
    return np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-12)


CASES = [([name, "tanh"], "identity", 7) for name in HIDDEN]
CASES += [(["tanh"], last, 5) for last in LAST]
CASES += [([], last, 3) for last in LAST]
CASES += [(["tanh", "gelu", "softplus"], "softmax", 1)]


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # within torch.func
@pytest.mark.parametrize(("hidden", "last", "rows"), CASES)
def test_against_torch(hidden, last, rows):
    torch = pytest.importorskip("torch")
    from torch.func import grad, hessian, jacrev, vmap

    net = network([3, *[6, 5, 4][: len(hidden)], 3], [*hidden, last])
    X, directions, slopes = problem(net, rows, 2)
    function = torch_function(net)
    p, x, along, *weights = map(torch.tensor, (net.params, X, directions, *slopes))

    def all_of(params):
        J = vmap(jacrev(function, 1), (None, 0))(params, x)
        H = vmap(hessian(function, 1), (None, 0))(params, x)
        first = torch.einsum("nki,di->ndk", J, along)
        second = torch.einsum("nkij,di,dj->ndk", H, along, along)
        return function(params, x), first, second, H

    u, du, d2u = net.derivatives(X, directions)
    *expected, H = (each.numpy() for each in all_of(p))
    assert error(u, expected[0]) <= 1e-12
    assert error(du, expected[1]) <= 1e-10
    assert error(d2u, expected[2]) <= 1e-9
    assert error(net.hessian(X), H) <= 1e-9
    for some, tolerance in (([0], 1e-11), ([0, 1], 1e-10), ([2], 1e-9), ([0, 1, 2], 1e-9)):

        def L(params, some=some):
            parts = all_of(params)
            return sum((parts[i] * weights[i]).sum() for i in some)

        given = [slopes[i] if i in some else None for i in range(3)]
        ours = net.derivatives_vjp(X, *given, directions)
        assert error(ours, grad(L)(p).numpy()) <= tolerance


@pytest.mark.parametrize("last", ["identity", "softmax"])
def test_axes_agree_with_the_jacobian_and_the_hessian(last):
    net = network([4, 9, 3], ["gelu", last])
    X, _, slopes = problem(net, 37)
    u, du, d2u = net.derivatives(X)
    np.testing.assert_allclose(u, net.predict(X), rtol=1e-13)
    np.testing.assert_allclose(du.transpose(0, 2, 1), net.jacobian(X), rtol=1e-11, atol=1e-14)
    H = net.hessian(X)
    np.testing.assert_array_equal(H, H.transpose(0, 1, 3, 2))
    diagonal = np.diagonal(H, axis1=2, axis2=3).transpose(0, 2, 1)
    np.testing.assert_allclose(d2u, diagonal, rtol=1e-11, atol=1e-14)
    only = net.derivatives_vjp(X, slopes[0], None, None)
    np.testing.assert_allclose(only, net.vjp(X, slopes[0])[1], rtol=1e-11, atol=1e-12)


@numba.njit
def wave(z):
    return np.sin(z) * np.exp(-0.1 * z), (np.cos(z) - 0.1 * np.sin(z)) * np.exp(-0.1 * z)


@numba.njit
def loop(z):
    """z + z³ / 3, as formulas cannot have it."""
    a, slope, power = 0.0, 0.0, 1.0
    for i in range(1, 4, 2):
        slope += power
        power *= z if i == 3 else z * z
        a += z**i / i
    return a, slope


@pytest.mark.parametrize(("own", "tolerance"), [(wave, 1e-7), (loop, 1e-6)])
def test_own_activations_against_finite_differences(own, tolerance):
    net = network([3, 6, 5, 2], [own, own, "identity"])
    X, directions, slopes = problem(net, 6, 2)

    def at(t, k):
        return net.predict(X + t * directions[k])

    h = 1e-3
    _, du, d2u = net.derivatives(X, directions)
    for k in range(2):
        first = (8 * (at(h, k) - at(-h, k)) - at(2 * h, k) + at(-2 * h, k)) / (12 * h)
        near, far = at(h, k) + at(-h, k), at(2 * h, k) + at(-2 * h, k)
        second = (16 * near - far - 30 * at(0, k)) / (12 * h * h)
        assert error(du[:, k], first) < tolerance
        assert error(d2u[:, k], second) < tolerance

    def L():
        parts = net.derivatives(X, directions)
        return sum((part * slope).sum() for part, slope in zip(parts, slopes, strict=True))

    gradient = net.derivatives_vjp(X, *slopes, directions)
    start, h = net.params.copy(), 1e-3
    v = np.random.default_rng(1).normal(size=net.params.size)
    values = []
    for t in (h, -h, 2 * h, -2 * h):
        net.params = start + t * v
        values.append(L())
    expected = (8 * (values[0] - values[1]) - values[2] + values[3]) / (12 * h)
    assert gradient @ v == pytest.approx(expected, rel=10 * tolerance)


def test_relu_has_no_curvature():
    net = network([3, 8, 2], ["relu", "identity"])
    X, directions, slopes = problem(net, 9, 2)
    _, du, d2u = net.derivatives(X, directions)
    assert du.any()
    assert not d2u.any()
    assert not net.hessian(X).any()
    assert not net.derivatives_vjp(X, None, None, slopes[2], directions).any()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_of_any_network(data):
    """Against the exact Jacobian and Hessian."""
    of_any_network(data)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_float32_follows_float64_in_any_network(data):
    of_any_network(data, float32=True)


def of_any_network(data, float32=False):
    names = data.draw(st.lists(st.sampled_from([*HIDDEN, "tanh", "gelu"]), max_size=3))
    last = data.draw(st.sampled_from(["identity", "softmax", "tanh"]))
    width = st.integers(1, 19)
    sizes = [data.draw(width) for _ in range(len(names) + 2)]
    rows, count = data.draw(st.sampled_from([1, 2, 3, 16, 17, 33])), data.draw(width)
    count = min(count, sizes[0])
    net = network(sizes, [*names, last], seed=data.draw(st.integers(0, 9)))
    X, directions, slopes = problem(net, rows, count, data.draw(st.integers(0, 99)))
    u, du, d2u = net.derivatives(X, directions)
    scale = max(1.0, np.abs(du).max(), np.abs(d2u).max())
    np.testing.assert_allclose(u, net.predict(X), rtol=1e-11, atol=1e-13)
    J = np.einsum("nki,di->ndk", net.jacobian(X), directions)
    np.testing.assert_allclose(du, J, rtol=1e-10, atol=1e-12 * scale)
    H = np.einsum("nkij,di,dj->ndk", net.hessian(X), directions, directions)
    np.testing.assert_allclose(d2u, H, rtol=1e-9, atol=1e-11 * scale)
    gradient = net.derivatives_vjp(X, *slopes, directions)
    assert gradient.shape == net.params.shape
    # d2u is linear in the last layer's W where the last activation is linear
    if last == "identity":
        of_W = gradient[-(sizes[-2] + 1) * sizes[-1] :][: sizes[-2] * sizes[-1]]
        W = net.weights[-1].ravel()
        total = sum((p * s).sum() for p, s in zip((u, du, d2u), slopes, strict=True))
        total -= (slopes[0] * net.biases[-1]).sum()
        size = sum(np.abs(p * s).sum() for p, s in zip((u, du, d2u), slopes, strict=True))
        assert of_W @ W == pytest.approx(total, rel=1e-9, abs=1e-11 * (1 + size))
    if not float32:
        return
    small = network(sizes, [*names, last], dtype="float32")
    small.params = net.params
    smooth = not {"relu", "leaky_relu", "elu", "selu", "softsign"} & set(names)
    if smooth:  # else a rounded z may lie on the other side of a kink
        for ours, theirs in zip(small.derivatives(X, directions), (u, du, d2u), strict=True):
            assert ours.dtype == np.float32
            np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=2e-4 * scale)


def dense(last):
    return [fp.Dense(17, "tanh"), fp.Dense(9, "gelu"), fp.Dense(2, last)]


OF_ALL_KINDS = [
    fp.Residual([fp.LayerNorm(), fp.Dense(17, "tanh"), fp.Dropout(0.5), fp.Dense(3, "gelu")]),
    fp.Dense(9, "softplus"),
    fp.LayerNorm(),
    fp.Dense(2, "sigmoid"),
]
KINDS = {"identity": dense("identity"), "softmax": dense("softmax"), "other": OF_ALL_KINDS}
every_kind = pytest.mark.parametrize("layers", KINDS.values(), ids=KINDS)


@double_first
@every_kind
def test_threads_change_no_bit(dtype, layers, monkeypatch):
    monkeypatch.setattr(along_inputs, "STACK_BYTES", 2**14)
    net = fp.Network(3, layers, dtype=dtype, rng=0)
    X, directions, slopes = problem(net, 777, 2)
    for method, arguments in (
        ("derivatives", (X, directions)),
        ("derivatives_vjp", (X, *slopes, directions)),
        ("hessian", (X,)),
    ):
        one, three = (getattr(net, method)(*arguments, threads=n) for n in (1, 3))
        for a, b in zip(one, three, strict=True):
            np.testing.assert_array_equal(a, b)


@every_kind
def test_blocks_and_calls_change_no_bit(layers, monkeypatch):
    net = fp.Network(3, layers, dtype="float64", rng=0)
    X, directions, slopes = problem(net, 333, 2)
    monkeypatch.setattr(along_inputs, "STACK_BYTES", 2**15)
    whole = *net.derivatives(X, directions), net.derivatives_vjp(X, *slopes, directions)
    monkeypatch.setattr(calls, "SECONDS", 1e-9)  # one block in a call
    parts = *net.derivatives(X, directions), net.derivatives_vjp(X, *slopes, directions)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)


@every_kind
def test_a_hessian_of_many_inputs_goes_in_parts(layers, monkeypatch):
    net = fp.Network(13, [fp.LayerNorm(), fp.Dense(3), *layers], dtype="float64", rng=0)
    X, *_ = problem(net, 5)
    whole = net.hessian(X)
    monkeypatch.setattr(along_inputs, "pairs_at_once", lambda inputs: inputs)
    np.testing.assert_array_equal(net.hessian(X), whole)


@pytest.mark.slow  # compiled for float32, too
@every_kind
def test_derivatives_of_float32_are_those_of_float64(layers):
    net, double = (fp.Network(3, layers, dtype=dtype, rng=0) for dtype in ("float32", "float64"))
    double.params = net.params
    X, directions, slopes = problem(net, 50, 2)
    X, directions = X.astype("float32"), directions.astype("float32")
    slopes = [slope.astype("float32") for slope in slopes]
    for one, other in zip(
        net.derivatives(X, directions), double.derivatives(X, directions), strict=True
    ):
        assert error(one, other) < 2e-5
    assert error(net.hessian(X), double.hessian(X)) < 2e-5
    ours = net.derivatives_vjp(X, *slopes, directions)
    assert error(ours, double.derivatives_vjp(X, *slopes, directions)) < 2e-5


def test_nothing_is_changed():
    net = network([3, 8, 2])
    arrays = *problem(net, 9, 2)[:2], *problem(net, 9, 2)[2]
    before = [array.copy() for array in (*arrays, net.params)]
    X, directions, *slopes = arrays
    for array in arrays:
        array.flags.writeable = False
    net.derivatives(X, directions)
    net.derivatives_vjp(X, *slopes, directions)
    net.hessian(X)
    for one, other in zip((*arrays, net.params), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_arrays_are_converted():
    net = network([3, 8, 2])
    X, directions, slopes = problem(net, 8, 2)
    expected = net.derivatives_vjp(X, *slopes, directions)
    strided = np.repeat(X, 2, axis=0)[::2]
    given = strided, np.asfortranarray(slopes[0]), slopes[1].tolist(), slopes[2]
    ours = net.derivatives_vjp(*given, directions.tolist())
    np.testing.assert_array_equal(ours, expected)
    single = network([1, 8, 1])
    flat = np.linspace(-1, 1, 5)
    for one, other in zip(
        single.derivatives(flat), single.derivatives(flat[:, None]), strict=True
    ):
        np.testing.assert_array_equal(one, other)


WRONG = {
    "columns of X": (lambda net, X, D, s: net.derivatives(X[:, :2], D), "2 columns"),
    "NaN in X": (lambda net, X, D, s: net.derivatives(X * np.nan), "nan"),
    "no rows": (lambda net, X, D, s: net.derivatives(X[:0]), "empty|no rows|at least"),
    "columns of directions": (lambda net, X, D, s: net.derivatives(X, D[:, :2]), "3 columns"),
    "flat directions": (lambda net, X, D, s: net.derivatives(X, D[0]), "3 columns"),
    "no direction": (lambda net, X, D, s: net.derivatives(X, D[:0]), "row per direction|empty"),
    "NaN in directions": (lambda net, X, D, s: net.derivatives(X, D * np.nan), "nan"),
    "words as directions": (lambda net, X, D, s: net.derivatives(X, [["a"] * 3]), "directions"),
    "rows of dL_du": (lambda net, X, D, s: net.derivatives_vjp(X, s[0][:5], None, None), "dL_du"),
    "shape of dL_ddu": (lambda net, X, D, s: net.derivatives_vjp(X, *s), "dL_ddu must have shape"),
    "shape of dL_dd2u": (
        lambda net, X, D, s: net.derivatives_vjp(X, *s[:2], s[0], D),
        "dL_dd2u must have shape",
    ),
    "inf in dL_dd2u": (
        lambda net, X, D, s: net.derivatives_vjp(X, *s[:2], s[2] * np.inf, D),
        "inf",
    ),
    "threads": (lambda net, X, D, s: net.hessian(X, threads=0), "threads"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_an_error(case, monkeypatch):
    net = network([3, 8, 2])
    X, directions, slopes = problem(net, 8, 2)
    call, message = WRONG[case]
    for name in ("input_derivatives", "input_derivatives_vjp", "hessian"):  # before anything
        monkeypatch.delattr(along_inputs.entry_points, name)
    with pytest.raises((TypeError, ValueError), match=message):
        call(net, X, directions, slopes)


def test_reference_of_one_neuron():
    """u = tanh(w x + b): u' = w (1 - u²), u'' = -2 w² u (1 - u²)."""
    net = fp.Network(1, [fp.Dense(1, "tanh")], dtype="float64", rng=0)
    net.params = [0.7, -0.2]
    X = np.linspace(-2, 2, 11)[:, None]
    u, du, d2u = net.derivatives(X)
    np.testing.assert_allclose(u, np.tanh(0.7 * X - 0.2), rtol=1e-13)
    np.testing.assert_allclose(du[:, 0], 0.7 * (1 - u**2), rtol=1e-13)
    np.testing.assert_allclose(d2u[:, 0], -2 * 0.49 * u * (1 - u**2), rtol=1e-13)
