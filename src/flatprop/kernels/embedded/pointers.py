"""What C passes, pointers and structs, as the arrays that kernels take.

The structs are those of `embedding/include/flatprop.h`. All views are without a reference: C owns
the memory.
"""

from typing import Any

import numpy as np
from numba.core import cgutils, types

from flatprop.formulas.optimizer import OptimizerState
from flatprop.kernels.compile import intrinsic, kernel
from flatprop.kernels.network.records import LAYER, LOSS_RECORD, array_at, matrix

NETWORK = np.dtype(
    [
        ("layers", np.int64),  # an address, as all that C has as a pointer
        ("n_layers", np.int64),
        ("objective", np.int64),
        ("params", np.int64),
        ("n_params", np.int64),
    ]
)
"""What C knows as flatprop_network_f32 and flatprop_network_f64."""

OPTIMIZER = np.dtype(
    [
        ("code", np.int64),
        ("settings", np.int64),
        ("n_settings", np.int64),
        ("state", np.int64),
        ("n_slots", np.int64),
    ]
)
"""What C knows as flatprop_optimizer_f32 and flatprop_optimizer_f64."""


@intrinsic
def is_null(typing_context: Any, pointer: Any) -> Any:
    """Whether a pointer is NULL."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.is_null(builder, arguments[0])

    return types.boolean(pointer), codegen


@kernel
def layers_of(network):
    """The layers of a `NETWORK`."""
    record = array_at(network, NETWORK, 1)[0]
    return array_at(record.layers, LAYER, record.n_layers)


@kernel
def loss_records_of(network):
    """The loss of a `NETWORK`."""
    return array_at(array_at(network, NETWORK, 1)[0].objective, LOSS_RECORD, 1)


@kernel
def params_of(network, like):
    """The parameters of a `NETWORK`, of the dtype that `like` points to."""
    record = array_at(network, NETWORK, 1)[0]
    return array_at(record.params, like, record.n_params)


@kernel
def optimizer_at(optimizer, columns, like):
    """An `OPTIMIZER` for so many parameters of the dtype that `like` points to."""
    record = array_at(optimizer, OPTIMIZER, 1)[0]
    settings = array_at(record.settings, np.float64, record.n_settings)
    state = array_at(record.state, like, record.n_slots * columns)
    return OptimizerState(record.code, settings, matrix(state, 0, record.n_slots, columns))


@kernel
def flat_at(pointer, size):
    """A flat array of what `pointer` points to."""
    return array_at(pointer, pointer, size)


@kernel
def matrix_at(pointer, rows, columns):
    """A (rows, columns) matrix of what `pointer` points to."""
    return matrix(flat_at(pointer, rows * columns), 0, rows, columns)


@kernel
def length_at(pointer, length):
    """The length of an array that may be absent: 0 if the pointer is NULL."""
    return 0 if is_null(pointer) else length
