"""Checks of sequences of numbers that a user passes in, where an array would be too much."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from flatprop.validation.checks import is_number


def finite_numbers(what: str, value: Any) -> tuple[float, ...]:
    """A sequence of finite numbers, one at least."""
    items: tuple[Any, ...] = ()
    if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)):
        items = tuple(value)
    if not items or not all(map(is_number, items)):
        raise TypeError(f"{what} must be a sequence of numbers, got {value!r}")
    found = tuple(map(float, items))
    if not all(map(math.isfinite, found)):
        raise ValueError(f"{what} must be finite numbers, got {value!r}")
    return found
