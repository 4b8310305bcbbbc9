"""Derivatives beside the gradient of the loss, for one block of rows.

All begin with `backprop.forward_with_slopes` and go back through the layers with a
derivative of the outputs in place of the loss's: for each layer

    ∂ŷ/∂z of the layer before = (∂ŷ/∂z Wᵀ) · f'        ∂ŷ/∂x = ∂ŷ/∂z Wᵀ of the first

Nothing is allocated: the caller owns every array.
"""

from typing import Any

from flatprop.kernels.compile import jittable, kernel
from flatprop.kernels.loops.elementwise import multiply
from flatprop.kernels.loops.softmax import fill, outer_products, softmax_backward
from flatprop.kernels.network.backprop import (
    backward_workspace_size,
    forward_with_slopes,
    layer_gradient,
    loss_and_slopes,
    propagate,
    slope_factor,
)
from flatprop.kernels.network.records import SOFTMAX, matrix, widest
from flatprop.kernels.products.matmul import product_transposed_right, times_transposed


@jittable
def jacobian_workspace_size(layers: Any, rows: int) -> int:
    """How many numbers `jacobian` and `parameter_jacobian` need for so many rows."""
    return backward_workspace_size(layers, rows) + 2 * rows * widest(layers)


@kernel
def vjp(layers, params, x, dL_dy, dL_dx, gradient, workspace):
    """Takes ∂L/∂ŷ back: dL_dx ← ∂L/∂x, and to `gradient` adds ∂L/∂params.

    Either is left out where its array is empty. x is (rows, inputs), dL_dy (rows,
    outputs). Overwrites `workspace`, of `backward_workspace_size` numbers.
    """
    forward_with_slopes(layers, params, x, False, workspace)
    rows, last = x.shape[0], layers.size - 1
    output = layers[last]
    a = matrix(workspace, 2 * rows * output.place, rows, output.units)
    dL_dz = matrix(workspace, rows * (2 * output.place + output.units), rows, output.units)
    given = matrix(dL_dy, 0, rows, output.units)
    multiply(given, dL_dz)
    if output.activation == SOFTMAX:
        softmax_backward(a, dL_dz)
    for l in range(last, -1, -1):
        layer = layers[l]
        if gradient.size > 0:
            whole = layer.inputs + 1
            layer_gradient(layers, l, x, 0, whole, 1.0, True, gradient, layer.weights, workspace)
        if l > 0:
            propagate(layers, l, params, rows, workspace)
    if dL_dx.size > 0:
        first = layers[0]
        scratch = matrix(workspace, 2 * rows * (output.place + output.units), 1, 1)
        W = matrix(params, first.weights, first.inputs, first.units)
        dL_dz = matrix(workspace, rows * first.units, rows, first.units)
        times_transposed(dL_dz, W, matrix(dL_dx, 0, rows, first.inputs), scratch)


@kernel
def per_sample_gradients(layers, objective, params, x, y, weight, scale, out, workspace):
    """out (rows, parameters) ← each row's own ∂(scale · w ℓ)/∂params; Σ w ℓ.

    Arguments as for `backprop.loss_and_slopes`. Overwrites `workspace`, of
    `backward_workspace_size` numbers.
    """
    total = loss_and_slopes(layers, objective, params, x, y, weight, scale, workspace)
    rows, last = x.shape[0], layers.size - 1
    stride = layers[last].biases + layers[last].units
    for l in range(last, -1, -1):
        layer = layers[l]
        a = matrix(x, 0, rows, layer.inputs)
        if l > 0:
            a = matrix(workspace, 2 * rows * layers[l - 1].place, rows, layer.inputs)
        dL_dz = matrix(workspace, rows * (2 * layer.place + layer.units), rows, layer.units)
        outer_products(a, dL_dz, out, layer.weights, stride)
        if l > 0:
            propagate(layers, l, params, rows, workspace)
    return total


@kernel
def jacobian(layers, params, x, first, stop, out, workspace):
    """out (rows, outputs, inputs) ← ∂ŷ/∂x of every row, of outputs first to stop.

    Overwrites `workspace`, of `jacobian_workspace_size` numbers. Where `first` is not 0 it
    holds what the call for the outputs before left, with the same x.
    """
    rows, inputs, outputs = x.shape[0], layers[0].inputs, layers[layers.size - 1].units
    if first == 0:
        forward_with_slopes(layers, params, x, False, workspace)
    for k in range(first, stop):
        dy_dz = _output_slope(layers, k, rows, workspace)
        for l in range(layers.size - 1, 0, -1):
            dy_dz = _propagate(layers, l, params, dy_dz, workspace)
        dy_dx, scratch = _spare(layers, 1, rows, inputs, workspace)  # beside layer 0
        W = matrix(params, 0, inputs, layers[0].units)
        times_transposed(dy_dz, W, dy_dx, scratch)
        for i in range(rows):
            row = matrix(out, (i * outputs + k) * inputs, 1, inputs)
            for j in range(inputs):
                row[0, j] = dy_dx[i, j]


@kernel
def parameter_jacobian(layers, params, x, out, workspace):
    """out (rows, outputs, parameters) ← ∂ŷ/∂params of every row.

    Overwrites `workspace`, of `jacobian_workspace_size` numbers.
    """
    rows, last = x.shape[0], layers.size - 1
    outputs, size = layers[last].units, layers[last].biases + layers[last].units
    forward_with_slopes(layers, params, x, False, workspace)
    for k in range(outputs):
        dy_dz = _output_slope(layers, k, rows, workspace)
        for l in range(last, -1, -1):
            layer = layers[l]
            a = matrix(x, 0, rows, layer.inputs)
            if l > 0:
                a = matrix(workspace, 2 * rows * layers[l - 1].place, rows, layer.inputs)
            outer_products(a, dy_dz, out, k * size + layer.weights, outputs * size)
            if l > 0:
                dy_dz = _propagate(layers, l, params, dy_dz, workspace)


@kernel
def _spare(layers, l, rows, columns, workspace):
    """A matrix beside the places of the layers, one for even l and one for odd; the scratch."""
    last = layers[layers.size - 1]
    begin, size = 2 * rows * (last.place + last.units), rows * widest(layers)
    here = matrix(workspace, begin + (l % 2) * size, rows, columns)
    return here, matrix(workspace, begin + 2 * size, 1, 1)


@kernel
def _output_slope(layers, k, rows, workspace):
    """∂ŷₖ/∂z of the last layer."""
    last = layers[layers.size - 1]
    dy_dz, _ = _spare(layers, layers.size - 1, rows, last.units, workspace)
    fill(dy_dz, 0.0)
    for i in range(rows):
        dy_dz[i, k] = 1.0
    if last.activation == SOFTMAX:
        softmax_backward(matrix(workspace, 2 * rows * last.place, rows, last.units), dy_dz)
    else:
        multiply(matrix(workspace, rows * (2 * last.place + last.units), rows, last.units), dy_dz)
    return dy_dz


@kernel
def _propagate(layers, l, params, dy_dz, workspace):
    """∂ŷ/∂z of layer l - 1 from that of layer l; unlike `propagate` it leaves the slopes."""
    layer, before, rows = layers[l], layers[l - 1], dy_dz.shape[0]
    W = matrix(params, layer.weights, layer.inputs, layer.units)
    da_dz, rectified = slope_factor(layers, l - 1, rows, workspace)
    out, scratch = _spare(layers, l - 1, rows, before.units, workspace)
    product_transposed_right(dy_dz, W, da_dz, rectified, out, scratch)
    return out
