"""The defaults that suit tables: how columns become numbers, and the networks that learn them."""

from typing import Any, Literal

import numpy as np
import skrub
from sklearn.base import BaseEstimator
from sklearn.compose import TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from skrub import selectors

import flatprop as fp
from flatprop.formulas.optimizer import OPTIMIZERS
from flatprop.sklearn import EnsembleClassifier, EnsembleRegressor

MEMBERS = 4
"""Networks whose predictions are averaged."""
UPDATES = 3000
"""About so many updates each network gets, as far as EPOCHS lets it."""
EPOCHS = 30, 200
"""The fewest and the most times that a network sees each row."""
CATEGORIES = 200
"""A column of fewer values has an input for each; of others 30 numbers say how the texts look."""
RATES = {"adam": 5e-3, "adamw": 5e-3, "sgd": 0.05, "rmsprop": 1e-3, "adagrad": 0.02, "rprop": 1e-2}


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
    return _vectorizer(given.pop("dtype", "float32"), seed), _estimator(task, rows, seed, **given)


def _vectorizer(dtype: str, seed: int) -> Pipeline:
    """Every column as numbers of about unit size; what is missing or unknown is 0."""
    # Scaled before the table's numbers become float32, which keeps 7 digits.
    scaled = skrub.ApplyToCols(skrub.SquashingScaler(), cols=selectors.numeric())
    table = skrub.TableVectorizer(
        cardinality_threshold=CATEGORIES,
        low_cardinality=OneHotEncoder(
            handle_unknown="ignore", dtype="float32", sparse_output=False
        ),
        high_cardinality=skrub.StringEncoder(random_state=seed),
        datetime=make_pipeline(
            skrub.DatetimeEncoder(periodic_encoding="circular"), skrub.SquashingScaler()
        ),
        drop_if_constant=True,
    )
    missing = SimpleImputer(strategy="constant", fill_value=0, add_indicator=True)
    steps = [("scale", scaled), ("encode", table), ("impute", missing)]
    if dtype == "float64":
        steps.append(("dtype", FunctionTransformer(np.asarray, kw_args={"dtype": dtype})))
    return Pipeline(steps)


def _estimator(
    task: str,
    rows: int,
    seed: int,
    *,
    hidden: tuple[int, ...] = (128, 128),
    activation: str = "gelu",
    loss: str | None = None,
    optimizer: str = "adamw",
    learning_rate: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    patience: int = 0,
    weight_decay: float | None = None,
    label_smoothing: float = 0.0,
    class_weight: Any = None,
) -> BaseEstimator:
    """An ensemble of networks, whose targets are standardized where they are numbers."""
    if batch_size is None:
        batch_size = rows if optimizer == "rprop" else max(16, min(256, rows // 32))
    if epochs is None:
        epochs = int(np.clip(UPDATES * batch_size // rows, *EPOCHS))
    if weight_decay is None:
        weight_decay = 0.02 if optimizer == "adamw" else 0.0
    rate = learning_rate or RATES.get(optimizer, 1e-2)
    solver = OPTIMIZERS[optimizer](  # type: ignore[call-arg]
        fp.schedules.Cosine(rate), weight_decay=weight_decay
    )
    settings: dict[str, Any] = {
        "hidden_layer_sizes": hidden,
        "activation": activation,
        "solver": solver,
        "alpha": 0.0,
        "batch_size": batch_size,
        "max_iter": epochs,
        "early_stopping": patience > 0,
        "n_iter_no_change": patience or np.inf,
        "tol": 0.0,
        "n_estimators": MEMBERS,
        "random_state": seed,
    }
    if task == "classification":
        return EnsembleClassifier(class_weight=class_weight, **settings)
    networks = EnsembleRegressor(loss or "mse", **settings)
    if loss == "poisson":  # its logarithm links the outputs to counts
        return networks
    return TransformedTargetRegressor(networks, transformer=StandardScaler())
