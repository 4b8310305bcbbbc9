"""Warnings, shown at the line of the user's code that called into this package."""

import contextlib
import sys
import threading
import warnings
from collections.abc import Iterator


class DivergenceWarning(RuntimeWarning):
    """The loss, or the state of an optimizer, became NaN or infinite during training."""


class ResolutionWarning(UserWarning):
    """The network's dtype can hardly tell the values of a column of X apart."""


class _Held(threading.local):
    back: list[tuple[str, type[Warning]]] | None = None


_held = _Held()


@contextlib.contextmanager
def held_back() -> Iterator[list[tuple[str, type[Warning]]]]:
    """The messages and categories of the warnings of this thread, which are not shown meanwhile.

    A thread that helps has no line of the user's to show them at.
    """
    before, _held.back = _held.back, []
    try:
        yield _held.back
    finally:
        _held.back = before


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line that is neither of this package nor of sklearn.callback."""
    if _held.back is not None:
        _held.back.append((message, category))
        return
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_inside(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_inside(module: str) -> bool:
    return module.split(".")[0] == "flatprop" or module.startswith("sklearn.callback")
