"""Dual numbers: a value and how fast it changes.

A formula that is called with dual numbers gives its results and their derivatives in the
direction of its arguments' tangents. The derivatives are exact, by the chain rule (forward-mode
differentiation; Wengert 1964). Activations return (a, da/dz) and losses (value, slope). The
tangent of this second result is a second derivative times the argument's tangent: the product
of a Hessian with a vector consists of such numbers (Pearlmutter 1994).

At a kink the derivative is that of the branch from which the value comes.
"""

from typing import Any

from flatprop.numbers.elementary import log
from flatprop.numbers.lanes import Lanes, Mask
from flatprop.numbers.numbers import Elementary, Number, copysign, fma, power, sqrt, where


class Dual(Number):
    """A number x + ε ẋ, where ε² = 0.

    Parameters
    ----------
    value
        x.
    tangent
        ẋ; None for a constant, which costs no instructions.
    """

    __slots__ = ("_tangent", "value")

    def __init__(self, value: Lanes, tangent: Lanes | None = None) -> None:
        self.value = value
        self._tangent = tangent

    @property
    def tangent(self) -> Lanes:
        """ẋ; 0 for a constant."""
        return self.value.like(0.0) if self._tangent is None else self._tangent

    def like(self, number: "Dual | float") -> "Dual":
        return number if isinstance(number, Dual) else Dual(self.value.like(number))

    def _arithmetic(self, sign: str, left: "Dual", right: "Dual") -> "Dual":
        x, y = left.value, right.value
        match sign:
            case "+":
                return Dual(x + y, _change((left, 1.0), (right, 1.0)))
            case "-":
                return Dual(x - y, _change((left, 1.0), (right, -1.0)))
            case "*":
                return Dual(x * y, _change((left, y), (right, x)))
        quotient = x / y
        change = _change((left, 1.0), (right, -quotient))
        return Dual(quotient, None if change is None else change / y)

    def _compare(self, sign: str, other: "Dual") -> Mask:
        return self.value._compare(sign, other.value)

    def _select(self, mask: Mask, yes: "Dual", no: "Dual") -> "Dual":
        constant = yes._tangent is None and no._tangent is None
        change = None if constant else where(mask, yes.tangent, no.tangent)
        return Dual(where(mask, yes.value, no.value), change)

    def _function(self, name: str, *operands: "Dual") -> "Dual":
        x = operands[0]
        match name:
            case "fabs":
                return Dual(abs(x.value), _sign_changed(x.value < 0.0, x))
            case "sqrt":
                root = sqrt(x.value)
                return Dual(root, _change((x, 0.5 / root)))
            case "fma":
                _, y, z = operands
                change = _change((x, y.value), (y, x.value), (z, 1.0))
                return Dual(fma(x.value, y.value, z.value), change)
            case "copysign":
                value = copysign(x.value, operands[1].value)
                return Dual(value, _sign_changed(value * x.value < 0.0, x))
            case "pow":
                _, y = operands
                value = power(x.value, y.value)
                slope = y.value * power(x.value, y.value - 1.0)
                return Dual(value, _change((x, slope), (y, value * log(x.value))))
        raise NotImplementedError(name)

    def _elementary(self, function: Elementary) -> "Dual":
        value = function(self.value)
        if self._tangent is None:
            return Dual(value)
        return Dual(value, function.derivative(self.value, value) * self._tangent)

    def __neg__(self) -> "Dual":
        return Dual(-self.value, None if self._tangent is None else -self._tangent)


def twice_dual(x: Lanes) -> Any:
    """x for second derivatives: a formula's result y has y″ in ``y.tangent.tangent``.

    The value and the tangent are dual numbers themselves.
    """
    inner: Any = Dual(x, x.like(1.0)), Dual(x.like(1.0))
    return Dual(*inner)


def _change(*terms: tuple[Dual, Lanes | float]) -> Lanes | None:
    """Σ ẋ ∂f/∂x over the arguments x that are not constant."""
    total: Lanes | None = None
    for x, partial in terms:
        if x._tangent is not None:
            total = x._tangent * partial if total is None else fma(x._tangent, partial, total)
    return total


def _sign_changed(mask: Mask, x: Dual) -> Lanes | None:
    return None if x._tangent is None else where(mask, -x._tangent, x._tangent)
