"""`History`: what a training leaves behind."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatprop.model import html
from flatprop.validation import other_names

FloatArray = NDArray[np.float64]


def _none() -> FloatArray:
    return np.empty(0)


@dataclass
class History(metaclass=other_names.Answering, answers=other_names.HISTORY):
    """The course of a training; one entry per finished epoch.

    Attributes
    ----------
    loss : ndarray
        The training loss: the mean of the mini-batches' losses, each before its update. A
        batch counts with its Σ w; without sample weights that is its number of samples. If
        the loss is a sum, all batches count alike, but a batch without any weight as 0. With
        the full batch it is the loss before the epoch's one update.
    val_loss : ndarray
        The loss of the validation data after the epoch; empty without such data.
    learning_rate : ndarray
        The learning rate of the epoch; empty with a solver, which has none.
    stopped_by : str
        "epochs", "converged", "patience", "diverged", "interrupted" or "callback".
    best_epoch : int or None
        With `patience`, the epoch whose parameters the network has now.
    message : str
        After a divergence, or if an optimizer's mean of squared gradients has overflowed: what
        happened and what to try. If a solver converged: which of its rules was met, and
        whether more than a tenth of the targets' variance is left.
    seconds : float
        How long the training took.
    metrics : dict of ndarray
        The `metrics` of `fit` after each epoch, by name; NaN where nothing was measured.
    validation_rows : ndarray of int
        Which samples `validation_split` held back, ascending; empty without it.
    raw_params : ndarray or None
        With `ema`, the parameters after the last update, which are not averaged. Assign them to
        ``net.params`` to go on from there. None without `ema`.
    """

    loss: FloatArray = field(default_factory=_none)
    val_loss: FloatArray = field(default_factory=_none)
    learning_rate: FloatArray = field(default_factory=_none)
    stopped_by: str = "epochs"
    best_epoch: int | None = None
    message: str = ""
    seconds: float = 0.0
    metrics: dict[str, FloatArray] = field(default_factory=dict)
    validation_rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    raw_params: NDArray[Any] | None = None

    @property
    def epochs(self) -> int:
        """How many epochs were finished."""
        return len(self.loss)

    def _curves(self) -> dict[str, FloatArray]:
        """What was measured in every epoch."""
        curves = self.metrics | {"loss": self.loss, "val_loss": self.val_loss}
        order = ["loss", "val_loss", *self.metrics]
        return {name: curves[name] for name in order if len(curves[name])}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(vars(History()) | state)  # a pickle of version 0.1 has less

    def __repr__(self) -> str:
        parts = [f"{self.epochs} epochs in {self.seconds:.3g} s", f"stopped by {self.stopped_by}"]
        for name, values in self._curves().items():
            parts.append(f"{name} {values[0]:.4g} -> {values[-1]:.4g}")
        if self.best_epoch is not None:
            parts.append(f"best epoch {self.best_epoch}")
        return f"History({', '.join(parts)})"

    def _repr_html_(self) -> str:
        rows = [
            ["epochs", f"{self.epochs:,}"],
            ["stopped by", self.stopped_by],
            ["time", f"{self.seconds:.3g} s"],
        ]
        for name, values in self._curves().items():
            rows.append([name, f"{values[0]:.4g} → {values[-1]:.4g}"])
        if self.best_epoch is not None:
            rows.append(["best epoch", f"{self.best_epoch:,}"])
        return html.of_training(rows, self.loss, self.val_loss, self.message)
