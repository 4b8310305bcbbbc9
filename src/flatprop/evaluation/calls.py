"""How many rows one call of a compiled function takes: Ctrl-C waits for its end.

The cost of a row is counted in passes. One pass multiplies the row with every matrix of
weights once, as `predict` does; a gradient takes three. The estimate holds for the slowest
of machines, so that a call ends in time on every one. Calls take whole blocks of rows, and
what they add up goes from one to the next: the result is bit for bit that of one call.
"""

import numpy as np

from flatprop.kernels.network import entry_points
from flatprop.kernels.network.backprop import backward_workspace_size
from flatprop.model.model import Model
from flatprop.validation.arrays import Array, aligned_empty

SECONDS = 0.05
"""How long one call should take."""
PER_SECOND = 2e9
"""Operations that the slowest machine does in a second."""
PER_UNIT = 100
"""Operations that the activation of one unit may take: a function of the C library is one."""
PER_BLOCK = 1e-5
"""Seconds that a block takes beside its rows."""

PREDICT, GRADIENT, CURVATURE = 1, 3, 9
"""Passes per row: of the outputs, of a gradient, of a product with second derivatives."""
WRITTEN = 400
"""Passes that take as long as it takes to write a number per parameter into fresh memory."""

LONGEST_BLOCK = 6 * 2**31
"""Operations that one block may have; `block_rows` is the same for a gradient."""


def block_rows(network: Model) -> int:
    """Rows that go through the network together at most.

    Few enough that what lies between forward and backward pass stays in the cache,
    and that one block takes no longer than Ctrl-C may; many enough that a matrix
    of weights, read once per block, is used often.
    """
    row_bytes = 2 * sum(layer.units for layer in network.dense) * network.dtype.itemsize
    in_cache = min(max(96 * 1024 // row_bytes, 264), 4096)
    in_time = max(2**31 // int(network.params.size), 32)
    return min(in_cache, in_time)


def block_for(network: Model, rows: int) -> entry_points.Block:
    """Scratch for going through so many rows, or batches of so many, block by block.

    Its workspace is what this takes beside data and parameters; beyond `block_rows`
    it does not grow with the rows.
    """
    most = block_rows(network)
    rows = -(-rows // -(-rows // most))  # all blocks about equally long
    predictions = 2 * rows * network.outputs
    size = backward_workspace_size(network._arrays.layers, rows) + predictions
    weight = np.ones(rows * network.outputs, network.dtype)
    return entry_points.Block(rows, weight, aligned_empty(size, network.dtype))


def blocks_in_time(network: Model, block_rows: int, passes: int) -> int:
    """How many blocks of rows are sure to end in time, before anything was measured."""
    units = sum(layer.units for layer in network.dense)
    per_row = 2 * passes * network.params.size + PER_UNIT * units
    return max(1, int(SECONDS / (per_row * block_rows / PER_SECOND + PER_BLOCK)))


def rows_of_a_block(network: Model, passes: int) -> int:
    """`block_rows`, or fewer where each row takes many passes."""
    return min(block_rows(network), max(LONGEST_BLOCK // (2 * passes * network.params.size), 1))


def passes_in_time(network: Model, rows: int) -> int:
    """How many passes through a block one call may make, where it makes only some of them."""
    return max(1, LONGEST_BLOCK // 3 // (2 * network.params.size * rows))


def parts(network: Model, rows: int, block_rows: int, passes: int, first: int = 0) -> list[slice]:
    """The rows of one call after the other, from `first` on."""
    stop = first + rows
    if rows <= block_rows:  # which cannot be divided
        return [slice(first, stop)]
    step = block_rows * blocks_in_time(network, block_rows, passes)
    return [slice(start, min(start + step, stop)) for start in range(first, stop, step)]


def loss_and_gradient(
    network: Model,
    data: entry_points.Data,
    scale: float,
    gradient: Array,
    block: entry_points.Block,
) -> float:
    """Σ w ℓ over all samples; gradient ← that of scale · Σ w ℓ."""
    total = 0.0
    for part in parts(network, data.rows, block.rows, GRADIENT):
        total = entry_points.loss_and_gradient(
            *network._arrays,
            data,
            part.start,
            part.stop,
            total,
            scale,
            gradient,
            block,
        )
    return total


def sum_of_losses(
    network: Model, data: entry_points.Data, first: int, rows: int, block: entry_points.Block
) -> float:
    """Σ w ℓ over some of the samples."""
    total = 0.0
    for part in parts(network, rows, block.rows, PREDICT, first):
        total = entry_points.sum_of_losses(
            *network._arrays,
            data,
            part.start,
            part.stop,
            total,
            block,
        )
    return total
