"""Training by updates on samples in memory: the compiled loop in bounded chunks.

The kernel trains as long as nobody needs Python: between two of its calls lie
callbacks, validation, early stopping, the progress bar and Ctrl-C.
"""

from typing import Any

import numpy as np

from flatprop.kernels.network import training_loop as loop
from flatprop.kernels.network.entry_points import Data
from flatprop.training.checkpoints import TrainingState
from flatprop.training.optimizer_run import OptimizerRun
from flatprop.training.snapshot import Snapshot
from flatprop.training.stepper import Stepper
from flatprop.validation.checks import is_finite


class InMemoryRun(OptimizerRun[Data]):
    """One call of `fit` with an `Optimizer` and arrays."""

    def _begin(self) -> None:
        network = self.network
        self.stepper = Stepper(
            network, self.optimizer, float(self.rates[0]), self.trainable, self.clip_norm
        )
        self.stepper.take(self.samples, self.batch_size, self.shuffle)
        self.each_epoch = bool(
            self.callbacks
            or self.validation is not None
            or self.patience is not None
            or self.follow is not None
        )
        self.losses = np.zeros(self.epochs)  # touched, and so given memory, as epochs end
        self.kernel_progress = loop.progress(self.losses)
        self.cursor = self.kernel_progress.cursor
        self.safe = Snapshot(self.params)

    def _restore(self, state: TrainingState) -> None:
        super()._restore(state)
        self.safe = Snapshot(self.params)

    # ---- the run

    def _loop(self, bar: Any) -> str:
        params = self.params
        if self.epochs_done >= self.epochs:
            return "epochs"
        tol = -1.0 if self.tol is None else self.tol
        plan = loop.Plan(
            self.rates, self.stepper.batch_size, np.uint64(self.seed), tol, self.each_epoch, False
        )
        while True:
            before = None
            if self.patience is not None and self.validation is None and not self._mini_batches:
                before = params.copy()  # which this epoch's loss will be the loss of
            status = self.stepper.advance(plan, self.kernel_progress)
            finite = True
            if status in (loop.RUNNING, loop.EPOCH_ENDED):
                finite = self.safe.keep_in_time(params)
            if status in (loop.FINISHED, loop.CONVERGED) or (self.callbacks and finite):
                finite = is_finite(params)
            if status == loop.DIVERGED or not finite:
                self._keep_finite()
                return "diverged"
            if bar is not None:
                self._show(bar)
            if status == loop.RUNNING:
                continue
            reason = self._after_epoch(before) if self.each_epoch else ""
            if status == loop.CONVERGED and reason != "diverged":
                return "converged"
            if reason:
                return reason
            if status == loop.FINISHED:
                return "epochs"

    def _keep_finite(self) -> None:
        self.safe.fall_back(self.params)

    @property
    def _data_at_hand(self) -> Any:
        return self.samples

    @property
    def _mini_batches(self) -> bool:
        return bool(self.stepper.batch_size < self.samples.rows)

    # ---- interruption and continuation

    @property
    def optimizer_state(self) -> Any:
        """(slots, parameters), writable."""
        return self.stepper.rule.state

    def settings(self) -> dict[str, Any]:
        """What a resumed training must have in common with the first."""
        return {
            **self.common_settings(),
            "batch_size": self.stepper.batch_size,
            "shuffle": self.stepper.shuffle,
            "rows": self.samples.rows,
        }
