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
    if function.py_func.__code__.co_argcount == 3:
        raise TypeError(
            f"{what} takes three arguments, as a loss of a whole row of outputs does; write "
            f"loss=fp.losses.Row({_name(function)}, targets=...)"
        )
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


ROW_CALL = "(prediction, y, slope) -> value"


def check_row_function(function: Any) -> None:
    """Raise unless `function` is compiled, and of three arrays."""
    what = f"loss {_name(function)}"
    _check_compiled(what, function, ROW_CALL, "three float64 arrays", row=True)
    count = function.py_func.__code__.co_argcount
    if count != 3:
        raise TypeError(
            f"{what} takes {count} arguments; it must take three arrays, {ROW_CALL}, of which it "
            "writes the last"
        )


def check_row(function: Any, outputs: int, targets: int) -> None:
    """Raise unless value and slope of the loss of a row belong together, for so many outputs.

    The slopes are compared with differences of the value along random directions.
    """
    what = f"loss {_name(function)}"
    rng, checked = np.random.default_rng(0), 0
    y_kinds = (
        lambda: rng.normal(size=targets),
        lambda: rng.integers(0, 2, targets).astype(np.float64),
        lambda: rng.uniform(0.1, 0.9, targets),
    )
    _check_bounds(what, function, outputs, targets)
    for trial in range(ROWS_TRIED):
        prediction = rng.normal(size=outputs) * (0.5, 1.0, 2.0)[trial % 3] + math.pi / 100
        if trial % 2:
            prediction = abs(prediction)  # perhaps the loss takes logarithms
        y = y_kinds[trial % 3]()
        value, slope = _row(what, function, prediction, y)
        if not math.isfinite(value):
            continue  # perhaps outside of the loss's domain
        checked += 1
        if not np.isfinite(slope).all():
            place = int(np.argmin(np.isfinite(slope)))
            raise ValueError(
                f"{what} leaves slope[{place}] as it was, or makes it {slope[place]}, where its "
                f"value is {value:.6g}; it must write the derivative for each of the {outputs} "
                f"output{'s' * (outputs > 1)}"
            )
        direction = rng.normal(size=outputs) / math.sqrt(outputs)
        if trial < outputs and trial % 2 == 0:
            direction = np.eye(1, outputs, trial)[0]

        def at(step: float, p: Any = prediction, y: Any = y, direction: Any = direction) -> float:
            return _row(what, function, p + step * direction, y)[0]

        along = float(slope @ direction)
        best = _nearest_difference(0.0, along, at)
        if not _agree(along, best):
            raise ValueError(
                f"{what} writes the slopes {_some(slope)} at prediction = {_some(prediction)} and "
                f"y = {_some(y)}, which make {along:.6g} along {_some(direction)}, but its value "
                f"changes by {best:.6g} there (by central differences)"
            )
    if not checked:
        raise ValueError(
            f"{what} is finite nowhere: it was tried with {ROWS_TRIED} rows of {outputs} "
            f"predictions and {targets} targets"
        )


ROWS_TRIED = 24
"""How many rows a loss of rows is tried with."""


def _check_bounds(what: str, function: Any, outputs: int, targets: int) -> None:
    """Raise if the function looks beyond its arrays, which compiled code does not notice."""
    given = np.full(outputs, 0.5), np.full(targets, 0.25), np.zeros(outputs)
    try:
        function.py_func(*given)
    except IndexError as error:
        raise ValueError(
            f"{what} looks beyond an array: {error}; it is given {outputs} predictions and "
            f"{targets} targets"
        ) from None
    except Exception:  # the compiled function says what is wrong, if anything is
        return


def _row(what: str, function: Any, prediction: Any, y: Any) -> tuple[float, Any]:
    """Value and slopes of one row."""
    from numba.core.errors import NumbaError

    slope, targets = np.full(prediction.size, math.nan), y.copy()
    try:
        value = function(prediction.copy(), targets, slope)
    except NumbaError as error:
        raise TypeError(
            f"{what} does not compile for three float64 arrays: {_reason(error)}"
        ) from error
    except ZeroDivisionError:
        return math.nan, slope
    except Exception as error:
        raise ValueError(
            f"{what} raises {error!r} for {prediction.size} predictions and {y.size} targets"
        ) from error
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{what} must return one number, its value, not {value!r}") from None
    if not np.array_equal(targets, y):
        raise ValueError(f"{what} changes y; it must only write to slope")
    return number, slope


def _name(function: Any) -> str:
    return getattr(function, "__name__", repr(function))


def row_signature() -> tuple[Any, ...]:
    """The types that the loss of a row is compiled for."""
    from numba import float64

    return (float64[::1],) * 3


def _check_compiled(
    what: str,
    function: Any,
    shape: str,
    needed: str = "float64",
    row: bool = False,
) -> None:
    from numba import float64
    from numba.core.registry import CPUDispatcher

    if isinstance(function, CPUDispatcher):
        if getattr(function, "_can_compile", True):
            return
        given = function.signatures
        if (row_signature() not in given) if row else (float64 not in given[0]):
            raise TypeError(
                f"{what} is compiled for {given[0][0]} only; it is needed for "
                f"{needed}: decorate it with @numba.njit without a signature"
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
        raise TypeError(
            f"{what} does not compile for float64 numbers: {_reason(error)}"
        ) from error
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


def _reason(error: Exception) -> str:
    """What Numba says of the user's code; its first line is about Numba."""
    reason = [line.strip() for line in str(error).splitlines() if line.strip()]
    return reason[1] if len(reason) > 1 else "".join(reason)


def _check_slope(
    what: str, name: str, x: float, slope: float, value: Callable[[float], float]
) -> None:
    """Compare a slope with central differences."""
    best = _nearest_difference(x, slope, value)
    if not _agree(slope, best):
        raise ValueError(
            f"{what} gives the slope {slope:.6g} at {name} = {x:.6g}, but its value changes by "
            f"{best:.6g} there (by central differences)"
        )


def _nearest_difference(x: float, slope: float, value: Callable[[float], float]) -> float:
    """The nearer to the slope of two central differences: the wider may reach across a kink."""
    quotients = [central_difference(value, x, h) for h in (1e-3, 1e-5)]
    best: float = min(quotients, key=lambda quotient: abs(quotient - slope))
    return best


def _agree(slope: float, difference: float) -> bool:
    return abs(difference - slope) <= TOLERANCE * max(1.0, abs(slope), abs(difference))


def _some(numbers: Any) -> str:
    return np.array2string(numbers, precision=4, threshold=6, edgeitems=3)
