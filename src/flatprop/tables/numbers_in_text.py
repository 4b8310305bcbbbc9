"""What stands before skrub's vectorizer: columns of number-like text -> columns of numbers."""

import difflib
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from flatprop.tables.written_numbers import Format, example_note, look_at, read, stray_note


class NumbersInText(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Read text columns of a data frame that hold numbers, and say how.

    A column becomes numbers if at most 5 % of its cells with a text are none, and most of its
    distinct texts are. So one stray cell costs no column, and a column of codes, some of which are
    digits, stays text. Strays become nulls, as do words such as `NA`, `?` or `missing`.

    | these stay text | such as |
    | --- | --- |
    | several units, or the two decimal marks | `5k` beside `200`, `2 m` beside `15 cm` |
    | digits of one width with leading zeros, or more than 5 % with them | `01234` |
    | telephone numbers, addresses, dates, times, versions, ranges | `12:30`, `1.2.3`, `10-20` |

    Whether the mark in 1,234 or 1.234 is decimal is decided by the other cells of the column, then
    by the other columns. If these do not tell either, a comma groups thousands and a point is
    decimal. Digits that stay text become a categorical column: skrub would read texts as numbers.

    Frames of pandas are taken too; what comes out is a frame of polars.

    Attributes
    ----------
    formats_ : dict of str to dict
        Of each text column that is numbers: its "decimal" mark and its "unit".
    numeric_ : list of str
        Columns that were numbers already. Text in them later is read with decimal points.
    words_ : dict of str to dict
        Of each column that stays text: how it writes what may be typed otherwise later.
    notes_ : list of str
        What was decided, a sentence each.
    feature_names_in_ : list of str
        The columns.

    Examples
    --------
    >>> import polars as pl
    >>> from flatprop.tables.numbers_in_text import NumbersInText
    >>> frame = pl.DataFrame({"area": ["75.9 m2", "1,080 m2", None]})
    >>> cleaner = NumbersInText().fit(frame)
    >>> cleaner.transform(frame)["area"].to_list()
    [75.9, 1080.0, None]
    >>> cleaner.notes_
    ["column 'area' is read as numbers: '1,080 m2' is 1080 (the comma groups thousands)"]
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn which text columns are numbers, and how they are written."""
        self.fit_transform(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> pl.DataFrame:
        """`fit`, then `transform`, with each column read once."""
        frame = _frame(X)
        self.feature_names_in_ = frame.columns
        self.n_features_in_ = frame.width
        self.numeric_ = [column.name for column in frame if column.dtype.is_numeric()]
        self.formats_: dict[str, Format] = {}
        self.words_: dict[str, dict[str, Any]] = {}
        self.notes_: list[str] = []
        found = {column.name: look_at(column) for column in frame if column.dtype == pl.String}
        others = {"."} if any(column.dtype.is_float() for column in frame) else set()
        for look in found.values():
            if look and not look.why_text and look.point != look.comma:
                others.add("." if look.point > look.comma else ",")
        columns = []
        for column in frame:
            name, look = column.name, found.get(column.name)
            form = look.format("".join(sorted(others))) if look else None
            if form:
                self.formats_[name] = form
                values, strays = read(column, form)
                self.notes_ += example_note(column, values, form)
                # No rows: these may be some of a table's, in another order.
                self.notes_ += stray_note(name, values, strays, rows=False)
                column = values
            elif name in found:
                self.words_[name] = _form_of(column, bool(look and look.codes))
                self.notes_ += [f"column {name!r} stays text: {look.why_text}"] if look else []
                column = _as_words(column, self.words_[name])
            columns.append(column)
        return pl.select(*columns)

    def transform(self, X: Any) -> pl.DataFrame:
        """The columns of `fit`, in that order, with numbers where there were numbers.

        Raises ValueError if a column is missing, or numbers have become dates or the like.
        """
        return self.transform_and_tell(X)[0]

    def transform_and_tell(self, X: Any) -> tuple[pl.DataFrame, list[str]]:
        """What `transform` gives, and what is no number there, a sentence for each column."""
        columns, notes = [], []
        for column in self._columns(X):
            if column.name in self.words_:
                columns.append(_as_words(column, self.words_[column.name]))
            elif form := self._format_of(column):
                values, strays = read(column, form)
                columns.append(values)
                notes += stray_note(column.name, values, strays)
            elif column.name not in self.formats_:
                columns.append(column)
            elif column.dtype.is_temporal() or column.dtype.is_nested():
                raise ValueError(f"column {column.name!r} held numbers, and now {column.dtype}")
            else:
                columns.append(column.cast(pl.Float64))
        return pl.select(*columns), notes

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """The columns that come out: those that came in."""
        check_is_fitted(self)
        return np.asarray(self.feature_names_in_, object)

    def _columns(self, X: Any) -> list[pl.Series]:
        check_is_fitted(self)
        frame = _frame(X)
        missing = []
        for name in self.feature_names_in_:
            if name not in frame.columns:
                near = difflib.get_close_matches(name, frame.columns, n=1, cutoff=0)
                missing.append(f"{name!r}{f' (the nearest is {near[0]!r})' if near else ''}")
        if missing:
            raise ValueError(f"the table has no column {', '.join(missing)}")
        return [frame[name] for name in self.feature_names_in_]

    def _format_of(self, column: pl.Series) -> Format | None:
        """How the texts of a column are to be read, if they are to be."""
        if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
            return None
        plain = {"decimal": ".", "unit": ""} if column.name in self.numeric_ else None
        return self.formats_.get(column.name, plain)


def as_series(column: Any, name: str = "") -> pl.Series:
    """A column of polars or pandas, or a list, as a series of polars; pyarrow is not needed.

    Python objects of several kinds become texts.
    """
    if isinstance(column, pl.Series):
        return column
    kind = getattr(column, "dtype", None)
    if isinstance(kind, np.dtype) and kind.kind in "biufmM":
        return pl.Series(name, np.asarray(column), nan_to_null=True)
    items = list(column)
    if hasattr(column, "isna"):  # pandas
        gone = column.isna()
        items = [None if null else item for item, null in zip(items, gone, strict=True)]
    try:
        series = pl.Series(name, items, strict=True)
    except TypeError:
        series = pl.Series(name, [None if item is None else _written(item) for item in items])
    is_category = str(kind) == "category" and series.dtype == pl.String
    return series.cast(pl.Categorical) if is_category else series


def _written(item: object) -> str:
    return str(int(item)) if isinstance(item, float) and item.is_integer() else str(item)


def _frame(X: Any) -> pl.DataFrame:
    if isinstance(X, pl.DataFrame):
        return X
    if not hasattr(type(X), "iloc") or not hasattr(type(X), "items"):
        raise TypeError(f"a table is a data frame of polars or pandas, not {type(X).__name__}")
    return pl.select(*(as_series(column).alias(str(name)) for name, column in X.items()))


def _form_of(texts: pl.Series, codes: bool) -> dict[str, Any]:
    """How a text column writes what may be typed as numbers or truth values in another table."""
    widths = texts.str.strip_chars().str.len_chars().drop_nulls().unique()
    truth = texts.filter(texts.str.to_lowercase().is_in(["true", "false"])).unique()
    return {
        "codes": codes,
        "width": widths[0] if codes and len(widths) == 1 else 0,
        "point": bool(texts.str.contains(r"^-?[0-9]+\.0$").any()),
        "truth": {text.lower(): text for text in truth},
    }


def _as_words(column: pl.Series, form: dict[str, Any]) -> pl.Series:
    """A column as the text that it was, or would have been, in `fit`."""
    texts = column.cast(pl.String)
    if column.dtype.is_numeric():
        texts = texts.str.replace(r"\.0$", "").str.zfill(form["width"])
        texts = texts.str.replace("^(-?[0-9]+)$", "${1}.0") if form["point"] else texts
    elif column.dtype == pl.Boolean:
        texts = texts.replace(form["truth"])
    return texts.cast(pl.Categorical) if form["codes"] else texts
