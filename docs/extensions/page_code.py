"""The code on a page, run from top to bottom: by the tests, and by the build of this site.

A page is Markdown that GitHub shows as well. Of its fences

- "python" runs in the page's own namespace, in a folder of its own, with warnings as errors; the
  site shows below it what it printed and the figures that it left open, which are then closed;
- "c" is text that the Python after it finds as `C_SOURCE`;
- "console" holds commands after `$`; those of `python -m flatprop` run too, and what is shown
  below one must be what it prints, where `...` stands for anything and the widths of spaces do
  not count;
- one without a language is left alone.
"""

import contextlib
import doctest
import io
import re
import shlex
import sys
import types
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

LANGUAGES = ("python", "c", "console", "")
INK, PAPER = "#1f1f21", "#fffffd"
"""Text and background of figures: colours that nothing else has, so that they can be exchanged."""
ON_PAGES = {
    "light": {INK: "#000000", PAPER: "#ffffff"},
    "dark": {
        INK: "#cfd0d0",
        PAPER: "#131416",
        # lines that are hard to see on black: Matplotlib's blue, then those of fp.plot
        "#1f77b4": "#5ba3d9",
        "#0072b2": "#56b4e9",
        "#d55e00": "#f0903c",
        "#a8327d": "#f097c8",
    },
}
"""What becomes of them; ink and paper are the theme's."""
STYLE: dict[str, Any] = {
    "backend": "Agg",
    "figure.figsize": (6.4, 3.4),
    "figure.constrained_layout.use": True,
    "font.size": 10.5,
    "axes.titlesize": "medium",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "flatprop",  # the same names inside the file at every build
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), PAPER),
}


class Block(NamedTuple):
    """A fence of a page."""

    language: str
    text: str
    line: int
    """The line of the page that its text begins on, from 1."""


class Figure(NamedTuple):
    """What a block drew."""

    svg: str
    description: str

    def on(self, page: str) -> str:
        """The same in the colours of a light or a dark page."""
        colours = ON_PAGES[page]
        return re.sub("|".join(colours), lambda match: colours[match[0]], self.svg)


class Shown(NamedTuple):
    """What a block leaves to be shown."""

    printed: str = ""
    figures: tuple[Figure, ...] = ()


class Run(NamedTuple):
    """A page after it ran."""

    blocks: list[Block]
    shown: list[Shown]
    """One for each of `blocks`."""
    names: dict[str, Any]
    """The namespace that the blocks of Python shared."""
    folder: Path
    """Where they ran."""

    @property
    def printed(self) -> str:
        return "".join(shown.printed for shown in self.shown)


def blocks_of(page: Path) -> list[Block]:
    """The fences of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(match[1], match[2], text.count("\n", 0, match.start()) + 2)
        for match in re.finditer(r"^```([^\n`]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]


def run(page: Path, folder: Path) -> Run:
    """Run a page in an empty folder.

    Raises
    ------
    Exception
        What a block raised, with a note of the place; `AssertionError` where a command printed
        something else than the page shows.
    """
    # A module of its own, so that what looks for the module of a class or a function finds it.
    module = types.ModuleType("page")
    done = Run(blocks_of(page), [], vars(module), folder)
    with _surroundings(module, folder):
        for number, block in enumerate(done.blocks):
            try:
                done.shown.append(_run_block(block, done.names, folder / f"block_{number}.py"))
            except Exception as error:
                error.add_note(f"in the block of {page} that begins on line {block.line}")
                raise
    return done


def _run_block(block: Block, names: dict[str, Any], path: Path) -> Shown:
    if block.language == "c":
        names["C_SOURCE"] = block.text
    if block.language == "console":
        for command, expected in _commands(block.text):
            _check_command(command, expected)
    if block.language != "python":
        return Shown()
    path.write_text(block.text, encoding="utf-8")  # Numba's cache and tracebacks ask for a file
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.text, path, "exec"), names)
    return Shown(printed.getvalue(), tuple(_open_figures()))


@contextlib.contextmanager
def _surroundings(module: types.ModuleType, folder: Path) -> Iterator[None]:
    """A folder, a module, warnings as errors, the style of figures; as before afterwards."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("error")
        if find_spec("matplotlib"):
            import matplotlib

            stack.enter_context(matplotlib.rc_context())
            matplotlib.use("Agg")
            matplotlib.rcParams.update(STYLE)
        sys.modules[module.__name__] = module
        try:
            yield
        finally:
            del sys.modules[module.__name__]
            list(_open_figures())


def _open_figures() -> Iterator[Figure]:
    """The figures that are open; closes them."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return
    for number in pyplot.get_fignums():
        figure, svg = pyplot.figure(number), io.StringIO()
        figure.savefig(svg, format="svg", metadata={"Date": None})
        yield Figure(svg.getvalue(), _description(figure))
    pyplot.close("all")


def _description(figure: Any) -> str:
    """What somebody reads who does not see it."""
    parts = []
    for axes in figure.axes:
        labels = axes.get_ylabel(), axes.get_xlabel()
        against = " against ".join(label for label in labels if label)
        parts.append(": ".join(text for text in (axes.get_title(), against) if text))
    return "Figure: " + "; ".join(dict.fromkeys(part for part in parts if part))


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console, and what is shown below each."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


def _check_command(command: str, expected: str) -> None:
    words = shlex.split(command)
    if words[:3] != ["python", "-m", "flatprop"]:
        if expected.strip():
            raise AssertionError(f"the output of {command!r} is shown, but cannot be checked")
        return
    from flatprop.cli import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = main(words[3:])
    checker, options = doctest.OutputChecker(), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    example = doctest.Example(command, expected)
    if status or (
        expected.strip() and not checker.check_output(example.want, printed.getvalue(), options)
    ):
        difference = checker.output_difference(example, printed.getvalue(), options)
        raise AssertionError(f"{command!r} ended with {status}\n{difference}")
