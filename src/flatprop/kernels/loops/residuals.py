"""The user's residual of a differential equation, as a function that kernels call by address.

It computes the residuals of n points at once, a register full of points at a time. The C signature
is

    double residual(int64_t n, double scale, T *columns, const double *unknowns, double *slopes)

`columns` is (columns, n): x, then values and derivatives in the order of a stack. The function
returns Σ r² over points and residuals. It overwrites the columns behind x with
scale · ∂(Σ r²)/∂column, and adds scale · ∂(Σ r²)/∂unknown to `slopes`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock

from flatprop.kernels.loops.function_at import array_of, compiled_at, element_of
from flatprop.kernels.loops.masks import splat
from flatprop.kernels.loops.residual_functions import (
    Shape,
    check_slopes,
    compiled_for,
    name_of,
    of_scalars,
    places_of,
    results_of,
    slope_places,
)
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import (
    DOUBLE,
    INT32,
    INT64,
    Array,
    Register,
    broadcast,
    registers,
    sum_of,
    wide,
)
from flatprop.numbers.duals import Dual
from flatprop.numbers.lanes import Lanes, Mask
from flatprop.numbers.numbers import where
from flatprop.numbers.translated import (
    UntranslatableError,
    calls_of,
    formula_of,
    used_arguments,
)


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
    function: Any,
    slopes: Any,
    inputs: int,
    outputs: int,
    directions: int,
    unknowns: int,
    dtype: np.dtype[Any],
) -> EquationResidual:
    """What is compiled of a user's function (x, u, du, d2u, *unknowns), once for each shape.

    `slopes` gives its derivatives, if it is not None. Raises a TypeError where that is not
    possible.
    """
    shape = Shape(inputs, outputs, directions, unknowns)
    key = function, slopes, shape, dtype
    kind, code = compiled_for(function, "residual", shape)
    of_slopes, code_of_slopes = (
        (None, None) if slopes is None else compiled_for(slopes, "slopes", shape)
    )
    codes = code, code_of_slopes
    if key not in _residuals or _residuals[key][0] != codes:
        name = name_of(function)
        results = results_of(name, kind)
        if slopes is not None:
            check_slopes(name_of(slopes), of_slopes, shape, results)
        _residuals[key] = codes, _compiled(function, slopes, name, shape, results, dtype)
    return _residuals[key][1]


_residuals: dict[Any, tuple[Any, EquationResidual]] = {}
"""By functions and shape: their code, and what was made of it."""


def _compiled(
    function: Any, slopes: Any, name: str, shape: Shape, results: int, dtype: np.dtype[Any]
) -> EquationResidual:
    inputs, outputs, directions, unknowns = shape
    count, arguments = max(results, 1), shape.arguments
    shim, translated = of_scalars(function, shape, places_of("found", results)), True
    try:
        formula = formula_of(shim, arguments, count)
        used = _used(formula, arguments)
    except UntranslatableError as error:
        if slopes is None:
            raise TypeError(
                f"the slopes of the residual {name} cannot be derived: {error}. Write it with "
                "plain arithmetic, branches and functions of math, with constants as indices, and "
                "without a loop; or pass its slopes, fp.Equation(..., slopes=...)"
            ) from None
        formula, translated = calls_of(shim, count), False
        used = used_arguments(function.overloads[shape.signature], arguments)
    derivatives = None
    if slopes is not None:
        places = [
            place for found in places_of("found", results) for place in slope_places(found, shape)
        ]
        of_slopes = of_scalars(slopes, shape, places)
        try:
            derivatives = formula_of(of_slopes, arguments, len(places))
        except UntranslatableError:
            derivatives, translated = calls_of(of_slopes, len(places)), False
    u, du = inputs, inputs + outputs
    d2u = du + outputs * directions

    def wanted(first: int, k: int) -> bool:
        return any(used[first + k * outputs : first + (k + 1) * outputs])

    second = [k for k in range(directions) if wanted(d2u, k)]
    first = [k for k in range(directions) if k not in second and wanted(du, k)]
    chosen = tuple(second + first) or (0,)
    starts = [u, *(du + k * outputs for k in chosen), *(d2u + k * outputs for k in second)]
    columns = [*range(inputs), *(start + o for start in starts for o in range(outputs))]
    column_of = {argument: place for place, argument in enumerate(columns)}

    def slope_of(numbers: list[Lanes], found: Any) -> Callable[[int], Any]:
        """Σ r ∂r/∂argument over the residuals, for an argument."""
        if derivatives is None:
            return lambda i: (
                _slope(formula, numbers, found, i) if used[i] else numbers[0].like(0.0)
            )
        every, per_residual = derivatives(*numbers), shape.derived + unknowns
        return lambda i: _total(found, every[i - inputs :: per_residual])

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
                register[column_of[i]] if i in column_of else zero
                for i in range(arguments - unknowns)
            ]
            if not translated:
                known = [_inside_or_first(register, number) for number in known]
            numbers = [*known, *given]
            found = formula(*numbers)
            total.add(wide(register.inside(_total(found, found))))
            slope = slope_of(numbers, found)
            for i in range(inputs, arguments):
                if i >= arguments - unknowns:
                    place = i - (arguments - unknowns)
                    of_unknowns[place].add(wide(register.inside(slope(i) * twice)))
                elif i in column_of:
                    register.store(slope(i) * twice, column_of[i])
        for i, sum_ in enumerate(of_unknowns):
            place = builder.gep(slopes, [INT64(i)])
            builder.store((Lanes(builder, builder.load(place)) + sum_.total()).value, place)
        builder.ret(total.total().value)

    address = compiled_at(emit, residual_type(element_of(dtype)))
    return EquationResidual(address, count, chosen, len(second))


def _total(found: Sequence[Any], slopes: Sequence[Any]) -> Any:
    """Σ r · slope over the residuals."""
    total = found[0] * slopes[0]
    for r, slope in zip(found[1:], slopes[1:], strict=True):
        total = total + r * slope
    return total


def _inside_or_first(register: Register, lanes: Lanes) -> Lanes:
    """`lanes`, with the first number where the array has already ended.

    The user's function is called for each, and a loop in it may end for sensible numbers only.
    """
    builder = register.builder
    first = builder.extract_element(lanes.value, INT32(0))
    others = Lanes(builder, splat(builder, first, lanes.value.type.count))
    return where(Mask(builder, register.mask.bits), lanes, others)


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
