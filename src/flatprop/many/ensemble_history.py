"""`EnsembleHistory`: what the training of an ensemble leaves behind."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatprop.training.history import FloatArray, History
from flatprop.validation import other_names


def place_of(i: int, members: int) -> int:
    """The index of member i, who may be counted from the end."""
    try:
        return range(members)[i]
    except IndexError:
        raise IndexError(f"there is no member {i}: the members are 0 to {members - 1}") from None


@dataclass
class EnsembleHistory(metaclass=other_names.Answering, answers=other_names.HISTORY):
    """The course of the training of an ensemble; a column for each member.

    ``history[i]`` is the `fp.History` of member i, and iteration gives those of all.

    Attributes
    ----------
    loss : ndarray
        (epochs, members): see `fp.History`. NaN in the epochs after a member's last one.
    val_loss : ndarray
        (epochs, members); (0, members) without validation data.
    learning_rate : ndarray
        (epochs, members); (0, members) with a solver.
    stopped_by : tuple of str
        Which rule ended the training of each member.
    best_epoch : tuple
        With `patience`, the epoch whose parameters each member has now; else None for each.
    message : tuple of str
        What happened to each member, as in `fp.History`; mostly "".
    seconds : float
        How long the training took, of all members together.
    metrics : dict of ndarray
        (epochs, members), by name.
    validation_rows : tuple of ndarray
        Which samples `validation_split` held back from each member; empty without it.
    bootstrap_rows : ndarray
        (members, n): which samples `bootstrap` drew for each member, in the order in which the
        member has them; (members, 0) without it.
    """

    loss: FloatArray
    val_loss: FloatArray
    learning_rate: FloatArray
    stopped_by: tuple[str, ...]
    best_epoch: tuple[int | None, ...]
    message: tuple[str, ...]
    seconds: float = 0.0
    metrics: dict[str, FloatArray] = field(default_factory=dict)
    validation_rows: tuple[NDArray[np.int64], ...] = ()
    bootstrap_rows: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), np.int64))

    @classmethod
    def of(cls, histories: Sequence[History]) -> "EnsembleHistory":
        """The histories of the members side by side."""
        names = {name: None for history in histories for name in history.metrics}
        return cls(
            _columns([history.loss for history in histories]),
            _columns([history.val_loss for history in histories]),
            _columns([history.learning_rate for history in histories]),
            tuple(history.stopped_by for history in histories),
            tuple(history.best_epoch for history in histories),
            tuple(history.message for history in histories),
            0.0,
            {
                name: _columns([history.metrics.get(name, np.empty(0)) for history in histories])
                for name in names
            },
            tuple(h.validation_rows for h in histories if len(h.validation_rows)),
            np.empty((len(histories), 0), np.int64),
        )

    @property
    def epochs(self) -> int:
        """How many epochs the member with the longest training finished."""
        return len(self.loss)

    @property
    def epochs_of_members(self) -> NDArray[np.int64]:
        """(members,): how many epochs each member finished."""
        return np.asarray(np.isfinite(self.loss).sum(axis=0))

    def __len__(self) -> int:
        return len(self.stopped_by)

    def __getitem__(self, i: int) -> History:
        i = place_of(i, len(self))
        epochs = self.epochs_of_members[i]
        return History(
            self.loss[:epochs, i].copy(),
            self.val_loss[:epochs, i].copy(),
            self.learning_rate[:epochs, i].copy(),
            self.stopped_by[i],
            self.best_epoch[i],
            self.message[i],
            self.seconds,
            {name: values[:epochs, i].copy() for name, values in self.metrics.items()},
            self.validation_rows[i] if self.validation_rows else np.empty(0, np.int64),
        )

    def __iter__(self) -> Iterator[History]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        reasons = dict.fromkeys(self.stopped_by)
        counts = [f"{self.stopped_by.count(reason)} by {reason}" for reason in reasons]
        parts = [
            f"{len(self)} members, up to {self.epochs} epochs in {self.seconds:.3g} s",
            f"stopped {', '.join(counts)}",
        ]
        curves: dict[str, Any] = {"loss": self.loss, "val_loss": self.val_loss, **self.metrics}
        for name, values in curves.items():
            if len(values):
                last = [history[-1] for history in _finished(values)]
                middle = f"{np.median(values[0]):.4g} -> {np.median(last):.4g}"
                parts.append(f"median {name} {middle}")
        return f"EnsembleHistory({', '.join(parts)})"


def _finished(values: FloatArray) -> list[FloatArray]:
    """The entries of each member, without the NaN after its end; NaN alone if it has none."""
    columns = (column[np.isfinite(column)] for column in values.T)
    return [column if len(column) else np.array([np.nan]) for column in columns]


def _columns(curves: Sequence[FloatArray]) -> FloatArray:
    """(epochs, members), with NaN where a curve has ended."""
    table = np.full((max(map(len, curves)), len(curves)), np.nan)
    for i, curve in enumerate(curves):
        table[: len(curve), i] = curve
    return table
