"""The user's own activations and losses of one output, as functions that kernels call by address.

Around each function is the same loop as around the built-in ones.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock

from flatprop.kernels.loops.addresses import activation_type, loss_type
from flatprop.kernels.loops.function_at import array_of, compiled_at, element_of, is_given
from flatprop.kernels.loops.vector_loops import broadcast, registers, sum_of, wide
from flatprop.numbers.duals import Dual, twice_dual
from flatprop.numbers.lanes import Lanes
from flatprop.numbers.numbers import central_difference
from flatprop.numbers.translated import CustomFormula, custom_formula


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
    second, third = (
        (_of_differences, _third_of_differences) if obstacle else (_of_dual, _third_of_dual)
    )

    def emit(builder: ir.IRBuilder, n: ir.Value, *pointers: ir.Value) -> None:
        arrays = [array_of(builder, n, pointer) for pointer in pointers]
        for wanted in _cases(builder, *reversed(pointers[1:])):
            for register in registers(*arrays[: 1 + wanted], written_only=wanted):
                a, slopes = formula(register[0])
                register.store(a, 0)
                if wanted >= 1:
                    register.store(slopes, 1)
                if wanted >= 2:
                    register.store(second(formula, register[0]), 2)
                if wanted == 3:
                    register.store(third(formula, register[0]), 3)
        builder.ret_void()

    address: int = compiled_at(emit, activation_type(element_of(dtype)))
    return address


def _compiled_loss(function: Any, dtype: np.dtype[Any]) -> int:
    formula, obstacle = custom_formula(function, 2)
    second = _of_differences if obstacle else _of_dual

    def emit(builder: ir.IRBuilder, n: ir.Value, scale: ir.Value, *pointers: ir.Value) -> None:
        arrays = [array_of(builder, n, pointer) for pointer in pointers[:5]]
        prediction, y, weight, slope, tangent = arrays
        factor = broadcast(Lanes(builder, scale), prediction.element)
        with builder.if_then(is_given(builder, tangent.data)):
            for register in registers(prediction, y, weight, tangent):
                curvature = second(formula, register[0], register[1])
                register.store(register[3] * (register[2] * factor * curvature), 3)
        total = sum_of(prediction)
        with builder.if_else(is_given(builder, slope.data)) as (with_slope, value_only):
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

    address: int = compiled_at(emit, loss_type(element_of(dtype)))
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


def _third_of_dual(formula: CustomFormula, x: Lanes) -> Lanes:
    """The second derivative of the formula's slope, exactly."""
    _, slope = formula(twice_dual(x))
    result: Lanes = slope.tangent.tangent
    return result


def _third_of_differences(formula: CustomFormula, x: Lanes) -> Lanes:
    """The second derivative of the formula's slope, by central differences."""
    h = (abs(x) + 1.0) * x.choose(2.0**-4, 2.0**-8)

    def slope(x: Lanes) -> Lanes:
        result: Lanes = formula(x)[1]
        return result

    near, far = slope(x + h) + slope(x - h), slope(x + 2.0 * h) + slope(x - 2.0 * h)
    result: Lanes = (16.0 * near - far - 30.0 * slope(x)) / (12.0 * h * h)
    return result


def _cases(builder: ir.IRBuilder, *pointers: ir.Value) -> Iterator[int]:
    """Yields how many of the pointers are given, in one branch each.

    Where one is given, so are all that follow it.
    """
    if not pointers:
        yield 0
        return
    with builder.if_else(is_given(builder, pointers[0])) as (given, missing):
        with given:
            yield len(pointers)
        with missing:
            yield from _cases(builder, *pointers[1:])
