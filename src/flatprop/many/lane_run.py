"""Members that are trained side by side: blocks of them in lanes, which threads take in rounds.

In a round every block goes through as many rows as all others. So all members are at the same
place, and new blocks can be made of those that are left when many have ended.
"""

import contextlib
import math
import time
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatprop.evaluation import calls, crew
from flatprop.formulas.optimizer import Optimizer
from flatprop.formulas.schedules import as_schedule
from flatprop.kernels.lanes.lane_data import NO_ORDER, ONE_ORDER, OWN_ORDERS
from flatprop.kernels.lanes.lane_records import LanePlan
from flatprop.kernels.lanes.lane_training import (
    CONVERGED_LANE,
    DIVERGED_LANE,
    IMPATIENT_LANE,
    LANES_FINISHED,
    LOSSES_FULL,
)
from flatprop.kernels.network.training_records import ROW
from flatprop.many import lane_messages
from flatprop.many.ensemble_history import EnsembleHistory
from flatprop.many.ensemble_task import EnsembleTask
from flatprop.many.lane_blocks import BlockAtWork, LaneMembers, LaneRecipe
from flatprop.many.lane_sizes import step_of
from flatprop.training import seeds
from flatprop.training.progress import progress_bar
from flatprop.validation import checks, over_parameters

REASONS = {CONVERGED_LANE: "converged", IMPATIENT_LANE: "patience", DIVERGED_LANE: "diverged"}
BLOCK_BYTES = 2**15
"""What one chunk of rows of a block may take, with its parameters and with what one group of
members computes on the way: as much as the first cache holds."""
MOST_LANES = 128
MOST_ROWS = 64
WORTH_NEW_BLOCKS = 0.7
"""New blocks are made when no more than this part of the lanes is at work."""
FIRST_ROUND = 5e-3
"""Seconds of the first round, by the estimate for the slowest machine."""


def train(task: EnsembleTask) -> EnsembleHistory:
    """Train all members."""
    return LaneRun(task).run()


class LaneRun:
    """One call of `Ensemble.fit` for members in lanes."""

    def __init__(self, task: EnsembleTask) -> None:
        self.task, self.model = task, task.model
        self.params = task.ensemble._params
        options, n = task.options, task.samples.x.shape[-2]
        self.epochs = options["epochs"]
        given = options.get("batch_size", checks.DEFAULT_BATCH_SIZE)
        size = n if given is None else min(checks.count("batch_size", given), n)
        tol, clip = options.get("tol"), options.get("clip_norm")
        tol = -1.0 if tol is None else checks.positive("tol", tol, or_zero=True)
        self.clip_norm = None if clip is None else checks.positive("clip_norm", clip)
        checks.finite("ens.params", self.params)
        lane_messages.look_at_columns(task)
        self.optimizers = [o for o in task.optimizers if isinstance(o, Optimizer)]
        self.rates = self._rates()
        shuffles = bool(options.get("shuffle", True)) and size < n
        self.rows = n
        # Everything is checked by now, so that an error leaves the generators unchanged.
        drawn, mode = self._seeds(), NO_ORDER
        if shuffles:
            mode = ONE_ORDER if task.source is not None else OWN_ORDERS
        own_data = task.samples.own[0] or task.samples.rows is not None
        self.patience = np.empty(0)
        if task.patience is not None and any(one is not None for one in task.patience):
            # float64 always: for another dtype, the whole training loop would be compiled anew.
            waits = [math.inf if p is None else p for p in task.patience]
            self.patience = np.array(waits, np.float64)
        trainable = over_parameters.trainable_ranges(task.trainable, self.model.params.size)
        plan = LanePlan(
            self.rates,
            trainable,
            self.clip_norm or 0.0,
            size,
            drawn,
            mode,
            self.epochs,
            tol,
            self.patience,
        )
        start = self.optimizers[0].start(self.model.params, 0.0)
        self.lanes, chunk = self._sizes(size, bool(own_data), start.state.shape[0])
        self.recipe = LaneRecipe(
            self.model, task.samples, task.validation, plan, start.code, start.settings, chunk
        )
        self.chunks_of_epoch = sum(
            -(-min(size, n - first) // chunk) for first in range(0, n, size)
        )
        self.members = self._all_members()
        self._make_history()

    # ---- what is to be done

    def _rates(self) -> NDArray[np.float64]:
        """(epochs or 1, members or 1): the learning rates."""
        if self.task.rates is None:
            schedule = as_schedule(self.optimizers[0].learning_rate)
            return schedule.rates(self.epochs)[:, None]
        columns = [as_schedule(o.learning_rate).rates(self.epochs) for o in self.optimizers]
        rows = max(map(len, columns))
        return np.stack([np.resize(column, rows) for column in columns], axis=1)

    def _seeds(self) -> NDArray[np.uint64]:
        source, generators = self.task.source, self.task.ensemble.generators
        if source is not None:
            return np.full(len(generators), seeds.drawn(source), np.uint64)
        return np.array([seeds.drawn(generator) for generator in generators], np.uint64)

    def _sizes(self, batch: int, own_data: bool, slots: int) -> tuple[int, int]:
        """How many lanes a block has, and how many rows a chunk."""
        model, members = self.model, self.task.members
        step = step_of(model.dtype)
        numbers = BLOCK_BYTES // model.dtype.itemsize
        work_of_row = 2 * sum(layer.units for layer in model.dense) * step
        rows = max(4, numbers // 2 // work_of_row // 4 * 4)
        rows = min(rows, MOST_ROWS, -(-batch // 4) * 4)
        of_row = model.targets + 1 + (model.inputs if own_data else 0)
        of_lane = int(model.params.size) * (2 + slots) + rows * of_row
        most = min(MOST_LANES, (numbers - rows * work_of_row) // of_lane)
        with crew.using(self.task.threads):
            threads = crew.size_for(crew.MOST_THREADS)
        fair = -(-members // min(threads, -(-members // step)))
        return max(step, min(most, fair + step - 1) // step * step), rows

    def _all_members(self) -> LaneMembers:
        members, size = self.params.shape
        each = self.optimizers if self.task.rates is not None else self.optimizers[:1]
        values = [
            optimizer.initial_state(float(self.rates[0, i if self.rates.shape[1] > 1 else 0]))
            for i, optimizer in enumerate(each)
        ]
        initial = np.array(values).reshape(len(each), self.optimizers[0].slots)
        state = np.empty((members, initial.shape[1], size), self.params.dtype)
        state[...] = initial[:, :, None]
        best = self.params.copy() if self.patience.size else self.params[:, :0]
        course = np.tile([0.0, math.inf, 0.0], (members, 1))
        return LaneMembers(
            np.arange(members), self.params, state, best, course, np.zeros(4, np.int64)
        )

    def _make_history(self) -> None:
        members = self.task.members
        self.losses = np.empty((self.epochs, members))
        self.val_losses = np.empty((self.epochs if self.task.validation else 0, members))
        self.finished = np.zeros(members, np.int64)
        self.updates = np.zeros(members, np.int64)
        self.stopped_by = np.full(members, "interrupted", object)
        self.best_epoch = np.full(members, None, object)
        self.state: dict[int, Any] = {}
        """The optimizer's state of members in which it is not finite."""

    # ---- the rounds

    def run(self) -> EnsembleHistory:
        """Train until all members have ended."""
        blocks = self._blocks(self.members)
        with contextlib.suppress(KeyboardInterrupt), self._bar() as show:
            blocks = self._rounds(blocks, show)
        for block in blocks:
            self._write(block)
            self._take_results(block)
        return self._history()

    def _rounds(self, blocks: list[BlockAtWork], show: Any) -> list[BlockAtWork]:
        """Train; returns the blocks that are left when all have ended, or Ctrl-C came."""
        self.at_work = blocks
        budget = self._first_budget()
        finished = False
        while not finished:
            budget = self._within_epoch(budget)
            began = time.perf_counter()
            with crew.using(self.task.threads):
                size = crew.size_for(len(self.at_work))
            round_of = partial(self._advance, budget)
            done = crew.each(size, round_of, self.at_work)
            seconds = time.perf_counter() - began
            finished = all(done)
            rounds = -(-len(self.at_work) // size)
            ratio = calls.SECONDS * rounds / max(seconds, 1e-6)
            budget = max(1, int(budget * min(ratio, 16.0)))
            show(self)
            if not finished:
                self._make_new_blocks(done)
        return self.at_work

    def _first_budget(self) -> int:
        block = self.recipe.rows * self.lanes
        cost = block * calls.pass_cost(self.model) * calls.GRADIENT / calls.PER_SECOND
        return max(1, int(FIRST_ROUND / cost))

    def _within_epoch(self, budget: int) -> int:
        """So many chunks, but whole epochs, or as many as the epoch has left."""
        cursor, whole = self.at_work[0].progress.cursor, self.chunks_of_epoch
        if cursor[ROW] == 0 and budget >= whole:
            return int(budget // whole * whole)
        size, row, left = self.recipe.plan.batch_size, int(cursor[ROW]), 0
        for first in range(row - row % size, self.rows, size):
            start, stop = max(first, row), min(first + size, self.rows)
            left += -(-(stop - start) // self.recipe.rows)
        return max(1, min(budget, left))

    def _advance(self, chunks: int, _: int, block: BlockAtWork) -> bool:
        """One round of a block; returns whether all of its members have ended."""
        while True:
            before = block.epoch
            status = block.advance(chunks)
            if status != LOSSES_FULL:
                break
            chunks -= (block.epoch - before) * self.chunks_of_epoch
            self._write(block)
            if chunks <= 0:
                break
        self._write(block)
        return status == LANES_FINISHED or block.epoch == self.epochs

    def _write(self, block: BlockAtWork) -> None:
        """Write a block's losses into the history."""
        epochs, losses, val_losses = block.recorded()
        numbers: Any = block.members.numbers
        first, last = int(numbers[0]), int(numbers[-1])
        if last - first == len(numbers) - 1:  # they are in ascending order
            numbers = slice(first, last + 1)
        self.losses[epochs, numbers] = losses
        if len(self.val_losses):
            self.val_losses[epochs, numbers] = val_losses

    def _blocks(self, members: LaneMembers) -> list[BlockAtWork]:
        starts = range(0, len(members.numbers), self.lanes)
        parts = [members.some(slice(start, start + self.lanes)) for start in starts]
        return [BlockAtWork(self.recipe, part) for part in parts]

    def _make_new_blocks(self, done: list[bool]) -> None:
        """Let members that have ended take no more time."""
        blocks = self.at_work
        alive = sum(int(block.alive.sum()) for block in blocks)
        lanes = sum(block.lanes for block in blocks)
        step = step_of(self.model.dtype)
        if any(block.progress.cursor[ROW] for block in blocks if block.alive.any()):
            return
        if -(-alive // step) * step > WORTH_NEW_BLOCKS * lanes and not any(done):
            return
        for block in blocks:
            self._take_results(block)
        left = [block.left() for block in blocks if block.alive.any()]
        self.at_work = self._blocks(LaneMembers.joined(left))

    # ---- the results

    def _take_results(self, block: BlockAtWork) -> None:
        """Write what is known of a block's members; of those still at work, for now."""
        params, fallen_back, updates = block.final()
        progress, numbers, count = block.progress, block.members.numbers, block.count
        ended = progress.ended[:count]
        self.finished[numbers] = np.where(ended > 0, progress.epochs[:count], block.epoch)
        self.updates[numbers] = updates
        running = "epochs" if block.epoch == self.epochs else "interrupted"
        self.stopped_by[numbers] = [REASONS.get(why, running) for why in ended.tolist()]
        self.stopped_by[numbers[fallen_back]] = "diverged"
        self.params[numbers] = params
        if self.patience.size:
            best = block.block.best.reshape(-1, block.lanes).T
            lowest, epoch = progress.best_loss[:count], progress.best_epoch[:count]
            known = (lowest < math.inf) & (epoch >= 0) & np.isfinite(self.patience[numbers])
            self.params[numbers[known]] = best[:count][known]
            self.best_epoch[numbers[known]] = epoch[known].astype(int).tolist()
        state = block.block.state
        if state.size and not np.isfinite(state).all():
            of_lanes = state.reshape(len(state), -1, block.lanes)
            bad = ~np.isfinite(of_lanes[..., : block.count]).all((0, 1))
            for place in np.flatnonzero(bad).tolist():
                self.state[int(numbers[place])] = of_lanes[..., place].copy()

    def _history(self) -> EnsembleHistory:
        epochs, finished, rates = int(self.finished.max()), self.finished, self.rates
        of_epochs = rates[np.minimum(np.arange(epochs), len(rates) - 1)]
        curves = [
            self.losses[:epochs],
            self.val_losses[:epochs],
            np.broadcast_to(of_epochs, (epochs, len(finished))),
        ]
        if (finished < epochs).any():
            after_end = np.arange(epochs)[:, None] >= finished
            curves[2] = curves[2].copy()
            for curve in curves:
                if len(curve):
                    curve[after_end] = np.nan
        losses, val_losses, learning_rate = curves
        history = EnsembleHistory(
            losses,
            val_losses,
            learning_rate,
            tuple(self.stopped_by.tolist()),
            tuple(self.best_epoch.tolist()),
            ("",) * len(finished),
        )
        history.message = lane_messages.told_of(
            self.task, history, self.updates.tolist(), self.clip_norm, self.state
        )
        return history

    # ---- the progress bar

    @contextlib.contextmanager
    def _bar(self) -> Any:
        if not self.task.progress:
            yield lambda run: None
            return
        members, epochs = self.task.members, self.epochs
        with progress_bar(members, "member") as bar:

            def show(run: LaneRun) -> None:
                left = sum(int(b.alive.sum()) * (epochs - b.epoch) for b in run.at_work)
                bar.update(members - -(-left // epochs) - bar.n)

            yield show
