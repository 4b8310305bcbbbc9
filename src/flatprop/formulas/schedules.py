"""Learning-rate schedules: the rate of each epoch. Any optimizer takes a schedule.

Names and formulas follow `torch.optim.lr_scheduler`; epochs count from 0.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatprop.validation import checks, other_names


def check_rate(value: object, name: str = "learning_rate") -> None:
    """Raise unless `value` is a finite number, not below 0."""
    if not checks.is_number(value):
        raise TypeError(
            f"{name} must be a number or a schedule such as fp.schedules.Cosine(0.01), "
            f"got {value!r}"
        )
    rate = float(value)  # type: ignore[arg-type]
    if not (math.isfinite(rate) and rate >= 0):
        raise ValueError(f"{name} must be finite and not negative, got {value!r}")


@dataclass(frozen=True)
class Schedule(ABC):
    """A learning rate that changes from epoch to epoch.

    Parameters
    ----------
    learning_rate
        The rate of the first epoch; after a warm-up, of the first epoch that follows it.
    """

    learning_rate: float

    def __post_init__(self) -> None:
        check_rate(self.learning_rate)

    @abstractmethod
    def rate(self, epoch: int, epochs: int) -> float:
        """The rate of `epoch` (from 0) in a training of `epochs`."""

    def rates(self, epochs: int) -> NDArray[np.float64]:
        """The rate of each epoch; the last rate holds for all later epochs."""
        with np.errstate(over="ignore"):  # an overflow raises below
            rates = np.array([self.rate(epoch, epochs) for epoch in range(epochs)])
        if not np.isfinite(rates).all():
            first = int(np.argmin(np.isfinite(rates)))
            raise ValueError(f"{self!r} gives epoch {first} no finite learning rate")
        return rates

    def follow(self) -> Callable[[float], float] | None:
        """For a rate that depends on the losses, a new function; otherwise None.

        The function is called with the loss of each epoch in turn, and returns the rate of
        the next epoch.
        """
        return None


@other_names.suggesting(other_names.SCHEDULE)
@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate throughout; what a plain number means."""

    def rate(self, epoch: int, epochs: int) -> float:
        return self.learning_rate

    def rates(self, epochs: int) -> NDArray[np.float64]:
        return np.array([self.learning_rate], np.float64)


@other_names.suggesting(other_names.SCHEDULE)
@dataclass(frozen=True)
class Step(Schedule):
    """The rate times `gamma` after every `step_size` epochs."""

    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.count("step_size", self.step_size)
        check_rate(self.gamma, "gamma")

    def rate(self, epoch: int, epochs: int) -> float:
        return self.learning_rate * self.gamma ** (epoch // self.step_size)


@other_names.suggesting(other_names.SCHEDULE)
@dataclass(frozen=True)
class Exponential(Schedule):
    """The rate times `gamma` after every epoch."""

    gamma: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(self.gamma, "gamma")

    def rate(self, epoch: int, epochs: int) -> float:
        return float(self.learning_rate * np.float64(self.gamma) ** epoch)


@other_names.suggesting(other_names.SCHEDULE)
@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from the rate down to `eta_min` (Loshchilov & Hutter 2017).

    η = η_min + ½ (η₀ - η_min) (1 + cos(π t / T_max)), and η_min from T_max on.

    Parameters
    ----------
    learning_rate
        η₀.
    T_max
        The length of the descent, in epochs; None takes the whole training.
    eta_min
        η_min.
    """

    T_max: int | None = None
    eta_min: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(self.eta_min, "eta_min")
        if self.T_max is not None:
            checks.count("T_max", self.T_max)

    def rate(self, epoch: int, epochs: int) -> float:
        length = epochs if self.T_max is None else self.T_max
        angle = math.pi * min(epoch, length) / length
        return self.eta_min + (self.learning_rate - self.eta_min) * (1 + math.cos(angle)) / 2


@other_names.suggesting(other_names.SCHEDULE)
@dataclass(frozen=True)
class WarmUp(Schedule):
    """A linear rise over the first `epochs` epochs, then another schedule from its start.

    Epoch t of the rise has the rate η₀ (t + 1) / (epochs + 1), where η₀ is the
    first rate after the rise.

    Parameters
    ----------
    learning_rate
        A rate or a schedule, for the time after the rise.
    epochs
        The length of the rise.
    """

    learning_rate: "float | Schedule"  # type: ignore[assignment]
    epochs: int

    def __post_init__(self) -> None:
        if not isinstance(self.learning_rate, Schedule):
            super().__post_init__()
        elif self.learning_rate.follow() is not None:
            raise TypeError(
                f"WarmUp cannot be followed by {type(self.learning_rate).__name__}; "
                "use one whose rate depends on the epoch alone, such as fp.schedules.Cosine"
            )
        checks.count("epochs", self.epochs)

    def rate(self, epoch: int, epochs: int) -> float:
        then = as_schedule(self.learning_rate)
        length = max(epochs - self.epochs, 1)
        if epoch >= self.epochs:
            return then.rate(epoch - self.epochs, length)
        return then.rate(0, length) * (epoch + 1) / (self.epochs + 1)


@other_names.suggesting(other_names.SCHEDULE)
@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """The rate times `factor` once the loss has stopped falling.

    It looks at the validation loss, or without validation data at the training loss.

    Parameters
    ----------
    learning_rate
        The first rate.
    factor
        What the rate is multiplied by.
    patience
        How many epochs without improvement pass before a reduction.
    threshold
        A loss counts as an improvement if it is below best · (1 - threshold).
    cooldown
        How many epochs after a reduction are not counted.
    min_lr
        The rate is not reduced below this.
    """

    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.factor < 1:
            raise ValueError(f"factor must lie between 0 and 1, got {self.factor!r}")
        for name in ("threshold", "min_lr"):
            check_rate(getattr(self, name), name)
        for name in ("patience", "cooldown"):
            checks.count(name, getattr(self, name), least=0)

    def rate(self, epoch: int, epochs: int) -> float:
        return self.learning_rate

    def follow(self) -> Callable[[float], float]:
        rate, best, bad, cool = float(self.learning_rate), math.inf, 0, 0

        def after(loss: float) -> float:
            nonlocal rate, best, bad, cool
            if loss < best * (1 - self.threshold):
                best, bad = loss, 0
            else:
                bad += 1
            if cool > 0:
                cool, bad = cool - 1, 0
            if bad > self.patience:
                rate, bad, cool = max(rate * self.factor, self.min_lr), 0, self.cooldown
            return rate

        return after


def as_schedule(rate: "float | Schedule") -> Schedule:
    """The schedule itself, or a constant one."""
    return rate if isinstance(rate, Schedule) else Constant(float(rate))
