"""A file of comma-separated values -> a data frame, or one line that says why not."""

import csv
import io
import sys
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from flatprop.cli.commas import Style, converted, notice, style
from flatprop.cli.errors import UserError, nearest

DELIMITERS = ",;\t|"
MISSING = ("?",)
"""Taken as missing beside what pandas takes so: an empty field, NA, NaN, null, ..."""


def read_table(
    path: str,
    delimiter: str | None = None,
    as_text: Collection[str] = (),
    commas: Mapping[str, Style] | None = None,
) -> tuple[Any, list[str]]:
    """Read a table whose first line names its columns.

    Parameters
    ----------
    path
        The file, compressed where its name ends in .gz, .bz2 or .xz; "-" reads
        standard input.
    delimiter
        What stands between two fields; None finds out.
    as_text
        Columns to be left as they are written, whatever they look like.
    commas
        What the commas of these columns mean; for other columns it is found out.

    Returns
    -------
    frame : pandas.DataFrame
        The table. Its `attrs["commas"]` says what commas it has in which columns.
    notices : list of str
        What the reader should know about how it was read.

    Raises
    ------
    UserError
        If there is no such file, or it is no such table.
    """
    content = _content(path)
    notices: list[str] = []
    utf_16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
        notices.append(f"{path} is not UTF-8; it was read as Windows-1252 (Western European)")
    if "\0" in text:
        kind = "an Excel file or a zip archive" if content[:2] == b"PK" else "not a text file"
        raise UserError(f"{path} is {kind}; save the table as CSV first")
    if not text.strip():
        raise UserError(f"{path} is empty; a table needs a line of column names and rows below it")
    delimiter = delimiter or sniff(text)
    frame = _parse(path, text, delimiter, as_text)
    if len(frame) == 0:
        raise UserError(f"{path} has column names but no rows")
    return frame, notices + _read_commas(frame, delimiter, as_text, commas or {})


def column_named(name: str, columns: Collection[str], path: str, option: str) -> str:
    """`name`, if the table has such a column."""
    if name in columns:
        return name
    if all(_is_number(column) for column in columns):
        raise UserError(
            f"{path} has no column {name!r}: its first line holds numbers, not names; "
            "write a line of column names above it"
        )
    hint = nearest(name, columns)
    if len(columns) == 1:
        hint = " Is --delimiter right? The table has only one column."
    shown = ", ".join(list(columns)[:20]) + (", ..." if len(columns) > 20 else "")
    raise UserError(f"{path} has no column {name!r} ({option}).{hint} It has: {shown}")


def sniff(text: str) -> str:
    """The delimiter that cuts the names, and most of the first rows, into the most parts."""
    first = len(text) - len(text.lstrip())
    begin = max(text.rfind("\n", 0, first) + 1, first - 1024)
    lines = [line for line in text[begin : first + 65536].splitlines() if line.strip()][:20]
    if not lines:
        return ","
    best, most = ",", 1
    for delimiter in DELIMITERS:
        rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
        widths = [len(row) for row in rows]
        # The names decide: a comma of 3,5 or of a text is in the rows alone.
        if widths.count(widths[0]) * 2 > len(widths) and widths[0] > most:
            best, most = delimiter, widths[0]
    return best


def _content(path: str) -> bytes:
    import bz2
    import gzip
    import lzma
    import zlib

    if path == "-":
        if sys.stdin is None:
            raise UserError("standard input is closed")
        return sys.stdin.buffer.read()
    file = Path(path)
    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    try:
        with openers.get(file.suffix, open)(file, "rb") as stream:
            content: bytes = stream.read()
    except FileNotFoundError:
        raise UserError(f"no such file: {path}.{_near_file(file)}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; name a CSV file in it") from None
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{path} is damaged or incomplete: {error}") from None
    except OSError as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path} cannot be read: {reason}") from None
    return content


def _near_file(file: Path) -> str:
    """A hint at a file, or at the built-in data set, of nearly that name."""
    try:
        names = [entry.name for entry in file.parent.iterdir() if entry.is_file()]
    except OSError:
        return f" There is no folder {file.parent} either."
    return nearest(file.name, [*names, "digits"] if str(file.parent) == "." else names)


def _parse(path: str, text: str, delimiter: str, as_text: Collection[str]) -> Any:
    import pandas as pd

    options: dict[str, Any] = {
        "sep": delimiter,
        "skipinitialspace": delimiter not in " \t",
        "index_col": False,
        "low_memory": False,
        "na_values": MISSING,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            names = _names(pd.read_csv(io.StringIO(text), nrows=0, **options).columns)
            dtype = {name: str for name in names if name in as_text}
            frame = pd.read_csv(io.StringIO(text), header=0, names=names, dtype=dtype, **options)
    except pd.errors.ParserWarning:
        raise UserError(
            f"{path} has rows with more fields than its first line has column names"
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
        raise UserError(
            f"{path} is not a table: {reason}. Is {delimiter!r} the delimiter (--delimiter)?"
        ) from None
    return frame


def _names(columns: Any) -> list[str]:
    stripped = [str(name).strip() for name in columns]
    return stripped if len(set(stripped)) == len(stripped) else [str(name) for name in columns]


def _read_commas(
    frame: Any, delimiter: str, as_text: Collection[str], known: Mapping[str, Style]
) -> list[str]:
    """Turn columns that are text only because of their commas into numbers."""
    found = {name: known.get(name) or style(frame[name]) for name in frame.columns}
    decimals = "decimal" in found.values() or "decimal" in known.values()
    notices = []
    commas: dict[str, Style] = {}
    for name, kind in found.items():
        if not kind or name in as_text:
            continue
        column = frame[name]
        if name not in known:
            if delimiter != ",":
                kind = style(column, decimals)
            elif kind == "decimal":  # "1,5" in quotes: words, as far as a comma delimits
                continue
        commas[name] = kind
        frame[name] = converted(column, kind)
        if kind == "thousands" and name not in known:
            notices.append(notice(f"column {name!r}", column, kind))
    frame.attrs["commas"] = commas
    return notices


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
