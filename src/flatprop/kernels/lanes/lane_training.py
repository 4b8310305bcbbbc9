"""The training loop for a block of members: what `training_loop.train` does for one network.

Everything that a member may have for itself is in lanes or has a number for each lane. A member
that has ended keeps its place until Python makes new blocks. Its parameters at its end are in
`LaneBlock.kept`, and what is computed in its place means nothing.
"""

import math

from flatprop.formulas.optimizer import GRADIENT_SCALE, LEARNING_RATE, STEP
from flatprop.kernels.compile import entry_point, kernel
from flatprop.kernels.lanes.lane_batches import samples_at, scales_of_batch
from flatprop.kernels.lanes.lane_data import NO_ORDER, ONE_ORDER, OWN_ORDERS
from flatprop.kernels.lanes.lane_network import lane_pass
from flatprop.kernels.lanes.lane_updates import (
    lane_batch_ended,
    lane_clipping,
    lane_keep_best,
    lane_settled,
    lane_update,
)
from flatprop.kernels.loops.elementwise import copy, fill
from flatprop.kernels.loops.integers import smaller
from flatprop.kernels.loops.minibatch import shuffle
from flatprop.kernels.network.backprop import scale_of
from flatprop.kernels.network.records import matrix
from flatprop.kernels.network.training_records import EPOCH, ROW, UPDATES

RECORDED = 3
"""The place in `LaneProgress.cursor` of how many epochs `losses` holds."""

# Why `train_lanes` returned ...
LANES_RUNNING, LANES_FINISHED, LOSSES_FULL = range(3)
# ... and why a member has ended.
CONVERGED_LANE, IMPATIENT_LANE, DIVERGED_LANE = 1, 2, 3


@kernel
def _end(block, progress, lane, reason, finished, size):
    """A member ends, unless it has; numbers that are not finite do not stay in its place."""
    lanes = block.lanes
    if progress.ended[lane] == 0:
        progress.ended[lane] = reason
        progress.epochs[lane] = finished
        progress.updates[lane] = progress.cursor[UPDATES]
        if progress.best_loss[lane] == math.inf:
            progress.best_epoch[lane] = -1.0  # there was none
        progress.best_loss[lane] = -math.inf  # nothing in its place is better
        for p in range(size):
            block.kept[p * lanes + lane] = block.params[p * lanes + lane]
    for p in range(size):
        block.params[p * lanes + lane] = 0
    for slot in range(block.state.shape[0]):
        for p in range(size):
            block.state[slot, p * lanes + lane] = 0


@entry_point
def train_lanes(
    layers, loss_records, block, samples, validation, plan, progress, scratch, watching, chunks
):
    """Carry the training of a block on by so many chunks of rows at most; says why it returned.

    `watching` is scratch for the validation data.
    """
    lanes, params, gradient = block.lanes, block.params, block.gradient
    cursor, totals, losses = progress.cursor, progress.totals, progress.losses
    epoch_loss, rates, settings = progress.epoch_loss, plan.rates, block.settings
    loss_record, mode, n = loss_records[0], plan.mode, samples.samples
    inputs = layers[0].inputs
    columns = samples.y.size // (n * lanes if samples.own[1] == 1 else n)
    size = params.size // lanes
    patient, validates = plan.patience.size > 0, validation.samples > 0
    changes_rates = rates.shape[0] > 1
    batch_rows, left, full, finished = 0, chunks, False, False
    fill(progress.clip, 1.0)
    settings[GRADIENT_SCALE] = settings[LEARNING_RATE] = 1.0

    while left > 0 and not (full or finished):
        epoch, start = cursor[EPOCH], cursor[ROW]
        if start == 0 and mode == ONE_ORDER:
            shuffle(plan.seeds[0], epoch, scratch.orders)
        elif start == 0 and mode == OWN_ORDERS:
            for lane in range(lanes):
                shuffle(plan.seeds[lane], epoch, matrix(scratch.orders, lane * n, 1, n))
        if batch_rows == 0 or (start == 0 and changes_rates):
            for lane in range(lanes):
                own = lane if rates.shape[1] > 1 else 0
                progress.rate[lane] = rates[smaller(epoch, rates.shape[0] - 1), own]

        first_row = start - start % plan.batch_size
        last_row = smaller(first_row + plan.batch_size, n)
        if last_row - first_row != batch_rows or samples.weight.size > 0:
            batch_rows = last_row - first_row
            orders, scale = scratch.orders, progress.scale
            counts = progress.counts
            scales_of_batch(
                loss_record, samples, orders, first_row, last_row, lanes, mode, scale, counts
            )
            for lane in range(lanes):
                scratch.factor[lane] = scale[lane]
        stop = smaller(start + scratch.rows, last_row)
        rows, more = stop - start, 1 if start > first_row else 0
        left -= 1
        x, shared, y, weight = samples_at(
            samples, inputs, columns, start, rows, lanes, mode, scratch
        )
        lane_pass(
            layers,
            loss_record,
            params,
            x,
            y,
            weight,
            scratch.factor,
            totals,
            gradient,
            scratch.workspace,
            lanes,
            rows,
            columns,
            shared,
            more,
            1,
        )
        cursor[ROW] = stop
        if stop < last_row:
            continue

        fresh, event = 1 if first_row == 0 else 0, 0
        bad = lane_batch_ended(
            totals,
            progress.scale,
            progress.counts,
            epoch_loss,
            progress.epoch_weight,
            fresh,
            lanes,
        )
        if bad != 0:
            event = 1
            for lane in range(lanes):
                if not math.isfinite(totals[lane]):
                    _end(block, progress, lane, DIVERGED_LANE, epoch, size)
        whole = batch_rows == n
        record = cursor[RECORDED]
        if stop == n:
            copy(epoch_loss, _row(losses, record))
        if stop == n and patient and whole and not validates:  # measured before the update
            lane_keep_best(
                _row(losses, record),
                progress.best_loss,
                progress.best_epoch,
                params,
                block.best,
                float(epoch),
                size,
                lanes,
            )
        cursor[UPDATES] += 1
        settings[STEP] = cursor[UPDATES]
        if plan.clip_norm > 0:
            lane_clipping(gradient, plan.trainable, progress.clip, plan.clip_norm, lanes)
        lane_update(
            block.code,
            settings,
            progress.rate,
            progress.clip,
            params,
            gradient,
            block.state,
            plan.trainable,
            lanes,
        )
        if stop == n:
            if validates:
                _validate(layers, loss_record, params, validation, progress, watching, lanes)
                monitored = _row(progress.val_losses, record)
                for lane in range(lanes):
                    if not math.isfinite(monitored[0, lane]):
                        event = 1
                        _end(block, progress, lane, DIVERGED_LANE, epoch + 1, size)
            if patient and (validates or not whole):
                lane_keep_best(
                    _row(progress.val_losses if validates else losses, record),
                    progress.best_loss,
                    progress.best_epoch,
                    params,
                    block.best,
                    float(epoch),
                    size,
                    lanes,
                )
            if plan.tol >= 0:
                settled = lane_settled(epoch_loss, progress.before, plan.tol, lanes)
                if epoch > 0 and settled != 0:
                    event = 1
                    for lane in range(lanes):
                        change = abs(epoch_loss[lane] - progress.before[lane])
                        if change <= plan.tol and progress.ended[lane] == 0:
                            _end(block, progress, lane, CONVERGED_LANE, epoch + 1, size)
                copy(epoch_loss, progress.before)
            if patient:
                for lane in range(lanes):
                    waited = epoch - progress.best_epoch[lane]
                    if waited >= plan.patience[lane] and progress.ended[lane] == 0:
                        event = 1
                        _end(block, progress, lane, IMPATIENT_LANE, epoch + 1, size)
            cursor[EPOCH], cursor[ROW], cursor[RECORDED] = epoch + 1, 0, record + 1
            full = record + 1 == losses.shape[0]
            finished = epoch + 1 == plan.epochs
        if event != 0:
            alive = 0
            for lane in range(lanes):
                alive += progress.ended[lane] == 0
            finished = finished or alive == 0
    return _status(finished, full)


@kernel
def _status(finished, full):
    if finished:
        return LANES_FINISHED
    return LOSSES_FULL if full else LANES_RUNNING


@kernel
def _row(table, i):
    return matrix(table, i * table.shape[1], 1, table.shape[1])


@kernel
def _validate(layers, loss_record, params, samples, progress, scratch, lanes):
    """The loss of the validation data into the next row of val_losses."""
    n, inputs = samples.samples, layers[0].inputs
    columns = samples.y.size // (n * lanes if samples.own[1] == 1 else n)
    totals = progress.totals
    for start in range(0, n, scratch.rows):
        rows = smaller(scratch.rows, n - start)
        x, shared, y, weight = samples_at(
            samples, inputs, columns, start, rows, lanes, NO_ORDER, scratch
        )
        lane_pass(
            layers,
            loss_record,
            params,
            x,
            y,
            weight,
            scratch.factor,
            totals,
            params,
            scratch.workspace,
            lanes,
            rows,
            columns,
            shared,
            1 if start > 0 else 0,
            0,
        )
    total = float(n)
    for lane in range(lanes):
        if samples.weight.size > 0:
            total = 0.0
            for row in range(n):
                total += samples.weight[row * lanes + lane if samples.own[2] == 1 else row]
        totals[lane] *= scale_of(loss_record, total)
    copy(totals, _row(progress.val_losses, progress.cursor[RECORDED]))
