"""Samples by scikit-learn's rules, as arrays that the networks can take."""

from typing import Any

import numpy as np
from sklearn.utils import column_or_1d
from sklearn.utils.validation import validate_data

from flatprop.sklearn import plain

RULES: dict[str, Any] = {"accept_sparse": ["csr", "csc"], "dtype": (np.float64, np.float32)}


def samples(estimator: Any, X: Any, y: Any, reset: bool, **options: Any) -> tuple[Any, Any]:
    """X and y; with `reset` the estimator keeps the number and the names of X's columns."""
    X, y = validate_data(estimator, X, y, multi_output=True, reset=reset, **RULES, **options)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    return X, y


def inputs(estimator: Any, X: Any) -> Any:
    """X for a fitted estimator."""
    if plain.inputs(estimator, X):
        return X
    return validate_data(estimator, X, reset=False, **RULES)
