"""What Python calls.

`predict`, `sum_of_losses` and `loss_and_gradient` go through any number of rows, one block at a
time, with scratch for one block. They take x and y flat. The other functions take one block.
Arrays that are only read may be read-only.
"""

import math

from flatprop.kernels.compile import entry_point, kernel
from flatprop.kernels.loops.elementwise import loss_with_slope, squared_norm
from flatprop.kernels.loops.minibatch import weights_per_output
from flatprop.kernels.network import backprop, curvature, jacobians, shares, traced
from flatprop.kernels.network.records import matrix, rows_of
from flatprop.kernels.network.shares import Seat
from flatprop.kernels.network.walks import walk_back
from flatprop.kernels.network.workspace import Share
from flatprop.kernels.threads.team import join, share_of, sum_over_units, unit_of, wait


@kernel
def rows_of_block(layers, data, start, stop, block):
    """x, y and room for the weights, for as many rows from `start` on as `block` holds."""
    count = min(block.rows, stop - start)
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
    record = loss_records[0]
    for row in range(start, stop, block.rows):
        x, y, weight = block_of(layers, data, row, stop, block)
        total += backprop.sum_of_losses(layers, record, params, x, y, weight, block.workspace)
    return total


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
    """For rows start to stop, losses[s] ← losses[s] + Σ w ℓ over the blocks s, s + shards, ...

    gradient[s · parameters:] ← the gradient of scale · Σ w ℓ over the same blocks. If `start` is
    not 0, it is added to what is there from the rows before. All threads of a team call this at
    once. One of them `leads`. With more than one shard each thread takes some of the shards, and
    has its own `block`; with one all share the rows of each block, and only scratch, `losses` and
    the like are their own: see `training_loop.Buffers`.
    """
    rank, size = join(cells, leads)
    if rank < 0:
        return
    first_shard, last_shard, seat = 0, 1, Seat(cells, rank, size)
    if shards > 1:
        first_shard, last_shard = share_of(shards, 1, rank, size)
        seat = Seat(cells, 0, 1)
    for group in range(start, stop, shards * block.rows):
        for s in range(first_shard, last_shard):
            begin = group + s * block.rows
            if begin >= stop:
                break
            x, y, weight = rows_of_block(layers, data, begin, stop, block)
            rows = x.shape[0]
            unit = unit_of(rows)
            first, last = share_of(rows, unit, seat.rank, seat.size)
            share = Share(block.workspace, block.scratch, rows, first)
            own_x, own_weight = rows_of(x, first, last), rows_of(weight, first, last)
            weights_per_output(data.weight, None, begin + first, own_weight)
            shares.loss_and_slopes(
                layers,
                loss_records[0],
                params,
                own_x,
                rows_of(y, first, last),
                own_weight,
                scale,
                share,
                block.unit_losses,
            )
            context = seat, x, group > 0, gradient, s * params.size
            walk_back(layers, params, own_x, share, shares.pass_on, _share_of_gradient, context)
            losses[s] += sum_over_units(rows, unit, block.unit_losses)
            wait(cells, seat.size)
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


# ---- for one block of rows


vjp = entry_point(jacobians.vjp.py_func)
jacobian = entry_point(jacobians.jacobian.py_func)
parameter_jacobian = entry_point(jacobians.parameter_jacobian.py_func)
per_sample_gradients = entry_point(jacobians.per_sample_gradients.py_func)
hessian_vector_product = entry_point(curvature.hessian_vector_product.py_func)
gauss_newton_vector_product = entry_point(curvature.gauss_newton_vector_product.py_func)


@entry_point
def slope_of_loss(loss_records, scale, prediction, y, weight, slope):
    """Like `backprop.output_loss`, but always by the loss's formula.

    A cross-entropy is then given ŷ instead of the logits.
    """
    loss_with_slope(loss_records[0], scale, prediction, y, weight, slope)
