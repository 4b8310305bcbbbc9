"""The loops: rows, elements, losses, updates and the order of the samples."""

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.special import log_softmax

import flatprop as fp
import reference
from flatprop.formulas.activations import ACTIVATIONS
from flatprop.formulas.losses import LOSSES
from flatprop.formulas.optimizer import RULES, rule_code
from flatprop.kernels.compile import kernel
from flatprop.kernels.loops import elementwise, minibatch, updates
from flatprop.kernels.loops import softmax as by_rows
from flatprop.kernels.network import records
from guards import assert_guards_intact, guarded
from networks import both_dtypes, loss_records

SIZES = range(1, 21)
LENGTHS = [*range(1, 41), 63, 64, 65, 200]


@kernel
def fill(out, number):
    elementwise.fill(out, number)


@kernel
def gather(source, order, start, out):
    minibatch.gather(source, order, start, out)


@kernel
def shuffle(seed, epoch, order):
    minibatch.shuffle(seed, epoch, order)


@kernel
def weights_per_output(weight, order, start, out):
    minibatch.weights_per_output(weight, order, start, out)


@kernel
def sum_of_weights(weight, order, start, stop):
    return minibatch.sum_of_weights(weight, order, start, stop)


@kernel
def softmax(z):
    by_rows.softmax(z)


@kernel
def softmax_backward(a, delta):
    by_rows.softmax_backward(a, delta)


@kernel
def cross_entropy(z, y, weight, scale, slope):
    return by_rows.cross_entropy(z, y, weight, scale, slope)


@kernel
def multiply(factor, out):
    elementwise.multiply(factor, out)


@kernel
def squared_norm(x, start, stop):
    return elementwise.squared_norm(x, start, stop)


@kernel
def activate(code, z):
    elementwise.activate(code, 0, z)


@kernel
def activate_with_slope(code, z, slope):
    elementwise.activate_with_slope(code, 0, z, slope)


@kernel
def _loss_with_slope(records, scale, prediction, y, weight, slope):
    return elementwise.loss_with_slope(records[0], scale, prediction, y, weight, slope)


def loss_with_slope(code, parameter, *rest):
    return _loss_with_slope(loss_records(code, parameter), *rest)


@kernel
def update(code, settings, params, gradient, state, ranges, start, stop, first):
    updates.update_trained(code, settings, params, gradient, state, ranges, start, stop, first)


@kernel
def copy_and_negate(flat, start, height, width, out):
    view = records.matrix(flat, start, height, width)
    for i in range(height):
        for j in range(width):
            out[i, j] = view[i, j]
            view[i, j] = -view[i, j]


# ---- rows


@both_dtypes
def test_fill(dtype):
    for n in LENGTHS:
        whole, out = guarded(np.full((2, n), np.nan, dtype))
        fill(out, 0.5)
        assert (out == 0.5).all()
        assert_guards_intact(whole)


@both_dtypes
def test_gather(dtype):
    rng = np.random.default_rng(2)
    for n in LENGTHS:
        source = rng.normal(size=(11, n)).astype(dtype)
        order = rng.permutation(11)
        whole, out = guarded(np.full((4, n), np.nan, dtype))
        gather(source.reshape(-1), order, 5, out)
        assert (out == source[order[5:9]]).all()
        assert_guards_intact(whole)


@both_dtypes
def test_weights_of_a_batch(dtype):
    weight, nothing = np.arange(1, 8).astype(dtype), np.empty(0, dtype)
    order, no_order = np.array([6, 0, 3, 1, 5, 2, 4]), np.empty(0, np.int64)
    for given, expected in [(order, [4, 2, 6]), (no_order, [3, 4, 5])]:
        assert sum_of_weights(weight, given, 2, 5) == sum(expected)
        for n in (1, 3, 20):
            whole, out = guarded(np.full((3, n), np.nan, dtype))
            weights_per_output(weight, given, 2, out)
            assert (out == np.array(expected)[:, None]).all()
            assert_guards_intact(whole)
    out = np.full((3, 2), 9, dtype)
    weights_per_output(nothing, order, 2, out)
    assert (out == 9).all()
    assert sum_of_weights(nothing, order, 2, 5) == 3
    weights_per_output(weight, None, 2, out)
    assert (out == [[3, 3], [4, 4], [5, 5]]).all()


def logits(dtype, n):
    """Rows of n logits: ordinary ones, equal ones, and as far apart as may be."""
    rng = np.random.default_rng(n)
    far = [80, 1e4, 1e30] if dtype == np.float32 else [80, 1e4, 1e30, 1e300]
    wide = [rng.choice([-size, 0, size], n) for size in far]
    return np.array([*rng.normal(0, 3, (4, n)), np.full(n, -7), *wide]).astype(dtype)


@both_dtypes
def test_softmax(dtype):
    eps = np.finfo(dtype).eps
    for n in LENGTHS:
        z = logits(dtype, n)
        whole, a = guarded(z)
        softmax(a)
        assert np.abs(a - reference.softmax(z.astype(float))[0]).max() <= 8 * eps
        assert np.abs(a.sum(axis=1, dtype=float) - 1).max() <= 4 * eps
        assert_guards_intact(whole)


@both_dtypes
def test_softmax_backward(dtype):
    rng = np.random.default_rng(4)
    for n in LENGTHS:
        a, _ = reference.softmax(rng.normal(0, 2, (6, n)))
        a = a.astype(dtype)
        delta = rng.normal(size=(6, n)).astype(dtype)
        a64 = a.astype(float)
        jacobian = a64[:, :, None] * (np.eye(n) - a64[:, None, :])
        expected = np.einsum("ni,nij->nj", delta.astype(float), jacobian)
        whole, out = guarded(delta)
        softmax_backward(a, out)
        assert np.abs(out - expected).max() <= 4 * np.finfo(dtype).eps * np.abs(delta).max()
        assert_guards_intact(whole)


@both_dtypes
@pytest.mark.parametrize("targets", ["indices", "one-hot", "probabilities", "unnormalised"])
def test_cross_entropy(dtype, targets):
    rng = np.random.default_rng(5)
    for n in LENGTHS[1:]:
        z = logits(dtype, n)
        m = len(z)
        labels = rng.integers(0, n, m)
        if targets in ("indices", "one-hot"):
            dense = reference.one_hot(labels, n)
        else:
            dense = rng.dirichlet(np.full(n, 0.5), m) * (1 if targets == "probabilities" else 3)
            dense[:, :2] *= rng.integers(0, 2, (m, 2))  # also exact zeros
        y = labels[:, None] if targets == "indices" else dense
        w = rng.uniform(0.1, 2, m).astype(dtype)
        w[1] = 0
        weight = np.repeat(w[:, None], n, axis=1)
        y, dense = y.astype(dtype), dense.astype(dtype).astype(float)
        whole, slope = guarded(np.full((m, n), np.nan, dtype))
        # row by row, as the largest logits would hide the others in a sum
        for i in range(m):
            one = slice(i, i + 1)
            value = cross_entropy(z[one], y[one], weight[one], 0.25, slope[one])
            losses = -dense[i] * log_softmax(z[i].astype(float))
            losses = np.where(dense[i] > 0, losses, 0)
            assert np.isfinite(value)
            tolerance = 4 * np.finfo(dtype).eps * w[i] * (1 + dense[i].sum())
            assert abs(value - w[i] * losses.sum()) <= tolerance * (1 + np.abs(z[i]).max())
        p = reference.softmax(z.astype(float))[0]
        expected = 0.25 * w[:, None] * (p * dense.sum(axis=1, keepdims=True) - dense)
        assert np.abs(slope - expected).max() <= 16 * np.finfo(dtype).eps
        assert_guards_intact(whole)

        # all rows at once add up to the same
        together = np.full((m, n), np.nan, dtype)
        near = slice(0, 5)
        value = cross_entropy(z[near], y[near], weight[near], 0.25, together[near])
        losses = -np.where(dense > 0, dense * log_softmax(z.astype(float), axis=1), 0)[near]
        exact = (w[near].astype(float)[:, None] * losses).sum()
        assert value == pytest.approx(exact, rel=float(50 * np.finfo(dtype).eps))
        assert (together[near] == slope[near]).all()


# ---- elementwise


@both_dtypes
def test_multiply(dtype):
    rng = np.random.default_rng(6)
    for n in LENGTHS:
        factor, x = rng.normal(size=(2, n)).astype(dtype)
        whole, out = guarded(x)
        multiply(factor, out)
        assert (out == factor * x).all()
        assert_guards_intact(whole)


@both_dtypes
def test_squared_norm_of_a_part(dtype):
    x = np.arange(1, 101).astype(dtype)
    for start, stop in itertools.product([0, 1, 17], [17, 18, 49, 100]):
        assert squared_norm(x, start, stop) == (x[start:stop].astype(float) ** 2).sum()


def test_squared_norm_of_large_float32():
    assert squared_norm(np.full(3, 1e30, np.float32), 0, 3) == pytest.approx(3e60, rel=1e-6)


@both_dtypes
@pytest.mark.parametrize("name", reference.ELEMENTWISE)
def test_activations(name, dtype):
    rng = np.random.default_rng(7)
    z = [*rng.normal(0, 3, 400), *rng.uniform(-40, 40, 401), *np.exp(rng.uniform(-60, 0, 50))]
    z = np.array([*z, 0.0, -0.0, 1.0, -1.0], dtype)
    expected, expected_slope = reference.activate(name, z.astype(float))
    whole, a = guarded(z)
    whole_slope, slope = guarded(np.full_like(z, np.nan))
    code = ACTIVATIONS[name].code
    activate_with_slope(code, a, slope)
    only = z.copy()
    activate(code, only)
    assert (only == a).all()
    tolerance = 4 * np.finfo(dtype).eps * np.maximum(1, np.abs(z))
    assert (np.abs(a - expected) <= tolerance * np.maximum(1, np.abs(expected))).all()
    assert (np.abs(slope - expected_slope) <= tolerance * np.maximum(1, expected_slope)).all()
    assert_guards_intact(whole)
    assert_guards_intact(whole_slope)


@both_dtypes
@pytest.mark.parametrize(
    "name",
    ["identity", "tanh", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softsign"],
)
def test_activations_that_vanish_at_zero_keep_their_digits_beside_it(name, dtype):
    rng = np.random.default_rng(10)
    z = (rng.choice([-1, 1], 100) * np.exp(rng.uniform(-80, -10, 100))).astype(dtype)
    expected, _ = reference.activate(name, z.astype(float))
    activate(ACTIVATIONS[name].code, z)
    assert (np.abs(z - expected) <= 4 * np.finfo(dtype).eps * np.abs(expected)).all()


@pytest.mark.slow
@both_dtypes
def test_a_hidden_relu_is_the_formula_that_products_stand_for(dtype):
    z = np.array([-1, -0.0, 0.0, 1], dtype)
    a, slope = z.copy(), np.empty_like(z)
    activate_with_slope(ACTIVATIONS["relu"].code, a, slope)
    net = fp.Network(1, [fp.Dense(1, "relu"), fp.Dense(1)], dtype=dtype)
    net.params[:] = 1, -0.0, 1, 0
    np.testing.assert_array_equal(net.predict(z)[:, 0], a)
    dL_dx, gradient = net.vjp(z, np.ones_like(z))
    np.testing.assert_array_equal(dL_dx[:, 0], slope)
    np.testing.assert_array_equal(gradient, [slope @ z, slope.sum(), a.sum(), 4])
    net.params[0] = np.nan
    assert np.isnan(net.loss([[1]], [[1]]))


# At z = -10^30 and 10^30: a, then da/dz
FAR = {
    "identity": ((-1e30, 1e30), (1, 1)),
    "sigmoid": ((0, 1), (0, 0)),
    "tanh": ((-1, 1), (0, 0)),
    "relu": ((0, 1e30), (0, 1)),
    "leaky_relu": ((-1e28, 1e30), (0.01, 1)),
    "elu": ((-1, 1e30), (0, 1)),
    "selu": ((-1.7580993408473766, 1.0507009873554805e30), (0, 1.0507009873554805)),
    "gelu": ((0, 1e30), (0, 1)),
    "silu": ((0, 1e30), (0, 1)),
    "mish": ((0, 1e30), (0, 1)),
    "softplus": ((0, 1e30), (0, 1)),
    "softsign": ((-1, 1), (0, 0)),
    "exp": ((0, np.inf), (0, np.inf)),
}


@both_dtypes
@pytest.mark.parametrize("name", reference.ELEMENTWISE)
def test_activations_far_from_zero_and_of_nan(name, dtype):
    z = np.array([-1e30, 1e30, np.nan], dtype)
    slope = np.empty_like(z)
    activate_with_slope(ACTIVATIONS[name].code, z, slope)
    rtol = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(z[:2], FAR[name][0], rtol=rtol)
    np.testing.assert_allclose(slope[:2], FAR[name][1], rtol=rtol, atol=rtol)
    assert np.isnan(z[2])


LOSS_CASES = [
    *[("mse", {}), ("half_mse", {}), ("ssr", {}), ("mae", {}), ("log_cosh", {})],
    *[("huber", {"delta": delta}) for delta in (1.0, 0.3, 5.0)],
    *[("quantile", {"q": q}) for q in (0.5, 0.1, 0.9)],
    *[("poisson", {}), ("binary_cross_entropy", {}), ("cross_entropy", {})],
]


@both_dtypes
@pytest.mark.parametrize(("name", "parameter"), LOSS_CASES)
def test_losses(name, parameter, dtype):
    rng = np.random.default_rng(8)
    eps = np.finfo(dtype).eps
    code = list(LOSSES).index(name)
    for n in LENGTHS:
        p, y = rng.normal(0, 2, (2, n))
        y[::3] = p[::3]  # no residual
        if name == "poisson":
            p, y = np.exp(p), rng.poisson(1, n).astype(float)
        if name in ("cross_entropy", "binary_cross_entropy"):
            y = rng.uniform(0, 1, n)
            y[::4], y[1::4] = 0, 1
        if name == "cross_entropy":
            p = reference.sigmoid(p)[0]
        weight = rng.uniform(0, 2, n)
        p, y, weight = (array.astype(dtype) for array in (p, y, weight))
        p64, y64, w64 = (array.astype(float) for array in (p, y, weight))
        formula = reference.LOSSES[name][0]
        if name == "binary_cross_entropy":  # from the logits
            value = np.logaddexp(0, p64) - y64 * p64
            expected = reference.sigmoid(p64)[0] - y64
        else:
            value, expected = formula(p64, y64, **parameter)
        whole, slope = guarded(np.full(n, np.nan, dtype))
        number = next(iter(parameter.values()), 0.0)
        total = loss_with_slope(code, number, 0.5, p, y, weight, slope)
        size = np.abs(p64).max() + np.abs(y64).max() + 1
        scale = np.abs(value) + 0.1 * size
        assert abs(total - (w64 * value).sum()) <= 16 * eps * (w64 * scale).sum()
        bound = 16 * eps * np.maximum(1, np.abs(expected)) * (1 + w64)
        if name == "huber":  # d rounds to either side of delta, where both slopes agree
            bound = bound * size
        assert (np.abs(slope - 0.5 * w64 * expected) <= bound).all()
        assert_guards_intact(whole)

        # the slope may take the place of the prediction
        assert loss_with_slope(code, number, 0.5, p, y, weight, p) == total
        assert (p == slope).all()


@both_dtypes
def test_log_cosh_keeps_its_digits_near_zero_and_far_away(dtype):
    one, slope = np.ones(1, dtype), np.empty(1, dtype)
    code = list(LOSSES).index("log_cosh")
    for d in [1e-15, 1e-6, 1e-3, 0.1, 0.999, 1.0, 1.001, 5.0, 50.0, 1e4, 1e30]:
        p = np.array([d], dtype)
        exact = p[0].astype(float)
        # log cosh d = ½ log(1 + sinh² d) = |d| - log 2 + log(1 + e^-2|d|)
        expected = (
            np.log1p(np.sinh(exact) ** 2) / 2
            if d < 1
            else exact - np.log(2) + np.log1p(np.exp(-2 * exact))
        )
        value = loss_with_slope(code, 0.0, 1.0, p, 0 * one, one, slope)
        assert value == pytest.approx(expected, rel=float(8 * np.finfo(dtype).eps), abs=0)


OPTIMIZERS = [
    fp.SGD(0.1, weight_decay=0.2),
    fp.SGD(0.1, momentum=0.9, nesterov=True),
    fp.Adam(0.1),
    fp.AdamW(0.1, amsgrad=True),
    fp.RMSprop(0.1),
    fp.RMSprop(0.1, centered=True, momentum=0.5),
    fp.Adagrad(0.1, lr_decay=0.1),
    fp.Rprop(0.1),
]


def test_every_update_there_is_is_in_the_table():
    assert {rule_code(optimizer) for optimizer in OPTIMIZERS} == set(range(len(RULES)))


@both_dtypes
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_update_of_a_part(optimizer, dtype):
    rng = np.random.default_rng(9)
    twin = reference.updating(
        optimizer.name,
        **{k: v for k, v in vars(optimizer).items() if k not in ("learning_rate", "name")},
    )
    size = 70
    for start, stop in [(0, 70), (0, 1), (3, 4), (5, 40), (16, 32), (37, 70)]:
        params = rng.normal(size=size).astype(dtype)
        theta = params[start:stop].astype(float)
        before = params.copy()
        state = np.empty((optimizer.slots, size), dtype)
        state[:] = np.reshape(optimizer.initial_state(0.1), (-1, 1))
        memory = {}
        for t in range(1, 6):
            gradient = rng.normal(size=size).astype(dtype)
            settings = np.array([t, 0.1, 0.5, *optimizer.values()])
            first = start * (t % 2)  # the gradient of all parameters, or of this part alone
            code, g = rule_code(optimizer), gradient[first:]
            everywhere = np.array([[0, size]])
            update(code, settings, params, g, state, everywhere, start, stop, first)
            theta = twin(theta, 0.5 * gradient[start:stop].astype(float), memory, t, 0.1)
        tolerance = 1e-4 if dtype == np.float32 else 1e-12
        np.testing.assert_allclose(params[start:stop], theta, rtol=0, atol=tolerance)
        outside = np.r_[0:start, stop:size]
        assert (params[outside] == before[outside]).all()
        initial = np.array(optimizer.initial_state(0.1), dtype).reshape(-1, 1)
        assert (state[:, outside] == initial).all()


# ---- the order of the samples


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1000])
def test_shuffle_gives_a_permutation_that_seed_and_epoch_decide(n):
    orders = {}
    for seed, epoch in itertools.product([0, 1, 2**63, 2**64 - 1], range(3)):
        order = np.full(n, -1)
        shuffle(np.uint64(seed), epoch, order)
        assert sorted(order) == list(range(n))
        again = np.arange(n)[::-1].copy()
        shuffle(np.uint64(seed), epoch, again)
        assert (order == again).all()
        orders[seed, epoch] = tuple(order)
    if n == 1000:
        assert len(set(orders.values())) == len(orders)


def shuffles(n, seeds, epochs_each):
    result = np.empty((seeds * epochs_each, n), np.int64)
    for i, (seed, epoch) in enumerate(itertools.product(range(seeds), range(epochs_each))):
        shuffle(np.uint64(seed), epoch, result[i])
    return result


@pytest.mark.parametrize(("seeds", "epochs_each"), [(20_000, 1), (1, 20_000), (200, 100)])
def test_every_sample_comes_to_every_place_equally_often(seeds, epochs_each):
    n = 10
    orders = shuffles(n, seeds, epochs_each)
    counts = np.array([np.bincount(orders[:, place], minlength=n) for place in range(n)])
    expected = len(orders) / n
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert 1e-4 < stats.chi2.sf(chi_square, (n - 1) ** 2) < 1 - 1e-4


@pytest.mark.parametrize(("seeds", "epochs_each"), [(24_000, 1), (1, 24_000)])
def test_every_permutation_is_equally_likely(seeds, epochs_each):
    orders = shuffles(4, seeds, epochs_each)
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert counts.size == 24
    assert 1e-4 < stats.chisquare(counts).pvalue < 1 - 1e-4


def test_successive_epochs_are_independent():
    n = 10
    orders = shuffles(n, 1, 20_000)
    pairs = orders[1:, 0] * n + orders[:-1, 0]
    assert 1e-4 < stats.chisquare(np.bincount(pairs, minlength=n * n)).pvalue < 1 - 1e-4


# ---- views


@both_dtypes
def test_matrix_is_a_writable_view(dtype):
    for start, height, width in [(0, 1, 1), (3, 4, 5), (7, 1, 17), (2, 17, 1), (0, 5, 6)]:
        flat = np.arange(1, 31, dtype=dtype)
        out = np.zeros((height, width), dtype)
        copy_and_negate(flat, start, height, width, out)
        expected = np.arange(1, 31, dtype=dtype)
        part = expected[start : start + height * width]
        assert (out == part.reshape(height, width)).all()
        part *= -1
        assert (flat == expected).all()
