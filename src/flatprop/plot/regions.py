"""Where a classifier with two inputs says what."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


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

    The colour of a point is that of its most probable class, the fuller the more probable
    it is; without probabilities all points are equally full.

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
    raise NotImplementedError
