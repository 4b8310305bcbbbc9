"""Warnings, told in the line of the user's that called into this package."""

import sys
import warnings


class DivergenceWarning(RuntimeWarning):
    """The loss became NaN or infinite during training, or what an optimizer remembers did."""


class ResolutionWarning(UserWarning):
    """A column of X varies too little, for its size, to be told apart in the network's dtype."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn in the innermost line that belongs neither to this package nor to scikit-learn's
    wrappers around its estimators.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_inside(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_inside(module: str) -> bool:
    return module.split(".")[0] == "flatprop" or module.startswith("sklearn.callback")
