"""Losses over a whole row of outputs: against PyTorch, differences, and each other."""

import copy
import math
import pickle

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flatprop as fp
from flatprop.numbers.numbers import central_difference
from reference import error, one_hot
from row_functions import gaussian, mixed, of_a_simplex, squares

QUANTILES = (0.05, 0.3, 0.5, 0.95)
CLASSES = 5


def class_weights(classes=CLASSES):
    return tuple(np.random.default_rng(7).uniform(0.5, 2, classes))


def made(loss, outputs, dtype="float64", hidden=(8,), seed=0):
    """A network with this loss, whose biases are not 0."""
    last = getattr(loss, "activation", None) or "identity"
    if loss == "cross_entropy":
        last = "softmax"
    layers = [*(fp.Dense(n, "tanh") for n in hidden), fp.Dense(outputs, last)]
    net = fp.Network(4, layers, loss, dtype, rng=seed)
    rng = np.random.default_rng(seed + 1)
    for b in net.biases:
        b[:] = rng.uniform(-0.5, 0.5, b.size)
    return net


def data(net, rows, kind="any", seed=0):
    rng = np.random.default_rng(seed)
    X, w = rng.normal(size=(rows, 4)), rng.uniform(0.2, 2, rows)
    y = rng.normal(size=(rows, net.targets))
    if kind == "indices":
        return X, rng.integers(0, net.outputs, rows), w
    if kind == "probabilities":
        y = rng.dirichlet(np.ones(net.outputs), rows)
    return X.astype(net.dtype), y.astype(net.dtype), w.astype(net.dtype)


# ---- PyTorch


def own_gaussian(torch, a, y):
    s, m = a[:, y.shape[1] :], a[:, : y.shape[1]]
    return 0.5 * (math.log(2 * math.pi) + s + (y - m) ** 2 * torch.exp(-s)).sum(1)


def own_mixed(torch, a, y):
    product = (a[:, 0] * a[:, 1]) ** 2 / 8
    share = torch.nn.functional.softplus(a.sum(1) - y[:, 0], threshold=100)
    return share + product + y[:, 1] * torch.cos(a[:, 0])


OWN = {gaussian: own_gaussian, mixed: own_mixed}


def of_outputs(loss, y, w):
    """The loss as a function of PyTorch's tensor of last z."""
    torch = pytest.importorskip("torch")
    w = torch.tensor(w)
    classes = isinstance(loss, fp.losses.CrossEntropy)
    target = torch.tensor(y if classes else np.asarray(y, np.float64))
    divisor = w

    def values(a):
        if isinstance(loss, fp.losses.GaussianNLL):
            m = a.shape[1] // 2
            nll = torch.nn.GaussianNLLLoss(full=True, reduction="none", eps=0)
            return nll(a[:, :m], target, a[:, m:].exp()).sum(1)
        if isinstance(loss, fp.losses.Quantiles):
            q, d = torch.tensor(loss.quantiles, dtype=torch.float64), target - a
            return torch.maximum(q * d, (q - 1) * d).mean(1)
        if isinstance(loss, fp.losses.Row):
            return OWN[loss.function](torch, a, target)
        c = loss.class_weight and torch.tensor(loss.class_weight, dtype=torch.float64)
        return torch.nn.functional.cross_entropy(
            a, target, weight=c, label_smoothing=loss.label_smoothing, reduction="none"
        )

    if classes and loss.class_weight is not None and y.ndim == 1:
        divisor = w * torch.tensor(loss.class_weight, dtype=torch.float64)[target]
    return lambda a: (w * values(a)).sum() / divisor.sum()


def in_torch(net, X, y, w, v):
    """The loss, its gradient, and the product of the Hessian with v."""
    torch = pytest.importorskip("torch")
    shapes, last = [W.shape for W in net.weights], of_outputs(net.loss_function, y, w)

    def loss(theta):
        a, start = torch.tensor(X), 0
        for number, (inputs, units) in enumerate(shapes):
            end = start + inputs * units
            a = a @ theta[start:end].reshape(inputs, units) + theta[end : end + units]
            a, start = a if number + 1 == len(shapes) else torch.tanh(a), end + units
        return last(a)

    theta = torch.tensor(net.params)
    gradient = torch.func.grad(loss)
    _, product = torch.func.jvp(gradient, (theta,), (torch.tensor(v),))
    return loss(theta).item(), gradient(theta).numpy(), product.numpy()


CASES = {
    "one target": ("gaussian_nll", 2, "any"),
    "three targets": (fp.losses.GaussianNLL(), 6, "any"),
    "twenty targets": (fp.losses.GaussianNLL, 40, "any"),
    "quantiles": (fp.losses.Quantiles(QUANTILES), 4, "any"),
    "one quantile": (fp.losses.Quantiles([0.3]), 1, "any"),
    "own gaussian": (fp.losses.Row(gaussian, targets=2), 4, "any"),
    "own mixed": (fp.losses.Row(mixed, targets=2), 3, "any"),
}
for kind in ("indices", "probabilities"):
    for smoothing in (0.0, 0.1):
        for weights in (None, class_weights()):
            name = f"{kind}, smoothing {smoothing}, {'weighted' if weights else 'not weighted'}"
            of_classes = fp.losses.CrossEntropy(label_smoothing=smoothing, class_weight=weights)
            CASES[name] = of_classes, CLASSES, kind


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # within torch.func
@pytest.mark.parametrize("rows", [1, 77])
@pytest.mark.parametrize("case", CASES)
def test_values_gradients_and_products_are_those_of_pytorch(case, rows):
    loss, outputs, kind = CASES[case]
    net = made(loss, outputs)
    X, y, w = data(net, rows, kind)
    v = np.random.default_rng(3).normal(size=net.params.size)
    value, gradient, product = in_torch(net, X, y, w, v)
    ours, slopes = net.loss_and_gradient(X, y, w)
    _, y_of_one, w_of_one = (a[:1] for a in (X, y, w))
    of_one = in_torch(net, X[:1], y_of_one, w_of_one, v)[1]
    assert error(net.per_sample_gradients(X, y)[0], of_one) < 1e-10
    assert net.loss(X, y, w) == pytest.approx(value, rel=1e-12)
    assert ours == pytest.approx(value, rel=1e-12)
    assert error(slopes, gradient) < 1e-10
    if not isinstance(net.loss_function, fp.losses.Quantiles):  # whose slopes are steps
        assert error(net.hessian_vector_product(X, y, v, w), product) < 1e-9


@pytest.mark.parametrize("case", CASES)
def test_gauss_newton_is_the_hessian_where_the_network_is_linear(case):
    loss, outputs, kind = CASES[case]
    net = made(loss, outputs, hidden=())
    X, y, w = data(net, 40, kind)
    v = np.random.default_rng(3).normal(size=net.params.size)
    exact = net.hessian_vector_product(X, y, v, w)
    np.testing.assert_allclose(net.gauss_newton_vector_product(X, y, v, w), exact, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_float32_gives_the_same_to_its_digits(case, dtype):
    loss, outputs, kind = CASES[case]
    net, wide = made(loss, outputs, dtype), made(loss, outputs)
    X, y, w = data(net, 33, kind)
    wide.params = net.params
    value, gradient = net.loss_and_gradient(X, y, w)
    exact, slopes = wide.loss_and_gradient(X, y, w)
    assert value == pytest.approx(exact, rel=1e-5)
    assert error(gradient, slopes) < 2e-5


KINDS_OF_ROWS = st.sampled_from(["gaussian_nll", "quantiles", "classes", "row"])


@settings(max_examples=25, deadline=None)
@given(KINDS_OF_ROWS, st.sampled_from([1, 3, 17]), st.integers(1, 70), st.integers(0, 99))
def test_the_loss_of_rows_is_the_mean_of_the_rows_losses(kind, size, rows, seed):
    is_the_mean(kind, size, rows, "float64", seed)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    KINDS_OF_ROWS,
    st.sampled_from([1, 2, 3, 7, 17, 40]),  # each is compiled once
    st.integers(1, 70),
    st.sampled_from(["float32", "float64"]),
    st.integers(0, 99),
)
def test_so_is_that_of_any_rows(kind, size, rows, dtype, seed):
    is_the_mean(kind, size, rows, dtype, seed)


def is_the_mean(kind, size, rows, dtype, seed):
    loss, outputs = {
        "gaussian_nll": ("gaussian_nll", 2 * size),
        "quantiles": (fp.losses.Quantiles(np.arange(1, size + 1) / (size + 1)), size),
        "classes": (fp.losses.CrossEntropy(0.2, class_weights(size + 1)), size + 1),
        "row": (fp.losses.Row(squares, targets=size), size),
    }[kind]
    net = made(loss, outputs, dtype, seed=seed)
    X, y, w = data(net, rows, "probabilities" if kind == "classes" else "any", seed)
    each = [net.loss_and_gradient(X[i : i + 1], y[i : i + 1]) for i in range(rows)]
    value, gradient = net.loss_and_gradient(X, y, w)
    epsilon = float(np.finfo(dtype).eps)
    assert value == pytest.approx(np.average([v for v, _ in each], weights=w), rel=50 * epsilon)
    mean = np.average([g.astype(np.float64) for _, g in each], axis=0, weights=w)
    assert error(gradient, mean) < 300 * epsilon
    assert error(net.per_sample_gradients(X, y), np.array([g for _, g in each])) < 300 * epsilon
    # every row on its own, wherever it stands
    one, other = (net.per_sample_gradients(X[s], y[s]) for s in (slice(0, rows), slice(0, 1)))
    np.testing.assert_allclose(one[:1], other, rtol=0, atol=30 * epsilon * abs(other).max())


# ---- class weights


def test_with_indices_the_classes_weigh_the_samples():
    c = class_weights()
    plain = made("cross_entropy", CLASSES)
    weighted = made(fp.losses.CrossEntropy(class_weight=c), CLASSES)
    X, y, w = data(plain, 90, "indices")
    of_classes = w * np.array(c)[y]
    assert weighted.loss(X, y, w) == pytest.approx(plain.loss(X, y, of_classes), rel=1e-14)
    options = {"epochs": 3, "rng": 0, "optimizer": fp.SGD(0.1)}
    one = weighted.fit(X, y, sample_weight=w, validation_data=(X, y), **options)
    other = plain.fit(X, y, sample_weight=of_classes, **options)
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-12)
    np.testing.assert_allclose(weighted.params, plain.params, rtol=1e-11)
    assert one.val_loss[-1] == pytest.approx(plain.loss(X, y, np.array(c)[y]), rel=1e-12)


def test_a_class_of_weight_0_does_not_count():
    net = made(fp.losses.CrossEntropy(class_weight=(1, 1, 0)), 3)
    X, y, _ = data(net, 60, "indices")
    counted = y < 2
    assert net.loss(X, y) == pytest.approx(net.loss(X[counted], y[counted]), rel=1e-14)
    gradients = net.per_sample_gradients(X, y)
    assert not gradients[~counted].any()
    assert gradients[counted].any(axis=1).all()
    rows = one_hot(y, 3)
    expected = made("cross_entropy", 3).loss(X[counted], y[counted]) * counted.mean()
    assert net.loss(X, rows) == pytest.approx(expected, rel=1e-14)
    with pytest.raises(ValueError, match="class_weight of the sample's class"):
        net.loss(X[~counted], y[~counted])


def test_weights_of_classes_are_the_same_in_parts_and_in_batches(mapped, monkeypatch):
    from flatprop.samples import in_parts

    net = made(fp.losses.CrossEntropy(0.1, class_weights()), CLASSES, "float32")
    X, y, _ = data(net, 300, "indices")
    expected = net.loss(X, y)
    monkeypatch.setattr(in_parts, "PART_BYTES", 1000)
    x, target = X.astype(np.float32), y.astype(np.float32)
    for given_x, given_y in ((mapped(x), target), (mapped(x), mapped(target))):
        assert net.loss(given_x, given_y) == pytest.approx(expected, rel=1e-6)
    batches = [(X[:256], y[:256]), (X[256:], y[256:])]
    one, other = net.copy(), net.copy()
    one.fit(batches, epochs=2, optimizer=fp.SGD(0.1))
    other.fit(X, y, epochs=2, batch_size=256, optimizer=fp.SGD(0.1), shuffle=False)
    np.testing.assert_allclose(one.params, other.params, rtol=1e-5)
    zero = made(fp.losses.CrossEntropy(class_weight=(1, 1, 1, 1, 0)), CLASSES)
    zero.fit([(X, y), (X[y == 4], y[y == 4])], epochs=1)
    assert np.isfinite(zero.params).all()


def test_the_plain_cross_entropy_is_untouched():
    net = made(fp.losses.CrossEntropy(), CLASSES)
    assert net.objectives["function"] == 0
    assert net.objectives["loss"] == made("cross_entropy", CLASSES).objectives["loss"]
    assert made(fp.losses.CrossEntropy(0.1), CLASSES).objectives["function"] != 0
    assert "class_weight" not in fp.losses.CrossEntropy().described()


# ---- the user's own


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("targets", [1, 3])
def test_an_own_loss_is_what_its_formula_is(dtype, targets):
    own = made(fp.losses.Row(gaussian, targets=targets), 2 * targets, dtype)
    built_in = made("gaussian_nll", 2 * targets, dtype)
    X, y, w = data(own, 50)
    epsilon = float(np.finfo(dtype).eps)
    one, other = (net.loss_and_gradient(X, y, w) for net in (own, built_in))
    assert one[0] == pytest.approx(other[0], rel=30 * epsilon)
    assert error(one[1], other[1]) < 30 * epsilon
    v = np.random.default_rng(3).normal(size=own.params.size).astype(dtype)
    one, other = (net.hessian_vector_product(X, y, v, w) for net in (own, built_in))
    assert error(one, other) < max(1e-10, 100 * epsilon)
    assert own.hessian_vector_product(X, y, 0 * v, w).any() == 0
    fitted = (net.fit(X, y, epochs=2, optimizer=fp.SGD(0.01), rng=0) for net in (own, built_in))
    one, other = (history.loss for history in fitted)
    np.testing.assert_allclose(one, other, rtol=100 * epsilon)


def test_an_own_loss_of_several_targets_passes_the_check_of_gradients():
    net = made(fp.losses.Row(mixed, targets=2), 5)
    X, y, w = data(net, 30)
    assert fp.check_gradients(net, X, y, w) < 1e-7
    v = np.random.default_rng(3).normal(size=net.params.size)

    def gradient(step):
        moved = net.copy()
        moved.params += step * v
        return moved.loss_and_gradient(X, y, w)[1]

    product = net.hessian_vector_product(X, y, v, w)
    assert error(product, central_difference(gradient, 0.0, 1e-3)) < 1e-9


def test_an_own_loss_of_very_many_outputs():
    net = made(fp.losses.Row(squares, targets=700), 700)
    X, y, w = data(net, 5)
    half = made("half_mse", 700)
    half.params = net.params
    assert net.loss(X, y, w) == pytest.approx(half.loss(X, y, w), rel=1e-13)
    v = np.random.default_rng(3).normal(size=net.params.size)
    one, other = (n.hessian_vector_product(X, y, v, w) for n in (net, half))
    assert error(one, other) < 1e-9


@pytest.mark.parametrize(
    "reduction", ["mean over samples", "mean over samples and outputs", "sum"]
)
def test_the_reduction_of_an_own_loss(reduction):
    net = made(fp.losses.Row(squares, targets=3, reduction=reduction), 3)
    X, y, w = data(net, 20)
    each = 0.5 * ((net.predict(X) - y) ** 2).sum(axis=1)
    expected = np.average(each, weights=w) / (3 if "outputs" in reduction else 1)
    if reduction == "sum":
        expected = (w * each).sum()
    assert net.loss(X, y, w) == pytest.approx(expected, rel=1e-13)


def test_where_an_own_loss_raises_the_result_is_nan():
    net = made(fp.losses.Row(of_a_simplex, targets=1), 3)
    X, _, _ = data(net, 4)
    assert np.isfinite(net.loss(X, np.zeros(4)))
    assert np.isnan(net.loss(X, np.array([0.0, 0.0, 0.0, 99.0])))


def test_a_recompiled_own_loss_serves_new_networks():
    scale = 2.0

    @numba.njit
    def scaled(prediction, y, slope):
        slope[0] = scale * (prediction[0] - y[0])
        return 0.5 * scale * (prediction[0] - y[0]) ** 2

    old = made(fp.losses.Row(scaled, targets=1), 1)
    X, y, _ = data(old, 10)
    before = old.loss(X, y)
    scale = 6.0
    scaled.recompile()
    assert old.loss(X, y) == before
    assert old.copy().loss(X, y) == pytest.approx(3 * before)


# ---- what does not fit


@numba.njit
def unwritten(prediction, y, slope):
    slope[0] = prediction[0] - y[0]
    return 0.5 * (prediction[0] - y[0]) ** 2


@numba.njit
def wrong(prediction, y, slope):
    for k in range(prediction.size):
        slope[k] = prediction[k]
    return 0.25 * (prediction**2).sum()


@numba.njit
def wrong_of_one(prediction, y, slope):
    for k in range(prediction.size):
        slope[k] = prediction[k] - y[0] if k != 1 else y[0] - prediction[k]
    return 0.5 * ((prediction - y[0]) ** 2).sum()


@numba.njit
def two_numbers(prediction, y, slope):
    slope[:] = 0.0
    return 0.0, 0.0


@numba.njit
def changes_y(prediction, y, slope):
    slope[:] = 0.0
    y[0] += 1.0
    return 0.0


@numba.njit
def of_no_use(prediction, y, slope):
    slope[:] = 0.0
    return math.nan


@numba.njit
def of_text(prediction, y, slope):
    return prediction.no_such_thing


@numba.njit
def of_two(prediction, y):
    return 0.0


def row(function, targets=1, **options):
    return lambda: fp.losses.Row(function, targets=targets, **options)


def of_three(function, targets=1):
    return lambda: made(fp.losses.Row(function, targets=targets), 3)


BAD = {
    "an odd number of outputs": (lambda: made("gaussian_nll", 3), ValueError, "two outputs per"),
    "decreasing": (lambda: fp.losses.Quantiles((0.5, 0.1)), ValueError, "increase"),
    "equal": (lambda: fp.losses.Quantiles((0.5, 0.5)), ValueError, "increase"),
    "beyond 1": (lambda: fp.losses.Quantiles((0.5, 1.0)), ValueError, "between 0 and 1"),
    "NaN": (lambda: fp.losses.Quantiles((0.5, math.nan)), ValueError, "finite"),
    "no quantile": (lambda: fp.losses.Quantiles(()), TypeError, "sequence of numbers"),
    "one number": (lambda: fp.losses.Quantiles(0.5), TypeError, "sequence of numbers"),
    "text": (lambda: fp.losses.Quantiles("0.5"), TypeError, "sequence of numbers"),
    "other outputs": (lambda: made(fp.losses.Quantiles(), 2), ValueError, r"fp.Dense\(3\)"),
    "smoothing of 1": (lambda: fp.losses.CrossEntropy(1.0), ValueError, "below 1"),
    "smoothing below 0": (lambda: fp.losses.CrossEntropy(-0.1), ValueError, "label_smoothing"),
    "a negative weight": (
        lambda: fp.losses.CrossEntropy(class_weight=(1, -1)), ValueError, "negative"
    ),
    "weights of 0": (lambda: fp.losses.CrossEntropy(class_weight=(0, 0)), ValueError, "all"),
    "a weight of NaN": (
        lambda: fp.losses.CrossEntropy(class_weight=(1, math.nan)), ValueError, "finite"
    ),
    "a table of weights": (
        lambda: fp.losses.CrossEntropy(class_weight={0: 1.0, 1: 2.0}), TypeError, "sequence"
    ),
    "a weight of 0 with smoothing": (
        lambda: fp.losses.CrossEntropy(0.1, (1, 0)), ValueError, "small weight"
    ),
    "too few weights": (
        lambda: made(fp.losses.CrossEntropy(class_weight=(1, 2)), 3), ValueError, "3 units"
    ),
    "no function": (row(3), TypeError, "compiled by @numba.njit"),
    "not compiled": (row(lambda p, y, s: 0.0), TypeError, "decorate"),
    "two arguments": (row(of_two), TypeError, "three arrays"),
    "no targets": (row(squares, 0), ValueError, "targets"),
    "half a target": (row(squares, 1.5), TypeError, "targets"),
    "another reduction": (row(squares, reduction="mean"), ValueError, "reduction"),
    "a slope not written": (of_three(unwritten), ValueError, r"slope\[1\]"),
    "wrong slopes": (of_three(wrong), ValueError, "central differences"),
    "a wrong slope": (of_three(wrong_of_one), ValueError, "central differences"),
    "two values": (of_three(two_numbers), TypeError, "one number"),
    "y is changed": (of_three(changes_y), ValueError, "changes y"),
    "never finite": (of_three(of_no_use), ValueError, "finite nowhere"),
    "what Numba cannot compile": (of_three(of_text), TypeError, "does not compile"),
    "beyond the targets": (of_three(mixed), ValueError, "beyond an array"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused(case):
    make, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        make()


def test_targets_of_another_shape_are_refused_before_anything_changes():
    net = made("gaussian_nll", 4)
    X, y, _ = data(net, 10)
    before = net.params.copy()
    assert net.targets == y.shape[1] == 2
    for false in (np.zeros((10, 4)), np.zeros(10), np.zeros((9, 2))):
        with pytest.raises(ValueError, match="y"):
            net.fit(X, false)
    with pytest.raises(ValueError, match="squares"):
        net.fit(X, y, optimizer="levenberg_marquardt")
    with pytest.raises(ValueError, match="whole row"):
        fp.specialize(net)
    with pytest.raises(AttributeError, match="describes the network"):
        net.targets = 3
    np.testing.assert_array_equal(net.params, before)


# ---- everywhere a loss counts

EVERYWHERE = {
    **CASES,
    "own": (fp.losses.Row(mixed, targets=2), 5, "any"),
    "own gaussian": (fp.losses.Row(gaussian, targets=1), 2, "any"),
}


@pytest.mark.parametrize("case", EVERYWHERE)
def test_training_by_every_way_makes_it_small(case):
    loss, outputs, kind = EVERYWHERE[case]
    net = made(loss, outputs)
    X, y, w = data(net, 64, kind)
    start = net.loss(X, y, w)
    for optimizer in ("adam", "lbfgs"):
        one = net.copy()
        history = one.fit(X, y, sample_weight=w, optimizer=optimizer, epochs=20, rng=0)
        assert history.loss[-1] < start
        assert one.loss(X, y, w) < start
    trainer = fp.Trainer(net, fp.SGD(0.01))
    for _ in range(3):
        trainer.partial_fit(X, y, sample_weight=w)
    assert net.loss(X, y, w) < start


@pytest.mark.parametrize("case", EVERYWHERE)
def test_threads_change_no_bit(case):
    loss, outputs, kind = EVERYWHERE[case]
    results = []
    for threads in (1, 2):
        net = made(loss, outputs, "float32", hidden=(64, 64))
        X, y, w = data(net, 1000, kind)
        history = net.fit(X, y, sample_weight=w, epochs=2, batch_size=512, rng=0, threads=threads)
        value, gradient = net.loss_and_gradient(X, y, w, threads=threads)
        results.append(
            (net.params, history.loss, gradient, value, net.loss(X, y, threads=threads))
        )
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("case", EVERYWHERE)
def test_a_trace_shows_value_and_slopes(case):
    loss, outputs, kind = EVERYWHERE[case]
    net = made(loss, outputs)
    X, y, _ = data(net, 6, kind)
    trace = net.trace(X, y)
    value, gradient = net.loss_and_gradient(X, y)
    assert trace.loss == pytest.approx(value, rel=1e-14)
    found = np.concatenate([np.append(t.dL_dW.ravel(), t.dL_db) for t in trace.layers])
    np.testing.assert_allclose(found, gradient, rtol=1e-12, atol=1e-15)
    last = trace.layers[-1]
    slope = last.dL_da
    if last.activation == "softmax":
        slope = last.a * (slope - (slope * last.a).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(slope, last.dL_dz, rtol=1e-11, atol=1e-15)
    assert net.loss_function.name in str(trace)


@pytest.mark.parametrize("case", EVERYWHERE)
def test_saved_pickled_and_copied(case, tmp_path):
    loss, outputs, kind = EVERYWHERE[case]
    net = made(loss, outputs)
    X, y, w = data(net, 20, kind)
    expected = net.loss(X, y, w)
    net.save(tmp_path / "net")
    functions = {f.__name__: f for f in (gaussian, mixed)}
    again = fp.load(tmp_path / "net", functions=functions)
    for other in (again, pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert other.loss_function == net.loss_function
        assert other.targets == net.targets
        assert other.loss(X, y, w) == expected
    assert net.loss_function.name in repr(net)
    assert net.loss_function.name in net.summary()


FALSE_FILES = {
    "text among quantiles": ("quantiles", {"quantiles": ["0.1", 0.5, 0.9]}),
    "quantiles that fall": ("quantiles", {"quantiles": [0.9, 0.5, 0.1]}),
    "too few quantiles": ("quantiles", {"quantiles": [0.1, 0.5]}),
    "no quantiles": ("quantiles", {}),
    "a weight too few": ("classes", {"label_smoothing": 0.1, "class_weight": [1.0, 2.0]}),
    "smoothing beyond 1": ("classes", {"label_smoothing": 2.0, "class_weight": None}),
    "half of the fields": ("classes", {"label_smoothing": 0.1}),
    "a field too many": ("gaussian", {"delta": 1.0}),
    "no number of targets": ("own", {"targets": None, "reduction": "sum"}),
    "no reduction": ("own", {"targets": 2}),
}


@pytest.mark.parametrize("case", FALSE_FILES)
def test_files_that_lie_about_the_loss_are_refused(case, tmp_path):
    from flatprop.export import files

    kind, said = FALSE_FILES[case]
    loss, outputs, names = {
        "quantiles": (fp.losses.Quantiles(), 3, {"name": "quantiles"}),
        "classes": (fp.losses.CrossEntropy(0.1), 3, {"name": "cross_entropy"}),
        "gaussian": (fp.losses.GaussianNLL(), 2, {"name": "gaussian_nll"}),
        "own": (fp.losses.Row(mixed, targets=2), 5, {"row": "mixed"}),
    }[kind]
    net = made(loss, outputs)
    description = files.described(net) | {"loss": names | said}
    files.write(tmp_path / "net", {"params": net.params}, description)
    with pytest.raises(ValueError, match="net"):
        fp.load(tmp_path / "net", functions={"mixed": mixed})


def test_metrics_compare_targets_with_what_is_predicted_for_them():
    net = made("gaussian_nll", 4)
    X, y, _ = data(net, 30)
    seen = {}

    def means(y, prediction):
        seen["y"], seen["prediction"] = y, prediction
        return 1.0

    net.fit(X, y, epochs=1, metrics={"means": means}, validation_split=0.2, rng=0)
    assert seen["y"].shape == seen["prediction"].shape
    assert seen["y"].shape[1] == 2


@pytest.mark.parametrize("name", ["GaussianNLLLoss", "pinball", "label_smoothing", "MSELoss"])
def test_names_of_other_libraries(name):
    with pytest.raises(ValueError, match=f"unknown loss '{name}'; write loss="):
        made(name, 2)


def test_a_function_of_rows_is_no_loss_of_one_output():
    with pytest.raises(TypeError, match=r"fp\.losses\.Row\(squares, targets="):
        made(squares, 2)


def test_a_module_of_pytorch_with_a_loss_of_rows():
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 6))
    net = fp.interchange.from_torch(module, loss="gaussian_nll")
    assert net.targets == 3
    with pytest.raises(ValueError, match="two outputs per target"):
        fp.interchange.from_torch(module[:1], loss="gaussian_nll")


def test_onnx_has_the_outputs_as_they_are(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    net = made("gaussian_nll", 4, "float32")
    X, _, _ = data(net, 7)
    net.to_onnx(tmp_path / "net.onnx")
    session = runtime.InferenceSession(tmp_path / "net.onnx")
    (found,) = session.run(None, {"X": X})
    np.testing.assert_allclose(found, net.predict(X), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_known_spread_is_recovered():
    """σ(x) of 4,000 samples within a tenth, where the samples are dense."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (4000, 1))
    sigma = 0.1 + 0.3 * X[:, 0] ** 2
    y = np.sin(3 * X[:, 0]) + sigma * rng.normal(size=4000)
    layers = [fp.Dense(20, "tanh"), fp.Dense(20, "tanh"), fp.Dense(2)]
    net = fp.Network(1, layers, "gaussian_nll", "float64", rng=0)
    net.fit(X, y, epochs=60, optimizer=fp.Adam(3e-3), batch_size=64, rng=0)
    net.fit(X, y, epochs=20, optimizer=fp.Adam(3e-4), batch_size=64, rng=1)
    x = np.linspace(-0.95, 0.95, 50)[:, None]
    mean, log_variance = net.predict(x).T
    assert abs(np.exp(log_variance / 2) / (0.1 + 0.3 * x[:, 0] ** 2) - 1).max() < 0.1
    assert abs(mean - np.sin(3 * x[:, 0])).max() < 0.05


@pytest.mark.slow
def test_quantiles_hold_what_they_say():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (4000, 1))
    y = X[:, 0] + (0.2 + abs(X[:, 0])) * rng.normal(size=4000)
    net = fp.Network(1, [fp.Dense(20, "tanh"), fp.Dense(3)], fp.losses.Quantiles(), rng=0)
    net.fit(X, y, epochs=40, optimizer=fp.Adam(3e-3), rng=0)
    net.fit(X, y, epochs=20, optimizer=fp.Adam(3e-4), rng=1)
    shares = (y[:, None] < net.predict(X)).mean(axis=0)
    assert abs(shares - [0.05, 0.5, 0.95]).max() < 0.02
