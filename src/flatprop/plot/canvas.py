"""What all pictures share: where they draw, and colours that mean something.

The colours are Okabe & Ito's (2008), which people with any colour vision tell apart. A colour
that stands for the same thing in all pictures has two shades, for light and dark pages.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure, SubFigure

P = ParamSpec("P")
R = TypeVar("R")

CLASSES = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9",
    "#D55E00", "#F0E442", "#999999", "#8C564B", "#6A5ACD",
)  # fmt: skip
MARKERS = "osD^vPX<>*"
"""Beside the colour, for those who cannot see it."""


class Colours(NamedTuple):
    """The colours by what they stand for."""

    positive: str
    negative: str
    gradient: str
    ink: str
    """Of text, as the style has it."""


def colours() -> Colours:
    """The colours for the current style, whose text is light or dark."""
    ink = mpl.rcParams["text.color"]
    if is_light(ink):
        return Colours("#56B4E9", "#F0903C", "#F097C8", ink)
    return Colours("#0072B2", "#D55E00", "#A8327D", ink)


def is_light(colour: Any) -> bool:
    red, green, blue = to_rgb(colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue > 0.5


def in_their_colours(draw: Callable[P, R]) -> Callable[P, R]:
    """Make a function draw in the colours of the Axes or Figure that it is given.

    They may have been made in another style than the current one, so that its text could not be
    read on them.
    """

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        for given in (*args, *kwargs.values()):
            if isinstance(given, (Axes, Figure, SubFigure)):
                with mpl.rc_context(_colours_of(given)):
                    return draw(*args, **kwargs)
        return draw(*args, **kwargs)

    return drawn


def _colours_of(given: Axes | Figure | SubFigure) -> Any:
    """A dict of settings; none where text has the colour of the current style."""
    ink: Any = mpl.rcParams["text.color"]
    style, paper = ink, given.get_facecolor()
    if isinstance(given, Axes):
        ink = given.title.get_color()
    else:
        page: Any = given.figure.get_facecolor()  # that of a SubFigure is transparent
        if page[3] > 0 and is_light(page) == is_light(ink):
            ink = "black" if is_light(page) else "white"
    if to_rgba(ink) == to_rgba(style):
        return {}
    inks = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return {**dict.fromkeys(inks, ink), "axes.facecolor": paper}


def checked_axes(ax: Axes | None, size: tuple[float, float] | None = None) -> Axes:
    """`ax`, or the axes of a new figure of this size in inches."""
    if ax is None:
        return plt.subplots(figsize=size, layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be a Matplotlib Axes, got {ax!r}")
    return ax


def checked_figure(figure: Figure | SubFigure | None, size: tuple[float, float]) -> Any:
    """`figure`, or a new one of this size in inches."""
    if figure is None:
        return plt.figure(figsize=size, layout="constrained")
    if not isinstance(figure, (Figure, SubFigure)):
        raise TypeError(f"figure must be a Matplotlib Figure or SubFigure, got {figure!r}")
    return figure


def legend_of(ax: Axes, drawn: Sequence[Any]) -> None:
    """A legend of these artists, and of others in the axes that have a label.

    Labels stand there as they are: dollar signs are no mathematics, and a label that begins
    with an underscore is not left out.
    """
    others = [one for one in ax.get_legend_handles_labels()[0] if one not in drawn]
    handles = [*others, *drawn]
    legend = ax.legend(handles, [""] * len(handles))
    for text, handle in zip(legend.get_texts(), handles, strict=True):
        text.set_parse_math(False)
        text.set_text(str(handle.get_label()))


def spans_decades(*series: Any) -> bool:
    """Whether positive values differ so much that a linear axis would hide the smaller."""
    values = [value for one in series if one.size for value in (one.min(), one.max())]
    return bool(values) and min(values) > 0 and max(values) > 30 * min(values)
