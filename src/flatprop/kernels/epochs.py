"""The training loop: shuffle, gather, loss and gradient, update; epoch after epoch.

Python calls `train` again and again with a bounded number of blocks, so that a
signal or a callback waits for one call at most. Everything that a later call
needs is in the arrays of `Progress`.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from flatprop.formulas.losses import OVER_SAMPLES_AND_OUTPUTS, SUM
from flatprop.kernels.backprop import loss_and_gradient
from flatprop.kernels.elementwise import (
    GRADIENT_SCALE,
    LEARNING_RATE,
    STEP,
    squared_norm,
    update,
)
from flatprop.kernels.jit import entry_point, kernel
from flatprop.kernels.layout import REDUCTIONS, matrix
from flatprop.kernels.rows import gather

TOTAL = REDUCTIONS.index(SUM)
OVER_OUTPUTS_TOO = REDUCTIONS.index(OVER_SAMPLES_AND_OUTPUTS)

# Why `train` returned.
RUNNING, EPOCH_ENDED, FINISHED, CONVERGED, DIVERGED = range(5)

# The places of Progress.cursor ...
EPOCH, ROW, UPDATES = range(3)
# ... and of Progress.sums
BATCH_SCALE, BATCH_LOSS, EPOCH_LOSS, EPOCH_BATCHES = range(4)


class Model(NamedTuple):
    """The network; `params` are overwritten."""

    layers: Any
    objectives: Any
    params: Any


class Rule(NamedTuple):
    """The optimizer; `settings` and `state` are overwritten."""

    code: int
    settings: Any
    """float64, as `elementwise.update` takes them."""
    state: Any
    """(slots, parameters)."""
    trainable: Any
    """(ranges, 2): where runs of trained parameters begin and end."""
    clip_norm: float
    """The gradient's largest norm; 0 for no limit."""


class Plan(NamedTuple):
    """What does not change during a training."""

    rates: Any
    """float64, the learning rates of the epochs; the last holds for those that follow."""
    batch_size: int
    seed: Any
    """uint64; with the number of the epoch it decides the order of the samples."""
    tol: float
    """Two successive losses as close as this end the training; below 0 never."""
    each_epoch: bool
    """Whether to return after every epoch."""


class Progress(NamedTuple):
    """How far a training has come; overwritten."""

    cursor: Any
    """int64: the epoch, the next row in it, the updates so far."""
    sums: Any
    """float64: the batch's scale and Σ w ℓ, the epoch's Σ of batch losses and their number."""
    losses: Any
    """(epochs,) float64."""


class Buffers(NamedTuple):
    """Scratch; overwritten."""

    order: Any
    """(rows,) int64 where samples are shuffled, empty otherwise."""
    x: Any
    """(block rows · inputs,) where samples are shuffled."""
    y: Any
    """(block rows · columns,) where samples are shuffled."""
    weight: Any
    """(block rows · outputs,), ones where every sample counts alike."""
    workspace: Any
    gradient: Any
    block_rows: int


@kernel
def mixed(counter):
    """64 random-looking bits for a counter: SplitMix64 (Steele et al. 2014)."""
    z = counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def shuffle(seed, epoch, order):
    """Overwrite `order` with a permutation that seed and epoch decide (Fisher-Yates)."""
    for i in range(order.size):
        order[i] = i
    stream = mixed(seed ^ mixed(np.uint64(epoch) + np.uint64(1)))
    for i in range(order.size - 1, 0, -1):
        # the high half of a 32-bit draw times (i + 1): uniform below i + 1 to 2^-32
        draw = mixed(stream + np.uint64(i)) >> np.uint64(32)
        j = np.int64((draw * np.uint64(i + 1)) >> np.uint64(32))
        order[i], order[j] = order[j], order[i]


@kernel
def batch_weight(weight, order, start, stop):
    """The weights of a batch, added up in float64; `weight` and `order` may be empty."""
    if weight.size == 0:
        return float(stop - start)
    total = 0.0
    for place in range(start, stop):
        total += weight[order[place] if order.size > 0 else place]
    return total


@kernel
def normaliser(objective, outputs, weight):
    """What a batch's Σ w ℓ is multiplied by; 0 where no sample of it counts."""
    if weight == 0:
        return 0.0
    if objective.reduction == TOTAL:
        return 1.0
    if objective.reduction == OVER_OUTPUTS_TOO:
        return 1.0 / (weight * outputs)
    return 1.0 / weight


@kernel
def block_of(data, inputs, outputs, start, rows, buffers):
    """x, y and weight of the block that begins at `start`, in the order of the epoch."""
    columns = data.y.size // data.rows
    order = buffers.order
    if order.size > 0:
        x = matrix(buffers.x, 0, rows, inputs)
        y = matrix(buffers.y, 0, rows, columns)
        gather(data.x, order, start, x)
        gather(data.y, order, start, y)
    else:
        x = matrix(data.x, start * inputs, rows, inputs)
        y = matrix(data.y, start * columns, rows, columns)
    weight = matrix(buffers.weight, 0, rows, outputs)
    if data.weight.size > 0:
        for i in range(rows):
            w = data.weight[order[start + i] if order.size > 0 else start + i]
            for j in range(outputs):
                weight[i, j] = w
    return x, y, weight


@kernel
def apply_update(rule, learning_rate, updates, params, gradient):
    """One update of the trained parameters and of the optimizer's state."""
    settings, ranges = rule.settings, rule.trainable
    settings[STEP] = updates
    settings[LEARNING_RATE] = learning_rate
    settings[GRADIENT_SCALE] = 1.0
    if rule.clip_norm > 0:
        norm = 0.0
        for r in range(ranges.shape[0]):
            norm += squared_norm(gradient, ranges[r, 0], ranges[r, 1])
        settings[GRADIENT_SCALE] = min(1.0, rule.clip_norm / (math.sqrt(norm) + 1e-6))
    for r in range(ranges.shape[0]):
        start, stop = ranges[r, 0], ranges[r, 1]
        update(rule.code, settings, params, gradient, rule.state, start, stop)


@entry_point
def train(model, data, rule, plan, progress, buffers, blocks):
    """Carry a training on by `blocks` blocks of rows at most; says why it returned."""
    cursor, sums, losses = progress.cursor, progress.sums, progress.losses
    inputs, outputs = model.layers[0].inputs, model.layers[model.layers.size - 1].units
    objective = model.objectives[0]
    for _ in range(blocks):
        epoch, start = cursor[EPOCH], cursor[ROW]
        if start == 0:
            sums[EPOCH_LOSS] = sums[EPOCH_BATCHES] = 0.0
            if buffers.order.size > 0:
                shuffle(plan.seed, epoch, buffers.order)

        first_row = start - start % plan.batch_size
        last_row = min(first_row + plan.batch_size, data.rows)
        stop = min(start + buffers.block_rows, last_row)
        first = start == first_row
        if first:
            total = batch_weight(data.weight, buffers.order, first_row, last_row)
            sums[BATCH_SCALE] = normaliser(objective, outputs, total)
            sums[BATCH_LOSS] = 0.0
        x, y, weight = block_of(data, inputs, outputs, start, stop - start, buffers)
        sums[BATCH_LOSS] += loss_and_gradient(
            model.layers,
            objective,
            model.params,
            x,
            y,
            weight,
            sums[BATCH_SCALE],
            0.0 if first else 1.0,
            buffers.gradient,
            buffers.workspace,
        )
        cursor[ROW] = stop
        if stop < last_row:
            continue

        batch_loss = sums[BATCH_LOSS] * sums[BATCH_SCALE]
        if not math.isfinite(batch_loss):
            return DIVERGED
        if sums[BATCH_SCALE] > 0:
            sums[EPOCH_LOSS] += batch_loss
            sums[EPOCH_BATCHES] += 1
            cursor[UPDATES] += 1
            rate = plan.rates[min(epoch, plan.rates.size - 1)]
            apply_update(rule, rate, cursor[UPDATES], model.params, buffers.gradient)
        if stop < data.rows:
            continue

        losses[epoch] = sums[EPOCH_LOSS] / sums[EPOCH_BATCHES]
        cursor[EPOCH] = epoch + 1
        cursor[ROW] = 0
        if epoch > 0 and abs(losses[epoch] - losses[epoch - 1]) <= plan.tol:
            return CONVERGED
        if epoch + 1 == losses.size:
            return FINISHED
        if plan.each_epoch:
            return EPOCH_ENDED
    return RUNNING
