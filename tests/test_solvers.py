"""`fit` with a solver: its steps against plain NumPy and SciPy, and all that `fit` promises."""

import inspect

import numpy as np
import pytest
from tests.reference import Twin, forward, split

import flatprop as fp
from flatprop.solvers import SOLVERS, levenberg_marquardt
from flatprop.solvers.objective import Objective

optimize = pytest.importorskip("scipy.optimize")

BOTH = sorted(SOLVERS)
SHAPES = {
    # inputs, layers
    "a curve": (1, [fp.Dense(2, "tanh"), fp.Dense(1)]),
    "two hidden layers": (3, [fp.Dense(4, "sigmoid"), fp.Dense(3, "gelu"), fp.Dense(1)]),
    "several outputs": (2, [fp.Dense(4, "softplus"), fp.Dense(3)]),
    "softmax": (2, [fp.Dense(4, "tanh"), fp.Dense(3, "softmax")]),
}


def network(shape="a curve", loss="mse", dtype="float64", seed=0):
    return fp.Network(*SHAPES[shape], loss=loss, dtype=dtype, rng=seed)


def samples(net, rows=40):
    """X, noisy y that two units of tanh can follow, and weights, some of them 0."""
    rng = np.random.default_rng(1)
    X = rng.uniform(-2, 2, (rows, net.inputs))
    z = X.sum(axis=1, keepdims=True) + np.arange(net.outputs) / 2
    y = 1.5 * np.tanh(2 * z + 1) - np.tanh(3 * z - 2)
    return X, y + 0.1 * rng.normal(size=y.shape), rng.integers(0, 4, rows) / 2


def every_other(net):
    return np.arange(net.params.size) % 2 == 0


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
    monkeypatch.setattr(levenberg_marquardt, "JACOBIAN_NUMBERS", 0)  # 9 of 40 rows
    monkeypatch.setattr(fp.Network, "block_rows", 3)
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


# ---- L-BFGS


@pytest.mark.parametrize("loss", ["mse", "huber", "cross_entropy"])
@pytest.mark.parametrize("restricted", [False, True])
def test_it_is_scipy_called_by_hand(loss, restricted):
    net = network("softmax" if loss == "cross_entropy" else "several outputs", loss)
    X, y, w = samples(net)
    if loss == "cross_entropy":
        y = y.argmax(axis=1)
    options = {"maxcor": 6, "ftol": 1e-6, "gtol": 1e-3, "maxls": 15}
    trained = every_other(net) if restricted else np.ones(net.params.size, bool)
    weight = w if restricted else None
    twin = net.copy()
    losses = []

    def by_hand(theta):
        twin.params[trained] = theta
        value, gradient = twin.loss_and_gradient(X, y, weight)
        return value, gradient[trained]

    losses.append(by_hand(twin.params[trained])[0])
    expected = optimize.minimize(
        by_hand,
        twin.params[trained],
        jac=True,
        method="L-BFGS-B",
        options=options,
        callback=lambda intermediate_result: losses.append(float(intermediate_result.fun)),
    )
    history = net.fit(
        X,
        y,
        optimizer=fp.LBFGS(**options),
        epochs=5000,
        sample_weight=weight,
        trainable=trained if restricted else None,
    )
    assert history.stopped_by == "converged"
    assert expected.message in history.message
    assert history.epochs == expected.nit + 1
    assert history.loss.tolist() == losses
    assert np.array_equal(net.params[trained], expected.x)


def test_without_scipy_it_says_what_to_install(monkeypatch):
    from flatprop.solvers import lbfgs

    monkeypatch.setattr(lbfgs, "find_spec", lambda name: None)
    net = network()
    before = net.params.copy()
    with pytest.raises(ImportError, match=r"pip install 'flatprop\[solvers\]'"):
        net.fit(*samples(net)[:2], optimizer="lbfgs")
    assert np.array_equal(net.params, before)


def test_many_rows_are_added_up_in_parts(monkeypatch):
    net, other = network("several outputs"), network("several outputs")
    X, y, w = samples(net, 100)
    net.fit(X, y, optimizer="lbfgs", epochs=5, sample_weight=w)
    monkeypatch.setattr(fp.Network, "block_rows", 1)  # so that 16 rows are a part
    other.fit(X, y, optimizer="lbfgs", epochs=5, sample_weight=w)
    assert other.params == pytest.approx(net.params, rel=1e-9, abs=1e-9)


# ---- what both have in common with every optimizer


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_by_name_and_in_both_dtypes(name, dtype):
    net, exact = network(dtype=dtype), network()
    X, y, _ = samples(exact)
    before = net.loss(X, y)
    net.fit(X, y, optimizer=name, epochs=60)
    exact.fit(X, y, optimizer=name, epochs=60)
    assert net.params.dtype == np.dtype(dtype)
    assert net.loss(X, y) < before / 5
    assert net.loss(X, y) == pytest.approx(exact.loss(X, y), rel=0.05)


@pytest.mark.parametrize("name", BOTH)
def test_float32_ends_at_its_precision(name):
    net = network(dtype="float32")
    X, y, _ = samples(net)
    history = net.fit(X, y, optimizer=name, epochs=5000)
    assert history.stopped_by == "converged"
    _, gradient = net.loss_and_gradient(X, y)
    assert np.abs(gradient).max() < 1e-3


@pytest.mark.parametrize("name", BOTH)
def test_a_weight_of_two_is_the_sample_twice(name):
    net, other = network("several outputs"), network("several outputs")
    X, y, _ = samples(net)
    twice = np.arange(len(X)) % 3 == 0
    net.fit(X, y, optimizer=name, epochs=5, sample_weight=1 + twice)
    other.fit(np.r_[X, X[twice]], np.r_[y, y[twice]], optimizer=name, epochs=5)
    assert net.params == pytest.approx(other.params, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("name", BOTH)
def test_a_weight_of_zero_is_the_sample_left_out(name):
    net, other = network(), network()
    X, y, _ = samples(net)
    kept = np.arange(len(X)) % 3 != 0
    net.fit(X, y, optimizer=name, epochs=5, sample_weight=kept)
    other.fit(X[kept], y[kept], optimizer=name, epochs=5)
    assert net.params == pytest.approx(other.params, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("name", BOTH)
def test_what_is_not_trainable_stays(name):
    net = network("two hidden layers")
    X, y, _ = samples(net)
    mask, before = every_other(net), net.params.copy()
    net.fit(X, y, optimizer=name, epochs=10, trainable=mask)
    assert np.array_equal(net.params[~mask], before[~mask])
    assert (net.params[mask] != before[mask]).all()


@pytest.mark.parametrize("name", BOTH)
def test_one_entry_per_iteration(name):
    net = network()
    X, y, _ = samples(net)
    seen = []

    def callback(epoch):
        seen.append((epoch.epoch, epoch.loss, epoch.val_loss, epoch.network.loss(X, y)))
        assert (epoch.epochs, epoch.learning_rate) == (12, None)

    first = net.loss(X, y)
    history = net.fit(X, y, optimizer=name, epochs=12, callbacks=callback, validation_data=(X, y))
    numbers, losses, val_losses, measured = zip(*seen, strict=True)
    assert numbers == tuple(range(12))
    assert history.loss.tolist() == list(losses)
    assert history.val_loss.tolist() == list(val_losses) == list(measured)
    assert history.learning_rate.size == 0
    # The loss of an epoch is the one before its update, that of the validation the one after.
    assert history.loss[0] == first
    assert history.loss[1:] == pytest.approx(val_losses[:-1], rel=1e-14)
    assert history.stopped_by == "epochs"
    assert history.message == ""
    assert "12 epochs" in repr(history)


def test_the_default_batch_size_can_be_told_from_the_same_number():
    parameter = inspect.signature(fp.Network.fit).parameters["batch_size"]
    assert str(parameter).endswith("= 32")
    assert parameter.default == 32
    net = network()
    X, y, _ = samples(net)
    for batch_size in (32, np.int64(32), 39):
        with pytest.raises(ValueError, match="all 40 samples at once, but batch_s"):
            net.fit(X, y, optimizer="lbfgs", batch_size=batch_size)
    net.fit(X, y, optimizer="lbfgs", epochs=1, batch_size=parameter.default)


@pytest.mark.parametrize("name", BOTH)
def test_all_of_the_batch_however_it_is_put(name):
    nets = [network() for _ in range(4)]
    X, y, _ = samples(nets[0])
    for net, given in zip(nets, ({}, None, 40, 64), strict=True):
        options = given if given == {} else {"batch_size": given}
        net.fit(X, y, optimizer=name, epochs=3, **options)
    for other in nets[1:]:
        assert np.array_equal(nets[0].params, other.params)


@pytest.mark.parametrize("name", BOTH)
def test_nothing_is_drawn_at_random(name):
    net = network()
    X, y, _ = samples(net)
    before = net.rng.bit_generator.state
    net.fit(X, y, optimizer=name, epochs=3)
    assert net.rng.bit_generator.state == before


@pytest.mark.parametrize("name", BOTH)
def test_progress_bar(name, capsys):
    net = network()
    X, y, _ = samples(net)
    net.fit(X, y, optimizer=name, epochs=3, progress=True, validation_data=(X, y))
    text = capsys.readouterr().err
    for word in ("3/3", "loss=", "val_loss=", "epoch/s"):
        assert word in text
    assert "lr=" not in text


# ---- why it ends

RULES = {
    # solver, the beginning of the message
    "goal": (fp.LevenbergMarquardt(goal=0.02), "goal: the loss is 0.0"),
    "min_grad": (fp.LevenbergMarquardt(min_grad=1e-3), "min_grad: the gradient's norm is "),
    "mu_max": (fp.LevenbergMarquardt(min_grad=0), "mu_max: no step lowers the loss"),
    "ftol": (fp.LBFGS(ftol=1e-3), "SciPy's L-BFGS-B: CONVERGENCE: REL"),
    "gtol": (fp.LBFGS(ftol=0, gtol=1e-3), "SciPy's L-BFGS-B: CONVERGENCE: NORM"),
    "line search": (fp.LBFGS(maxls=1), "SciPy's L-BFGS-B: ABNORMAL"),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_of_the_solver_s_own(rule):
    solver, message = RULES[rule]
    net = network()
    X, y, _ = samples(net)
    history = net.fit(X, y, optimizer=solver, epochs=5000, validation_data=(X, y))
    assert history.stopped_by == "converged"
    assert history.message.startswith(message)
    assert history.epochs == len(history.val_loss) < 5000
    # The iteration that meets the rule changes nothing.
    assert history.loss[-1] == pytest.approx(net.loss(X, y), rel=1e-14)
    _, gradient = net.loss_and_gradient(X, y)
    if rule == "min_grad":
        assert np.linalg.norm(gradient) <= 1e-3
    if rule == "gtol":
        assert np.abs(gradient).max() <= 1e-3
    if rule == "goal":
        assert history.loss[-1] <= 0.02 < history.loss[-2]


@pytest.mark.parametrize("name", BOTH)
def test_an_optimum_is_recognised_at_once(name):
    net = network()
    X = samples(net)[0]
    before = net.params.copy()
    history = net.fit(X, net.predict(X), optimizer=name)
    assert history.stopped_by == "converged"
    assert history.loss.tolist() == [0.0]
    assert np.array_equal(net.params, before)


@pytest.mark.parametrize("name", BOTH)
def test_tol(name):
    net = network()
    X, y, _ = samples(net)
    history = net.fit(X, y, optimizer=name, epochs=5000, tol=1e-4)
    steps = np.abs(np.diff(history.loss))
    assert history.stopped_by == "converged"
    assert "tol = 0.0001" in history.message
    assert steps[-1] <= 1e-4
    assert (steps[:-1] > 1e-4).all()


@pytest.mark.parametrize("name", BOTH)
def test_a_callback_stops_it(name):
    net = network()
    X, y, _ = samples(net)
    history = net.fit(X, y, optimizer=name, callbacks=lambda epoch: epoch.epoch == 2)
    assert (history.stopped_by, history.epochs) == ("callback", 3)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("patience", [3, 1000])
def test_patience_leaves_the_best_of_the_validation(name, patience):
    net = network("two hidden layers")
    X, y, _ = samples(net, 60)
    y[:15] += np.random.default_rng(2).normal(size=(15, 1))  # to be learnt by heart
    validation = (X[15:], y[15:])
    history = net.fit(
        X[:15], y[:15], optimizer=name, epochs=60, validation_data=validation, patience=patience
    )
    best = int(np.argmin(history.val_loss))
    assert history.best_epoch == best < history.epochs - 1
    if patience == 3:
        assert (history.stopped_by, history.epochs) == ("patience", best + 4)
    assert net.loss(*validation) == history.val_loss[best]


@pytest.mark.parametrize("name", BOTH)
def test_patience_without_validation_leaves_what_the_best_loss_is_the_loss_of(name):
    net = network()
    X, y, _ = samples(net)
    history = net.fit(X, y, optimizer=name, epochs=7, patience=2)
    assert history.stopped_by == "epochs"
    assert history.best_epoch == 6
    assert net.loss(X, y) == pytest.approx(history.loss[6], rel=1e-14)


@pytest.mark.parametrize("name", BOTH)
def test_a_loss_that_overflows_at_once(name):
    net = fp.Network(1, [fp.Dense(1, "exp")], dtype="float64")
    net.params = [1.0, 0.0]
    with pytest.warns(fp.DivergenceWarning, match="not finite") as caught:
        history = net.fit([[800.0]], [1.0], optimizer=name)
    assert (history.stopped_by, history.epochs) == ("diverged", 0)
    assert net.params.tolist() == [1.0, 0.0]
    assert caught[0].filename == __file__
    assert str(caught[0].message) == history.message


def test_squares_of_the_jacobian_that_overflow():
    net = fp.Network(1, [fp.Dense(1)], dtype="float64")
    net.params = [1e-160, 0.0]
    with pytest.warns(fp.DivergenceWarning, match="Jacobian is not finite"):
        history = net.fit([[1e160]], [0.0], optimizer="levenberg_marquardt")
    assert history.stopped_by == "diverged"


def test_a_line_search_that_overflows():
    net = fp.Network(1, [fp.Dense(1, "exp")], dtype="float64")
    net.params = [1.0, 0.0]
    with pytest.warns(fp.DivergenceWarning, match="in a line search"):
        history = net.fit([[100.0]], [1e100], optimizer="lbfgs")
    assert history.stopped_by == "diverged"
    assert np.isfinite(net.loss([[100.0]], [1e100]))


def test_a_step_that_overflows_is_but_a_trial():
    net = fp.Network(1, [fp.Dense(1, "exp")], "ssr", dtype="float64")
    net.params = [0.0, 0.0]
    X, y = [[10.0]], [1e3]  # Gauss and Newton would go to e^999
    history = net.fit(X, y, optimizer="levenberg_marquardt", epochs=1000)
    assert history.stopped_by == "converged"
    assert net.predict(X)[0, 0] == pytest.approx(1e3)


@pytest.mark.parametrize("name", BOTH)
def test_a_validation_loss_that_is_not_finite(name):
    net = fp.Network(1, [fp.Dense(2, "exp"), fp.Dense(1)], dtype="float64", rng=0)
    X, y = np.linspace(-1, 1, 9)[:, None], np.linspace(0, 1, 9)
    with pytest.warns(fp.DivergenceWarning, match="validation"):
        history = net.fit(X, y, optimizer=name, validation_data=([[1e4], [-1e4]], [0, 0]))
    assert history.stopped_by == "diverged"
    assert history.epochs == len(history.val_loss) == 1


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("where", ["a trial", "a callback"])
def test_an_interruption_leaves_the_last_iterate(name, where, monkeypatch):
    net = network()
    X, y, _ = samples(net)
    kept, count = [net.params.copy()], 0
    measure = {"lbfgs": Objective.loss_and_gradient, "levenberg_marquardt": Objective.loss}[name]

    def interrupted(objective):
        nonlocal count
        count += 1
        if count == 8:
            raise KeyboardInterrupt
        return measure(objective)

    def callback(epoch):
        kept.append(epoch.network.params.copy())
        if where == "a callback" and epoch.epoch == 3:
            raise KeyboardInterrupt

    if where == "a trial":
        monkeypatch.setattr(Objective, measure.__name__, interrupted)
    history = net.fit(X, y, optimizer=name, callbacks=callback)
    assert history.stopped_by == "interrupted"
    assert history.epochs == len(kept) - 1 > 0
    assert np.array_equal(net.params, kept[-1])


@pytest.mark.parametrize("name", BOTH)
def test_a_failing_callback_leaves_the_last_iterate(name):
    net = network()
    X, y, _ = samples(net)

    def fail(epoch):
        if epoch.epoch == 2:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        net.fit(X, y, optimizer=name, callbacks=fail)
    assert np.isfinite(net.loss(X, y))


def test_a_checkpoint_by_hand_is_refused_too():
    net = network()
    X, y, _ = samples(net)
    with pytest.raises(ValueError, match=r"cannot be resumed; .*network\.save"):
        net.fit(X, y, optimizer="lbfgs", callbacks=lambda epoch: epoch.save_checkpoint("x"))


def test_more_parameters_than_levenberg_marquardt_can_solve_for():
    net = fp.Network(200, [fp.Dense(64, "tanh"), fp.Dense(1)], rng=0)
    X, y = np.ones((3, 200)), np.ones(3)
    before = net.params.copy()
    with pytest.raises(ValueError, match=r"12,929 parameters at once.*fp\.LBFGS"):
        net.fit(X, y, optimizer="levenberg_marquardt")
    np.testing.assert_array_equal(net.params, before)
    last = np.arange(net.params.size) >= net.params.size - 65
    net.fit(X, y, optimizer="levenberg_marquardt", epochs=2, trainable=last)
