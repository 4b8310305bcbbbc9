"""How the weights of each layer are distributed, and the gradient with respect to them."""

from typing import Any

from matplotlib.figure import Figure, SubFigure
from numpy.typing import ArrayLike, NDArray

from flatprop.network import Network


def histograms(
    net: Network,
    X: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    gradient: ArrayLike | None = None,
    figure: Figure | SubFigure | None = None,
    bins: int = 40,
) -> NDArray[Any]:
    """Draw histograms of the weights of each layer, and of the gradient beside them.

    Parameters
    ----------
    net
        The network.
    X, y
        As for `Network.loss`; the gradient is that of the loss of these samples.
    gradient
        The gradient itself, laid out as `net.params`, in place of X and y.
    figure
        Where to draw; None makes one.
    bins
        How many bins; layers share them, so that their widths can be compared.

    Returns
    -------
    ndarray of matplotlib.axes.Axes
        (layers, 1), or (layers, 2) with a gradient.

    Raises
    ------
    TypeError, ValueError
        If `gradient` or X and y do not fit the network, or both are given.
    """
    raise NotImplementedError
