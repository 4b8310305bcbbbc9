"""The course of a training: kept in one place, published as scikit-learn's attributes."""

import math
from dataclasses import dataclass, field, fields
from typing import Any, Self

from flatprop.training.trainer import Trainer


@dataclass
class Course:
    """What came of each epoch of a training, or of each iteration of a solver.

    The fields have the names of the estimator's attributes. `publish` sets these attributes, and
    nothing else does. The next `fit` with `warm_start`, or `partial_fit`, goes on from them.
    """

    n_iter_: int = 0
    t_: int = 0
    loss_: Any = None
    loss_curve_: list[float] = field(default_factory=list)
    best_loss_: Any = None
    validation_loss_curve_: Any = None
    validation_scores_: Any = None
    best_validation_score_: Any = None
    _no_improvement_count: int = 0
    """Epochs in a row that were not better by `tol`."""
    _interrupted: bool = False
    """Whether Ctrl-C ended the training."""
    _optimizer: Trainer | None = None
    """What trains by mini-batches, with its memory of those before."""

    @classmethod
    def of(cls, estimator: Any) -> Self:
        """The course that was published on this estimator."""
        told = vars(estimator)
        return cls(**{f.name: told[f.name] for f in fields(cls) if f.name in told})

    def publish(self, estimator: Any) -> None:
        """Set the attributes of the estimator; it lacks those that this training does not have."""
        told = vars(estimator)
        for name, value in vars(self).items():
            if value is None and name in ("loss_", "validation_loss_curve_", "_optimizer"):
                told.pop(name, None)
            else:
                told[name] = value

    def begin(self, solved: bool, early_stopping: bool, validated: bool) -> None:
        """A training begins; parameters of the estimator may have changed since the last one.

        Mini-batches go on from the epochs that there were. A solver begins new curves.
        """
        self.n_iter_, self._interrupted = 0, False
        if solved:
            self.loss_curve_ = []
        elif early_stopping and self.validation_scores_ is None:
            self.validation_scores_, self.best_validation_score_ = [], -math.inf
        elif not early_stopping and self.best_loss_ is None:
            self.best_loss_ = math.inf
        if validated and (solved or self.validation_loss_curve_ is None):
            self.validation_loss_curve_ = []

    def add(self, loss: float, held: Any, reports: Any) -> float | None:
        """An epoch or iteration with this loss has ended; the loss of the validation set."""
        self.n_iter_ += 1
        self.loss_ = loss
        self.loss_curve_.append(loss)
        reports.say(f"Iteration {self.n_iter_}, loss = {loss:.8f}")
        if held is None:
            return None
        val_loss: float = held.loss()
        self.validation_loss_curve_.append(val_loss)
        return val_loss

    def compare(self, score: float | None, tol: float) -> bool:
        """Whether the score of an epoch is the best so far; without a score losses are compared.

        An epoch that is better by less than `tol` may be the best, but counts as no improvement.
        """
        best = False
        if score is None:
            worse = self.loss_ > self.best_loss_ - tol
            if self.loss_ < self.best_loss_:
                self.best_loss_ = self.loss_
        else:
            self.validation_scores_.append(score)
            worse = not score >= self.best_validation_score_ + tol  # a score that is NaN is
            best = score > self.best_validation_score_
            if best:
                self.best_validation_score_ = score
        self._no_improvement_count = self._no_improvement_count + 1 if worse else 0
        return best
