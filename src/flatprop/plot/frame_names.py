"""Data frames: the names in them, and frames for a model that may insist on names."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray


def feature_names(X: Any, given: Sequence[str] | None, inputs: int) -> list[str]:
    """The given names, or the columns of a data frame, or else X[:, 0], X[:, 1], ..."""
    names = getattr(X, "columns", None) if given is None else given
    if given is None and names is None and getattr(X, "name", None) not in (None, ""):
        names = [X.name]  # of a Series
    if names is None:
        return ["x"] if inputs == 1 else [f"X[:, {column}]" for column in range(inputs)]
    names = [str(name) for name in names]
    if len(names) != inputs:
        raise ValueError(f"feature_names has {len(names)} names, but X has {inputs} columns")
    return names


def as_given(X: Any, rows: NDArray[Any]) -> Any:
    """The rows as a data frame, where X is one of pandas."""
    return type(X)(rows, columns=X.columns) if hasattr(X, "iloc") and X.ndim == 2 else rows
