"""Layer normalisation (Ba, Kiros, Hinton 2016), and its derivatives.

Of each row, with the mean m and the variance s² of its n numbers,

    x̂ = r (x - m),  r = 1 / √(s² + ε)          out = γ x̂ + β

and, with g = γ ∂L/∂out and ⟨·⟩ for the mean over a row,

    ∂L/∂x = r (g - ⟨g⟩ - x̂ ⟨g x̂⟩)     ∂L/∂γ = Σ over rows of x̂ ∂L/∂out     ∂L/∂β = Σ of ∂L/∂out

Means over a row are added up in float64. Nothing is kept between the passes: m and r of a row
take less time than a product with a matrix, and are computed again where they are needed.
`layer_norm_stacks` has the derivatives along directions in the inputs.
"""

import math
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.elementwise import fill
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import (
    INT64,
    Array,
    Register,
    broadcast,
    registers,
    rows_of,
    sum_of,
    wide,
)
from flatprop.kernels.network.layer_call import (
    BACKWARD,
    BACKWARD_STACK,
    BACKWARD_TANGENT,
    FORWARD,
    FORWARD_STACK,
    FORWARD_TANGENT,
    GRADIENT,
    GRADIENT_TANGENT,
    SAMPLE_GRADIENTS,
    call_of,
    row_at,
    rows_at,
)
from flatprop.kernels.network.layer_norm_stacks import backward_stack, forward_stack
from flatprop.kernels.network.normalised_rows import EPSILON, RowStatistics, statistics_of
from flatprop.kernels.network.records import array_at, matrix
from flatprop.numbers.lanes import Lanes
from flatprop.numbers.numbers import where

CHUNK = 512
"""So many columns of the gradient are added up at once, on the stack."""


def layer_norm(call, like):
    """What a `LAYER_NORM` does; see `layer_call`."""
    c = call_of(call)
    if c.operation == FORWARD_STACK:
        forward_stack(c, like)
        return
    if c.operation == BACKWARD_STACK:
        backward_stack(c, like)
        return
    x = rows_at(c.x, c, like)
    scale, shift = row_at(c.params, 0, c, like), row_at(c.params, 1, c, like)
    if c.operation == FORWARD:
        _forward(x, scale, shift, rows_at(c.out, c, like))
        if c.slope != 0:
            fill(rows_at(c.slope, c, like), 1.0)
    elif c.operation == BACKWARD:
        dL_dz, out = rows_at(c.dL_dz, c, like), rows_at(c.out, c, like)
        if c.slope == 0:
            _backward(x, scale, dL_dz, dL_dz, 0, out)
        else:
            _backward(x, scale, dL_dz, rows_at(c.slope, c, like), 1 + c.flag, out)
    elif c.operation == GRADIENT:
        of_scale, of_shift = row_at(c.out, 0, c, like), row_at(c.out, 1, c, like)
        dL_dz = rows_at(c.dL_dz, c, like)
        _gradient(x, dL_dz, c.alpha, c.flag, of_scale, of_shift)
    elif c.operation == SAMPLE_GRADIENTS:
        dL_dz = rows_at(c.dL_dz, c, like)
        for i in range(c.rows):
            place = array_at(c.out, like, 0)
            of_scale = matrix(place, i * c.stride, 1, c.units)
            of_shift = matrix(place, i * c.stride + c.units, 1, c.units)
            one, its = matrix(x, i * c.units, 1, c.units), matrix(dL_dz, i * c.units, 1, c.units)
            _gradient(one, its, 1.0, 0, of_scale, of_shift)
    else:
        _along_a_direction(c, x, scale, shift, like)


@routine()
def _forward(builder: ir.IRBuilder, x: Array, scale: Array, shift: Array, out: Array) -> None:
    for i in rows_of(x):
        row = statistics_of(x.row(i))
        for register in registers(x.row(i), scale, shift, out.row(i), written_only=1):
            register.store(row.normalised(register[0]) * register[1] + register[2], 3)


@routine(how=types.int64)
def _backward(
    builder: ir.IRBuilder,
    x: Array,
    scale: Array,
    dL_dz: Array,
    factor: Array,
    how: ir.Value,
    out: Array,
) -> None:
    """out ← ∂L/∂x where `how` is 0; for 1 times `factor`; for 2 where `factor` > 0, and else 0."""
    for i in rows_of(x):
        row = statistics_of(x.row(i))
        total, along = sum_of(x), sum_of(x)
        for register in registers(x.row(i), scale, dL_dz.row(i)):
            g = wide(register.inside(register[1] * register[2]))
            total.add(g)
            along.add(g * wide(row.normalised(register[0])))
        mean = broadcast(total.total() / row.n, x.element)
        share = broadcast(along.total() / row.n, x.element)

        def dL_dx(
            register: Register, row: RowStatistics = row, mean: Any = mean, share: Any = share
        ) -> Any:
            g = register[1] * register[2]
            return row.r * (g - mean - row.normalised(register[0]) * share)

        given = x.row(i), scale, dL_dz.row(i), factor.row(i), out.row(i)
        plain = builder.icmp_signed("==", how, INT64(0))
        by_slope = builder.icmp_signed("==", how, INT64(1))
        with builder.if_else(plain) as (alone, multiplied):
            with alone:
                for register in registers(*given, written_only=1):
                    register.store(dL_dx(register), 4)
            with multiplied, builder.if_else(by_slope) as (slope, relu):
                with slope:
                    for register in registers(*given, written_only=1):
                        register.store(dL_dx(register) * register[3], 4)
                with relu:
                    for register in registers(*given, written_only=1):
                        register.store(where(register[3] > 0.0, dL_dx(register), 0.0), 4)


@routine(alpha=types.float64, accumulate=types.int64)
def _gradient(
    builder: ir.IRBuilder,
    x: Array,
    dL_dz: Array,
    alpha: ir.Value,
    accumulate: ir.Value,
    of_scale: Array,
    of_shift: Array,
) -> None:
    """alpha times ∂L/∂γ and ∂L/∂β, added to what is there where `accumulate`."""
    factor, units = broadcast(Lanes(builder, alpha), x.element), of_scale.count
    zero, keep = Lanes(builder, x.element(0.0)), Lanes(builder, x.element(1.0))
    kept = builder.icmp_signed("!=", accumulate, INT64(0))
    before = broadcast(Lanes(builder, builder.select(kept, keep.value, zero.value)), x.element)
    space = [cgutils.alloca_once(builder, x.element, CHUNK) for _ in range(2)]
    chunks = cgutils.for_range_slice(builder, INT64(0), units, INT64(CHUNK), INT64)
    with chunks as (start, _):
        left = builder.sub(units, start)
        whole = builder.icmp_signed("<", INT64(CHUNK), left)
        count = builder.select(whole, INT64(CHUNK), left)
        sums = [of_scale._replace(data=data).part(INT64(0), count) for data in space]
        for register in registers(*sums, written_only=2):
            nothing = broadcast(zero, x.element)
            register.store(nothing, 0)
            register.store(nothing, 1)
        for i in rows_of(x):
            row = statistics_of(x.row(i))
            given = x.row(i).part(start, count), dL_dz.row(i).part(start, count)
            for register in registers(*given, *sums):
                register.store(register[2] + row.normalised(register[0]) * register[1], 2)
                register.store(register[3] + register[1], 3)
        for place, found in zip((of_scale, of_shift), sums, strict=True):
            for register in registers(found, place.part(start, count)):
                old = where(before > 0.0, register[1], 0.0)
                register.store(old + factor * register[0], 1)


# ---- along a direction: R{·} as in `curvature`. With u = R{x},
#
#     R{x̂} = r (u - ⟨u⟩ - x̂ ⟨x̂ u⟩)       R{r} = -r² ⟨x̂ u⟩


@kernel
def _along_a_direction(c, x, scale, shift, like):
    v_scale, v_shift = row_at(c.v, 0, c, like), row_at(c.v, 1, c, like)
    u = rows_at(c.x_tangent, c, like)
    tangent = rows_at(c.tangent, c, like)
    out = rows_at(c.out, c, like)
    dL_dz, bend = rows_at(c.dL_dz, c, like), rows_at(c.bend, c, like)
    n = c.units
    if c.operation == FORWARD_TANGENT:
        _forward(x, scale, shift, out)
        fill(rows_at(c.slope, c, like), 1.0)
        fill(bend, 0.0)
    if c.operation == GRADIENT_TANGENT and c.flag == 0:
        fill(row_at(c.out, 0, c, like), 0.0)
        fill(row_at(c.out, 1, c, like), 0.0)
    moves = c.l > 0  # x of the network does not depend on the parameters
    for i in range(c.rows):
        m = spread = mean_u = along_u = 0.0
        for j in range(n):
            m += x[i, j]
        m /= n
        for j in range(n):
            spread += (x[i, j] - m) ** 2
        r = 1.0 / math.sqrt(spread / n + EPSILON)
        if moves:
            for j in range(n):
                mean_u += u[i, j]
                along_u += (x[i, j] - m) * r * u[i, j]
            mean_u /= n
            along_u /= n
        if c.operation == BACKWARD_TANGENT:
            # dL_dx = r q with q = g - ⟨g⟩ - x̂ ⟨g x̂⟩
            mean_g = along_g = mean_Rg = along_Rg = 0.0
            for j in range(n):
                normal = (x[i, j] - m) * r
                moving = r * (u[i, j] - mean_u - normal * along_u)
                g = scale[0, j] * dL_dz[i, j]
                Rg = v_scale[0, j] * dL_dz[i, j] + scale[0, j] * tangent[i, j]
                mean_g += g / n
                along_g += g * normal / n
                mean_Rg += Rg / n
                along_Rg += (Rg * normal + g * moving) / n
            for j in range(n):
                normal = (x[i, j] - m) * r
                moving = r * (u[i, j] - mean_u - normal * along_u)
                g = scale[0, j] * dL_dz[i, j]
                Rg = v_scale[0, j] * dL_dz[i, j] + scale[0, j] * tangent[i, j]
                dL_dx = r * (g - mean_g - normal * along_g)
                change = r * (Rg - mean_Rg - moving * along_g - normal * along_Rg)
                change -= r * along_u * dL_dx
                bend[i, j] = bend[i, j] * dL_dx + out[i, j] * change
                out[i, j] *= dL_dx
        else:
            for j in range(n):
                normal, moving = (x[i, j] - m) * r, 0.0
                if moves:
                    moving = r * (u[i, j] - mean_u - normal * along_u)
                if c.operation == FORWARD_TANGENT:
                    change = scale[0, j] * moving + v_scale[0, j] * normal + v_shift[0, j]
                    tangent[i, j] = change
                else:
                    out[0, j] += tangent[i, j] * normal + dL_dz[i, j] * moving
                    out[1, j] += tangent[i, j]
