"""Jacobians, vector-Jacobian products, per-sample gradients and curvature products."""

import importlib.util
import itertools

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flatprop as fp
from own_functions import swish
from reference import difference, error

TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not TORCH, reason="PyTorch is not installed: peers extra")

# Not exp: its higher derivatives spoil what differences can resolve.
SMOOTH = ("identity", "sigmoid", "tanh", "gelu", "silu", "mish", "softplus")
LAST = {
    "cross_entropy": "softmax",
    "binary_cross_entropy": "sigmoid",
    "poisson": "softplus",
}
LOSSES = (
    "mse",
    "half_mse",
    "ssr",
    "huber",
    "log_cosh",
    "cross_entropy",
    "binary_cross_entropy",
    "poisson",
)


def make(hidden, outputs, last="identity", loss="mse", dtype="float64", inputs=4):
    layers = [fp.Dense(units, name) for units, name in hidden]
    net = fp.Network(inputs, [*layers, fp.Dense(outputs, last)], loss, dtype, rng=1)
    rng = np.random.default_rng(2)
    for b in net.biases:
        b[:] = 0.3 * rng.normal(size=b.shape)
    return net


def data(net, rows, rng=None):
    rng = rng or np.random.default_rng(3)
    X = rng.normal(size=(rows, net.inputs))
    y = rng.uniform(0.1, 0.9, size=(rows, net.outputs))
    return X, y / y.sum(axis=1, keepdims=True)


def at(net, method, *arguments):
    """A function of the parameters."""

    def function(params):
        moved = net.copy()
        moved.params = params
        return getattr(moved, method)(*arguments)

    return function


architectures = st.lists(st.tuples(st.integers(1, 9), st.sampled_from(SMOOTH)), max_size=2)


@settings(max_examples=30, deadline=None)
@given(architectures, st.integers(1, 4), st.sampled_from((*SMOOTH, "softmax")), st.integers(1, 5))
def test_jacobians_against_finite_differences(hidden, outputs, last, rows):
    net = make(hidden, outputs, last)
    X, V = data(net, rows)
    of_inputs, of_params = net.jacobian(X), net.jacobian(X, wrt="params")
    assert of_inputs.shape == (rows, outputs, 4)
    assert of_params.shape == (rows, outputs, net.params.size)
    expected = [difference(lambda x: net.predict(x[None])[0], row) for row in X]
    assert np.abs(of_inputs - expected).max() < 1e-9 * (1 + np.abs(expected).max())
    expected = difference(at(net, "predict", X), net.params)
    assert np.abs(of_params - expected).max() < 1e-9 * (1 + np.abs(expected).max())

    dL_dx, gradient = net.vjp(X, V)
    np.testing.assert_allclose(dL_dx, np.einsum("nk,nki->ni", V, of_inputs), atol=1e-12)
    np.testing.assert_allclose(gradient, np.einsum("nk,nkp->p", V, of_params), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    architectures,
    st.integers(1, 3),
    st.sampled_from([name for name in LOSSES if name != "huber"]),  # it has kinks in its slope
    st.integers(1, 5),
)
def test_hessian_against_differences_of_the_gradient(hidden, outputs, loss, rows):
    net = make(hidden, outputs, LAST.get(loss, "identity"), loss)
    X, y = data(net, rows)
    v = np.random.default_rng(4).normal(size=net.params.size)
    weight = np.linspace(1, 2, rows)
    ours = net.hessian_vector_product(X, y, v, weight)

    def gradient(t):
        function = at(net, "loss_and_gradient", X, y, weight)
        return function(net.params + t[0] * v)[1]

    expected = difference(gradient, np.zeros(1), h=1e-4 / np.abs(v).max())[:, 0]
    scale = max(np.abs(expected).max(), np.abs(gradient(np.zeros(1))).max(), 1e-3)
    assert np.abs(ours - expected).max() < 1e-8 * scale


def torch_twin(net):
    """The network (its logits, where the loss is taken from them) and the loss in PyTorch."""
    import torch
    import torch.nn.functional as F

    activations = {
        "identity": lambda z: z,
        "softmax": lambda z: torch.softmax(z, -1),
        "exp": torch.exp,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
    }
    logits = net.loss_function.activation is not None

    def function(params, x):
        start = 0
        for place, (W, b) in enumerate(zip(net.weights, net.biases, strict=True)):
            middle, stop = start + W.size, start + W.size + b.size
            x = x @ params[start:middle].reshape(W.shape) + params[middle:stop]
            if not (logits and place == len(net.dense) - 1):
                name = net.dense[place].name
                x = (activations.get(name) or getattr(F, name))(x)
            start = stop
        return x

    def huber(d):
        return torch.where(d.abs() <= 1, 0.5 * d * d, d.abs() - 0.5)

    values = {
        "mse": lambda p, y: ((p - y) ** 2).mean(-1),
        "half_mse": lambda p, y: 0.5 * ((p - y) ** 2).sum(-1),
        "ssr": lambda p, y: ((p - y) ** 2).sum(-1),
        "huber": lambda p, y: huber(p - y).mean(-1),
        "log_cosh": lambda p, y: torch.log(torch.cosh(p - y)).mean(-1),
        "cross_entropy": lambda z, y: -(y * torch.log_softmax(z, -1)).sum(-1),
        "binary_cross_entropy": lambda z, y: (F.softplus(z) - y * z).sum(-1),
        "poisson": lambda p, y: (p - y * torch.log(p)).mean(-1),
    }
    return function, values[net.loss_function.name]


CASES = [
    pytest.param(loss, last, hidden, outputs, rows, id=f"{loss}-{last}-{outputs}-{rows}")
    for loss, (hidden, outputs), rows in itertools.product(
        LOSSES,
        (((), 1), (((6, "tanh"),), 3), (((7, "gelu"), (5, "softplus")), 2)),
        (1, 300),  # 300: more than one block
    )
    for last in ([LAST[loss]] if loss in LAST else ["identity", "softmax", "tanh", "exp"])
]


@needs_torch
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # within torch.func
@pytest.mark.parametrize(("loss", "last", "hidden", "outputs", "rows"), CASES)
def test_against_torch(loss, last, hidden, outputs, rows):
    import torch
    from torch.func import grad, jacrev, jvp, vjp, vmap

    net = make(hidden, outputs, last, loss)
    X, y = data(net, rows)
    rng = np.random.default_rng(5)
    weight, v = rng.uniform(0.5, 2, rows), rng.normal(size=net.params.size)
    function, value = torch_twin(net)
    p, x, ty, w, tv = map(torch.tensor, (net.params, X, y, weight, v))
    total = 1.0 if loss == "ssr" else w.sum()

    def L_of_outputs(out):
        return (value(out, ty) * w).sum() / total

    def L(params):
        return L_of_outputs(function(params, x))

    floor = 1e-12  # of a softmax of one unit every derivative is 0

    def close(ours, theirs):
        theirs = theirs.numpy()
        assert np.abs(ours - theirs).max() <= 1e-11 * np.abs(theirs).max() + floor

    if net.loss_function.activation is None:
        close(net.jacobian(X), vmap(jacrev(function, 1), (None, 0))(p, x))
        close(net.jacobian(X, wrt="params"), vmap(jacrev(function, 0), (None, 0))(p, x))
    per_sample = vmap(grad(lambda q, x, y: value(function(q, x), y)), (None, 0, 0))(p, x, ty)
    close(net.per_sample_gradients(X, y), per_sample)
    close(net.hessian_vector_product(X, y, v, weight), jvp(grad(L), (p,), (tv,))[1])
    out, along = jvp(lambda q: function(q, x), (p,), (tv,))
    bent = jvp(grad(L_of_outputs), (out,), (along,))[1]
    back = vjp(lambda q: function(q, x), p)[1](bent)[0]
    close(net.gauss_newton_vector_product(X, y, v, weight), back)


@pytest.mark.parametrize("loss", LOSSES)
def test_per_sample_gradients_make_the_gradient(loss):
    net = make(((5, "tanh"),), 3, LAST.get(loss, "identity"), loss)
    X, y = data(net, 41)
    each = net.per_sample_gradients(X, y)
    whole = each.sum(axis=0) if loss == "ssr" else each.mean(axis=0)
    assert error(whole, net.loss_and_gradient(X, y)[1]) < 1e-14
    assert error(each[7], net.loss_and_gradient(X[7:8], y[7:8])[1]) < 1e-14


def test_class_indices():
    net = make(((5, "tanh"),), 3, "softmax", "cross_entropy")
    X, _ = data(net, 20)
    y = np.arange(20) % 3
    v = np.linspace(-1, 1, net.params.size)
    for method, arguments in (
        ("per_sample_gradients", ()),
        ("hessian_vector_product", (v,)),
        ("gauss_newton_vector_product", (v,)),
    ):
        call = getattr(net, method)
        assert error(call(X, y, *arguments), call(X, np.eye(3)[y], *arguments)) < 1e-14


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.slow
def test_float32_follows_float64(dtype):
    net = make(((16, "tanh"), (9, "gelu")), 2, dtype=dtype)
    double = make(((16, "tanh"), (9, "gelu")), 2)
    net.params = double.params
    double.params = net.params  # rounded
    X, y = (array.astype(dtype) for array in data(net, 33))
    v = np.linspace(-1, 1, net.params.size).astype(dtype)
    for method, arguments in (
        ("jacobian", (X,)),
        ("jacobian", (X, "params")),
        ("per_sample_gradients", (X, y)),
        ("hessian_vector_product", (X, y, v)),
        ("gauss_newton_vector_product", (X, y, v)),
    ):
        ours, exact = getattr(net, method)(*arguments), getattr(double, method)(*arguments)
        assert ours.dtype == dtype
        assert error(ours, exact) < (2e-6 if dtype == "float32" else 1e-15)


def test_gauss_newton_is_the_hessian_of_a_linear_model():
    net = make((), 3, loss="half_mse")
    X, y = data(net, 9)
    v = np.linspace(-1, 1, net.params.size)
    hessian = net.hessian_vector_product(X, y, v)
    assert error(net.gauss_newton_vector_product(X, y, v), hessian) < 1e-14


@numba.njit
def looped(z):
    """The same, by a loop that no formula can hold: e^-z from its series."""
    e, term, k = 1.0, 1.0, 1
    while abs(term) > 1e-17 * abs(e):
        term *= -z / k
        e += term
        k += 1
    s = 1 / (1 + e)
    return z * s, s + z * s * (1 - s)


@numba.njit
def fourth_power(prediction, y):
    return (prediction - y) ** 4, 4 * (prediction - y) ** 3


def test_curvature_of_own_functions():
    built_in = make(((6, "silu"),), 2)
    own, by_differences = make(((6, swish),), 2), make(((6, looped),), 2)
    own.params = by_differences.params = built_in.params  # which start another way
    X, y = data(built_in, 20)
    v = np.linspace(-1, 1, built_in.params.size)
    expected = built_in.hessian_vector_product(X, y, v)
    assert error(own.hessian_vector_product(X, y, v), expected) < 1e-14
    assert error(by_differences.hessian_vector_product(X, y, v), expected) < 1e-9

    net = make(((6, "tanh"),), 2, loss=fourth_power)
    ours = net.hessian_vector_product(X, y, v)

    def gradient(t):
        return at(net, "loss_and_gradient", X, y)(net.params + t[0] * v)[1]

    assert error(ours, difference(gradient, np.zeros(1), 1e-4)[:, 0]) < 1e-9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, X, y: net.jacobian(X[:, :3]), "3 columns"),
        (lambda net, X, y: net.jacobian(X, wrt="weights"), "unknown wrt"),
        (lambda net, X, y: net.jacobian(np.full((2, 4), np.nan)), "nan"),
        (lambda net, X, y: net.vjp(X, y[:3]), "dL_dy must have"),
        (lambda net, X, y: net.vjp(X, y[:, :1]), "dL_dy must have"),
        (lambda net, X, y: net.per_sample_gradients(X, y[:3]), "one row per sample"),
        (lambda net, X, y: net.hessian_vector_product(X, y, np.ones(3)), "v must have shape"),
        (lambda net, X, y: net.gauss_newton_vector_product(X, y, [np.inf]), "inf"),
    ],
)
def test_bad_input(call, message):
    net = make(((5, "tanh"),), 2)
    with pytest.raises(ValueError, match=message):
        call(net, *data(net, 6))


def test_what_users_have():
    net = make((), 1)
    X, _ = data(net, 6)
    strided = np.asfortranarray(X)[::2].astype("float32")
    strided.flags.writeable = False
    exact = net.jacobian(X[::2].astype("float32").astype(float))
    np.testing.assert_array_equal(net.jacobian(strided), exact)
    np.testing.assert_array_equal(net.vjp(X, [1, 2, 3, 4, 5, 6])[0][1], 2 * net.weights[0][:, 0])
