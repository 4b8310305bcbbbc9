"""Training by updates: the compiled loop in bounded chunks, and what happens between them.

The kernel trains as long as nobody needs Python: between two of its calls lie
callbacks, validation, early stopping, the progress bar and Ctrl-C.
"""

from os import PathLike
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from flatprop import checks, files
from flatprop.formulas.optimizers import Optimizer
from flatprop.formulas.schedules import as_schedule
from flatprop.kernels import epochs as loop
from flatprop.training.base import Training
from flatprop.training.snapshot import Snapshot, is_finite
from flatprop.training.updates import Updates

if TYPE_CHECKING:
    from flatprop.network import Network


class Descent(Training):
    """One call of `fit` with an `Optimizer`."""

    def __init__(
        self,
        network: "Network",
        X: Any,
        y: Any,
        *,
        optimizer: Optimizer,
        batch_size: int | None,
        shuffle: bool,
        clip_norm: float | None,
        rng: Any,
        resume: str | PathLike[str] | None,
        **common: Any,
    ) -> None:
        self.optimizer = optimizer
        if batch_size is not None:
            batch_size = checks.count("batch_size", batch_size)
        self.clip_norm = None if clip_norm is None else checks.positive("clip_norm", clip_norm)
        super().__init__(network, X, y, **common)
        resumed = None if resume is None else files.load_checkpoint(network, resume)
        source = network.rng if rng is None else checks.generator(rng)

        # Nothing was changed so far; from here on nothing is refused but `resume`.
        schedule = as_schedule(optimizer.learning_rate)
        self.rates = schedule.rates(self.epochs)
        self.follow = schedule.follow()
        self.updates = Updates(
            network, optimizer, float(self.rates[0]), self.trainable, self.clip_norm
        )
        self.updates.take(self.data, batch_size, shuffle)
        if resumed is not None:
            resumed.check(self.settings(), self.epochs)
        self.seed = resumed.seed if resumed is not None else _drawn(source)
        self.each_epoch = bool(
            self.callbacks
            or self.validation is not None
            or self.patience is not None
            or self.follow is not None
        )
        tol = -1.0 if self.tol is None else self.tol
        self.plan = loop.Plan(
            self.rates, self.updates.batch_size, np.uint64(self.seed), tol, self.each_epoch
        )
        self.losses = np.zeros(self.epochs)  # touched, and so given memory, as epochs end
        self.kernel_progress = loop.progress(self.losses)
        if resumed is not None:
            self._restore(resumed)
        self.safe = Snapshot(network.params)

    # ---- the run

    @property
    def epochs_done(self) -> int:
        """How many epochs are finished."""
        return int(self.kernel_progress.cursor[loop.EPOCH])

    def _loop(self, bar: Any) -> str:
        params = self.network.params
        if self.epochs_done >= self.epochs:
            return "epochs"
        while True:
            before = None
            if self.patience is not None and self.validation is None and not self._mini_batches:
                before = params.copy()  # which this epoch's loss will be the loss of
            status = self.updates.advance(self.plan, self.kernel_progress)
            finite = True
            if status in (loop.RUNNING, loop.EPOCH_ENDED):
                finite = self.safe.keep_in_time(params)
            elif status in (loop.FINISHED, loop.CONVERGED):
                finite = is_finite(params)
            if status == loop.DIVERGED or not finite:
                self._keep_finite()
                return "diverged"
            if bar is not None:
                self._show(bar)
            if status == loop.RUNNING:
                continue
            reason = self._after_epoch(before) if self.each_epoch else ""
            if status == loop.CONVERGED:
                return "converged"
            if reason:
                return reason
            if status == loop.FINISHED:
                return "epochs"

    def _keep_finite(self) -> None:
        self.safe.fall_back(self.network.params)

    @property
    def _mini_batches(self) -> bool:
        return self.updates.batch_size < self.data.rows

    def _watch(self, epoch: int, monitored: float) -> None:
        if self.follow is not None and epoch + 1 < self.epochs:
            self.rates[epoch + 1] = self.follow(monitored)

    def _divergence_message(self) -> str:
        cursor = self.kernel_progress.cursor
        rate = self.learning_rate(self.epochs_done)
        advice = f"a smaller learning rate (it was {rate:g})"
        if self.clip_norm is None:
            advice += ", clip_norm=1.0"
        return (
            f"training diverged in epoch {self.epochs_done}, after {cursor[loop.UPDATES]} "
            f"updates: the loss is no longer finite. The last parameters known to be finite "
            f"were kept. Try {advice}, inputs and targets scaled to about 1"
            + (', or dtype="float64".' if self.network.dtype == np.float32 else ".")
        )

    # ---- interruption and continuation

    def settings(self) -> dict[str, Any]:
        """What a resumed training must have in common with the first."""
        return {
            "optimizer": repr(self.optimizer),
            "batch_size": self.updates.batch_size,
            "shuffle": self.updates.shuffle,
            "rows": self.data.rows,
            "clip_norm": self.clip_norm,
            "trainable": f"a mask with checksum {crc32(self.trainable.tobytes()):08x}",
            "validation": self.validation is not None,
        }

    def state(self) -> "files.TrainingState":
        """Everything that a continuation needs beside the network."""
        done = self.epochs_done
        return files.TrainingState(
            settings=self.settings(),
            epochs=self.epochs,
            seed=self.seed,
            cursor=self.kernel_progress.cursor.copy(),
            losses=self.losses[:done].copy(),
            val_losses=np.array(self.val_losses, np.float64),
            rates=self.learning_rates(done + 1),
            optimizer_state=self.updates.rule.state,
            best_epoch=self.best_epoch,
            best_params=self.best_params,
        )

    def _restore(self, state: "files.TrainingState") -> None:
        done = int(state.cursor[loop.EPOCH])
        self.network.params[:] = state.params
        if state.rng is not None:
            self.network.rng = state.rng
        self.kernel_progress.cursor[:] = state.cursor
        self.losses[:done] = state.losses
        self.val_losses = list(state.val_losses)
        self.updates.rule.state[:] = state.optimizer_state
        monitored = state.val_losses if self.validation is not None else state.losses
        self.best_epoch, self.best_params = state.best_epoch, state.best_params
        if self.patience is not None and state.best_epoch is not None:
            self.best_loss = float(monitored[state.best_epoch])
        if self.follow is not None:
            self.rates[: len(state.rates)] = state.rates[: self.epochs]
            for epoch, loss in enumerate(monitored):
                rate = self.follow(float(loss))
                if epoch + 1 < self.epochs:
                    self.rates[epoch + 1] = rate


def _drawn(source: np.random.Generator) -> int:
    """The seed of a training."""
    return int(source.integers(0, 2**64, dtype=np.uint64))
