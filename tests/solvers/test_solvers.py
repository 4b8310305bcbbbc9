"""`fit` with a solver: what it promises whatever the method."""

import inspect

import numpy as np
import pytest

import flatprop as fp
from flatprop.evaluation import calls
from flatprop.kernels.network import damping, least_squares
from flatprop.solvers import SOLVERS
from flatprop.solvers.objective import Objective
from solver_problems import every_other, network, samples

optimize = pytest.importorskip("scipy.optimize")

BOTH = sorted(SOLVERS)


# ---- what both have in common with every optimizer


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_by_name_and_in_both_dtypes(name, dtype):
    net, exact = network(dtype=dtype), network()
    X, y, _ = samples(exact)
    before = net.loss(X, y)
    net.fit(X, y, optimizer=name, epochs=60)
    exact.fit(X, y, optimizer=name, epochs=60)
    assert net.params.dtype == np.dtype(dtype)
    assert net.loss(X, y) < before / 5
    assert net.loss(X, y) == pytest.approx(exact.loss(X, y), rel=0.05)


@pytest.mark.slow  # compiled for float32, too
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
    measure, advance = Objective.loss_and_gradient, least_squares.advance

    def interrupted(objective):
        nonlocal count
        count += 1
        if count == 8:
            raise KeyboardInterrupt
        return measure(objective)

    def interrupted_trial(model, data, block, state, course, *rest):
        if state.cursor[damping.PHASE] == damping.TRIAL and course.done[0] == 3:
            assert not np.array_equal(net.params, kept[-1])
            raise KeyboardInterrupt
        return advance(model, data, block, state, course, *rest)

    def callback(epoch):
        kept.append(epoch.network.params.copy())
        if where == "a callback" and epoch.epoch == 3:
            raise KeyboardInterrupt

    if where == "a trial":
        monkeypatch.setattr(Objective, "loss_and_gradient", interrupted)
        monkeypatch.setattr(least_squares, "advance", interrupted_trial)
        monkeypatch.setattr(calls, "SECONDS", 1e-300)  # so that each call does one thing
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
