"""Estimators whose loss sees all outputs: standard deviations, quantiles, smoothing."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")


import flatprop as fp
from flatprop.sklearn import MLPClassifier, MLPRegressor
from row_functions import squares

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

OPTIONS = {"hidden_layer_sizes": 10, "activation": "tanh", "random_state": 0, "max_iter": 80}


def spread(rows=400, columns=1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (rows, 2))
    y = np.sin(3 * X[:, :1]) + (0.1 + abs(X[:, 1:])) * rng.normal(size=(rows, columns))
    return X, y[:, 0] if columns == 1 else y


@pytest.mark.parametrize("columns", [1, 3])
def test_the_standard_deviation_of_each_target(columns):
    X, y = spread(columns=columns)
    model = MLPRegressor("gaussian_nll", solver="lbfgs", **OPTIONS).fit(X, y)
    mean, deviation = model.predict(X, return_std=True)
    assert mean.shape == deviation.shape == y.shape
    np.testing.assert_array_equal(mean, model.predict(X))
    outputs = model.network_.predict(X)
    np.testing.assert_array_equal(mean.reshape(len(X), -1), outputs[:, :columns])
    np.testing.assert_allclose(
        deviation.reshape(len(X), -1), np.exp(outputs[:, columns:] / 2), rtol=1e-14
    )
    assert model.n_outputs_ == 2 * columns
    assert model.score(X, y) > 0.2
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X, return_std=True)[1], deviation)


def test_quantiles_beside_the_one_in_the_middle():
    X, y = spread()
    loss = fp.losses.Quantiles((0.1, 0.4, 0.55, 0.9))
    model = MLPRegressor(loss, **OPTIONS, early_stopping=True).fit(X, y)
    middle, all_of_them = model.predict(X, return_quantiles=True)
    assert all_of_them.shape == (400, 4)
    np.testing.assert_array_equal(middle, all_of_them[:, 2])
    np.testing.assert_array_equal(middle, model.predict(X))
    assert model.best_validation_score_ < 1
    with pytest.raises(ValueError, match="one target"):
        MLPRegressor(loss, **OPTIONS).fit(X, np.column_stack([y, y]))


def test_an_own_loss_of_rows():
    X, y = spread(columns=2)
    model = MLPRegressor(fp.losses.Row(squares, targets=2), solver="lbfgs", **OPTIONS).fit(X, y)
    twin = MLPRegressor("half_mse", solver="lbfgs", **OPTIONS).fit(X, y)
    np.testing.assert_allclose(model.predict(X), twin.predict(X), atol=1e-4)
    with pytest.raises(ValueError, match="2 targets"):
        MLPRegressor(fp.losses.Row(squares, targets=2), **OPTIONS).fit(X, y[:, 0])


def test_what_the_loss_does_not_learn_is_refused():
    X, y = spread()
    model = MLPRegressor(solver="lbfgs", **OPTIONS).fit(X, y)
    with pytest.raises(ValueError, match="gaussian_nll"):
        model.predict(X, return_std=True)
    with pytest.raises(ValueError, match="Quantiles"):
        model.predict(X, return_quantiles=True)


def test_smoothing_of_labels_in_a_classifier():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = np.array(["a", "b", "c"])[(X @ rng.normal(size=(2, 3))).argmax(axis=1)]
    loss = fp.losses.CrossEntropy(label_smoothing=0.2, class_weight=(1, 2, 1))
    options = OPTIONS | {"alpha": 0.0, "solver": "lbfgs"}
    smoothed = MLPClassifier(loss=loss, **options).fit(X, y)
    assert smoothed.score(X, y) > 0.95
    assert smoothed.loss_ == pytest.approx(
        smoothed.network_.loss(X, np.searchsorted(smoothed.classes_, y)), rel=1e-3
    )
    plain = MLPClassifier(**options).fit(X, y)
    assert smoothed.predict_proba(X).max() < plain.predict_proba(X).max()
    with pytest.raises(ValueError, match="three classes"):
        MLPClassifier(loss=loss, **options).fit(X, y == "a")
    with pytest.raises(ValueError, match="label_smoothing"):
        fp.interchange.to_sklearn(smoothed.network_)
