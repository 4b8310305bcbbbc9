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

import math

import numpy as np

from flatprop.kernels.network import entry_points
from flatprop.kernels.network.records import all_units, widest
from flatprop.kernels.network.workspace import backward_workspace_size
from flatprop.kernels.products.matmul import scratch_size
from flatprop.kernels.threads.team import SHARED_ROWS
from flatprop.model.model import Model
from flatprop.validation.arrays import Array, aligned_empty

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
    return whole_units(min(in_cache, in_time))


def whole_units(rows: int) -> int:
    """The next number of rows that cutting a product into blocks does not change: see `team`."""
    return -(-rows // SHARED_ROWS) * SHARED_ROWS


def even_block(network: Model, rows: int) -> int:
    """`block_rows`, or as many fewer as make all blocks about equally long."""
    blocks = -(-rows // block_rows(network))
    return rows if blocks == 1 else whole_units(-(-rows // blocks))


def predicted_rows(network: Model, rows: int) -> int:
    """The rows of a block for `predict`, which also cuts a single block in two for two threads."""
    block = block_rows(network)
    if MOST_ALONE <= rows <= block:
        return whole_units(-(-rows // 2))
    return min(rows, block)


def block_for(network: Model, rows: int) -> entry_points.Block:
    """Scratch for going through so many rows block by block: all samples, or those of a batch.

    It is all the memory that this takes besides samples and parameters. Beyond `block_rows` it
    does not grow with the rows.
    """
    rows = even_block(network, rows)
    layers, dtype = network._arrays.layers, network.dtype
    size = backward_workspace_size(layers, rows) + 2 * rows * network.outputs
    weight, workspace = np.ones(rows * network.outputs, dtype), aligned_empty(size, dtype)
    return entry_points.Block(rows, weight, workspace, workspace[2 * rows * all_units(layers) :])


def scratch_for(network: Model, rows: int) -> Array:
    """What a thread that helps with a block of so many rows needs of its own."""
    size = scratch_size(rows, widest(network._arrays.layers))
    return aligned_empty(size, network.dtype)


def copy_of(block: entry_points.Block) -> entry_points.Block:
    """Scratch like that of `block`, for another thread."""
    workspace = aligned_empty(block.workspace.size, block.workspace.dtype)
    scratch = workspace[block.workspace.size - block.scratch.size :]
    return entry_points.Block(block.rows, np.ones_like(block.weight), workspace, scratch)


MOST_ALONE = 256
"""So many rows in a single block are divided among two threads."""
PARTS_PER_THREAD = 4
"""Calls for each thread at least, for one may be slower than another."""
WORTH_A_THREAD = 2e-5
"""Seconds of a step that pay for one more thread, which several waits cost some microseconds."""
WORTH_HELP = 1e-3
"""Seconds of a call that pay for waking threads up."""
FAST = 1e11
"""Operations that a fast machine does in a second."""
FAST_UNIT = 1e-9
"""Seconds that it takes for the activation of a unit."""


def threads_worth(network: Model, rows: int, passes: int, calls: float = math.inf) -> int:
    """How many threads pay for `calls` blocks of so many rows, one after the other."""
    units = sum(layer.units for layer in network.dense)
    seconds = rows * (2 * passes * network.params.size / FAST + units * FAST_UNIT)
    if seconds * calls < WORTH_HELP:
        return 1
    return max(1, min(int(seconds / WORTH_A_THREAD), rows // SHARED_ROWS))


def blocks_in_time(network: Model, block_rows: int, passes: int) -> int:
    """How many blocks of rows are sure to end in time, by the estimate for the slowest machine."""
    units = sum(layer.units for layer in network.dense)
    per_row = 2 * passes * network.params.size + PER_UNIT * units
    return max(1, int(SECONDS / (per_row * block_rows / PER_SECOND + PER_BLOCK)))


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


def shared_out(
    network: Model, rows: int, block_rows: int, passes: int, threads: int
) -> list[slice]:
    """The rows of each call, as `in_time`, but several for each of the threads."""
    count = -(-rows // block_rows)
    most = blocks_in_time(network, block_rows, passes)
    step = block_rows * max(1, min(most, count // (PARTS_PER_THREAD * threads)))
    return blocks(rows, step if threads > 1 else block_rows * most)


def blocks(rows: int, size: int) -> list[slice]:
    """The rows of each block."""
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
