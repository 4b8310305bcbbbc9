"""Training by updates: the compiled loop in bounded chunks, and what happens between them.

The kernel trains as long as nobody needs Python: between two of its calls lie
callbacks, validation, early stopping, the progress bar and Ctrl-C.
"""

import time
from os import PathLike
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from flatprop import checks, files
from flatprop.arrays import aligned_empty
from flatprop.formulas.optimizers import Optimizer
from flatprop.formulas.schedules import as_schedule
from flatprop.kernels import epochs as loop
from flatprop.training.base import Training, is_finite

if TYPE_CHECKING:
    from flatprop.network import Network

CHUNK_SECONDS = 0.05
"""How long one call of the kernel should take: Ctrl-C and the progress bar wait for it."""
PANEL_PARAMETERS = 2**17
"""How many parameters' gradients exist at once, where they are used up by rows: what stays
in the second cache."""
SNAPSHOT_SECONDS = 0.05
"""How old the parameters should be that a divergence falls back on ..."""
SNAPSHOT_SHARE = 0.01
"""... unless keeping them took more than this part of the time."""


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
        rows = self.data.rows
        self.batch_size = rows if batch_size is None else min(batch_size, rows)
        self.shuffle = bool(shuffle) and self.batch_size < rows
        schedule = as_schedule(self.optimizer.learning_rate)
        self.rates = schedule.rates(self.epochs)
        self.follow = schedule.follow()
        if resumed is not None:
            resumed.check(self.settings(), self.epochs)
            seed = resumed.seed
        else:
            seed = int(source.integers(0, 2**64, dtype=np.uint64))
        self._allocate(seed)
        if resumed is not None:
            self._restore(resumed)
        began = time.perf_counter()
        self.safe = network.params.copy()
        self._snapshot_seconds = time.perf_counter() - began

    # ---- set-up

    def _allocate(self, seed: int) -> None:
        network, data = self.network, self.data
        size, dtype = network.params.size, network.dtype
        self.seed = seed
        start = self.optimizer.start(network.params, float(self.rates[0]))
        block = network.block(data, self.batch_size)
        when = self._when(block.rows)
        panel = {
            loop.AFTERWARDS: size,
            loop.BY_ROWS: max(PANEL_PARAMETERS, int(network.layers["units"].max())),
            loop.AT_ONCE: 0,
        }[when]
        self.rule = loop.Rule(
            start.code,
            start.settings,
            start.state,
            self.trainable,
            self.clip_norm or 0.0,
            when,
        )
        self.each_epoch = bool(
            self.callbacks
            or self.validation is not None
            or self.patience is not None
            or self.follow is not None
        )
        self.plan = loop.Plan(
            self.rates,
            self.batch_size,
            np.uint64(seed),
            -1.0 if self.tol is None else self.tol,
            self.each_epoch,
        )
        self.losses = np.zeros(self.epochs)  # touched, and so given memory, as epochs end
        self.kernel_progress = loop.Progress(np.zeros(3, np.int64), np.zeros(4), self.losses)
        columns = data.y.size // data.rows
        gathered = block.rows if self.shuffle else 0
        self.buffers = loop.Buffers(
            np.empty(data.rows if self.shuffle else 0, np.int64),
            aligned_empty(gathered * network.inputs, dtype),
            aligned_empty(gathered * columns, dtype),
            block.weight,
            block.workspace,
            aligned_empty(panel, dtype),
            block.rows,
        )
        self.model = loop.Model(network.layers, network.objectives, network.params)

    def _when(self, block_rows: int) -> int:
        """When the parameters change: as early as these settings allow."""
        size = self.network.params.size
        everything = self.trainable.tolist() == [[0, size]]
        if block_rows < self.batch_size or self.clip_norm is not None or not everything:
            return loop.AFTERWARDS
        if self.optimizer.linear:
            return loop.AT_ONCE
        return loop.BY_ROWS if size > PANEL_PARAMETERS else loop.AFTERWARDS

    # ---- the run

    @property
    def epochs_done(self) -> int:
        """How many epochs are finished."""
        return int(self.kernel_progress.cursor[loop.EPOCH])

    def _loop(self, bar: Any) -> str:
        params = self.network.params
        next_snapshot = time.perf_counter() + self._until_snapshot()
        blocks = self._first_blocks()
        if self.epochs_done >= self.epochs:
            return "epochs"
        while True:
            before = None
            if self.patience is not None and self.validation is None and not self._mini_batches:
                before = params.copy()  # which this epoch's loss will be the loss of
            began = time.perf_counter()
            status = loop.train(
                self.model,
                self.data,
                self.rule,
                self.plan,
                self.kernel_progress,
                self.buffers,
                blocks,
            )
            now = time.perf_counter()
            ratio = CHUNK_SECONDS / max(now - began, 1e-9)
            if status == loop.RUNNING:
                blocks = max(1, int(blocks * min(ratio, 16)))

            if status in (loop.RUNNING, loop.EPOCH_ENDED) and now > next_snapshot:
                if is_finite(params):
                    self.safe[:] = params
                else:
                    status = loop.DIVERGED
                self._snapshot_seconds = time.perf_counter() - now
                next_snapshot = now + self._until_snapshot()
            if status in (loop.FINISHED, loop.CONVERGED) and not is_finite(params):
                status = loop.DIVERGED
            if status == loop.DIVERGED:
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

    def _until_snapshot(self) -> float:
        """Seconds to the next snapshot, by how long the last one took."""
        return max(SNAPSHOT_SECONDS, self._snapshot_seconds / SNAPSHOT_SHARE)

    def _keep_finite(self) -> None:
        """Fall back on the last parameters known to be finite, where they no longer are."""
        if not is_finite(self.network.params):
            self.network.params[:] = self.safe

    def _first_blocks(self) -> int:
        """How many blocks are sure to end in time, before anything was measured.

        2 GFLOP/s and 10 µs per block are what the slowest of machines reach.
        """
        operations = 6 * self.network.params.size * self.buffers.block_rows
        return max(1, int(CHUNK_SECONDS / (operations / 2e9 + 1e-5)))

    @property
    def _mini_batches(self) -> bool:
        return self.batch_size < self.data.rows

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
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
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
            optimizer_state=self.rule.state,
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
        self.rule.state[:] = state.optimizer_state
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
