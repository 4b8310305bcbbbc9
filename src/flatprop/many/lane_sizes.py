"""How many lanes a block of members has."""

from typing import Any

import numpy as np

from flatprop.numbers.lanes import REGISTER_BYTES


def step_of(dtype: np.dtype[Any]) -> int:
    """What the number of lanes of a block is a multiple of."""
    return 2 * REGISTER_BYTES // dtype.itemsize


def padded(count: int, dtype: np.dtype[Any]) -> int:
    """The lanes of a block of so many members."""
    step = step_of(dtype)
    return -(-count // step) * step
