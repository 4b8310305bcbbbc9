"""The largest norm that the weights of a unit may have: what `train` calls by address."""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from flatprop.kernels.compile import c_address, intrinsic
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
