"""Samples, as they pass from the estimators to the loops."""

from typing import Any, NamedTuple


class Samples(NamedTuple):
    """Rows with what is known about them."""

    X: Any
    """An array, or a sparse matrix."""
    y: Any
    """As the estimator's `_encode` made them."""
    weight: Any
    """(n,), or None."""
