"""Blocks of members that are trained side by side, as the kernels of `kernels.lanes` take them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flatprop.kernels.lanes.lane_data import OWN_ORDERS
from flatprop.kernels.lanes.lane_records import (
    LaneBlock,
    LanePlan,
    LaneProgress,
    LaneSamples,
    LaneScratch,
)
from flatprop.kernels.lanes.lane_training import RECORDED, train_lanes
from flatprop.kernels.network.records import all_units
from flatprop.kernels.network.training_records import EPOCH, UPDATES
from flatprop.many.lane_sizes import padded, step_of
from flatprop.many.member_samples import MemberSamples
from flatprop.model.model import Model
from flatprop.validation.arrays import Array, aligned_copy, aligned_empty, read_only

MOST_RECORDED = 2**9
"""How many epochs' losses a block holds, in the second cache, before the history gets them."""


class LaneMembers(NamedTuple):
    """What is known of members between two blocks; the first axis is that of members."""

    numbers: NDArray[np.int64]
    """Which members of the ensemble they are."""
    params: Array
    state: Array
    """(members, slots, parameters)"""
    best: Array
    """(members, parameters), or (members, 0) without patience."""
    course: NDArray[np.float64]
    """(members, 3): the loss of the epoch before, the best loss, the best epoch."""
    cursor: NDArray[np.int64]
    """As `LaneProgress.cursor`; the same for all."""

    def some(self, part: slice) -> "LaneMembers":
        """Some of the members."""
        return LaneMembers(
            self.numbers[part],
            self.params[part],
            self.state[part],
            self.best[part],
            self.course[part],
            self.cursor,
        )

    @classmethod
    def joined(cls, parts: Sequence["LaneMembers"]) -> "LaneMembers":
        """All members of these, which are at the same place."""
        columns: Any = zip(*parts, strict=True)
        *arrays, cursors = columns
        return cls._make([*(np.concatenate(array) for array in arrays), cursors[0]])


def in_lanes(array: Array, lanes: int, dtype: Any) -> Array:
    """(members, ...) as the same numbers in lanes, flat; the last member fills what is left."""
    count = len(array)
    numbers = array.reshape(count, math.prod(array.shape[1:]))
    out = aligned_empty(numbers.shape[1] * lanes, np.dtype(dtype)).reshape(-1, lanes)
    out[:, :count] = numbers.T
    out[:, count:] = numbers[-1][:, None]
    return out.reshape(-1)


def of_members(flat: Array, lanes: int, count: int) -> Array:
    """The first members of an array in lanes, (members, numbers)."""
    return np.ascontiguousarray(flat.reshape(-1, lanes)[:, :count].T)


class LaneRecipe(NamedTuple):
    """What all blocks of a training have in common."""

    model: Model
    samples: MemberSamples
    validation: MemberSamples | None
    plan: LanePlan
    """With `rates` (epochs or 1, members or 1), `seeds` and `patience` of all members."""
    code: int
    settings: NDArray[np.float64]
    rows: int
    """How many rows a chunk has."""


class BlockAtWork:
    """One block in training."""

    def __init__(self, recipe: LaneRecipe, members: LaneMembers) -> None:
        model, plan, dtype = recipe.model, recipe.plan, recipe.model.dtype
        self.members, self.recipe = members, recipe
        self.count = count = len(members.numbers)
        self.lanes = lanes = padded(count, dtype)
        which = np.pad(members.numbers, (0, lanes - count), mode="edge")
        size = model.params.size
        params = in_lanes(members.params, lanes, dtype)
        slots = members.state.shape[1]
        state = in_lanes(members.state, lanes, dtype).reshape(slots, size * lanes)
        has_best = members.best.shape[1] > 0
        best = in_lanes(members.best, lanes, dtype) if has_best else aligned_empty(1, dtype)
        gradient, kept = (aligned_empty(size * lanes, dtype) for _ in range(2))
        settings = recipe.settings.copy()
        self.block = LaneBlock(lanes, params, gradient, recipe.code, settings, state, best, kept)
        own_rates = plan.rates.shape[1] > 1
        self.plan = plan._replace(
            rates=np.ascontiguousarray(plan.rates[:, which] if own_rates else plan.rates),
            seeds=plan.seeds[which],
            patience=plan.patience[which] if plan.patience.size else plan.patience,
        )
        self.samples = _samples(recipe.samples, which, model)
        self.validation = _samples(recipe.validation, which, model, like=self.samples)
        self.progress = self._progress(members, which)
        self.scratch = _scratch(recipe, self.samples, lanes, self.plan.mode)
        self.watching = self.scratch
        if self.validation.samples:
            weight = _ones(self.scratch.rows * lanes, dtype)
            columns = self.validation.y.size // self.validation.samples
            y = aligned_empty(self.scratch.rows * lanes * columns, dtype)
            self.watching = self.scratch._replace(weight=weight, y=y)
        self.safe = params.copy()
        self.seen = np.zeros(lanes, bool)
        """Which of the members that have ended are known here."""

    def _progress(self, members: LaneMembers, which: Any) -> LaneProgress:
        lanes, epochs = self.lanes, self.plan.epochs
        rest = [members.course[-1:]] * (lanes - self.count)
        before, best_loss, best_epoch = (
            aligned_copy(column) for column in np.concatenate([members.course, *rest]).T
        )
        ended = np.zeros(lanes, np.int64)
        ended[self.count :] = -1
        rows = min(MOST_RECORDED, epochs)
        zeros = [aligned_copy(np.zeros(lanes)) for _ in range(7)]
        return LaneProgress._make(
            [
                members.cursor.copy(),
                ended,
                np.zeros(lanes, np.int64),
                np.zeros(lanes, np.int64),
                *zeros,
                before,
                best_loss,
                best_epoch,
                np.zeros((rows, lanes)),
                np.zeros((rows if self.validation.samples else 0, lanes)),
            ]
        )

    def advance(self, chunks: int) -> int:
        """One call of the kernel; returns why it ended."""
        network = self.recipe.model._arrays
        self._keep_finite()
        status: int = train_lanes(
            network.layers,
            network.loss_records,
            self.block,
            self.samples,
            self.validation,
            self.plan,
            self.progress,
            self.scratch,
            self.watching,
            chunks,
        )
        self._note_ended()
        return status

    def _keep_finite(self) -> None:
        """Copy the parameters of every member that has finite ones."""
        params, safe = (array.reshape(-1, self.lanes) for array in (self.block.params, self.safe))
        finite = np.isfinite(params).all(axis=0) & ~self.seen
        if finite.all():
            safe[...] = params
        else:
            safe[:, finite] = params[:, finite]

    def _note_ended(self) -> None:
        """Give those that have just ended finite parameters."""
        new = (self.progress.ended > 0) & ~self.seen
        if new.any():
            kept, safe = (array.reshape(-1, self.lanes) for array in (self.block.kept, self.safe))
            bad = new & ~np.isfinite(kept).all(axis=0)
            kept[:, bad] = safe[:, bad]
            self.seen |= new

    @property
    def epoch(self) -> int:
        """How many epochs are finished."""
        return int(self.progress.cursor[EPOCH])

    @property
    def alive(self) -> NDArray[np.bool_]:
        """(members,): which of the block's members are still in training."""
        return np.asarray(self.progress.ended[: self.count] == 0)

    def recorded(self) -> tuple[slice, Array, Array]:
        """Losses and losses of the validation data, (epochs, members), and of which epochs."""
        rows = int(self.progress.cursor[RECORDED])
        self.progress.cursor[RECORDED] = 0
        losses, val_losses = self.progress.losses, self.progress.val_losses
        some = slice(rows), slice(self.count)
        return slice(self.epoch - rows, self.epoch), losses[some], val_losses[some]

    def left(self) -> LaneMembers:
        """The members that are still in training."""
        alive, count, progress = self.alive, self.count, self.progress
        course = np.stack([progress.before, progress.best_loss, progress.best_epoch], axis=1)
        state = of_members(self.block.state, self.lanes, count)
        state = state.reshape(self.members.state.shape)
        has_best = self.members.best.shape[1] > 0
        best = of_members(self.block.best, self.lanes, count) if has_best else self.members.best
        return LaneMembers(
            self.members.numbers[alive],
            of_members(self.block.params, self.lanes, count)[alive],
            state[alive],
            best[alive],
            course[:count][alive],
            progress.cursor.copy(),
        )

    def final(self) -> tuple[Array, Array, NDArray[np.int64]]:
        """Of all members: parameters, which of these are a fallback, updates."""
        count, ended = self.count, self.progress.ended[: self.count] > 0
        params, kept, safe = (
            of_members(array, self.lanes, count)
            for array in (self.block.params, self.block.kept, self.safe)
        )
        params[ended] = kept[ended]
        bad: Any = ~np.isfinite(params).all(axis=1)
        params[bad] = safe[bad]
        now = int(self.progress.cursor[UPDATES])
        updates = np.where(ended, self.progress.updates[:count], now)
        return params, bad, updates.astype(np.int64)


def _samples(
    samples: MemberSamples | None, which: Any, model: Model, like: LaneSamples | None = None
) -> LaneSamples:
    """The samples of these members; none, of the same types as `like`, if there are none."""
    dtype = model.dtype
    nothing = read_only(np.empty(0, dtype))
    if samples is None:
        return LaneSamples(nothing, nothing, nothing, (0, 0, 0), 0)
    given = samples.x, samples.y, samples.weight
    n = samples.x.shape[-2]
    made = []
    for array, own in zip(given, samples.own, strict=True):
        if array is None:
            made.append((nothing, 0))
        elif own or samples.rows is not None:
            chosen = _of_each(array, own, samples.rows, which)
            made.append((read_only(in_lanes(chosen, len(which), dtype)), 1))
        else:
            made.append((read_only(np.ascontiguousarray(array).reshape(-1)), 0))
    (x, own_x), (y, own_y), (weight, own_weight) = made
    return LaneSamples(x, y, weight, (own_x, own_y, own_weight), n)


def _of_each(array: Array, own: bool, rows: Any, which: Any) -> Array:
    if rows is None:
        return np.asarray(array[which])
    if own:
        return np.stack([array[i][rows[i]] for i in which])
    return np.asarray(array[rows[which]])


def _ones(size: int, dtype: Any) -> Array:
    ones = aligned_empty(size, dtype)
    ones[:] = 1
    return ones


def _scratch(recipe: LaneRecipe, samples: LaneSamples, lanes: int, mode: int) -> LaneScratch:
    model, rows, n = recipe.model, recipe.rows, samples.samples
    columns = samples.y.size // (n * lanes if samples.own[1] else n)
    x, y = (aligned_empty(size * rows * lanes, model.dtype) for size in (model.inputs, columns))
    of_group = 2 * all_units(model._arrays.layers) * rows * step_of(model.dtype)
    workspace = aligned_empty(of_group, model.dtype)
    orders = np.zeros({0: 0, OWN_ORDERS: lanes * n}.get(mode, n), np.int64)
    weight, factor = _ones(rows * lanes, model.dtype), aligned_empty(lanes, model.dtype)
    return LaneScratch(rows, x, y, weight, workspace, factor, orders)
