"""The learning-rate range test: which rates a training may begin with."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatprop.formulas.optimizer import Optimizer
from flatprop.formulas.optimizers import Rprop
from flatprop.formulas.schedules import check_rate
from flatprop.model.model import checked_model
from flatprop.samples.class_weights import class_weighted
from flatprop.samples.in_memory import Data
from flatprop.samples.samples import Samples, samples_of
from flatprop.solvers import Solver
from flatprop.training.choice import optimizer_or_solver
from flatprop.training.optimizer_words import optimizer_words
from flatprop.training.trainer import Trainer
from flatprop.validation import checks, other_names

FloatArray = NDArray[np.float64]

TOO_HIGH = 4.0
"""The test ends once the running mean of the losses is so many times its lowest value."""
RUNNING = 0.9
"""The share of the past in the running mean."""
SETTLED = 10
"""From so many losses on the running mean is compared."""
WIDTH = 0.05
"""The standard deviation of the Gaussian that smooths the losses, as a part of all steps."""


@dataclass(frozen=True, repr=False)
class LearningRateRange:
    """What `learning_rate_range` found; `fp.plot.learning_rate_range` draws it.

    Attributes
    ----------
    rates : ndarray
        The learning rate of each update, ascending.
    losses : ndarray
        The loss of each mini-batch before its update.
    smoothed : ndarray
        The losses, smoothed: the mean over all of them, weighted by a Gaussian of the distance
        in steps, whose standard deviation is a twentieth of all steps.
    suggestion : float or None
        Where the smoothed loss falls fastest with the logarithm of the rate, before its lowest
        value. None if it does not fall by more than the losses scatter.
    stopped_by : str
        "completed", "diverged" or "interrupted".
    """

    rates: FloatArray
    losses: FloatArray
    smoothed: FloatArray
    suggestion: float | None
    stopped_by: str

    def __repr__(self) -> str:
        found = "no suggestion" if self.suggestion is None else f"suggestion {self.suggestion:.2g}"
        if not self.rates.size:
            return f"LearningRateRange({found}, {self.stopped_by})"
        return (
            f"LearningRateRange({found}, {self.rates.size} rates from {self.rates[0]:.2g} to "
            f"{self.rates[-1]:.2g}, {self.stopped_by})"
        )


@other_names.suggests(other_names.RANGE_TEST, optimizer_words)
def learning_rate_range(
    net: Any,  # a Network, which this floor does not know
    X: ArrayLike,
    y: ArrayLike,
    *,
    optimizer: str | Optimizer = "adam",
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    batch_size: int | None = 32,
    sample_weight: ArrayLike | None = None,
    class_weight: Mapping[int, float] | ArrayLike | str | None = None,
    trainable: ArrayLike | None = None,
    clip_norm: float | None = None,
    learning_rate_factors: ArrayLike | None = None,
    rng: int | np.random.Generator | None = None,
    threads: int | None = None,
) -> LearningRateRange:
    """Train a copy for some updates, each with a higher learning rate.

    The network stays exactly as it is, and so does its random generator.

    Parameters
    ----------
    net
        The network that is to be trained afterwards.
    X, y, sample_weight, class_weight, trainable, clip_norm, learning_rate_factors, threads
        As for `Network.fit`.
    optimizer
        As for `Network.fit`, but no solver, and not `Rprop`, whose learning rate is only the
        first step. Its own learning rate is not used.
    low, high
        The first and the last learning rate.
    steps
        How many updates to make. That of update i has the rate low · (high / low)^(i / (steps
        - 1)).
    batch_size
        Samples per update, drawn at random; None for all samples.
    rng
        A seed or a generator for the order of the samples; None takes a copy of the network's
        generator.

    Returns
    -------
    LearningRateRange
        The losses by rate, and a suggestion.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Notes
    -----
    The test of Smith (2017, "Cyclical learning rates for training neural networks",
    arXiv:1506.01186), with rates that grow exponentially, as in fastai's ``lr_find``. It ends
    early once the loss is not finite, or once the running mean mₖ of the losses ℓₖ is above 4
    times its lowest value since the tenth loss: mₖ = sₖ / (1 - 0.9ᵏ), sₖ = 0.9 sₖ₋₁ + 0.1 ℓₖ.
    Ctrl-C ends it, too; the result then has what there is so far.

    A suggestion is a beginning, not the best rate: a falling schedule bears more, a long
    training at a constant rate often less.

    Examples
    --------
    >>> import numpy as np, flatprop as fp
    >>> x = np.linspace(-1, 1, 200)[:, None]
    >>> net = fp.Network(1, [fp.Dense(16, "tanh"), fp.Dense(1)], rng=0)
    >>> found = fp.learning_rate_range(net, x, np.sin(3 * x), optimizer="adam")
    >>> history = net.fit(x, np.sin(3 * x), optimizer=fp.Adam(found.suggestion))
    """
    network = checked_model("fp.learning_rate_range", net)
    chosen = optimizer_or_solver(optimizer)
    if isinstance(chosen, (Solver, Rprop)):
        raise ValueError(
            f"{type(chosen).__name__} follows no learning rate from update to update, so there "
            "is no range to test"
        )
    for name, rate in (("low", low), ("high", high)):
        check_rate(rate, name)
    if not 0 < low < high:
        raise ValueError(f"low must be above 0 and below high, got low={low!r}, high={high!r}")
    rates = np.geomspace(float(low), float(high), checks.count("steps", steps, least=2))
    size = None if batch_size is None else checks.count("batch_size", batch_size)

    copy = network.copy()
    trainer = Trainer(
        copy,
        chosen,
        trainable=trainable,
        clip_norm=clip_norm,
        learning_rate_factors=learning_rate_factors,
        rng=rng,
        threads=threads,
    )
    samples: Samples = samples_of(copy, X, y, sample_weight, whole=size is None)
    if class_weight is not None:
        samples = class_weighted(copy, samples, class_weight)
    losses, stopped_by = _sweep(trainer, _batches(samples, size, trainer.rng), rates)
    rates = rates[: losses.size]
    smoothed = _smoothed(losses, WIDTH * steps)
    return LearningRateRange(
        rates, losses, smoothed, suggested(rates, losses, smoothed), stopped_by
    )


def _sweep(trainer: Trainer, batches: Iterator[Data], rates: FloatArray) -> tuple[FloatArray, str]:
    """The loss of each update until the losses are too high; and why there are no more."""
    losses: list[float] = []
    numerator, lowest = 0.0, math.inf
    try:
        for rate, batch in zip(rates.tolist(), batches, strict=False):
            trainer.learning_rate = rate
            loss = trainer.go_through(batch)
            if not math.isfinite(loss):
                return np.array(losses), "diverged"
            losses.append(loss)
            numerator = RUNNING * numerator + (1 - RUNNING) * loss
            mean = numerator / (1 - RUNNING ** len(losses))
            if len(losses) < SETTLED:
                continue
            lowest = min(lowest, mean)
            # With a positive loss this is mean > TOO_HIGH · lowest; some losses may be negative.
            if mean > lowest + (TOO_HIGH - 1) * abs(lowest):
                return np.array(losses), "diverged"
    except KeyboardInterrupt:
        return np.array(losses), "interrupted"
    return np.array(losses), "completed"


def _batches(samples: Samples, batch_size: int | None, rng: np.random.Generator) -> Iterator[Data]:
    """Whole mini-batches in random order, over and over, without those that have no weight."""
    while True:
        for part in samples.parts(batch_size, rng):
            size = part.rows if batch_size is None else min(batch_size, part.rows)
            order = np.arange(size) if size == part.rows else rng.permutation(part.rows)
            for start in range(0, part.rows - size + 1, size):
                batch = part.at(order[start : start + size])
                if not batch.weight.size or batch.weight.any():
                    yield batch


def _smoothed(losses: FloatArray, width: float) -> FloatArray:
    """The mean over all losses, weighted by a Gaussian of the distance in steps."""
    steps = np.arange(losses.size)
    weight = np.exp(-0.5 * ((steps[:, None] - steps) / width) ** 2)
    # Of the differences, so that equal losses stay equal.
    first = losses[:1]
    return np.asarray(first + weight @ (losses - first) / weight.sum(axis=1))


def suggested(rates: FloatArray, losses: FloatArray, smoothed: FloatArray) -> float | None:
    """The rate at which the smoothed loss falls fastest; see `LearningRateRange`."""
    if losses.size < 2:
        return None
    until = int(smoothed.argmin()) + 1
    scatter = float(np.std(losses[:until] - smoothed[:until]))
    if not smoothed[0] - smoothed[until - 1] > scatter:
        return None
    return float(rates[np.gradient(smoothed)[:until].argmin()])
