"""Warnings, shown at the line of the user's code that called into this package."""

import sys
import warnings


class DivergenceWarning(RuntimeWarning):
    """The loss, or the state of an optimizer, became NaN or infinite during training."""


class ResolutionWarning(UserWarning):
    """The network's dtype can hardly tell the values of a column of X apart."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line that is neither of this package nor of sklearn.callback."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_inside(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_inside(module: str) -> bool:
    return module.split(".")[0] == "flatprop" or module.startswith("sklearn.callback")
