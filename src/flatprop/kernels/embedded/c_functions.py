"""The functions of `flatprop.kernels` as C calls them: pointers and sizes for arrays.

`include/flatprop.h` is their contract, and these here are its signatures: a name says
what type an argument has, see `signature`. Each is compiled when it is first asked for,
once per dtype; none of them raises, so none of them calls Python.
"""

from collections.abc import Callable
from inspect import signature as parameters_of
from typing import Any

import numpy as np
from numba.core import types
from numba.np.numpy_support import from_dtype

from flatprop.kernels.compile import c_address, kernel
from flatprop.kernels.embedded import functions
from flatprop.kernels.embedded.pointers import (
    array_at,
    is_null,
    layers_of,
    matrix_at,
    objectives_of,
    optimizer_at,
    optional_at,
    params_of,
    workspace_at,
)

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


def signature(name: str, dtype: np.dtype[Any]) -> tuple[Any, tuple[Any, ...]]:
    """The types of the result and of the arguments; arrays are pointers to `dtype`."""
    _, result = FUNCTIONS[name]
    array = types.CPointer(from_dtype(dtype))
    kinds: dict[str, Any] = dict.fromkeys(INTEGERS, types.int64)
    kinds |= dict.fromkeys(REALS, types.float64) | dict.fromkeys(RECORDS, types.voidptr)
    return result, tuple(kinds.get(argument, array) for argument in arguments(name))


def address(name: str, dtype: np.dtype[Any]) -> int:
    """Where C finds the function."""
    function, _ = FUNCTIONS[name]
    return c_address(function, *signature(name, dtype))


def arguments(name: str) -> tuple[str, ...]:
    """The names of the arguments."""
    return tuple(parameters_of(FUNCTIONS[name][0]).parameters)


@kernel
def _inputs(network, rows, x):
    return matrix_at(x, x, rows, layers_of(network)[0].inputs)


@kernel
def _outputs(network, rows, y):
    layers = layers_of(network)
    return matrix_at(y, y, rows, layers[layers.size - 1].units)


@returns(types.int64)
def workspace_size(network, rows):
    return functions.workspace_size(layers_of(network), rows)


@returns(types.int64)
def gradient_workspace_size(network, rows):
    return functions.gradient_workspace_size(layers_of(network), rows)


@returns(types.void)
def forward(network, rows, x, out, workspace):
    functions.forward(
        layers_of(network),
        params_of(network, x),
        _inputs(network, rows, x),
        _outputs(network, rows, out),
        workspace_at(workspace, workspace),
    )


@returns(types.float64)
def loss(network, rows, x, y, y_columns, weight, workspace):
    return functions.loss(
        layers_of(network),
        objectives_of(network),
        params_of(network, x),
        _inputs(network, rows, x),
        matrix_at(y, y, rows, y_columns),
        optional_at(weight, rows),
        workspace_at(workspace, workspace),
    )


@returns(types.float64)
def loss_and_gradient(network, rows, x, y, y_columns, weight, gradient, workspace):
    params = params_of(network, x)
    return functions.loss_and_gradient(
        layers_of(network),
        objectives_of(network),
        params,
        _inputs(network, rows, x),
        matrix_at(y, y, rows, y_columns),
        optional_at(weight, rows),
        array_at(gradient, gradient, params.size),
        workspace_at(workspace, workspace),
    )


@returns(types.void)
def vjp(network, rows, x, dL_dy, dL_dx, gradient, workspace):
    params = params_of(network, x)
    inputs = layers_of(network)[0].inputs
    functions.vjp(
        layers_of(network),
        params,
        _inputs(network, rows, x),
        _outputs(network, rows, dL_dy),
        matrix_at(dL_dx, dL_dx, 0 if is_null(dL_dx) else rows, inputs),
        optional_at(gradient, params.size),
        workspace_at(workspace, workspace),
    )


@returns(types.void)
def jacobian(network, rows, x, out, workspace):
    layers = layers_of(network)
    outputs = layers[layers.size - 1].units
    functions.jacobian(
        layers,
        params_of(network, x),
        _inputs(network, rows, x),
        matrix_at(out, out, rows * outputs, layers[0].inputs),
        workspace_at(workspace, workspace),
    )


@returns(types.void)
def parameter_jacobian(network, rows, x, out, workspace):
    layers, params = layers_of(network), params_of(network, x)
    outputs = layers[layers.size - 1].units
    functions.parameter_jacobian(
        layers,
        params,
        _inputs(network, rows, x),
        matrix_at(out, out, rows * outputs, params.size),
        workspace_at(workspace, workspace),
    )


@returns(types.void)
def per_sample_gradients(network, rows, x, y, y_columns, out, workspace):
    params = params_of(network, x)
    functions.per_sample_gradients(
        layers_of(network),
        objectives_of(network),
        params,
        _inputs(network, rows, x),
        matrix_at(y, y, rows, y_columns),
        matrix_at(out, out, rows, params.size),
        workspace_at(workspace, workspace),
    )


@returns(types.void)
def hessian_vector_product(network, v, rows, x, y, y_columns, weight, out, workspace):
    params = params_of(network, x)
    functions.hessian_vector_product(
        layers_of(network),
        objectives_of(network),
        params,
        array_at(v, v, params.size),
        _inputs(network, rows, x),
        matrix_at(y, y, rows, y_columns),
        optional_at(weight, rows),
        array_at(out, out, params.size),
        workspace_at(workspace, workspace),
    )


@returns(types.void)
def gauss_newton_vector_product(network, v, rows, x, y, y_columns, weight, out, workspace):
    params = params_of(network, x)
    functions.gauss_newton_vector_product(
        layers_of(network),
        objectives_of(network),
        params,
        array_at(v, v, params.size),
        _inputs(network, rows, x),
        matrix_at(y, y, rows, y_columns),
        optional_at(weight, rows),
        array_at(out, out, params.size),
        workspace_at(workspace, workspace),
    )


@returns(types.void)
def update(network, optimizer, gradient):
    params = params_of(network, gradient)
    functions.update(
        optimizer_at(optimizer, params.size, gradient),
        params,
        array_at(gradient, gradient, params.size),
    )


@returns(types.float64)
def training_step(network, rows, x, y, y_columns, weight, optimizer, gradient, workspace):
    params = params_of(network, x)
    return functions.training_step(
        layers_of(network),
        objectives_of(network),
        params,
        _inputs(network, rows, x),
        matrix_at(y, y, rows, y_columns),
        optional_at(weight, rows),
        optimizer_at(optimizer, params.size, x),
        array_at(gradient, gradient, params.size),
        workspace_at(workspace, workspace),
    )


@returns(types.float64)
def sgd_step(network, rows, x, y, y_columns, weight, learning_rate, workspace):
    return functions.sgd_step(
        layers_of(network),
        objectives_of(network),
        params_of(network, x),
        _inputs(network, rows, x),
        matrix_at(y, y, rows, y_columns),
        optional_at(weight, rows),
        learning_rate,
        workspace_at(workspace, workspace),
    )
