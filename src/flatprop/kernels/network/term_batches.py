"""Batches of a loss that is a sum of terms: their gradients, block by block, and the unknowns.

The functions of the terms are called by address. So this is compiled once, whatever the terms and
the dtype, and `training_loop.train` calls it by address in turn: a training without terms compiles
nothing of it.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from flatprop.formulas.optimizer import GRADIENT_SCALE, LEARNING_RATE, STEP
from flatprop.kernels.compile import c_address, entry_point, intrinsic, kernel
from flatprop.kernels.loops.by_address import called
from flatprop.kernels.loops.integers import larger, smaller
from flatprop.kernels.loops.minibatch import shuffle
from flatprop.kernels.loops.updates import update_trained
from flatprop.kernels.network.records import array_at, matrix
from flatprop.kernels.network.term_records import BATCH, TERM
from flatprop.kernels.threads.team import join, wait

GRADIENT, SHUFFLE, UPDATE = range(3)
"""What `batch_of_terms` does. Who leads a team makes the last two."""
TERM_BYTES = TERM.itemsize


@intrinsic
def _call_term(typing_context: Any, function: Any, term: Any) -> Any:
    """What the function of a term returns for the record at this address."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function, term = arguments
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.DoubleType(), [byte, byte])
        given = builder.inttoptr(term, byte), byte(None)
        return builder.call(builder.inttoptr(function, kind.as_pointer()), given)

    return types.float64(types.int64, types.int64), codegen


def batch_of_terms(
    batch, _, operation, seed, epoch, first_row, last_row, scale, total, rank, size, most
):
    """The work of one thread of a team, on the batch that begins at a row of the samples.

    | `operation` | what it does | returns |
    | --- | --- | --- |
    | GRADIENT | losses and gradients of this thread's blocks, among the next `most` of all | how
      many blocks the batch has if all are done, else 0: then it has to be called again |
    | SHUFFLE | new orders of the points of equations | 0 |
    | UPDATE | one update of the unknowns, with settings of the update of the parameters | 0 |
    """
    b = array_at(batch, BATCH, 1)[0]
    terms = array_at(b.terms, TERM, b.count)
    if operation == SHUFFLE:
        for i in range(1, b.count):
            order = array_at(terms[i].order, np.int64, terms[i].rows)
            shuffle(seed + np.uint64(i), epoch, order)
        return 0
    if operation == UPDATE:
        if b.n_unknowns > 0:
            _update_unknowns(b)
        return 0
    number, index, end = first_row // b.batch_size, 0, b.done + most
    for i in range(b.count):
        term = terms[i]
        first, stop = first_row, last_row
        if i > 0:
            first = number * term.rows // b.batches
            stop = larger((number + 1) * term.rows // b.batches, first + 1)
            term.scale = term.weight / (stop - first)
        else:
            term.scale, term.total = scale, total
            if total == 0.0:  # no sample of this batch counts
                stop = first
        for start in range(first, stop, term.block_rows):
            shard = index % b.shards
            if b.done <= index < end and shard % size == rank:
                slopes = b.slopes + 8 * shard * b.n_unknowns
                term.accumulate = 1
                if index < b.shards:
                    term.accumulate = 0
                    own = array_at(slopes, np.float64, b.n_unknowns)
                    for k in range(b.n_unknowns):
                        own[k] = 0.0
                term.first, term.count = start, smaller(term.block_rows, stop - start)
                term.gradient = b.gradient + shard * b.gradient_bytes
                term.slopes = slopes + 8 * term.unknowns_before
                losses = array_at(b.losses, np.float64, index + 1)
                losses[index] = _call_term(term.function, b.terms + i * TERM_BYTES)
            index += 1
    b.blocks = index
    if index > end:
        b.done = end
        return 0
    b.done = 0
    return index


@kernel
def _update_unknowns(b):
    """unknowns ← after one update, by the sum of the slopes of all shards."""
    n = b.n_unknowns
    unknowns, before = (
        array_at(b.unknowns, np.float64, n),
        array_at(b.unknowns_before, np.float64, n),
    )
    slopes = matrix(array_at(b.slopes, np.float64, b.shards * n), 0, b.shards, n)
    for k in range(n):
        before[k] = unknowns[k]
        for s in range(1, smaller(b.shards, b.blocks)):
            slopes[0, k] += slopes[s, k]
    settings, own = (
        array_at(b.settings, np.float64, b.n_settings),
        array_at(b.own_settings, np.float64, b.n_settings),
    )
    own[STEP], own[LEARNING_RATE] = settings[STEP], settings[LEARNING_RATE]
    own[GRADIENT_SCALE] = settings[GRADIENT_SCALE]
    ranges = matrix(array_at(b.ranges, np.int64, 2), 0, 1, 2)
    state = array_at(b.state, np.float64, 0)
    gradient = array_at(b.slopes, np.float64, n)
    update_trained(b.code, own, unknowns, gradient, matrix(state, 0, 1, n), ranges, 0, n, 0)


def batches_address() -> int:
    """The address of `batch_of_terms`."""
    whole, number = types.int64, types.float64
    arguments = (types.voidptr, whole, whole, types.uint64, *[whole] * 3, number, number)
    return c_address(batch_of_terms, whole, (*arguments, whole, whole, whole))


@called(
    types.int64,
    operation=types.int64,
    seed=types.uint64,
    epoch=types.int64,
    first_row=types.int64,
    last_row=types.int64,
    scale=types.float64,
    total=types.float64,
    rank=types.int64,
    size=types.int64,
    most=types.int64,
)
def of_terms(
    typing_context: Any,
    address: Any,
    batch: Any,
    operation: Any,
    seed: Any,
    epoch: Any,
    first_row: Any,
    last_row: Any,
    scale: Any,
    total: Any,
    rank: Any,
    size: Any,
    most: Any,
) -> Any:
    """Call `batch_of_terms`; `batch` is a `BATCH` as int64 numbers."""


@entry_point
def gradient_of_all(address, batch, rows, scale, total, most, cells, leads):
    """The gradient of one batch that has all rows; returns as `batch_of_terms`.

    All threads of a team call this at once. One of them `leads`.
    """
    rank, size = join(cells, leads)
    if rank < 0:
        return 0
    seed = np.uint64(0)
    blocks = of_terms(address, batch, GRADIENT, seed, 0, 0, rows, scale, total, rank, size, most)
    wait(cells, size)
    return blocks
