"""What is predicted: one of several classes, or a quantity."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flatprop.cli import commas, saved
from flatprop.cli.errors import UserError, listed

Label: TypeAlias = str | int | float | bool

MOST_CLASSES = 20
"""Whole numbers are taken for classes up to so many different ones ..."""
ROWS_PER_CLASS = 5
"""... and from so many rows on for each of them, on average."""
LARGEST = 1e150
"""The squares of larger numbers than this overflow."""


@dataclass(frozen=True)
class Classes:
    """A target of labels; the network gives the probability of each.

    Parameters
    ----------
    name
        The column's name.
    labels
        The labels, as they were written, in the order of the network's outputs.
    """

    name: str
    labels: tuple[Label, ...]

    task = "classification"

    @property
    def outputs(self) -> tuple[int, ...]:
        """How many outputs the network may have: one sigmoid will do for two classes."""
        return (1, 2) if len(self.labels) == 2 else (len(self.labels),)

    def encode(self, texts: Any) -> NDArray[np.int64]:
        """The class of each row, from 0; -1 for a label that is none of them."""
        place = {str(label): index for index, label in enumerate(self.labels)}
        return np.array([place.get(str(text).strip(), -1) for text in texts], np.int64)

    def probabilities(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """(rows, classes), from the outputs of a softmax or of sigmoids."""
        p = outputs.astype(np.float64)
        if p.shape[1] == 1:
            p = np.concatenate([1 - p, p], axis=1)
        with np.errstate(all="ignore"):  # the outputs of a network from anywhere
            total = p.sum(axis=1, keepdims=True)
            return np.where(total > 0, p / np.where(total > 0, total, 1), 1 / p.shape[1])


@dataclass(frozen=True)
class Quantity:
    """A target of numbers; the network gives (value - mean) / scale.

    Parameters
    ----------
    name
        The column's name.
    mean, scale
        Mean and standard deviation of the training rows.
    """

    name: str
    mean: float = 0.0
    scale: float = 1.0

    task = "regression"
    outputs = (1,)

    def encode(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the network is to give."""
        return (value - self.mean) / self.scale

    def decode(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """The values that the outputs stand for."""
        with np.errstate(all="ignore"):
            values: NDArray[np.float64] = outputs[:, 0].astype(np.float64) * self.scale + self.mean
        return values


Target: TypeAlias = Classes | Quantity


def target_from_json(target: Any) -> Target:
    """The target that `Recipe.to_json` gave.

    Raises UserError if it is something else.
    """
    task, rest = saved.kind_of(target, "task", (Classes.task, Quantity.task))
    if task == Classes.task:
        rest = saved.checked(rest, "the target", name=saved.is_text, labels=saved.are_labels)
        return Classes(rest["name"], tuple(rest["labels"]))
    rest = saved.checked(
        rest,
        "the target",
        name=saved.is_text,
        mean=lambda mean: saved.is_number(mean) and abs(mean) <= LARGEST,
        scale=lambda scale: saved.is_positive(scale) and scale <= LARGEST,
    )
    return Quantity(**rest)


def guess_task(texts: Any, style: commas.Style = "") -> tuple[str, str]:
    """Classification or regression, and why.

    Parameters
    ----------
    texts
        The target as it is written, without missing values.
    style
        What its commas are, if it is known.
    """
    value = as_numbers(texts, style)
    if value is None:
        return "classification", "it is text"
    different = np.unique(value).size
    if not np.isfinite(value).all() or (value != np.round(value)).any():
        return "regression", "its numbers are not whole"
    if different <= MOST_CLASSES and different * ROWS_PER_CLASS <= value.size:
        return "classification", f"it holds {different} different whole numbers"
    return "regression", f"it holds {different} different numbers"


def learn_classes(name: str, texts: Any) -> Classes:
    """The classes of a column.

    Raises UserError if there is only one, or nearly every row is a class of its own.
    """
    found = {str(text).strip() for text in texts}
    if len(found) == 1:
        raise UserError(
            f"the target {name!r} is {found.pop()!r} in every row: there is nothing to learn"
        )
    if len(found) > max(len(texts) / 2, 2):
        shown = listed(sorted(found)[:3])
        other = ", or --task regression" if as_numbers(texts) is not None else ""
        raise UserError(
            f"the target {name!r} has {len(found)} different values in {len(texts)} rows "
            f"({shown}, ...): too many for classes; choose another --target{other}"
        )
    return Classes(name, tuple(_labels(found)))


def learn_quantity(
    name: str, value: NDArray[np.float64], training: NDArray[np.bool_], centred: bool
) -> Quantity:
    """Mean and scale of the training rows of a column of numbers.

    Without `centred` 0 stays 0 and the mean becomes 1: for numbers that cannot be negative.

    Raises UserError if they are all the same.
    """
    seen = value[training]
    if seen.min() == seen.max():
        raise UserError(
            f"the target {name!r} is {seen[0]:g} in every row of the training part: there is "
            "nothing to learn"
        )
    if np.abs(value).max() > LARGEST:
        raise UserError(
            f"the target {name!r} holds {value[np.abs(value).argmax()]:g}: numbers above "
            f"{LARGEST:g} are too large to be learnt"
        )
    mean, scale = float(seen.mean()), float(seen.std())
    if scale == 0:
        raise UserError(f"the numbers of the target {name!r} are too close together")
    return Quantity(name, mean, scale) if centred else Quantity(name, 0.0, abs(mean) or scale)


def as_numbers(texts: Any, style: commas.Style = "") -> NDArray[np.float64] | None:
    """Texts as numbers; None if one is not a number. Without a style, it is found out."""
    value = commas.plain_numbers(texts)
    if value is None:  # 3,5 for 3.5, or 1,234 for 1234
        value = commas.plain_numbers(commas.converted(texts, style or commas.style(texts)))
    return None if value is None else np.asarray(value, np.float64)


def _labels(texts: set[str]) -> list[Label]:
    """Texts as the numbers or truth values they are, if they are written back the same."""
    if texts <= {"True", "False"}:
        return [text == "True" for text in sorted(texts)]
    for kind in (int, float):
        try:
            labels: list[Label] = sorted(kind(text) for text in texts)
        except ValueError:
            continue
        if {str(label) for label in labels} == texts and "nan" not in texts:
            return labels
    # As numbers also where they are written otherwise, such as 01 and 02.
    return [text for _, text in sorted((_number(text), text) for text in texts)]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf
