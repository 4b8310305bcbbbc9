"""Layers beside Dense for other compiled code: kernels, checked kernels, and C."""

import numba
import numpy as np
import pytest

import flatprop as fp
from flatprop import kernels
from flatprop.kernels import checked
from flatprop.kernels.network import entry_points, stacks
from guards import assert_guards_intact, guarded
from layer_networks import LAYERS as EVERY_KIND
from networks import both_dtypes

pytestmark = pytest.mark.slow  # further functions of several kinds of layers are compiled
LAYERS = [
    fp.Dense(6, "relu"),
    fp.LayerNorm(),
    fp.Dropout(0.5),
    fp.Residual([fp.Dense(8, "tanh"), fp.Dense(6)]),
    fp.Dense(2),
]


@numba.njit
def several(layers, objectives, params, x, y, v, out, gradient, hessian, dL_dx, workspace):
    kernels.forward(layers, params, x, out, workspace)
    loss = kernels.loss(layers, objectives, params, x, y, None, workspace)
    kernels.loss_and_gradient(layers, objectives, params, x, y, None, gradient, workspace)
    kernels.hessian_vector_product(layers, objectives, params, v, x, y, None, hessian, workspace)
    kernels.jacobian(layers, params, x, dL_dx, workspace)
    checked.sgd_step(layers, objectives, params, x, y, None, 0.1, workspace)
    return loss


def made(dtype):
    net = fp.Network(3, LAYERS, dtype=dtype, rng=0)
    rng = np.random.default_rng(1)
    net.params += rng.normal(size=net.params.size).astype(dtype) / 5
    X, y, v = (rng.normal(size=s).astype(dtype) for s in ((20, 3), (20, 2), net.params.size))
    return net, X, y, v


@both_dtypes
def test_they_compute_what_the_methods_do(dtype):
    net, X, y, v = made(dtype)
    size = kernels.gradient_workspace_size(net.layers, len(X))
    out, gradient, hessian = np.empty((20, 2), dtype), np.empty_like(v), np.empty_like(v)
    by_inputs, workspace = np.empty((40, 3), dtype), np.full(size + 8, np.nan, dtype)
    expected = net.predict(X), net.loss_and_gradient(X, y), net.hessian_vector_product(X, y, v)
    derivative, before = net.jacobian(X), net.params.copy()
    arguments = net.layers, net.objectives, net.params, X, y, v, out, gradient, hessian
    loss = several(*arguments, by_inputs, workspace[:size])
    assert np.isnan(workspace[size:]).all()
    tolerance = 2e-5 if np.dtype(dtype).itemsize == 4 else 1e-12
    close = {"rtol": tolerance, "atol": tolerance}
    np.testing.assert_allclose(out, expected[0], **close)
    np.testing.assert_allclose(loss, expected[1][0], **close)
    np.testing.assert_allclose(gradient, expected[1][1], **close)
    np.testing.assert_allclose(hessian, expected[2], **close)
    np.testing.assert_allclose(by_inputs.reshape(20, 2, 3), derivative, **close)
    np.testing.assert_allclose(net.params, before - 0.1 * gradient, **close)


@numba.njit
def along_directions(layers, params, x, directions, u, du, d2u, gradient, workspace):
    kernels.derivatives(layers, params, x, directions, u, du, d2u, workspace)
    checked.derivatives_vjp(layers, params, x, directions, u, du, d2u, gradient, workspace)


def results_of(net, rows, count):
    shapes = (rows, 2), (rows * count, 2), (rows * count, 2), net.params.size
    return [np.zeros(shape, net.dtype) for shape in shapes]


@pytest.mark.parametrize("kind", EVERY_KIND)
@both_dtypes
@pytest.mark.slow
def test_derivatives_along_directions(kind, dtype):
    net = fp.Network(5, EVERY_KIND[kind], dtype=dtype, rng=0)
    rng = np.random.default_rng(1)
    X, directions = (rng.normal(size=(rows, 5)).astype(dtype) for rows in (21, 3))
    u, du, d2u, gradient = results_of(net, 21, 3)
    size = kernels.derivatives_workspace_size(net.layers, 21, 3)
    whole, workspace = guarded(np.full(size, np.nan, dtype))
    results = u, du, d2u, gradient
    along_directions(net.layers, net.params, X, directions, *results, workspace)
    assert_guards_intact(whole)
    shape = 21, 3, 2
    found = u, du.reshape(shape), d2u.reshape(shape)
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"atol": 1e-12}
    for ours, expected in zip(found, net.derivatives(X, directions), strict=True):
        np.testing.assert_allclose(ours, expected, **close)
    expected = net.derivatives_vjp(X, *found, directions)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(gradient / scale, expected / scale, **close)
    functions, given = fp.c_functions(dtype), fp.c_network(net)
    assert functions.derivatives_workspace_size(given, 21, 3) == size
    from_c = results_of(net, 21, 3)
    functions.derivatives(given, 21, X, 3, directions, *from_c[:3], workspace)
    functions.derivatives_vjp(given, 21, X, 3, directions, *from_c, workspace)
    for ours, others in zip(from_c, results, strict=True):
        np.testing.assert_array_equal(ours, others)
    H, size = np.zeros((42, 25), dtype), kernels.hessian_workspace_size(net.layers, 21)
    whole, workspace = guarded(np.full(size, np.nan, dtype))
    functions.hessian(given, 21, X, H, workspace)
    assert_guards_intact(whole)
    np.testing.assert_allclose(H.reshape(21, 2, 5, 5), net.hessian(X), **close)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_stacks_stay_within_their_workspace(kind):
    net = fp.Network(5, EVERY_KIND[kind], dtype="float64", rng=0)
    x, network = np.ones((7, 5)), (net.layers, net.params)
    axes, (u, du, d2u, gradient) = np.eye(5), results_of(net, 7, 5)
    pairs = np.stack(np.triu_indices(5), axis=1)
    H = np.zeros((7, 2 * 25))
    forward, back = (
        of(net.layers, 7, 5, 5) for of in (stacks.forward_stacks_size, stacks.stacks_size)
    )
    second = stacks.forward_stacks_size(net.layers, 7, 5, len(pairs))
    for size, call in (
        (
            forward,
            lambda space: entry_points.input_derivatives(*network, x, axes, u, du, d2u, 7, space),
        ),
        (second, lambda space: entry_points.hessian(*network, x, axes, pairs, H, space)),
        (
            back,
            lambda space: entry_points.input_derivatives_vjp(
                *network, x, axes, u, du, d2u, True, gradient, 7, space
            ),
        ),
    ):
        whole, workspace = guarded(np.full(size, np.nan))
        call(workspace)
        assert_guards_intact(whole)
    assert np.isfinite(H).all()
    assert np.isfinite(gradient).all()


@both_dtypes
def test_c_functions(dtype):
    net, X, _, _ = made(dtype)
    functions = fp.c_functions(dtype, only=["forward", "workspace_size", "training_step"])
    given = fp.c_network(net)
    out = np.empty((20, 2), dtype)
    workspace = np.empty(functions.workspace_size(given, 20), dtype)
    functions.forward(given, 20, X, out, workspace)
    np.testing.assert_array_equal(out, net.predict(X))


@pytest.mark.parametrize(
    ("l", "field", "value"),
    [
        (1, "kind", 5),
        (1, "kind", -1),
        (1, "units", 5),
        (1, "function", 0),
        (1, "activation", 12345),
        (2, "rate", 1.0),
        (2, "rate", np.nan),
        (3, "partner", 2),
        (3, "partner", 99),
        (6, "partner", 2),
        (6, "partner", -3),
        (7, "kind", 1),
        (7, "partner", 0),
    ],
)
def test_records_that_describe_no_network_are_refused(l, field, value):
    net, X, _, _ = made("float64")
    layers = net.layers.copy()
    assert layers[6]["kind"] == 4
    layers[l][field] = value
    out, workspace = np.empty((20, 2)), np.empty(kernels.workspace_size(net.layers, 20))
    with pytest.raises(ValueError, match="flatprop: "):
        checked.forward(layers, net.params, X, out, workspace)
    checked.forward(net.layers, net.params, X, out, workspace)
