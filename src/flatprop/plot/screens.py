"""Where a picture that changes is shown: under a notebook's cell, in a window, or as text."""

import sys
from collections.abc import Callable
from importlib import import_module
from io import BytesIO
from typing import Any, Protocol, TextIO

import matplotlib.pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Draw = Callable[[Figure], None]
"""What draws into an empty figure."""


class Screen(Protocol):
    """One picture, or a line of text in place of it."""

    def show(self, draw: Draw, text: str) -> None:
        """Replace what is shown."""

    def close(self) -> None:
        """Nothing more will be shown."""


def screen() -> Screen:
    """The best there is: the notebook, else a window, else standard error."""
    if _in_notebook():
        return Notebook()
    figure = plt.figure(layout="constrained")
    if getattr(figure.canvas, "required_interactive_framework", None) is not None:
        return Window(figure)
    plt.close(figure)
    return Text(sys.stderr)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class Notebook:
    """A picture under the cell. Its figure is none of pyplot's, so none is left open."""

    def __init__(self) -> None:
        self._figure = Figure(layout="constrained")
        FigureCanvasAgg(self._figure)
        self._handle: Any = None

    def show(self, draw: Draw, text: str) -> None:
        ipython: Any = import_module("IPython.display")
        self._figure.clear()
        draw(self._figure)
        png = BytesIO()
        self._figure.savefig(png, format="png")
        image = ipython.Image(png.getvalue(), format="png", alt=text)
        if self._handle is None:
            self._handle = ipython.display(image, display_id=True)
        else:
            self._handle.update(image)

    def close(self) -> None:
        self._figure.clear()


class Window:
    """A window, which stays when the training has ended. Closing it stops only the drawing."""

    def __init__(self, figure: Any) -> None:
        self._figure = figure
        figure.show()

    def show(self, draw: Draw, text: str) -> None:
        if plt.fignum_exists(self._figure.number):
            self._figure.clear()
            draw(self._figure)
            self._figure.canvas.draw_idle()
            self._figure.canvas.flush_events()

    def close(self) -> None: ...


class Text:
    """One line that is written over; where it cannot be, only the last one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._line = stream, ""

    def show(self, draw: Draw, text: str) -> None:
        if self._stream.isatty():
            self._stream.write("\r" + text.ljust(len(self._line)))
            self._stream.flush()
        self._line = text

    def close(self) -> None:
        if self._line:
            self._stream.write("\n" if self._stream.isatty() else self._line + "\n")
