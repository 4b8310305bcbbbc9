"""What layers have in common that hand on what they are given, with nothing to train in it.

Arrays are flat here.
"""

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.elementwise import copy, fill
from flatprop.kernels.network.layer_call import FORWARD_TANGENT, rows_at
from flatprop.kernels.network.records import array_at


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
