"""The pipeline of a table: made, told of, saved without pickle, and loaded."""

import importlib.metadata
import math
import zipfile
from collections.abc import Callable, Collection
from os import PathLike
from typing import Any

import numpy as np
import polars as pl
import skops.io
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from skrub import TableVectorizer

from flatprop.export.writing import replaced
from flatprop.tables.numbers_in_text import NumbersInText
from flatprop.tables.recipe import recipe
from flatprop.tables.targets import Task
from flatprop.tables.useful_columns import UsefulColumns

KINDS = {
    "numeric": "numbers",
    "datetime": "dates",
    "low_cardinality": "categories",
    "high_cardinality": "texts",
}
"""What skrub's vectorizer calls its kinds of columns, and how they are called here."""
TOLD = 12
"""So many names of columns are told of each kind."""


def make(task: Task, rows: int, *, keep: Collection[str] = (), **overrides: Any) -> Pipeline:
    """A pipeline from a data frame to predictions, which is not fitted.

    Parameters
    ----------
    task
        Classification or regression.
    rows
        How many rows it is to learn from.
    keep
        Columns that are used even if they seem to say nothing.
    **overrides
        As for `recipe`.
    """
    vectorizer, estimator = recipe(task, rows, **overrides)
    return Pipeline(
        [
            ("numbers", NumbersInText()),
            ("columns", UsefulColumns(keep)),
            ("inputs", vectorizer),
            ("networks", estimator),
        ]
    )


def describe(model: Pipeline) -> list[str]:
    """What has become of the columns."""
    vectorizer = next(
        step for _, step in model["inputs"].steps if isinstance(step, TableVectorizer)
    )
    lines = []
    for kind, name in KINDS.items():
        columns = vectorizer.kind_to_columns_.get(kind, ())
        if columns:
            more = f", ... ({len(columns)} in all)" if len(columns) > TOLD else ""
            lines.append(f"{name}: {', '.join(columns[:TOLD])}{more}")
    if model["columns"].gaps_:
        lines.append(f"missing values are marked, in: {', '.join(model['columns'].gaps_)}")
    return lines


def notes(model: Pipeline, frame: pl.DataFrame | None = None) -> list[str]:
    """What a reader should know of the columns as they were learnt, or as they are in a frame."""
    numbers, columns = model["numbers"], model["columns"]
    if frame is None:
        return [*numbers.notes_, *columns.notes_]
    return [*numbers.notes(frame), *columns.notes(numbers.transform(frame))]


# ---- the networks


class Diverged(Exception):
    """The loss is no longer finite."""


def members(model: Pipeline) -> list[Any]:
    """The estimators whose predictions are averaged."""
    fitted = getattr(model[-1], "regressor_", model[-1])
    found: list[Any] = fitted.estimators_
    return found


def fit_networks(
    model: Pipeline, features: NDArray[Any], y: NDArray[Any], callbacks: list[Callable[..., Any]]
) -> bool:
    """Train the last step of a pipeline; whether Ctrl-C ended that.

    Raises Diverged if nothing came of it.
    """
    networks = getattr(model[-1], "regressor", model[-1])
    networks.set_params(callbacks=callbacks)
    try:
        model[-1].fit(features, y)
    finally:
        networks.set_params(callbacks=())
    fitted = getattr(model[-1], "regressor_", networks)
    for estimator in (fitted, *fitted.estimators_):
        estimator.set_params(callbacks=())
    if not all(math.isfinite(member.loss_) for member in fitted.estimators_):
        raise Diverged("the training diverged: the loss is no longer finite")
    interrupted = [member._interrupted for member in fitted.estimators_]
    return any(interrupted) or len(interrupted) < networks.n_estimators
