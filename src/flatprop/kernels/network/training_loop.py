"""The training loop: shuffle, gather, loss and slopes, gradient and update; epoch after epoch.

Python calls `train` again and again with a bounded number of blocks, so that a signal or a
callback waits for one call at most. Everything that a later call needs is in arrays.
"""

import math

from flatprop.formulas.optimizer import GRADIENT_SCALE, LEARNING_RATE, STEP
from flatprop.kernels.compile import entry_point, kernel
from flatprop.kernels.loops.integers import smaller
from flatprop.kernels.loops.minibatch import gather, shuffle, sum_of_weights, weights_per_output
from flatprop.kernels.loops.special_updates import average, update_with_factors
from flatprop.kernels.loops.updates import clipping, penalise, update_trained
from flatprop.kernels.network.backprop import scale_of
from flatprop.kernels.network.epoch_end import at_epoch_end
from flatprop.kernels.network.rank_sums import (
    BATCH,
    add_shards,
    begin_epoch,
    exchange,
    loss_of_all,
    no_gradient,
    some_rank_stops,
)
from flatprop.kernels.network.records import matrix, rows_of
from flatprop.kernels.network.regularisation import limit_norms, penalties
from flatprop.kernels.network.shares import (
    Seat,
    learn,
    loss_and_slopes,
    pass_on,
    seat_at_block,
    share_of_training,
    takes_block,
)
from flatprop.kernels.network.term_batches import GRADIENT, SHUFFLE, UPDATE, of_terms
from flatprop.kernels.network.term_records import WITH_POINTS
from flatprop.kernels.network.training_records import (
    AFTER_GRADIENT,
    BATCH_LOSS,
    BATCH_SCALE,
    BATCH_WEIGHT,
    EPOCH,
    EPOCH_LOSS,
    EPOCH_WEIGHT,
    FUSED,
    PER_PANEL,
    ROW,
    UPDATES,
    Buffers,
    Plan,
    Progress,
    Rule,
    progress,
)
from flatprop.kernels.network.walks import walk_back
from flatprop.kernels.threads.team import (
    SHARED_ROWS,
    join,
    share_of,
    sum_over_units,
    unit_of,
    wait,
)

__all__ = [
    "AFTER_GRADIENT",
    "CONVERGED",
    "DIVERGED",
    "EPOCH",
    "EPOCH_ENDED",
    "FINISHED",
    "FUSED",
    "PER_PANEL",
    "ROW",
    "RUNNING",
    "STOPPED",
    "UPDATES",
    "Buffers",
    "Plan",
    "Progress",
    "Rule",
    "progress",
    "train",
]

# Why `train` returned; the last one, because a rank was asked to.
RUNNING, EPOCH_ENDED, FINISHED, CONVERGED, DIVERGED, STOPPED = range(6)


@entry_point
def train(model, data, rule, plan, progress, buffers, special, ranks, blocks, cells, leads):
    """Carry a training on by `blocks` blocks of rows, one or more, at most; says why it returned.

    All threads of a team call this at once. One of them `leads`. What is each thread's own is said
    at the fields of `Rule`, `Progress` and `Buffers`.

    `special` is None or a `Special`, for which all of this is compiled once more: if it is None,
    Numba leaves out what stands behind `if special is not None`. So it is with `ranks`, which is
    None or `RankedBatches`.
    """
    rank, size = join(cells, leads)
    if rank < 0:
        return RUNNING
    # Taken apart once: compiled, every look into a tuple copies all of it.
    layers, loss_records, params = model
    all_x, all_y, all_weights, samples = data
    code, settings, state, trainable, clip_norm, penalty, update_timing, weights = rule
    rates, batch_size, seed, tol, each_epoch, epoch_end, epoch_record, by_rows, mask_seed = plan
    cursor, sums, losses = progress
    order, block_x, block_y, gradient, shards, block_losses, block = buffers
    block_rows, block_weights, workspace, scratch, unit_losses = block
    seat = Seat(cells, rank, size)
    low, high = share_of(params.size, SHARED_ROWS, rank, size)
    here = seat_at_block(shards, seat)
    loss_record = loss_records[0]
    inputs, outputs = layers[0].inputs, layers[layers.size - 1].units
    columns = all_y.size // samples

    left, diverged, stopped = blocks, False, False
    if special is not None:
        (
            strengths,
            penalised,
            limits,
            limit,
            factors,
            with_factors,
            averages,
            decay,
            averaging,
            terms,
            batch,
            _,
        ) = special
        status, total = RUNNING, 0.0
    while left > 0:
        epoch, start = cursor[EPOCH], cursor[ROW]
        batch_of_epoch = start if ranks is None else cursor[BATCH]
        if start == 0 and batch_of_epoch == 0:
            if epoch > 0:  # the first may go on with the sums of other data
                sums[EPOCH_LOSS] = sums[EPOCH_WEIGHT] = 0.0
            if order.size > 0:
                wait(cells, size)  # somebody may still read the old order
                if rank == 0:
                    shuffle(seed, epoch, order)
                    if special is not None and terms != 0:
                        of_terms(terms, batch, SHUFFLE, seed, epoch, 0, 0, 0.0, 0.0, rank, size, 0)
                wait(cells, size)
            if ranks is not None:
                begin_epoch(ranks, all_weights, order, cells, rank, size)

        first_row = start - start % batch_size
        last_row = smaller(first_row + batch_size, samples)
        place = 0  # of this process's first row in the batch
        if ranks is not None:
            first_row, last_row = ranks.bounds[batch_of_epoch], ranks.bounds[batch_of_epoch + 1]
            place = ranks.places[batch_of_epoch]
        done, count = (start - first_row) // block_rows if start > first_row else 0, 1
        if shards > 1:
            count = smaller(left, (last_row - start + block_rows - 1) // block_rows)
        left -= count
        stop = smaller(start + count * block_rows, last_row)
        ends = stop == last_row
        if done == 0:
            if ranks is None:
                total = sum_of_weights(all_weights, order, first_row, last_row)
            else:
                total = ranks.weights[batch_of_epoch]
            sums[BATCH_SCALE] = scale_of(loss_record, total) if total > 0 else 0.0
            sums[BATCH_WEIGHT] = total if loss_record.divisor > 0 else 1.0
        scale = sums[BATCH_SCALE]
        rate = rates[smaller(epoch, rates.size - 1)]
        if scale > 0 or (special is not None and terms != 0 and batch[WITH_POINTS] != 0):
            settings[STEP] = cursor[UPDATES] + 1
            settings[LEARNING_RATE] = rate
            settings[GRADIENT_SCALE] = 1.0
            target, alpha = gradient, 1.0
            if update_timing == FUSED:
                target, alpha = params, -rate
            if ranks is not None and first_row == last_row:
                left, count = left - 1 + count, 0
                no_gradient(gradient, low, high)
            own_blocks = count
            if special is not None and terms != 0:
                own_blocks = 0
                count = of_terms(
                    terms,
                    batch,
                    GRADIENT,
                    seed,
                    epoch,
                    first_row,
                    last_row,
                    scale,
                    total,
                    rank,
                    size,
                    left + 1,
                )
                if count == 0:  # some blocks are left to the next call
                    break
                left -= count - 1
                scale = 1.0  # the losses of these blocks have theirs
            for index in range(done, done + own_blocks):
                if not takes_block(index, shards, seat):
                    continue
                begin = first_row + index * block_rows
                rows = smaller(block_rows, last_row - begin)
                unit = unit_of(rows)
                row, end = share_of(rows, unit, here.rank, here.size)
                share = share_of_training(
                    special,
                    workspace,
                    scratch,
                    rows,
                    row,
                    begin,
                    first_row - place,
                    cursor,
                    mask_seed,
                )
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
                of_gradient = update_timing, alpha, accumulate, target, shard * params.size
                of_update = code, settings, state, trainable
                context = here, x, of_gradient, of_update
                walk_back(layers, params, own_x, share, pass_on, learn, context)
            wait(cells, size)
            if ends and not diverged:
                sums[BATCH_LOSS] = 0.0
                for index in range(done + count):
                    sums[BATCH_LOSS] += block_losses[index]
                batch_loss = sums[BATCH_LOSS] * scale
                if update_timing == AFTER_GRADIENT:
                    add_shards(gradient, params.size, smaller(shards, done + count), low, high)
                if ranks is not None:
                    exchange(ranks, gradient, params.size, batch_loss, cells, rank, size)
                    batch_loss = loss_of_all(gradient, params.size)
                    stopped = some_rank_stops(gradient, params.size)
                if not math.isfinite(batch_loss):
                    diverged = True
                    break
                counts = sums[BATCH_WEIGHT]
                if by_rows and loss_record.divisor > 0:
                    counts = float(last_row - first_row)
                sums[EPOCH_WEIGHT] += counts
                # A running mean. With one batch it equals that batch's loss exactly.
                share_of_epoch = counts / sums[EPOCH_WEIGHT]
                if special is not None and counts == 0:  # points without samples
                    share_of_epoch = 0.0
                sums[EPOCH_LOSS] += share_of_epoch * (batch_loss - sums[EPOCH_LOSS])
                cursor[UPDATES] += 1
                if update_timing == AFTER_GRADIENT:
                    if penalty > 0:
                        sums[EPOCH_LOSS] += share_of_epoch * penalise(
                            penalty / sums[BATCH_WEIGHT], weights, params, gradient, low, high
                        )
                    if special is not None and penalised != 0:
                        sums[EPOCH_LOSS] += share_of_epoch * penalties(
                            penalised, weights, strengths, params, gradient, low, high
                        )
                    # of what all threads have added up
                    if clip_norm > 0 or penalty > 0 or (special is not None and penalised != 0):
                        wait(cells, size)
                    if clip_norm > 0:
                        settings[GRADIENT_SCALE] = clipping(gradient, trainable, clip_norm)
                    if special is None or with_factors == 0:
                        update_trained(
                            code, settings, params, gradient, state, trainable, low, high, 0
                        )
                    else:
                        update_with_factors(
                            with_factors,
                            settings,
                            params,
                            gradient,
                            state,
                            trainable,
                            factors,
                            low,
                            high,
                        )
                    if special is not None and terms != 0 and rank == 0:
                        of_terms(terms, batch, UPDATE, seed, epoch, 0, 0, 0.0, 0.0, rank, size, 0)
                    wait(cells, size)
                    if special is not None and limit != 0:
                        if rank == 0:
                            limit_norms(limit, limits, params, gradient)
                        wait(cells, size)
                if special is not None and averaging != 0:
                    average(averaging, averages, params, decay, cursor[UPDATES], low, high)
        elif ends and loss_record.divisor == 0:
            # A sum without weight is 0, and counts; a mean does not exist.
            sums[EPOCH_WEIGHT] += 1.0
            sums[EPOCH_LOSS] -= sums[EPOCH_LOSS] / sums[EPOCH_WEIGHT]
        if diverged:
            break
        cursor[ROW] = stop
        last = stop == samples
        if ranks is not None:
            cursor[BATCH] += ends
            last = cursor[BATCH] == ranks.weights.size
        if last:
            losses[epoch] = sums[EPOCH_LOSS]
            cursor[EPOCH] = epoch + 1
            cursor[ROW] = 0
            if ranks is not None:
                cursor[BATCH] = 0
        status = _status(cursor, losses, tol, each_epoch) if last else RUNNING
        if status == EPOCH_ENDED and epoch_end != 0 and size == 1:  # which it leaves, or RUNNING
            status = at_epoch_end(epoch_end, epoch_record, epoch, losses[epoch])
        if status != RUNNING or stopped:
            break
    wait(cells, size)  # once the leader has returned, what others still read may change
    if diverged:
        return DIVERGED
    return STOPPED if stopped and status < FINISHED else status


@kernel
def _status(cursor, losses, tol, each_epoch):
    """Whether a training that has not diverged goes on after an epoch; if not, why."""
    done = cursor[EPOCH]
    if done > 1 and abs(losses[done - 1] - losses[done - 2]) <= tol:
        return CONVERGED
    if done == losses.size:
        return FINISHED
    return EPOCH_ENDED if each_epoch else RUNNING
