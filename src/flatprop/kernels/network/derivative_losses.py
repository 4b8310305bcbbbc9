"""Losses of outputs and their derivatives, with gradients: what Python calls in a training.

Each goes through rows `first` to `stop` of the samples, one block at a time, in the order of
`order` unless it is empty. It adds to `gradient`.
"""

from typing import Any, NamedTuple

from flatprop.formulas.optimizer import GRADIENT_SCALE
from flatprop.kernels.compile import entry_point, kernel
from flatprop.kernels.loops.elementwise import copy
from flatprop.kernels.loops.integers import smaller
from flatprop.kernels.loops.minibatch import gather, weights_per_output
from flatprop.kernels.loops.residuals import squared_residuals
from flatprop.kernels.loops.updates import clipping, update_trained
from flatprop.kernels.network.backprop import loss_and_gradient, output_loss
from flatprop.kernels.network.input_derivatives import gradient_of_stacks, kept_stacks
from flatprop.kernels.network.records import SOFTMAX, matrix
from flatprop.kernels.network.slopes_of_one import gradient_along, values_and_slopes
from flatprop.kernels.network.stacks import part


class Scratch(NamedTuple):
    """Scratch of one thread, for blocks of `rows` rows."""

    rows: int
    x: Any
    """(rows · inputs,)"""
    y: Any
    """(rows · columns,)"""
    dy: Any
    """(rows · outputs · inputs,) and as much as a stack of x and g, see `slopes_of_one`; or the
    columns of an equation."""
    weight: Any
    """(rows · outputs,), filled with ones where every sample counts alike."""
    workspace: Any


@kernel
def _taken(source, columns, order, start, count, room):
    """`count` rows from place `start` of the order on; copied into `room` if there is an order."""
    taken = matrix(source, start * columns, count, columns)
    if order.size > 0:
        taken = matrix(room, 0, count, columns)
        gather(source, order, start, taken)
    return taken


@entry_point
def of_outputs(model, data, order, first, stop, scale, gradient, scratch):
    """scale · Σ w ℓ of the outputs, as `fit` without derivatives has it."""
    layers, loss_records, params = model
    inputs, outputs = layers[0].inputs, layers[layers.size - 1].units
    columns, total = data.y.size // data.rows, 0.0
    for start in range(first, stop, scratch.rows):
        rows = smaller(scratch.rows, stop - start)
        x = _taken(data.x, inputs, order, start, rows, scratch.x)
        y = _taken(data.y, columns, order, start, rows, scratch.y)
        weight = matrix(scratch.weight, 0, rows, outputs)
        weights_per_output(data.weight, order, start, weight)
        total += loss_and_gradient(
            layers,
            loss_records[0],
            params,
            x,
            y,
            weight,
            scale,
            True,
            gradient,
            scratch.workspace,
        )
    return total * scale


@entry_point
def of_slopes(model, data, dy, axes, order, first, stop, scale, share, gradient, scratch):
    """scale · Σ w ℓ + share · Σ w (∂ŷ/∂x - dy)²; dy is (rows · outputs · inputs,)."""
    layers, loss_records, params = model
    inputs, outputs = layers[0].inputs, layers[layers.size - 1].units
    columns, total, squares = data.y.size // data.rows, 0.0, 0.0
    for start in range(first, stop, scratch.rows):
        rows = smaller(scratch.rows, stop - start)
        x = _taken(data.x, inputs, order, start, rows, scratch.x)
        y = _taken(data.y, columns, order, start, rows, scratch.y)
        slopes = _taken(dy, outputs * inputs, order, start, rows, scratch.dy)
        weight = matrix(scratch.weight, 0, rows, outputs)
        weights_per_output(data.weight, order, start, weight)
        if outputs == 1 and inputs > 1 and layers[layers.size - 1].activation != SOFTMAX:
            stack = matrix(scratch.dy, rows * inputs, 2 * rows, inputs)
            directions = part(stack, rows, 1)
            values = values_and_slopes(layers, params, x, directions, scratch.workspace)
            total += output_loss(loss_records[0], values, y, weight, scale, values)
            copy(x, part(stack, rows, 0))
            for i in range(rows):
                for j in range(inputs):
                    d = directions[i, j] - slopes[i, j]
                    squares += weight[i, 0] * d * d
                    directions[i, j] = 2.0 * share * weight[i, 0] * d
            gradient_along(layers, params, stack, rows, True, gradient, scratch.workspace)
            continue
        stack = kept_stacks(layers, params, x, axes, 0, scratch.workspace)
        values = part(stack, rows, 0)
        total += output_loss(loss_records[0], values, y, weight, scale, values)
        for j in range(inputs):
            du = part(stack, rows, 1 + j)
            for i in range(rows):
                for k in range(outputs):
                    d = du[i, k] - slopes[i, k * inputs + j]
                    squares += weight[i, k] * d * d
                    du[i, k] = 2.0 * share * weight[i, k] * d
        gradient_of_stacks(layers, params, x, axes, 0, True, gradient, scratch.workspace)
    return total * scale + squares * share


@entry_point
def of_equation(
    model,
    points,
    directions,
    seconds,
    function,
    unknowns,
    order,
    first,
    stop,
    scale,
    gradient,
    slopes,
    scratch,
):
    """scale · Σ r² of a residual, see `residuals`; points is flat, `slopes` those of unknowns."""
    layers, _, params = model
    inputs, outputs = layers[0].inputs, layers[layers.size - 1].units
    parts, total = 1 + directions.shape[0] + seconds, 0.0
    for start in range(first, stop, scratch.rows):
        rows = smaller(scratch.rows, stop - start)
        x = _taken(points, inputs, order, start, rows, scratch.x)
        stack = kept_stacks(layers, params, x, directions, seconds, scratch.workspace)
        columns = matrix(scratch.dy, 0, inputs + parts * outputs, rows)
        for i in range(rows):
            for j in range(inputs):
                columns[j, i] = x[i, j]
        for p in range(parts):
            for i in range(rows):
                for k in range(outputs):
                    columns[inputs + p * outputs + k, i] = stack[p * rows + i, k]
        total += squared_residuals(function, scale, columns, unknowns, slopes)
        for p in range(parts):
            for i in range(rows):
                for k in range(outputs):
                    stack[p * rows + i, k] = columns[inputs + p * outputs + k, i]
        gradient_of_stacks(
            layers, params, x, directions, seconds, True, gradient, scratch.workspace
        )
    return total * scale


@entry_point
def update(code, settings, params, gradient, state, trainable, clip_norm):
    """params ← one update; before it the gradient is clipped, unless `clip_norm` is 0."""
    if clip_norm > 0:
        settings[GRADIENT_SCALE] = clipping(gradient, trainable, clip_norm)
    update_trained(code, settings, params, gradient, state, trainable, 0, params.size, 0)
