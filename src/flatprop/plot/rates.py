"""The learning-rate range test: loss by rate, and where to begin."""

from typing import Any

from matplotlib.axes import Axes

from flatprop.plot.canvas import checked_axes, colours, in_their_colours, legend_of, spans_decades
from flatprop.training.range_test import LearningRateRange


@in_their_colours
def learning_rate_range(found: LearningRateRange, ax: Axes | None = None) -> Axes:
    """Draw a learning-rate range test: losses, the smoothed losses, and the suggestion.

    Parameters
    ----------
    found
        What `fp.learning_rate_range` returned.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into. The rate is on a logarithmic scale; so is the loss if it spans
        decades.

    Raises
    ------
    TypeError
        If `found` is no `LearningRateRange`.
    """
    if not isinstance(found, LearningRateRange):
        raise TypeError(
            f"found must be what fp.learning_rate_range returned, an fp.LearningRateRange; "
            f"got {found!r}"
        )
    ax = checked_axes(ax)
    rates, colour = found.rates, colours().positive
    marker = "o" if rates.size == 1 else ""  # a line of one point cannot be seen
    thin: dict[str, Any] = {"color": colour, "alpha": 0.6, "linewidth": 0.8, "marker": marker}
    batches = ax.plot(rates, found.losses, label="mini-batches", **thin)
    drawn = [*batches, *ax.plot(rates, found.smoothed, color=colour, label="smoothed")]
    if found.suggestion is not None:
        at = rates.searchsorted(found.suggestion)
        ring: dict[str, Any] = {"color": colours().ink, "markerfacecolor": "none", "markersize": 8}
        label = f"suggestion: {found.suggestion:.2g}"
        drawn += ax.plot(rates[at], found.smoothed[at], "o", label=label, **ring)
    ax.set_xscale("log")
    if spans_decades(found.smoothed):
        ax.set_yscale("log")
    ax.set_xlabel("learning rate")
    ax.set_ylabel("loss")
    legend_of(ax, drawn)
    return ax
