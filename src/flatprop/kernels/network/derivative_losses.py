"""The terms of a loss with derivatives in it: the loss of one block of rows, and its gradient.

Each is a function `(term, like)` that `term_batches` calls by address: see `term_records`. `like`
is a pointer of the type of the numbers, and leads nowhere. It returns the loss, and writes its
gradient, or adds it, to what is there.
"""

from typing import Any

import numpy as np
from numba.core import types

from flatprop.kernels.compile import c_address, kernel
from flatprop.kernels.loops.elementwise import copy
from flatprop.kernels.loops.minibatch import gather, weights_per_output
from flatprop.kernels.loops.residuals import squared_residuals
from flatprop.kernels.network.backprop import loss_and_gradient, output_loss
from flatprop.kernels.network.dense_columns import forward_columns, gradient_of_columns
from flatprop.kernels.network.input_derivatives import gradient_of_stacks, kept_stacks
from flatprop.kernels.network.records import SOFTMAX, array_at, matrix, rows_of
from flatprop.kernels.network.slopes_of_one import gradient_along, values_and_slopes
from flatprop.kernels.network.stacks import part
from flatprop.kernels.network.term_records import network_of, term_of


@kernel
def _scratch(t, like):
    """The scratch of this thread, as one array."""
    return array_at(t.scratch, like, 0)


@kernel
def _workspace(t, like):
    """What is behind the rows that are copied."""
    return matrix(_scratch(t, like), t.x_size + t.y_size + t.dy_size, 1, 1)


@kernel
def _rows(t, source, columns, place, like):
    """The block's rows of an array; copied to a place of the scratch if they are shuffled."""
    rows = matrix(array_at(source, like, t.rows * columns), t.first * columns, t.count, columns)
    if t.shuffled != 0:
        rows = matrix(_scratch(t, like), place, t.count, columns)
        order = array_at(t.order, np.int64, t.rows)
        gather(array_at(source, like, t.rows * columns), order, t.first, rows)
    return rows


@kernel
def _weights(t, outputs, like):
    """The weights of the block's samples, once for each output."""
    weight = matrix(array_at(t.ones, like, t.block_rows * outputs), 0, t.count, outputs)
    if t.weighted != 0:
        size = t.rows if t.shuffled != 0 else 0
        order = array_at(t.order, np.int64, size)
        weights_per_output(array_at(t.sample_weight, like, t.rows), order, t.first, weight)
    return weight


def of_outputs(term, like):
    """scale · Σ w ℓ of the outputs, as `fit` without derivatives has it."""
    t = term_of(term)
    layers, loss_record, params = network_of(t, like)
    x = _rows(t, t.x, layers[0].inputs, 0, like)
    y = _rows(t, t.y, t.columns, t.x_size, like)
    weight = _weights(t, layers[layers.size - 1].units, like)
    gradient, accumulate = array_at(t.gradient, like, t.n_params), t.accumulate == 1
    space, scale = _workspace(t, like), t.scale
    return scale * loss_and_gradient(
        layers, loss_record, params, x, y, weight, scale, accumulate, gradient, space
    )


def of_slopes(term, like):
    """scale · Σ w ℓ + share · Σ w (∂ŷ/∂x - dy)², where `weight` is what slopes count together."""
    t = term_of(term)
    layers, loss_record, params = network_of(t, like)
    inputs, outputs = layers[0].inputs, layers[layers.size - 1].units
    x = _rows(t, t.x, inputs, 0, like)
    y = _rows(t, t.y, t.columns, t.x_size, like)
    given = _rows(t, t.dy, outputs * inputs, t.x_size + t.y_size, like)
    weight, space, rows = _weights(t, outputs, like), _workspace(t, like), t.count
    gradient, accumulate = array_at(t.gradient, like, t.n_params), t.accumulate == 1
    scale, share, squares = t.scale, t.weight / (t.total * outputs * inputs), 0.0
    if outputs == 1 and inputs > 1 and layers[layers.size - 1].activation != SOFTMAX:
        place = t.x_size + t.y_size + t.block_rows * inputs
        stack = matrix(_scratch(t, like), place, 2 * rows, inputs)
        directions = part(stack, rows, 1)
        values = values_and_slopes(layers, params, x, directions, space)
        total = output_loss(loss_record, values, y, weight, scale, values)
        copy(x, part(stack, rows, 0))
        for i in range(rows):
            for j in range(inputs):
                d = directions[i, j] - given[i, j]
                squares += weight[i, 0] * d * d
                directions[i, j] = 2.0 * share * weight[i, 0] * d
        gradient_along(layers, params, stack, rows, accumulate, gradient, space)
    else:
        axes = matrix(array_at(t.directions, like, inputs * inputs), 0, inputs, inputs)
        stack = kept_stacks(layers, params, x, axes, 0, space)
        values = part(stack, rows, 0)
        total = output_loss(loss_record, values, y, weight, scale, values)
        for j in range(inputs):
            du = part(stack, rows, 1 + j)
            for i in range(rows):
                for k in range(outputs):
                    d = du[i, k] - given[i, k * inputs + j]
                    squares += weight[i, k] * d * d
                    du[i, k] = 2.0 * share * weight[i, k] * d
        gradient_of_stacks(layers, params, x, axes, 0, accumulate, gradient, space)
    return total * scale + squares * share


def of_equation(term, like):
    """scale · Σ r² of a residual: see `residuals`."""
    t = term_of(term)
    layers, _, params = network_of(t, like)
    x, directions, columns, space = _points(t, layers, like)
    inputs, outputs, rows = layers[0].inputs, layers[layers.size - 1].units, t.count
    parts = 1 + t.n_directions + t.seconds
    stack = kept_stacks(layers, params, x, directions, t.seconds, space)
    for p in range(parts):
        for i in range(rows):
            for k in range(outputs):
                columns[inputs + p * outputs + k, i] = stack[p * rows + i, k]
    total = _squares(t, columns)
    for p in range(parts):
        for i in range(rows):
            for k in range(outputs):
                stack[p * rows + i, k] = columns[inputs + p * outputs + k, i]
    gradient, accumulate = array_at(t.gradient, like, t.n_params), t.accumulate == 1
    gradient_of_stacks(layers, params, x, directions, t.seconds, accumulate, gradient, space)
    return total


def of_equation_of_dense(term, like):
    """The same for a network of dense layers, of which the last is no softmax."""
    t = term_of(term)
    layers, _, params = network_of(t, like)
    _, directions, columns, space = _points(t, layers, like)
    inputs, outputs, rows = layers[0].inputs, layers[layers.size - 1].units, t.count
    parts = 1 + t.n_directions + t.seconds
    x = rows_of(columns, 0, inputs)
    stack = forward_columns(layers, params, x, directions, t.seconds, space)
    for p in range(parts):
        for k in range(outputs):
            place = inputs + p * outputs + k
            here = matrix(stack, (k * parts + p) * rows, 1, rows)
            copy(here, rows_of(columns, place, place + 1))
    total = _squares(t, columns)
    for p in range(parts):
        for k in range(outputs):
            place = inputs + p * outputs + k
            here = matrix(stack, (k * parts + p) * rows, 1, rows)
            copy(rows_of(columns, place, place + 1), here)
    gradient, accumulate = array_at(t.gradient, like, t.n_params), t.accumulate == 1
    gradient_of_columns(layers, params, x, directions, t.seconds, accumulate, gradient, space)
    return total


@kernel
def _points(t, layers, like):
    """The points, the directions, what a residual is given, with x in it, and the workspace."""
    inputs, outputs = layers[0].inputs, layers[layers.size - 1].units
    x = _rows(t, t.x, inputs, 0, like)
    directions = array_at(t.directions, like, t.n_directions * inputs)
    height = inputs + (1 + t.n_directions + t.seconds) * outputs
    columns = matrix(_scratch(t, like), t.x_size + t.y_size, height, t.count)
    for i in range(t.count):
        for j in range(inputs):
            columns[j, i] = x[i, j]
    return x, matrix(directions, 0, t.n_directions, inputs), columns, _workspace(t, like)


@kernel
def _squares(t, columns):
    """scale · Σ r²; the columns behind x ← its slopes, and those of the unknowns are added."""
    unknowns = array_at(t.unknowns, np.float64, t.n_unknowns)
    slopes = array_at(t.slopes, np.float64, t.n_unknowns)
    return t.scale * squared_residuals(t.residual, t.scale, columns, unknowns, slopes)


def term_address(function: Any, dtype: np.dtype[Any]) -> int:
    """The address of one of these functions, for numbers of `dtype`."""
    like = types.CPointer(types.float32 if dtype == np.float32 else types.float64)
    return c_address(function, types.float64, (types.voidptr, like))
