"""The functions of `flatprop.kernels` as C calls them: pointers and sizes for arrays.

`include/flatprop.h` is their contract, and these here are its signatures: a name says
what type an argument has, see `signature`. Each is compiled when it is first asked for,
once per dtype; none of them raises, so none of them calls Python.
"""

from collections.abc import Callable
from inspect import signature as parameters_of
from typing import Any

import numpy as np
from numba.core import cgutils, types
from numba.np.numpy_support import from_dtype

from flatprop.formulas.optimizers import OptimizerState
from flatprop.kernels import embedded
from flatprop.kernels.jit import intrinsic, kernel
from flatprop.kernels.layout import LAYER, OBJECTIVE, matrix

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

INTEGERS = ("rows", "y_columns")
REALS = ("learning_rate",)
RECORDS = ("network", "optimizer")

FUNCTIONS: dict[str, tuple[Callable[..., Any], Any]] = {}
"""By name, in the order of the table in C: the function and the type of its result."""


def returns(result: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function into `FUNCTIONS`."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS[function.__name__] = function, result
        return function

    return register


def signature(name: str, dtype: np.dtype[Any]) -> tuple[Any, list[Any]]:
    """The types of the result and of the arguments; arrays are pointers to `dtype`."""
    _, result = FUNCTIONS[name]
    array = types.CPointer(from_dtype(dtype))
    kinds: dict[str, Any] = dict.fromkeys(INTEGERS, types.int64)
    kinds |= dict.fromkeys(REALS, types.float64) | dict.fromkeys(RECORDS, types.voidptr)
    return result, [kinds.get(argument, array) for argument in arguments(name)]


def arguments(name: str) -> tuple[str, ...]:
    """The names of the arguments."""
    return tuple(parameters_of(FUNCTIONS[name][0]).parameters)


@intrinsic
def array_at(typing_context: Any, address: Any, like: Any, size: Any) -> Any:
    """A flat array over the memory at `address`, a pointer or an int64.

    `like` is its dtype, or a pointer to such elements.
    """
    kind = types.Array(like.dtype, 1, "C")

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place, _, size = arguments
        pointer = context.get_data_type(kind.dtype).as_pointer()
        number = isinstance(signature.args[0], types.Integer)
        data = (builder.inttoptr if number else builder.bitcast)(place, pointer)
        itemsize = context.get_constant(
            types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype))
        )
        array = context.make_array(kind)(context, builder)
        context.populate_array(
            array,
            data=data,
            shape=cgutils.pack_array(builder, [size]),
            strides=cgutils.pack_array(builder, [itemsize]),
            itemsize=itemsize,
            meminfo=None,
        )
        return array._getvalue()

    return kind(address, like, types.intp), codegen


@intrinsic
def is_null(typing_context: Any, pointer: Any) -> Any:
    """Whether a pointer is NULL."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.is_null(builder, arguments[0])

    return types.boolean(pointer), codegen


@kernel
def _layers(network):
    record = array_at(network, NETWORK, 1)[0]
    return array_at(record.layers, LAYER, record.n_layers)


@kernel
def _objectives(network):
    return array_at(array_at(network, NETWORK, 1)[0].objective, OBJECTIVE, 1)


@kernel
def _params(network, like):
    record = array_at(network, NETWORK, 1)[0]
    return array_at(record.params, like, record.n_params)


@kernel
def _optimizer(optimizer, columns, like):
    record = array_at(optimizer, OPTIMIZER, 1)[0]
    settings = array_at(record.settings, np.float64, record.n_settings)
    state = array_at(record.state, like, record.n_slots * columns)
    return OptimizerState(record.code, settings, matrix(state, 0, record.n_slots, columns))


@kernel
def _matrix(pointer, rows, columns):
    return matrix(array_at(pointer, pointer, rows * columns), 0, rows, columns)


@kernel
def _inputs(network, rows, x):
    return _matrix(x, rows, _layers(network)[0].inputs)


@kernel
def _outputs(network, rows, y):
    layers = _layers(network)
    return _matrix(y, rows, layers[layers.size - 1].units)


@kernel
def _optional(pointer, size):
    """The array, empty where the pointer is NULL."""
    return array_at(pointer, pointer, 0 if is_null(pointer) else size)


@kernel
def _workspace(workspace):
    """The kernels do not ask how large it is."""
    return array_at(workspace, workspace, 0)


@returns(types.int64)
def workspace_size(network, rows):
    return embedded.workspace_size(_layers(network), rows)


@returns(types.int64)
def gradient_workspace_size(network, rows):
    return embedded.gradient_workspace_size(_layers(network), rows)


@returns(types.void)
def forward(network, rows, x, out, workspace):
    embedded.forward(
        _layers(network),
        _params(network, x),
        _inputs(network, rows, x),
        _outputs(network, rows, out),
        _workspace(workspace),
    )


@returns(types.float64)
def loss(network, rows, x, y, y_columns, weight, workspace):
    return embedded.loss(
        _layers(network),
        _objectives(network),
        _params(network, x),
        _inputs(network, rows, x),
        _matrix(y, rows, y_columns),
        _optional(weight, rows),
        _workspace(workspace),
    )


@returns(types.float64)
def loss_and_gradient(network, rows, x, y, y_columns, weight, gradient, workspace):
    params = _params(network, x)
    return embedded.loss_and_gradient(
        _layers(network),
        _objectives(network),
        params,
        _inputs(network, rows, x),
        _matrix(y, rows, y_columns),
        _optional(weight, rows),
        array_at(gradient, gradient, params.size),
        _workspace(workspace),
    )


@returns(types.void)
def vjp(network, rows, x, dL_dy, dL_dx, gradient, workspace):
    params = _params(network, x)
    inputs = _layers(network)[0].inputs
    embedded.vjp(
        _layers(network),
        params,
        _inputs(network, rows, x),
        _outputs(network, rows, dL_dy),
        _matrix(dL_dx, 0 if is_null(dL_dx) else rows, inputs),
        _optional(gradient, params.size),
        _workspace(workspace),
    )


@returns(types.void)
def jacobian(network, rows, x, out, workspace):
    layers = _layers(network)
    outputs = layers[layers.size - 1].units
    embedded.jacobian(
        layers,
        _params(network, x),
        _inputs(network, rows, x),
        _matrix(out, rows * outputs, layers[0].inputs),
        _workspace(workspace),
    )


@returns(types.void)
def parameter_jacobian(network, rows, x, out, workspace):
    layers, params = _layers(network), _params(network, x)
    outputs = layers[layers.size - 1].units
    embedded.parameter_jacobian(
        layers,
        params,
        _inputs(network, rows, x),
        _matrix(out, rows * outputs, params.size),
        _workspace(workspace),
    )


@returns(types.void)
def per_sample_gradients(network, rows, x, y, y_columns, out, workspace):
    params = _params(network, x)
    embedded.per_sample_gradients(
        _layers(network),
        _objectives(network),
        params,
        _inputs(network, rows, x),
        _matrix(y, rows, y_columns),
        _matrix(out, rows, params.size),
        _workspace(workspace),
    )


@returns(types.void)
def hessian_vector_product(network, v, rows, x, y, y_columns, weight, out, workspace):
    params = _params(network, x)
    embedded.hessian_vector_product(
        _layers(network),
        _objectives(network),
        params,
        array_at(v, v, params.size),
        _inputs(network, rows, x),
        _matrix(y, rows, y_columns),
        _optional(weight, rows),
        array_at(out, out, params.size),
        _workspace(workspace),
    )


@returns(types.void)
def gauss_newton_vector_product(network, v, rows, x, y, y_columns, weight, out, workspace):
    params = _params(network, x)
    embedded.gauss_newton_vector_product(
        _layers(network),
        _objectives(network),
        params,
        array_at(v, v, params.size),
        _inputs(network, rows, x),
        _matrix(y, rows, y_columns),
        _optional(weight, rows),
        array_at(out, out, params.size),
        _workspace(workspace),
    )


@returns(types.void)
def update(network, optimizer, gradient):
    params = _params(network, gradient)
    embedded.update(
        _optimizer(optimizer, params.size, gradient),
        params,
        array_at(gradient, gradient, params.size),
    )


@returns(types.float64)
def training_step(network, rows, x, y, y_columns, weight, optimizer, gradient, workspace):
    params = _params(network, x)
    return embedded.training_step(
        _layers(network),
        _objectives(network),
        params,
        _inputs(network, rows, x),
        _matrix(y, rows, y_columns),
        _optional(weight, rows),
        _optimizer(optimizer, params.size, x),
        array_at(gradient, gradient, params.size),
        _workspace(workspace),
    )


@returns(types.float64)
def sgd_step(network, rows, x, y, y_columns, weight, learning_rate, workspace):
    return embedded.sgd_step(
        _layers(network),
        _objectives(network),
        _params(network, x),
        _inputs(network, rows, x),
        _matrix(y, rows, y_columns),
        _optional(weight, rows),
        learning_rate,
        _workspace(workspace),
    )
