"""Kinds of number: what a formula may do with its arguments.

A formula is plain Python arithmetic, written once. The kind of its arguments decides what a
call does:

| kind | a formula that is called with it |
| --- | --- |
| `Lanes` | writes the instructions of a loop |
| `Dual` | computes its derivative, too |
| `CNumber` | writes the text of a C function |
| `Rounded` | bounds its own rounding error |

A new kind of number is a class that says what its arithmetic does; formulas stay as they are.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar


class Number(ABC):
    """The base of all kinds: the operators and functions below call its abstract methods."""

    __slots__ = ()

    @abstractmethod
    def like(self, number: Self | float) -> Self:
        """`number` as a number of this kind."""

    @abstractmethod
    def _arithmetic(self, sign: str, left: Self, right: Self) -> Self:
        """`+`, `-`, `*` or `/`."""

    @abstractmethod
    def _compare(self, sign: str, other: Self) -> Any:
        """`<`, `<=`, `>`, `>=` or `==`: a mask for `where`, false for NaN."""

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

    def __abs__(self) -> Any:  # it is Self, but type checkers lose that in abs()
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
        """A mask of where both are the same number; `==` compares Python objects as usual."""
        return self._compare("==", self.like(other))


N = TypeVar("N", bound=Number)
T = TypeVar("T")


class Bits(Protocol):
    """The bits behind a number, read as a signed integer of the same width."""

    def __sub__(self, other: Any) -> Any: ...

    def __neg__(self) -> Any: ...

    def __rshift__(self, places: int) -> Any: ...

    def __lshift__(self, places: int) -> Any: ...

    def plus(self, number: int) -> Any:
        """Add one Python integer."""

    def read_as(self, like: Any) -> Any:
        """The number that has these bits, of the kind that `like` is."""

    def converted(self, like: Any) -> Any:
        """The integer as a number of the kind that `like` is; below 2²² in size."""


class BinaryNumber(Number):
    """The base of the kinds that elementary functions are written in: their bits can be had."""

    __slots__ = ()

    @property
    @abstractmethod
    def bits(self) -> int:
        """The width: 32 or 64."""

    @abstractmethod
    def as_integers(self) -> Any:
        """The bit pattern, as `Bits`."""

    def choose(self, float32: T, float64: T) -> T:
        """The argument that belongs to this dtype: a constant or a table of coefficients."""
        return float32 if self.bits == 32 else float64


B = TypeVar("B", bound=BinaryNumber)


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
    """x to the y, by the C library: too slow for every element of an array."""
    return x._function("pow", x, x.like(y))


def minimum(x: N, bound: N | float) -> N:
    """The smaller one; NaN stays NaN."""
    return where(x > bound, bound, x)


def maximum(x: N, bound: N | float) -> N:
    """The larger one; NaN stays NaN."""
    return where(x < bound, bound, x)


class Elementary:
    """A function that a `BinaryNumber` computes by itself, and what other kinds need of it.

    Parameters
    ----------
    body
        Its formula, for every `BinaryNumber`.
    derivative
        A formula for every kind of number: the derivative from x and the value.
    c_name
        The name of the function in C's <math.h>; None if it is the name of `body`.
    of_c_library
        Whether the body is nothing but a call of that function.
    """

    def __init__(
        self,
        body: Callable[[Any], Any],
        derivative: Callable[[Any, Any], Any],
        c_name: str | None,
        of_c_library: bool = False,
    ) -> None:
        self.__name__ = body.__name__
        self.__doc__ = body.__doc__
        self.body = body
        self.derivative = derivative
        self.c_name = c_name or body.__name__
        self.of_c_library = of_c_library

    def __call__(self, x: N) -> N:
        return x._elementary(self)


def elementary(
    derivative: Callable[[Any, Any], Any], c_name: str | None = None
) -> Callable[[Callable[[Any], Any]], Elementary]:
    """A decorator: makes an `Elementary` of a body."""
    return lambda body: Elementary(body, derivative, c_name)


def central_difference(f: Callable[[Any], Any], x: Any, h: Any) -> Any:
    """f'(x) by central differences of the fourth order (Fornberg 1988)."""
    near, far = f(x + h) - f(x - h), f(x + 2.0 * h) - f(x - 2.0 * h)
    return (8.0 * near - far) / (12.0 * h)
