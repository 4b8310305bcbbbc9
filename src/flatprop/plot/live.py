"""A loss curve that grows while the network trains."""

import weakref
from time import perf_counter
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from flatprop.plot.loss_curves import history
from flatprop.plot.screens import Screen, screen
from flatprop.training.callbacks import Epoch
from flatprop.training.history import History
from flatprop.validation import checks

SHARE = 0.1
"""How much of the time drawing may take."""


class LiveLoss:
    """A callback that draws the loss while a network trains: ``fit(callbacks=LiveLoss())``.

    In Jupyter the picture stands under the cell and is replaced in place; with an interactive
    backend it has a window, which stays; elsewhere one line of text on stderr takes its place.
    The last state is drawn when the training ends, whichever rule ended it.

    Parameters
    ----------
    every
        After how many epochs each it may be drawn.
    seconds
        The least time between two drawings. Drawing also takes no more than about a tenth of
        the time of the training, however fast that is.
    log
        As for `history`.

    Raises
    ------
    TypeError, ValueError
        If `every` is no positive whole number or `seconds` is negative.
    """

    def __init__(self, every: int = 1, *, seconds: float = 0.25, log: bool | None = None) -> None:
        self.every = checks.count("every", every)
        self.seconds = checks.positive("seconds", seconds, or_zero=True)
        self.log = log
        self._training: weakref.ref[Any] | None = None
        self._screen: Screen | None = None

    def __call__(self, epoch: Epoch) -> None:
        training = epoch._training
        if self._training is None or self._training() is not training:
            self._begin(epoch)
        self._losses.append(epoch.loss)
        if epoch.val_loss is not None:
            self._val_losses.append(epoch.val_loss)
        if epoch.learning_rate is not None:
            self._rates.append(epoch.learning_rate)
        for name, value in epoch.metrics.items():
            self._metrics.setdefault(name, []).append(value)
        if (epoch.epoch + 1) % self.every == 0 and perf_counter() >= self._next:
            self._draw()

    def _begin(self, epoch: Epoch) -> None:
        self._epochs = epoch.epochs
        self._losses: list[float] = []
        self._val_losses: list[float] = []
        self._rates: list[float] = []
        self._metrics: dict[str, list[float]] = {}
        self._drawn = 0
        self._next = 0.0
        self._screen = screen()
        self._training = weakref.ref(epoch._training)
        # A callback does not hear that a training has ended, but then its object is gone.
        weakref.finalize(epoch._training, self._end, self._screen).atexit = False

    def _draw(self) -> None:
        assert self._screen is not None
        began = perf_counter()
        self._drawn = len(self._losses)
        self._screen.show(self._picture, self._text())
        now = perf_counter()
        self._next = now + max(self.seconds, (now - began) / SHARE)

    def _end(self, screen: Screen) -> None:
        if screen is self._screen and self._drawn < len(self._losses):
            self._draw()
        screen.close()

    def _picture(self, figure: Figure) -> None:
        losses, val_losses, rates = map(np.array, (self._losses, self._val_losses, self._rates))
        metrics = {name: np.array(values) for name, values in self._metrics.items()}
        so_far = History(losses, val_losses, rates, metrics=metrics)
        ax = history(so_far, ax=figure.add_subplot(), log=self.log)
        ax.set_title(self._progress())

    def _progress(self) -> str:
        return f"{len(self._losses):,} of {self._epochs:,} epochs"

    def _text(self) -> str:
        text = f"{self._progress()}, loss {self._losses[-1]:.4g}"
        return text + (f", val_loss {self._val_losses[-1]:.4g}" if self._val_losses else "")
