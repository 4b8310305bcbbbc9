"""How well a regression follows its data: the fit, and what it leaves over."""

from typing import Any

from matplotlib.figure import Figure, SubFigure
from numpy.typing import ArrayLike, NDArray


def fit(
    model: Any,
    X: ArrayLike,
    y: ArrayLike,
    figure: Figure | SubFigure | None = None,
    *,
    output: int = 0,
) -> NDArray[Any]:
    """Draw a regression over its data, and the residuals.

    With one input: the fitted curve over the samples, and the residuals y - ŷ below. With
    several: predicted against observed, and the residuals against the predicted.

    Parameters
    ----------
    model
        A Network, or any object with ``predict``, as scikit-learn's regressors.
    X
        (n, inputs); (n,) where there is one input. An array or a data frame.
    y
        (n, outputs), or (n,) where there is one output.
    figure
        Where to draw; None makes one.
    output
        Which output, where there are several.

    Returns
    -------
    ndarray of matplotlib.axes.Axes
        The two panels, (2,).

    Raises
    ------
    TypeError, ValueError
        If the data do not fit the model, or it is a classifier.
    """
    raise NotImplementedError
