"""How many rows one call of a compiled function takes, for Ctrl-C waits for the end of the call.

The cost of a row is counted in passes. One pass multiplies the row with every matrix of
weights once, as `predict` does; a gradient takes three. The estimate holds for the slowest
machine, so that a call ends in time on every machine. Calls take whole blocks of rows, and
each call adds to the sums of the call before it: the result is the same bit for bit as that of
one call for all rows.

| to get | call |
| --- | --- |
| the most rows that go through the network together | `block_rows` |
| the same, if each row takes many passes | `rows_of_a_block` |
| blocks of about equal length, and scratch for one | `even_block`, `block_for` |
| the rows of each block | `blocks` |
| the rows of each call that takes several blocks | `in_time` |
"""

import numpy as np

from flatprop.kernels.network import entry_points
from flatprop.kernels.network.workspace import backward_workspace_size
from flatprop.model.model import Model
from flatprop.validation.arrays import aligned_empty

SECONDS = 0.05
"""How long one call should take."""
PER_SECOND = 2e9
"""Operations that the slowest machine does in a second."""
PER_UNIT = 100
"""Operations that the activation of one unit may take, if it calls the C library."""
PER_BLOCK = 1e-5
"""Seconds that a block takes in addition to its rows."""

PREDICT, GRADIENT = 1, 3
"""Passes per row: for the outputs, for a gradient."""
WRITTEN = 400
"""So many passes take as long as writing one number per parameter into fresh memory."""

LONGEST_BLOCK = 6 * 2**31
"""The most operations of one block; `block_rows` keeps to it for a gradient."""


def block_rows(network: Model) -> int:
    """The most rows that go through the network together.

    They are few enough that all values between the forward and the backward pass stay in the
    cache, and that one block ends in time for Ctrl-C. They are many enough that a matrix of
    weights, which is read once per block, is used often.
    """
    row_bytes = 2 * sum(layer.units for layer in network.dense) * network.dtype.itemsize
    in_cache = min(max(96 * 1024 // row_bytes, 264), 4096)
    in_time = max(2**31 // int(network.params.size), 32)
    return min(in_cache, in_time)


def even_block(network: Model, rows: int) -> int:
    """`block_rows`, or as many fewer as make all blocks about equally long."""
    return -(-rows // -(-rows // block_rows(network)))


def block_for(network: Model, rows: int) -> entry_points.Block:
    """Scratch for going through so many rows block by block: all samples, or those of a batch.

    It is all the memory that this takes besides samples and parameters. Beyond `block_rows` it
    does not grow with the rows.
    """
    rows = even_block(network, rows)
    predictions = 2 * rows * network.outputs
    size = backward_workspace_size(network._arrays.layers, rows) + predictions
    weight = np.ones(rows * network.outputs, network.dtype)
    return entry_points.Block(rows, weight, aligned_empty(size, network.dtype))


def blocks_in_time(network: Model, block_rows: int, passes: int) -> int:
    """How many blocks of rows are sure to end in time, by the estimate for the slowest machine."""
    units = sum(layer.units for layer in network.dense)
    per_row = 2 * passes * network.params.size + PER_UNIT * units
    return max(1, int(SECONDS / (per_row * block_rows / PER_SECOND + PER_BLOCK)))


def pass_cost(network: Model) -> float:
    """About how many operations one pass of a row takes, with the activations."""
    units = sum(layer.units for layer in network.dense)
    return float(2 * network.params.size + PER_UNIT * units)


def rows_of_a_block(network: Model, passes: int) -> int:
    """`block_rows`, or fewer rows if each takes many passes."""
    return min(block_rows(network), max(LONGEST_BLOCK // (2 * passes * network.params.size), 1))


def passes_in_time(network: Model, rows: int) -> int:
    """How many passes one call may make through a block, if its passes are divided into calls."""
    return max(1, LONGEST_BLOCK // 3 // (2 * network.params.size * rows))


def in_time(
    network: Model, rows: int, block_rows: int, passes: int, first: int = 0
) -> list[slice]:
    """The rows of each call, from `first` on: so few that the call ends in time."""
    stop = first + rows
    if rows <= block_rows:  # a block cannot be divided
        return [slice(first, stop)]
    step = block_rows * blocks_in_time(network, block_rows, passes)
    return [slice(start, min(start + step, stop)) for start in range(first, stop, step)]


def blocks(rows: int, size: int) -> list[slice]:
    """The rows of each block."""
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
