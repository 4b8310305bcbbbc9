"""Training by an optimizer on samples in memory: the compiled loop, called in bounded chunks.

Callbacks, validation, early stopping, the progress bar and Ctrl-C need Python. They come
between two calls of the compiled loop.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from flatprop.kernels.network import training_loop as loop
from flatprop.samples.in_memory import Data
from flatprop.training.optimizer_run import OptimizerRun
from flatprop.training.stepper import Stepper


class InMemoryRun(OptimizerRun[Data]):
    """One call of `fit` with an `Optimizer` and arrays."""

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
        plan = loop.Plan(self.rates, size, order_seed, tol, self.each_epoch, False, seed)
        full_batch = self._full_batch
        while True:
            measured_at = None
            if self.patience is not None and self.validation is None and full_batch:
                # The only update of the epoch comes after the loss was measured.
                measured_at = params.copy()
            status = self.stepper.advance(plan, self.kernel_progress, self.safe)
            # Callbacks and metrics see finite parameters only, and so does a user afterwards.
            ends = status in (loop.FINISHED, loop.CONVERGED, loop.DIVERGED)
            seen = self.called_back or self.metrics or ends
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
