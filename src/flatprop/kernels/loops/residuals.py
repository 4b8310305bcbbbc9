"""The user's residual of a differential equation, as a function that kernels call by address.

It computes the residuals of n points at once, a register full of points at a time. The C signature
is

    double residual(int64_t n, double scale, T *columns, const double *unknowns, double *slopes)

`columns` is (columns, n): x, then values and derivatives in the order of a stack. The function
returns Σ r² over points and residuals. It overwrites the columns behind x with
scale · ∂(Σ r²)/∂column, and adds scale · ∂(Σ r²)/∂unknown to `slopes`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaError

from flatprop.kernels.loops.function_at import array_of, compiled_at, element_of
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import (
    DOUBLE,
    INT64,
    Array,
    broadcast,
    registers,
    sum_of,
    wide,
)
from flatprop.numbers.duals import Dual
from flatprop.numbers.lanes import Lanes
from flatprop.numbers.translated import UntranslatableError, formula_of


class EquationResidual(NamedTuple):
    """A residual for networks of one shape."""

    address: int
    results: int
    """How many residuals the function returns."""
    directions: tuple[int, ...]
    """The directions whose derivatives the residual needs, those with second ones first."""
    seconds: int
    """How many of these have second derivatives in it."""


@global_compiler_lock
def residual_of(
    function: Any, inputs: int, outputs: int, directions: int, unknowns: int, dtype: np.dtype[Any]
) -> EquationResidual:
    """What is compiled of a user's function (x, u, du, d2u, *unknowns), once for each shape.

    Raises a TypeError where that is not possible.
    """
    key = function, inputs, outputs, directions, unknowns, dtype
    number = types.float64
    of_outputs = number if outputs == 1 else types.UniTuple(number, outputs)
    derivatives = types.UniTuple(of_outputs, directions)
    signature = (
        types.UniTuple(number, inputs),
        of_outputs,
        derivatives,
        derivatives,
        *[number] * unknowns,
    )
    name = getattr(function, "__name__", "residual")
    taken = function.py_func.__code__.co_argcount
    if taken != len(signature):
        raise TypeError(
            f"the residual {name} takes {taken} arguments; it must take x, u, du, d2u"
            + f" and {unknowns} unknowns" * bool(unknowns)
        )
    try:
        function.compile(signature)
    except NumbaError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise TypeError(
            f"the residual {name} does not compile for (x, u, du, d2u"
            f"{', unknowns' * bool(unknowns)}): {lines[min(1, len(lines) - 1)]}"
        ) from error
    code = function.overloads[signature]
    if key not in _residuals or _residuals[key][0] is not code:
        results = _results(name, code.signature.return_type)
        sizes = inputs, outputs, directions, unknowns
        _residuals[key] = code, _compiled(function, name, sizes, results, dtype)
    return _residuals[key][1]


_residuals: dict[Any, tuple[Any, EquationResidual]] = {}
"""By function and shape: its code, and what was made of it."""


def _results(name: str, kind: Any) -> int:
    """How many residuals a function of this type returns; 0 for a number that is no tuple."""
    if isinstance(kind, types.Float):
        return 0
    parts = getattr(kind, "types", ())  # of a tuple
    if parts and all(isinstance(part, types.Float) for part in parts):
        return len(parts)
    raise TypeError(f"the residual {name} must return a number or a tuple of numbers, not {kind}")


def _compiled(
    function: Any, name: str, sizes: tuple[int, int, int, int], results: int, dtype: np.dtype[Any]
) -> EquationResidual:
    inputs, outputs, directions, unknowns = sizes
    shim, count = _of_scalars(function, sizes, results), max(results, 1)
    arguments = inputs + outputs * (1 + 2 * directions) + unknowns
    try:
        formula = formula_of(shim, arguments, count)
    except UntranslatableError as error:
        raise TypeError(
            f"the slopes of the residual {name} cannot be derived: {error}. Write it with plain "
            "arithmetic, branches and functions of math, with constants as indices, and without "
            "a loop"
        ) from None
    used = _used(formula, arguments)
    u, du = inputs, inputs + outputs
    d2u = du + outputs * directions

    def wanted(first: int, k: int) -> bool:
        return any(used[first + k * outputs : first + (k + 1) * outputs])

    second = [k for k in range(directions) if wanted(d2u, k)]
    first = [k for k in range(directions) if k not in second and wanted(du, k)]
    chosen = tuple(second + first) or (0,)
    starts = [u, *(du + k * outputs for k in chosen), *(d2u + k * outputs for k in second)]
    columns = [*range(inputs), *(start + o for start in starts for o in range(outputs))]
    places = {argument: place for place, argument in enumerate(columns)}

    def emit(
        builder: ir.IRBuilder, n: ir.Value, scale: ir.Value, data: Any, values: Any, slopes: Any
    ) -> None:
        whole = array_of(builder, builder.mul(n, INT64(len(columns))), data)
        arrays = [whole.part(builder.mul(n, INT64(c)), n) for c in range(len(columns))]
        twice = broadcast(Lanes(builder, scale) * 2.0, whole.element)
        given = [
            broadcast(Lanes(builder, builder.load(builder.gep(values, [INT64(i)]))), whole.element)
            for i in range(unknowns)
        ]
        total, of_unknowns = sum_of(whole), [sum_of(whole) for _ in range(unknowns)]
        for register in registers(*arrays):
            zero = register[0].like(0.0)
            known = [
                register[places[i]] if i in places else zero for i in range(arguments - unknowns)
            ]
            numbers = [*known, *given]
            found = formula(*numbers)
            squares = found[0] * found[0]
            for r in found[1:]:
                squares = squares + r * r
            total.add(wide(register.inside(squares)))
            for i in range(inputs, arguments):
                if i < arguments - unknowns and i not in places:
                    continue
                slope = _slope(formula, numbers, found, i) if used[i] else zero
                if i < arguments - unknowns:
                    register.store(slope * twice, places[i])
                else:
                    place = i - (arguments - unknowns)
                    of_unknowns[place].add(wide(register.inside(slope * twice)))
        for i, sum_ in enumerate(of_unknowns):
            place = builder.gep(slopes, [INT64(i)])
            builder.store((Lanes(builder, builder.load(place)) + sum_.total()).value, place)
        builder.ret(total.total().value)

    address = compiled_at(emit, residual_type(element_of(dtype)))
    return EquationResidual(address, count, chosen, len(second))


def _slope(formula: Callable[..., Any], numbers: list[Lanes], found: Any, i: int) -> Any:
    """Σ r ∂r/∂argument over the residuals."""
    moving = [Dual(x, x.like(1.0)) if j == i else Dual(x) for j, x in enumerate(numbers)]
    total: Any = None
    for r, dual in zip(found, formula(*moving), strict=True):
        if dual._tangent is not None:
            term = r * dual.tangent
            total = term if total is None else total + term
    return numbers[0].like(0.0) if total is None else total


def _used(formula: Callable[..., Any], arguments: int) -> list[bool]:
    """Which arguments the results depend on."""
    kind = ir.FunctionType(ir.VoidType(), [DOUBLE] * arguments)
    nowhere = ir.Function(ir.Module(), kind, "nowhere")
    builder = ir.IRBuilder(nowhere.append_basic_block())
    numbers = [Lanes(builder, argument) for argument in nowhere.args]
    used = []
    for i in range(arguments):
        moving = [Dual(x, x.like(1.0)) if j == i else Dual(x) for j, x in enumerate(numbers)]
        used.append(any(r._tangent is not None for r in formula(*moving)))
    return used


def _of_scalars(function: Any, sizes: tuple[int, int, int, int], results: int) -> Any:
    """The function, compiled to take numbers and to write its results through pointers."""
    inputs, outputs, directions, unknowns = sizes
    names = iter(f"a{i}" for i in range(inputs + outputs * (1 + 2 * directions) + unknowns))

    def of_outputs() -> str:
        return next(names) if outputs == 1 else tupled([next(names) for _ in range(outputs)])

    def tupled(parts: list[str]) -> str:
        return f"({', '.join(parts)},)"

    x = tupled([next(names) for _ in range(inputs)])
    u = of_outputs()
    du, d2u = (tupled([of_outputs() for _ in range(directions)]) for _ in range(2))
    given = [x, u, du, d2u, *names]
    arguments = [f"a{i}" for i in range(inputs + outputs * (1 + 2 * directions) + unknowns)]
    places = [f"r{i}" for i in range(max(results, 1))]
    stores = [f"{r}[0] = found{f'[{i}]' * (results > 0)}" for i, r in enumerate(places)]
    lines = [f"def shim({', '.join(arguments + places)}):"]
    lines += [f"found = function({', '.join(given)})", *stores]
    namespace = {"function": function}
    exec("\n    ".join(lines), namespace)
    pointers = [types.CPointer(types.float64)] * len(places)
    signature = types.void(*[types.float64] * len(arguments), *pointers)
    options: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy"}
    shim = numba.njit(signature, **options)(namespace["shim"])
    return shim.overloads[signature.args]


def residual_type(element: ir.Type) -> ir.FunctionType:
    """The type of such a function."""
    doubles = DOUBLE.as_pointer()
    return ir.FunctionType(DOUBLE, [INT64, DOUBLE, element.as_pointer(), doubles, doubles])


@routine(types.float64, function=types.int64, scale=types.float64)
def squared_residuals(
    builder: ir.IRBuilder,
    function: ir.Value,
    scale: ir.Value,
    columns: Array,
    unknowns: Array,
    slopes: Array,
) -> ir.Value:
    """What the function at this address returns; `columns` is (columns, n)."""
    address = builder.inttoptr(function, residual_type(columns.element).as_pointer())
    given = columns.shape[1], scale, columns.data, unknowns.data, slopes.data
    return builder.call(address, given)
