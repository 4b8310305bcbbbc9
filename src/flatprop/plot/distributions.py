"""How the weights of each layer are distributed, and the gradient with respect to them."""

import numpy as np
from matplotlib.figure import Figure, SubFigure
from numpy.typing import ArrayLike

from flatprop.model.dense_layer import Dense
from flatprop.model.model import checked_model
from flatprop.network import Network
from flatprop.plot.canvas import checked_figure, colours, in_their_colours
from flatprop.validation import checks
from flatprop.validation.arrays import Array


@in_their_colours
def histograms(
    net: Network,
    X: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    gradient: ArrayLike | None = None,
    figure: Figure | SubFigure | None = None,
    bins: int = 40,
) -> Array:
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
        If `gradient` or X and y do not fit the network, or both are given, or a parameter or the
        gradient is NaN or infinite.
    """
    checked_model("plot.histograms", net)
    bins = checks.count("bins", bins)
    checks.finite("net.params", net.params)
    slopes = _checked_gradient(net, X, y, gradient)
    columns: list[tuple[str, str, list[Array]]] = [
        ("weight W", colours().positive, list(net.weights))
    ]
    if slopes is not None:
        checks.finite("the gradient", slopes)
        columns.append(("gradient ∂L/∂W", colours().gradient, _by_layer(net, slopes)))
    edges = [
        np.histogram_bin_edges(np.concatenate([W.ravel() for W in values]), bins)
        for _, _, values in columns
    ]
    dense = [layer for layer in net.dense if isinstance(layer, Dense)]
    layers, size = len(dense), (4.2 * len(columns), 0.8 + 1.6 * len(dense))
    figure = checked_figure(figure, size)
    axes = figure.subplots(layers, len(columns), sharex="col", squeeze=False)
    for column, (name, colour, values) in enumerate(columns):
        for ax, W, layer in zip(axes[:, column], values, dense, strict=True):
            ax.hist(W.ravel(), edges[column], color=colour)
            inputs, units = W.shape
            ax.set_title(f"{inputs} → {units} {layer.name}, σ = {W.std():.2g}", fontsize="medium")
        axes[-1, column].set_xlabel(name)
    for ax in axes[:, 0]:
        ax.set_ylabel("count")
    return np.asarray(axes)


def _checked_gradient(
    net: Network, X: ArrayLike | None, y: ArrayLike | None, gradient: ArrayLike | None
) -> Array | None:
    """The gradient, laid out as `net.params`; None where none is asked for."""
    if gradient is None:
        if (X is None) != (y is None):
            raise TypeError("the gradient of the loss takes both X and y")
        return None if X is None or y is None else net.loss_and_gradient(X, y)[1]
    if X is not None or y is not None:
        raise TypeError("give X and y or the gradient, not both")
    slopes = checks.numbers("gradient", gradient, net.dtype)
    if slopes.shape != net.params.shape:
        raise ValueError(
            f"gradient must have shape {net.params.shape}, as net.params, not {slopes.shape}"
        )
    return slopes


def _by_layer(net: Network, gradient: Array) -> list[Array]:
    """∂L/∂W of each layer: the gradient lies as the parameters do."""
    slopes = net.copy()
    slopes.params[:] = gradient
    return list(slopes.weights)
