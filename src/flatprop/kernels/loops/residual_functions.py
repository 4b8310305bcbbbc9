"""The user's functions of an equation: their types, and themselves as functions of numbers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numba
from numba.core import types
from numba.core.errors import NumbaError


class Shape(NamedTuple):
    """What a residual is given."""

    inputs: int
    outputs: int
    directions: int
    unknowns: int

    @property
    def derived(self) -> int:
        """How many numbers u, du and d2u have."""
        return self.outputs * (1 + 2 * self.directions)

    @property
    def arguments(self) -> int:
        """How many numbers there are."""
        return self.inputs + self.derived + self.unknowns

    @property
    def signature(self) -> tuple[Any, ...]:
        """The types of (x, u, du, d2u, *unknowns)."""
        number = types.float64
        u = number if self.outputs == 1 else types.UniTuple(number, self.outputs)
        du = types.UniTuple(u, self.directions)
        return types.UniTuple(number, self.inputs), u, du, du, *[number] * self.unknowns


def name_of(function: Any) -> str:
    return str(getattr(function, "__name__", "residual"))


def compiled_for(function: Any, what: str, shape: Shape) -> tuple[Any, Any]:
    """The type of what a user's function returns, and its code."""
    name, signature, unknowns = name_of(function), shape.signature, shape.unknowns
    taken = function.py_func.__code__.co_argcount
    if taken != len(signature):
        raise TypeError(
            f"the {what} {name} takes {taken} arguments; it must take x, u, du, d2u"
            + f" and {unknowns} unknowns" * bool(unknowns)
        )
    try:
        function.compile(signature)
    except NumbaError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise TypeError(
            f"the {what} {name} does not compile for (x, u, du, d2u"
            f"{', unknowns' * bool(unknowns)}): {lines[min(1, len(lines) - 1)]}"
        ) from error
    code = function.overloads[signature]
    return code.signature.return_type, code


def results_of(name: str, kind: Any) -> int:
    """How many residuals a function of this type returns; 0 for a number that is no tuple."""
    if isinstance(kind, types.Float):
        return 0
    parts = getattr(kind, "types", ())  # of a tuple
    if parts and all(isinstance(part, types.Float) for part in parts):
        return len(parts)
    raise TypeError(f"the residual {name} must return a number or a tuple of numbers, not {kind}")


def check_slopes(name: str, kind: Any, shape: Shape, results: int) -> None:
    """Whether a function of this type returns derivatives of so many residuals."""

    def fits(kind: Any, like: Any) -> bool:
        if not isinstance(like, types.BaseTuple):
            return isinstance(kind, types.Float | types.Integer)
        parts, wanted = getattr(kind, "types", ()), getattr(like, "types", ())
        return len(parts) == len(wanted) and all(map(fits, parts, wanted))

    of_one = types.Tuple(shape.signature[1:])
    like = of_one if results == 0 else types.Tuple([of_one] * results)
    if not fits(kind, like):
        of_each = " for each residual" if results else ""
        raise TypeError(
            f"the slopes {name} must return the derivatives of the residual with respect to u, "
            f"du, d2u{' and each unknown' * bool(shape.unknowns)}, in tuples like these{of_each}, "
            f"not {kind}"
        )


def places_of(found: str, results: int) -> list[str]:
    """Where the residuals are in what a function returned."""
    return [f"{found}[{i}]" for i in range(results)] or [found]


def slope_places(found: str, shape: Shape) -> list[str]:
    """Where the derivatives of one residual are in what a function returned."""

    def of_outputs(place: str) -> list[str]:
        return places_of(place, shape.outputs if shape.outputs > 1 else 0)

    along = [f"{found}[{part}][{k}]" for part in (1, 2) for k in range(shape.directions)]
    places = [place for one in (f"{found}[0]", *along) for place in of_outputs(one)]
    return places + [f"{found}[{3 + i}]" for i in range(shape.unknowns)]


def of_scalars(function: Any, shape: Shape, places: Sequence[str]) -> Any:
    """The function, compiled to take numbers and to write its results through pointers.

    `places` are expressions of what it returns, which is called `found`.
    """
    arguments = [f"a{i}" for i in range(shape.arguments)]
    names = iter(arguments)

    def of_outputs() -> str:
        if shape.outputs == 1:
            return next(names)
        return tupled([next(names) for _ in range(shape.outputs)])

    def tupled(parts: list[str]) -> str:
        return f"({', '.join(parts)},)"

    x = tupled([next(names) for _ in range(shape.inputs)])
    u = of_outputs()
    du, d2u = (tupled([of_outputs() for _ in range(shape.directions)]) for _ in range(2))
    pointers = [f"r{i}" for i in range(len(places))]
    lines = [f"def shim({', '.join(arguments + pointers)}):"]
    lines += [f"found = function({', '.join([x, u, du, d2u, *names])})"]
    lines += [f"{r}[0] = {place}" for r, place in zip(pointers, places, strict=True)]
    namespace = {"function": function}
    exec("\n    ".join(lines), namespace)
    kinds = [types.float64] * len(arguments) + [types.CPointer(types.float64)] * len(places)
    signature = types.void(*kinds)
    options: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy"}
    shim = numba.njit(signature, **options)(namespace["shim"])
    return shim.overloads[signature.args]
