"""The column that is to be predicted: what kind of task it is, and its labels or values."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flatprop.tables.written_numbers import MISSING, example_note, look_at, read, stray_note
from flatprop.validation import checks

Task: TypeAlias = Literal["classification", "regression"]

MOST_CLASSES = 20
"""Whole numbers are taken for classes if there are at most so many different ones,"""
ROWS_PER_CLASS = 10
"""and so many rows for each of them."""
SAME = 1e-9
"""Numbers that differ by less than this share of their size are the same but for rounding."""
LARGEST = 1e150
"""The square of a larger number is infinite."""


@dataclass(frozen=True)
class TableTarget:
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


def learn_target(frame: pl.DataFrame, name: str, task: Task | None = None) -> TableTarget:
    """The target that a column of a table holds.

    The texts have no spaces around them, and none is empty: so `read_table` leaves them. They
    are classes, also the texts NA and None; only an empty field is no class. Where the
    other texts are numbers, such a text stands for a missing number.

    Raises ValueError if nothing can be learnt from it.
    """
    column = frame[name]
    if column.dtype == pl.Boolean:  # "True" to Python, "true" to polars
        texts = column.replace_strict({True: "True", False: "False"}, return_dtype=pl.String)
    else:
        texts = column.cast(pl.String)
    present = texts.drop_nulls()
    if len(present) < 2:
        rows = "no row" if present.is_empty() else "1 row"
        raise ValueError(f"the target {name!r} has a value in {rows}; at least 2 are needed")
    values, notes = _numbers(frame, texts)
    guess = ""
    if task is None:
        task, why = _guess(None if values is None else values.drop_nulls().to_numpy())
        other = "regression" if task == "classification" else "classification"
        doubt = "" if values is None else f"; if that is wrong, --task {other}"
        guess = f"guessed, since {why}{doubt}"
    y: NDArray[Any]
    if task == "regression":
        if values is None:
            raise ValueError(
                f"the target {name!r} holds text, such as {present[0]!r}: that is a "
                "--task classification"
            )
        known = values.is_not_null().to_numpy()
        y = values.drop_nulls().to_numpy().astype(np.float64)
        _check_numbers(name, y)
    else:
        notes = []
        if values is not None:  # of numbers, words such as NA are none
            texts = texts.set(values.is_null(), None)
        known = texts.is_not_null().to_numpy()
        y = _labels(texts.drop_nulls())
        _check_classes(name, y, numbers=values is not None)
        for label, count in zip(*np.unique(y, return_counts=True), strict=True):
            if re.match(MISSING, str(label)):
                notes.append(
                    f"{str(label)!r} is a class of {count:,} rows; empty the field where it "
                    "means that the class is not known"
                )
    missing = int((~known).sum())
    if missing:
        notes.append(f"{missing:,} row{'s' * (missing > 1)} without a target left out")
    return TableTarget(name, task, y, known, guess, notes)


def _numbers(frame: pl.DataFrame, texts: pl.Series) -> tuple[pl.Series | None, list[str]]:
    """The target as numbers, None if it holds none; and what is to be told of that."""
    look, others = look_at(texts), ""
    if look is not None and look.point == look.comma and look.unclear:
        # 1,234 alone: what a comma means, the other columns may tell.
        found = [look_at(column) for column in frame if column.dtype == pl.String]
        marks = {"," if other.comma > other.point else "." for other in found if other is not None
                 and other.point != other.comma}  # fmt: skip
        others = "".join(sorted(marks))
    style = look.format(others) if look is not None else None
    if style is None:
        return None, []
    values, strays = read(texts, style)
    return values, example_note(texts, values, style) + stray_note(texts.name, values, strays)


def _guess(values: NDArray[Any] | None) -> tuple[Task, str]:
    """The task, and why."""
    if values is None:
        return "classification", "it is text"
    different = np.unique(values).size
    if not np.isfinite(values).all() or (values != np.round(values)).any():
        return "regression", "its numbers are not whole"
    if different <= MOST_CLASSES and different * ROWS_PER_CLASS <= values.size:
        return "classification", f"it holds {different} different whole numbers"
    return "regression", f"it holds {different} different numbers"


def _labels(texts: pl.Series) -> NDArray[Any]:
    """Texts as the whole numbers or truth values they are, if they are written back the same."""
    different = set(texts.unique())
    if different <= {"True", "False"}:
        return (texts == "True").to_numpy()
    try:
        whole = {str(int(text)) for text in different} == different
    except ValueError:
        whole = False
    if whole and all(abs(int(text)) < 2**63 for text in different):
        return texts.cast(pl.Int64).to_numpy()
    return np.array(texts.to_list())


def _check_numbers(name: str, y: NDArray[np.float64]) -> None:
    if not np.isfinite(y).all():
        raise ValueError(f"the target {name!r} holds an infinite number; remove its row")
    if abs(y).max() > LARGEST:
        raise ValueError(
            f"the target {name!r} holds {y[abs(y).argmax()]:g}: numbers above {LARGEST:g} are "
            "too large to be learnt"
        )
    low, high = y.min(), y.max()
    if high - low <= SAME * max(abs(low), abs(high)):
        raise ValueError(
            f"the target {name!r} is {y[0]:g} in every row: there is nothing to learn"
        )


def _check_classes(name: str, y: NDArray[Any], numbers: bool) -> None:
    labels = np.unique(y)
    if labels.size == 1:
        raise ValueError(
            f"the target {name!r} is {str(y[0])!r} in every row: there is nothing to learn"
        )
    if labels.size > max(y.size / 2, 2):
        other = ", or --task regression" if numbers else ""
        raise ValueError(
            f"the target {name!r} has {labels.size} different values in {y.size} rows "
            f"({', '.join(map(str, labels[:3]))}, ...): too many for classes; choose another "
            f"--target{other}"
        )


def class_weights(given: str | dict[str, float] | None, target: TableTarget) -> Any:
    """Weights by label, of those by its text; a class that is not named has 1.

    Raises ValueError if there is no such class.
    """
    if given is None:
        return None
    if target.task == "regression":
        raise ValueError("class weights are for classification; this is a regression")
    if isinstance(given, str):  # "balanced"
        return given
    labels = {str(label): label for label in np.unique(target.y).tolist()}
    for name in given:
        checks.choice("class", name, [*labels])
    return dict.fromkeys(labels.values(), 1.0) | {labels[name]: w for name, w in given.items()}
