"""Samples in Dask collections: a block is computed while another is trained on."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from flatprop.model.model import Model
from flatprop.samples.dask_blocks import DaskBlock, DaskBlocks
from flatprop.samples.in_memory import Data
from flatprop.samples.in_parts import (
    Parts,
    Rows,
    RowsInBlocks,
    check_of_targets,
    inputs_of,
    targets_of,
)
from flatprop.validation import frames
from flatprop.validation.arrays import Array, aligned_empty


class InBlocks(Parts):
    """`Samples` whose X is a Dask collection; y may be one, too.

    A part takes as many blocks as fill it, and a block goes into as many parts as it fills. To
    shuffle, the blocks are taken in a random order, and the rows of each.
    """

    def __init__(self, network: Model, X: Any, y: Any, sample_weight: Any = None) -> None:
        together = frames.is_in_blocks(y)
        blocks = self._blocks = DaskBlocks(X, y) if together else DaskBlocks(X)
        targets: Rows
        if together:
            targets = RowsInBlocks(blocks.only(1), check_of_targets(network))
        else:
            targets = targets_of(network, y, blocks.rows)
        self._take(network, inputs_of(network, blocks.only(0)), targets, sample_weight)

    def _filled(self, sizes: list[int], rng: np.random.Generator | None) -> Iterator[Data]:
        flat = self._room_for(max(sizes))
        waiting = iter(sizes)
        size, filled = next(waiting), 0
        for block in self._blocks.in_turn(rng):
            rows, done = block.stop - block.start, 0
            order = np.arange(rows) if rng is None else rng.permutation(rows)
            values = [self._values(k, block) for k in range(len(self._columns))]
            while done < rows:
                count = min(rows - done, size - filled)
                for numbers, buffer in zip(values, flat, strict=True):
                    columns = numbers.shape[1]
                    room = buffer[filled * columns : (filled + count) * columns]
                    places = order[done : done + count]
                    np.take(numbers, places, axis=0, out=room.reshape(count, columns))
                done += count
                filled += count
                if filled == size:
                    yield self._data(flat, size)
                    size, filled = next(waiting, 0), 0

    def _values(self, number: int, block: DaskBlock) -> Array:
        """The rows of a block in one of the columns."""
        column = self._columns[number]
        if number < len(block.values):
            return column.checked(block.values[number], block.start)
        count = block.stop - block.start
        out = aligned_empty(count * column.columns, self._dtype).reshape(count, column.columns)
        column.copy(block.start, block.stop, out)
        return out
