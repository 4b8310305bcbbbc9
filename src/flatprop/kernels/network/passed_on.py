"""What layers have in common that hand on what they are given, with nothing to train in it.

Arrays are flat, or stacks.
"""

from llvmlite import ir

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.elementwise import copy, fill
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import INT64, Array, broadcast, registers, rows_of
from flatprop.kernels.network.layer_call import FORWARD_TANGENT, rows_at, stack_at
from flatprop.kernels.network.records import array_at, matrix
from flatprop.numbers.lanes import Lanes

ZERO, ONE = INT64(0), INT64(1)


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
    directions = matrix(array_at(c.directions, like, c.count * c.units), 0, c.count, c.units)
    _stack_of_inputs(rows_at(c.x, c, like), directions, stack)
    return stack


@routine()
def _stack_of_inputs(builder: ir.IRBuilder, x: Array, directions: Array, stack: Array) -> None:
    """x, then each direction in as many rows, and 0 for second derivatives."""
    rows, filled = x.shape[0], builder.mul(x.shape[0], builder.add(directions.shape[0], ONE))
    zero = broadcast(Lanes(builder, x.element(0.0)), x.element)
    for i in rows_of(stack):
        given = builder.select(
            builder.icmp_signed("<", i, rows),
            x.row(i).data,
            directions.row(builder.sub(builder.sdiv(i, rows), ONE)).data,
        )
        with builder.if_else(builder.icmp_signed("<", i, filled)) as (copied, empty):
            with copied:
                for register in registers(
                    x.row(ZERO)._replace(data=given), stack.row(i), written_only=1
                ):
                    register.store(register[0], 1)
            with empty:
                for register in registers(stack.row(i), written_only=1):
                    register.store(zero, 0)


@kernel
def same_stack(c, like):
    """out ← x, a stack."""
    copy(given_stack(c, like), stack_at(c.out, c, like))


@kernel
def pass_stack_on(c, like):
    """out ← the gradient for the stack x, which is that for the stack of outputs."""
    if c.out != 0:
        copy(stack_at(c.dL_dz, c, like), stack_at(c.out, c, like))
