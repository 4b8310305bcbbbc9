"""Columns of tables: their names, and the types that their values have in common."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names with commas between them; of many only the first."""
    names = list(names)
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def distinct(names: Iterable[str], path: str) -> tuple[list[str], list[str]]:
    """The names without spaces around them, each once; and what is to be said about that."""
    written = [name.strip() or f"Unnamed: {i}" for i, name in enumerate(names)]
    taken = set(written)
    found: dict[str, None] = {}
    notes = []
    for name in written:
        other, times = name, 0
        while other in found or (times and other in taken):
            times += 1
            other = f"{name}.{times}"
        if times:
            notes.append(f"{path} has a further column {name!r}, which is called {other!r}")
        found[other] = None
    return list(found), notes


def number_names(names: Iterable[str], path: str) -> list[str]:
    """A note, if the names of the columns look like a row of numbers."""
    try:
        for name in names:
            float(name)
    except ValueError:
        return []
    return [
        f"the first line of {path} holds only numbers, and was taken as the names of the columns; "
        "if it is a row, say that the table has no header"
    ]


def stripped(frame: "pl.DataFrame") -> "pl.DataFrame":
    """The frame without spaces around its texts, and with null for texts that are empty."""
    import polars as pl

    texts = pl.col(pl.String).str.strip_chars(" ")
    return frame.with_columns(pl.when(texts != "").then(texts))


def tidied(
    frame: "pl.DataFrame", texts: Collection[str], numbers_in_texts: bool, path: str
) -> tuple["pl.DataFrame", list[str]]:
    """The frame as it would have been read from a text, but with its booleans and dates.

    Columns among `texts` become String. Columns of lists and the like are left out with a note.
    """
    import polars as pl

    frame.columns, notes = distinct(frame.columns, path)
    kept = []
    for column in stripped(frame.cast({pl.Categorical: pl.String, pl.Enum: pl.String})):
        kind = column.dtype
        kinds: list[type[pl.DataType]] = [pl.String]
        if kind.is_nested() or kind in (pl.Binary, pl.Object):
            notes.append(f"column {column.name!r} of {path} is left out: it holds no plain values")
            continue
        if column.name not in texts and column.null_count() < len(column):
            if kind.is_integer() or (kind == pl.String and numbers_in_texts):
                kinds = [pl.Int64, pl.Float64, pl.String]
            elif kind.is_numeric():
                kinds = [pl.Float64]
            elif kind in (pl.Boolean, pl.Date, pl.Datetime):
                kinds = []
        casts = (column.cast(kind, strict=False) for kind in kinds)
        kept.append(next((c for c in casts if c.null_count() == column.null_count()), column))
    return pl.DataFrame(kept), notes
