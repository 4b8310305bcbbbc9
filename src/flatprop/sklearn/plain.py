"""Whether an array is plain: scikit-learn's validation would change nothing in it.

That validation takes far longer than an update on one row. Arrays that are not plain go through
it, which converts them or raises its errors.
"""

from typing import Any

import numpy as np

FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


def inputs(estimator: Any, X: Any) -> bool:
    """Whether X can be taken as it is, by an estimator that knows its number of columns."""
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.dtype in FLOATS
        and X.shape[0] > 0
        and X.shape[1] == getattr(estimator, "n_features_in_", -1)
        and not hasattr(estimator, "feature_names_in_")
        and bool(np.isfinite(X).all())
    )


def numbers(y: Any, rows: int) -> bool:
    """Whether y are the targets of a regression."""
    return (
        type(y) is np.ndarray
        and y.dtype in FLOATS
        and y.shape[:1] == (rows,)
        and (y.ndim == 1 or (y.ndim == 2 and y.shape[1] > 1))
        and bool(np.isfinite(y).all())
    )


def labels(y: Any, rows: int, classes: Any) -> bool:
    """Whether y are labels, each of them one of the sorted `classes`."""
    if type(y) is not np.ndarray or y.shape != (rows,) or y.dtype.kind != classes.dtype.kind:
        return False
    if y.dtype.kind == "O":
        if not all(type(label) is str for label in (*y, *classes)):
            return False
    elif y.dtype.kind not in "biuU":
        return False
    places = np.searchsorted(classes, y)
    return bool((classes[np.minimum(places, len(classes) - 1)] == y).all())
