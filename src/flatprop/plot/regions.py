"""The regions of two inputs in which a classifier decides for each class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import ArrayLike

from flatprop.plot import frame_names
from flatprop.plot.canvas import (
    CLASSES,
    MARKERS,
    checked_axes,
    colours,
    in_their_colours,
    legend_of,
)
from flatprop.plot.class_probabilities import classes_of, places_of, probabilities_of
from flatprop.validation import checks
from flatprop.validation.arrays import Array


@in_their_colours
def decision_regions(
    model: Any,
    X: ArrayLike,
    y: ArrayLike,
    ax: Axes | None = None,
    *,
    features: tuple[int, int] | None = None,
    at: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    resolution: int = 200,
) -> Axes:
    """Draw the regions of a classifier's classes, and samples on top.

    A point has the colour of its most probable class: the stronger, the more probable the
    class is. Of a model without probabilities all points are equally strong.

    Parameters
    ----------
    model
        A Network with the loss "cross_entropy", or "binary_cross_entropy" and one output; or
        any object with ``predict`` and perhaps ``predict_proba``, as scikit-learn's classifiers.
    X
        (n, inputs), the samples; an array or a data frame.
    y
        (n,), their classes: labels as the model knows them; for a Network class indices, rows
        of probabilities, or 0 and 1.
    ax
        Where to draw; None makes a figure.
    features
        Which two inputs are the axes; needed where there are more than two.
    at
        (inputs,), what the other inputs are held at; None takes their medians over X.
    class_names
        One per class; None takes the model's.
    feature_names
        One per input; None takes the columns of a data frame.
    resolution
        Points along each axis at which the model is asked.

    Returns
    -------
    matplotlib.axes.Axes
        With the regions as its one image, (resolution, resolution, 4).

    Raises
    ------
    TypeError, ValueError
        If the model is no classifier, the data do not fit it, or X has more than two columns
        and `features` does not say which.
    """
    resolution = checks.count("resolution", resolution, least=2)
    samples = checks.numbers("X", X, np.dtype(float))
    if samples.ndim != 2:
        raise ValueError(f"X must have two dimensions, (n, inputs), not shape {samples.shape}")
    names = frame_names.feature_names(X, feature_names, samples.shape[1])
    first, second = _checked_features(features, samples.shape[1])
    held = np.median(samples, axis=0) if at is None else checks.numbers("at", at, np.dtype(float))
    if held.shape != samples.shape[1:]:
        raise ValueError(
            f"at must have shape {samples.shape[1:]}, one per input, not {held.shape}"
        )
    classes = classes_of(model)
    if len(classes) < 2:
        raise ValueError(f"decision regions need two classes or more, but there is {classes}")
    members = places_of(y, model, classes, len(samples))
    labels = [str(label) for label in (classes if class_names is None else class_names)]
    if len(labels) != len(classes):
        raise ValueError(f"class_names has {len(labels)} names for {len(classes)} classes")

    x_range, y_range = (_range(samples[:, feature]) for feature in (first, second))
    grid = np.tile(held, (resolution**2, 1))
    across = np.meshgrid(*(_centres(*ends, resolution) for ends in (x_range, y_range)))
    grid[:, first], grid[:, second] = (axis.ravel() for axis in across)
    probabilities = probabilities_of(model, frame_names.as_given(X, grid), classes)
    palette = np.array([to_rgb(CLASSES[k % len(CLASSES)]) for k in range(len(classes))])
    image = _shades(probabilities, palette).reshape(resolution, resolution, 4)
    ax = checked_axes(ax)
    ax.imshow(
        image, extent=(*x_range, *y_range), origin="lower", aspect="auto", interpolation="nearest"
    )
    drawn = []
    for k, label in enumerate(labels):
        mine = samples[members == k]
        style: dict[str, Any] = {"color": palette[k], "marker": MARKERS[k % len(MARKERS)]}
        style |= {"s": 22, "edgecolors": colours().ink, "linewidths": 0.5, "label": label}
        drawn.append(ax.scatter(mine[:, first], mine[:, second], **style))
    ax.set_xlim(x_range)
    ax.set_ylim(y_range)
    ax.set_xlabel(names[first], parse_math=False)
    ax.set_ylabel(names[second], parse_math=False)
    legend_of(ax, drawn)
    return ax


def _checked_features(features: tuple[int, int] | None, inputs: int) -> tuple[int, int]:
    if features is None:
        if inputs != 2:
            raise ValueError(
                f"X has {inputs} columns, but a picture has two axes; choose two inputs with "
                "features=(i, j), and the others are held at their medians, or at `at`"
                if inputs > 2
                else f"X has {inputs} column, but regions take two inputs"
            )
        return 0, 1
    if not isinstance(features, Sequence | np.ndarray) or len(features) != 2:
        raise ValueError(f"features must be two columns of X, (i, j), not {features!r}")
    first, second = (checks.count("features", feature, least=0) for feature in features)
    if max(first, second) >= inputs or first == second:
        raise ValueError(
            f"features must be two different columns of X, 0 to {inputs - 1}, not {features}"
        )
    return first, second


def _range(values: Array) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _centres(low: float, high: float, count: int) -> Array:
    """Of the pixels between two ends."""
    return low + (np.arange(count) + 0.5) * (high - low) / count


def _shades(probabilities: Array, palette: Array) -> Array:
    """The colour of the most probable class: the more opaque, the more probable it is."""
    classes = probabilities.shape[1]
    best = probabilities.argmax(axis=1)
    sureness = (probabilities.max(axis=1) - 1 / classes) / (1 - 1 / classes)
    return np.column_stack([palette[best], 0.12 + 0.43 * sureness])
