"""L-BFGS is SciPy's, called by hand."""

import numpy as np
import pytest

import flatprop as fp
from flatprop.evaluation import calls
from flatprop.solvers import SOLVERS
from solver_problems import every_other, network, samples

optimize = pytest.importorskip("scipy.optimize")

BOTH = sorted(SOLVERS)
MORE_BY_HAND = [("mse", False), ("huber", False), ("huber", True), ("cross_entropy", True)]


@pytest.mark.parametrize(
    ("loss", "restricted"),
    [
        ("mse", True),
        ("cross_entropy", False),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE_BY_HAND),
    ],
)
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
    monkeypatch.setattr(calls, "block_rows", lambda _: 1)  # so that 16 rows are a part
    other.fit(X, y, optimizer="lbfgs", epochs=5, sample_weight=w)
    assert other.params == pytest.approx(net.params, rel=1e-9, abs=1e-9)
