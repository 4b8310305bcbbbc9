"""What a loss is: how the values of samples become one number, and what the kernels need of it."""

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from flatprop.validation.arrays import Array

OVER_SAMPLES_AND_OUTPUTS = "mean over samples and outputs"
OVER_SAMPLES = "mean over samples"
SUM = "sum"
REDUCTIONS = OVER_SAMPLES_AND_OUTPUTS, OVER_SAMPLES, SUM


@dataclass(frozen=True)
class Loss(ABC):
    """What training makes small.

    `reduction` says how the losses ℓ of samples, or of samples and outputs, become one number.
    With sample weights w a mean over samples is Σ wᵢ ℓᵢ / Σ wᵢ, and a sum is Σ wᵢ ℓᵢ.

    | the class | its `formula` gives ℓ of |
    | --- | --- |
    | most | one output of a sample |
    | a `RowLoss` | some outputs of a sample, which belong together |
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

    def target_count(self, outputs: int) -> int:
        """How many columns y has beside so many outputs.

        Raises ValueError or TypeError if the loss does not suit so many outputs.
        """
        return outputs

    def outputs_for(self, targets: int) -> int:
        """How many outputs a network has for so many columns of y; a ValueError if none fits.

        A loss that takes any number of outputs gets as many as there are targets.
        """
        return targets

    def point(self, outputs: Array) -> Array:
        """(n, targets): the predictions of the targets among these outputs, (n, outputs)."""
        return outputs

    @property
    def weighs_classes(self) -> bool:
        """Whether `weight_factors` may find some."""
        return False

    def weight_factors(self, y: Array) -> Array | None:
        """What the weights of samples with these targets, (n, columns), are multiplied by.

        (n,), or None where it is 1.
        """
        return None

    @property
    def has_function(self) -> bool:
        """Whether kernels call a function that is made for this loss, and not for its kind."""
        return False

    def described(self) -> dict[str, Any]:
        """What a file says of the loss beside its name: the arguments of its constructor."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    formula: ClassVar[Callable[..., tuple[Any, ...]]]
    """The value, then its slopes; of numbers of any kind: see `numbers.numbers`."""


@dataclass(frozen=True)
class OwnFunction(Loss):
    """A loss that is a compiled function of the user's."""

    function: Callable[..., Any]

    @property
    def name(self) -> str:  # type: ignore[override]
        """What the user has called the function."""
        return str(getattr(self.function, "__name__", "own"))

    @property
    def has_function(self) -> bool:
        return True
