"""One column of a table -> numbers: what it becomes is learnt from its training rows alone."""

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flatprop.cli import saved
from flatprop.cli.commas import Style
from flatprop.cli.errors import UserError, listed

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]

MOST_CATEGORIES = 50
"""A text column becomes so many inputs at most, one for each of its most frequent values."""
FARTHEST = 1e30
"""Numbers farther from the mean than so many standard deviations are put at this distance."""
NEARLY_ALL = 0.9
"""From this share of distinct values on, a text column names its rows."""

_DAY = r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}|\d{1,2}[-/]\d{1,2}[-/]\d{2})"
_TIME = r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"
_DATE = re.compile(rf"{_DAY}([ T]{_TIME}.*)?|{_TIME}")
_ROW_NAMES = re.compile(r"(?i:unnamed: 0|index|idx|id|nr|no|num|number|row|.*[ _]id)?|.*(Id|ID)")


@dataclass(frozen=True)
class Numeric:
    """A column of numbers: (value - mean) / scale, the median where one is missing.

    Parameters
    ----------
    name
        The column's name.
    mean, scale
        Mean and standard deviation of the training rows.
    median
        What stands for a missing number.
    indicator
        Whether a second input says, as 0 or 1, that the number is missing.
    comma
        What a comma in the column means, in the table it was learnt from and in the next.
    """

    name: str
    mean: float
    scale: float
    median: float
    indicator: bool = False
    comma: Style = ""

    kind = "number"

    @property
    def width(self) -> int:
        """How many inputs of the network it becomes."""
        return 1 + self.indicator

    def encode(self, column: Any) -> Floats:
        """The inputs, (rows, width), of a column of a data frame."""
        value = numbers(self.name, column)
        missing = np.isnan(value)
        with np.errstate(over="ignore"):
            scaled = (np.where(missing, self.median, value) - self.mean) / self.scale
        scaled = np.clip(scaled, -FARTHEST, FARTHEST)
        return np.stack([scaled, missing], axis=1)[:, : self.width]

    def __str__(self) -> str:
        return self.name + (" (and whether it is missing)" if self.indicator else "")


@dataclass(frozen=True)
class Categorical:
    """A column of words: one input per word, 1 where this word stands and 0 elsewhere.

    A missing word, or one that was not among the training rows, is 0 in all of them.

    Parameters
    ----------
    name
        The column's name.
    values
        The words.
    """

    name: str
    values: tuple[str, ...]

    kind = "category"

    @property
    def width(self) -> int:
        """How many inputs of the network it becomes."""
        return len(self.values)

    def encode(self, column: Any) -> Floats:
        """The inputs, (rows, width), of a column of a data frame."""
        place = words(column).map({value: at for at, value in enumerate(self.values)})
        at = place.fillna(-1).to_numpy(np.int64)
        ones: Floats = (at[:, None] == np.arange(self.width)).astype(np.float64)
        return ones

    def __str__(self) -> str:
        return f"{self.name} ({listed(self.values, 4)})"


Column: TypeAlias = Numeric | Categorical


def column_from_json(column: Any) -> Column:
    """The column that `asdict` gave, with its kind; UserError if it is something else."""
    kind, rest = saved.kind_of(column, "kind", (Numeric.kind, Categorical.kind))
    if kind == Categorical.kind:
        values = saved.are_different_texts
        rest = saved.checked(rest, "a column of words", name=saved.is_text, values=values)
        return Categorical(rest["name"], tuple(rest["values"]))
    rest = saved.checked(
        rest,
        "a column of numbers",
        name=saved.is_text,
        mean=saved.is_number,
        scale=saved.is_positive,
        median=saved.is_number,
        indicator=saved.is_flag,
        comma=lambda style: style in ("", "decimal", "thousands"),
    )
    return Numeric(**rest)


def learn_column(name: str, column: Any, training: Mask) -> Column | str:
    """What a column becomes, or why it is left out."""
    from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype

    seen = column[training]
    if column.isna().all() or seen.isna().all():
        return "it is empty"
    if is_datetime64_any_dtype(column):
        return "it holds dates; numbers made of them, such as a year or an age, can be used"
    if is_numeric_dtype(column) and not is_bool_dtype(column):
        return _learn_number(name, column, seen)
    values = words(seen).dropna()
    counts = values.value_counts()
    if len(counts) == 1 and not seen.isna().any():
        return f"it is {counts.index[0]!r} throughout"
    if all(_DATE.fullmatch(value) for value in counts.index):
        return "it holds dates; numbers made of them, such as a year or an age, can be used"
    if len(counts) > max(NEARLY_ALL * len(values), 2):
        return (
            f"nearly every row has a text of its own, such as {counts.index[0]!r}; "
            "that names rows and predicts nothing"
        )
    # By number, then by name: the same categories whatever the order of the rows.
    ranked = sorted(counts.index, key=lambda value: (-counts[value], value))
    return Categorical(name, tuple(sorted(ranked[:MOST_CATEGORIES])))


def _learn_number(name: str, column: Any, seen: Any) -> Numeric | str:
    value = numbers(name, seen)
    present = value[~np.isnan(value)]
    if present.size == 0:
        return "it is empty"
    indicator = bool(present.size < value.size)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(present.mean()), float(present.std())
        median = float(np.median(present))
        steps = np.diff(numbers(name, column))
    if present.min() == present.max():
        if not indicator:
            return f"it is {present[0]:g} throughout"
        scale = 1.0
    if _ROW_NAMES.fullmatch(name) and (steps == 1).all():
        return "it only counts the rows"
    if not (np.isfinite([mean, scale, median]).all() and scale > 0):
        return "its numbers are too large or too close together to be told apart"
    return Numeric(name, mean, scale, median, indicator)


def numbers(name: str, column: Any) -> Floats:
    """A column as numbers, NaN where there is none (infinity counts as none).

    Raises UserError if it holds text.
    """
    import pandas as pd

    try:
        value = pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        value = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        bad = np.flatnonzero(np.isnan(value) & column.notna().to_numpy())
        if bad.size:
            row = int(bad[0])
            raise UserError(
                f"column {name!r} must hold numbers, but row {row + 1} has "
                f"{str(column.iloc[row])!r}; leave the field empty where a number is missing"
            ) from None
    return np.where(np.isfinite(value), value, np.nan)


def words(column: Any) -> Any:
    """A column as texts; missing ones stay missing.

    Pandas may take the column for text, truth values or whole numbers, which depends on the
    other rows of the file. The texts are the same.
    """
    import pandas as pd

    present = column.dropna()
    texts = [_word(value) for value in present]
    return pd.Series(texts, index=present.index, dtype=object).reindex(column.index)


def _word(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return text.capitalize() if text.lower() in ("true", "false") else text
