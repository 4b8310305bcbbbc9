"""What estimators refuse, and that it changes nothing."""

import copy
import math

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import flatprop as fp
from estimator_data import BINARY, CLASSES, NAMES, NUMBERS, PAIRS, WEIGHT, X, furthest, quiet
from flatprop.sklearn import MLPClassifier, MLPRegressor


@pytest.mark.parametrize("kind", ["names", "binary", "classes", "one number", "pairs"])
def test_plain_arrays_go_the_same_way_as_lists(kind):
    y = {"names": NAMES.astype(str), "binary": BINARY, "classes": CLASSES}.get(kind)
    if y is not None:
        model = MLPClassifier(random_state=0).partial_fit(X, y, classes=np.unique(y))
    else:
        y = NUMBERS if kind == "one number" else PAIRS
        model = MLPRegressor(random_state=0).partial_fit(X, y)
    other = copy.deepcopy(model)
    for rows in (slice(0, 1), slice(3, 20), slice(20, 22)):
        model.partial_fit(X[rows], y[rows])
        other.partial_fit(X[rows].tolist(), y[rows].tolist())
        assert model.loss_ == other.loss_
    assert furthest(model, other) == 0
    np.testing.assert_array_equal(model.predict(X[:5]), other.predict(X[:5].tolist()))


LATER = {
    "NaN": (lambda: (np.full((2, 6), np.nan), CLASSES[:2]), "contains NaN"),
    "columns": (lambda: (X[:2, :3], CLASSES[:2]), "expecting 6 features"),
    "rows": (lambda: (X[:2], CLASSES[:3]), "inconsistent numbers of samples"),
    "a new class": (lambda: (X[:2], np.array([0, 7])), "not in `self.classes_`"),
    "a class below": (lambda: (X[:2], np.array([-1, 0])), "not in `self.classes_`"),
    "half a class": (lambda: (X[:2], np.array([0.5, 1.0])), "Unknown label type"),
    "nothing": (lambda: (X[:0], CLASSES[:0]), "0 sample"),
    "one row": (lambda: (X[0], CLASSES[:1]), "Expected 2D array"),
    "other classes": (lambda: (X[:2], CLASSES[:2], None, [0, 1]), "not the same as on last call"),
}


@pytest.mark.parametrize("case", LATER)
def test_a_later_part_of_a_stream_is_still_validated(case):
    given, message = LATER[case]
    model = MLPClassifier(random_state=0).partial_fit(X, CLASSES, classes=[0, 1, 2])
    before = model.network_.params.copy()
    with pytest.raises(ValueError, match=message):
        model.partial_fit(*given())
    np.testing.assert_array_equal(model.network_.params, before)


REFUSED = {
    "validation without y": ((X, BINARY), {"X_val": X}, {}),
    "labels of the validation": ((X, CLASSES), {"X_val": X, "y_val": CLASSES + 1}, {}),
    "weights": ((X, BINARY, WEIGHT[:3]), {}, {}),
    "other columns": ((X[:, :3], BINARY, [1.0]), {}, {}),
    "a small validation set": (
        (X, BINARY),
        {"X_val": X[:1], "y_val": BINARY[:1]},
        {"early_stopping": True},
    ),
    "negative weights": ((X, BINARY, -WEIGHT), {}, {}),
}


@quiet
@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_fit_changes_nothing(case):
    given, options, parameters = REFUSED[case]
    model = MLPClassifier(max_iter=2, random_state=0).fit(X, NAMES)
    before = model.predict(X)
    with pytest.raises((TypeError, ValueError)):
        model.set_params(**parameters).fit(*given, **options)
    np.testing.assert_array_equal(model.predict(X), before)
    fresh = clone(model)
    with pytest.raises((TypeError, ValueError)):
        fresh.fit(*given, **options)
    with pytest.raises(NotFittedError):
        fresh.predict(X)


@quiet
@pytest.mark.parametrize(
    "change", [{"hidden_layer_sizes": 7}, {"activation": "tanh"}, {"loss": "mae"}], ids=str
)
def test_a_warm_start_of_another_network_is_refused(change):
    model = MLPRegressor(max_iter=2, warm_start=True).fit(X, NUMBERS)
    before = model.predict(X)
    with pytest.raises(ValueError, match="warm_start=False"):
        model.set_params(**change).fit(X, NUMBERS)
    np.testing.assert_array_equal(model.predict(X), before)
    model.set_params(warm_start=False).fit(X, NUMBERS)


@quiet
@pytest.mark.parametrize(
    "change",
    [{"solver": "sgd"}, {"solver": "lbfgs"}, {"early_stopping": True}, {"early_stopping": False}],
    ids=str,
)
@pytest.mark.parametrize("first", [{"solver": "lbfgs"}, {"early_stopping": True}, {}], ids=str)
def test_a_warm_start_goes_on_in_another_way(first, change):
    model = MLPRegressor(max_iter=3, warm_start=True, random_state=0, **first).fit(X, NUMBERS)
    model.set_params(**change).fit(X, NUMBERS)
    assert math.isfinite(model.loss_)


# ---- what cannot be

WRONG = {
    "unknown activation": ({"activation": "rleu"}, "Did you mean 'relu'"),
    "activations for other layers": ({"activation": ["tanh", "relu"]}, "2 activations for 1"),
    "unknown solver": ({"solver": "adm"}, "Did you mean 'adam'"),
    "class of an optimizer": ({"solver": fp.Adam}, "write fp.Adam"),
    "no units": ({"hidden_layer_sizes": (4, 0)}, "must be > 0"),
    "alpha": ({"alpha": -1}, "alpha must be"),
    "learning rate": ({"learning_rate_init": 0}, "learning_rate_init must be"),
    "name of a schedule": ({"learning_rate": "inverse"}, "Did you mean 'invscaling'"),
    "iterations": ({"max_iter": 0}, "max_iter must be at least 1"),
    "batch": ({"batch_size": "full"}, "batch_size must be a whole number"),
    "fraction": ({"validation_fraction": 1}, "validation_fraction must lie"),
    "callbacks": ({"callbacks": [3]}, "callbacks must be functions"),
    "loss": ({"loss": "logloss"}, "unknown loss"),
    "a word for a truth": ({"shuffle": "no"}, "shuffle must be True or False"),
    "another word for a truth": ({"early_stopping": "no"}, "early_stopping must be True or False"),
    "momentum": ({"solver": "sgd", "momentum": 3}, "momentum must lie in"),
    "number for an activation": ({"activation": 3}, "activation must be"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_said(case):
    options, message = WRONG[case]
    model = MLPClassifier(**options)
    with pytest.raises((TypeError, ValueError), match=message):
        model.fit(X, CLASSES)
    assert not hasattr(model, "coefs_")


def test_data_that_cannot_be_are_said():
    with pytest.raises(ValueError, match="needs both X_val and y_val"):
        MLPClassifier().fit(X, CLASSES, X_val=X)
    with pytest.raises(ValueError, match="early_stopping=True"):
        MLPRegressor(early_stopping=True).partial_fit(X, NUMBERS)
    with pytest.raises(ValueError, match="balanced"):
        MLPClassifier(class_weight="balanced").partial_fit(X, CLASSES, classes=[0, 1, 2])
    with pytest.raises(AttributeError, match="partial_fit") as told:
        MLPRegressor(solver="lbfgs").partial_fit(X, NUMBERS)
    assert "lbfgs is not stochastic" in str(told.value.__cause__)
    with pytest.raises(ValueError, match="not negative"):
        MLPRegressor("poisson").fit(X, NUMBERS)
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        MLPRegressor(max_iter=1).fit(X, NUMBERS)
