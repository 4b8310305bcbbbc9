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

from flatprop.kernels.compile import kernel
from flatprop.kernels.network.backprop import forward_with_slopes, loss_of_rows, places_of_loss
from flatprop.kernels.network.layer_kinds import gradient, parameter_rows, through_activation
from flatprop.kernels.network.walks import in_place
from flatprop.kernels.network.workspace import Share, inputs_of, slope_of
from flatprop.kernels.threads.team import SHARED_ROWS, end_of_unit, share_of, unit_of, wait


class Seat(NamedTuple):
    """A thread's place in its team."""

    cells: Any
    """What it shares with the others: see `team`."""
    rank: int
    size: int


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
    whole = Share(share.workspace, share.scratch, rows, 0, share.place, share.update, share.seed)
    a, dL_dz = inputs_of(layers, l, x, whole), slope_of(layers, l, rows, whole)
    gradient(
        layers, l, a, dL_dz, first, stop - first, alpha, accumulate, out, place, share.scratch
    )
