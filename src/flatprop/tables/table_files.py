"""Files of tables -> polars frames. The first bytes of a file tell of what kind it is."""

import codecs
import json
import re
from collections.abc import Callable, Collection
from typing import IO, TYPE_CHECKING

from flatprop.tables.delimited_text import DelimitedText, read_delimited
from flatprop.tables.table_columns import number_names, tidied
from flatprop.tables.unpacked_files import ZIP, unpacked

if TYPE_CHECKING:
    import polars as pl

NO_TABLES = {
    rb"\xd0\xcf\x11\xe0": "an old Excel file (.xls), or another one of Microsoft Office",
    rb"SQLite format 3": "an SQLite database",
    rb"\x80[\x02-\x05]": "a pickle of Python",
    rb"\x93NUMPY": "an array of NumPy (.npy)",
    rb"\x89HDF": "an HDF5 file",
    rb"ARROW1": "an Arrow file (.feather)",
    rb"%PDF": "a PDF document",
    rb"(?i)\s*<(!doctype|html|\?xml)": "a web page, or other XML",
}
"""Kinds of files that are no tables, by what their first bytes match."""
JSON = rb"\s*(\[\s*[][{\"\d-]|\{\s*[\"}])"


def read_table(
    path: str,
    *,
    delimiter: str | None = None,
    header: bool = True,
    texts: Collection[str] = (),
    progress: Callable[[float], None] | None = None,
) -> tuple["pl.DataFrame", list[str]]:
    """Read a table from a file of delimited text, or of parquet, Excel or JSON.

    Parameters
    ----------
    path
        The file. It may be compressed: gzip, bzip2, xz, zstd, or alone in a zip archive. "-" is
        standard input.
    delimiter
        What stands between two fields of a text; None finds out.
    header
        Whether the first line names the columns. Otherwise they are column_1, column_2, ...
    texts
        Columns to be left as they are written, whatever they look like.
    progress
        Called with the share of a delimited text that was read, between 0 and 1, after each
        block. It begins anew where a column of numbers holds a word further down: then this
        column is read again.

    Returns
    -------
    frame : polars.DataFrame
        Columns that hold numbers throughout are Int64 or Float64; other columns are String, as
        they are written, without spaces around. Empty fields are null, words such as NA are not.
        Booleans and dates of parquet, Excel and JSON keep their types. The columns of a long
        text are left in chunks, since joining them takes as much memory again.
    notes : list of str
        What the user should know about how the table was read.

    Raises
    ------
    OSError
        If the file is not there, or cannot be opened.
    ValueError
        If the file is damaged, or is no table.
    ImportError
        If a library is missing that reads such files.
    """
    with unpacked(path) as (content, share):
        path = "standard input" if path == "-" else path
        head = content.read(2**16)
        content.seek(0)
        for beginning, kind in NO_TABLES.items():
            if re.match(beginning, head):
                raise ValueError(f"{path} is {kind}; save the table as CSV, parquet or .xlsx")
        if head.startswith(b"PAR1"):
            frame, notes = _parquet(content, path, texts)
        elif head.startswith(ZIP):
            frame, notes = _excel(content, path, header, texts)
        elif re.match(JSON, head.removeprefix(codecs.BOM_UTF8)):
            frame, notes = _json(content, path, texts)
        else:
            text = DelimitedText(content, path, delimiter, header)
            frame = read_delimited(text, texts, lambda: progress(share()) if progress else None)
            notes = text.notes
    if frame.width == 0:
        raise ValueError(f"{path} has no column of numbers or of texts")
    if frame.height == 0:
        raise ValueError(f"{path} has column names but no rows")
    return frame, notes


def _parquet(
    content: IO[bytes], path: str, texts: Collection[str]
) -> tuple["pl.DataFrame", list[str]]:
    import polars as pl

    try:
        frame = pl.read_parquet(content)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path} is no parquet file that polars reads: {_line(error)}") from None
    return tidied(frame, texts, False, path)  # a text is one because its writer wanted it so


def _excel(
    content: IO[bytes], path: str, header: bool, texts: Collection[str]
) -> tuple["pl.DataFrame", list[str]]:
    import polars as pl

    try:
        import fastexcel
    except ImportError:
        raise ImportError("Excel files need fastexcel: pip install 'flatprop[tables]'") from None
    workbook = content.read()
    try:
        sheets = fastexcel.read_excel(workbook).sheet_names
        frame = pl.read_excel(workbook, has_header=header, infer_schema_length=None)
    except pl.exceptions.NoDataError:
        raise ValueError(f"{path} has nothing in its first sheet, {sheets[0]!r}") from None
    except (fastexcel.FastExcelError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"{path} is no Excel file that can be read: {_line(error)}") from None
    notes = []
    if len(sheets) > 1:
        notes.append(f"{path} has {len(sheets)} sheets; the first, {sheets[0]!r}, was read")
    if header:
        frame.columns = [name.replace("__UNNAMED__", "Unnamed: ") for name in frame.columns]
        notes += number_names(frame.columns, path)
    else:
        frame.columns = [f"column_{i}" for i in range(1, frame.width + 1)]
    frame, more = tidied(frame, texts, True, path)
    return frame, notes + more


def _json(
    content: IO[bytes], path: str, texts: Collection[str]
) -> tuple["pl.DataFrame", list[str]]:
    """An array of records, one record a line, or an object of columns."""
    import polars as pl

    text = content.read().decode("utf-8-sig", errors="replace")
    try:
        try:
            table = json.loads(text)
        except json.JSONDecodeError as error:
            if not error.msg.startswith("Extra data"):
                raise
            table = [json.loads(line) for line in text.split("\n") if line.strip()]
        if not isinstance(table, list):
            columns = [*table.values()]
            if all(isinstance(column, dict | list) for column in columns):
                columns = [[*c.values()] if isinstance(c, dict) else c for c in columns]
                if len({len(column) for column in columns}) > 1:
                    raise ValueError("its columns differ in length")
                table = [dict(zip(table, row, strict=True)) for row in zip(*columns, strict=True)]
            else:
                table = [table]
        if not all(isinstance(record, dict) for record in table):
            raise ValueError("it holds other values than records")
        frame = pl.DataFrame(table, infer_schema_length=None, strict=False)
    except (ValueError, TypeError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"{path} is no table in JSON: {_line(error)}") from None
    return tidied(frame, texts, True, path)


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]
