"""Kinds of number: what a formula may do with its arguments, whatever they are.

A formula is plain Python arithmetic, written once. Called with `Lanes` it writes
the instructions of a loop, with `Dual` numbers also those of its own derivative,
with `CNumber`s the text of a C function. A new kind of number is a class that
says what its arithmetic does; no formula has to know.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self, TypeVar


class Number(ABC):
    """What the operators and functions below come down to."""

    __slots__ = ()

    @abstractmethod
    def like(self, number: Self | float) -> Self:
        """`number` as a number of this kind."""

    @abstractmethod
    def _arithmetic(self, sign: str, left: Self, right: Self) -> Self:
        """`+`, `-`, `*` or `/`."""

    @abstractmethod
    def _compare(self, sign: str, other: Self) -> Any:
        """`<`, `<=`, `>`, `>=` or `==`, as `where` takes it; false for NaN."""

    @abstractmethod
    def _select(self, mask: Any, yes: Self, no: Self) -> Self:
        """`yes` where `mask` holds."""

    @abstractmethod
    def _function(self, name: str, *operands: Self) -> Self:
        """`fabs`, `sqrt`, `fma`, `copysign` or `pow`, as both LLVM and C call it."""

    @abstractmethod
    def _elementary(self, function: "Elementary") -> Self:
        """An elementary function of this number."""

    @abstractmethod
    def __neg__(self) -> Self: ...

    def __abs__(self) -> Any:  # Self; but type checkers forget it on the way through abs()
        return self._function("fabs", self)

    def __add__(self, other: Self | float) -> Self:
        return self._arithmetic("+", self, self.like(other))

    def __radd__(self, other: float) -> Self:
        return self._arithmetic("+", self.like(other), self)

    def __sub__(self, other: Self | float) -> Self:
        return self._arithmetic("-", self, self.like(other))

    def __rsub__(self, other: float) -> Self:
        return self._arithmetic("-", self.like(other), self)

    def __mul__(self, other: Self | float) -> Self:
        return self._arithmetic("*", self, self.like(other))

    def __rmul__(self, other: float) -> Self:
        return self._arithmetic("*", self.like(other), self)

    def __truediv__(self, other: Self | float) -> Self:
        return self._arithmetic("/", self, self.like(other))

    def __rtruediv__(self, other: float) -> Self:
        return self._arithmetic("/", self.like(other), self)

    def __lt__(self, other: Self | float) -> Any:
        return self._compare("<", self.like(other))

    def __le__(self, other: Self | float) -> Any:
        return self._compare("<=", self.like(other))

    def __gt__(self, other: Self | float) -> Any:
        return self._compare(">", self.like(other))

    def __ge__(self, other: Self | float) -> Any:
        return self._compare(">=", self.like(other))

    def equals(self, other: Self | float) -> Any:
        """Where both are the same number (`==` is left to Python objects)."""
        return self._compare("==", self.like(other))


N = TypeVar("N", bound=Number)


def where(mask: Any, yes: N | float, no: N | float) -> N:
    """`yes` where `mask` holds, `no` elsewhere; at least one of them is a `Number`."""
    model = yes if isinstance(yes, Number) else no
    assert isinstance(model, Number)
    return model._select(mask, model.like(yes), model.like(no))


def fma(a: N, b: N | float, c: N | float) -> N:
    """a b + c, rounded once."""
    return a._function("fma", a, a.like(b), a.like(c))


def sqrt(x: N) -> N:
    """The square root, correctly rounded."""
    return x._function("sqrt", x)


def copysign(magnitude: N | float, sign: N) -> N:
    """|magnitude| with the sign of `sign`, zeros included."""
    return sign._function("copysign", sign.like(magnitude), sign)


def power(x: N, y: N | float) -> N:
    """x to the y, by the C library: for one number per step, not for arrays."""
    return x._function("pow", x, x.like(y))


def minimum(x: N, bound: N | float) -> N:
    """The smaller one; NaN stays NaN."""
    return where(x > bound, bound, x)


def maximum(x: N, bound: N | float) -> N:
    """The larger one; NaN stays NaN."""
    return where(x < bound, bound, x)


class Elementary:
    """A function whose instructions only `Lanes` can write, and what other kinds need.

    Parameters
    ----------
    body
        How `Lanes` compute it.
    derivative
        Its derivative from x and the value, a formula for every kind of number.
    c_name
        The function of C's <math.h> that computes it.
    """

    def __init__(
        self,
        body: Callable[[Any], Any],
        derivative: Callable[[Any, Any], Any],
        c_name: str | None,
    ) -> None:
        self.__name__ = body.__name__
        self.__doc__ = body.__doc__
        self.body = body
        self.derivative = derivative
        self.c_name = c_name or body.__name__

    def __call__(self, x: N) -> N:
        return x._elementary(self)


def elementary(
    derivative: Callable[[Any, Any], Any], c_name: str | None = None
) -> Callable[[Callable[[Any], Any]], Elementary]:
    """Set a function's derivative, and its name in C if that is another, beside its body."""
    return lambda body: Elementary(body, derivative, c_name)
