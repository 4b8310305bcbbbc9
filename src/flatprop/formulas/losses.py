"""Loss functions of one output: (ŷ, y) -> (value, slope), the slope with respect to ŷ.

To add a loss, write its class here: the formula for one output, how the values are
averaged, and a parameter if the loss has one. `Network(loss=...)` takes its `name`. Losses of all
outputs of a sample are in `row_losses`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flatprop.formulas import custom_check
from flatprop.formulas.loss import (
    OVER_SAMPLES,
    OVER_SAMPLES_AND_OUTPUTS,
    REDUCTIONS,
    SUM,
    Loss,
    OwnFunction,
)
from flatprop.formulas.row_losses import ROW_LOSSES, GaussianNLL, Quantiles, Row, pinball
from flatprop.numbers import elementary
from flatprop.numbers.numbers import N, copysign, where
from flatprop.validation import checks, other_names
from flatprop.validation.arrays import Array
from flatprop.validation.sequences import finite_numbers

__all__ = [
    "MAE",
    "MSE",
    "SSR",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "GaussianNLL",
    "HalfMSE",
    "Huber",
    "LogCosh",
    "Loss",
    "Own",
    "Poisson",
    "Quantile",
    "Quantiles",
    "Row",
]

LOSSES: dict[str, type[Loss]] = {}


def named(name: str) -> Callable[[type[Loss]], type[Loss]]:
    """Enter a class into `LOSSES`; its place there is its code in the kernels."""

    def register(loss: type[Loss]) -> type[Loss]:
        loss.name = name
        LOSSES[name] = loss
        return other_names.suggesting(other_names.loss_names(name))(loss)

    return register


@named("mse")
class MSE(Loss):
    """Mean squared error: the mean over samples and outputs of (ŷ - y)²."""

    squares = 1.0

    @staticmethod
    def formula(prediction: N, y: N, parameter: N) -> tuple[N, N]:
        d = prediction - y
        return d * d, d + d


@named("half_mse")
class HalfMSE(Loss):
    """The mean over samples of ½ Σₖ (ŷ - y)²."""

    reduction = OVER_SAMPLES
    squares = 0.5

    @staticmethod
    def formula(prediction: N, y: N, parameter: N) -> tuple[N, N]:
        d = prediction - y
        return 0.5 * d * d, d


@named("ssr")
class SSR(Loss):
    """Sum of squared residuals: Σ (y - ŷ)² over samples and outputs."""

    reduction = SUM
    squares = 1.0
    formula = staticmethod(MSE.formula)


@named("mae")
class MAE(Loss):
    """Mean absolute error; the slope at 0 is 0."""

    @staticmethod
    def formula(prediction: N, y: N, parameter: N) -> tuple[N, N]:
        d = prediction - y
        return abs(d), where(abs(d) > 0.0, copysign(1.0, d), 0.0)


@named("huber")
@dataclass(frozen=True)
class Huber(Loss):
    """½ d² where |d| <= delta, delta (|d| - ½ delta) beyond (Huber 1964).

    Parameters
    ----------
    delta
        The residual, in units of y, from which on the loss grows linearly.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", checks.positive("delta", self.delta))

    @property
    def parameter(self) -> float:
        return self.delta

    @staticmethod
    def formula(prediction: N, y: N, parameter: N) -> tuple[N, N]:
        d = prediction - y
        size = abs(d)
        linear = size > parameter
        value = where(linear, parameter * (size - 0.5 * parameter), 0.5 * d * d)
        return value, where(linear, copysign(parameter, d), d)


@named("log_cosh")
class LogCosh(Loss):
    """log cosh(ŷ - y): ½ d² near 0, |d| - log 2 far from it."""

    @staticmethod
    def formula(prediction: N, y: N, parameter: N) -> tuple[N, N]:
        d = prediction - y
        size = abs(d)
        slope = elementary.tanh(d)
        # Near 0 the form `far` would cancel; log cosh d = -½ log(1 - tanh² d) keeps its digits.
        near = -0.5 * elementary.log1p(-slope * slope)
        e = elementary.exp_of_negative(-2.0 * size)
        far = size - math.log(2.0) + elementary.log1p_of_fraction(e)
        return where(size < 1.0, near, far), slope


@named("quantile")
@dataclass(frozen=True)
class Quantile(Loss):
    """Pinball loss: q d where d = y - ŷ >= 0, (q - 1) d below (Koenker & Bassett 1978).

    Parameters
    ----------
    q
        The quantile that the network learns, between 0 and 1.
    """

    q: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "q", checks.positive("q", self.q))
        if self.q >= 1:
            raise ValueError(f"q must lie between 0 and 1, got {self.q!r}")

    @property
    def parameter(self) -> float:
        return self.q

    @staticmethod
    def formula(prediction: N, y: N, parameter: N) -> tuple[N, N]:
        return pinball(prediction, y, parameter)


@named("poisson")
class Poisson(Loss):
    """ŷ - y log ŷ, the Poisson likelihood of counts y up to a constant.

    ŷ must be positive: give the last layer `"exp"` or `"softplus"`.
    """

    domain = "non-negative"

    @staticmethod
    def formula(prediction: N, y: N, parameter: N) -> tuple[N, N]:
        counted = y > 0.0
        value = prediction - where(counted, y * elementary.log(prediction), 0.0)
        return value, 1.0 - where(counted, y / prediction, 0.0)


@other_names.suggesting(other_names.loss_names("own"))
@dataclass(frozen=True)
class Own(OwnFunction):
    """Your own loss; ``loss=function`` is short for ``loss=fp.losses.Own(function)``.

    Parameters
    ----------
    function
        A scalar function compiled by ``@numba.njit`` that takes (ŷ, y) and returns the
        value and its slope with respect to ŷ. After ``function.recompile()`` new networks
        and copies use the new code; existing networks keep the old code.
    reduction
        "mean over samples and outputs", "mean over samples" or "sum".
    """

    function: Callable[[float, float], tuple[float, float]]
    reduction: str = field(default=OVER_SAMPLES_AND_OUTPUTS, kw_only=True)  # type: ignore[misc]

    def __post_init__(self) -> None:
        checks.choice("reduction", self.reduction, REDUCTIONS)
        custom_check.checked_loss(self.function)

    def formula(self, prediction: N, y: N, parameter: N) -> tuple[N, N]:
        from flatprop.numbers.translated import custom_formula

        value, slope = custom_formula(self.function, 2)[0](prediction, y)
        return value, slope


@named("binary_cross_entropy")
class BinaryCrossEntropy(Loss):
    """The mean over samples of -Σₖ [y log ŷ + (1 - y) log(1 - ŷ)], ŷ a sigmoid.

    Computed from the logits z: softplus(z) - y z, with the slope sigmoid(z) - y.
    """

    reduction = OVER_SAMPLES
    activation = "sigmoid"
    domain = "fraction"

    @staticmethod
    def formula(prediction: N, y: N, parameter: N) -> tuple[N, N]:
        z = prediction
        e = elementary.exp_of_negative(-abs(z))
        # max(z, 0) - y z without cancellation, then log(1 + e^-|z|)
        value = where(z > 0.0, (1.0 - y) * z, -y * z) + elementary.log1p_of_fraction(e)
        return value, where(z < 0.0, e, 1.0) / (e + 1.0) - y


@named("cross_entropy")
@dataclass(frozen=True)
class CrossEntropy(Loss):
    """The mean over samples of -Σₖ y log ŷ, ŷ a softmax.

    y is a class index or a row of probabilities. The kernels compute the loss from the
    logits z: `kernels.loops.softmax.cross_entropy`. The formula here is the definition,
    which `trace` shows.

    Parameters
    ----------
    label_smoothing
        ε, from 0 on and below 1: (1 - ε) y + ε / K takes the place of y, with K classes (Szegedy
        et al. 2016).
    class_weight
        A weight c for each class, or None. ℓ = -Σₖ cₖ yₖ log ŷₖ. With class indices the loss is
        Σ wᵢ ℓᵢ / Σ wᵢ c of the sample's class, as PyTorch's; with rows of probabilities
        Σ wᵢ ℓᵢ / Σ wᵢ. A class of weight 0 does not count; that needs a label_smoothing of 0.
    """

    label_smoothing: float = 0.0
    class_weight: tuple[float, ...] | None = None

    reduction = OVER_SAMPLES
    activation = "softmax"
    domain = "classes"

    def __post_init__(self) -> None:
        smoothing = checks.positive("label_smoothing", self.label_smoothing, or_zero=True)
        if smoothing >= 1:
            raise ValueError(f"label_smoothing must be below 1, got {self.label_smoothing!r}")
        object.__setattr__(self, "label_smoothing", smoothing)
        if self.class_weight is None:
            return
        weights = finite_numbers("class_weight", self.class_weight)
        if min(weights) < 0 or max(weights) == 0:
            raise ValueError(
                "class_weight must not be negative, nor 0 for all classes, got "
                f"{self.class_weight!r}"
            )
        if smoothing and min(weights) == 0:
            raise ValueError(
                "label_smoothing gives every sample a part in every class, so that a class of "
                "weight 0 would still count; give the class a small weight, or leave out "
                "label_smoothing"
            )
        object.__setattr__(self, "class_weight", weights)

    @property
    def has_function(self) -> bool:
        return self.label_smoothing > 0 or self.class_weight is not None

    def target_count(self, outputs: int) -> int:
        if self.class_weight is not None and len(self.class_weight) != outputs:
            raise ValueError(
                f"class_weight has {len(self.class_weight)} numbers, but the last layer has "
                f"{outputs} units, one for each class"
            )
        return outputs

    @property
    def weighs_classes(self) -> bool:
        return self.class_weight is not None

    def weight_factors(self, y: Array) -> Array | None:
        if self.class_weight is None or y.shape[1] == len(self.class_weight):
            return None
        factors: Array = np.array(self.class_weight, y.dtype)[y[:, 0].astype(np.int64)]
        return factors

    def smoothed(self, y: Array) -> Array:
        """What takes the place of rows of probabilities y, with the weights of the classes."""
        smoothed = (1 - self.label_smoothing) * y + self.label_smoothing / y.shape[1]
        weighted: Array = smoothed * np.array(self.class_weight or 1.0)
        return weighted

    def described(self) -> dict[str, Any]:
        # A plain one is described as it always was.
        return super().described() if self.has_function else {}

    @staticmethod
    def formula(prediction: N, y: N, parameter: N) -> tuple[N, N]:
        counted = y > 0.0
        value = where(counted, -y * elementary.log(prediction), 0.0)
        return value, where(counted, -y / prediction, 0.0)


LOSSES_BY_NAME: dict[str, type[Loss]] = {**LOSSES, **ROW_LOSSES}
"""What `Network(loss=...)` takes as a name."""
