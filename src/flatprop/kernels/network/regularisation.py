"""l1, l2 and max_norm of layers: functions that `train` calls by address, since few have them."""

import math
from typing import Any

import numpy as np
from numba.core import types

from flatprop.kernels.compile import c_address
from flatprop.kernels.loops.by_address import called
from flatprop.kernels.loops.updates import penalise_layers
from flatprop.kernels.network.records import array_at, matrix


def max_norm(limits, count, params, _, scratch, __):
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


def layer_penalties(weights, layers, strengths, _, params, size, gradient, __, first, last):
    """`updates.penalise_layers`, of so many layers and `size` parameters."""
    table, ranges = array_at(strengths, np.float64, 2 * layers), array_at(weights, np.int64, 0)
    return penalise_layers(
        matrix(ranges, 0, layers, 2),
        matrix(table, 0, layers, 2),
        array_at(params, params, size),
        array_at(gradient, params, size),
        first,
        last,
    )


def penalties_address(dtype: np.dtype[Any]) -> int:
    """The address of `layer_penalties` for parameters of this dtype."""
    size, table, numbers = types.int64, (types.voidptr, types.int64), _numbers(dtype)
    arguments = *table, *table, *numbers, *numbers, size, size
    return c_address(layer_penalties, types.float64, arguments)


def max_norm_address(dtype: np.dtype[Any]) -> int:
    """The address of `max_norm` for parameters of this dtype."""
    numbers = _numbers(dtype)
    return c_address(max_norm, types.void, (types.voidptr, types.int64, *numbers, *numbers))


def _numbers(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """An array of this dtype, as `called` passes it on."""
    number = types.float32 if dtype == np.float32 else types.float64
    return types.CPointer(number), types.int64


@called(types.float64, first=types.int64, last=types.int64)
def penalties(
    typing_context: Any,
    address: Any,
    weights: Any,
    strengths: Any,
    params: Any,
    gradient: Any,
    first: Any,
    last: Any,
) -> Any:
    """Call `layer_penalties`."""


@called()
def limit_norms(typing_context: Any, address: Any, limits: Any, params: Any, scratch: Any) -> Any:
    """Call `max_norm`; `limits` is (layers, 4)."""
