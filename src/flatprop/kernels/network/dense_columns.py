"""Stacks of dense networks with a row for each unit: `input_derivatives`, for trainings.

A stack is turned here: (units, height) instead of (height, units), with rows as `unit_rows` has
them. So vectors run along the samples, of which there are many, and none is partly empty, however
few units a layer has. W goes through the matrix products as the small operand:

| | turned | in `dense_stacks` |
| --- | --- | --- |
| z | Wᵀ a + b | a W + b |
| the gradient with respect to a | W g | g Wᵀ |
| the gradient of W | a gᵀ | aᵀ g |

The workspace is that of `stacks`, of `columns_size` numbers: what is (rows, units) there is
(units, rows) here.
"""

from typing import Any

from flatprop.kernels.compile import jittable, kernel
from flatprop.kernels.loops.elementwise import activate_with_curvature, activate_with_third
from flatprop.kernels.loops.unit_rows import (
    add_bias,
    derive_rows,
    derive_rows_back,
    part_sums,
    spread,
)
from flatprop.kernels.network.records import all_units, matrix, most_units, widest
from flatprop.kernels.network.stacks import behind_stacks, bends_of, stacks_of
from flatprop.kernels.network.workspace import biases, weights
from flatprop.kernels.products.inner_products import inner_products
from flatprop.kernels.products.matmul import product, product_transposed_left, scratch_size


@jittable
def columns_size(layers: Any, rows: int, directions: int, seconds: int) -> int:
    """How many numbers the way forward and back needs."""
    height = rows * (1 + directions + seconds)
    kept = 2 * (height + rows) * all_units(layers) + directions * most_units(layers)
    return kept + scratch_size(widest(layers), max(height, widest(layers)))


@kernel
def columns_of(layers, l, rows, height, workspace):
    """The turned stacks of a and of z of layer l, and its second and third derivatives."""
    a, z = stacks_of(layers, l, rows, height, workspace)
    curvature, third = bends_of(layers, l, rows, height, workspace)
    units = layers[l].units
    return (
        matrix(a, 0, units, height),
        matrix(z, 0, units, height),
        matrix(curvature, 0, units, rows),
        matrix(third, 0, units, rows),
    )


@kernel
def forward_columns(layers, params, x, directions, seconds, workspace):
    """The turned stack of outputs for x (inputs, rows); all stacks stay in `workspace`.

    There are second derivatives along the first `seconds` directions.
    """
    rows, count = x.shape[1], directions.shape[0]
    height = rows * (1 + count + seconds)
    before = x
    for l in range(layers.size):
        layer, W = layers[l], weights(layers, l, params)
        a, z, curvature, third = columns_of(layers, l, rows, height, workspace)
        moved, scratch = behind_stacks(layers, rows, height, count, layer.units, workspace)
        if l == 0:
            product_transposed_left(W, x, 0, 1.0, False, third, scratch)
            product(directions, W, moved, scratch)
            spread(third, moved, z)
        else:
            product_transposed_left(W, before, 0, 1.0, False, z, scratch)
        add_bias(z, biases(layers, l, params), rows, a)
        for u in range(layer.units):
            values, slope = matrix(a, u * height, 1, rows), matrix(z, u * height, 1, rows)
            bend = matrix(curvature, u * rows, 1, rows)
            if seconds > 0:
                bent = matrix(third, u * rows, 1, rows)
                activate_with_third(layer.activation, layer.function, values, slope, bend, bent)
            else:
                activate_with_curvature(layer.activation, layer.function, values, slope, bend)
        derive_rows(z, curvature, count, seconds, a)
        before = a
    return before


@kernel
def gradient_of_columns(layers, params, x, directions, seconds, accumulate, out, workspace):
    """out ← the gradient of a loss, added where `accumulate`; behind `forward_columns`.

    Its gradient with respect to the stack of outputs is in the place of that stack.
    """
    rows, count = x.shape[1], directions.shape[0]
    height = rows * (1 + count + seconds)
    for l in range(layers.size - 1, -1, -1):
        gradient, z, curvature, third = columns_of(layers, l, rows, height, workspace)
        units, dW = layers[l].units, weights(layers, l, out)
        moved, scratch = behind_stacks(layers, rows, height, count, units, workspace)
        derive_rows_back(z, curvature, third, count, seconds, gradient)
        part_sums(gradient, rows, 0, accumulate, biases(layers, l, out))
        if l == 0:
            inner_products(x, gradient, accumulate, dW)
            part_sums(gradient, rows, 1, False, moved)
            product_transposed_left(directions, moved, 0, 1.0, True, dW, scratch)
        else:
            before, _, _, _ = columns_of(layers, l - 1, rows, height, workspace)
            inner_products(before, gradient, accumulate, dW)
            product(weights(layers, l, params), gradient, before, scratch)
