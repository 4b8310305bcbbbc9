"""Training by an optimizer on samples in memory: the compiled loop, called in bounded chunks.

Callbacks, metrics, the progress bar and Ctrl-C need Python. They come between two calls of the
compiled loop. So do validation and early stopping where `epoch_ends` cannot have them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from flatprop.kernels.network import training_loop as loop
from flatprop.samples.in_memory import Data
from flatprop.training import epoch_ends
from flatprop.training.optimizer_run import OptimizerRun
from flatprop.training.stepper import Stepper


class InMemoryRun(OptimizerRun[Data]):
    """One call of `fit` with an `Optimizer` and arrays."""

    ends_need_python = False
    """Whether more belongs to the end of an epoch than `epoch_ends` has."""

    def _begin(self) -> None:
        self.stepper = self._new_stepper()
        watching = self.validation, self.patience, self.follow
        self.each_epoch = self.called_back or any(one is not None for one in watching)
        self.each_epoch = self.each_epoch or bool(self.metrics)
        self.losses = np.zeros(self.epochs)  # takes memory only as epochs end
        self.kernel_progress = loop.progress(self.losses)
        self.cursor = self.kernel_progress.cursor

    def _new_stepper(self) -> Any:
        stepper = self._stepper_of(Stepper, self.network)
        stepper.take(self.samples, self.batch_size, self.shuffle)
        return stepper

    def _stepper_of(self, kind: Callable[..., Any], trained: Any) -> Any:
        """A stepper of this kind, which has no samples yet, with the options of this training."""
        return kind(
            trained,
            self.optimizer,
            float(self.rates[0]),
            trainable=self.trainable,
            clip_norm=self.clip_norm,
            factors=self.factors,
            ema=self.ema,
        )

    def _loop(self) -> str:
        params = self.params
        if self.epochs_done >= self.epochs:
            return "epochs"
        tol = -1.0 if self.tol is None else self.tol
        size, seed = self.stepper.batch_size, np.uint64(self.seed)
        order_seed = np.uint64(self._order_seed)
        # The only update of an epoch with all samples comes after its loss was measured.
        before_update = self.patience is not None and self.validation is None and self._full_batch
        ends = self._epoch_ends(before_update)
        plan = loop.Plan(self.rates, size, order_seed, tol, self.each_epoch, 0, 0, False, seed)
        if ends is not None:
            plan = plan._replace(epoch_end=ends.function, epoch_record=ends.address)
        while True:
            measured_at = params.copy() if before_update and ends is None else None
            status = self._advance(plan, ends)
            if before_update and ends is not None:
                measured_at = ends.measured_at.copy()
            # Callbacks and metrics see finite parameters only, and so does a user afterwards.
            over = status in (loop.FINISHED, loop.CONVERGED, loop.DIVERGED)
            seen = self.called_back or self.metrics or over
            if (seen and self.safe.fall_back(params)) or status == loop.DIVERGED:
                return "diverged"
            self._show()
            if status == loop.STOPPED:
                raise self._interruption()
            if status == loop.RUNNING:
                continue
            reason = self._after_epoch(measured_at) if self.each_epoch else ""
            if reason:
                return reason
            if status == loop.CONVERGED:
                return "converged"
            if status == loop.FINISHED:
                return "epochs"

    def _epoch_ends(self, before_update: bool) -> epoch_ends.EpochEnds | None:
        """What the compiled loop does at the end of each epoch; None if Python sees to it."""
        asks = self.ends_need_python, self.called_back, self.metrics, self.follow, self.average
        if not self.each_epoch or any(asks):
            return None
        if not epoch_ends.suits(self.network, self.samples.rows, self.validation):
            return None
        return epoch_ends.EpochEnds(
            self.network, self.params, self.epochs, self.validation, self.patience, before_update
        )

    def _advance(self, plan: loop.Plan, ends: epoch_ends.EpochEnds | None) -> int:
        """One call of the compiled loop, with the epochs that it has seen to."""
        if ends is None:
            return int(self.stepper.advance(plan, self.kernel_progress, self.safe))
        first = self.epochs_done
        ends.begin(self.best_loss, self.best_epoch, self.best_params)
        try:
            return int(self.stepper.advance(plan, self.kernel_progress, self.safe))
        finally:
            if ends.done > first:
                if self.validation is not None:
                    self.val_losses += ends.val_losses[first : ends.done].tolist()
                if self.patience is not None:
                    self.best_loss, self.best_epoch, self.best_params = ends.best_so_far()

    @property
    def _order_seed(self) -> int:
        """What the order of the samples follows from."""
        return self.seed

    @property
    def _full_batch(self) -> bool:
        """Whether an update takes all samples."""
        return bool(self.stepper.batch_size == self.samples.rows)

    def _interruption(self) -> BaseException:
        """What is raised once a rank was asked to stop."""
        return KeyboardInterrupt()

    @property
    def _data_at_hand(self) -> Any:
        return self.samples

    @property
    def _average_array(self) -> Any:
        return self.stepper.averages

    @property
    def optimizer_state(self) -> Any:
        return self.stepper.rule.state

    def _settings_of_samples(self) -> dict[str, Any]:
        return {
            "batch_size": self.stepper.batch_size,
            "shuffle": self.stepper.shuffle,
            "rows": self.samples.rows,
        }
