"""l1, l2 and max_norm of layers: functions that `train` calls by address, since few have them."""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from flatprop.kernels.compile import c_address, intrinsic
from flatprop.kernels.loops.updates import penalise_layers
from flatprop.kernels.loops.vector_loops import INT64
from flatprop.kernels.network.records import array_at, matrix


def max_norm(limits, count, params, scratch):
    """Scale columns of some W down to their largest norm; see `training_records.Rule.limits`.

    Overwrites the first row of W's place in `scratch`, which is laid out as `params`.
    """
    table = array_at(limits, np.float64, 4 * count)
    for k in range(count):
        start, inputs = int(table[4 * k]), int(table[4 * k + 1])
        units, limit = int(table[4 * k + 2]), table[4 * k + 3]
        W = matrix(array_at(params, params, 0), start, inputs, units)
        squares = matrix(array_at(scratch, params, 0), start, 1, units)
        for j in range(units):
            squares[0, j] = 0
        for i in range(inputs):
            for j in range(units):
                squares[0, j] += W[i, j] * W[i, j]
        for j in range(units):
            norm = math.sqrt(squares[0, j])
            squares[0, j] = limit / norm if norm > limit else 1.0
        for i in range(inputs):
            for j in range(units):
                W[i, j] *= squares[0, j]


def layer_penalties(weights, strengths, count, params, size, gradient, first, last):
    """`updates.penalise_layers`, of `count` layers and `size` parameters."""
    table, ranges = array_at(strengths, np.float64, 2 * count), array_at(weights, np.int64, 0)
    return penalise_layers(
        matrix(ranges, 0, count, 2),
        matrix(table, 0, count, 2),
        array_at(params, params, size),
        array_at(gradient, params, size),
        first,
        last,
    )


def penalties_address(dtype: np.dtype[Any]) -> int:
    """The address of `layer_penalties` for parameters of this dtype."""
    number = types.CPointer(types.float32 if dtype == np.float32 else types.float64)
    table, size = types.voidptr, types.int64
    arguments = table, table, size, number, size, number, size, size
    return c_address(layer_penalties, types.float64, arguments)


@intrinsic
def penalties(
    typing_context: Any,
    function: Any,
    weights: Any,
    strengths: Any,
    params: Any,
    gradient: Any,
    first: Any,
    last: Any,
) -> Any:
    """Call `layer_penalties` at this address."""
    arrays = weights, strengths, params, gradient

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, *given, low, high = arguments
        ranges, table, numbers, slopes = (
            context.make_array(kind)(context, builder, array)
            for kind, array in zip(arrays, given, strict=True)
        )
        byte = ir.IntType(8).as_pointer()
        count = builder.extract_value(ranges.shape, 0)
        tables = [builder.bitcast(one.data, byte) for one in (ranges, table)]
        values = [*tables, count, numbers.data, numbers.nitems, slopes.data, low, high]
        kind = ir.FunctionType(ir.DoubleType(), [value.type for value in values])
        return builder.call(builder.inttoptr(address, kind.as_pointer()), values)

    return types.float64(types.int64, *arrays, types.int64, types.int64), codegen


def max_norm_address(dtype: np.dtype[Any]) -> int:
    """The address of `max_norm` for parameters of this dtype."""
    number = types.CPointer(types.float32 if dtype == np.float32 else types.float64)
    return c_address(max_norm, types.void, (types.voidptr, types.int64, number, number))


@intrinsic
def limit_norms(typing_context: Any, function: Any, limits: Any, params: Any, scratch: Any) -> Any:
    """Call `max_norm` at this address; `limits` is (layers, 4)."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, *arrays = arguments
        table, numbers, space = (
            context.make_array(kind)(context, builder, array)
            for kind, array in zip(signature.args[1:], arrays, strict=True)
        )
        count = builder.extract_value(table.shape, 0)
        byte = ir.IntType(8).as_pointer()
        given = [builder.bitcast(table.data, byte), count, numbers.data, space.data]
        kind = ir.FunctionType(ir.VoidType(), [byte, INT64, numbers.data.type, space.data.type])
        builder.call(builder.inttoptr(address, kind.as_pointer()), given)
        return context.get_dummy_value()

    return types.void(types.int64, limits, params, scratch), codegen
