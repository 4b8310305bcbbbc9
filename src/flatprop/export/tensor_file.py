"""Safetensors files. They may come from anywhere, so everything in them is checked first.

The format: 8 bytes with the length of the header, little-endian; the header, JSON with the
dtype, the shape and the place of every tensor, and texts under "__metadata__"; the tensors, one
after the other (github.com/huggingface/safetensors). The library of that name writes ours. It
reads by mapping the file into memory, where a process dies if another truncates the file.
"""

import itertools
import json
import os
import re
import stat
from os import PathLike
from typing import Any, Final

import numpy as np

from flatprop.validation import checks
from flatprop.validation.arrays import Array, aligned_empty

MOST_HEADER_BYTES: Final = 2**22
"""Longer headers are neither written nor read ..."""
MOST_VALUES: Final = 300_000
"""... nor JSON of more values: each takes up to a hundred bytes once it is read."""

MOST_DEPTH: Final = 100
# Possessive: nothing is kept for going back, which would take many times the text.
_STRINGS = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = re.compile(r"[^][{}]+")

_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class TensorFile:
    """An open file whose header was checked; tensors are read when they are asked for.

    Attributes
    ----------
    metadata : dict
        The texts of the header, by name.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a safetensors file, or is damaged.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = checks.file_name("path", path)
        self._file = open(_regular(self._path), "rb")  # noqa: SIM115
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "TensorFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape that the header gives a tensor; ValueError where it is missing."""
        if name not in self._entries:
            raise ValueError(f"{self._path} is damaged: it lacks the tensor {name!r}")
        return self._entries[name][1]

    def tensor(self, name: str, dtype: Any, shape: tuple[int, ...]) -> Array:
        """A tensor, if it is of exactly this dtype and shape; a new, writable array.

        Raises
        ------
        ValueError
            If it is missing, is another, or is not in the file whole.
        """
        found = self.shape(name)
        kind, _, start = self._entries[name]
        wanted = _NAMES[np.dtype(dtype).newbyteorder("<")]
        if kind != wanted or found != shape:
            raise ValueError(
                f"{self._path} contradicts itself: the tensor {name!r} must be {wanted} of shape "
                f"{shape}, but it is {kind} of shape {shown(found)}"
            )
        try:
            array = aligned_empty(int(np.prod(shape, dtype=np.int64)), _DTYPES[wanted])
        except MemoryError as error:
            raise ValueError(f"{self._path}: the tensor {name!r} is too large: {error}") from None
        self._file.seek(self._start + start)
        if self._file.readinto(array.view(np.uint8).data) != array.nbytes:
            raise self._damaged("it ended while it was read")
        return array.astype(dtype, copy=False).reshape(shape)

    # ---- the header

    def _read_header(self) -> None:
        length = int.from_bytes(self._file.read(8), "little")
        self._start = 8 + length
        if self._size < 8 or length > self._size - 8:
            raise self._damaged(f"{self._size} bytes cannot hold a header of {length}")
        if length > MOST_HEADER_BYTES:
            raise self._damaged(f"a header of {length} bytes is longer than any flatprop writes")
        try:
            # The tensors are described by some values more than may stand in a text.
            header = parsed(self._file.read(length), MOST_VALUES + 1000)
        except ValueError as error:
            raise self._damaged(f"header: {error}") from None
        if not isinstance(header, dict):
            raise self._damaged("the header is no table")
        self.metadata = header.pop("__metadata__", {})
        if not _are_texts(self.metadata):
            raise self._damaged("__metadata__ must hold texts")
        self._entries = {name: self._entry(name, given) for name, given in header.items()}
        places = sorted(given["data_offsets"] for given in header.values())
        end = 0
        for start, stop in places:
            if start != end:
                raise self._damaged("between two tensors is a gap, or they overlap")
            end = stop
        if self._start + end != self._size:
            raise self._damaged(
                f"its tensors need {self._start + end} bytes, but it has {self._size}"
            )

    def _entry(self, name: str, given: Any) -> tuple[str, tuple[int, ...], int]:
        """Dtype, shape and place of a tensor."""
        whole = isinstance(given, dict) and given.keys() == {"dtype", "shape", "data_offsets"}
        if not whole or not _is_name(given["dtype"]):
            raise self._damaged(f"the header says too little or too much of {shown(name)}")
        shape, place = given["shape"], given["data_offsets"]
        if not (_are_sizes(shape) and _are_sizes(place) and len(place) == 2):
            raise self._damaged(f"the sizes of the tensor {shown(name)} are no sizes")
        start, stop = place
        if stop < start:
            raise self._damaged(f"the tensor {shown(name)} ends before it begins")
        dtype = _DTYPES.get(given["dtype"])
        # Of other dtypes the size is not known, nor needed: none of them is ever read.
        if dtype is not None:
            size = dtype.itemsize
            for number in shape:
                # Bounded, so that the product of many sizes is no work.
                size = min(size * number, 2**64) if number else 0
            if size != stop - start:
                raise self._damaged(f"the tensor {shown(name)} is not as large as its shape says")
        return given["dtype"], tuple(shape), start

    def _damaged(self, why: str) -> ValueError:
        return ValueError(f"{self._path} is not a safetensors file, or is damaged: {why}")


def parsed(text: str | bytes, most: int = MOST_VALUES) -> Any:
    """JSON as Python has it, within bounds of memory and without anything said twice.

    Raises
    ------
    ValueError
        If it is no JSON, nested too deeply, or has too many values.
    """
    marks: Any = (b",", b"[", b"{") if isinstance(text, bytes) else (",", "[", "{")
    if sum(text.count(mark) for mark in marks) > most:
        raise ValueError(f"it holds more than {most:,} values")
    if isinstance(text, bytes):
        text = text.decode("utf-8")  # UnicodeDecodeError is a ValueError
    if _depth(text) > MOST_DEPTH:  # which Python's stack may be too small for
        raise ValueError("it is nested too deeply")
    return json.loads(text, object_pairs_hook=_without_repetition)


def _depth(text: str) -> int:
    """How deep lists and tables lie in each other, at the least."""
    brackets = _NO_BRACKETS.sub("", _STRINGS.sub("", text))
    depths = itertools.accumulate(1 if bracket in "[{" else -1 for bracket in brackets)
    return max(depths, default=0)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def shown(value: Any, most: int = 60) -> str:
    """A value from a file for a message: of one line, and not longer than a reader needs."""
    if isinstance(value, (str, bytes, list, tuple)) and len(value) > most:
        value = value[:most]
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # whole numbers of thousands of digits; deep lists
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def size(what: str, value: Any, least: int = 1) -> int:
    """A whole number that 64 bits hold."""
    if type(value) is not int:
        raise ValueError(f"{what} must be a whole number, got {shown(value)}")
    if not least <= value < 2**48:
        raise ValueError(f"{what} must be at least {least} and below 2^48, got {shown(value)}")
    return value


def _regular(path: str | PathLike[str]) -> str | PathLike[str]:
    """`path`, if it is that of a file."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path}: no such file") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise FileNotFoundError(f"{path}: {kind}")
    return path


def _is_name(value: Any) -> bool:
    """Whether this can be the name of a dtype, known or not."""
    return isinstance(value, str) and value.isidentifier() and len(value) < 20


def _are_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _are_sizes(value: Any) -> bool:
    """Whether this is a list of whole numbers from 0 to what 64 bits hold; True is none."""
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)
