"""Backpropagation of one block of rows by a team of threads.

| step | a thread takes | then all wait, because |
| --- | --- | --- |
| forward pass, loss, the last ∂L/∂z | some rows | the loss adds up all rows |
| for each layer, ∂L/∂z of the layer before | the same rows | ∂L/∂W needs all, and may change W |
| ∂L/∂W and ∂L/∂b of the layer | some of their rows | (once, at the end) the block is done |

A row needs no other row, so that a thread goes through all layers on its own. With one thread the
shares are the whole block. `threads.team` says why the results are the same.
"""

from typing import Any, NamedTuple

from numba.core import types

from flatprop.kernels.compile import intrinsic, kernel
from flatprop.kernels.loops.integers import larger, smaller
from flatprop.kernels.loops.updates import update_trained
from flatprop.kernels.loops.vector_loops import INT64
from flatprop.kernels.network.backprop import forward_with_slopes, loss_of_rows, places_of_loss
from flatprop.kernels.network.layer_kinds import gradient, through_activation
from flatprop.kernels.network.training_records import PER_PANEL, UPDATES
from flatprop.kernels.network.walks import in_place
from flatprop.kernels.network.workspace import (
    DenseShare,
    Share,
    inputs_of,
    parameter_rows,
    slope_of,
)
from flatprop.kernels.threads.team import SHARED_ROWS, end_of_unit, share_of, unit_of, wait


class Seat(NamedTuple):
    """A thread's place in its team."""

    cells: Any
    """What it shares with the others: see `team`."""
    rank: int
    size: int


@intrinsic
def share_of_training(
    typing_context: Any,
    special: Any,
    workspace: Any,
    scratch: Any,
    block_rows: Any,
    first: Any,
    begin: Any,
    first_row: Any,
    cursor: Any,
    seed: Any,
) -> Any:
    """A share of the block that begins at row `begin`, in the batch from `first_row` on.

    It is a `DenseShare` if `special` is None, else a `Share`; see `training_records.Special`.
    """
    given = special, workspace, scratch, *[types.intp] * 4, cursor, seed
    kind = DenseShare if isinstance(special, types.NoneType) else Share
    numbers = [types.intp] * (len(kind._fields) - 2)
    if kind is Share:
        numbers[-1] = seed
    share = types.NamedTuple([workspace, scratch, *numbers], kind)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, *parts, begin, first_row, progress, seed = arguments
        if kind is Share:
            place = builder.sub(builder.add(begin, parts[-1]), first_row)
            data = context.make_array(cursor)(context, builder, progress).data
            update = builder.load(builder.gep(data, [INT64(UPDATES)]))
            parts += place, update, seed
        return context.make_tuple(builder, share, parts)

    return share(*given), codegen


@kernel
def takes_block(index, shards, seat):
    """Whether a thread goes through this block of a batch; see `training_loop.Buffers`."""
    return shards == 1 or index % shards % seat.size == seat.rank


@kernel
def seat_at_block(shards, seat):
    """A thread's place among those that share a block: alone, if each takes blocks of its own."""
    if shards > 1:
        return Seat(seat.cells, 0, 1)
    return seat


@kernel
def loss_and_slopes(layers, loss_record, params, x, y, weight, scale, share, sums):
    """As `backprop.loss_and_slopes`, for a share; sums[i] ← Σ w ℓ of unit i of the block."""
    rows, unit = x.shape[0], unit_of(share.block_rows)
    logits = loss_record.from_logits == 1
    forward_with_slopes(layers, params, x, logits, share)
    a, dL_da, slope = places_of_loss(layers, loss_record, rows, share)
    row, i = 0, share.first // unit if share.first > 0 else 0
    while row < rows:
        stop = end_of_unit(row, rows, unit)
        sums[i] = loss_of_rows(loss_record, a, y, weight, scale, dL_da, row, stop)
        row, i = stop, i + 1
    through_activation(layers, layers.size - 1, logits, a, dL_da, slope)


@kernel
def pass_on(layers, l, params, rows, share, context):
    """∂L/∂z of layer l - 1 for the rows of a share, if it has any; see `walks.walk_back`."""
    if rows > 0:
        in_place(layers, l, params, rows, share, context)


@kernel
def share_of_gradient(layers, l, seat):
    """Which rows of the gradient of layer l a thread takes, once all of ∂L/∂z is there."""
    wait(seat.cells, seat.size)
    return share_of(parameter_rows(layers, l), SHARED_ROWS, seat.rank, seat.size)


@kernel
def gradient_rows(layers, l, x, share, first, stop, alpha, accumulate, out, place):
    """out[place:] ← alpha times some rows of the gradient of layer l, from all rows of a block."""
    rows = x.shape[0]
    whole = DenseShare(share.workspace, share.scratch, rows, 0)
    a, dL_dz = inputs_of(layers, l, x, whole), slope_of(layers, l, rows, whole)
    some, scratch = stop - first, share.scratch
    gradient(layers, l, a, dL_dz, first, some, alpha, accumulate, out, place, share, scratch)


@kernel
def learn(layers, l, params, own_x, share, context):
    """What `train` does at layer l: write its gradient, or change its parameters at once."""
    seat, x, of_gradient, of_update = context
    update_timing, alpha, accumulate, target, offset = of_gradient
    code, settings, state, trainable = of_update
    units, start = layers[l].units, layers[l].W_start
    first, last = share_of_gradient(layers, l, seat)
    some = last - first
    if update_timing == PER_PANEL:
        some = target.size // units // SHARED_ROWS * SHARED_ROWS
    for row in range(first, last, larger(some, 1)):
        stop = smaller(row + some, last)
        here = start + row * units
        place = 0 if update_timing == PER_PANEL else offset + here
        gradient_rows(layers, l, x, share, row, stop, alpha, accumulate, target, place)
        if update_timing == PER_PANEL:
            end = start + stop * units
            update_trained(code, settings, params, target, state, trainable, here, end, here)
