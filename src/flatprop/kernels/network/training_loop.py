"""The training loop: shuffle, gather, loss and slopes, gradient and update; epoch after epoch.

Python calls `train` again and again with a bounded number of blocks, so that a signal or a
callback waits for one call at most. Everything that a later call needs is in arrays.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from flatprop.formulas.optimizer import GRADIENT_SCALE, LEARNING_RATE, STEP
from flatprop.kernels.compile import entry_point, kernel
from flatprop.kernels.loops.elementwise import add
from flatprop.kernels.loops.integers import larger, smaller
from flatprop.kernels.loops.minibatch import (
    gather,
    shuffle,
    sum_of_weights,
    weights_per_output,
)
from flatprop.kernels.loops.updates import clipping, penalise, update_trained
from flatprop.kernels.network.backprop import scale_of
from flatprop.kernels.network.records import matrix, rows_of
from flatprop.kernels.network.shares import (
    Seat,
    gradient_rows,
    loss_and_slopes,
    pass_on,
    seat_at_block,
    share_of_gradient,
    takes_block,
)
from flatprop.kernels.network.walks import walk_back
from flatprop.kernels.network.workspace import Share
from flatprop.kernels.threads.team import (
    SHARED_ROWS,
    join,
    share_of,
    sum_over_units,
    unit_of,
    wait,
)

# Why `train` returned.
RUNNING, EPOCH_ENDED, FINISHED, CONVERGED, DIVERGED = range(5)

# When the parameters change
AFTER_GRADIENT, PER_PANEL, FUSED = range(3)

# The places of Progress.cursor ...
EPOCH, ROW, UPDATES = range(3)
# ... and of Progress.sums
BATCH_SCALE, BATCH_LOSS, EPOCH_LOSS, EPOCH_WEIGHT, BATCH_WEIGHT = range(5)


class Rule(NamedTuple):
    """The optimizer; `settings` and `state` are overwritten."""

    code: int
    settings: Any
    """float64, as `updates.update` takes them. Each thread of a team has its own."""
    state: Any
    """(slots, parameters)."""
    trainable: Any
    """(ranges, 2): where runs of trained parameters begin and end."""
    clip_norm: float
    """The gradient's largest norm; 0 for no limit."""
    penalty: float
    """α of the term α/2 Σ W² / Σ w that each batch's loss is to have; AFTER_GRADIENT only."""
    update_timing: int
    """When the parameters change:

    | `update_timing` | the parameters change | which needs |
    | --- | --- | --- |
    | AFTER_GRADIENT | when the whole gradient is known | nothing |
    | PER_PANEL | when some rows of a layer's gradient are known | a plain training |
    | FUSED | in the product that gives the gradient | that, and `Optimizer.linear` |

    A plain training is one of all parameters, without `clip_norm`, by batches of one block.
    """
    weights: Any = None
    """(layers, 2): where each W begins and ends in `params`. A pickle of version 0.1 has none."""


class Plan(NamedTuple):
    """What does not change during a training."""

    rates: Any
    """float64, the learning rates of the epochs; the last holds for all further epochs."""
    batch_size: int
    seed: Any
    """uint64; with the number of the epoch it decides the order of the samples."""
    tol: float
    """Two successive losses as close as this end the training; below 0 never."""
    each_epoch: bool
    """Whether to return after every epoch."""
    by_rows: bool
    """How much a batch counts in the mean over an epoch: its rows, as in scikit-learn, or else
    its Σ w."""
    mask_seed: Any
    """uint64; see `workspace.Share.seed`."""


class Progress(NamedTuple):
    """How far a training has come; overwritten.

    Each thread of a team has a cursor and sums of its own. All write the same, also into losses.
    """

    cursor: Any
    """int64: the epoch, the next row in it, the updates so far."""
    sums: Any
    """float64:

    | place | what it holds |
    | --- | --- |
    | BATCH_SCALE | what Σ w ℓ is multiplied by to give the batch's loss |
    | BATCH_LOSS | the Σ w ℓ of the batch before |
    | EPOCH_LOSS | the mean of the epoch's batch losses so far |
    | EPOCH_WEIGHT | how much these batches count together |
    | BATCH_WEIGHT | the batch's Σ w; 1 if the loss is a sum |
    """
    losses: Any
    """(epochs,) float64."""


def progress(losses: Any) -> Progress:
    """Of a training that has not begun; `losses` has a place for each of its epochs."""
    return Progress(np.zeros(3, np.int64), np.zeros(5), losses)


class Buffers(NamedTuple):
    """Scratch; overwritten."""

    order: Any
    """(rows,) int64 where samples are shuffled, empty otherwise."""
    x: Any
    """(block rows · inputs,) where samples are shuffled."""
    y: Any
    """(block rows · columns,) where samples are shuffled."""
    gradient: Any
    """| the parameters change | what this has |
    | --- | --- |
    | AFTER_GRADIENT | (shards · parameters,) |
    | PER_PANEL | `SHARED_ROWS` rows of the widest layer at least; each thread has its own |
    | FUSED | nothing |
    """
    shards: int
    """Into how many parts a batch of several blocks is divided. Each has a gradient of its own.
    They are added up at the end of the batch.

    | `shards` | the threads of a team | have of their own |
    | --- | --- | --- |
    | 1 | share each block | `losses`, and the scratch of `block` |
    | more | take whole blocks, those of a shard one thread | x, y and `block` |

    Block i of a batch is of shard i modulo `shards`.
    """
    losses: Any
    """float64, the Σ w ℓ of each block of this batch."""
    block: Any
    """A `Block`."""


@kernel
def _learn(layers, l, params, own_x, share, context):
    """What `train` does at layer l: write its gradient, or change its parameters at once."""
    seat, x, update_timing, alpha, accumulate, target, offset, code, settings, state, trainable = (
        context
    )
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


@entry_point
def train(model, data, rule, plan, progress, buffers, blocks, cells, leads):
    """Carry a training on by `blocks` blocks of rows, one or more, at most; says why it returned.

    All threads of a team call this at once. One of them `leads`. What is each thread's own is said
    at the fields of `Rule`, `Progress` and `Buffers`.
    """
    rank, size = join(cells, leads)
    if rank < 0:
        return RUNNING
    # Taken apart once: compiled, every look into a tuple copies all of it.
    layers, loss_records, params = model
    all_x, all_y, all_weights, samples = data
    code, settings, state, trainable, clip_norm, penalty, update_timing, weights = rule
    rates, batch_size, seed, tol, each_epoch, by_rows, mask_seed = plan
    cursor, sums, losses = progress
    order, block_x, block_y, gradient, shards, block_losses, block = buffers
    block_rows, block_weights, workspace, scratch, unit_losses = block
    seat = Seat(cells, rank, size)
    low, high = share_of(params.size, SHARED_ROWS, rank, size)
    here = seat_at_block(shards, seat)
    loss_record = loss_records[0]
    inputs, outputs = layers[0].inputs, layers[layers.size - 1].units
    columns = all_y.size // samples

    left, diverged = blocks, False
    while left > 0:
        epoch, start = cursor[EPOCH], cursor[ROW]
        if start == 0:
            if epoch > 0:  # the first may go on with the sums of other data
                sums[EPOCH_LOSS] = sums[EPOCH_WEIGHT] = 0.0
            if order.size > 0:
                wait(cells, size)  # somebody may still read the old order
                if rank == 0:
                    shuffle(seed, epoch, order)
                wait(cells, size)

        first_row = start - start % batch_size
        last_row = smaller(first_row + batch_size, samples)
        done, count = (start - first_row) // block_rows if start > first_row else 0, 1
        if shards > 1:
            count = smaller(left, (last_row - start + block_rows - 1) // block_rows)
        left -= count
        stop = smaller(start + count * block_rows, last_row)
        ends = stop == last_row
        if done == 0:
            total = sum_of_weights(all_weights, order, first_row, last_row)
            sums[BATCH_SCALE] = scale_of(loss_record, total) if total > 0 else 0.0
            sums[BATCH_WEIGHT] = total if loss_record.divisor > 0 else 1.0
        scale = sums[BATCH_SCALE]
        rate = rates[smaller(epoch, rates.size - 1)]
        if scale > 0:
            settings[STEP] = cursor[UPDATES] + 1
            settings[LEARNING_RATE] = rate
            settings[GRADIENT_SCALE] = 1.0
            target, alpha = gradient, 1.0
            if update_timing == FUSED:
                target, alpha = params, -rate
            for index in range(done, done + count):
                if not takes_block(index, shards, seat):
                    continue
                begin = first_row + index * block_rows
                rows = smaller(block_rows, last_row - begin)
                unit = unit_of(rows)
                row, end = share_of(rows, unit, here.rank, here.size)
                place = begin + row - first_row
                update = cursor[UPDATES]
                share = Share(workspace, scratch, rows, row, place, update, mask_seed)
                x = matrix(all_x, begin * inputs, rows, inputs)
                y = matrix(all_y, begin * columns, rows, columns)
                if order.size > 0:
                    x = matrix(block_x, 0, rows, inputs)
                    y = matrix(block_y, 0, rows, columns)
                own_x, own_y = rows_of(x, row, end), rows_of(y, row, end)
                own_w = rows_of(matrix(block_weights, 0, rows, outputs), row, end)
                if order.size > 0:
                    gather(all_x, order, begin + row, own_x)
                    gather(all_y, order, begin + row, own_y)
                weights_per_output(all_weights, order, begin + row, own_w)
                loss_and_slopes(
                    layers, loss_record, params, own_x, own_y, own_w, scale, share, unit_losses
                )
                wait(cells, here.size)
                block_losses[index] = sum_over_units(rows, unit, unit_losses)
                if update_timing != AFTER_GRADIENT and not math.isfinite(block_losses[0] * scale):
                    diverged = True
                    break
                shard = index % shards if shards > 1 else 0
                accumulate = index >= shards or update_timing == FUSED
                context = (
                    here,
                    x,
                    update_timing,
                    alpha,
                    accumulate,
                    target,
                    shard * params.size,
                    code,
                    settings,
                    state,
                    trainable,
                )
                walk_back(layers, params, own_x, share, pass_on, _learn, context)
            wait(cells, size)
            if ends and not diverged:
                sums[BATCH_LOSS] = 0.0
                for index in range(done + count):
                    sums[BATCH_LOSS] += block_losses[index]
                batch_loss = sums[BATCH_LOSS] * scale
                if not math.isfinite(batch_loss):
                    diverged = True
                    break
                counts = sums[BATCH_WEIGHT]
                if by_rows and loss_record.divisor > 0:
                    counts = float(last_row - first_row)
                sums[EPOCH_WEIGHT] += counts
                # A running mean. With one batch it equals that batch's loss exactly.
                share_of_epoch = counts / sums[EPOCH_WEIGHT]
                sums[EPOCH_LOSS] += share_of_epoch * (batch_loss - sums[EPOCH_LOSS])
                cursor[UPDATES] += 1
                if update_timing == AFTER_GRADIENT:
                    own = matrix(gradient, low, 1, high - low)
                    for s in range(1, smaller(shards, done + count)):
                        add(matrix(gradient, s * params.size + low, 1, high - low), own)
                    if penalty > 0:
                        sums[EPOCH_LOSS] += share_of_epoch * penalise(
                            penalty / sums[BATCH_WEIGHT], weights, params, gradient, low, high
                        )
                    if clip_norm > 0 or penalty > 0:  # of what all threads have added up
                        wait(cells, size)
                    if clip_norm > 0:
                        settings[GRADIENT_SCALE] = clipping(gradient, trainable, clip_norm)
                    update_trained(
                        code, settings, params, gradient, state, trainable, low, high, 0
                    )
                    wait(cells, size)
        elif ends and loss_record.divisor == 0:
            # A sum without weight is 0, and counts; a mean does not exist.
            sums[EPOCH_WEIGHT] += 1.0
            sums[EPOCH_LOSS] -= sums[EPOCH_LOSS] / sums[EPOCH_WEIGHT]
        if diverged:
            break
        cursor[ROW] = stop
        if stop == samples:
            losses[epoch] = sums[EPOCH_LOSS]
            cursor[EPOCH] = epoch + 1
            cursor[ROW] = 0
        status = _status(cursor, losses, tol, each_epoch)
        if status != RUNNING:
            break
    wait(cells, size)  # once the leader has returned, what others still read may change
    return DIVERGED if diverged else status


@kernel
def _status(cursor, losses, tol, each_epoch):
    """Whether a training goes on that has not diverged; if not, why."""
    done = cursor[EPOCH]
    if cursor[ROW] > 0:
        return RUNNING
    if done > 1 and abs(losses[done - 1] - losses[done - 2]) <= tol:
        return CONVERGED
    if done == losses.size:
        return FINISHED
    return EPOCH_ENDED if each_epoch else RUNNING
