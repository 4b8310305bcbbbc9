"""What the members of an ensemble predict together, and how sure they are of it.

| the loss | a member predicts | together they predict |
| --- | --- | --- |
| `GaussianNLL` | a normal distribution | the mixture of these, in equal parts: `Mixture` |
| `Quantiles` | some quantiles | the mean of each: `LearntQuantiles` |
| any other | a number | these numbers, each as probable as the others: `Predicted` |

One network is an ensemble of one.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatprop.formulas.loss import Loss
from flatprop.formulas.losses import GaussianNLL, Quantiles
from flatprop.validation.arrays import Array

Floats = NDArray[np.float64]


def predicted(outputs: Array, loss: Loss) -> "Predicted":
    """What outputs, (members, n, outputs), of networks with this loss stand for."""
    if isinstance(loss, GaussianNLL):
        return Mixture(outputs, loss)
    if isinstance(loss, Quantiles):
        return LearntQuantiles(outputs, loss)
    return Predicted(outputs, loss)


class Predicted:
    """Predictions of members. Arrays are (n, targets) if not said otherwise."""

    def __init__(self, outputs: Array, loss: Loss) -> None:
        self.outputs, self.loss = outputs, loss
        each = [loss.point(one) for one in outputs]
        self.points: Array = each[0][None] if len(each) == 1 else np.stack(each)
        """(members, n, targets)."""

    def mean(self) -> Array:
        """The mean over the members."""
        if len(self.points) == 1:
            return np.asarray(self.points[0])
        return np.asarray(self.points.mean(axis=0, dtype=np.float64))

    def deviation(self) -> Floats:
        """The standard deviation: here of the members' predictions."""
        return np.asarray(self.points.std(axis=0, dtype=np.float64))

    def quantile(self, q: Floats) -> Floats:
        """Quantiles of each target: (n, targets, quantiles) for q of shape (quantiles,)."""
        return np.moveaxis(np.quantile(self.points.astype(np.float64), q, axis=0), 0, -1)


class LearntQuantiles(Predicted):
    """Quantiles of one target, of which there is an output for each."""

    @property
    def levels(self) -> tuple[float, ...]:
        """Which quantiles they are."""
        loss: Any = self.loss
        return tuple(loss.quantiles)

    def every(self) -> Floats:
        """(n, quantiles): the means over the members."""
        return np.asarray(self.outputs.mean(axis=0, dtype=np.float64))

    def quantile(self, q: Floats) -> Floats:
        places = [np.flatnonzero(np.isclose(self.levels, one, rtol=0)) for one in q]
        if not all(map(len, places)):
            raise ValueError(
                f"the networks have learnt the quantiles {self.levels}, not "
                f"{q.tolist()}; train them with fp.losses.Quantiles({tuple(q.tolist())}), or with "
                'the loss "gaussian_nll", which has all quantiles of normal errors'
            )
        return self.every()[:, None, [int(place[0]) for place in places]]


class Mixture(Predicted):
    """Normal distributions in equal parts.

    With means μₘ and standard deviations σₘ of the M members its distribution function is
    F(y) = 1/M Σ Φ((y - μₘ) / σₘ).
    """

    def __init__(self, outputs: Array, loss: Loss) -> None:
        super().__init__(outputs, loss)
        logarithms = outputs[:, :, self.points.shape[2] :].astype(np.float64)
        self.deviations: Floats = np.exp(0.5 * logarithms)
        """σₘ, (members, n, targets)."""

    def deviation(self) -> Floats:
        """By the law of total variance: σ² = 1/M Σ σₘ² + 1/M Σ (μₘ - μ)²."""
        if len(self.points) == 1:
            return np.asarray(self.deviations[0])
        apart = np.var(self.points, axis=0, dtype=np.float64)
        return np.asarray(np.sqrt(np.mean(self.deviations**2, axis=0) + apart))

    def probability_below(self, y: Floats) -> Floats:
        """F(y), for y of shape (n, targets)."""
        from scipy.special import ndtr

        return np.asarray(ndtr((y - self.points) / self.deviations).mean(axis=0))

    def log_density(self, y: Floats) -> Floats:
        """log F'(y), for y of shape (n, targets)."""
        from scipy.special import logsumexp

        scaled = (y - self.points) / self.deviations
        each = -0.5 * scaled**2 - np.log(self.deviations) - 0.5 * np.log(2 * np.pi)
        return np.asarray(logsumexp(each, axis=0) - np.log(len(each)))

    def quantile(self, q: Floats) -> Floats:
        """The root of F(y) = q, which lies between the members' own quantiles."""
        from scipy.optimize.elementwise import find_root
        from scipy.special import ndtr, ndtri

        points, deviations = self.points[..., None], self.deviations[..., None]
        own = points + deviations * ndtri(q)
        if len(own) == 1:
            return np.asarray(own[0])
        # A deviation more to each side, for the rounding of F.
        margin = deviations.max(axis=0)
        low, high = own.min(axis=0) - margin, own.max(axis=0) + margin
        # t goes from 0 to 1, so that the tolerances of `find_root` suit targets of any size.
        width = high - low
        starts, slopes = (low - points) / deviations, width / deviations

        def difference(t: Floats, q: Floats, *parts: Floats) -> Floats:
            members = len(parts) // 2
            pairs = zip(parts[:members], parts[members:], strict=True)
            return np.asarray(sum(ndtr(start + slope * t) for start, slope in pairs) / members - q)

        found = find_root(difference, (0.0, 1.0), args=(q, *starts, *slopes))
        return np.asarray(low + width * found.x)
