"""Targets that are classes: stratified splits, class weights and metrics ask here."""

import numpy as np
from numpy.typing import NDArray

from flatprop.model.model import Model
from flatprop.validation.arrays import Array


def labels_of(network: Model, y: Array) -> NDArray[np.int64] | None:
    """(rows,): each sample's class; None if the targets are no classes.

    `y` is (rows, columns), as `checks.targets` returns it.

    | loss | targets that are classes |
    | --- | --- |
    | "cross_entropy" | class indices; or rows with one 1, all else 0 |
    | "binary_cross_entropy", one output | 0 and 1 |
    """
    domain, columns = network.loss_function.domain, y.shape[1]
    if domain == "classes" and columns == 1 < network.outputs:
        return y[:, 0].astype(np.int64)
    if domain == "classes" and is_zero_or_one(y):
        return np.asarray(y.argmax(axis=1))
    if domain == "fraction" and columns == 1 and is_zero_or_one(y):
        return y[:, 0].astype(np.int64)
    return None


def classes_of(network: Model) -> int:
    """How many classes `labels_of` may find; 0 if the loss has no classes."""
    return {"classes": network.outputs, "fraction": 2}.get(network.loss_function.domain, 0)


def is_zero_or_one(y: Array) -> bool:
    """Whether all numbers are 0 or 1."""
    return bool(((y == 0) | (y == 1)).all())
