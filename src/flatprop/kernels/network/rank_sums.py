"""A training on the rows of several processes, the ranks of a communicator of MPI.

Each rank goes through its own rows of a batch. Before the update, one sum over all ranks gives all
of them the gradient of the whole batch. With the gradient travel, behind its last number,

| what | how | which gives each rank |
| --- | --- | --- |
| the loss of the rank's rows | `DIGITS` whole numbers | the loss of the whole batch |
| whether the rank was asked to stop | 1 or 0 | whether any rank was |

The numbers of a message are of the parameters' dtype, and a sum of losses in float32 would be too
coarse for `tol`. So the loss is written in digits of `BASE`. Their sums are exact in any order,
for up to 4096 ranks.

The loop calls MPI by its address, through the function of `adder_address`.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.by_address import called
from flatprop.kernels.loops.elementwise import add, fill
from flatprop.kernels.loops.function_at import compiled_at, element_of
from flatprop.kernels.loops.minibatch import sum_of_weights
from flatprop.kernels.loops.vector_loops import INT64
from flatprop.kernels.network.records import matrix
from flatprop.kernels.threads.team import wait

BATCH = 3
"""The place of the batch's number in `Progress.cursor`, which is longer by it."""

BASE = 4096.0
"""2¹²: the sum of 4096 digits has no more than the 24 bits of a float32."""
LARGEST = 2.0**48
"""The unit of the first digit, which may have any size."""
DIGITS = 14
"""The last digit's unit is 2⁻¹⁰⁸."""
MESSAGE = 1 + DIGITS
"""How many numbers travel with a gradient."""

CALL = ("function", "in_place", "datatype", "op", "communicator")
"""What `RankedBatches.call` holds: the address of MPI_Allreduce, and its arguments as MPI's own
functions in C take them."""


class RankedBatches(NamedTuple):
    """What a training needs that is shared out over ranks."""

    bounds: Any
    """(batches + 1,) int64: where this rank's rows of each batch begin, in the order of an epoch.
    A rank may have none in some batches."""
    places: Any
    """(batches,) int64: the place in its batch of this rank's first row. Those of lower ranks come
    before."""
    weights: Any
    """(batches,) float64: Σ w of each batch, over all ranks."""
    weights_change: bool
    """Whether `weights` have to be added up anew in each epoch."""
    asked: Any
    """(1,) int64: not 0 once this rank was asked to stop; written while the loop runs."""
    call: Any
    """(5,) int64, see `CALL`: how numbers of the parameters' dtype are added up ..."""
    call_for_weights: Any
    """... and float64."""
    adder: int
    """The `adder_address` for numbers of the parameters' dtype ..."""
    adder_of_weights: int
    """... and for float64."""


@called(count=types.int64)
def add_over_ranks(typing_context: Any, address: Any, numbers: Any, call: Any, count: Any) -> Any:
    """numbers[:count] ← their sums over all ranks; `address` is that of `adder_address`."""


@global_compiler_lock
@cache
def adder_address(dtype: np.dtype[Any], handle_bits: int) -> int:
    """The address of what `add_over_ranks` calls.

    In C, the handles of some MPI libraries are numbers of 32 bits, those of others pointers.
    """
    handle, pointer, number = ir.IntType(handle_bits), ir.IntType(8).as_pointer(), ir.IntType(32)

    def emit(
        builder: ir.IRBuilder,
        numbers: ir.Value,
        _: ir.Value,
        call: ir.Value,
        __: ir.Value,
        count: ir.Value,
    ) -> None:
        given = (builder.load(builder.gep(call, [INT64(i)])) for i in range(len(CALL)))
        function, in_place, *handles = given
        kind = ir.FunctionType(number, [pointer, pointer, number, handle, handle, handle])
        if handle_bits < 64:
            handles = [builder.trunc(one, handle) for one in handles]
        builder.call(
            builder.inttoptr(function, kind.as_pointer()),
            [
                builder.inttoptr(in_place, pointer),
                builder.bitcast(numbers, pointer),
                builder.trunc(count, number),
                *handles,
            ],
        )  # its communicator ends all processes where there is an error
        builder.ret_void()

    arguments = element_of(dtype).as_pointer(), INT64, INT64.as_pointer(), INT64, INT64
    return compiled_at(emit, ir.FunctionType(ir.VoidType(), arguments), plain=True)


@kernel
def begin_epoch(ranks, weights, order, cells, rank, size):
    """Add up the weights of the epoch's batches, if they change; all threads of a team call it."""
    if ranks.weights_change:
        if rank == 0:
            count = ranks.weights.size
            for batch in range(count):
                first, last = ranks.bounds[batch], ranks.bounds[batch + 1]
                ranks.weights[batch] = sum_of_weights(weights, order, first, last)
            add_over_ranks(ranks.adder_of_weights, ranks.weights, ranks.call_for_weights, count)
        wait(cells, size)


@kernel
def add_shards(gradient, n, shards, low, high):
    """gradient[low:high] ← the sum over the first of the shards, of n numbers each."""
    own = matrix(gradient, low, 1, high - low)
    for s in range(1, shards):
        add(matrix(gradient, s * n + low, 1, high - low), own)


@kernel
def no_gradient(gradient, low, high):
    """gradient[low:high] ← 0, for a batch in which this rank has no row."""
    fill(matrix(gradient, low, 1, high - low), 0.0)


@kernel
def exchange(ranks, gradient, n, loss, cells, rank, size):
    """The first n numbers of the gradient ← their sums over all ranks; the message likewise.

    `loss` is the loss of this rank's rows. The message takes `MESSAGE` places behind the gradient.
    All threads of a team call this.
    """
    wait(cells, size)
    if rank == 0:
        gradient[n] = 1.0 if ranks.asked[0] != 0 else 0.0
        rest = loss / LARGEST
        for i in range(n + 1, n + MESSAGE):
            digit = np.floor(rest)
            gradient[i] = digit
            rest = (rest - digit) * BASE
        add_over_ranks(ranks.adder, gradient, ranks.call, n + MESSAGE)
    wait(cells, size)


@kernel
def loss_of_all(gradient, n):
    """The loss of a batch, over all ranks, from the message."""
    total, unit = 0.0, LARGEST
    for i in range(n + 1, n + MESSAGE):
        total += gradient[i] * unit
        unit /= BASE
    return total


@kernel
def some_rank_stops(gradient, n):
    """Whether any rank was asked to stop, from the message."""
    return gradient[n] > 0.0
