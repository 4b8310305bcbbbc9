"""The column that is to be predicted: what kind of task it is, and its labels or values."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flatprop.tables.numbers_in_text import learn_format, read

Task: TypeAlias = Literal["classification", "regression"]

MOST_CLASSES = 20
"""Whole numbers are taken for classes if there are at most so many different ones,"""
ROWS_PER_CLASS = 10
"""and so many rows for each of them."""


@dataclass(frozen=True)
class Target:
    """What is to be predicted.

    Parameters
    ----------
    name
        The column's name.
    task
        Classification or regression.
    y
        (rows,), the labels or the numbers of the rows that have one.
    known
        (rows of the table,), which rows have one.
    guess
        Why the task was chosen; empty where it was given.
    notes
        What a reader should know.
    """

    name: str
    task: Task
    y: NDArray[Any]
    known: NDArray[np.bool_]
    guess: str = ""
    notes: list[str] = field(default_factory=list)


def learn_target(column: pl.Series, task: Task | None = None) -> Target:
    """The target that a column holds.

    Texts are classes, also the texts NA and None; only an empty field is no class. Where the
    other texts are numbers, such a text stands for a missing number.

    Raises ValueError if nothing can be learnt from it.
    """
    texts = column.cast(pl.String).str.strip_chars()
    texts = texts.set(texts == "", None)
    present = texts.drop_nulls()
    if present.is_empty():
        raise ValueError(f"the target {column.name!r} is empty in every row")
    style = learn_format(present)
    values, notes = None, []
    if style is not None:
        values, strays = read(texts, style)
    guess = ""
    if task is None:
        task, why = _guess(None if values is None else values.drop_nulls().to_numpy())
        other = "regression" if task == "classification" else "classification"
        doubt = "" if values is None else f"; if that is wrong, --task {other}"
        guess = f"guessed, since {why}{doubt}"
    if task == "regression":
        if values is None:
            raise ValueError(
                f"the target {column.name!r} holds text, such as {present[0]!r}: that is a "
                "--task classification"
            )
        notes += _read_notes(column.name, texts, values, style, strays)
        known = values.is_not_null().to_numpy()
        y = values.drop_nulls().to_numpy().astype(np.float64)
        _check_numbers(column.name, y)
    else:
        if values is not None:  # of numbers, words such as NA are none
            texts = texts.set(values.is_null(), None)
        known = texts.is_not_null().to_numpy()
        y = _labels(texts.drop_nulls())
        _check_classes(column.name, y, numbers=values is not None)
        notes += [
            f"{label!r} is a class of {count:,} rows; empty the field where it means that the "
            "class is not known"
            for label, count in zip(*np.unique(y, return_counts=True), strict=True)
            if str(label).lower() in ("na", "n/a", "nan", "none", "null", "?", "missing")
        ]
    missing = int((~known).sum())
    if missing:
        notes.append(f"{missing:,} row{'s' * (missing > 1)} without a target left out")
    return Target(column.name, task, y, known, guess, notes)
