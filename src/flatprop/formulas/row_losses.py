"""Losses that see all outputs of a sample, and not one after the other.

The slopes of such a loss with respect to one output depend on the others. Kernels call a function
that is made for the loss and for its number of outputs: see `kernels.loops.loss_functions`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np

from flatprop.formulas import custom_check
from flatprop.formulas.loss import OVER_SAMPLES, REDUCTIONS, Loss, OwnFunction
from flatprop.numbers import elementary
from flatprop.numbers.numbers import N, where
from flatprop.validation import checks, other_names
from flatprop.validation.arrays import Array
from flatprop.validation.sequences import finite_numbers


class RowLoss(Loss):
    """A loss whose formula takes several outputs at once.

    `formula(predictions, y, parameter)` takes `together` outputs and one target. It gives the
    value and a slope for each of the outputs. A sample has one or more such groups of outputs.
    Output i of group j is in column i · groups + j.
    """

    together: ClassVar[int] = 1

    @property
    def has_function(self) -> bool:
        return True

    @property
    def parameters(self) -> tuple[float, ...]:
        """The number that shapes the formula, for every group; empty if there is none."""
        return ()


@other_names.suggesting(other_names.loss_names("gaussian_nll"))
@dataclass(frozen=True)
class GaussianNLL(RowLoss):
    """The mean over samples of Σ ½ [log 2π + s + (y - μ)² e^(-s)], over the targets.

    The negative log-likelihood of targets with normal errors, whose variance e^s depends on the
    input (Nix & Weigend 1994). The network has two outputs per target: first all means μ, then all
    log-variances s. Give the last layer "identity".
    """

    name = "gaussian_nll"
    reduction = OVER_SAMPLES
    together = 2

    def target_count(self, outputs: int) -> int:
        if outputs % 2:
            raise ValueError(
                f'the loss "{self.name}" needs two outputs per target, first the means and then '
                f"the log-variances, but the last layer has {outputs} "
                f"unit{'s' * (outputs > 1)}; write fp.Dense({2 * outputs}) for {outputs} "
                f"target{'s' * (outputs > 1)}"
            )
        return outputs // 2

    def outputs_for(self, targets: int) -> int:
        return 2 * targets

    def point(self, outputs: Array) -> Array:
        return outputs[:, : outputs.shape[1] // 2]

    def deviation(self, outputs: Array) -> Array:
        """(n, targets): the standard deviations that outputs, (n, outputs), stand for."""
        return np.asarray(np.exp(0.5 * outputs[:, outputs.shape[1] // 2 :]))

    @staticmethod
    def formula(prediction: Sequence[N], y: N, parameter: N) -> tuple[N, N, N]:
        mean, log_variance = prediction
        d = y - mean
        precision = elementary.exp(-log_variance)
        scaled = d * precision
        square = d * scaled
        value = 0.5 * ((log_variance + square) + math.log(2.0 * math.pi))
        return value, -scaled, 0.5 - 0.5 * square


@other_names.suggesting(other_names.loss_names("quantiles"))
@dataclass(frozen=True)
class Quantiles(RowLoss):
    """The mean over samples and quantiles of the pinball loss, one output for each quantile.

    q d where d = y - ŷ >= 0, and (q - 1) d below (Koenker & Bassett 1978). There is one target.

    Parameters
    ----------
    quantiles
        What the outputs learn, in order: numbers between 0 and 1 that increase.
    """

    quantiles: tuple[float, ...] = (0.05, 0.5, 0.95)
    name: ClassVar[str] = "quantiles"

    def __post_init__(self) -> None:
        given = finite_numbers("quantiles", self.quantiles)
        inside = all(0 < q < 1 for q in given)
        if not inside or any(b <= a for a, b in pairwise(given)):
            raise ValueError(
                f"quantiles must increase and lie between 0 and 1, got {self.quantiles!r}"
            )
        object.__setattr__(self, "quantiles", given)

    @property
    def parameters(self) -> tuple[float, ...]:
        return self.quantiles

    def target_count(self, outputs: int) -> int:
        count = len(self.quantiles)
        if outputs != count:
            raise ValueError(
                f"the loss has {count} quantile{'s' * (count > 1)}, but the last layer has "
                f"{outputs} unit{'s' * (outputs > 1)}; write fp.Dense({count}), one unit for "
                "each quantile of the one target"
            )
        return 1

    def outputs_for(self, targets: int) -> int:
        if targets != 1:
            raise ValueError(f"Quantiles takes one target, but y has {targets} columns")
        return len(self.quantiles)

    def point(self, outputs: Array) -> Array:
        middle = min(range(len(self.quantiles)), key=lambda i: abs(self.quantiles[i] - 0.5))
        return outputs[:, middle : middle + 1]

    @staticmethod
    def formula(prediction: Sequence[N], y: N, parameter: N) -> tuple[N, N]:
        return pinball(prediction[0], y, parameter)


def pinball(prediction: N, y: N, q: N) -> tuple[N, N]:
    """The loss of one quantile; its slope at 0 is 0."""
    d = y - prediction
    factor = where(d >= 0.0, q, q - 1.0)
    return factor * d, where(d.equals(0.0), d.like(0.0), -factor)


@other_names.suggesting(other_names.loss_names("row"))
@dataclass(frozen=True)
class Row(OwnFunction):
    """Your own loss of a whole row of outputs.

    Parameters
    ----------
    function
        Compiled by ``@numba.njit``. It takes (prediction, y, slope), arrays of one sample: of all
        outputs, of all targets, and of all outputs again. It returns the value and writes the
        derivative of the value with respect to every output to `slope`. It is compiled for
        float64, also for networks of float32. Where it raises, the result is NaN. `recompile()`
        works as for `Own`.
    targets
        How many columns y has.
    reduction
        "mean over samples", "mean over samples and outputs" or "sum".

    Notes
    -----
    The function may call others, loop, and make arrays of its own. It must not change `y`. Arrays
    from its surroundings are constants for Numba. It is checked as a network is made with it: its
    value and its slopes have to belong together. Products with second derivatives take central
    differences of the slopes, which are good to about ten digits.
    """

    function: Callable[..., float]
    targets: int
    reduction: str = field(default=OVER_SAMPLES, kw_only=True)  # type: ignore[misc]

    def __post_init__(self) -> None:
        custom_check.check_row_function(self.function)
        object.__setattr__(self, "targets", checks.count("targets", self.targets))
        checks.choice("reduction", self.reduction, REDUCTIONS)

    def target_count(self, outputs: int) -> int:
        return self.targets

    def outputs_for(self, targets: int) -> int:
        if targets != self.targets:
            raise ValueError(
                f"the loss {self.name!r} has {self.targets} targets, but y has {targets} columns"
            )
        return targets


ROW_LOSSES: dict[str, type[Loss]] = {"gaussian_nll": GaussianNLL}
"""Those that `Network(loss=...)` takes by name."""
