"""Delimited text -> a polars frame, in blocks: little more than the frame is in memory at once.

polars reads the blocks whose rows all have a field for every column, with quotes as the standard
of CSV (RFC 4180) has them. Python's `csv` reads the others: it knows in which line a row has too
many fields, and takes a quote in the middle of a field for a character.
"""

import codecs
import csv
import io
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flatprop.tables.table_columns import distinct, number_names, stripped

if TYPE_CHECKING:
    import polars as pl

DELIMITERS = ",;\t|"
BLOCK = 2**20
"""Bytes that are read at a time; more where a table has thousands of columns."""
_END = "\0"
"""Comes after the last line: a row of its own, unless a quote was never closed."""
_NUL = "there is a NUL byte; the file is damaged, or is no text"
_UNCLOSED = "a quote is opened here and never closed"


def read_delimited(
    text: "DelimitedText", texts: Collection[str], went_on: Callable[[], None]
) -> "pl.DataFrame":
    """The table with Int64 or Float64 where a column holds numbers alone, otherwise String.

    Columns among `texts` stay String. `went_on` is called after each block.
    """
    import polars as pl

    kinds: dict[str, type[pl.DataType]] = {
        name: pl.String if name in texts else pl.Int64 for name in text.names
    }
    frames: list[pl.DataFrame] = []
    for written in text.frames():
        frame = written.cast(dict(kinds.items()), strict=False)
        for kind in (pl.Float64, pl.String):
            unfit = _of_other_nulls(written, frame)
            kinds |= dict.fromkeys(unfit, kind)
            frame = frame.with_columns(written.select(unfit).cast(kind, strict=False))
        frames.append(frame)
        went_on()
    rewritten = [
        name
        for name, kind in kinds.items()
        if kind is pl.String
        and any(f[name].dtype != kind and f[name].null_count() < f.height for f in frames)
    ]
    if rewritten:  # Their first blocks were read as numbers: how they are written is read again.
        for i, written in enumerate(text.frames()):
            frames[i] = frames[i].with_columns(written.select(rewritten))
            went_on()
    for i, frame in enumerate(frames):
        frames[i] = frame.cast(dict(kinds.items()))
    whole = pl.concat(frames, rechunk=False) if frames else pl.DataFrame(schema=kinds)
    empty = [name for name in text.names if whole[name].null_count() == whole.height]
    return whole.cast(dict.fromkeys(empty, pl.String))


def _of_other_nulls(one: "pl.DataFrame", other: "pl.DataFrame") -> list[str]:
    """The columns of two frames that do not have as many nulls in both."""
    counts = zip(one.null_count().row(0), other.null_count().row(0), strict=True)
    return [name for name, (a, b) in zip(one.columns, counts, strict=True) if a != b]


class DelimitedText:
    """The names and the rows of a table that is written as text.

    Parameters
    ----------
    stream
        Its bytes, which can be read again: UTF-8, or Windows-1252 where they are not UTF-8.
    path
        The name of its file, for messages.
    delimiter
        What stands between two fields; None finds out.
    header
        Whether the first line that is not blank names the columns.
    """

    def __init__(self, stream: IO[bytes], path: str, delimiter: str | None, header: bool) -> None:
        self._stream, self._path = stream, path
        self._western = False
        self._short, self._first_short = 0, 0
        self._name_notes: list[str] = []
        stream.seek(0)
        head = stream.read(2**22)
        mark = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
        lines = head[mark : head.rfind(b"\n") + 1 or None].splitlines(keepends=True)
        blank = next((i for i, line in enumerate(lines) if line.strip()), len(lines))
        if blank == len(lines):
            raise ValueError(f"{path} is empty; a table needs a line of column names, then rows")
        try:
            if b"\0" in lines[blank]:
                raise csv.Error(_NUL)
            beginning = [self._decoded(line) for line in lines[blank : blank + 1000]]
            self.delimiter = "\t" if delimiter == "\\t" else delimiter or sniff(beginning)
            if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
                raise ValueError(f"the delimiter must be one character, not {delimiter!r}")
            reader = self._reader(chain(beginning, [_END]))
            first = next(reader)
            if first[-1].endswith(_END):
                raise csv.Error(_UNCLOSED)
        except csv.Error as error:
            raise ValueError(f"{path}, line {blank + 1}: {error}") from None
        self.names = [f"column_{i}" for i in range(1, len(first) + 1)]
        if header:
            self.names, self._name_notes = distinct(first, path)
            self._name_notes += number_names(self.names, path)
        self._above = blank + (reader.line_num if header else 0)
        self._start = mark + sum(map(len, lines[: self._above]))

    @property
    def notes(self) -> list[str]:
        """What whoever uses the table should know about how it was read."""
        notes = list(self._name_notes)
        if self._western:
            notes.append(
                f"{self._path} is not UTF-8; it was read as Windows-1252 (Western European)"
            )
        if self._short:
            rows = "1 row has" if self._short == 1 else f"{self._short} rows have"
            notes.append(
                f"{rows} fewer fields than {self._path} has columns, first in line "
                f"{self._first_short}; the missing fields are taken as empty"
            )
        return notes

    def frames(self) -> Iterator["pl.DataFrame"]:
        """All rows in order, some at a time, as text. Empty fields are null."""
        self._stream.seek(self._start)
        at, above, rest = self._start, self._above, b""
        self._short = 0
        while True:
            chunk = self._stream.read(max(BLOCK, len(self.names) << 10))
            data = rest + chunk
            if not data:
                return
            if not chunk and not data.endswith(b"\n"):
                data += b"\n"
            end, rows = _whole_rows(data, self.delimiter.encode(), len(self.names))
            if not end:
                self._stream.seek(at)
                yield from self._by_csv(self._stream, above)
                return
            block, rest = data[:end], data[end:]
            frame = self._by_polars(block) if rows else None
            if frame is not None and frame.height == rows:
                yield frame
            else:
                yield from self._by_csv(io.BytesIO(block), above)
            at += end
            above += block.count(b"\n")

    def _by_polars(self, block: bytes) -> "pl.DataFrame | None":
        """The rows of a block; None where they are not what polars expects."""
        import polars as pl

        if not block.isascii():
            block = self._decoded(block).encode()
        schema = dict.fromkeys(self.names, pl.String)
        try:
            frame = pl.read_csv(block, has_header=False, separator=self.delimiter, schema=schema)
        except pl.exceptions.PolarsError:
            return None
        # To polars a field of two quotes is an empty text.
        if b'""' in block or _spaces_around_fields(block, self.delimiter):
            frame = stripped(frame)
        return frame.rechunk()

    def _by_csv(self, stream: IO[bytes], above: int) -> Iterator["pl.DataFrame"]:
        """The rows of what follows after so many lines, however untidy they are."""
        import polars as pl

        width, line = len(self.names), above + 1
        rows: list[list[str]] = []
        reader = self._reader(chain(self._lines(stream), [_END]))
        try:
            for row in reader:
                if row and row[-1].endswith(_END) and row != [_END]:
                    raise csv.Error(_UNCLOSED)
                if any(map(str.strip, row[width:])):
                    raise csv.Error(
                        f"more fields ({len(row)}) than columns ({width}); "
                        f"is {self.delimiter!r} the delimiter?"
                    )
                if row != [_END] and (len(row) > 1 or any(map(str.strip, row))):
                    if len(row) < width:
                        self._first_short = self._first_short or line
                        self._short += 1
                    rows.append(row[:width] + [""] * (width - len(row)))
                if rows and (row == [_END] or len(rows) * width > 2**18):
                    columns = dict(zip(self.names, zip(*rows, strict=True), strict=True))
                    yield stripped(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)))
                    rows = []
                line = above + reader.line_num + 1
        except csv.Error as error:
            raise ValueError(f"{self._path}, line {line}: {error}") from None

    def _reader(self, lines: Iterable[str]) -> Any:
        delimiter = self.delimiter
        return csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter != " ")

    def _lines(self, lines: Iterable[bytes]) -> Iterator[str]:
        for line in lines:
            if b"\0" in line:
                raise csv.Error(_NUL)
            for part in line.splitlines(keepends=True):  # where lines end in \r alone
                yield self._decoded(part)

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError:
            self._western = True
            return data.decode("cp1252", errors="replace")


def sniff(lines: Iterable[str]) -> str:
    """The delimiter that cuts the names, and most of the first rows, into the most parts."""
    rows = [line for line in lines if line.strip()][:20]
    best, most = ",", 1
    for delimiter in DELIMITERS:
        widths = [len(row) for row in csv.reader(rows, delimiter=delimiter, skipinitialspace=True)]
        # The names decide: a comma of 3,5 or of a text is in the rows alone.
        if widths.count(widths[0]) * 2 > len(widths) and widths[0] > most:
            best, most = delimiter, widths[0]
    return best


def _whole_rows(data: bytes, delimiter: bytes, width: int) -> tuple[int, int]:
    """Where the last whole row ends, and how many rows of `width` fields there are up to it.

    The end is 0 where quotes do not tell where rows end, or none ends. The number of rows is 0
    where they do not all have that width.
    """
    marks = np.frombuffer(data, np.uint8)
    ends, fields = marks == ord("\n"), marks == delimiter[0]
    if b'"' in data:
        quotes = marks == ord('"')
        where = np.flatnonzero(quotes)
        outside = b'"\r\n' + delimiter
        opened = _beside(data, where[::2], -1, outside)
        closed = _beside(data, where[1::2], 1, outside)
        if not (opened.all() and closed.all()):
            return 0, 0
        unquoted = np.cumsum(quotes, dtype=np.uint8) % 2 == 0
        ends &= unquoted
        fields &= unquoted
    rows = int(np.count_nonzero(ends))
    if rows == 0 or len(delimiter) > 1:
        return 0, 0
    end = len(data) - int(ends[::-1].argmax())
    block = data[:end]
    tidy = (
        width > 1  # beside one column alone, a blank line cannot be told from an empty field
        and np.count_nonzero(fields[:end]) == rows * (width - 1)
        and b"\0" not in block
        and (b"\r" not in block or block.count(b"\r") == block.count(b"\r\n"))
    )
    return end, rows if tidy else 0


def _spaces_around_fields(block: bytes, delimiter: str) -> bool:
    if b" " not in block:
        return False
    spaces = np.flatnonzero(np.frombuffer(block, np.uint8) == ord(" "))
    edges = b"\r\n" + delimiter.encode()
    return any(_beside(block, spaces, step, edges).any() for step in (-1, 1))


def _beside(data: bytes, where: NDArray[Any], step: int, which: bytes) -> NDArray[Any]:
    """For each place whether the byte one step further is one of these; outside there are ends."""
    is_one = np.zeros(256, bool)
    is_one[list(which)] = True
    padded = np.frombuffer(b"\n" + data + b"\n", np.uint8)
    found: NDArray[Any] = is_one[padded[where + 1 + step]]
    return found
