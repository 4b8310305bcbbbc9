"""The course of a training: loss by epoch, metrics, and the learning rate where it changes."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation, blended_transform_factory

from flatprop.plot.canvas import (
    CLASSES,
    checked_axes,
    colours,
    in_their_colours,
    legend_of,
    spans_decades,
)
from flatprop.training.history import History

ENDS = {
    "epochs": "all {} done",
    "converged": "converged after {}",
    "patience": "stopped by patience after {}",
    "diverged": "diverged after {}",
    "interrupted": "interrupted after {}",
    "callback": "stopped by a callback after {}",
}
"""How to say which rule ended a training."""
PANEL = 0.85
"""Height of a panel below the loss, in inches. Were it a part of the height of the axes
above, which a layout engine moves, that engine would not come to an end."""


@in_their_colours
def history(
    history: History | Mapping[Any, History], ax: Axes | None = None, *, log: bool | None = None
) -> Axes:
    """Draw loss curves: training, validation, the best epoch, and why training stopped.

    Where the learning rate changes in the course of a training, it has a panel of its own
    below, and so has each metric.

    Parameters
    ----------
    history
        What `fit` returned; or several to compare, a dict from their names.
    ax
        Where to draw; None makes a figure.
    log
        Whether the loss is on a logarithmic scale; None decides by its range.

    Returns
    -------
    matplotlib.axes.Axes
        The axes of the loss. ``ax.child_axes`` are the panels below: that of the learning rate,
        if there is one, then those of the metrics.

    Raises
    ------
    TypeError, ValueError
        If `history` is neither a History nor a dict of them.

    Notes
    -----
    Epochs count from 0, as in `History.best_epoch`. The training loss is the mean over an
    epoch, as the parameters changed; the validation loss is measured after it, so that it
    may well be the lower of the two.
    """
    histories = _checked(history)
    ax = checked_axes(ax)
    single = not isinstance(history, Mapping)
    drawn: list[Line2D] = []
    shades = (colours().positive,) if len(histories) == 1 else CLASSES
    for (name, one), colour in zip(histories.items(), itertools.cycle(shades), strict=False):
        drawn += _curves(ax, one, None if single else f"{name}: {_end(one)}", colour)
        if one.best_epoch is not None or (single and one.val_loss.size):
            drawn += _mark_best(ax, one, label=single)
    losses = [part for one in histories.values() for part in (one.loss, one.val_loss)]
    if spans_decades(*(loss[np.isfinite(loss)] for loss in losses)) if log is None else log:
        ax.set_yscale("log")
    ax.set_ylabel("loss")
    if single:
        (one,) = histories.values()
        ax.set_title(_end(one))
    if not single and any(one.val_loss.size for one in histories.values()):
        ink = colours().ink
        drawn.append(Line2D([], [], color=ink, label="training"))
        drawn.append(Line2D([], [], color=ink, linestyle="--", label="validation"))
    legend_of(ax, drawn)
    _panels(ax, histories, shades)
    return ax


def _checked(history: object) -> dict[Any, History]:
    histories: dict[Any, Any]
    histories = dict(history) if isinstance(history, Mapping) else {"": history}
    if not histories:
        raise ValueError("history is an empty dict; give at least one History by name")
    for one in histories.values():
        if not isinstance(one, History):
            raise TypeError(
                f"history must be what fit returned, an fp.History, or a dict of them by name; "
                f"got {one!r}"
            )
    return histories


def _end(history: History) -> str:
    """How many epochs there were, and why there are no more."""
    epochs = f"{history.epochs:,} epoch{'s' * (history.epochs != 1)}"
    return ENDS.get(history.stopped_by, "{}").format(epochs)


def _curves(ax: Axes, history: History, label: str | None, colour: str) -> list[Line2D]:
    """The lines for the legend. Without a label there is one history, with both its lines."""
    marker = "o" if history.epochs == 1 else ""  # a line of one point cannot be seen
    epochs = np.arange(history.epochs)
    single = label is None
    lines = ax.plot(epochs, history.loss, color=colour, marker=marker, label=label or "training")
    if history.val_loss.size:
        colour = colours().negative if single else colour
        name = "validation" if single else None
        also = ax.plot(epochs, history.val_loss, "--", color=colour, marker=marker, label=name)
        lines += also if single else []
    return lines


def _mark_best(ax: Axes, history: History, label: bool) -> list[Line2D]:
    """The mark, if it is for the legend."""
    monitored = history.val_loss if history.val_loss.size else history.loss
    best, text = history.best_epoch, "best"
    if best is None:
        if not np.isfinite(monitored).any():
            return []
        best, text = int(np.nanargmin(monitored)), "lowest"
    text = f"{text}: {monitored[best]:.4g} in epoch {best:,}"
    ring: dict[str, Any] = {"color": colours().ink, "markerfacecolor": "none", "markersize": 8}
    lines = ax.plot(best, monitored[best], "o", label=text if label else None, **ring)
    return lines if label else []


def _panels(ax: Axes, histories: Mapping[Any, History], shades: Sequence[str]) -> None:
    """The learning rate, where it changes, and each metric, below the loss."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    rates = [one.learning_rate for one in histories.values()]
    wanted: dict[str, list[Any]] = {}
    if any(rate.size and np.ptp(rate) for rate in rates):
        wanted["learning\nrate"] = rates
    for name in dict.fromkeys(name for one in histories.values() for name in one.metrics):
        wanted[name] = [one.metrics.get(name, np.empty(0)) for one in histories.values()]
    lowest = ax
    for number, (name, curves) in enumerate(wanted.items(), start=1):
        lowest.tick_params(labelbottom=False)
        lowest = _panel(ax, number, name, curves, shades)
    lowest.set_xlabel("epoch")


def _panel(ax: Axes, number: int, name: str, curves: Sequence[Any], shades: Sequence[str]) -> Axes:
    """A panel with a curve of each history, the `number`-th below `ax`."""
    corner: Any = ax.transAxes
    inches_below = ax.figure.dpi_scale_trans + ScaledTranslation(0, 0, corner)
    place = blended_transform_factory(ax.transAxes, inches_below)
    below = -number * (PANEL + 0.12)
    panel = ax.inset_axes((0, below, 1, PANEL), transform=place, sharex=ax)
    marker = "o" if max(curve.size for curve in curves) == 1 else ""
    for curve, colour in zip(curves, itertools.cycle(shades), strict=False):
        panel.plot(np.arange(curve.size), curve, color=colour, marker=marker)
    if spans_decades(*(curve[np.isfinite(curve)] for curve in curves)):
        panel.set_yscale("log")
    panel.set_ylabel(name, parse_math=False)
    return panel
