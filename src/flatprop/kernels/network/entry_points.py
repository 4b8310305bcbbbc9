"""A whole data set, one block of rows at a time: what Python calls.

Memory beyond the data and the results is that of one block, however many rows
there are. Of a data set, `x` and `y` are flat and, like `weight`, may be
read-only.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from flatprop.kernels.compile import entry_point, kernel
from flatprop.kernels.loops.elementwise import activate_with_slope, squared_norm
from flatprop.kernels.loops.minibatch import batch_weights_per_output
from flatprop.kernels.loops.softmax import softmax
from flatprop.kernels.network import backprop, curvature, jacobians
from flatprop.kernels.network.records import SOFTMAX, matrix


class Data(NamedTuple):
    """Samples in memory, and their targets."""

    x: Any
    """(rows · inputs,)"""
    y: Any
    """(rows · columns,): a column per output, or one of class indices."""
    weight: Any
    """(rows,), or empty where every sample counts alike."""
    rows: int

    @property
    def in_memory(self) -> bool:
        """Whether this is all of the samples, as it is."""
        return True

    @property
    def batches_given(self) -> bool:
        """Whether this is one batch among others, as somebody else made it."""
        return False

    def parts(self, batch_size: int | None, rng: Any = None) -> Iterator["Data"]:
        """All samples once, which are one part."""
        yield self

    def some(self, start: int, stop: int) -> "Data":
        """Rows start to stop, as views."""
        inputs, columns = self.x.size // self.rows, self.y.size // self.rows
        x, y = self.x[start * inputs : stop * inputs], self.y[start * columns : stop * columns]
        return Data(x, y, self.weight[start:stop], stop - start)


class Block(NamedTuple):
    """Scratch for one block of rows, owned by the caller."""

    rows: int
    """How many rows it has room for."""
    weight: Any
    """(rows · outputs,), filled with ones where every sample counts alike."""
    workspace: Any
    """`backprop.backward_workspace_size` numbers, and 2 · rows · outputs."""


@kernel
def block_of(layers, data, start, stop, block):
    """x, y and the weights once per output, for as many rows from `start` on as `block` holds."""
    count = min(block.rows, stop - start)
    inputs, outputs = layers[0].inputs, layers[layers.size - 1].units
    columns = data.y.size // data.rows
    weight = matrix(block.weight, 0, count, outputs)
    batch_weights_per_output(data.weight, None, start, weight)
    x = matrix(data.x, start * inputs, count, inputs)
    return x, matrix(data.y, start * columns, count, columns), weight


@entry_point
def predict(layers, params, x, out, block_rows, workspace):
    """out ← the outputs for every row of x; whether Σ x² is finite, as it is not for NaN.

    `workspace` is as for `backprop.forward`.
    """
    inputs, outputs = layers[0].inputs, layers[layers.size - 1].units
    rows = out.size // outputs
    norm = 0.0
    for start in range(0, rows, block_rows):
        count = min(block_rows, rows - start)
        a = matrix(x, start * inputs, count, inputs)
        norm += squared_norm(a, 0, count * inputs)
        backprop.forward(
            layers, params, a, matrix(out, start * outputs, count, outputs), workspace, False
        )
    return math.isfinite(norm)


@entry_point
def sum_of_losses(layers, loss_records, params, data, start, stop, total, block):
    """total + Σ w ℓ over rows start to stop."""
    loss_record, outputs = loss_records[0], layers[layers.size - 1].units
    for row in range(start, stop, block.rows):
        x, y, weight = block_of(layers, data, row, stop, block)
        prediction = matrix(block.workspace, 0, x.shape[0], outputs)
        slope = matrix(block.workspace, prediction.size, x.shape[0], outputs)
        rest = matrix(block.workspace, 2 * prediction.size, 1, 1)
        backprop.forward(layers, params, x, prediction, rest, loss_record.from_logits == 1)
        total += backprop.output_loss(loss_record, prediction, y, weight, 0.0, slope)
    return total


@entry_point
def loss_and_gradient(
    layers, loss_records, params, data, start, stop, total, scale, gradient, block
):
    """total + Σ w ℓ over rows start to stop; gradient ← that of scale · Σ w ℓ.

    Where `start` is not 0 it is added to what `gradient` holds, of the rows before.
    """
    for row in range(start, stop, block.rows):
        x, y, weight = block_of(layers, data, row, stop, block)
        total += backprop.loss_and_gradient(
            layers,
            loss_records[0],
            params,
            x,
            y,
            weight,
            scale,
            row > 0,
            gradient,
            block.workspace,
        )
    return total


@entry_point
def vjp(layers, params, x, dL_dy, dL_dx, gradient, block_rows, workspace):
    """dL_dx ← ∂L/∂x from ∂L/∂ŷ; gradient += ∂L/∂params; see `jacobians.vjp`."""
    inputs, outputs = layers[0].inputs, layers[layers.size - 1].units
    rows = x.size // inputs
    for start in range(0, rows, block_rows):
        count = min(block_rows, rows - start)
        jacobians.vjp(
            layers,
            params,
            matrix(x, start * inputs, count, inputs),
            matrix(dL_dy, start * outputs, count, outputs),
            matrix(dL_dx, start * inputs, count if dL_dx.size > 0 else 0, inputs),
            gradient,
            workspace,
        )


@entry_point
def jacobian(layers, params, x, first, stop, out, block_rows, workspace):
    """out (rows, outputs, inputs) ← ∂ŷ/∂x of every row, of outputs first to stop.

    Where `first` is not 0 these are the rows of the call before, and no more than a block.
    """
    inputs = layers[0].inputs
    rows, size = x.size // inputs, layers[layers.size - 1].units * inputs
    for start in range(0, rows, block_rows):
        count = min(block_rows, rows - start)
        a = matrix(x, start * inputs, count, inputs)
        part = matrix(out, start * size, count, size)
        jacobians.jacobian(layers, params, a, first, stop, part, workspace)


@entry_point
def parameter_jacobian(layers, params, x, out, block_rows, workspace):
    """out (rows, outputs, parameters) ← ∂ŷ/∂params of every row."""
    inputs = layers[0].inputs
    rows, size = x.size // inputs, layers[layers.size - 1].units * params.size
    for start in range(0, rows, block_rows):
        count = min(block_rows, rows - start)
        part = matrix(out, start * size, count, size)
        jacobians.parameter_jacobian(
            layers, params, matrix(x, start * inputs, count, inputs), part, workspace
        )


@entry_point
def per_sample_gradients(layers, loss_records, params, data, scale, out, block):
    """out (rows, parameters) ← ∂(scale · w ℓ)/∂params of every row."""
    for start in range(0, data.rows, block.rows):
        x, y, weight = block_of(layers, data, start, data.rows, block)
        jacobians.per_sample_gradients(
            layers,
            loss_records[0],
            params,
            x,
            y,
            weight,
            scale,
            matrix(out, start * params.size, x.shape[0], params.size),
            block.workspace,
        )


@entry_point
def hessian_vector_product(layers, loss_records, params, v, data, start, stop, scale, out, block):
    """out ← the Hessian of scale · Σ w ℓ over rows start to stop times v.

    Where `start` is not 0 it is added to what `out` holds, of the rows before.
    """
    product = curvature.hessian_vector_product
    _add_products(
        product, layers, loss_records[0], params, v, data, start, stop, scale, out, block
    )


@entry_point
def gauss_newton_vector_product(
    layers, loss_records, params, v, data, start, stop, scale, out, block
):
    """out ← the Gauss-Newton matrix times v; otherwise as `hessian_vector_product`."""
    product = curvature.gauss_newton_vector_product
    _add_products(
        product, layers, loss_records[0], params, v, data, start, stop, scale, out, block
    )


@kernel
def _add_products(product, layers, loss_record, params, v, data, start, stop, scale, out, block):
    """What `product` gives for the blocks of rows start to stop, added up in `out`."""
    space = block.workspace
    for row in range(start, stop, block.rows):
        x, y, weight = block_of(layers, data, row, stop, block)
        product(layers, loss_record, params, v, x, y, weight, scale, row > 0, out, space)


@entry_point
def activation(code, function, z, slope):
    """z ← its activation, slope ← da/dz; for softmax, which has none, slope is left alone."""
    if code == SOFTMAX:
        softmax(z)
    else:
        activate_with_slope(code, function, z, slope)


@entry_point
def slope_of_loss(loss_records, scale, prediction, y, weight, slope):
    """slope ← scale · w · ∂ℓ/∂ŷ, by the definition of the loss."""
    backprop.loss_by_definition(loss_records[0], prediction, y, weight, scale, slope)
