"""A table -> numbers: which columns are kept, in which order, and what is predicted.

A `Recipe` turns the next table into numbers as the network was trained on them, and the
network's outputs into labels or values. It is saved as plain JSON.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from flatprop.cli import saved
from flatprop.cli.columns import (
    MOST_CATEGORIES,
    Categorical,
    Column,
    Floats,
    Mask,
    Numeric,
    column_from_json,
    learn_column,
    words,
)
from flatprop.cli.commas import Style
from flatprop.cli.errors import UserError, listed, nearest
from flatprop.cli.targets import Target, target_from_json


@dataclass(frozen=True)
class Recipe:
    """What turns a table into a network's inputs, and its outputs into an answer.

    Parameters
    ----------
    columns
        The columns in the order of the inputs.
    target
        What the network predicts.
    """

    columns: tuple[Column, ...]
    target: Target

    @property
    def width(self) -> int:
        """The number of inputs of the network."""
        return sum(column.width for column in self.columns)

    @property
    def texts(self) -> list[str]:
        """The columns to be read as they are written."""
        return [column.name for column in self.columns if isinstance(column, Categorical)]

    @property
    def commas(self) -> dict[str, Style]:
        """What the commas are of the columns that had any."""
        numbers = [column for column in self.columns if isinstance(column, Numeric)]
        return {column.name: column.comma for column in numbers if column.comma}

    def encode(self, frame: Any) -> Floats:
        """The inputs of a table, (rows, width); order and further columns do not matter.

        Raises UserError if a column is missing, or holds text where there were numbers.
        """
        missing = [column.name for column in self.columns if column.name not in frame]
        if missing:
            hint = nearest(missing[0], map(str, frame.columns)) if len(missing) < 3 else ""
            raise UserError(
                f"the table lacks {'columns' if len(missing) > 1 else 'the column'} that the "
                f"network was trained on: {listed(missing)}.{hint}"
            )
        return np.concatenate([c.encode(frame[c.name]) for c in self.columns], axis=1)

    def to_json(self) -> dict[str, Any]:
        """The recipe as what JSON can hold."""
        target = {"task": self.target.task, **asdict(self.target)}
        columns = [{"kind": column.kind, **asdict(column)} for column in self.columns]
        return {"columns": columns, "target": target}

    @classmethod
    def from_json(cls, table: Any) -> "Recipe":
        """The recipe that `to_json` gave.

        Raises UserError if it is something else.
        """
        given = saved.checked(
            table, "the table", columns=lambda c: isinstance(c, list) and bool(c), target=bool
        )
        columns = tuple(map(column_from_json, given["columns"]))
        names = [column.name for column in columns]
        if len(set(names)) != len(names):
            raise UserError("the description of the columns in the file names one of them twice")
        return cls(columns, target_from_json(given["target"]))


def learn_columns(
    frame: Any, training: Mask, commas: Mapping[str, Style] | None = None
) -> tuple[tuple[Column, ...], list[str]]:
    """Decide what each column becomes.

    Parameters
    ----------
    frame
        The table without its target.
    training
        The rows that may be learnt from.
    commas
        What the commas were of the columns that had any.

    Returns
    -------
    columns : tuple of Numeric or Categorical
        The columns that are kept, in the order of the table.
    notices : list of str
        Which were not, and why.

    Raises
    ------
    UserError
        If none is left.
    """
    columns: list[Column] = []
    notices: list[str] = []
    for name in frame.columns:
        found = learn_column(str(name), frame[name], training)
        if isinstance(found, str):
            notices.append(f"column {str(name)!r} left out: {found}")
            continue
        if isinstance(found, Numeric) and commas and name in commas:
            found = replace(found, comma=commas[name])
        columns.append(found)
        if isinstance(found, Categorical) and found.width == MOST_CATEGORIES:
            distinct = words(frame[name][training]).nunique()
            if distinct > MOST_CATEGORIES:
                notices.append(
                    f"column {str(name)!r} has {distinct} different values; the "
                    f"{MOST_CATEGORIES} most frequent count, the others are as if missing"
                )
    if not columns:
        reasons = "; ".join(notices) or "the target is the only one"
        raise UserError(f"no column is left to predict from: {reasons}")
    return tuple(columns), notices


def describe(columns: Sequence[Column]) -> list[str]:
    """What the columns have become, for a reader."""
    plain = [column.name for column in columns if isinstance(column, Numeric)]
    gaps = [c.name for c in columns if isinstance(c, Numeric) and c.indicator]
    lines = []
    if plain:
        lines.append(f"numbers: {listed(plain)}")
    lines += [f"categories: {c}" for c in columns if isinstance(c, Categorical)]
    if gaps:
        lines.append(f"missing numbers are replaced by the median and marked, in: {listed(gaps)}")
    return lines
