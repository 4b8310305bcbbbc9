"""What solvers ask of a network beside its gradient: the methods of `Network` behind it."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop.evaluation import calls
from flatprop.kernels.network import entry_points
from flatprop.kernels.network.workspace import (
    backward_workspace_size,
    curvature_workspace_size,
    jacobian_workspace_size,
)
from flatprop.validation import checks
from flatprop.validation.arrays import Array, aligned_empty, read_only

if TYPE_CHECKING:
    from flatprop.network import Network


def vjp(network: "Network", X: ArrayLike, dL_dy: ArrayLike) -> tuple[Array, Array]:
    """The products of ∂L/∂ŷ with both Jacobians; see `Network.vjp`."""
    x = checks.inputs(X, network.inputs, network.dtype)
    slope = checks.numbers("dL_dy", dL_dy, network.dtype)
    if slope.ndim == 1 and network.outputs == 1:
        slope = slope.reshape(-1, 1)
    if slope.shape != (len(x), network.outputs):
        raise ValueError(
            f"dL_dy must have a row per row of X and a column per output, "
            f"{(len(x), network.outputs)}, but its shape is {slope.shape}"
        )
    layers, _, params = network._model
    rows = min(len(x), network.block_rows)
    dL_dx, gradient = np.empty_like(x), np.zeros_like(network.params)
    workspace = aligned_empty(backward_workspace_size(layers, rows), network.dtype)
    for part in calls.parts(network, len(x), rows, calls.GRADIENT):
        given = read_only(x[part].reshape(-1)), read_only(slope[part].reshape(-1))
        place = dL_dx[part].reshape(-1)
        entry_points.vjp(layers, params, *given, place, gradient, rows, workspace)
    return dL_dx, gradient


def jacobian(network: "Network", X: ArrayLike, wrt: str) -> Array:
    """∂ŷ/∂x or ∂ŷ/∂params of every row; see `Network.jacobian`."""
    checks.choice("wrt", wrt, ("inputs", "params"))
    x = checks.inputs(X, network.inputs, network.dtype)
    layers, _, params = network._model
    by_inputs, outputs = wrt == "inputs", network.outputs
    columns = network.inputs if by_inputs else network.params.size
    out = np.empty((len(x), outputs, columns), network.dtype)
    passes = 1 + outputs if by_inputs else calls.WRITTEN * outputs
    rows = min(len(x), network.block_rows if by_inputs else calls.rows_of_a_block(network, passes))
    workspace = aligned_empty(jacobian_workspace_size(layers, rows), network.dtype)
    for part in calls.parts(network, len(x), rows, passes):
        given = layers, params, read_only(x[part].reshape(-1))
        place = out[part].reshape(-1)
        if not by_inputs:
            entry_points.parameter_jacobian(*given, place, rows, workspace)
            continue
        some = outputs
        if part.stop - part.start <= rows:  # a block of many outputs is divided by them
            some = calls.passes_in_time(network, rows)
        for first in range(0, outputs, some):
            last = min(first + some, outputs)
            entry_points.jacobian(*given, first, last, place, rows, workspace)
    return out


def per_sample_gradients(network: "Network", X: ArrayLike, y: ArrayLike) -> Array:
    """The gradient of every sample's own loss; see `Network.per_sample_gradients`."""
    data = network.data(X, y)
    out = np.empty((data.rows, network.params.size), network.dtype)
    scale = network.loss_function.scale(network.outputs, 1)
    count = -(-data.rows // calls.rows_of_a_block(network, calls.WRITTEN))
    block = network.block(data, -(-data.rows // count))  # all blocks about equally long
    for part in calls.parts(network, data.rows, block.rows, calls.WRITTEN):
        entry_points.per_sample_gradients(
            *network._model,
            calls.rows_of(data, part),
            scale,
            out[part].reshape(-1),
            block,
        )
    return out


def curvature_product(
    network: "Network",
    X: ArrayLike,
    y: ArrayLike,
    v: ArrayLike,
    sample_weight: ArrayLike | None,
    kernel: Any,
) -> Array:
    """The Hessian or the Gauss-Newton matrix of the loss, times v."""
    data = network.data(X, y, sample_weight)
    direction = checks.numbers("v", v, network.dtype)
    if direction.shape != network.params.shape:
        raise ValueError(
            f"v must have shape {network.params.shape}, as net.params, not {direction.shape}"
        )
    block = network.block(data)
    size = curvature_workspace_size(network._model.layers, block.rows)
    block = block._replace(workspace=aligned_empty(size, network.dtype))
    scale, out = network.scale(data), np.empty_like(network.params)
    for part in calls.parts(network, data.rows, block.rows, calls.CURVATURE):
        kernel(
            *network._model,
            direction,
            data,
            part.start,
            part.stop,
            scale,
            out,
            block,
        )
    return out
