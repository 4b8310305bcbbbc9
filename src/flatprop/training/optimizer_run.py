"""Training by an optimizer's updates: learning rates, checkpoints, causes of a divergence."""

from abc import abstractmethod
from collections.abc import Sequence
from os import PathLike
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from flatprop.export import files
from flatprop.export.writing import checked_target
from flatprop.formulas.optimizer import Optimizer
from flatprop.formulas.schedules import as_schedule
from flatprop.kernels.network import training_loop as loop
from flatprop.model.model import Model
from flatprop.training import divergence, seeds
from flatprop.training.average import Average
from flatprop.training.callbacks import Checkpoint
from flatprop.training.checkpoints import TrainingState, load_checkpoint
from flatprop.training.run import Run, S
from flatprop.training.snapshot import Snapshot
from flatprop.validation import checks, over_parameters
from flatprop.validation.arrays import Array


class OptimizerRun(Run[S]):
    """One call of `fit` with an `Optimizer`, in memory or a part at a time."""

    cursor: NDArray[np.int64]
    """How far the training has come, as in `training_loop.Progress`."""

    def __init__(
        self,
        network: Model,
        samples: S,
        optimizer: Optimizer,
        *,
        batch_size: int | None,
        shuffle: bool,
        clip_norm: float | None,
        learning_rate_factors: Any,
        ema: float | None,
        rng: Any,
        resume: str | PathLike[str] | None,
        **common: Any,
    ) -> None:
        self.optimizer = optimizer
        self.batch_size_left_out = isinstance(batch_size, checks.LeftOut)
        self.batch_size = None if batch_size is None else checks.count("batch_size", batch_size)
        self.shuffle = bool(shuffle)
        self.clip_norm = None if clip_norm is None else checks.positive("clip_norm", clip_norm)
        self.factors = over_parameters.rate_factors(
            learning_rate_factors, network.params.size, network.dtype
        )
        self.ema = None if ema is None else checks.fraction("ema", ema)
        super().__init__(network, samples, factors=self.factors, **common)
        for callback in self.callbacks:
            # Raise now what writing a checkpoint after the first epoch would raise.
            if isinstance(callback, Checkpoint) and self.writes:
                files.described(network)
                checked_target(callback.path)
        source = network.rng if rng is None else checks.generator(rng)

        schedule = as_schedule(optimizer.learning_rate)
        self.rates = schedule.rates(self.epochs)
        self.follow = schedule.follow()
        self._begin()
        self.average = None if self.ema is None else Average(self.params, self._average_array)
        # Everything is checked by now, so that an error leaves the generator unchanged.
        self._start(source, resume)
        self.safe = self._snapshot()

    def _start(self, source: np.random.Generator, resume: str | PathLike[str] | None) -> None:
        """Draw a seed, or take over the state of the training that is resumed."""
        if resume is None:
            self.seed = seeds.drawn(source)
        else:
            self._restore(self._state_in(resume))

    def _snapshot(self) -> Snapshot:
        return Snapshot(self.params, self._average_array if self.average else None)

    def _state_in(self, path: str | PathLike[str]) -> TrainingState:
        slots = len(self.optimizer_state)
        return load_checkpoint(self.network, path, self.settings(), self.epochs, slots)

    # ---- what depends on where the samples are

    @abstractmethod
    def _begin(self) -> None:
        """Make everything that `_loop` needs, `cursor` and `losses` included, but not `seed`."""

    @abstractmethod
    def _settings_of_samples(self) -> dict[str, Any]:
        """The entries of `settings` that depend on where the samples are."""

    @property
    @abstractmethod
    def optimizer_state(self) -> Any:
        """(slots, parameters), writable."""

    @property
    @abstractmethod
    def _average_array(self) -> Any:
        """(parameters,), writable: their moving average, with `ema`."""

    @property
    @abstractmethod
    def _data_at_hand(self) -> Any:
        """The samples of the last update, or more samples around them."""

    # ---- what does not

    @property
    def epochs_done(self) -> int:
        """How many epochs are finished."""
        return int(self.cursor[loop.EPOCH])

    def _follow_schedule(self, epoch: int, monitored: float) -> None:
        if self.follow is not None and epoch + 1 < self.epochs:
            self.rates[epoch + 1] = self.follow(monitored)

    def _keep_finite(self) -> None:
        self.safe.fall_back(self.params)

    def _after_epoch(self, measured_at: Array | None) -> str:
        if self.average is None:
            return super()._after_epoch(measured_at)
        if self.safe.fall_back(self.params):
            return "diverged"
        self.average.show()
        reason = super()._after_epoch(None)
        self.average.hide()
        return reason

    def _conclude(self) -> None:
        if self.average is not None:
            self.raw_params = self.average.raw.copy()
            self.average.show()

    def _cause_of_divergence(self) -> tuple[str, str, str, str]:
        updates = int(self.cursor[loop.UPDATES])
        where = f"in epoch {self.epochs_done}, after {updates} updates"
        why = divergence.of_updates(
            self.network, self._data_at_hand, updates, self._advice_on_steps()
        )
        return where, "the loss is not finite", *why

    def _advice_on_steps(self) -> str:
        return divergence.smaller_steps(self.learning_rate(self.epochs_done), self.clip_norm)

    def _frozen(self) -> str:
        return divergence.of_frozen(
            self.network, self.optimizer, self.optimizer_state, self.clip_norm
        )

    def settings(self) -> dict[str, Any]:
        """What must be the same in a resumed training and in the interrupted one."""
        factors = None if self.factors is None else f"an array {_checksum(self.factors)}"
        return {
            "optimizer": repr(self.optimizer),
            "clip_norm": self.clip_norm,
            "ema": self.ema,
            "trainable": f"a mask {_checksum(self.trainable)}",
            "learning_rate_factors": factors,
            "validation": self.validation is not None,
            "validation_split": None if self.split is None else self.split.fraction,
            "metrics": self.metrics.names or None,
            **self._settings_of_samples(),
        }

    def state(self, stopped_by: Sequence[str] = ()) -> TrainingState:
        """Everything that a resumed training needs besides the network."""
        done = self.epochs_done
        return TrainingState(
            settings=self.settings(),
            epochs=self.epochs,
            seed=self.seed,
            cursor=self.cursor[:3].copy(),
            losses=np.array(self.losses[:done], np.float64),
            val_losses=np.array(self.val_losses, np.float64),
            metrics=self.metrics.table(done),
            rates=self.learning_rates(done + 1),
            optimizer_state=self.optimizer_state,
            best_epoch=self.best_epoch,
            best_params=self.best_params,
            raw_params=None if self.average is None else self.average.raw,
            stopped_by=list(stopped_by),
        )

    def _restore(self, state: TrainingState) -> None:
        """Take over what `load_checkpoint` has read and checked."""
        done = int(state.cursor[loop.EPOCH])
        self.seed = state.seed
        self.ended_by = state.stopped_by
        self.params[:] = state.params
        if self.average is not None:
            assert state.raw_params is not None  # as the settings say
            self.average.resume(state.raw_params)
        if state.rng is not None:
            self.network.rng = state.rng
        self.cursor[:3] = state.cursor
        self.losses[:done] = state.losses
        self.val_losses = list(state.val_losses)
        self.metrics.rows = state.metrics.T.tolist()
        self.optimizer_state[:] = state.optimizer_state
        monitored = state.val_losses if self.validation is not None else state.losses
        if self.patience is not None and state.best_epoch is not None:
            self.best_epoch, self.best_params = state.best_epoch, state.best_params
            self.best_loss = float(monitored[state.best_epoch])
        if self.rates.size > 1:
            self.rates[:done] = state.rates[:done]
        if self.follow is not None:
            self.rates[: len(state.rates)] = state.rates[: self.epochs]
        for epoch, loss in enumerate(monitored):
            self._follow_schedule(epoch, float(loss))


def _checksum(array: NDArray[Any]) -> str:
    return f"with checksum {crc32(array.tobytes()):08x}"
