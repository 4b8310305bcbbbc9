"""Numbers with a bound of their rounding error: how far a formula may be off, to first order.

A formula that is called with them gives values in float64, and how far rounded arithmetic, as
in C, may be from these values (running error analysis; Higham 2002, 3.3). The bound has three
sources:

| source | its part of the bound |
| --- | --- |
| an operation | half a unit of the last place |
| a function of <math.h> | `FUNCTION` halves of a unit of the last place |
| an operand that is off already | its error times the slope of the operation |

If a comparison may come out either way, both branches count.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from flatprop.numbers.numbers import Elementary, Number

FUNCTION = 8.0
"""An elementary function is within 4 units of the last place, here and in C: 8 halves."""

_VALUES: dict[str, Callable[..., Any]] = {
    **{"exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p},
    **{"sin": np.sin, "cos": np.cos, "tan": np.tan, "atan": np.arctan},
    **{"sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh},
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
}


class Precision(NamedTuple):
    """The precision of the arithmetic whose errors are bounded."""

    unit: float
    """Half a unit of the last place of 1."""
    least: float
    """How far an operation may be off if its result is below the normal numbers."""


class Rounded(Number):
    """An array of values, and how far each may be off."""

    __slots__ = ("error", "precision", "value")

    def __init__(self, precision: Precision, value: Any, error: Any = 0.0) -> None:
        self.precision = precision
        self.value = np.asarray(value, np.float64)
        self.error = np.asarray(error, np.float64)

    def like(self, number: "Rounded | float") -> "Rounded":
        if isinstance(number, Rounded):
            return number
        return Rounded(self.precision, number, self.precision.unit * abs(number))

    def _rounded(self, value: Any, error: Any, roundings: float = 1.0) -> "Rounded":
        unit, least = self.precision
        return Rounded(self.precision, value, error + roundings * (unit * np.abs(value) + least))

    def _arithmetic(self, sign: str, left: "Rounded", right: "Rounded") -> "Rounded":
        x, y = left.value, right.value
        match sign:
            case "+":
                return self._rounded(x + y, left.error + right.error)
            case "-":
                return self._rounded(x - y, left.error + right.error)
            case "*":
                return self._rounded(x * y, left.error * np.abs(y) + right.error * np.abs(x))
        quotient = x / y
        error = (left.error + right.error * np.abs(quotient)) / np.abs(y)
        return self._rounded(quotient, error)

    def _compare(self, sign: str, other: "Rounded") -> Any:
        x, y = self.value, other.value
        holds = {"<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y, "==": x == y}[sign]
        error = self.error + other.error
        return holds, (np.abs(x - y) <= error) & (error > 0) & (x != y)

    def _select(self, mask: Any, yes: "Rounded", no: "Rounded") -> "Rounded":
        holds, unsure = mask
        value = np.where(holds, yes.value, no.value)
        error = np.where(holds, yes.error, no.error)
        either = np.maximum(yes.error, no.error) + np.abs(yes.value - no.value)
        return Rounded(self.precision, value, np.where(unsure, either, error))

    def _function(self, name: str, *operands: "Rounded") -> "Rounded":
        x = operands[0]
        match name:
            case "fma":
                return x * operands[1] + operands[2]
            case "fabs":
                return Rounded(self.precision, np.abs(x.value), x.error)
            case "copysign":
                return Rounded(self.precision, np.copysign(x.value, operands[1].value), x.error)
            case "sqrt":
                value = np.sqrt(x.value)
                # if x may be 0, its root may be as large as the root of its error
                error = np.minimum(x.error / (2 * value), np.sqrt(x.error))
                return self._rounded(value, np.where(x.error > 0, error, 0.0))
        _, y = operands  # of "pow"
        value = np.power(x.value, y.value)
        by_x = np.abs(y.value * np.power(x.value, y.value - 1.0)) * x.error
        by_y = np.abs(value * np.log(np.abs(x.value))) * y.error
        return self._rounded(value, by_x + np.where(y.error > 0, by_y, 0.0), FUNCTION)

    def _elementary(self, function: Elementary) -> "Rounded":
        value = self._rounded(_VALUES[function.c_name](self.value), 0.0, FUNCTION)
        if not self.error.any():
            return value
        # x and y without errors: otherwise the slope of sin would need the slope of cos, and the
        # slope of cos that of sin, without end
        x, y = Rounded(self.precision, self.value), Rounded(self.precision, value.value)
        slope = np.abs(function.derivative(x, y).value)
        return Rounded(self.precision, value.value, value.error + slope * self.error)

    def __neg__(self) -> "Rounded":
        return Rounded(self.precision, -self.value, self.error)
