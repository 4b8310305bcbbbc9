"""Which columns of a table say anything about its rows; which do not is told."""

import re
from collections.abc import Collection
from typing import Any

import numpy as np
import polars as pl
import skrub
from sklearn.base import BaseEstimator, TransformerMixin
from skrub.core import RejectColumn

from flatprop.tables.targets import SAME

MANY = 1000
"""A column of texts with more different values than this gets new ones all the time."""
OWN_TEXT = 0.9
"""From this share of different values on, single words name their rows."""
APART = ((10, 5.0), (2, 100.0))
"""So many other values at least, and so many times their range between them and an outlier."""

_COUNTERS = re.compile(
    r"(?i:unnamed: 0|index|idx|id|nr|no|num|number|row([ _]?(name|number|index)s?)?|.*[ _]id)?"
    r"|.*(Id|ID)"
)


class UsefulColumns(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Leave out columns that say nothing, make infinite numbers missing, and tell of both.

    Left out are columns that are empty, that have the same value throughout (numbers: but for
    rounding), that only count the rows, whose words name the rows, and that hold lists or the
    like.

    Parameters
    ----------
    keep
        The names of columns that are used in any case.

    Attributes
    ----------
    kept_ : list of str
        The columns that are used.
    gaps_ : list of str
        Those of them in which values are missing.
    notes_ : list of str
        What a reader should know of the columns.
    seen_ : dict
        The values of each column of texts, where they are not too many to remember.

    Examples
    --------
    >>> import polars as pl
    >>> from flatprop.tables.useful_columns import UsefulColumns
    >>> frame = pl.DataFrame({"id": [1, 2, 3], "x": [0.5, 0.7, 0.1]})
    >>> useful = UsefulColumns().fit(frame)
    >>> useful.transform(frame).columns, useful.notes_
    (['x'], ["column 'id' left out: it only counts the rows"])
    """

    def __init__(self, keep: Collection[str] = ()) -> None:
        self.keep = keep

    def fit(self, X: pl.DataFrame, y: Any = None) -> "UsefulColumns":
        """Look at the rows to learn from.

        Raises ValueError if no column is left.
        """
        left_out: dict[str, str] = {}
        for column in X:
            why = "" if column.name in self.keep else _useless(column)
            if why:
                left_out[column.name] = why
        self.kept_ = [name for name in X.columns if name not in left_out]
        self.notes_ = [f"column {name!r} left out: {why}" for name, why in left_out.items()]
        if not self.kept_:
            reasons = "; ".join(self.notes_) or "the target is the only one"
            raise ValueError(f"no column is left to predict from: {reasons}")
        kept = X.select(self.kept_)
        self.gaps_ = [column.name for column in kept if column.null_count()]
        self.seen_ = {}
        for column in kept:
            if column.dtype in (pl.String, pl.Categorical, pl.Enum):
                if column.n_unique() > MANY or _dates(column.drop_nulls()):
                    continue
                column = column.cast(pl.String)
                self.seen_[column.name] = column.drop_nulls().unique().sort().to_list()
            elif column.dtype.is_numeric():
                self.notes_ += _outliers(column)
        self.notes_ += _infinite_notes(kept)
        return self

    def transform(self, X: pl.DataFrame) -> pl.DataFrame:
        """The columns that are used, with nulls for infinite numbers."""
        X = X.select(self.kept_)
        infinite = [pl.col(name) for name in _infinite(X)]
        return X.with_columns(pl.when(column.is_finite()).then(column) for column in infinite)

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """The names of the columns that are used."""
        return np.array(self.kept_, dtype=object)

    def notes(self, X: pl.DataFrame) -> list[str]:
        """What is new in a table that is to be predicted from."""
        notes = []
        for name, known in self.seen_.items():
            texts = X[name].cast(pl.String).drop_nulls()
            new = texts.filter(~texts.is_in(known))
            if len(new):
                notes.append(
                    f"column {name!r}: {_rows(len(new))} a value that the training did not know, "
                    f"such as {new[0]!r}; it counts as none of the known ones"
                )
        return notes + _infinite_notes(X.select(self.kept_))


def _useless(column: pl.Series) -> str:
    """Why a column is left out; an empty text if it is not."""
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        return f"it holds {column.dtype}, not numbers or texts"
    present = column.drop_nulls()
    if column.dtype.is_float():
        present = present.filter(present.is_finite())
    if present.is_empty():
        return "it is empty"
    gaps = len(present) < len(column)
    if column.dtype.is_numeric():
        low, high = float(present.min()), float(present.max())  # type: ignore[arg-type]
        if high - low <= SAME * max(abs(low), abs(high)) and not gaps:
            return f"it is {low:g} throughout"
        whole = column.dtype.is_integer() or bool((present == present.round()).all())
        counts = whole and present.n_unique() == len(present) and high - low < 2 * len(present)
        return "it only counts the rows" if counts and _COUNTERS.fullmatch(column.name) else ""
    different = present.n_unique()
    if different == 1 and not gaps:
        return f"it is {present[0]!r} throughout"
    if column.dtype == pl.String and different > max(OWN_TEXT * len(present), 2):
        words = ~present.str.strip_chars().str.contains(r"\s")
        if words.mean() > OWN_TEXT and not _dates(present):  # type: ignore[operator]
            return (
                f"nearly every row has a text of its own, such as {present[0]!r}; that names rows "
                "and predicts nothing"
            )
    return ""


def _dates(column: pl.Series) -> bool:
    """Whether the texts are dates to skrub, whose vectorizer makes numbers of them."""
    try:
        skrub.ToDatetime().fit_transform(column)
    except RejectColumn:
        return False
    return True


def _outliers(column: pl.Series) -> list[str]:
    """A note if a few values of a column lie far apart from all the others."""
    column = column.drop_nulls().cast(pl.Float64)
    values = column.filter(column.is_finite()).unique().sort().to_numpy()
    for far in (1, 2, 3):
        for ends, others in ((values[:far], values[far:]), (values[-far:], values[:-far])):
            if len(others) < APART[-1][0]:
                continue
            gap = max(others[0] - ends[-1], ends[0] - others[-1])
            spread = others[-1] - others[0]
            if any(len(others) >= least and gap > times * spread for least, times in APART):
                count = int(column.is_in(ends.tolist()).sum())
                shown = ", ".join(f"{value:g}" for value in ends)
                return [
                    f"column {column.name!r}: {_rows(count)} {shown}, far from the others "
                    f"({others[0]:g} to {others[-1]:g}); if that stands for a missing value, "
                    "leave the field empty"
                ]
    return []


def _infinite(frame: pl.DataFrame) -> dict[str, int]:
    """How many infinite numbers there are in the columns that have any."""
    floats = frame.select(pl.col(pl.Float32, pl.Float64).is_infinite().sum())
    return {column.name: column[0] for column in floats if column[0]}


def _infinite_notes(frame: pl.DataFrame) -> list[str]:
    return [
        f"column {name!r}: {_rows(count)} an infinite number, which is taken as missing"
        for name, count in _infinite(frame).items()
    ]


def _rows(count: int) -> str:
    return "1 row has" if count == 1 else f"{count:,} rows have"
