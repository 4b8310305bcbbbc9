"""Samples that are too large for memory: one part after the other is read into one buffer.

A memory-mapped file may be larger than memory. A sparse matrix may be, once it is dense. A Dask
collection need not be anywhere before it is computed.

| source | what a shuffled part consists of |
| --- | --- |
| a file | segments from random places; a segment is a run of rows, read in one go |
| a sparse matrix | single rows from random places |
| a Dask collection | blocks in random order: see `in_blocks` |
"""

import math
import mmap
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from flatprop.model.model import Model
from flatprop.samples.dask_blocks import DaskBlock, DaskBlocks, like_a_row
from flatprop.samples.in_memory import Data, weights_by_class
from flatprop.validation import checks, frames
from flatprop.validation.arrays import Array, aligned_empty, read_only

PART_BYTES = 2**25
"""The size of a part. A file or matrix that is no larger, as it is and in the network's dtype,
is taken whole like any other array."""
SEGMENTS = 16
"""How many segments of a file make up a part."""

Check: TypeAlias = Callable[[Any, int], Array]
"""A function that takes rows and the number of the first one. It returns them checked and in the
network's dtype, (rows, columns)."""

SHARED = ("r", "r+", "w+")
"""The modes of `numpy.memmap` whose pages hold nothing that is not in the file."""


def is_large(value: Any, dtype: np.dtype[Any]) -> bool:
    """Whether this is a file, a sparse matrix or a Dask collection that is to be read a part at a
    time. So is a collection of which Dask does not know how many rows it has.
    """
    if frames.is_in_blocks(value):
        if not isinstance(value.shape[0], (int, np.integer)):
            return True
        looked_at = 0
    elif frames.is_sparse(value):
        looked_at = 0
    elif mapping(value) is not None:
        low, high = np.lib.array_utils.byte_bounds(value)
        looked_at = high - low  # to read one column of a file is to read all of its pages
    else:
        return False
    return bool(max(looked_at, math.prod(value.shape) * dtype.itemsize) > PART_BYTES)


def mapping(value: Any) -> "np.memmap[Any, Any] | None":
    """The memory-mapped file of which an array is a view, or None."""
    while isinstance(value, np.ndarray):
        if isinstance(value, np.memmap) and getattr(value, "_mmap", None) is not None:
            return value
        value = value.base
    return None


class Rows:
    """Rows that are read, checked and converted a segment at a time.

    Parameters
    ----------
    rows, columns
        The shape.
    read
        A function that takes a slice and returns these rows; if `scattered`, it also takes an
        array of row numbers.
    checked
        A function that takes such rows and the number of the first one. It returns them
        checked and in the network's dtype, (rows, columns).
    scattered
        Whether single rows are read as fast as rows in a run. From memory they are, from a
        file they are not.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        read: Any,
        checked: Check,
        scattered: bool = True,
    ) -> None:
        self.rows = rows
        self.columns = columns
        self._read = read
        self.checked = checked
        self.scattered = scattered

    def visit(self, start: int, stop: int, use: Callable[[Array], None]) -> None:
        """Call `use` with rows start to stop, which are valid only until `use` returns."""
        segment = self._read(slice(start, stop))
        use(self.checked(segment, start))
        release(segment)

    def copy(self, start: int, stop: int, out: Array) -> None:
        """out, (rows, columns), ← rows start to stop."""
        self.visit(start, stop, partial(np.copyto, out))

    def gather(self, places: Array, out: Array) -> None:
        """out, (rows, columns), ← the rows with the numbers `places`; only if `scattered`."""
        try:
            out[...] = self.checked(self._read(places), 0)
        except (TypeError, ValueError):
            for place in places.tolist():  # the error is to name the row by its number
                self.checked(self._read(slice(place, place + 1)), place)
            raise


class RowsInBlocks(Rows):
    """Rows of a Dask collection. Going through them in order computes each block once."""

    def __init__(self, blocks: DaskBlocks, check: Check) -> None:
        columns = check(like_a_row(blocks.collections[0]), 0).shape[1]
        super().__init__(blocks.rows, columns, None, check, scattered=False)
        self._blocks = blocks
        self._turn: Iterator[DaskBlock] = iter(())
        self._block = DaskBlock(0, 0, ())

    def visit(self, start: int, stop: int, use: Callable[[Array], None]) -> None:
        """As `Rows.visit`; the rows begin where the ones before ended, or at the beginning."""
        pieces = []
        if start == 0:
            self._turn, self._block = self._blocks.in_turn(), DaskBlock(0, 0, ())
        while start < stop:
            if start == self._block.stop:
                self._block = next(self._turn)
            end = min(stop, self._block.stop)
            pieces.append(self.checked(self._block.rows(start, end), start))
            start = end
        use(pieces[0] if len(pieces) == 1 else np.concatenate(pieces))


def rows_in_memory(array: Array) -> Rows:
    """Rows of an array that is in memory and already checked."""
    rows, columns = array.shape
    return Rows(rows, columns, lambda rows: array[rows], lambda rows, first: rows)


def release(array: Any) -> None:
    """Give back the memory of pages that were read from a file.

    Not if the mapping is copy-on-write: what was written to such a page would be lost.
    """
    file = mapping(array)
    if file is None or file.mode not in SHARED or not hasattr(mmap, "MADV_DONTNEED"):
        return
    pages = file._mmap  # type: ignore[attr-defined]
    begin = np.frombuffer(pages, np.uint8).ctypes.data
    low, high = np.lib.array_utils.byte_bounds(array)
    start = (low - begin) // mmap.PAGESIZE * mmap.PAGESIZE
    pages.madvise(mmap.MADV_DONTNEED, start, high - begin - start)


def inputs_of(network: Model, X: Any) -> Rows:
    """The rows of X; if X is large, only the first row is read yet. X may be `DaskBlocks`, too."""
    dtype, columns = network.dtype, network.inputs

    def check(segment: Any, first: int) -> Array:
        return checks.inputs(segment, columns, dtype, first=first)

    if isinstance(X, DaskBlocks):
        return RowsInBlocks(X, check)
    if not is_large(X, dtype):
        return rows_in_memory(checks.inputs(X, columns, dtype))
    if frames.is_in_blocks(X):
        return RowsInBlocks(DaskBlocks(X), check)
    return _large_rows("X", X, check)


def targets_of(network: Model, y: Any, rows: int) -> Rows:
    """The rows of y, of which there must be `rows`; if y is large, only the first is read yet."""
    dtype = network.dtype
    if frames.is_in_blocks(y) or not is_large(y, dtype):
        domain = network.loss_function.domain
        return rows_in_memory(checks.targets(y, rows, network.targets, domain, dtype))
    checks.one_per_sample(y.shape, rows)
    return _large_rows("y", y, check_of_targets(network))


def check_of_targets(network: Model) -> Check:
    """What checks some rows of y."""
    dtype, columns = network.dtype, network.targets
    domain = network.loss_function.domain

    def check(segment: Any, first: int) -> Array:
        return checks.targets(segment, len(segment), columns, domain, dtype, first)

    return check


def _large_rows(name: str, values: Any, check: Check) -> Rows:
    """The rows of a large file or sparse matrix; `check` is a function of checks.py."""
    frames.refuse_other_kinds(name, values.dtype)
    sparse = frames.is_sparse(values)
    matrix = values.tocsr() if sparse else np.asarray(values)

    def checked(segment: Any, first: int) -> Array:
        return check(frames.dense(segment) if sparse else segment, first)

    columns = checked(matrix[:1], 0).shape[1]
    return Rows(matrix.shape[0], columns, lambda rows: matrix[rows], checked, sparse)


def _factors_of(network: Model, y: Rows) -> Array | None:
    """`Loss.weight_factors` of all samples; y is gone through if there may be some."""
    if not network.loss_function.weighs_classes:
        return None
    found: list[Array | None] = []

    def look(rows: Array) -> None:
        found.append(network.loss_function.weight_factors(rows))

    step = max(1, PART_BYTES // SEGMENTS // (y.columns * network.dtype.itemsize))
    for start in range(0, y.rows, step):
        y.visit(start, min(start + step, y.rows), look)
    factors = [part for part in found if part is not None]
    return np.concatenate(factors) if factors else None


class Parts:
    """`Samples` whose X or y is large.

    An array in memory is checked at once, a large one as it is read.

    Attributes
    ----------
    rows : int
        How many samples there are.
    weight : ndarray
        (rows,); empty if every sample counts alike.
    """

    in_memory = False
    batches_given = False

    def __init__(self, network: Model, X: Any, y: Any, sample_weight: Any = None) -> None:
        x = inputs_of(network, X)
        self._take(network, x, targets_of(network, y, x.rows), sample_weight)

    def _take(self, network: Model, x: Rows, y: Rows, sample_weight: Any) -> None:
        self._dtype, self.rows = network.dtype, x.rows
        weight = checks.sample_weights(sample_weight, x.rows, network.dtype)
        self.weight = weights_by_class(weight, _factors_of(network, y))
        weights = rows_in_memory(self.weight[:, None])
        self._columns = [x, y, weights] if weights.rows else [x, y]
        self._buffers: list[Array] = []

    def parts(
        self, batch_size: int | None, rng: np.random.Generator | None = None
    ) -> Iterator[Data]:
        """All samples once; see `Samples`."""
        if batch_size is None:
            raise ValueError(
                "batch_size=None takes all samples at once, but they are read a part at a time; "
                "give a batch_size, or arrays in memory: np.array(X) reads a file into one, "
                "X.toarray() a sparse matrix, X.compute() a Dask collection"
            )
        sizes = self._sizes(batch_size)
        if rng is not None and all(column.scattered for column in self._columns):
            return self._gathered(sizes, rng)
        return self._filled(sizes, rng)

    def _sizes(self, batch_size: int) -> list[int]:
        """How many rows each part has: whole batches; the last part has the rest, too."""
        width = sum(column.columns for column in self._columns) * self._dtype.itemsize
        size = batch_size * max(1, PART_BYTES // (batch_size * width))
        count = max(1, self.rows // size)
        sizes = [size] * count
        rest = self.rows - count * size
        if rest < batch_size:
            sizes[-1] += rest
        else:
            sizes.append(rest)
        return sizes

    def _filled(self, sizes: list[int], rng: np.random.Generator | None) -> Iterator[Data]:
        """Parts of these sizes, each filled with segments."""
        flat = self._room_for(max(sizes))
        waiting = iter(sizes)
        size, filled = next(waiting), 0
        for start, stop in self._segments(-(-sizes[0] // SEGMENTS), rng):
            while start < stop:
                count = min(stop - start, size - filled)
                for column, buffer in zip(self._columns, flat, strict=True):
                    place = buffer[filled * column.columns : (filled + count) * column.columns]
                    column.copy(start, start + count, place.reshape(count, column.columns))
                start += count
                filled += count
                if filled == size:
                    yield self._data(flat, size)
                    size, filled = next(waiting, 0), 0

    def _gathered(self, sizes: list[int], rng: np.random.Generator) -> Iterator[Data]:
        """Parts of these sizes, each gathered from single rows in random order."""
        flat, order, start = self._room_for(max(sizes)), rng.permutation(self.rows), 0
        for size in sizes:
            places = order[start : start + size]
            for column, buffer in zip(self._columns, flat, strict=True):
                room = buffer[: size * column.columns].reshape(size, column.columns)
                column.gather(places, room)
            start += size
            yield self._data(flat, size)

    def _segments(self, length: int, rng: np.random.Generator | None) -> Iterator[tuple[int, int]]:
        """Where segments of this length begin and end, in order or shuffled."""
        count = -(-self.rows // length)
        for number in range(count) if rng is None else rng.permutation(count).tolist():
            yield number * length, min((number + 1) * length, self.rows)

    def _room_for(self, rows: int) -> list[Array]:
        sizes = [rows * column.columns for column in self._columns]
        if [buffer.size for buffer in self._buffers] != sizes:
            self._buffers = [aligned_empty(size, self._dtype) for size in sizes]
        return self._buffers

    def _data(self, flat: list[Array], rows: int) -> Data:
        used = [
            read_only(buffer[: rows * column.columns])
            for column, buffer in zip(self._columns, flat, strict=True)
        ]
        weight = used[2] if len(used) > 2 else read_only(self.weight)
        return Data(used[0], used[1], weight, rows)
