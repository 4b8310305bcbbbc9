"""What few trainings ask of an update: factors of the learning rate, and averages of parameters.

These loops are compiled apart from the training loop, which calls them by address.
"""

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock

from flatprop.formulas.optimizer import RULES
from flatprop.kernels.loops.by_address import called
from flatprop.kernels.loops.function_at import array_of, compiled_at, element_of
from flatprop.kernels.loops.updates import update_by, within
from flatprop.kernels.loops.vector_loops import DOUBLE, INT64, broadcast, registers
from flatprop.numbers.lanes import Lanes
from flatprop.numbers.numbers import power

_VOID = ir.VoidType()


@called(start=types.int64, stop=types.int64)
def update_with_factors(
    typing_context: Any,
    address: Any,
    settings: Any,
    params: Any,
    gradient: Any,
    state: Any,
    ranges: Any,
    factors: Any,
    start: Any,
    stop: Any,
) -> Any:
    """`updates.update_trained` with a factor for each parameter's learning rate.

    The function is the one of `factors_address`.
    """


@global_compiler_lock
@cache
def factors_address(code: int, dtype: np.dtype[Any]) -> int:
    """The address of an update with factors; `code` is the optimizer's place in `RULES`."""
    element = element_of(dtype)

    def emit(builder: ir.IRBuilder, *arguments: ir.Value) -> None:
        *pairs, start, stop = arguments
        arrays = [
            array_of(builder, count, data)
            for data, count in zip(pairs[::2], pairs[1::2], strict=True)
        ]
        settings, params, gradient, state, ranges, factors = arrays
        state = state._replace(shape=(state.count, params.count))
        ranges = ranges._replace(shape=(ranges.count, INT64(2)))
        for low, high in within(ranges, start, stop):
            count = builder.sub(high, low)
            theta, g, own = (array.part(low, count) for array in (params, gradient, factors))
            update_by(builder, RULES[code], settings, theta, g, state, low, own)
        builder.ret_void()

    elements = DOUBLE, element, element, element, INT64, element
    pairs = [kind for one in elements for kind in (one.as_pointer(), INT64)]
    return compiled_at(emit, ir.FunctionType(_VOID, [*pairs, INT64, INT64]), plain=True)


@called(decay=types.float64, updates=types.float64, start=types.int64, stop=types.int64)
def average(
    typing_context: Any,
    address: Any,
    averages: Any,
    params: Any,
    decay: Any,
    updates: Any,
    start: Any,
    stop: Any,
) -> Any:
    """averages[start:stop] ← the mean of the parameters after each of the updates so far.

    A newer update counts 1 / decay times as much as the one before it. The function is the one of
    `average_address`.
    """


@global_compiler_lock
@cache
def average_address(dtype: np.dtype[Any]) -> int:
    """The address of what `average` calls."""
    element = element_of(dtype)

    def emit(
        builder: ir.IRBuilder,
        averages: ir.Value,
        size: ir.Value,
        params: ir.Value,
        _: ir.Value,
        decay: ir.Value,
        updates: ir.Value,
        start: ir.Value,
        stop: ir.Value,
    ) -> None:
        d, t = Lanes(builder, decay), Lanes(builder, updates)
        # Weights (1 - d) d^(t - i) have the sum 1 - d^t.
        fresh = broadcast((1.0 - d) / (1.0 - power(d, t)), element)
        count = builder.sub(stop, start)
        parts = (array_of(builder, size, data).part(start, count) for data in (averages, params))
        for register in registers(*parts):
            register.store(register[0] + fresh * (register[1] - register[0]), 0)
        builder.ret_void()

    numbers = [element.as_pointer(), INT64] * 2
    kind = ir.FunctionType(_VOID, [*numbers, DOUBLE, DOUBLE, INT64, INT64])
    return compiled_at(emit, kind, plain=True)
