"""Files -> the bytes in them, whatever they are compressed with, to be read from any place."""

import bz2
import codecs
import gzip
import lzma
import re
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from flatprop.validation import checks

ZIP = b"PK\x03\x04"
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


@contextmanager
def unpacked(path: str) -> Iterator[tuple[IO[bytes], Callable[[], float]]]:
    """The bytes, and what share of the file has been read; "-" is standard input.

    A zip archive is unpacked if it holds one file and is no workbook.
    """
    with ExitStack() as closing:
        file = _opened(path, closing)
        size = file.seek(0, 2)
        try:
            content = _content(file, path, closing)
            yield content, lambda: min(1.0, file.tell() / size)
        except DAMAGED as error:
            raise ValueError(f"{path} is damaged or incomplete: {error}") from None
        except OSError as error:
            if error.errno is not None:
                raise
            # What gzip and bz2 say of damaged data.
            raise ValueError(f"{path} is damaged or incomplete: {error}") from None


def _opened(path: str, closing: ExitStack) -> IO[bytes]:
    if path == "-":
        if sys.stdin is None:
            raise ValueError("standard input is closed")
        return _copied(sys.stdin.buffer, closing)
    try:
        stream = closing.enter_context(open(path, "rb"))  # noqa: SIM115
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}.{_near(Path(path))}") from None
    except OSError as error:
        if Path(path).is_dir():  # for Windows this is a matter of permission
            raise IsADirectoryError(f"{path} is a folder; name a file in it") from None
        raise type(error)(f"{path} cannot be read: {error.strerror}") from None
    return stream if stream.seekable() else _copied(stream, closing)


def _near(file: Path) -> str:
    """A hint at a file, or at the built-in data set, of nearly that name."""
    try:
        names = [entry.name for entry in file.parent.iterdir()]
    except OSError:
        return f" There is no folder {file.parent} either."
    if file.parent == Path():
        names.append("digits")
    return checks.nearest(file.name, names)


def _copied(stream: Any, closing: ExitStack) -> IO[bytes]:
    """What a stream holds, on the disk if it is much."""
    copy = closing.enter_context(tempfile.SpooledTemporaryFile(2**24))  # noqa: SIM115
    shutil.copyfileobj(stream, copy)
    return copy


def _content(content: Any, path: str, closing: ExitStack) -> Any:
    """What is in all the wrappings of a file."""
    while True:
        content.seek(0)
        head = content.read(10)
        content.seek(0)
        if head.startswith(b"\x1f\x8b"):
            content = gzip.GzipFile(mode="rb", fileobj=content)
        elif re.match(rb"BZh[1-9]1AY&SY", head):
            content = bz2.BZ2File(content)
        elif head.startswith(b"\xfd7zXZ\0"):
            content = lzma.LZMAFile(content)  # noqa: SIM115
        elif head.startswith(b"\x28\xb5\x2f\xfd"):
            content = _text_of_zstd(content, path, closing)
        elif head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            content = _copied(codecs.EncodedFile(content, "utf-8", "utf-16"), closing)
        elif head.startswith(ZIP):
            archive = zipfile.ZipFile(content)
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if "[Content_Types].xml" in names or "mimetype" in names:
                content.seek(0)
                return content
            if len(names) != 1:
                some = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
                raise ValueError(
                    f"{path} is an archive of {len(names)} files ({some}); unpack it and name one"
                )
            try:
                content = archive.open(names[0])
            except RuntimeError as error:
                raise ValueError(f"{path} cannot be unpacked: {error}") from None
        else:
            return content


def _text_of_zstd(packed: IO[bytes], path: str, closing: ExitStack) -> IO[bytes]:
    """The lines of a text, unpacked by polars: Python itself can do it from 3.14 on."""
    import polars as pl

    text = closing.enter_context(tempfile.SpooledTemporaryFile(2**24))  # noqa: SIM115
    try:
        lines = pl.read_lines(packed)
    except pl.exceptions.PolarsError:
        raise ValueError(f"{path} holds no text in UTF-8 (within zstd); unpack it first") from None
    lines.write_csv(text, include_header=False, quote_style="never")
    return text
