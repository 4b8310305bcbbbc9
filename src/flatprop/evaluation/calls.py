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

from flatprop.kernels.network.records import all_units
from flatprop.kernels.network.workspace import Block, backward_workspace_size
from flatprop.kernels.threads.team import MOST_UNITS, SHARED_ROWS
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
    in_time = max(LONGEST_BLOCK // 6 // int(network.params.size), 32)
    return whole_units(min(in_cache, in_time))


def whole_units(rows: int) -> int:
    """The next number of rows that cutting a product into blocks does not change: see `team`."""
    return -(-rows // SHARED_ROWS) * SHARED_ROWS


def even_block(network: Model, rows: int) -> int:
    """`block_rows`, or as many fewer as make all blocks about equally long.

    Two blocks become one if the network has so many parameters that a gradient for each block
    would cost more than the values of a longer block do.
    """
    count = -(-rows // block_rows(network))
    in_time = rows * int(network.params.size) <= LONGEST_BLOCK // 6
    if count == 1 or (count == 2 and in_time and network.params.nbytes >= LONG_GRADIENT):
        return rows
    return whole_units(-(-rows // count))


def shards_of(network: Model, rows: int, block_rows: int) -> int:
    """How many blocks of these rows threads go through at once; see `training_loop.Buffers`.

    It must not depend on how many threads there are.
    """
    gradients = max(1, SHARD_NUMBERS // int(network.params.size))
    return min(-(-rows // block_rows), gradients, MOST_SHARDS)


def predicted_rows(network: Model, rows: int) -> int:
    """The rows of a block for `predict`, which also cuts a single block in two for two threads."""
    block = block_rows(network)
    if MOST_ALONE <= rows <= block:
        return whole_units(-(-rows // 2))
    return min(rows, block)


def block_for(network: Model, rows: int) -> Block:
    """Scratch for going through so many rows block by block: all samples, or those of a batch.

    It is all the memory that this takes besides samples and parameters. Beyond `block_rows` it
    does not grow with the rows.
    """
    rows = even_block(network, rows)
    layers, dtype = network._arrays.layers, network.dtype
    size = backward_workspace_size(layers, rows) + 2 * rows * network.outputs
    weight, workspace = np.ones(rows * network.outputs, dtype), aligned_empty(size, dtype)
    scratch = workspace[2 * rows * all_units(layers) :]
    return Block(rows, weight, workspace, scratch, np.zeros(MOST_UNITS))


def of_helper(block: Block, shared: bool = False) -> Block:
    """Scratch like that of `block`, for another thread; most is shared by those at one block."""
    dtype = block.workspace.dtype
    if shared:
        return block._replace(scratch=aligned_empty(block.scratch.size, dtype))
    workspace = aligned_empty(block.workspace.size, dtype)
    scratch = workspace[workspace.size - block.scratch.size :]
    weight, unit_losses = np.ones_like(block.weight), np.zeros_like(block.unit_losses)
    return Block(block.rows, weight, workspace, scratch, unit_losses)


MOST_SHARDS = 8
LONG_GRADIENT = 2**20
"""Bytes of a gradient that do not stay in the second cache beside other numbers."""
SHARD_NUMBERS = 2**22
"""How many numbers the gradients of all shards may have together."""
MOST_ALONE = 256
"""So many rows in a single block are divided among two threads."""
PARTS_PER_THREAD = 4
"""Calls for each thread at least, for one may be slower than another."""
WORTH_A_THREAD = 2e-5
"""Seconds of a step that pay for one more thread. Waiting for it takes some microseconds."""
WORTH_HELP = 1e-3
"""Seconds of a call that pay for waking threads up."""
FAST = 1e11
"""Operations in float32 that a fast machine does in a second."""
FAST_UNIT = 1e-9
"""Seconds that it takes for the activation of a unit."""
EXCHANGE = 7e9
"""Bytes per second that processors read of what another one has just written."""
MOST_EXCHANGE = 0.4
"""Which part of the time of a step may go into that."""


def threads_worth(
    network: Model, rows: int, passes: int, calls: float = math.inf, shards: int = 0
) -> int:
    """How many threads pay for `calls` blocks of so many rows.

    | `shards` | the threads |
    | --- | --- |
    | 0 | take whole blocks, which have nothing to do with each other |
    | 1 | share each block, and exchange half of all that is written |
    | more | take as many blocks at once, and exchange gradients and parameters |
    """
    units, size = sum(layer.units for layer in network.dense), int(network.params.size)
    itemsize = network.dtype.itemsize
    seconds = rows * (2 * passes * size / FAST + units * FAST_UNIT) * itemsize / 4
    if seconds * calls < WORTH_HELP:
        return 1
    exchanged = size if shards > 1 else size / 2 + rows * (units + network.inputs / 2)
    exchange = exchanged * itemsize / EXCHANGE if shards else 0.0
    if exchange > MOST_EXCHANGE * seconds * max(shards, 1):
        return 1
    worth = int(seconds / WORTH_A_THREAD)
    return max(
        1, min(worth, rows // SHARED_ROWS) if shards == 1 else min(8 * worth, shards or 256)
    )


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
