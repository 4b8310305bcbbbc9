"""Classes and their probabilities, as a network or a classifier has them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop.network import Network
from flatprop.validation import checks
from flatprop.validation.arrays import Array


def classes_of(model: Any) -> list[Any]:
    """What the model calls its classes."""
    if isinstance(model, Network):
        loss = model.loss_function.name
        if loss == "cross_entropy":
            return list(range(model.outputs))
        if loss == "binary_cross_entropy" and model.outputs == 1:
            return [0, 1]
        raise ValueError(
            'a network that tells classes apart has the loss "cross_entropy", or '
            f'"binary_cross_entropy" and one output; this is {model!r}'
        )
    classes = getattr(model, "classes_", None)
    if classes is None or not hasattr(model, "predict"):
        raise TypeError(
            "model must be an fp.Network or a fitted classifier, with predict and classes_; "
            f"got {model!r}"
        )
    if isinstance(classes, list):
        raise ValueError("model has several outputs; a picture shows one")
    return list(classes)


def places_of(y: ArrayLike, model: Any, classes: list[Any], rows: int) -> Array:
    """The place of each sample's class among `classes`."""
    given = np.asarray(y)
    if isinstance(model, Network) and given.ndim == 2:
        given = given.argmax(axis=1) if given.shape[1] > 1 else given[:, 0]
    if given.shape != (rows,):
        raise ValueError(f"y must have shape ({rows},), one class per row of X, not {given.shape}")
    places = {label: place for place, label in enumerate(classes)}
    unknown = [label for label in given.tolist() if label not in places]
    if unknown:
        raise ValueError(f"y holds {unknown[0]!r}, but the classes of the model are {classes}")
    return np.array([places[label] for label in given.tolist()])


def probabilities_of(model: Any, grid: Any, classes: list[Any]) -> Array:
    """(points, classes); 1 and 0 where the model gives none."""
    if isinstance(model, Network):
        p = model.predict(grid).astype(float)
        binary = model.loss_function.name == "binary_cross_entropy"
        probabilities = np.hstack([1 - p, p]) if binary else p
    elif hasattr(model, "predict_proba"):
        probabilities = np.asarray(model.predict_proba(grid), float)
    else:
        predicted = np.asarray(model.predict(grid))
        probabilities = np.asarray(predicted[:, None] == np.array(classes), float)
    checks.finite("the model's probabilities", probabilities)
    return probabilities
