"""The recipe for tables: columns of all kinds, and faults in them."""

import warnings

import numpy as np
import pytest

pytest.importorskip("skrub", reason="the recipe for tables needs skrub")
pytest.importorskip("polars", reason="the tables are data frames of polars")

import polars as pl
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import flatprop as fp
from flatprop.tables.recipe import recipe

ROWS = 120
RNG = np.random.default_rng(0)
NUMBER = RNG.normal(size=ROWS)
TABLE = pl.DataFrame(
    {
        "number": NUMBER,
        "time": 1.7e9 + RNG.uniform(-1000, 1000, ROWS),
        "kind": RNG.choice(["a", "b", "c"], ROWS),
        "date": pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 4, 29), eager=True),
        "rounded": [0.3, 0.1 + 0.1 + 0.1] * (ROWS // 2),
    }
)


def inputs(frame, fitted_to=TABLE, **overrides):
    vectorizer = recipe("regression", ROWS, **overrides)[0]
    return np.asarray(vectorizer.fit(fitted_to).transform(frame))


def test_timestamps_keep_their_differences():
    found = inputs(TABLE.select("time"), TABLE.select("time"))
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    order = np.argsort(TABLE["time"])
    assert (np.diff(found[order, 0]) > 0).all()
    assert found[:, 0].std() > 0.3


def test_outliers_and_infinities_leave_the_other_rows_as_they_are():
    faulty = NUMBER.copy()
    faulty[:3] = -9999, np.inf, -np.inf
    clean = inputs(pl.DataFrame({"number": NUMBER}), pl.DataFrame({"number": NUMBER}))[3:, 0]
    found = inputs(pl.DataFrame({"number": faulty}), pl.DataFrame({"number": faulty}))
    assert np.isfinite(found).all()
    assert abs(found).max() <= 10
    assert 0.8 < found[3:, 0].std() / clean.std() < 1.2
    assert np.corrcoef(found[3:, 0], clean)[0, 1] > 0.98


def test_a_column_that_is_constant_but_for_rounding_does_not_explode():
    new = TABLE.with_columns(rounded=pl.lit(0.31))
    assert abs(inputs(new) - inputs(TABLE)).max() < 11


def test_new_categories_are_zeros_and_missing_numbers_are_marked():
    frame = pl.DataFrame({"kind": ["a", "b"] * 60, "number": [None, *NUMBER[1:]]})
    new = pl.DataFrame({"kind": ["never seen", "a"], "number": [0.0, None]})
    found = inputs(new, frame)
    np.testing.assert_array_equal(found[0, :2], [0, 0])
    np.testing.assert_array_equal(found[:, -1] > 0, [False, True])
    np.testing.assert_array_equal(found[1, 2:-1], 0)


def test_float64_is_computed_with_on_request():
    assert inputs(TABLE, dtype="float64").dtype == np.float64


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_what_comes_out_is_learnt_from(task):
    y = NUMBER * 100 if task == "regression" else np.where(NUMBER > 0.5, "up", "down")
    model = make_pipeline(*recipe(task, ROWS, hidden=(8,), epochs=30, dtype="float64"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the last epoch has come
        score = clone(model).fit(TABLE, y).score(TABLE, y)
    assert score > 0.9


def test_options_take_the_place_of_defaults():
    options = {
        "activation": "tanh", "optimizer": "sgd", "learning_rate": 0.3, "batch_size": 7,
        "weight_decay": 0.01, "patience": 4, "random_state": 5, "epochs": None,
    }  # fmt: skip
    found = recipe("regression", ROWS, **options, hidden=(3, 2), loss="huber")[1].regressor
    assert found.solver == fp.SGD(fp.schedules.Cosine(0.3), weight_decay=0.01)
    given = found.get_params()
    expected = {
        "activation": "tanh", "batch_size": 7, "random_state": 5, "loss": "huber",
        "hidden_layer_sizes": (3, 2), "early_stopping": "loss", "n_iter_no_change": 4,
    }  # fmt: skip
    assert {name: given[name] for name in expected} == expected
    assert recipe("regression", ROWS, patience=0)[1].regressor.early_stopping is False
    assert recipe("regression", 20)[1].regressor.early_stopping is False
    counts = recipe("regression", ROWS, loss="poisson")[1]  # not standardized
    assert counts.regressor.loss == "poisson"
    assert (counts.transformer.fit_transform(np.array([[0.0], [3.0], [6.0]])) >= 0).all()
    classes = recipe("classification", ROWS, label_smoothing=0.1, class_weight="balanced")[1]
    assert (classes.label_smoothing, classes.class_weight) == (0.1, "balanced")


def test_a_long_table_has_fewer_inputs_and_epochs():
    vectorizer, estimator = recipe("regression", 1_000_000)
    frame = pl.DataFrame({"x": [0.5, 1.5, None, 4.0] * 20})
    assert vectorizer.fit_transform(frame).shape[1] == 2  # the number, and whether it is missing
    assert estimator.regressor.max_iter == 10
    assert estimator.regressor.early_stopping is False
    assert recipe("regression", 1_000_000, epochs=3)[1].regressor.max_iter == 3
