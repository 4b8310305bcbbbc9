"""The estimators go the way of scikit-learn's own, and keep its conventions."""

import numpy as np
import pytest

from reference import difference

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

import sklearn.neural_network as theirs
from sklearn.utils.estimator_checks import parametrize_with_checks

import flatprop as fp
from estimator_data import (
    BINARY,
    CLASSES,
    COUNTS,
    LABELS,
    NAMES,
    NUMBERS,
    PAIRS,
    WEIGHT,
    X,
    furthest,
    quiet,
)
from flatprop import sklearn as ours
from flatprop.samples.in_memory import in_memory
from flatprop.sklearn import MLPClassifier, MLPRegressor
from flatprop.sklearn.solving import Penalised


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)])
def test_the_conventions_of_scikit_learn(estimator, check):
    check(estimator)


# ---- the same as scikit-learn's

EARLY = {"early_stopping": True}
SAME = {
    "relu": ("MLPRegressor", NUMBERS, {"hidden_layer_sizes": (8, 5)}),
    "tanh": ("MLPRegressor", NUMBERS, {"activation": "tanh"}),
    "logistic": ("MLPRegressor", NUMBERS, {"activation": "logistic"}),
    "identity": ("MLPRegressor", NUMBERS, {"activation": "identity"}),
    "no hidden layer": ("MLPRegressor", NUMBERS, {"hidden_layer_sizes": ()}),
    "no momentum": ("MLPClassifier", CLASSES, {"momentum": 0}),
    "no nesterov": ("MLPClassifier", CLASSES, {"nesterovs_momentum": False}),
    "invscaling": ("MLPClassifier", CLASSES, {"learning_rate": "invscaling", "power_t": 0.1}),
    "adaptive": (
        "MLPClassifier",
        CLASSES,
        {"learning_rate": "adaptive", "tol": 0.02, "n_iter_no_change": 2},
    ),
    "penalty": ("MLPClassifier", CLASSES, {"alpha": 1.0}),
    "binary": ("MLPClassifier", BINARY, {}),
    "labels": ("MLPClassifier", LABELS, {}),
    "names": ("MLPClassifier", NAMES, {}),
    "poisson": ("MLPRegressor", COUNTS, {"loss": "poisson", "learning_rate_init": 1e-3}),
    "early stopping": ("MLPClassifier", CLASSES, EARLY),
    "early stopping, binary": ("MLPClassifier", BINARY, EARLY),
    "early stopping, numbers": ("MLPRegressor", PAIRS, EARLY),
}


def both(kind, y, weight=None, **options):
    options = {"random_state": 3, "shuffle": False, "max_iter": 20, **options}
    return [getattr(module, kind)(**options).fit(X, y, weight) for module in (theirs, ours)]


@quiet
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", SAME)
@pytest.mark.parametrize("batch_size", [60, 75])  # 75 leaves a last batch of 15
def test_gradient_descent_goes_the_same_way(case, weighted, batch_size):
    kind, y, options = SAME[case]
    options = {"batch_size": batch_size, "learning_rate_init": 0.02, **options}
    one, other = both(kind, y, WEIGHT if weighted else None, solver="sgd", **options)
    assert one.n_iter_ == other.n_iter_
    assert one.t_ == other.t_
    assert furthest(one, other) < 1e-13
    if case == "poisson":  # theirs has a term that does not depend on the prediction
        apart = np.subtract(other.loss_curve_, one.loss_curve_)
        assert weighted or np.ptp(apart) < 1e-12
    elif y is not PAIRS:  # of which theirs divides the loss, but not the penalty
        np.testing.assert_allclose(other.loss_curve_, one.loss_curve_, rtol=1e-12)
    else:
        np.testing.assert_allclose(other.loss_curve_, one.loss_curve_, rtol=1e-3)
    if "early" in case:
        np.testing.assert_allclose(other.validation_scores_, one.validation_scores_, rtol=1e-12)
        assert other.best_validation_score_ == pytest.approx(one.best_validation_score_)
    assert other.out_activation_ == one.out_activation_
    assert other.n_layers_ == one.n_layers_
    if kind == "MLPRegressor":
        np.testing.assert_allclose(other.predict(X), one.predict(X), rtol=1e-9)
    else:
        np.testing.assert_array_equal(other.predict(X), one.predict(X))


@quiet
@pytest.mark.parametrize("y", [CLASSES, LABELS])
def test_adam_goes_nearly_the_same_way(y):
    """Theirs adds epsilon before it corrects the bias of the moments."""
    one, other = both("MLPClassifier", y, batch_size=60)
    np.testing.assert_allclose(other.loss_curve_, one.loss_curve_, rtol=1e-5)
    np.testing.assert_allclose(other.predict_proba(X), one.predict_proba(X), atol=1e-4)


@quiet
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize(("kind", "y"), [("MLPClassifier", BINARY), ("MLPRegressor", NUMBERS)])
def test_lbfgs_goes_the_same_way(kind, y, weight):
    one, other = both(kind, y, weight, solver="lbfgs", alpha=0.1)
    assert one.n_iter_ == other.n_iter_
    assert furthest(one, other) < 1e-9
    assert other.loss_ == pytest.approx(one.loss_, rel=1e-11)


@pytest.mark.parametrize("loss", ["half_mse", "ssr"])
def test_the_penalty_of_a_solver_by_differences(loss):
    net = fp.Network(6, [fp.Dense(4, "tanh"), fp.Dense(1)], loss, "float64", rng=0)
    objective = Penalised(net, in_memory(net, X, NUMBERS, WEIGHT), 0.7)
    theta = objective.theta.copy()
    squares = sum((W**2).sum() for W in net.weights)
    per = WEIGHT.sum() if loss == "half_mse" else 1.0
    value, gradient = objective.loss_and_gradient()
    assert value == pytest.approx(net.loss(X, NUMBERS, WEIGHT) + 0.35 * squares / per)
    gradient = gradient.copy()

    def loss_at(place):
        objective.move_to(place)
        return objective.loss_and_gradient()[0]

    np.testing.assert_allclose(difference(loss_at, theta), gradient, rtol=1e-6, atol=1e-7)


@quiet
def test_partial_fit_goes_the_same_way():
    options = {"solver": "sgd", "random_state": 0, "shuffle": False}
    one, other = (module.MLPClassifier(**options) for module in (theirs, ours))
    for start in range(0, 240, 40):
        for model in (one, other):
            part = slice(start, start + 40)
            model.partial_fit(X[part], NAMES[part], classes=["ant", "bee", "cow"])
    assert furthest(one, other) < 1e-13
    assert other.t_ == one.t_ == 240


@quiet
def test_several_outputs_stop_when_theirs_do():
    targets = np.c_[NUMBERS, X[:, 2] ** 2, X[:, 3], X[:, 4]]
    options = {"solver": "sgd", "learning_rate_init": 0.02, "tol": 1e-3, "max_iter": 400}
    one, other = both("MLPRegressor", targets, batch_size=60, **options)
    assert one.n_iter_ == other.n_iter_ < 400
