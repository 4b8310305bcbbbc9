"""The defaults that suit tables: how columns become numbers, and the networks that learn them."""

import math
from typing import Any, Literal

import numpy as np
import skrub
from sklearn.base import BaseEstimator
from sklearn.compose import TransformedTargetRegressor
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    OneHotEncoder,
    SplineTransformer,
    StandardScaler,
)
from skrub import selectors

import flatprop as fp
from flatprop.formulas.optimizer import OPTIMIZERS
from flatprop.sklearn import EnsembleClassifier, EnsembleRegressor
from flatprop.validation import checks

# Chosen on 29 tables that are none of those of `benchmarks/tables.py`, each split twice.
MEMBERS = 8
"""Networks whose predictions are averaged. With 4 errors of regressions were 1 % larger."""
HIDDEN = (64, 64)
"""With 128 units probabilities were worse, and numbers the same."""
EPOCHS, PATIENCE = 100, 20
HELD_BACK = 0.1
"""Each network is as it was in the epoch that was best for this share of rows, drawn anew for
each, so that together they learn from all rows."""
ENOUGH = 60
"""Fewer rows are all trained on."""
LONG = 100_000
"""For more rows than this, memory and time count: numbers have no hat functions, all rows are
trained on, and epochs are fewer, so that as many rows are seen as in a table of this length."""
DECAY = 0.1
RATES = {"adam": 5e-3, "adamw": 5e-3, "sgd": 0.05, "rmsprop": 1e-3, "adagrad": 0.02, "rprop": 1e-2}
"""The learning rates at first; they fall to 0 along half a cosine."""
FARTHEST = 10.0
"""No number is farther from the median than so many interquartile ranges, so that outliers and
infinities leave the others their differences. Holzmüller, Grinsztajn & Steinwart (2024) clip as
smoothly at 3; errors were larger then."""
KNOTS = 8, 32
"""The fewest and the most quantiles of a column of numbers over which it has hat functions, beside
its scaled number: piecewise linear, so that networks see steps as trees do (Gorishniy, Rubachev &
Babenko 2022). Errors of regressions fell by 3 %."""
ROWS_OF_A_KNOT = 125
CATEGORIES = 200
"""A column of texts with fewer values has an input for each of them; of others 30 numbers tell how
the texts look."""
ROWS_OF_A_CATEGORY = 4
"""With fewer rows than this for each value, texts are no categories either."""


def recipe(
    task: Literal["classification", "regression"], rows: int, **overrides: Any
) -> tuple[Pipeline, BaseEstimator]:
    """What makes numbers of a table, and what learns from them; neither is fitted.

    `rows` are those to train on. Every option of the command `train` that is not None replaces
    a default: hidden, activation, loss, optimizer, learning_rate, epochs, batch_size,
    patience, weight_decay, label_smoothing, class_weight, dtype and random_state.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    seed = given.pop("random_state", 0)
    vectorizer = _vectorizer(rows, seed, given.pop("dtype", "float32"))
    return vectorizer, _estimator(task, rows, seed, **given)


def _vectorizer(rows: int, seed: int, dtype: str) -> Pipeline:
    """Every column as numbers of about unit size; what is missing or unknown is 0."""
    # Scaled before the table's numbers become float32, which keeps 7 digits.
    scaler = skrub.SquashingScaler(FARTHEST)
    scaled = skrub.ApplyToCols(scaler, cols=selectors.numeric())
    fewest, most = KNOTS
    hats = SplineTransformer(
        max(fewest, min(most, rows // ROWS_OF_A_KNOT)),
        degree=1,
        knots="quantile",
        extrapolation="constant",
        handle_missing="zeros",
    )
    dates = skrub.DatetimeEncoder(add_weekday=True, periodic_encoding="spline")
    same = FunctionTransformer(feature_names_out="one-to-one")
    numeric = FeatureUnion([("value", same), ("hats", hats)]) if rows <= LONG else same
    table = skrub.TableVectorizer(
        cardinality_threshold=min(CATEGORIES, max(20, rows // ROWS_OF_A_CATEGORY)),
        numeric=numeric,
        low_cardinality=OneHotEncoder(
            handle_unknown="ignore", dtype="float32", sparse_output=False
        ),
        high_cardinality=skrub.StringEncoder(random_state=seed),
        datetime=make_pipeline(dates, skrub.SquashingScaler()),
    )
    missing = SimpleImputer(strategy="constant", fill_value=0, add_indicator=True)
    # Where values repeat, so do quantiles, and some hats are 0 throughout.
    varying = VarianceThreshold()
    steps = [("scale", scaled), ("encode", table), ("impute", missing), ("varying", varying)]
    if dtype == "float64":
        steps.append(("dtype", FunctionTransformer(np.asarray, kw_args={"dtype": dtype})))
    return Pipeline(steps)


def _estimator(
    task: str,
    rows: int,
    seed: int,
    *,
    hidden: tuple[int, ...] = HIDDEN,
    activation: str = "gelu",
    loss: str | None = None,
    optimizer: str = "adamw",
    learning_rate: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    patience: int | None = None,
    weight_decay: float | None = None,
    label_smoothing: float = 0.0,
    class_weight: Any = None,
) -> BaseEstimator:
    """An ensemble of networks, whose targets are standardized where they are numbers."""
    if weight_decay is None:
        weight_decay = DECAY if optimizer == "adamw" else 0.0
    if patience is None:
        patience = PATIENCE if ENOUGH <= rows <= LONG else 0
    if epochs is None:
        epochs = min(EPOCHS, max(EPOCHS * LONG // rows, 5))
    if batch_size is None:
        batch_size = rows if optimizer == "rprop" else max(16, min(256, rows // 32))
    trained = rows - math.ceil(rows * HELD_BACK) if patience else rows
    rate = learning_rate or RATES.get(optimizer, 1e-2)
    kind: Any = OPTIMIZERS[checks.choice("optimizer", optimizer, OPTIMIZERS)]
    solver = kind(fp.schedules.Cosine(rate), weight_decay=weight_decay)
    settings: dict[str, Any] = {
        "hidden_layer_sizes": hidden,
        "activation": activation,
        "solver": solver,
        "alpha": 0.0,
        "batch_size": min(batch_size, trained),
        "max_iter": epochs,
        "early_stopping": "loss" if patience else False,
        "validation_fraction": HELD_BACK,
        "n_iter_no_change": patience or np.inf,
        "tol": 0.0,
        "n_estimators": MEMBERS,
        "random_state": seed,
    }
    if task == "classification":
        # The cross-entropy of two classes is that of a sigmoid.
        crosses = loss in (None, "cross_entropy", "binary_cross_entropy")
        return EnsembleClassifier(
            loss="log_loss" if crosses else loss,
            class_weight=class_weight,
            label_smoothing=label_smoothing,
            **settings,
        )
    networks = EnsembleRegressor(loss or "mse", **settings)
    # Counts stay counts, which are not negative.
    scaler = MaxAbsScaler() if loss == "poisson" else StandardScaler()
    return TransformedTargetRegressor(networks, transformer=scaler)
