"""Levenberg-Marquardt: its steps against plain NumPy and SciPy, and the units of the data."""

import numpy as np
import pytest

import flatprop as fp
from flatprop.evaluation import calls
from flatprop.kernels.network import least_squares_call
from flatprop.solvers import SOLVERS
from reference import Twin, forward, split
from solver_problems import SHAPES, every_other, network, samples

optimize = pytest.importorskip("scipy.optimize")

BOTH = sorted(SOLVERS)


# ---- Levenberg-Marquardt


def residuals_and_jacobian(twin, theta, X, y, w):
    """√w (ŷ - y) and their derivatives, (rows · outputs,) and (rows · outputs, P)."""
    W, b = split(theta, twin.sizes)
    a, slopes = forward(W, b, twin.activations, X)
    n, outputs = a[-1].shape
    J = np.empty((n, outputs, theta.size))
    for k in range(outputs):
        delta, parts = np.tile(np.eye(outputs)[k], (n, 1)), []
        for l in reversed(range(len(W))):
            product = "nj,nj->nj" if slopes[l].ndim == 2 else "ni,nij->nj"
            delta = np.einsum(product, delta, slopes[l])
            parts = [np.einsum("ni,nj->nij", a[l], delta).reshape(n, -1), delta, *parts]
            delta = delta @ W[l].T
        J[:, k] = np.concatenate(parts, axis=1)
    root = np.sqrt(w)[:, None]
    r = root * (a[-1] - y)
    return r.ravel(), (root[:, :, None] * J).reshape(-1, theta.size)


def reference(net, X, y, w, trained, epochs, mu=1e-3, mu_dec=0.1, mu_inc=10.0):
    """Hagan & Menhaj 1994 with orthogonal factors in place of normal equations: θ, Σ r²."""
    twin, losses = Twin(net), []
    theta = twin.theta
    for _ in range(epochs):
        r, J = residuals_and_jacobian(twin, theta, X, y, w)
        J = J[:, trained]
        losses.append(r @ r)
        while True:
            damped = np.vstack([J, np.sqrt(mu) * np.eye(J.shape[1])])
            step = np.linalg.lstsq(damped, -np.r_[r, np.zeros(J.shape[1])], rcond=None)[0]
            trial = theta.copy()
            trial[trained] += step
            there = residuals_and_jacobian(twin, trial, X, y, w)[0]
            if there @ there < r @ r:
                theta, mu = trial, mu * mu_dec
                break
            mu *= mu_inc
    return theta, np.array(losses)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", ["mse", "half_mse", "ssr"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_steps_are_those_of_plain_numpy(shape, loss, weighted, masked):
    net = network(shape, loss)
    X, y, w = samples(net)
    trained = every_other(net) if masked else np.ones(net.params.size, bool)
    theta, squares = reference(net, X, y, w if weighted else np.ones(len(X)), trained, 5)
    history = net.fit(
        X,
        y,
        optimizer=fp.LevenbergMarquardt(),
        epochs=5,
        sample_weight=w if weighted else None,
        trainable=trained if masked else None,
    )
    total = w.sum() if weighted else len(X)
    scale = {"mse": 1 / (total * net.outputs), "half_mse": 0.5 / total, "ssr": 1}[loss]
    assert net.params == pytest.approx(theta, rel=1e-7, abs=1e-7)
    assert history.loss == pytest.approx(scale * squares, rel=1e-9)
    assert history.stopped_by == "epochs"


def test_parts_of_the_jacobian_change_nothing(monkeypatch):
    whole, parts = network("several outputs"), network("several outputs")
    X, y, w = samples(whole)
    whole.fit(X, y, optimizer="levenberg_marquardt", epochs=4, sample_weight=w)
    monkeypatch.setattr(least_squares_call, "ENTRIES", 0)  # a few of the 40 rows
    monkeypatch.setattr(calls, "block_rows", lambda _: 3)
    parts.fit(X, y, optimizer="levenberg_marquardt", epochs=4, sample_weight=w)
    assert parts.params == pytest.approx(whole.params, rel=1e-9, abs=1e-9)


def test_a_linear_network_is_solved_at_once():
    net = fp.Network(3, [fp.Dense(2)], "ssr", "float64", rng=0)
    X, y, w = samples(net)
    net.fit(X, y, optimizer=fp.LevenbergMarquardt(mu=1e-12), epochs=1, sample_weight=w)
    A = np.c_[X, np.ones(len(X))]
    root = np.sqrt(w)[:, None]
    expected = np.linalg.lstsq(root * A, root * y, rcond=None)[0]
    assert net.params.reshape(4, 2) == pytest.approx(expected, rel=1e-9)


def test_the_optimum_is_that_of_scipy():
    net = network()
    X, y, w = samples(net)
    twin = Twin(net)

    def residuals(theta):
        return residuals_and_jacobian(twin, theta, X, y, w)[0]

    def jacobian(theta):
        return residuals_and_jacobian(twin, theta, X, y, w)[1]

    tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}
    expected = optimize.least_squares(residuals, twin.theta, jacobian, method="lm", **tight)
    solver = fp.LevenbergMarquardt(min_grad=1e-12)
    history = net.fit(X, y, optimizer=solver, epochs=500, sample_weight=w)
    assert history.stopped_by == "converged"
    assert net.loss(X, y, w) * w.sum() == pytest.approx(2 * expected.cost, rel=1e-10)
    assert net.params == pytest.approx(expected.x, rel=1e-4, abs=1e-4)


def test_what_a_callback_changes_is_gone_on_from():
    net = network()
    X, y, _ = samples(net)
    seen = []

    def halve(epoch):
        epoch.network.params[:] /= 2
        seen.append(epoch.network.loss(X, y))

    history = net.fit(X, y, optimizer="levenberg_marquardt", epochs=4, callbacks=halve)
    assert history.loss[1:] == pytest.approx(seen[:-1], rel=1e-13)
    assert net.loss(X, y) == seen[-1]


def test_what_a_callback_spoils_is_not_kept():
    net = network()
    X, y, _ = samples(net)
    seen = []

    def spoil(epoch):
        seen.append(epoch.network.params.copy())
        epoch.network.params[:] = np.nan

    with pytest.warns(fp.DivergenceWarning):
        history = net.fit(X, y, optimizer="levenberg_marquardt", callbacks=spoil)
    assert (history.stopped_by, history.epochs) == ("diverged", 1)
    assert np.array_equal(net.params, seen[0])


# ---- in the units of the targets


def fitted(scale, solver, epochs=150, dtype="float64", offset=0.0):
    """A network fitted to targets in other units, and what part of their variance is left."""
    net = network("several outputs", dtype=dtype)
    X, y, w = samples(net, 80)
    y = scale * (y + offset)
    history = net.fit(X, y, optimizer=solver, epochs=epochs, sample_weight=w)
    residuals = (net.predict(X) - y) / scale
    apart = (y - np.average(y, axis=0, weights=w)) / scale
    left = np.average(residuals**2, axis=0, weights=w) / np.average(apart**2, axis=0, weights=w)
    return net, history, left.mean()


RELATIVE = fp.LevenbergMarquardt(relative=True)


def test_the_units_of_the_targets_do_not_matter_to_relative_rules():
    left = {scale: fitted(scale, RELATIVE)[2] for scale in (1e-8, 1e-4, 1, 1e4, 1e8)}
    assert max(left.values()) < 0.05
    # Powers of two leave the same digits everywhere.
    nets, histories, _ = zip(*(fitted(2.0**k, RELATIVE, 20) for k in (-40, 20)), strict=True)
    assert np.ldexp(histories[0].loss[1:], 120) == pytest.approx(histories[1].loss[1:], rel=1e-6)
    hidden = nets[0].layers[-1]["W_start"]
    assert nets[0].params[:hidden] == pytest.approx(nets[1].params[:hidden], rel=1e-5)


def test_an_offset_of_the_targets_does_not_matter_to_relative_rules():
    assert fitted(1.0, RELATIVE, offset=1e5)[2] < 0.05


def test_units_of_the_inputs_do_not_matter_to_relative_steps():
    """Where W is in the inverse units, so that the network begins at the same outputs."""
    losses = []
    for unit in (1.0, 2.0**30):
        net = network()
        X, y, _ = samples(net)
        net.weights[0][:] /= unit
        losses.append(net.fit(unit * X, y, optimizer=RELATIVE, epochs=15).loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_relative_rules_go_on_from_a_fit():
    net, _, _ = fitted(1e6, RELATIVE)
    X, y, w = samples(net, 80)
    before = net.loss(X, 1e6 * y, w)
    history = net.fit(X, 1e6 * y, optimizer=RELATIVE, epochs=5, sample_weight=w)
    assert (np.diff(history.loss) <= 0).all()
    assert history.loss[0] == before


RELATIVE_RULES = {
    "min_grad": (fp.LevenbergMarquardt(relative=True, min_grad=1e-3), "min_grad: the cosine"),
    "goal": (fp.LevenbergMarquardt(relative=True, goal=0.2), "goal: the loss is"),
    "mu_max": (fp.LevenbergMarquardt(relative=True, min_grad=0, mu_max=2e-3), "mu_max: no"),
    "ftol": (fp.LevenbergMarquardt(relative=True, ftol=1e-4), "ftol: the loss fell by"),
    "xtol": (fp.LevenbergMarquardt(relative=True, xtol=1e-2), "xtol: θ changed by"),
}


@pytest.mark.parametrize("rule", RELATIVE_RULES)
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_a_relative_rule(rule, scale):
    solver, message = RELATIVE_RULES[rule]
    net = network()
    X, y, w = samples(net)
    y = scale * y
    history = net.fit(
        X, y, optimizer=solver, epochs=3000, sample_weight=w, tol=0 if rule == "mu_max" else None
    )
    assert history.stopped_by == "converged"
    assert history.message.startswith(message)
    if rule == "min_grad":
        r, J = residuals_and_jacobian(Twin(net), net.params, X, y, w)
        cosines = np.abs(J.T @ r) / np.linalg.norm(J, axis=0) / np.linalg.norm(r)
        assert cosines.max() <= 1e-3 * (1 + 1e-6)
    if rule == "goal":
        variance = np.average((y - np.average(y, weights=w[:, None])) ** 2, weights=w[:, None])
        assert history.loss[-1] <= 0.2 * variance < history.loss[-2]
    if rule == "ftol":
        assert 0 < 1 - history.loss[-1] / history.loss[-2] <= 1e-4
    assert net.loss(X, y, w) == pytest.approx(history.loss[-1], rel=1e-12)


@pytest.mark.parametrize(
    ("name", "scale"),
    [("lbfgs", 1e-8), ("levenberg_marquardt", 1e-8), ("levenberg_marquardt", 1e8)],
)
def test_a_rule_that_was_met_far_from_a_fit_says_so(name, scale):
    _, history, left = fitted(scale, name, 500)
    assert history.stopped_by == "converged"
    assert left > 0.1
    assert "far from a fit" in history.message
    assert "% of the targets' variance is left" in history.message
    assert ("relative=True" in history.message) == (name == "levenberg_marquardt")


def test_the_word_far_is_for_squares():
    """Of an absolute error an outlier is no reason to fit worse, and most of the variance."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (40, 1))
    y = 2 * X
    y[7] = 1e3
    for loss in ("mae", "huber", fp.losses.Quantile(0.4), "log_cosh"):
        net = fp.Network(1, [fp.Dense(1)], loss, "float64", rng=0)
        history = net.fit(X, y, optimizer="lbfgs", epochs=500)
        assert history.stopped_by == "converged"
        assert "far from" not in history.message


@pytest.mark.slow  # compiled for float32, too
def test_squares_that_underflow_want_more_digits():
    X = np.linspace(-1, 1, 30)[:, None]
    net = fp.Network(1, [fp.Dense(3, "tanh"), fp.Dense(1)], rng=0)
    optimizer = fp.LevenbergMarquardt(relative=True)
    history = net.fit(X, 1e-30 * X**2, optimizer=optimizer, epochs=50)
    assert "far from a fit" in history.message
    assert 'dtype="float64"' in history.message


@pytest.mark.parametrize("scale", [1e90, 1e120, 1e150])
def test_a_gradient_whose_squares_overflow(scale):
    X = np.linspace(-1, 1, 30)[:, None]
    losses = []
    for factor in (1.0, scale):
        net = fp.Network(1, [fp.Dense(3, "tanh"), fp.Dense(1)], dtype="float64", rng=0)
        optimizer = fp.LevenbergMarquardt(relative=True)
        losses.append(net.fit(X, factor * (X**2 + 300), optimizer=optimizer, epochs=8).loss)
    assert len(losses[0]) == 8
    # The first is before the outputs were brought to the targets.
    np.testing.assert_allclose(losses[1][1:] / scale / scale, losses[0][1:], rtol=1e-6)


@pytest.mark.slow  # compiled for float32, too
def test_a_loss_that_overflows_is_no_epoch():
    X = np.linspace(-1, 1, 30)[:, None]
    net = fp.Network(1, [fp.Dense(3, "tanh"), fp.Dense(1)], rng=0)
    before = net.params.copy()
    optimizer = fp.LevenbergMarquardt(relative=True)
    with pytest.warns(fp.DivergenceWarning, match=r"not finite; with targets of up to 1e\+25"):
        history = net.fit(X, 1e25 * X**2, optimizer=optimizer)
    assert history.epochs == 0
    assert np.array_equal(net.params, before)


@pytest.mark.parametrize("name", BOTH)
def test_a_fit_is_not_said_to_be_far(name):
    net = network()
    X, y, w = samples(net)
    history = net.fit(X, y, optimizer=name, epochs=3000, sample_weight=w, tol=1e-9)
    assert history.stopped_by == "converged"
    assert "far from" not in history.message
    constant = network().fit(X, 0 * y + 7, optimizer=name, epochs=1000, tol=0)
    assert "far from" not in constant.message
