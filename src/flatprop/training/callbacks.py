"""Callbacks: the report that they get after an epoch, and `Checkpoint`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Protocol, TypeAlias
from zlib import crc32

import numpy as np

from flatprop.validation import checks, other_names


class Saving(Protocol):
    """What an `Epoch` needs of the training."""

    def save_checkpoint(self, path: str | PathLike[str]) -> None:
        """Write the network and the state of the training, or raise."""


@dataclass(frozen=True)
class Epoch:
    """What a callback gets after every epoch.

    Attributes
    ----------
    network : Model
        The network as it is now, with averaged parameters if `fit` was given `ema`; a callback may
        change its parameters.
    epoch : int
        The epoch that has just ended, from 0.
    epochs : int
        How many epochs the training is to have.
    loss : float
        The training loss of this epoch.
    val_loss : float or None
        The validation loss after this epoch; None without validation data.
    learning_rate : float or None
        The learning rate of this epoch; None with a solver, which has none.
    metrics : dict
        The `metrics` of `fit` after this epoch, by name; empty without metrics.
    """

    network: Any  # a Network, which this floor does not know
    epoch: int
    epochs: int
    loss: float
    val_loss: float | None
    learning_rate: float | None
    _training: Saving
    metrics: Mapping[str, float] = field(default_factory=dict)

    def save_checkpoint(self, path: str | PathLike[str]) -> None:
        """Write the network and the state of the training, for `fit(resume=path)`."""
        self._training.save_checkpoint(path)


Callback: TypeAlias = Callable[[Epoch], object]


@other_names.suggesting(other_names.CHECKPOINT)
@dataclass(frozen=True)
class Checkpoint:
    """A callback that writes a checkpoint: network, optimizer and random state.

    The file is replaced in one step: an interruption leaves the file from before, even if
    the process is killed or the power fails. `fp.load` reads the network from the file;
    ``fit(..., resume=path)`` goes on with the training.

    Parameters
    ----------
    path
        The file that is written.
    every
        After how many epochs it is written again.
    """

    path: str | PathLike[str]
    every: int = 1

    def __post_init__(self) -> None:
        checks.file_name("path", self.path)
        checks.count("every", self.every)

    def __call__(self, epoch: Epoch) -> None:
        if (epoch.epoch + 1) % self.every == 0:
            epoch.save_checkpoint(self.path)


def checked_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """One function or several, as a tuple."""
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


def wants_to_stop(answer: object) -> bool:
    """Whether what a callback returned ends the training."""
    return isinstance(answer, (bool, np.bool_)) and bool(answer)


def identity(callback: Callback) -> str:
    """What identifies a callback in another process: its name and a checksum of its code."""
    kind = callback if hasattr(callback, "__qualname__") else type(callback)
    code = getattr(callback, "__code__", None)
    if code is None:
        return f"{kind.__module__}.{kind.__qualname__}"
    numbers = [constant for constant in code.co_consts if isinstance(constant, (int, float, str))]
    content = code.co_code + repr((numbers, code.co_names)).encode()
    return f"{kind.__module__}.{kind.__qualname__} {crc32(content):08x}"
