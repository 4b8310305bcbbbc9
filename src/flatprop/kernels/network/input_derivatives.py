"""Outputs with their first and second derivatives along directions in the inputs.

Values and derivatives go forward through the layers together, as a stack (forward-mode
differentiation to the second order: Griewank & Walther 2008, chapter 13). One walk back through
that gives the gradient of any loss of outputs and derivatives with respect to the parameters.
`chain_rule`, `dense_stacks` and `layer_norm_stacks` have the formulas.

Arrays of first and second derivatives are (rows · directions, outputs): the directions of one row
after another. Nothing is allocated.
"""

import numpy as np

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.elementwise import (
    activate_with_curvature,
    activate_with_third,
    copy,
    fill,
)
from flatprop.kernels.loops.integers import smaller
from flatprop.kernels.network.layer_kinds import backward_stack, forward_stack
from flatprop.kernels.network.records import (
    all_units,
    has_sums,
    matrix,
    most_units,
    part_at,
    rows_of,
)
from flatprop.kernels.network.stacks import behind_stacks, bends_of, pairs_at_once, part, stacks_of
from flatprop.kernels.network.workspace import one_of_two, outputs_of


@kernel
def along_each(pairs, m):
    """The directions of second derivative m: twice direction m."""
    return m, m


@kernel
def of_pairs(pairs, m):
    """The same where `pairs` (second derivatives, 2) says which."""
    return pairs[m, 0], pairs[m, 1]


@kernel
def _without_third(layer, z, slope, curvature, third, seconds):
    activate_with_curvature(layer.activation, layer.function, z, slope, curvature)


@kernel
def _with_third(layer, z, slope, curvature, third, seconds):
    if seconds > 0:
        activate_with_third(layer.activation, layer.function, z, slope, curvature, third)
    else:
        activate_with_curvature(layer.activation, layer.function, z, slope, curvature)


@kernel
def forward_stacks(layers, params, x, directions, seconds, pair, pairs, workspace):
    """The stack of outputs, with so many second derivatives.

    Overwrites `workspace`, of `stacks.forward_stacks_size` numbers. Stacks lie there as the
    outputs of `backprop.forward` do.
    """
    rows, count, most = x.shape[0], directions.shape[0], most_units(layers)
    height, all_stay = rows * (1 + count + seconds), has_sums(layers)
    slopes = 2 * height * (all_units(layers) if all_stay else most)
    moved = slopes + 2 * rows * most
    scratch = matrix(workspace, moved + count * most, 1, 1)
    before = matrix(x, 0, rows, layers[0].inputs)
    for l in range(layers.size):
        units = layers[l].units
        stack, _ = one_of_two(workspace, l, height, most, units)
        if all_stay:
            stack = outputs_of(layers, l, height, workspace)
        slope = matrix(workspace, slopes, rows, units)
        bend = matrix(workspace, slopes + rows * most, rows, units)
        forward_stack(
            layers,
            l,
            params,
            before,
            directions,
            pair,
            pairs,
            stack,
            stack,
            slope,
            (bend, bend),
            _without_third,
            matrix(workspace, moved, count, units),
            scratch,
            workspace,
        )
        before = stack
    return before


@kernel
def derivatives(layers, params, x, directions, u, du, d2u, workspace):
    """u (rows, outputs) ← the outputs, du and d2u ← their derivatives along each direction.

    There are no second derivatives where `d2u` is empty. Overwrites `workspace`, of
    `stacks.forward_stacks_size` numbers.
    """
    count = directions.shape[0]
    seconds = count if d2u.size > 0 else 0
    stack = forward_stacks(layers, params, x, directions, seconds, along_each, 0, workspace)
    unstack(stack, x.shape[0], count, u, du, d2u)


@kernel
def unstack(stack, rows, count, u, du, d2u):
    """u, du, d2u ← the parts of a stack."""
    copy(part(stack, rows, 0), u)
    for k in range(count):
        for i in range(rows):
            row = (1 + k) * rows + i
            copy(rows_of(stack, row, row + 1), rows_of(du, i * count + k, i * count + k + 1))
            if d2u.size > 0:
                row += count * rows
                copy(rows_of(stack, row, row + 1), rows_of(d2u, i * count + k, i * count + k + 1))


@kernel
def restack(stack, rows, count, u, du, d2u):
    """A stack ← its parts: the reverse of `unstack`."""
    copy(u, part(stack, rows, 0))
    for k in range(count):
        for i in range(rows):
            row = (1 + k) * rows + i
            copy(rows_of(du, i * count + k, i * count + k + 1), rows_of(stack, row, row + 1))
            if d2u.size > 0:
                row += count * rows
                copy(rows_of(d2u, i * count + k, i * count + k + 1), rows_of(stack, row, row + 1))


@kernel
def kept_stacks(layers, params, x, directions, seconds, workspace):
    """The stack of outputs; all stacks stay in `workspace`, of `stacks.stacks_size` numbers.

    There are second derivatives along the first `seconds` directions.
    """
    rows, count, units = x.shape[0], directions.shape[0], layers[0].units
    height = rows * (1 + count + seconds)
    before = matrix(x, 0, rows, layers[0].inputs)
    for l in range(layers.size):
        a, z = stacks_of(layers, l, rows, height, workspace)
        moved, scratch = behind_stacks(layers, rows, height, count, units, workspace)
        forward_stack(
            layers,
            l,
            params,
            before,
            directions,
            along_each,
            0,
            a,
            z,
            part(z, rows, 0),
            bends_of(layers, l, rows, height, workspace),
            _with_third,
            moved,
            scratch,
            workspace,
        )
        before = a
    return before


@kernel
def gradient_of_stacks(layers, params, x, directions, seconds, accumulate, out, workspace):
    """out ← the gradient of a loss, added where `accumulate`; behind `kept_stacks`.

    Its gradient with respect to the stack of outputs is in the place of that stack.
    """
    rows, count, units = x.shape[0], directions.shape[0], layers[0].units
    height = rows * (1 + count + seconds)
    for l in range(layers.size - 1, -1, -1):
        gradient, z = stacks_of(layers, l, rows, height, workspace)
        moved, scratch = behind_stacks(layers, rows, height, count, units, workspace)
        before = matrix(x, 0, rows, layers[0].inputs)
        if l > 0:
            before, _ = stacks_of(layers, l - 1, rows, height, workspace)
        backward_stack(
            layers,
            l,
            params,
            before,
            directions,
            gradient,
            z,
            part(z, rows, 0),
            bends_of(layers, l, rows, height, workspace),
            accumulate,
            out,
            moved,
            scratch,
            workspace,
        )


@kernel
def derivatives_vjp(
    layers, params, x, directions, dL_du, dL_ddu, dL_dd2u, accumulate, gradient, workspace
):
    """gradient ← Σ ∂L/∂(u, du, d2u) · ∂(u, du, d2u)/∂params, added where `accumulate`.

    The second derivatives are left out where `dL_dd2u` is empty. Overwrites `workspace`, of
    `stacks.stacks_size` numbers.
    """
    rows, count = x.shape[0], directions.shape[0]
    seconds = count if dL_dd2u.size > 0 else 0
    stack = kept_stacks(layers, params, x, directions, seconds, workspace)
    restack(stack, rows, count, dL_du, dL_ddu, dL_dd2u)
    gradient_of_stacks(layers, params, x, directions, seconds, accumulate, gradient, workspace)


@kernel
def hessian(layers, params, x, directions, pairs, out, workspace):
    """out (rows, outputs, inputs, inputs) ← ∂²ŷ/∂x² of these pairs of inputs, and of each turned.

    The directions are the axes. Overwrites `workspace`, of `stacks.forward_stacks_size` numbers
    for so many second derivatives.
    """
    rows, count = x.shape[0], directions.shape[0]
    seconds = pairs.shape[0]
    stack = forward_stacks(layers, params, x, directions, seconds, of_pairs, pairs, workspace)
    outputs = stack.shape[1]
    for m in range(seconds):
        i, j = pairs[m, 0], pairs[m, 1]
        for row in range(rows):
            for k in range(outputs):
                at = matrix(out, (row * outputs + k) * count * count, count, count)
                at[i, j] = stack[(1 + count + m) * rows + row, k]
                at[j, i] = at[i, j]


@kernel
def whole_hessian(layers, params, x, out, workspace):
    """out (rows, outputs, inputs, inputs) ← ∂²ŷ/∂x².

    Overwrites `workspace`, of `stacks.hessian_workspace_size` numbers.
    """
    inputs = layers[0].inputs
    most, left = pairs_at_once(inputs), inputs * (inputs + 1) // 2
    table = part_at(workspace, 0, 2 * most, np.int64)
    numbers = part_at(workspace, 4 * most, inputs * inputs, workspace)
    rest = part_at(workspace, 4 * most + inputs * inputs, 0, workspace)
    axes = matrix(numbers, 0, inputs, inputs)
    fill(axes, 0.0)
    for i in range(inputs):
        axes[i, i] = 1.0
    i = j = 0
    while left > 0:
        some = smaller(most, left)
        for m in range(some):
            table[2 * m], table[2 * m + 1] = i, j
            j += 1
            if j == inputs:
                i += 1
                j = i
        hessian(layers, params, x, axes, matrix(table, 0, some, 2), out, rest)
        left -= some
