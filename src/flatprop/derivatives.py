"""What solvers ask of a network beside its gradient: the methods of `Network` behind it."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop import checks
from flatprop.arrays import Array, aligned_empty, read_only
from flatprop.kernels import batches
from flatprop.kernels.backprop import backward_workspace_size
from flatprop.kernels.curvature import curvature_workspace_size
from flatprop.kernels.derivatives import jacobian_workspace_size

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
    rows = min(len(x), network.block_rows)
    dL_dx, gradient = np.empty_like(x), np.zeros_like(network.params)
    workspace = aligned_empty(backward_workspace_size(network.layers, rows), network.dtype)
    flat = read_only(x.reshape(-1)), read_only(slope.reshape(-1))
    batches.vjp(
        network.layers, network.vector, *flat, dL_dx.reshape(-1), gradient, rows, workspace
    )
    return dL_dx, gradient


def jacobian(network: "Network", X: ArrayLike, wrt: str) -> Array:
    """∂ŷ/∂x or ∂ŷ/∂params of every row; see `Network.jacobian`."""
    checks.choice("wrt", wrt, ("inputs", "params"))
    x = checks.inputs(X, network.inputs, network.dtype)
    rows = min(len(x), network.block_rows)
    columns, kernel = {
        "inputs": (network.inputs, batches.jacobian),
        "params": (network.params.size, batches.parameter_jacobian),
    }[wrt]
    out = np.empty((len(x), network.outputs, columns), network.dtype)
    workspace = aligned_empty(jacobian_workspace_size(network.layers, rows), network.dtype)
    flat: Any = read_only(x.reshape(-1))
    kernel(network.layers, network.vector, flat, out.reshape(-1), rows, workspace)
    return out


def per_sample_gradients(network: "Network", X: ArrayLike, y: ArrayLike) -> Array:
    """The gradient of every sample's own loss; see `Network.per_sample_gradients`."""
    data = network.data(X, y)
    out = np.empty((data.rows, network.params.size), network.dtype)
    batches.per_sample_gradients(
        network.layers,
        network.objectives,
        network.vector,
        data,
        network.loss_function.scale(network.outputs, 1),
        out.reshape(-1),
        network.block(data),
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
    size = curvature_workspace_size(network.layers, block.rows)
    workspace = aligned_empty(size, network.dtype)
    out = np.empty_like(network.params)
    kernel(
        network.layers,
        network.objectives,
        network.vector,
        direction,
        data,
        network.scale(data),
        out,
        block._replace(workspace=workspace),
    )
    return out
