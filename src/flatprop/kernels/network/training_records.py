"""What `training_loop.train` is given besides the network and the samples."""

from typing import Any, NamedTuple

import numpy as np

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
    """α of the term α/2 Σ W² / Σ w that each batch's loss is to have."""
    update_timing: int
    """When the parameters change:

    | `update_timing` | the parameters change | which needs |
    | --- | --- | --- |
    | AFTER_GRADIENT | when the whole gradient is known | nothing |
    | PER_PANEL | when some rows of a layer's gradient are known | a plain training |
    | FUSED | in the product that gives the gradient | that, and `Optimizer.linear` |

    A plain training is one of all parameters, by batches of one block, with nothing else that this
    record or `Special` can ask for.
    """
    weights: Any = None
    """(layers, 2): where each W begins and ends in `params`. A pickle of version 0.1 has none."""


class Special(NamedTuple):
    """What few trainings ask for, among them all with layers that are not dense."""

    strengths: Any
    """(layers, 2) float64: l1 and l2 of the terms l1 Σ |W| + l2 Σ W² of each batch's loss."""
    penalised: int
    """The address of `layer_penalties`; 0 if no layer has any of these strengths."""
    limits: Any
    """(layers with a limit, 4) float64: W's start and shape, and the limit for `max_norm`."""
    limit: int
    """The address of `max_norm`; 0 if there are no limits."""
    factors: Any
    """(parameters,): what each learning rate is multiplied by; (0,) where there are no factors."""
    with_factors: int
    """The address of the update with factors; 0 if there are none."""
    averages: Any
    """(parameters,): the moving average of each parameter; (0,) where none is asked for."""
    decay: float
    """How much the update before counts in these averages, if the newest one counts 1."""
    averaging: int
    """The address of what `average` calls; 0 if no averages are asked for."""
    terms: int
    """The address of `term_batches.batch_of_terms` for a loss with derivatives in it; 0 for none.
    Each batch then counts as one block."""
    batch: Any
    """(1,), a `term_records.BATCH` of each thread's own; (0,) where there are no terms."""
    records: Any
    """What it refers to: `term_records.TERM`, of each thread's own."""


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
    """Whether to return after every epoch; with `epoch_end`, after those that it leaves."""
    epoch_end: int
    """The address of what `epoch_end.at_epoch_end` calls; 0 for nothing. A team asks nobody."""
    epoch_record: int
    """The address of the `EPOCH_END` record that it takes."""
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
