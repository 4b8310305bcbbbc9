"""Loss functions: (ŷ, y) -> (value, slope), the slope with respect to ŷ.

To add a loss, write its class here: the formula for one output, how the values are
averaged, and a parameter if the loss has one. `Network(loss=...)` takes its `name`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from flatprop.formulas import custom_check
from flatprop.numbers import elementary
from flatprop.numbers.numbers import N, copysign, where
from flatprop.validation import checks, other_names

OVER_SAMPLES_AND_OUTPUTS = "mean over samples and outputs"
OVER_SAMPLES = "mean over samples"
SUM = "sum"
REDUCTIONS = OVER_SAMPLES_AND_OUTPUTS, OVER_SAMPLES, SUM


@dataclass(frozen=True)
class Loss(ABC):
    """What training makes small.

    `formula` is the loss ℓ of one sample and one output; `reduction` says how these values
    become one number. With sample weights w a mean over samples is Σ wᵢ ℓᵢ / Σ wᵢ, and a
    sum is Σ wᵢ ℓᵢ.
    """

    name: ClassVar[str]
    reduction: ClassVar[str] = OVER_SAMPLES_AND_OUTPUTS
    activation: ClassVar[str | None] = None
    """If the loss is computed from the logits z instead of ŷ: the activation that the last
    layer must have."""
    domain: ClassVar[str] = "any"
    """What y may be: `"any"` number, `"non-negative"`, a `"fraction"` from 0 to 1, `"classes"`."""
    squares: ClassVar[float] = 0.0
    """c if the formula is c (ŷ - y)², as methods for least squares need it; 0 otherwise."""

    @property
    def parameter(self) -> float:
        """The one number that shapes the loss; 0 if the loss has none."""
        return 0.0

    def scale(self, outputs: int, weight: float) -> float:
        """The factor that makes Σ w ℓ the loss; `weight` is Σ w."""
        divisor = self.divisor(outputs)
        return 1.0 / (weight * divisor) if divisor else 1.0

    def divisor(self, outputs: int) -> int:
        """How often a sample's weight counts in the mean; 0 for a sum."""
        return {OVER_SAMPLES_AND_OUTPUTS: outputs, OVER_SAMPLES: 1, SUM: 0}[self.reduction]

    @property
    def is_mean(self) -> bool:
        """Whether the loss is a mean over samples, and not a sum."""
        return self.reduction != SUM

    @staticmethod
    @abstractmethod
    def formula(prediction: N, y: N, parameter: N) -> tuple[N, N]:
        """The value and its slope; `prediction` is z where `activation` is set."""


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
        d = y - prediction
        factor = where(d >= 0.0, parameter, parameter - 1.0)
        return factor * d, where(d.equals(0.0), d.like(0.0), -factor)


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
class Own(Loss):
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

    @property
    def name(self) -> str:  # type: ignore[override]
        return str(getattr(self.function, "__name__", "own"))

    def formula(self, prediction: N, y: N, parameter: N) -> tuple[N, N]:  # type: ignore[override]
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
class CrossEntropy(Loss):
    """The mean over samples of -Σₖ y log ŷ, ŷ a softmax.

    y is a class index or a row of probabilities. The kernels compute the loss from the
    logits z: `kernels.loops.softmax.cross_entropy`. The formula here is the definition,
    which `trace` shows.
    """

    reduction = OVER_SAMPLES
    activation = "softmax"
    domain = "classes"

    @staticmethod
    def formula(prediction: N, y: N, parameter: N) -> tuple[N, N]:
        counted = y > 0.0
        value = where(counted, -y * elementary.log(prediction), 0.0)
        return value, where(counted, -y / prediction, 0.0)
