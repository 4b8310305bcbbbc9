"""What Python calls.

`predict`, `sum_of_losses` and `loss_and_gradient` go through any number of rows, one block at a
time, with scratch for one block. They take x and y flat. The other functions take one block.
Arrays that are only read may be read-only.
"""

import math

import numpy as np

from flatprop.kernels.compile import entry_point, kernel
from flatprop.kernels.loops.elementwise import copy, loss_with_slope, squared_norm
from flatprop.kernels.loops.integers import smaller
from flatprop.kernels.loops.minibatch import weights_per_output
from flatprop.kernels.network import backprop, curvature, jacobians, shares, traced
from flatprop.kernels.network.input_derivatives import derivatives, derivatives_vjp
from flatprop.kernels.network.input_derivatives import hessian as input_hessian
from flatprop.kernels.network.records import matrix, rows_of
from flatprop.kernels.network.shares import Seat
from flatprop.kernels.network.walks import walk_back
from flatprop.kernels.network.workspace import Share, outputs_of
from flatprop.kernels.threads.team import join, share_of, sum_over_units, unit_of, wait


@kernel
def rows_of_block(layers, data, start, stop, block):
    """x, y and room for the weights, for as many rows from `start` on as `block` holds."""
    count = smaller(block.rows, stop - start)
    inputs, outputs = layers[0].inputs, layers[layers.size - 1].units
    columns = data.y.size // data.rows
    x = matrix(data.x, start * inputs, count, inputs)
    y = matrix(data.y, start * columns, count, columns)
    return x, y, matrix(block.weight, 0, count, outputs)


@kernel
def block_of(layers, data, start, stop, block):
    """x, y and the weights once per output, for as many rows from `start` on as `block` holds."""
    x, y, weight = rows_of_block(layers, data, start, stop, block)
    weights_per_output(data.weight, None, start, weight)
    return x, y, weight


@entry_point
def predict(layers, params, x, out, block_rows, workspace):
    """out ← the outputs for every row of x; whether Σ x² is finite, as it is not for NaN.

    `workspace` is as for `backprop.forward`.
    """
    inputs, outputs = layers[0].inputs, layers[layers.size - 1].units
    rows = out.size // outputs
    norm = 0.0
    for start in range(0, rows, block_rows):
        count = smaller(block_rows, rows - start)
        a = matrix(x, start * inputs, count, inputs)
        norm += squared_norm(a, 0, count * inputs)
        backprop.forward(
            layers, params, a, matrix(out, start * outputs, count, outputs), workspace, False
        )
    return math.isfinite(norm)


@entry_point
def sample(layers, params, x, out, first, seed, block):
    """out ← the outputs for a block of rows of x, with dropout; `first` is the place of the first.

    Overwrites `block`.
    """
    inputs, outputs = layers[0].inputs, layers[layers.size - 1].units
    rows = out.size // outputs
    share = Share(block.workspace, block.scratch, rows, 0, first, 0, seed)
    backprop.forward_with_slopes(layers, params, matrix(x, 0, rows, inputs), False, share)
    copy(outputs_of(layers, layers.size - 1, rows, share), matrix(out, 0, rows, outputs))


@entry_point
def sum_of_losses(layers, loss_records, params, data, start, stop, losses, block):
    """losses[i] ← Σ w ℓ over block i of rows start to stop."""
    record, space = loss_records[0], block.workspace
    for i in range(losses.size):
        x, y, weight = block_of(layers, data, start + i * block.rows, stop, block)
        losses[i] = backprop.sum_of_losses(layers, record, params, x, y, weight, space)


@entry_point
def loss_and_gradient(
    layers,
    loss_records,
    params,
    data,
    start,
    stop,
    scale,
    shards,
    losses,
    gradient,
    block,
    cells,
    leads,
):
    """losses[i] ← Σ w ℓ over block i, counted from row 0 on, of those of rows start to stop.

    gradient[s · parameters:] ← the gradient of scale · Σ w ℓ over the blocks s, s + shards, ...
    What is there from the rows before `start` stays. All threads of a team call this at once. One
    of them `leads`. What each has of its own is said at `training_loop.Buffers`.
    """
    rank, size = join(cells, leads)
    if rank < 0:
        return
    seat = Seat(cells, rank, size)
    here = shares.seat_at_block(shards, seat)
    index = start // block.rows
    for begin in range(start, stop, block.rows):
        if shares.takes_block(index, shards, seat):
            x, y, weight = rows_of_block(layers, data, begin, stop, block)
            rows = x.shape[0]
            unit = unit_of(rows)
            first, last = share_of(rows, unit, here.rank, here.size)
            share = Share(block.workspace, block.scratch, rows, first, 0, -1, np.uint64(0))
            own_x, own_y = rows_of(x, first, last), rows_of(y, first, last)
            own_w = rows_of(weight, first, last)
            weights_per_output(data.weight, None, begin + first, own_w)
            shares.loss_and_slopes(
                layers,
                loss_records[0],
                params,
                own_x,
                own_y,
                own_w,
                scale,
                share,
                block.unit_losses,
            )
            context = here, x, index >= shards, gradient, index % shards * params.size
            walk_back(layers, params, own_x, share, shares.pass_on, _share_of_gradient, context)
            losses[index] = sum_over_units(rows, unit, block.unit_losses)
            wait(cells, here.size)
        index += 1
    wait(cells, size)


@kernel
def _share_of_gradient(layers, l, params, own_x, share, context):
    """What `loss_and_gradient` does at layer l."""
    seat, x, accumulate, gradient, offset = context
    first, stop = shares.share_of_gradient(layers, l, seat)
    start = offset + layers[l].W_start + first * layers[l].units
    shares.gradient_rows(layers, l, x, share, first, stop, 1.0, accumulate, gradient, start)


@entry_point
def trace(layers, loss_records, params, data, start, stop, total, scale, gradient, block, kept):
    """As `loss_and_gradient`; also writes `traced.Quantities` of these rows to `kept`."""
    record, space = loss_records[0], block.workspace
    for row in range(start, stop, block.rows):
        x, y, weight = block_of(layers, data, row, stop, block)
        window = data.rows, row
        total += traced.trace(
            layers, record, params, x, y, weight, scale, row > 0, gradient, kept, window, space
        )
    return total


@entry_point
def input_derivatives(layers, params, x, directions, u, du, d2u, block_rows, workspace):
    """u, du and d2u ← as `input_derivatives.derivatives`, for any number of rows."""
    count = directions.shape[0]
    for start in range(0, x.shape[0], block_rows):
        stop = smaller(start + block_rows, x.shape[0])
        first, last = start * count, stop * count
        seconds = rows_of(d2u, first, last) if d2u.size > 0 else rows_of(d2u, 0, 0)
        derivatives(
            layers,
            params,
            rows_of(x, start, stop),
            directions,
            rows_of(u, start, stop),
            rows_of(du, first, last),
            seconds,
            workspace,
        )


@entry_point
def input_derivatives_vjp(
    layers,
    params,
    x,
    directions,
    dL_du,
    dL_ddu,
    dL_dd2u,
    accumulate,
    gradient,
    block_rows,
    workspace,
):
    """gradient ← as `input_derivatives.derivatives_vjp`, for any number of rows."""
    count = directions.shape[0]
    for start in range(0, x.shape[0], block_rows):
        stop = smaller(start + block_rows, x.shape[0])
        first, last = start * count, stop * count
        seconds = rows_of(dL_dd2u, first, last) if dL_dd2u.size > 0 else rows_of(dL_dd2u, 0, 0)
        derivatives_vjp(
            layers,
            params,
            rows_of(x, start, stop),
            directions,
            rows_of(dL_du, start, stop),
            rows_of(dL_ddu, first, last),
            seconds,
            accumulate or start > 0,
            gradient,
            workspace,
        )


# ---- for one block of rows


vjp = entry_point(jacobians.vjp.py_func)
jacobian = entry_point(jacobians.jacobian.py_func)
parameter_jacobian = entry_point(jacobians.parameter_jacobian.py_func)
hessian = entry_point(input_hessian.py_func)
per_sample_gradients = entry_point(jacobians.per_sample_gradients.py_func)
hessian_vector_product = entry_point(curvature.hessian_vector_product.py_func)
gauss_newton_vector_product = entry_point(curvature.gauss_newton_vector_product.py_func)


@entry_point
def slope_of_loss(loss_records, scale, prediction, y, weight, slope):
    """Like `backprop.output_loss`, but always by the loss's formula.

    A cross-entropy is then given ŷ instead of the logits.
    """
    loss_with_slope(loss_records[0], scale, prediction, y, weight, slope)
