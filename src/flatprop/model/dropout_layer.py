"""Dropout, as a description."""

from collections.abc import Callable
from dataclasses import dataclass

from flatprop.kernels.network.records import DROPOUT
from flatprop.model.layer import SameWidth
from flatprop.validation import checks


@dataclass(frozen=True)
class Dropout(SameWidth):
    """Dropout: while the network is trained, each input is 0 with the probability `rate`.

    The others are multiplied by 1 / (1 - rate), so that the mean stays (inverted dropout, as in
    PyTorch). Every update drops other inputs, of every sample on its own. It happens in `fit` and
    in `Trainer` only: in the training loss, not in predictions, derivatives, traces and validation
    losses. ``net.predict(X, dropout=True)`` samples. Solvers such as L-BFGS, which need the same
    loss in every iteration, refuse networks with dropout. So does `fit` with derivatives or
    equations.

    What is dropped depends on the training's seed, the number of the update, the place of the
    sample in its batch, the layer and the unit, and on nothing else.

    Parameters
    ----------
    rate
        The probability, from 0 to below 1.

    Raises
    ------
    TypeError, ValueError
        If `rate` is no such number.

    Examples
    --------
    >>> import flatprop as fp
    >>> net = fp.Network(4, [fp.Dense(32, "relu"), fp.Dropout(0.2), fp.Dense(1)], rng=0)
    """

    rate: float
    kind = DROPOUT

    def __post_init__(self) -> None:
        rate = checks.positive("rate", self.rate, or_zero=True)
        if rate >= 1:
            raise ValueError(f"rate must be from 0 to below 1, got {self.rate!r}")
        object.__setattr__(self, "rate", rate)

    @property
    def name(self) -> str:
        return f"dropout {self.rate:g}"

    def operations(self) -> Callable[..., None]:
        from flatprop.kernels.network.dropout import dropout

        function: Callable[..., None] = dropout
        return function

    @property
    def rate_of_record(self) -> float:
        return self.rate
