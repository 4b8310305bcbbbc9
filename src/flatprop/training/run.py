"""What every training does: check its arguments, act after each epoch, return a `History`."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Generic, TypeVar

import numpy as np

from flatprop.evaluation import calls, crew
from flatprop.evaluation.values import loss_over
from flatprop.export.random_states import plain_state
from flatprop.kernels.network.workspace import Block
from flatprop.model.model import Model
from flatprop.samples.samples import Samples
from flatprop.samples.validation_data import Split, given_for_validation
from flatprop.training import divergence, resolution
from flatprop.training.callbacks import (
    Callback,
    Epoch,
    checked_callbacks,
    identity,
    wants_to_stop,
)
from flatprop.training.checkpoints import TrainingState, save_checkpoint
from flatprop.training.history import History
from flatprop.training.metrics import Metric, Metrics
from flatprop.training.progress import progress_bar, show
from flatprop.validation import checks, over_parameters
from flatprop.validation.alerts import DivergenceWarning, warn
from flatprop.validation.arrays import Array

S = TypeVar("S", bound=Samples)


class Run(ABC, Generic[S]):
    """One call of `fit`: the constructor checks everything, then `run` trains."""

    network: Model
    losses: Any
    """The training loss of each epoch; only the first `epochs_done` entries have a meaning."""
    rates: Any
    """The learning rate of each epoch; the last entry holds for all later epochs. Empty with a
    solver, which has no learning rate."""
    writes = True
    """Whether this process writes checkpoints and shows progress."""

    def __init__(
        self,
        network: Model,
        samples: S,
        *,
        given: Any,
        epochs: int,
        validation_data: Sequence[Any] | None,
        split: Split | None,
        metrics: Mapping[str, Metric] | None,
        trainable: Any,
        factors: Array | None,
        tol: float | None,
        patience: int | None,
        callbacks: Sequence[Callback] | Callback,
        progress: bool,
    ) -> None:
        self.network = network
        self.samples = samples
        self.epochs = epochs
        self.tol = None if tol is None else checks.positive("tol", tol, or_zero=True)
        self.patience = None if patience is None else checks.count("patience", patience)
        self.callbacks = checked_callbacks(callbacks)
        self.called_back = bool(self.callbacks)
        """Whether there are callbacks, in this process or in another one of the training."""
        self.progress = bool(progress) and self.writes
        if self.progress:
            import tqdm  # noqa: F401  # If it is missing, say so before the training starts.
        self.split = split
        self.validation: tuple[Samples, Block] | None = None
        held_back = given_for_validation(network, validation_data) if split is None else split.held
        if held_back is not None:
            self.validation = held_back, calls.block_for(network, held_back.rows)
        self.metrics = self._new_metrics(metrics, samples if held_back is None else held_back)
        self.trainable_mask = trainable
        self.trainable = over_parameters.trainable_ranges(trainable, network.params.size, factors)
        checks.finite("net.params", network.params)
        resolution.look_at(given, samples, network.inputs, network.dtype)

        self.val_losses: list[float] = []
        self.best_loss = math.inf
        self.best_epoch: int | None = None
        self.best_params: Array | None = None
        self.raw_params: Array | None = None
        self.message = ""
        self._bar: Any = None
        """The progress bar during `run`, if there is to be one."""
        self.ended_by: list[str] = []
        """The names of the callbacks that had ended the training which is resumed."""
        self._written: dict[str | PathLike[str], Any] | None = None
        """While callbacks are called: for each checkpoint that one of them wrote, what later
        callbacks may still change. Otherwise None."""
        self.only_validation = False
        """Whether only the loss of the validation data is not finite."""
        self.ruined = False
        """Whether a callback left parameters that are not finite."""

    # ---- what each kind of run defines

    @property
    @abstractmethod
    def epochs_done(self) -> int:
        """How many epochs are finished."""

    @abstractmethod
    def state(self, stopped_by: Sequence[str] = ()) -> TrainingState:
        """Everything that a resumed training needs besides the network."""

    @abstractmethod
    def _loop(self) -> str:
        """Train, and return the rule that ended the training.

        Calls `_after_epoch` after each epoch, unless nothing there has anything to do.
        """

    @abstractmethod
    def _keep_finite(self) -> None:
        """Give the network finite parameters, wherever the loop was left."""

    @abstractmethod
    def _cause_of_divergence(self) -> tuple[str, str, str, str]:
        """The arguments of `divergence.told` for a training loss that is not finite."""

    @abstractmethod
    def _advice_on_steps(self) -> str:
        """What to try where the steps have led too far."""

    def _frozen(self) -> str:
        """A message if parameters no longer move although all numbers are finite, or ""."""
        return ""

    def _new_metrics(self, functions: Mapping[str, Metric] | None, samples: Samples) -> Metrics:
        return Metrics(self.network, functions, samples)

    def _validation_loss(self) -> float:
        assert self.validation is not None
        return loss_over(self.network, *self.validation)

    def _conclude(self) -> None:
        """Leave in the network what it is to have when the training has ended."""

    def _follow_schedule(self, epoch: int, monitored: float) -> None:
        """Take note of an epoch's `monitored` loss, on which later learning rates may depend."""

    # ---- the run

    def run(self) -> History:
        """Train until a rule ends it."""
        began = time.perf_counter()
        self._bar = progress_bar(self.epochs, "epoch", self.epochs_done) if self.progress else None
        try:
            stopped_by = self._already_stopped_by() or self._loop()
        except KeyboardInterrupt:
            stopped_by = "interrupted"
            self._keep_finite()
        finally:
            self._conclude()
            if self._bar is not None:
                self._bar.close()
        alarm = self._divergence_message() if stopped_by == "diverged" else self._frozen()
        self.message = alarm or self.message
        if self.best_params is not None:
            self.params[:] = self.best_params
        # An epoch counts once its validation is done; an interruption may come before that.
        done = self.epochs_done if self.validation is None else len(self.val_losses)
        history = History(
            np.array(self.losses[:done], np.float64),
            np.array(self.val_losses),
            self.learning_rates(done),
            stopped_by,
            self.best_epoch,
            self.message,
            time.perf_counter() - began,
        )
        if self.metrics:
            table = self.metrics.table(done)
            history.metrics = dict(zip(self.metrics.names, table, strict=True))
        if self.split is not None:
            history.validation_rows = self.split.rows
        history.raw_params = self.raw_params
        if alarm:
            self._warn(alarm)
        return history

    def _warn(self, alarm: str) -> None:
        warn(alarm, DivergenceWarning)

    def _already_stopped_by(self) -> str:
        """The rule that had ended the training which is resumed, or "".

        The rules are asked in the same order as during a training.
        """
        last = self.epochs_done - 1
        if last < 0:
            return ""
        if self._settled():
            return "converged"
        best = self.best_epoch  # None if the first training had no `patience`
        if self.patience is not None and best is not None and last - best >= self.patience:
            return "patience"
        # A user who leaves out the callback that ended the training wants it to go on.
        return "callback" if {*map(identity, self.callbacks)} & {*self.ended_by} else ""

    def _after_epoch(self, measured_at: Array | None) -> str:
        """Validate, measure, look at early stopping and the schedule, call the callbacks.

        `measured_at` are the parameters at which the epoch's loss was measured; None if the
        network still has them. Returns the rule that ends the training, or "".
        """
        epoch = self.epochs_done - 1
        loss = float(self.losses[epoch])
        val_loss = None
        if self.validation is not None:
            val_loss = self._validation_loss()
            self.val_losses.append(val_loss)
            if not math.isfinite(val_loss):
                self.only_validation = True
                return "diverged"
        metrics = self.metrics.measure(epoch)
        monitored = loss if val_loss is None else val_loss
        rate = self.learning_rate(epoch)
        self._follow_schedule(epoch, monitored)
        reason = ""
        if self.patience is not None:
            if monitored < self.best_loss:
                self.best_loss, self.best_epoch = monitored, epoch
                self.best_params = self.params.copy() if measured_at is None else measured_at
            elif epoch - (self.best_epoch or 0) >= self.patience:
                reason = "patience"
        report = Epoch(self.network, epoch, self.epochs, loss, val_loss, rate, self, metrics)
        answer = self._call_back(report) if self.called_back else ""
        if answer == "diverged":
            return answer
        return "converged" if self._settled() else reason or answer

    def _call_back(self, report: Epoch) -> str:
        """Call the callbacks; returns "callback" if one of them stops the training.

        If they leave parameters that are not finite, the old ones come back: "diverged".
        """
        before = self.params.copy()
        self._written = {}
        try:
            stoppers = self._stoppers(report)
            if not checks.is_finite(self.params):
                self.ruined = checks.is_finite(before)
                self.params[:] = before
                self._keep_finite()
                return "diverged"
            self._write_again(stoppers)
        finally:
            self._written = None
        self.network.require_writable()
        return "callback" if stoppers else ""

    def _stoppers(self, report: Epoch) -> list[str]:
        """Call the callbacks; returns the identities of those that stop the training."""
        answers = [callback(report) for callback in self.callbacks]
        pairs = zip(self.callbacks, answers, strict=True)
        return [identity(callback) for callback, answer in pairs if wants_to_stop(answer)]

    def _write_again(self, stoppers: list[str]) -> None:
        """Write each checkpoint again if a callback ended the training, or if a callback after it
        changed the network: a resumed training has to know of both.
        """
        for path, known in list((self._written or {}).items()):
            if stoppers or known != self._changeable():
                save_checkpoint(self.network, self.state(stoppers), path)

    def save_checkpoint(self, path: str | PathLike[str]) -> None:
        """Write the network and the state of the training after an epoch."""
        if self._written is None:
            raise ValueError(
                f"{path}: a checkpoint is written while fit calls back, not later; the network "
                "alone can be saved at any time, with epoch.network.save(path)"
            )
        if not checks.is_finite(self.params):
            raise ValueError(
                f"{path} is not written: the parameters are not finite, and nothing could go on "
                "from them"
            )
        if not self.writes:
            return
        save_checkpoint(self.network, self.state(), path)
        self._written[path] = self._changeable()

    def _changeable(self) -> tuple[bytes, Any]:
        """What callbacks may change in the network: its parameters and its random state."""
        return self.params.tobytes(), plain_state(self.network.rng)

    @property
    def params(self) -> Array:
        """The network's parameters, in the array that no user can reshape or retype."""
        array: Array = self.network._arrays.params
        return array

    def _divergence_message(self) -> str:
        epoch = self.epochs_done - 1
        if self.ruined:
            return divergence.told(
                f"after epoch {epoch}", divergence.RUINED, "", divergence.UNRUINED
            )
        if not self.only_validation:
            return divergence.told(*self._cause_of_divergence())
        assert self.validation is not None
        loss, steps = float(self.losses[epoch]), self._advice_on_steps()
        why = divergence.of_validation(self.network, self.samples, self.validation[0], loss, steps)
        what = "the loss of the validation data is not finite"
        return divergence.told(f"in epoch {epoch}", what, *why)

    def _settled(self) -> bool:
        """Whether the last two losses are within `tol` of each other."""
        done = self.epochs_done
        if self.tol is None or done < 2:
            return False
        return bool(abs(self.losses[done - 1] - self.losses[done - 2]) <= self.tol)

    def learning_rate(self, epoch: int) -> float | None:
        """The learning rate of this epoch; None with a solver."""
        last = self.rates.size - 1
        return None if last < 0 else float(self.rates[min(epoch, last)])

    def learning_rates(self, epochs: int) -> Any:
        """The learning rates of the first `epochs` epochs; empty with a solver."""
        last = self.rates.size - 1
        return self.rates[np.minimum(np.arange(epochs if last >= 0 else 0), last)]

    # ---- the progress bar

    def _show(self) -> None:
        """Bring the progress bar up to date, if there is one; leave if another thread asks to."""
        crew.end_if_asked()
        bar, done = self._bar, self.epochs_done
        if bar is None or done == bar.n:
            return
        val_loss = self.val_losses[-1] if self.val_losses else None
        values = self.metrics.rows[-1] if self.metrics.rows else []
        metrics = dict(zip(self.metrics.names, values, strict=False))
        loss, rate = self.losses[done - 1], self.learning_rate(done - 1)
        show(bar, done, loss, val_loss, rate, metrics)
