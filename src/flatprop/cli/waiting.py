"""What is shown on standard error while a training runs."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

EVERY = 10.0
"""Seconds between two lines, where these are no terminal."""


def tell(line: str) -> None:
    """A line for a reader who waits."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def shown(epochs: int, quiet: bool) -> Iterator[list[Callable[[Any], None]]]:
    """Show how far a training is: a bar in a terminal, else a line every ten seconds.

    Parameters
    ----------
    epochs
        How many there are, of all networks together.
    quiet
        Whether to show nothing.

    Yields
    ------
    list
        The callbacks of the training that show it.
    """
    if quiet:
        yield []
        return
    with ExitStack() as stack:
        stack.enter_context(_compiling_is_told())
        if sys.stderr.isatty():
            from flatprop.training.progress import progress_bar

            bar = stack.enter_context(progress_bar(epochs, "epoch"))
            yield [lambda epoch: bar.update(1)]
        else:
            yield [_Lines(epochs)]


class Now:
    """Whether it is time for a line again."""

    def __init__(self) -> None:
        self.began = self.told = time.monotonic()

    def __bool__(self) -> bool:
        now = time.monotonic()
        if due := now - self.told >= EVERY:
            self.told = now
        return due


class _Lines:
    def __init__(self, epochs: int) -> None:
        self.epochs, self.done, self.now = epochs, 0, Now()

    def __call__(self, epoch: Any) -> None:
        self.done += 1
        if self.now:
            seconds = self.now.told - self.now.began
            tell(f"epoch {self.done} of {self.epochs}, {seconds:.0f} s, loss {epoch.loss:.4g}")


@contextmanager
def _compiling_is_told() -> Iterator[None]:
    from numba.core import event

    class Told(event.Listener):
        done = False

        def on_start(self, event: Any) -> None:
            if not self.done:
                self.done = True
                tell("compiling, once per computer: this takes some seconds")

        def on_end(self, event: Any) -> None:
            """Nothing more to tell."""

    with event.install_listener("numba:compile", Told()):
        yield
