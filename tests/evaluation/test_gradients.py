"""The loss and its gradient, held against the NumPy twin, differences and PyTorch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, xlogy

import flatprop as fp
import reference
from flatprop.evaluation import calls, trace
from networks import HIDDEN, LOSSES, NEEDED_OUTPUT, TOLERANCE, both_dtypes, network, samples

# (hidden activation, output activation, loss): each activation in both places with each loss
TABLE = {
    *((hidden, NEEDED_OUTPUT.get(loss, "identity"), loss) for hidden in HIDDEN for loss in LOSSES),
    *(
        ("tanh", output, loss)
        for output in [*HIDDEN, "softmax"]
        for loss in LOSSES
        if NEEDED_OUTPUT.get(loss, output) == output
    ),
}
whole_table = pytest.mark.parametrize(
    ("hidden", "output", "loss"), [pytest.param(*row, id="-".join(row)) for row in sorted(TABLE)]
)


def assert_as_the_twin(net, X, y, w, tolerance):
    twin = reference.Twin(net)
    assert reference.error(net.predict(X), twin.predict(X)) < tolerance
    expected, expected_gradient = twin.loss_and_gradient(X.astype(float), y.astype(float), w)
    loss, gradient = net.loss_and_gradient(X, y, w)
    assert gradient.dtype == net.dtype
    assert abs(loss - expected) < tolerance * max(abs(expected), 1)
    assert reference.error(gradient, expected_gradient) < tolerance
    assert net.loss(X, y, w) == pytest.approx(loss, rel=1e-6 if net.dtype == "float32" else 1e-14)


# ---- every activation with every loss


@both_dtypes
@whole_table
def test_gradient_is_the_twins(hidden, output, loss, dtype):
    net = network([3, 5, 2], [hidden, output], LOSSES[loss], dtype)
    for rows in (1, 3, 17):
        X, y, w = samples(net, rows)
        assert_as_the_twin(net, X, y, None, TOLERANCE[dtype])
        assert_as_the_twin(net, X, y, w, TOLERANCE[dtype])


@both_dtypes
@whole_table
def test_gradient_is_that_of_finite_differences(hidden, output, loss, dtype):
    net = network([3, 5, 2], [hidden, output], LOSSES[loss], dtype, seed=3)
    X, y, w = samples(net, 5, seed=3)
    limit = 1e-6 if dtype == np.float64 else 1e-3
    assert fp.check_gradients(net, X, y) < limit
    assert fp.check_gradients(net, X, y, w) < limit


@both_dtypes
def test_a_wrong_gradient_is_noticed(dtype, monkeypatch):
    net = network([3, 5, 2], ["tanh", "identity"], "mse", dtype)
    X, y, _ = samples(net, 5)
    loss, gradient = net.loss_and_gradient(X, y)
    for place in (0, 15, 31):
        wrong = gradient.copy()
        wrong[place] += 0.01 * np.abs(gradient).max()
        monkeypatch.setattr(trace, "loss_and_gradient", lambda *_, g=wrong: (loss, g))
        assert fp.check_gradients(net, X, y) > 5e-3


@given(data=st.data())
@settings(deadline=None, max_examples=150, derandomize=True)
def test_any_network_has_the_twins_gradient(data):
    name = data.draw(st.sampled_from(list(LOSSES)))
    depth = data.draw(st.integers(1, 4))
    sizes = data.draw(st.lists(st.integers(1, 40), min_size=depth + 1, max_size=depth + 1))
    # without exp inside, which would leave the range of float32 four layers deep
    inside = st.sampled_from([activation for activation in HIDDEN if activation != "exp"])
    activations = data.draw(st.lists(inside, min_size=depth - 1, max_size=depth - 1))
    positive = ["softplus", "exp", "sigmoid", "softmax"]
    allowed = positive if name == "poisson" else [*HIDDEN, "softmax"]
    activations.append(NEEDED_OUTPUT.get(name) or data.draw(st.sampled_from(allowed)))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    net = network(sizes, activations, LOSSES[name], dtype, seed=data.draw(st.integers(0, 99)))
    X, y, w = samples(net, data.draw(st.integers(1, 70)), seed=data.draw(st.integers(0, 99)))
    if not data.draw(st.booleans(), label="weighted"):
        w = None
    assert_as_the_twin(net, X, y, w, 2e-4 if dtype == "float32" else 1e-10)


# ---- PyTorch


def torch_gradient(net, X, y, w):
    """Loss and flat gradient by autograd, in float64."""
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
    F = torch.nn.functional
    activations = {
        "identity": lambda z: z,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "leaky_relu": lambda z: F.leaky_relu(z, 0.01),
        "elu": lambda z: F.elu(z, 1.0),
        "selu": F.selu,
        "gelu": lambda z: F.gelu(z, approximate="none"),
        "silu": F.silu,
        "mish": F.mish,
        "softplus": lambda z: F.softplus(z, threshold=1000),
        "softsign": F.softsign,
        "exp": torch.exp,
        "softmax": lambda z: torch.softmax(z, dim=1),
    }
    losses = {
        "mse": lambda p, y: (p - y) ** 2,
        "half_mse": lambda p, y: (p - y) ** 2 / 2,
        "ssr": lambda p, y: (p - y) ** 2,
        "mae": lambda p, y: F.l1_loss(p, y, reduction="none"),
        "huber": lambda p, y: F.huber_loss(p, y, reduction="none", delta=0.7),
        "log_cosh": lambda p, y: torch.log(torch.cosh(p - y)),
        "quantile": lambda p, y: torch.maximum(0.3 * (y - p), -0.7 * (y - p)),
        "poisson": lambda p, y: F.poisson_nll_loss(
            p, y, log_input=False, full=False, eps=0, reduction="none"
        ),
        "cross_entropy": lambda z, y: -y * torch.log_softmax(z, dim=1),
        "binary_cross_entropy": lambda z, y: F.binary_cross_entropy_with_logits(
            z, y, reduction="none"
        ),
    }
    name = net.loss_function.name
    W = [torch.tensor(W, requires_grad=True) for W in net.weights]
    b = [torch.tensor(b, requires_grad=True) for b in net.biases]
    a, y, w = (torch.tensor(array) for array in (X, y, w))
    for l, layer in enumerate(net.dense):
        a = a @ W[l] + b[l]
        if l < len(W) - 1 or name not in NEEDED_OUTPUT:
            a = activations[layer.activation](a)
    total = (w[:, None] * losses[name](a, y)).sum()
    if name in ("half_mse", "cross_entropy", "binary_cross_entropy"):
        total = total / w.sum()
    elif name != "ssr":
        total = total / (w.sum() * net.outputs)
    total.backward()
    gradient = reference.flat([v.grad.numpy() for v in W], [v.grad.numpy() for v in b])
    return total.item(), gradient


@whole_table
def test_gradient_is_that_of_pytorch(hidden, output, loss):
    net = network([4, 6, 5, 3], ["tanh", hidden, output], LOSSES[loss], seed=5)
    X, y, w = samples(net, 9, seed=5)
    expected, expected_gradient = torch_gradient(net, X, y, w)
    value, gradient = net.loss_and_gradient(X, y, w)
    assert value == pytest.approx(expected, rel=1e-12)
    assert reference.error(gradient, expected_gradient) < 1e-10


# ---- rows and blocks


@both_dtypes
@pytest.mark.parametrize("loss", LOSSES)
def test_blocks_of_rows_change_nothing(loss, dtype, monkeypatch):
    net = network([3, 8, 4], ["tanh", NEEDED_OUTPUT.get(loss, "softplus")], LOSSES[loss], dtype)
    X, y, w = samples(net, 37)
    for rows in (1, 7, 36, 37, 38):
        monkeypatch.setattr(calls, "block_rows", lambda _, rows=rows: rows)
        assert_as_the_twin(net, X, y, None, TOLERANCE[dtype])
        assert_as_the_twin(net, X, y, w, TOLERANCE[dtype])
    if loss == "cross_entropy":
        monkeypatch.setattr(calls, "block_rows", lambda _: 7)
        labels = np.arange(37) % 4
        assert_as_the_twin(net, X, labels, w, TOLERANCE[dtype])


def test_more_rows_than_one_block():
    net = network([5, 30, 20, 2], ["gelu", "relu", "identity"], "mse")
    rows = 2 * calls.block_rows(net) + 11
    X, y, w = samples(net, rows)
    assert_as_the_twin(net, X, y, w, 1e-10)


@both_dtypes
def test_a_row_alone_is_as_in_a_batch(dtype):
    net = network([7, 33, 18, 3], ["silu", "tanh", "softmax"], "cross_entropy", dtype)
    X, _, _ = samples(net, 50)
    together = net.predict(X)
    alone = np.concatenate([net.predict(row[None]) for row in X])
    assert reference.error(alone, together) < 20 * np.finfo(dtype).eps


@both_dtypes
def test_the_gradient_of_a_sum_is_the_sum_of_gradients(dtype):
    net = network([4, 9, 2], ["mish", "identity"], "ssr", dtype)
    X, y, w = samples(net, 12)
    each = [w[i] * net.loss_and_gradient(X[i : i + 1], y[i : i + 1])[1] for i in range(12)]
    assert reference.error(net.loss_and_gradient(X, y, w)[1], sum(each)) < TOLERANCE[dtype]


@both_dtypes
@pytest.mark.parametrize("loss", LOSSES)
def test_a_weight_of_nothing_leaves_the_sample_out(loss, dtype):
    net = network([3, 5, 2], ["tanh", NEEDED_OUTPUT.get(loss, "softplus")], LOSSES[loss], dtype)
    X, y, _ = samples(net, 9)
    w = np.array([1, 0, 1, 1, 0, 1, 1, 1, 0])
    value, gradient = net.loss_and_gradient(X, y, w)
    expected, expected_gradient = net.loss_and_gradient(X[w == 1], y[w == 1])
    assert value == pytest.approx(expected, rel=TOLERANCE[dtype])
    assert reference.error(gradient, expected_gradient) < TOLERANCE[dtype]


def test_one_output_takes_flat_targets():
    net = network([3, 4, 1], ["tanh", "identity"], "huber")
    X, y, w = samples(net, 6)
    column, flat = net.loss_and_gradient(X, y, w), net.loss_and_gradient(X, y[:, 0], w)
    assert column[0] == flat[0]
    assert (column[1] == flat[1]).all()


# ---- classes, and logits as large as they come


@both_dtypes
@pytest.mark.parametrize("classes", [1, 2, 3, 16, 17, 40])
def test_class_indices_are_one_hot_rows(classes, dtype):
    net = network([4, 6, classes], ["relu", "softmax"], "cross_entropy", dtype)
    X, _, w = samples(net, 45)
    labels = np.arange(45) % classes
    one_hot = reference.one_hot(labels, classes)
    value, gradient = net.loss_and_gradient(X, labels, w)
    expected, expected_gradient = net.loss_and_gradient(X, one_hot, w)
    eps = np.finfo(dtype).eps
    assert value == pytest.approx(expected, rel=float(4 * eps), abs=0)
    assert np.abs(gradient - expected_gradient).max() <= 4 * eps
    assert net.loss(X, labels) == pytest.approx(net.loss(X, one_hot), rel=float(4 * eps), abs=0)
    assert_as_the_twin(net, X, one_hot, w, TOLERANCE[dtype])


EXTREME = [("float64", 1e4), ("float64", 800.0), ("float32", 80.0), ("float32", 1e4)]


@pytest.mark.parametrize(("dtype", "size"), EXTREME)
@pytest.mark.parametrize("targets", ["indices", "probabilities"])
def test_cross_entropy_of_extreme_logits(dtype, size, targets):
    net = fp.Network(1, [fp.Dense(3, "softmax")], "cross_entropy", dtype, rng=0)
    net.weights[0][:] = [[size, -size, 0]]
    X = np.array([[1.0], [-1.0], [0.5], [0.0]])
    z = X @ np.array([[size, -size, 0]])
    p = np.exp(z - logsumexp(z, axis=1, keepdims=True))
    for label in range(3):
        labels = np.full(4, label)
        dense = reference.one_hot(labels, 3)
        if targets == "probabilities":
            dense = 0.5 * dense + np.array([0.25, 0.25, 0])
        expected = np.mean(dense.sum(axis=1) * logsumexp(z, axis=1) - (dense * z).sum(axis=1))
        y = labels if targets == "indices" else dense
        value, gradient = net.loss_and_gradient(X, y)
        rel = 1e-6 if dtype == "float32" else 1e-14
        assert value == pytest.approx(expected, rel=rel, abs=1e-30)
        assert net.loss(X, y) == pytest.approx(expected, rel=rel, abs=1e-30)
        dL_dz = (p - dense) / 4
        expected_gradient = np.concatenate([(X.T @ dL_dz).ravel(), dL_dz.sum(axis=0)])
        np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=rel)
    np.testing.assert_allclose(net.predict(X), p, rtol=0, atol=rel)


@pytest.mark.parametrize(("dtype", "size"), EXTREME)
def test_binary_cross_entropy_of_extreme_logits(dtype, size):
    net = fp.Network(1, [fp.Dense(1, "sigmoid")], "binary_cross_entropy", dtype, rng=0)
    net.weights[0][:] = size
    X = np.array([[1.0], [-1.0], [0.5], [0.0]])
    z = size * X
    for y in (0.0, 1.0, 0.25):
        expected = np.mean(np.logaddexp(0, z) - y * z)
        value, gradient = net.loss_and_gradient(X, np.full(4, y))
        rel = 1e-6 if dtype == "float32" else 1e-14
        assert value == pytest.approx(expected, rel=rel)
        assert net.loss(X, np.full(4, y)) == pytest.approx(expected, rel=rel)
        dL_dz = (reference.sigmoid(z)[0] - y) / 4
        expected_gradient = [(X * dL_dz).sum(), dL_dz.sum()]
        np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=rel)


@both_dtypes
def test_sure_and_right_costs_next_to_nothing_but_not_nothing(dtype):
    # log(1 + e^-40) keeps its digits, where 1 - ŷ would have lost them
    net = fp.Network(1, [fp.Dense(1, "sigmoid")], "binary_cross_entropy", dtype, rng=0)
    net.weights[0][:] = 40
    assert net.loss([[1.0]], [1.0]) == pytest.approx(np.exp(-40.0), rel=1e-5, abs=0)
    assert net.loss([[-1.0]], [0.0]) == pytest.approx(np.exp(-40.0), rel=1e-5, abs=0)


def test_poisson_counts_zero_events():
    net = fp.Network(1, [fp.Dense(1, "exp")], "poisson", "float64", rng=0)
    net.params = [1.0, 0.5]
    X, y = np.array([[-1.0], [0.0], [2.0]]), np.array([0.0, 0.0, 3.0])
    rate = np.exp(X[:, 0] + 0.5)
    assert net.loss(X, y) == pytest.approx(np.mean(rate - xlogy(y, rate)), rel=1e-14)
