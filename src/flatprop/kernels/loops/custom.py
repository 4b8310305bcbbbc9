"""The user's own activations and losses, as functions that kernels call by address.

A record of the network holds the address, so a new function recompiles no kernel. Around each
function is the same loop as around the built-in ones. The C signatures are

    void activation(int64_t n, T *z, T *slope, T *curvature)
    double loss(int64_t n, double scale, const T *prediction, const T *y, const T *weight,
                T *slope, T *tangent)

An activation overwrites z with a, `slope` with da/dz and `curvature` with d²a/dz², the
last two where they are not NULL. A loss returns Σ w ℓ, overwrites `slope` with scale · w ·
∂ℓ/∂ŷ, and multiplies `tangent` by scale · w · ∂²ℓ/∂ŷ², each where it is not NULL.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from flatprop.kernels.loops.masks import MaskedMoves
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
from flatprop.numbers.numbers import central_difference
from flatprop.numbers.translated import CustomFormula, custom_formula

_number = count()


def activation_address(function: Any, dtype: np.dtype[Any]) -> int:
    """The address of a compiled activation, z -> (a, da/dz), for arrays of `dtype`."""
    address: int = _address(_compiled_activation, function, 1, dtype)
    return address


def loss_address(function: Any, dtype: np.dtype[Any]) -> int:
    """The address of a compiled loss, (ŷ, y) -> (value, slope), for arrays of `dtype`."""
    address: int = _address(_compiled_loss, function, 2, dtype)
    return address


@global_compiler_lock
def _address(
    compile: Callable[..., int], function: Any, arguments: int, dtype: np.dtype[Any]
) -> int:
    """What `compile` made of the function, once for all networks.

    A function that its author recompiled has new code, from which a new one is made. What was made
    of the code before stays, for the networks that have its address.
    """
    signature = (types.float64,) * arguments
    function.compile(signature)  # nothing, if it is compiled
    code = function.overloads[signature]
    key = compile, function, dtype
    if key not in _addresses or _addresses[key][0] is not code:
        _addresses[key] = code, compile(function, dtype)
    return _addresses[key][1]


_addresses: dict[Any, tuple[Any, int]] = {}
"""By function: its code for float64, and the address of what was made of it."""


def _compiled_activation(function: Any, dtype: np.dtype[Any]) -> int:
    formula, obstacle = custom_formula(function, 1)
    second = _of_differences if obstacle else _of_dual

    def emit(builder: ir.IRBuilder, n: ir.Value, z: Any, slope: Any, curvature: Any) -> None:
        arrays = [_array(builder, n, pointer) for pointer in (z, slope, curvature)]
        for wanted in _cases(builder, curvature, slope):
            for register in registers(*arrays[: 1 + wanted], written_only=wanted):
                a, slopes = formula(register[0])
                register.store(a, 0)
                if wanted >= 1:
                    register.store(slopes, 1)
                if wanted == 2:
                    register.store(second(formula, register[0]), 2)
        builder.ret_void()

    address: int = _compiled(emit, ir.VoidType(), [INT64], 3, dtype)
    return address


def _compiled_loss(function: Any, dtype: np.dtype[Any]) -> int:
    formula, obstacle = custom_formula(function, 2)
    second = _of_differences if obstacle else _of_dual

    def emit(builder: ir.IRBuilder, n: ir.Value, scale: ir.Value, *pointers: ir.Value) -> None:
        prediction, y, weight, slope, tangent = (_array(builder, n, p) for p in pointers)
        factor = broadcast(Lanes(builder, scale), prediction.element)
        with builder.if_then(_given(builder, tangent.data)):
            for register in registers(prediction, y, weight, tangent):
                curvature = second(formula, register[0], register[1])
                register.store(register[3] * (register[2] * factor * curvature), 3)
        total = sum_of(prediction)
        with builder.if_else(_given(builder, slope.data)) as (with_slope, value_only):
            with with_slope:
                for register in registers(prediction, y, weight, slope, written_only=1):
                    value, derivative = formula(register[0], register[1])
                    total.add(wide(register.inside(register[2] * value)))
                    register.store(derivative * (register[2] * factor), 3)
            with value_only:
                for register in registers(prediction, y, weight):
                    value, _ = formula(register[0], register[1])
                    total.add(wide(register.inside(register[2] * value)))
        builder.ret(total.total().value)

    address: int = _compiled(emit, DOUBLE, [INT64, DOUBLE], 5, dtype)
    return address


def _of_dual(formula: CustomFormula, x: Lanes, *constants: Lanes) -> Lanes:
    """The derivative of the formula's slope with respect to x, exactly."""
    _, slope = formula(Dual(x, x.like(1.0)), *map(Dual, constants))
    result: Lanes = slope.tangent
    return result


def _of_differences(formula: CustomFormula, x: Lanes, *constants: Lanes) -> Lanes:
    """The derivative of the formula's slope with respect to x, by central differences."""
    h = (abs(x) + 1.0) * x.choose(2.0**-6, 2.0**-10)
    result: Lanes = central_difference(lambda x: formula(x, *constants)[1], x, h)
    return result


def _given(builder: ir.IRBuilder, pointer: ir.Value) -> ir.Value:
    return builder.icmp_unsigned("!=", pointer, ir.Constant(pointer.type, None))


def _cases(builder: ir.IRBuilder, *pointers: ir.Value) -> Iterator[int]:
    """Yields how many of the pointers are given, in one branch each.

    Where one is given, so are all that follow it.
    """
    if not pointers:
        yield 0
        return
    with builder.if_else(_given(builder, pointers[0])) as (given, missing):
        with given:
            yield len(pointers)
        with missing:
            yield from _cases(builder, *pointers[1:])


def _array(builder: ir.IRBuilder, count: ir.Value, data: ir.Value) -> Array:
    masks = MaskedMoves.of(_codegen().magic_tuple()[2])
    return Array(builder, data.type.pointee, data, count, (count,), masks)


def _compiled(
    emit: Callable[..., None],
    result: ir.Type,
    numbers: Sequence[ir.Type],
    pointers: int,
    dtype: np.dtype[Any],
) -> int:
    """The address of the function that `emit` writes: `numbers`, then pointers to `dtype`."""
    element = ir.FloatType() if dtype == np.float32 else DOUBLE
    name = f"flatprop.own.{next(_number)}"
    library = _codegen().create_library(name)
    module = library.create_ir_module(name)
    kind = ir.FunctionType(result, [*numbers, *[element.as_pointer()] * pointers])
    function = ir.Function(module, kind, name)
    emit(ir.IRBuilder(function.append_basic_block("entry")), *function.args)
    library.add_ir_module(module)
    library.finalize()
    _libraries.append(library)
    return int(library.get_pointer_to_function(name))


_libraries: list[Any] = []
"""Code that records point to, kept as long as the process runs."""


def _codegen() -> Any:
    return cpu_target.target_context.codegen()
