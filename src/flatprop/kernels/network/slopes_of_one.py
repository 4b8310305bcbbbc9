"""A loss of one output and its slopes: the gradient of both, by one direction for each row.

The slopes ∂u/∂x come from one walk back. Let g be the derivative of the loss with respect to them.
The derivative of Σ g · ∂u/∂x with respect to the parameters, with g held fixed, is that of the
directional derivatives of u, each row's along its own g. So a stack of two parts suffices, however
many inputs there are (Pearlmutter 1994). Its first layer is the stack of x and g. The gradient
with respect to ȧ of each layer is ∂u/∂a, which the first walk back has left.

`workspace` is that of a stack with one direction, with ∂u/∂a in the place of f'''.
"""

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.chain_rule import first_derivative
from flatprop.kernels.loops.elementwise import activate_with_curvature, copy, fill
from flatprop.kernels.network.layer_kinds import (
    activate_stack_back,
    affine_of_values,
    derivatives_of_stack,
    input_gradient,
    stack_back,
    stack_gradient,
)
from flatprop.kernels.network.stacks import behind_stacks, bends_of, part, stacks_of


@kernel
def values_and_slopes(layers, params, x, du, workspace):
    """The outputs; du (rows, inputs) ← ∂u/∂x. What the way back needs stays in `workspace`."""
    rows, last = x.shape[0], layers.size - 1
    for l in range(layers.size):
        before, (a, z) = x, stacks_of(layers, l, rows, 2 * rows, workspace)
        if l > 0:
            before = part(stacks_of(layers, l - 1, rows, 2 * rows, workspace)[0], rows, 0)
        _, scratch = behind_stacks(layers, rows, 2 * rows, 1, 1, workspace)
        values, slope = part(a, rows, 0), part(z, rows, 0)
        curvature, _ = bends_of(layers, l, rows, 2 * rows, workspace)
        affine_of_values(layers, l, params, before, values, scratch)
        layer = layers[l]
        activate_with_curvature(layer.activation, layer.function, values, slope, curvature)
    for l in range(last, -1, -1):
        _, z = stacks_of(layers, l, rows, 2 * rows, workspace)
        _, scratch = behind_stacks(layers, rows, 2 * rows, 1, 1, workspace)
        _, du_da = bends_of(layers, l, rows, 2 * rows, workspace)
        du_dz = part(z, rows, 1)
        if l == last:
            fill(du_da, 1.0)
        first_derivative(part(z, rows, 0), du_da, du_dz)
        if l > 0:
            _, before = bends_of(layers, l - 1, rows, 2 * rows, workspace)
            stack_back(layers, l, params, du_dz, before, scratch)
        else:
            input_gradient(layers, 0, params, x, du_dz, du, workspace, scratch)
    return part(stacks_of(layers, last, rows, 2 * rows, workspace)[0], rows, 0)


@kernel
def gradient_along(layers, params, inputs, rows, accumulate, out, workspace):
    """out ← the gradient of a loss of outputs and of directional derivatives.

    It is added where `accumulate`. `inputs` is the stack of x and of each row's direction. Behind
    `values_and_slopes`, with the gradient with respect to the outputs in their place; that with
    respect to each directional derivative is 1.
    """
    last = layers.size - 1
    for l in range(layers.size):
        before, (a, z) = inputs, stacks_of(layers, l, rows, 2 * rows, workspace)
        if l > 0:
            before, _ = stacks_of(layers, l - 1, rows, 2 * rows, workspace)
        _, scratch = behind_stacks(layers, rows, 2 * rows, 1, 1, workspace)
        derivatives_of_stack(layers, l, params, before, rows, z, scratch)
        if l < last:
            first_derivative(part(z, rows, 0), part(z, rows, 1), part(a, rows, 1))
    for l in range(last, -1, -1):
        gradient, z = stacks_of(layers, l, rows, 2 * rows, workspace)
        bends, slope = bends_of(layers, l, rows, 2 * rows, workspace), part(z, rows, 0)
        copy(bends[1], part(gradient, rows, 1))
        activate_stack_back(layers, l, 1, z, slope, bends, gradient)
        _, scratch = behind_stacks(layers, rows, 2 * rows, 1, 1, workspace)
        before = inputs
        if l > 0:
            before, _ = stacks_of(layers, l - 1, rows, 2 * rows, workspace)
        stack_gradient(layers, l, before, rows, gradient, accumulate, out, scratch)
        if l > 0:
            of_values = part(gradient, rows, 0)
            stack_back(layers, l, params, of_values, part(before, rows, 0), scratch)
