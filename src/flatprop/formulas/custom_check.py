"""Checks of the user's own activations and losses, made when a layer or a loss is created."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from flatprop.numbers.numbers import central_difference

POINTS = tuple(np.linspace(-4.0, 4.0, 40) + math.pi / 100)
"""The points at which a function is tried; not 0 or 1, where it may have a kink."""
TOLERANCE = 1e-5
"""How far a slope may be from the difference quotient; the error of a wrong slope is larger."""


def checked_activation(function: Any) -> Any:
    """`function`, if it is a compiled z -> (a, da/dz); a clear error otherwise."""
    what = f"activation {_name(function)}"
    _check_compiled(what, function, "z -> (a, da/dz)")
    for z in POINTS:
        a, slope = _values(what, function, z)
        if not (math.isfinite(a) and math.isfinite(slope)):
            raise ValueError(
                f"{what} gives ({a}, {slope}) at z = {z:.6g}; it must be finite for every z"
            )
        _check_slope(what, "z", z, slope, lambda x: _values(what, function, x)[0])
    return function


def checked_loss(function: Any) -> Any:
    """`function`, if it is a compiled (ŷ, y) -> (value, slope); a clear error otherwise."""
    what = f"loss {_name(function)}"
    _check_compiled(what, function, "(prediction, y) -> (value, slope)")
    checked = 0
    for prediction in POINTS:
        # y is never the prediction itself: most losses have a kink or a minimum there.
        for y in (0.0, 1.0, prediction + 0.37, prediction - 0.73):
            value, slope = _values(what, function, prediction, y)
            if not math.isfinite(value):
                continue  # perhaps outside of the loss's domain
            checked += 1
            where = f"y = {y:.6g} and prediction"

            def at(x: float, y: float = y) -> float:
                return _values(what, function, x, y)[0]

            _check_slope(what, where, prediction, slope, at)
    if not checked:
        raise ValueError(
            f"{what} is finite nowhere: it was tried with predictions from {POINTS[0]:.3g} to "
            f"{POINTS[-1]:.3g}"
        )
    return function


def _name(function: Any) -> str:
    return getattr(function, "__name__", repr(function))


def _check_compiled(what: str, function: Any, shape: str) -> None:
    from numba import float64
    from numba.core.registry import CPUDispatcher

    if isinstance(function, CPUDispatcher):
        if not (getattr(function, "_can_compile", True) or float64 in function.signatures[0]):
            raise TypeError(
                f"{what} is compiled for {function.signatures[0][0]} only; it is needed for "
                "float64: decorate it with @numba.njit without a signature"
            )
        return
    if callable(function):
        raise TypeError(f"{what} is not compiled; decorate the function {shape} with @numba.njit")
    raise TypeError(f"{what} must be a name or a function {shape} compiled by @numba.njit")


def _values(what: str, function: Callable[..., Any], *arguments: float) -> tuple[float, float]:
    from numba.core.errors import NumbaError

    try:
        values = function(*map(float, arguments))
    except NumbaError as error:
        reason = [line.strip() for line in str(error).splitlines() if line.strip()]
        detail = reason[1] if len(reason) > 1 else "".join(reason)  # the first is about Numba
        raise TypeError(f"{what} does not compile for float64 numbers: {detail}") from error
    except ZeroDivisionError:
        return math.nan, math.nan  # it is not raised when kernels call the function
    except TypeError as error:
        raise TypeError(
            f"{what} cannot be called with {len(arguments)} numbers: {error}"
        ) from None
    except Exception as error:
        where = ", ".join(f"{x:.6g}" for x in arguments)
        raise ValueError(f"{what} raises {error!r} at {where}") from error
    if not (isinstance(values, tuple) and len(values) == 2):
        raise TypeError(f"{what} must return two numbers, its value and its slope, not {values!r}")
    try:
        return float(values[0]), float(values[1])
    except (TypeError, ValueError):
        raise TypeError(f"{what} must return two numbers, not {values!r}") from None


def _check_slope(
    what: str, name: str, x: float, slope: float, value: Callable[[float], float]
) -> None:
    """Compare a slope with central differences of two widths.

    The nearer of both quotients counts, for the wider one may reach across a kink.
    """
    quotients = [central_difference(value, x, h) for h in (1e-3, 1e-5)]
    best = min(quotients, key=lambda quotient: abs(quotient - slope))
    if not abs(best - slope) <= TOLERANCE * max(1.0, abs(slope), abs(best)):
        raise ValueError(
            f"{what} gives the slope {slope:.6g} at {name} = {x:.6g}, but its value changes by "
            f"{best:.6g} there (by central differences)"
        )
