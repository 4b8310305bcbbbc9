"""Arrays over the parameters that a user passes in: which are trained, and how fast."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatprop.validation import checks

Array = NDArray[Any]


def rate_factors(value: object, size: int, dtype: np.dtype[Any]) -> Array | None:
    """(size,), what the learning rate of each parameter is multiplied by; or None."""
    if value is None:
        return None
    what = "learning_rate_factors"
    factors = checks.numbers(what, value, dtype)
    if factors.shape != (size,):
        raise ValueError(
            f"{what} must have shape ({size},), as net.params, but it has {factors.shape}; begin "
            "with numpy.ones_like(net.params)"
        )
    if (factors < 0).any():
        place = int(np.argmax(factors < 0))
        raise ValueError(f"{what}[{place}] is {factors[place]}; factors are not negative")
    return factors


def trainable_ranges(value: object, size: int, factors: Array | None = None) -> NDArray[np.int64]:
    """The beginning and the end of each run of trained parameters, (ranges, 2).

    A parameter whose learning rate has the factor 0 is not trained.
    """
    if value is None and factors is None:
        return np.array([[0, size]], np.int64)
    mask = np.ones(size, bool) if value is None else np.asarray(value)
    if mask.dtype != np.bool_:
        raise TypeError(
            f"trainable must be a boolean mask over net.params, got dtype {mask.dtype}; "
            "make one with numpy.zeros(net.params.size, bool)"
        )
    if mask.shape != (size,):
        raise ValueError(f"trainable must have shape ({size},), as net.params, not {mask.shape}")
    if not mask.any():
        raise ValueError("trainable is False everywhere: nothing would be trained")
    if factors is not None:
        mask = mask & (factors > 0)
        if not mask.any():
            raise ValueError(
                "learning_rate_factors is 0 for every trainable parameter: nothing would be "
                "trained"
            )
    edges = np.diff(np.concatenate(([False], mask, [False])).astype(np.int8))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def ranges(value: Any, size: int) -> NDArray[np.int64]:
    """A copy of the result of `trainable_ranges` for `size` parameters, if it is one."""
    found = np.array(value, np.int64)
    whole = found.ndim == 2 and found.shape[1] == 2 and found.size > 0
    if not whole or found.min() < 0 or found.max() > size or (found[:, 0] >= found[:, 1]).any():
        raise ValueError(f"these are no ranges of {size} parameters: {value}")
    return found
