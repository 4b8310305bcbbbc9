"""A loss of one output and its slopes: the gradient of both, by one direction for each row.

The slopes ∂u/∂x come from one walk back. Let g be the derivative of the loss with respect to them.
The derivative of Σ g · ∂u/∂x with respect to the parameters, with g held fixed, is that of the
directional derivatives of u, each row's along its own g. So a stack of two parts suffices, however
many inputs there are (Pearlmutter 1994). Its first layer is the stack of x and g. The gradient
with respect to ż of each layer is ∂u/∂z, which the first walk back has left, and so

    ∂L/∂z = f' ∂L/∂a + f'' ∂u/∂a ż

A layer that is not dense takes both parts of a stack back together, since it has no product that
this would save.

`workspace` is that of a stack with one direction. What a dense layer has in it:

| place | way forward | walk back | along g | last walk back |
| --- | --- | --- | --- | --- |
| a, and behind it | a | a | a, ȧ | ∂L/∂a |
| z | f' | f' | f' | f' |
| f'' | f'' | f'' ∂u/∂a | f'' ∂u/∂a ż | ∂L/∂z |
| f''' | | ∂u/∂a, then ∂u/∂z | ∂u/∂z | ∂u/∂z |
"""

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.elementwise import fill
from flatprop.kernels.network.layer_kinds import (
    backward_along,
    derivative_along,
    slopes_back,
    values_with_curvature,
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
        bends = bends_of(layers, l, rows, 2 * rows, workspace)
        values_with_curvature(layers, l, params, before, a, z, bends, scratch, workspace)
    fill(bends_of(layers, last, rows, 2 * rows, workspace)[1], 1.0)
    for l in range(last, -1, -1):
        _, z = stacks_of(layers, l, rows, 2 * rows, workspace)
        _, scratch = behind_stacks(layers, rows, 2 * rows, 1, 1, workspace)
        before, bends = du, bends_of(layers, l, rows, 2 * rows, workspace)
        if l > 0:
            _, before = bends_of(layers, l - 1, rows, 2 * rows, workspace)
        slopes_back(layers, l, params, z, bends, before, scratch, workspace)
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
        bends = bends_of(layers, l, rows, 2 * rows, workspace)
        derivative_along(layers, l, params, before, rows, a, z, bends, scratch, workspace)
    for l in range(last, -1, -1):
        a, z = stacks_of(layers, l, rows, 2 * rows, workspace)
        bends = bends_of(layers, l, rows, 2 * rows, workspace)
        _, scratch = behind_stacks(layers, rows, 2 * rows, 1, 1, workspace)
        before = inputs
        if l > 0:
            before, _ = stacks_of(layers, l - 1, rows, 2 * rows, workspace)
        backward_along(
            layers,
            l,
            params,
            before,
            rows,
            a,
            z,
            bends,
            accumulate,
            out,
            scratch,
            workspace,
        )
