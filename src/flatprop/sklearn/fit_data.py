"""Samples, and all else that a training of an estimator needs, checked."""

import math
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from flatprop.evaluation import calls
from flatprop.evaluation.values import loss_over
from flatprop.network import Network
from flatprop.samples.samples import samples_of
from flatprop.sklearn.course import Course
from flatprop.validation.checks import NoWeightError


class GivenSamples(NamedTuple):
    """Rows with what is known about them."""

    X: Any
    """An array, or a sparse matrix."""
    y: Any
    """As the estimator's `_encode` made them."""
    weight: Any
    """(n,), or None."""


def set_aside(
    given: GivenSamples, fraction: float, random: Any, strict: bool = True
) -> tuple[GivenSamples, GivenSamples]:
    """The samples to train on and those held out; two classes keep their proportions in both.

    A class of a single sample is in one of the two, or, if `strict`, a ValueError, as in
    scikit-learn.
    """
    one_column = given.y.ndim == 2 and given.y.dtype == np.bool_ and given.y.shape[1] == 1
    in_both = one_column and (strict or 1 < given.y.sum() < len(given.y) - 1)
    parts = train_test_split(
        *(part for part in given if part is not None),
        random_state=random,
        test_size=fraction,
        stratify=given.y if in_both else None,
    )
    training, held_out = (GivenSamples(*(*parts[k::2], None)[:3]) for k in (0, 1))
    for part, what in ((training, "are left to train on"), (held_out, "early_stopping set aside")):
        if part.weight is not None and not part.weight.any():
            raise ValueError(
                f"every sample_weight is zero among the {part.X.shape[0]} samples that {what}; "
                "take another random_state or validation_fraction, pass X_val and y_val, or leave "
                "out the samples without weight"
            )
    return training, held_out


class HeldOut:
    """A validation set, ready to be measured after every epoch."""

    def __init__(self, estimator: Any, net: Network, samples: GivenSamples) -> None:
        self.estimator, self.net, self.samples = estimator, net, samples
        try:
            self.data = samples_of(net, samples.X, estimator._targets(samples.y), samples.weight)
        except NoWeightError:
            raise ValueError(
                "every weight of the validation set (X_val, y_val) is zero: nothing would be "
                "measured; see sample_weight_val and class_weight, or leave the validation set out"
            ) from None
        self.block = calls.block_for(net, self.data.rows)
        if estimator.early_stopping and self.data.rows < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )

    def loss(self) -> float:
        """The loss, without the penalty."""
        return loss_over(self.net, self.data, self.block) * float(self.estimator._loss_scale)

    def score(self, loss: float | None) -> float:
        """Accuracy or R²; where `early_stopping` goes by this `loss`, its negative."""
        if self.estimator.early_stopping == "loss" and loss is not None:
            return -loss
        with np.errstate(over="ignore", invalid="ignore"):
            outputs = self.net.predict(self.samples.X)
            if not np.isfinite(outputs).all():
                return math.nan
            return float(self.estimator._score(outputs, self.samples))


class Task(NamedTuple):
    """One training."""

    net: Network
    data: Any
    """The training samples, as `samples_of` made them."""
    held: HeldOut | None
    course: Course
    reports: Any
    """A `reports.Reports`."""
    random: np.random.RandomState | None
    """None where a stream goes on."""
