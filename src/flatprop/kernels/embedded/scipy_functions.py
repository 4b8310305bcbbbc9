"""Networks as the C callbacks of SciPy, which pass one row of float64 numbers.

`call` is the user data, a `CALLABLE`. Its type here is a pointer to numbers of the network's
dtype. From that type the kernels know the dtype. The row is converted on its way in and out.
"""

from typing import Any

import numpy as np
from numba.core import types
from numba.np.numpy_support import from_dtype

from flatprop.kernels.compile import c_address, kernel
from flatprop.kernels.embedded.pointers import layers_of, params_of
from flatprop.kernels.network import backprop
from flatprop.kernels.network.records import array_at, matrix

CALLABLE = np.dtype(
    [
        ("network", np.int64),  # the address of a `NETWORK`
        ("output", np.int64),  # which of the outputs is the value
        ("row", np.int64),  # the addresses of what a call overwrites
        ("out", np.int64),
        ("workspace", np.int64),
    ]
)


@kernel
def _value(n, x, call):
    """The chosen output for the row x; NaN where the network does not take n inputs."""
    record = array_at(call, CALLABLE, 1)[0]
    layers = layers_of(record.network)
    if n != layers[0].inputs:
        return np.nan
    outputs = layers[layers.size - 1].units
    given, row = array_at(x, x, n), matrix(array_at(record.row, call, n), 0, 1, n)
    for j in range(n):
        row[0, j] = given[j]
    out = matrix(array_at(record.out, call, outputs), 0, 1, outputs)
    params, workspace = params_of(record.network, call), array_at(record.workspace, call, 0)
    backprop.forward(layers, params, row, out, workspace, False)
    return np.float64(out[0, record.output])


def integrand(n, x, call):
    """``double integrand(int n, double *x, void *call)``"""
    return _value(n, x, call)


def generic_filter(x, n, result, call):
    """``int filter(double *x, npy_intp n, double *result, void *call)``; 1: all is well."""
    array_at(result, result, 1)[0] = _value(n, x, call)
    return 1


def address(kind: str, dtype: np.dtype[Any]) -> int:
    """Where C finds "integrand" or "filter" for networks of `dtype`."""
    double, call = types.CPointer(types.float64), types.CPointer(from_dtype(dtype))
    if kind == "integrand":
        return c_address(integrand, types.float64, (types.int32, double, call))
    return c_address(generic_filter, types.int32, (double, types.intp, double, call))
