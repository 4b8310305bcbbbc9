"""What the kernels over lanes are given; a block has `lanes` members, see `lane_vectors`."""

from typing import Any, NamedTuple


class LaneBlock(NamedTuple):
    """The members' parameters and optimizers; overwritten. In lanes unless said otherwise."""

    lanes: int
    params: Any
    """(parameters,)"""
    gradient: Any
    """(parameters,), scratch."""
    code: int
    """The optimizer, as in `Rule`."""
    settings: Any
    """Not in lanes: as in `Rule`; the same for all members but the learning rate."""
    state: Any
    """(slots, parameters)"""
    best: Any
    """(parameters,): those of each member's best epoch; one number without patience."""
    kept: Any
    """(parameters,): what each member that has ended had then."""


class LaneSamples(NamedTuple):
    """Samples of the members, each array either in lanes or the same for all of them."""

    x: Any
    """(samples, inputs)"""
    y: Any
    """(samples, columns)"""
    weight: Any
    """(samples,), or empty"""
    own: tuple[int, int, int]
    """1 for each of the three that is in lanes."""
    samples: int
    """How many; 0 for none."""


class LanePlan(NamedTuple):
    """What does not change during a training."""

    rates: Any
    """(epochs or 1, lanes or 1) float64: the learning rates."""
    trainable: Any
    """(ranges, 2), as in `Rule`."""
    clip_norm: float
    batch_size: int
    seeds: Any
    """(lanes,) uint64, as `Plan.seed`."""
    mode: int
    """In which order samples are taken: see `lane_data`."""
    epochs: int
    tol: float
    """Below 0 never."""
    patience: Any
    """(lanes,) float64, infinite for none; empty if no member has any."""


class LaneProgress(NamedTuple):
    """How far a training has come; overwritten. (lanes,) float64 unless said otherwise."""

    cursor: Any
    """int64: the epoch, the next row in it, the updates so far, the epochs in `losses`."""
    ended: Any
    """int64: 0 while a member is trained, else why it has ended."""
    epochs: Any
    """int64: how many epochs each member that has ended had finished."""
    updates: Any
    """int64: how many updates it had made."""
    rate: Any
    clip: Any
    scale: Any
    """What Σ w ℓ is multiplied by."""
    counts: Any
    """How much the batch counts in the epoch."""
    totals: Any
    """Σ w ℓ of the batch so far, then its loss."""
    epoch_loss: Any
    epoch_weight: Any
    before: Any
    """The loss of the epoch before."""
    best_loss: Any
    best_epoch: Any
    losses: Any
    """(epochs of a call at most, lanes)"""
    val_losses: Any
    """The same."""


class LaneScratch(NamedTuple):
    """Scratch for some rows; in lanes."""

    rows: int
    x: Any
    """(rows, inputs)"""
    y: Any
    """(rows, columns)"""
    weight: Any
    """(rows,), of ones where every sample counts alike."""
    workspace: Any
    """For each layer its outputs and its slopes, (rows, units) each; of one group of members."""
    factor: Any
    """(1,): `LaneProgress.scale` as a number of the network."""
    orders: Any
    """Not in lanes: (samples,) or (lanes, samples) int64; empty without an order."""
