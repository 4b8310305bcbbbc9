"""`fit`: the compiled loop in bounded chunks, and what happens between them.

The kernel trains as long as nobody needs Python: between two of its calls lie
callbacks, validation, early stopping, the progress bar and Ctrl-C.
"""

import math
import time
import warnings
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from flatprop import checks, files
from flatprop.arrays import Array, aligned_empty
from flatprop.callbacks import Callback, Epoch
from flatprop.formulas.optimizers import OPTIMIZERS, Optimizer, rule_code
from flatprop.formulas.schedules import as_schedule
from flatprop.history import History
from flatprop.kernels import batches
from flatprop.kernels import epochs as loop

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


class DivergenceWarning(RuntimeWarning):
    """The loss became NaN or infinite during training."""


def fit(network: "Network", X: Any, y: Any, **options: Any) -> History:
    """Train `network` in place; see `Network.fit`."""
    return Training(network, X, y, **options).run()


class Training:
    """One call of `fit`: everything is checked in the constructor, then `run`."""

    def __init__(
        self,
        network: "Network",
        X: Any,
        y: Any,
        *,
        optimizer: str | Optimizer,
        epochs: int,
        batch_size: int | None,
        shuffle: bool,
        sample_weight: Any,
        validation_data: Sequence[Any] | None,
        trainable: Any,
        tol: float | None,
        patience: int | None,
        clip_norm: float | None,
        callbacks: Sequence[Callback] | Callback,
        progress: bool,
        rng: Any,
        resume: str | PathLike[str] | None,
    ) -> None:
        self.network = network
        self.optimizer = _checked_optimizer(optimizer)
        self.epochs = checks.count("epochs", epochs)
        if batch_size is not None:
            batch_size = checks.count("batch_size", batch_size)
        self.tol = None if tol is None else checks.positive("tol", tol, or_zero=True)
        self.patience = None if patience is None else checks.count("patience", patience)
        self.clip_norm = None if clip_norm is None else checks.positive("clip_norm", clip_norm)
        self.callbacks = _checked_callbacks(callbacks)
        self.progress = bool(progress)
        self.data = network.data(X, y, sample_weight)
        self.validation = _checked_validation(network, validation_data)
        self.trainable = checks.trainable_ranges(trainable, network.params.size)
        resumed = None if resume is None else files.load_checkpoint(network, resume)
        source = network.rng if rng is None else checks.generator(rng)
        checks.finite("net.params", network.params)

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

        self.val_losses: list[float] = []
        self.best_loss = math.inf
        self.best_epoch: int | None = None
        self.best_params: Array | None = None
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
        initial = self.optimizer.initial_state(float(self.rates[0]))
        state = aligned_empty(len(initial) * size, dtype).reshape(-1, size)
        for slot, value in zip(state, initial, strict=True):
            slot[:] = value
        block = network.block(data, self.batch_size)
        when = self._when(block.rows)
        panel = {
            loop.AFTERWARDS: size,
            loop.BY_ROWS: max(PANEL_PARAMETERS, int(network.layers["units"].max())),
            loop.AT_ONCE: 0,
        }[when]
        self.rule = loop.Rule(
            rule_code(self.optimizer),
            np.array([0.0, 0.0, 1.0, *self.optimizer.values()]),
            state,
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
        losses = np.zeros(self.epochs)  # touched, and so given memory, as epochs end
        self.kernel_progress = loop.Progress(np.zeros(3, np.int64), np.zeros(4), losses)
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

    def run(self) -> History:
        """Train until a rule ends it."""
        began = time.perf_counter()
        bar = _progress_bar(self) if self.progress else None
        message = ""
        try:
            stopped_by = self._loop(bar)
        except KeyboardInterrupt:
            stopped_by = "interrupted"
            self._keep_finite()
        finally:
            if bar is not None:
                bar.close()
        if stopped_by == "diverged":
            message = self._divergence_message()
        if self.best_params is not None:
            self.network.params[:] = self.best_params
        # An epoch counts once its validation is done, which an interruption may prevent.
        done = self.epochs_done if self.validation is None else len(self.val_losses)
        history = History(
            self.losses[:done].copy(),
            np.array(self.val_losses),
            self._rates_of(np.arange(done)),
            stopped_by,
            self.best_epoch,
            message,
            time.perf_counter() - began,
        )
        if message:
            warnings.warn(message, DivergenceWarning, stacklevel=4)
        return history

    @property
    def epochs_done(self) -> int:
        """How many epochs are finished."""
        return int(self.kernel_progress.cursor[loop.EPOCH])

    @property
    def losses(self) -> Any:
        """The training loss of each epoch; 0 from the current one on."""
        return self.kernel_progress.losses

    def _rates_of(self, epochs: Any) -> Any:
        """The learning rates of these epochs."""
        return self.rates[np.minimum(epochs, self.rates.size - 1)]

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
                if _finite(params):
                    self.safe[:] = params
                else:
                    status = loop.DIVERGED
                self._snapshot_seconds = time.perf_counter() - now
                next_snapshot = now + self._until_snapshot()
            if status in (loop.FINISHED, loop.CONVERGED) and not _finite(params):
                status = loop.DIVERGED
            if status == loop.DIVERGED:
                self._keep_finite()
                return "diverged"
            if bar is not None:
                _show(bar, self)
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
        if not _finite(self.network.params):
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

    def _after_epoch(self, before: Array | None) -> str:
        """Validation, early stopping, schedule, callbacks; why to stop, if at all."""
        epoch = self.epochs_done - 1
        loss = float(self.losses[epoch])
        val_loss = None
        if self.validation is not None:
            val_loss = self.network.loss_of(*self.validation)
            self.val_losses.append(val_loss)
            if not math.isfinite(val_loss):
                return "diverged"
        monitored = loss if val_loss is None else val_loss
        rate = float(self._rates_of(epoch))
        if self.follow is not None and epoch + 1 < self.epochs:
            self.rates[epoch + 1] = self.follow(monitored)
        reason = ""
        if self.patience is not None:
            if monitored < self.best_loss:
                self.best_loss, self.best_epoch = monitored, epoch
                self.best_params = self.network.params.copy() if before is None else before
            elif epoch - (self.best_epoch or 0) >= self.patience:
                reason = "patience"
        report = Epoch(self.network, epoch, self.epochs, loss, val_loss, rate, self)
        for callback in self.callbacks:
            answer = callback(report)
            if isinstance(answer, (bool, np.bool_)) and answer:
                reason = reason or "callback"
        return reason

    def _divergence_message(self) -> str:
        cursor = self.kernel_progress.cursor
        rate = self._rates_of(self.epochs_done)
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
            rates=self._rates_of(np.arange(done + 1)),
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


def _finite(params: Array) -> bool:
    return math.isfinite(np.vdot(params, params)) or bool(np.isfinite(params).all())


def _checked_optimizer(optimizer: object) -> Optimizer:
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        raise TypeError(f"optimizer is a class; write fp.{optimizer.__name__}(...)")
    return OPTIMIZERS[checks.choice("optimizer", optimizer, OPTIMIZERS)]()  # type: ignore[call-arg]


def _checked_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    if callable(callbacks):
        callbacks = (callbacks,)
    try:
        callbacks = tuple(callbacks)
    except TypeError:
        raise TypeError(f"callbacks must be a list of functions, got {callbacks!r}") from None
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(f"callbacks must be functions of one argument, got {callback!r}")
    return tuple(callbacks)


def _checked_validation(
    network: "Network", validation_data: Sequence[Any] | None
) -> tuple[batches.Data, batches.Block] | None:
    if validation_data is None:
        return None
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
        raise TypeError("validation_data must be (X, y) or (X, y, sample_weight)")
    try:
        data = network.data(*validation_data)
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation_data: {error}") from None
    return data, network.block(data)


def _progress_bar(training: Training) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=training.epochs, initial=training.epochs_done, unit="epoch", leave=True)


def _show(bar: Any, training: Training) -> None:
    done = training.epochs_done
    if done == bar.n:
        return
    figures = {"loss": f"{training.losses[done - 1]:.4g}"}
    if training.val_losses:
        figures["val_loss"] = f"{training.val_losses[-1]:.4g}"
    figures["lr"] = f"{training._rates_of(done - 1):.3g}"
    bar.set_postfix(figures, refresh=False)
    bar.update(done - bar.n)
