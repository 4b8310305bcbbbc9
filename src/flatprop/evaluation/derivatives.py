"""Derivatives other than the gradient of the loss."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop.evaluation import calls
from flatprop.evaluation.values import scale_of
from flatprop.kernels.network import entry_points
from flatprop.kernels.network.workspace import (
    backward_workspace_size,
    curvature_workspace_size,
    jacobian_workspace_size,
)
from flatprop.model.model import Model
from flatprop.samples.in_memory import Data, in_memory
from flatprop.validation import checks
from flatprop.validation.arrays import Array, aligned_empty, read_only


def vjp(network: Model, X: ArrayLike, dL_dy: ArrayLike) -> tuple[Array, Array]:
    """Takes a gradient with respect to the outputs back to inputs and parameters.

    This is backpropagation for a loss L that the caller computed from `predict`. It gives two
    vector-Jacobian products: (∂ŷ/∂x)ᵀ ∂L/∂ŷ for each row, and Σ (∂ŷ/∂params)ᵀ ∂L/∂ŷ over the
    rows.

    Parameters
    ----------
    X
        (n, inputs).
    dL_dy
        (n, outputs); or (n,) for a network with one output.

    Returns
    -------
    dL_dx : ndarray
        (n, inputs).
    gradient : ndarray
        In the order of `params`.

    Raises
    ------
    TypeError, ValueError
        If X and dL_dy do not fit the network or each other.
    """
    x = checks.inputs(X, network.inputs, network.dtype)
    slope = checks.numbers("dL_dy", dL_dy, network.dtype)
    if slope.ndim == 1 and network.outputs == 1:
        slope = slope.reshape(-1, 1)
    if slope.shape != (len(x), network.outputs):
        raise ValueError(
            f"dL_dy must have a row per row of X and a column per output, "
            f"{(len(x), network.outputs)}, but its shape is {slope.shape}"
        )
    layers, _, params = network._arrays
    rows = min(len(x), calls.block_rows(network))
    dL_dx, gradient = np.empty_like(x), np.zeros_like(network.params)
    workspace = _workspace(network, backward_workspace_size, rows)
    for block in calls.blocks(len(x), rows):
        given = layers, params, read_only(x[block]), read_only(slope[block])
        entry_points.vjp(*given, dL_dx[block], gradient, workspace)
    return dL_dx, gradient


def jacobian(network: Model, X: ArrayLike, wrt: str = "inputs") -> Array:
    """The Jacobian of the outputs, for every row.

    Parameters
    ----------
    X
        (n, inputs).
    wrt
        "inputs" or "params".

    Returns
    -------
    ndarray
        ∂ŷₖ/∂xⱼ, (n, outputs, inputs); or (n, outputs, parameters), the last axis in
        the order of `params`.

    Raises
    ------
    TypeError, ValueError
        If X does not fit the network or `wrt` is neither.
    """
    checks.choice("wrt", wrt, ("inputs", "params"))
    x = checks.inputs(X, network.inputs, network.dtype)
    layers, _, params = network._arrays
    by_inputs, outputs = wrt == "inputs", network.outputs
    if by_inputs:
        columns, rows = network.inputs, calls.block_rows(network)
    else:
        columns = network.params.size
        rows = calls.rows_of_a_block(network, calls.WRITTEN * outputs)
    out = np.empty((len(x), outputs * columns), network.dtype)
    rows = min(len(x), rows)
    workspace = _workspace(network, jacobian_workspace_size, rows)
    for block in calls.blocks(len(x), rows):
        given = layers, params, read_only(x[block])
        if not by_inputs:
            entry_points.parameter_jacobian(*given, out[block], workspace)
            continue
        for some in calls.blocks(outputs, calls.passes_in_time(network, rows)):
            entry_points.jacobian(*given, some.start, some.stop, out[block], workspace)
    return out.reshape(len(x), outputs, columns)


def per_sample_gradients(network: Model, X: ArrayLike, y: ArrayLike) -> Array:
    """The gradient of each sample's own loss, as if the sample were the only one.

    Parameters
    ----------
    X, y
        As for `loss`.

    Returns
    -------
    ndarray
        (n, parameters). The mean of the rows is the gradient of the loss; if the loss
        is a sum, the sum of the rows is. If the loss has weights of classes and y has class
        indices, it is the mean that is weighted by those of the samples' classes.

    Raises
    ------
    TypeError, ValueError
        As for `loss`.
    """
    data = in_memory(network, X, y, by_class=False)
    out = np.empty((data.rows, network.params.size), network.dtype)
    scale = network.loss_function.scale(network.outputs, 1)
    count = -(-data.rows // calls.rows_of_a_block(network, calls.WRITTEN))
    rows = -(-data.rows // count)  # all blocks about equally long
    workspace = _workspace(network, backward_workspace_size, rows)
    for block in calls.blocks(data.rows, rows):
        given = _block_of(network, data, block)
        entry_points.per_sample_gradients(*network._arrays, *given, scale, out[block], workspace)
    return out


def hessian_vector_product(
    network: Model,
    X: ArrayLike,
    y: ArrayLike,
    v: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> Array:
    """The Hessian of the loss with respect to `params`, times a vector.

    The product is exact and costs as much as a few gradients (Pearlmutter 1994); the matrix
    is never formed. Only the second derivatives of an own activation or loss that has a loop, and
    of `fp.losses.Row`, are approximated by differences.

    Parameters
    ----------
    X, y, sample_weight
        As for `loss`.
    v
        (parameters,), in the order of `params`.

    Returns
    -------
    ndarray
        (parameters,).

    Raises
    ------
    TypeError, ValueError
        As for `loss`, and if v is not as long as `params`.
    """
    kernel = entry_points.hessian_vector_product
    return _curvature_product(network, X, y, v, sample_weight, kernel)


def gauss_newton_vector_product(
    network: Model,
    X: ArrayLike,
    y: ArrayLike,
    v: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> Array:
    """The Gauss-Newton matrix Jᵀ H J of the loss, times a vector.

    J is the Jacobian of the outputs with respect to `params`, and H the Hessian of the
    loss with respect to the outputs. For a loss that is computed from the logits, both are
    taken at the logits instead of the outputs. If the loss is convex in the outputs, this
    matrix has no negative eigenvalue, while the Hessian may have some (Schraudolph 2002).
    `GaussianNLL` is not convex: H couples mean and log-variance, and the matrix may have negative
    eigenvalues, too.

    Parameters
    ----------
    X, y, v, sample_weight
        As for `hessian_vector_product`.

    Returns
    -------
    ndarray
        (parameters,).

    Raises
    ------
    TypeError, ValueError
        As for `hessian_vector_product`.
    """
    kernel = entry_points.gauss_newton_vector_product
    return _curvature_product(network, X, y, v, sample_weight, kernel)


def _curvature_product(
    network: Model,
    X: ArrayLike,
    y: ArrayLike,
    v: ArrayLike,
    sample_weight: ArrayLike | None,
    kernel: Any,
) -> Array:
    data = in_memory(network, X, y, sample_weight)
    direction = checks.numbers("v", v, network.dtype)
    if direction.shape != network.params.shape:
        raise ValueError(
            f"v must have shape {network.params.shape}, as net.params, not {direction.shape}"
        )
    rows = calls.even_block(network, data.rows)
    workspace = _workspace(network, curvature_workspace_size, rows)
    scale, out = scale_of(network, data), np.empty_like(network.params)
    for block in calls.blocks(data.rows, rows):
        given = _block_of(network, data, block)
        more = block.start > 0
        kernel(*network._arrays, direction, *given, scale, more, out, workspace)
    return out


def _workspace(network: Model, size: Callable[[Any, int], int], rows: int) -> Array:
    return aligned_empty(size(network._arrays.layers, rows), network.dtype)


def _block_of(network: Model, data: Data, block: slice) -> tuple[Array, Array, Array]:
    """x, y and the weights once per output, of some rows."""
    x, y = (flat.reshape(data.rows, -1)[block] for flat in (data.x, data.y))
    weight = np.ones((len(x), network.outputs), network.dtype)
    if data.weight.size:
        weight *= data.weight[block, None]
    return x, y, weight
