"""What layers have in common that hand on what they are given, with nothing to train in it.

Arrays are flat, or stacks.
"""

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.elementwise import copy, fill
from flatprop.kernels.network.layer_call import FORWARD_TANGENT, rows_at, stack_at
from flatprop.kernels.network.records import array_at, matrix, rows_of
from flatprop.kernels.network.stacks import part


@kernel
def same(c, like):
    """out ← x, and the same of tangents; the slope is 1."""
    copy(rows_at(c.x, c, like), rows_at(c.out, c, like))
    if c.slope != 0:
        fill(rows_at(c.slope, c, like), 1.0)
    if c.operation == FORWARD_TANGENT:
        fill(rows_at(c.bend, c, like), 0.0)
        if c.l > 0:
            copy(rows_at(c.x_tangent, c, like), rows_at(c.tangent, c, like))
        else:  # x of the network does not depend on the parameters
            fill(rows_at(c.tangent, c, like), 0.0)


@kernel
def pass_on(c, like):
    """out ← ∂L/∂x times the factor, where ∂L/∂x is ∂L/∂z of this layer."""
    n = c.rows * c.units
    dL_dz, out = array_at(c.dL_dz, like, n), array_at(c.out, like, n)
    factor = array_at(c.slope, like, n)
    if c.slope == 0:
        for i in range(n):
            out[i] = dL_dz[i]
    elif c.flag == 0:
        for i in range(n):
            out[i] = dL_dz[i] * factor[i]
    else:
        for i in range(n):
            out[i] = dL_dz[i] if factor[i] > 0 else 0


@kernel
def pass_on_both(c, like):
    """The same, where ∂L/∂x is ∂L/∂z of this layer and of its partner together."""
    n = c.rows * c.units
    dL_dz, out = array_at(c.dL_dz, like, n), array_at(c.out, like, n)
    other, factor = array_at(c.partner, like, n), array_at(c.slope, like, n)
    if c.slope == 0:
        for i in range(n):
            out[i] = dL_dz[i] + other[i]
    elif c.flag == 0:
        for i in range(n):
            out[i] = (dL_dz[i] + other[i]) * factor[i]
    else:
        for i in range(n):
            out[i] = dL_dz[i] + other[i] if factor[i] > 0 else 0


@kernel
def pass_on_with_tangent(c, like, both):
    """∂L/∂z and R{∂L/∂z} of the layer before, in the places of its slope and its bend."""
    n = c.rows * c.units
    dL_dz, tangent = array_at(c.dL_dz, like, n), array_at(c.tangent, like, n)
    other, other_tangent = array_at(c.partner, like, n), array_at(c.partner_tangent, like, n)
    slope, bend = array_at(c.slope, like, n), array_at(c.bend, like, n)
    for i in range(n):
        g, moving = dL_dz[i], tangent[i]
        if both:
            g, moving = g + other[i], moving + other_tangent[i]
        bend[i] = bend[i] * g + slope[i] * moving
        slope[i] = slope[i] * g


@kernel
def given_stack(c, like):
    """The stack x. Of the network's inputs it is made in the place of z."""
    if c.directions == 0:
        return stack_at(c.x, c, like)
    stack = stack_at(c.slope, c, like)
    copy(rows_at(c.x, c, like), part(stack, c.rows, 0))
    directions = matrix(array_at(c.directions, like, c.count * c.units), 0, c.count, c.units)
    for k in range(c.count):
        for i in range(c.rows):
            row = (1 + k) * c.rows + i
            copy(rows_of(directions, k, k + 1), rows_of(stack, row, row + 1))
    fill(rows_of(stack, (1 + c.count) * c.rows, c.height), 0.0)
    return stack


@kernel
def same_stack(c, like):
    """out ← x, a stack."""
    copy(given_stack(c, like), stack_at(c.out, c, like))


@kernel
def pass_stack_on(c, like):
    """out ← the gradient for the stack x, which is that for the stack of outputs."""
    if c.out != 0:
        copy(stack_at(c.dL_dz, c, like), stack_at(c.out, c, like))
