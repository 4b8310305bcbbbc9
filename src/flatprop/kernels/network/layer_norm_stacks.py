"""Layer normalisation of stacks: values with their derivatives along directions.

With x̂ = r (x - m) and ⟨·⟩ as in `layer_norm`, and ẋ and ẍ for the derivatives of x,

    p = r (ẋ - ⟨ẋ⟩)       q = r (ẍ - ⟨ẍ⟩)       α = ⟨x̂ p⟩

the derivatives of x̂ along a direction, and along two of them, are

    p - α x̂               q - α₂ p₁ - α₁ p₂ + κ x̂,  κ = 3 α₁ α₂ - ⟨p₁ p₂⟩ - ⟨x̂ q⟩

x̂, p and q stay in the place of z, and r in that of f''. On the way back h, h₁ and h₂ are γ times
the gradients with respect to the outputs and their two derivatives along one direction. Then

    A = 6 α ⟨h₂ x̂⟩ - ⟨h₁ x̂⟩ - 2 ⟨h₂ p⟩
    ∂L/∂q = h₂ - ⟨h₂ x̂⟩ x̂
    ∂L/∂p = h₁ - 2 α h₂ - 2 ⟨h₂ x̂⟩ p + A x̂
    ∂L/∂x̂ = h + Σ over directions of κ h₂ - α h₁ - ⟨h₂ x̂⟩ q + A p
    ∂L/∂ẍ = r (∂L/∂q - ⟨∂L/∂q⟩)       ∂L/∂ẋ = r (∂L/∂p - ⟨∂L/∂p⟩)
    ∂L/∂x = r (∂L/∂x̂ - ⟨∂L/∂x̂⟩ - S x̂),  S = ⟨x̂ ∂L/∂x̂⟩ + Σ over directions of ⟨p ∂L/∂p⟩ + ⟨q ∂L/∂q⟩

where S is what comes from r. Sums over a row are in float64.
"""

from collections.abc import Iterator

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.elementwise import fill
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import INT64, Array, broadcast, registers
from flatprop.kernels.network.layer_call import row_at, rows_at
from flatprop.kernels.network.normalised_rows import means, statistics_of
from flatprop.kernels.network.records import array_at
from flatprop.numbers.lanes import Lanes

ONE, TWO = INT64(1), INT64(2)


@kernel
def forward_stack(c, like):
    """FORWARD_STACK; see `layer_call`."""
    x, z, out = rows_at(c.x, c, like), rows_at(c.z, c, like), rows_at(c.out, c, like)
    scale, shift = row_at(c.params, 0, c, like), row_at(c.params, 1, c, like)
    kept, paired = array_at(c.bend, like, c.part_rows), 1 if c.pairs != 0 else 0
    pairs = array_at(c.pairs, np.int64, 0)
    _normalise_stack(x, scale, shift, c.count, pairs, paired, z, kept, out)


@kernel
def backward_stack(c, like):
    """BACKWARD_STACK; second derivatives are along each of the first directions."""
    z, given, out = rows_at(c.z, c, like), rows_at(c.dL_dz, c, like), rows_at(c.out, c, like)
    scale, of_scale, of_shift = (
        row_at(c.params, 0, c, like),
        row_at(c.gradient, 0, c, like),
        row_at(c.gradient, 1, c, like),
    )
    kept = array_at(c.bend, like, c.part_rows)
    back, trains = 1 if c.out != 0 else 0, 1 if c.gradient != 0 else 0
    if trains == 1 and c.flag == 0:
        fill(of_scale, 0.0)
        fill(of_shift, 0.0)
    _normalise_stack_back(z, kept, scale, given, c.count, back, out, trains, of_scale, of_shift)


@routine(count=types.int64, paired=types.int64)
def _normalise_stack(
    builder: ir.IRBuilder,
    x: Array,
    scale: Array,
    shift: Array,
    count: ir.Value,
    pairs: Array,
    paired: ir.Value,
    z: Array,
    kept: Array,
    out: Array,
) -> None:
    rows, element = kept.count, x.element
    parts, behind = builder.sdiv(x.shape[0], rows), builder.add(count, ONE)
    with cgutils.for_range(builder, rows) as loop:
        i, y = loop.index, z.row(loop.index)
        statistics = statistics_of(x.row(i))
        for register in registers(x.row(i), y, written_only=1):
            register.store(statistics.normalised(register[0]), 1)
        r = statistics.r
        builder.store(_number(statistics.exact_r, element), kept.at(i))
        for row, _ in _rows_of_parts(builder, i, rows, ONE, parts):
            (m,) = means((x.row(row),), lambda register: register[0])
            mean = broadcast(m, element)
            for register in registers(x.row(row), z.row(row), written_only=1):
                register.store((register[0] - mean) * r, 1)
        # The values last, and the second derivatives first: `out` may be z.
        for row, number in _rows_of_parts(builder, i, rows, behind, parts):
            one, other = (
                z.row(builder.add(builder.mul(builder.add(k, ONE), rows), i))
                for k in _pair(builder, pairs, paired, number)
            )
            both = y, one, other, z.row(row)
            alpha, alpha_of_other, product = means(
                both,
                lambda register: register[0] * register[1],
                lambda register: register[0] * register[2],
                lambda register: register[1] * register[2] + register[0] * register[3],
            )
            kappa = broadcast(3.0 * alpha * alpha_of_other - product, element)
            alpha, alpha_of_other = (broadcast(a, element) for a in (alpha, alpha_of_other))
            for register in registers(*both, scale, out.row(row), written_only=1):
                change = register[3] - alpha_of_other * register[1] - alpha * register[2]
                register.store(register[4] * (change + kappa * register[0]), 5)
        for row, _ in _rows_of_parts(builder, i, rows, ONE, behind):
            (alpha,) = means((y, z.row(row)), lambda register: register[0] * register[1])
            alpha = broadcast(alpha, element)
            for register in registers(y, z.row(row), scale, out.row(row), written_only=1):
                register.store(register[2] * (register[1] - alpha * register[0]), 3)
        for register in registers(y, scale, shift, out.row(i), written_only=1):
            register.store(register[0] * register[1] + register[2], 3)


@routine(count=types.int64, back=types.int64, trains=types.int64)
def _normalise_stack_back(
    builder: ir.IRBuilder,
    z: Array,
    kept: Array,
    scale: Array,
    given: Array,
    count: ir.Value,
    back: ir.Value,
    out: Array,
    trains: ir.Value,
    of_scale: Array,
    of_shift: Array,
) -> None:
    """out ← the gradient for the stack x if `back`; that of γ and β is added if `trains`."""
    rows, element = kept.count, z.element
    goes_back, learns = (builder.icmp_signed("==", told, ONE) for told in (back, trains))
    behind = builder.add(count, ONE)
    with cgutils.for_range(builder, rows) as loop:
        i, y, of_y = loop.index, z.row(loop.index), out.row(loop.index)
        r = broadcast(kept.scalar(i), element)
        of_r = _Sum(builder)
        with builder.if_then(learns):
            for register in registers(y, given.row(i), of_scale, of_shift):
                register.store(register[2] + register[1] * register[0], 2)
                register.store(register[3] + register[1], 3)
        with builder.if_then(goes_back):
            for register in registers(scale, given.row(i), of_y, written_only=1):
                register.store(register[0] * register[1], 2)
        for row, _ in _rows_of_parts(builder, i, rows, ONE, behind):
            p, of_p, further = z.row(row), out.row(row), builder.add(row, builder.mul(count, rows))
            q, of_q = z.row(further), out.row(further)
            bends = builder.icmp_signed("<", further, z.shape[0])
            first, second = (y, p, scale, given.row(row)), (y, p, q, scale, given.row(further))
            alpha, h_y = means(
                first,
                lambda register: register[0] * register[1],
                lambda register: register[2] * register[3] * register[0],
            )
            of_alpha, kappa, h2_y = _Sum(builder), _Sum(builder), _Sum(builder)
            of_alpha.add(-h_y)
            with builder.if_then(bends):
                product, along_y, along_p = means(
                    second,
                    lambda register: register[1] * register[1] + register[0] * register[2],
                    lambda register: register[3] * register[4] * register[0],
                    lambda register: register[3] * register[4] * register[1],
                )
                kappa.add(3.0 * alpha * alpha - product)
                h2_y.add(along_y)
                of_alpha.add(6.0 * alpha * along_y - 2.0 * along_p)
            a, k, h, A = (
                broadcast(number, element)
                for number in (alpha, kappa.total, h2_y.total, of_alpha.total)
            )
            with builder.if_then(learns):
                for register in registers(*first, of_scale):
                    moved = register[1] - a * register[0]
                    register.store(register[4] + register[3] * moved, 4)
                with builder.if_then(bends):
                    for register in registers(*second, of_scale):
                        curved = register[2] - 2.0 * a * register[1] + k * register[0]
                        register.store(register[5] + register[4] * curved, 5)
            with builder.if_then(goes_back):
                for register in registers(*first, of_y, of_p, written_only=1):
                    h1 = register[2] * register[3]
                    register.store(register[4] + A * register[1] - a * h1, 4)
                    register.store(h1 + A * register[0], 5)
                with builder.if_then(bends):
                    for register in registers(*second, of_y, of_p, of_q, written_only=1):
                        h2 = register[3] * register[4]
                        register.store(register[5] + k * h2 - h * register[2], 5)
                        register.store(register[6] - 2.0 * (a * h2 + h * register[1]), 6)
                        register.store(h2 - h * register[0], 7)
                    of_r.add(_through_mean(q, r, of_q))
                of_r.add(_through_mean(p, r, of_p))
        with builder.if_then(goes_back):
            along, m = means(
                (y, of_y),
                lambda register: register[0] * register[1],
                lambda register: register[1],
            )
            of_r.add(along)
            share, mean = broadcast(of_r.total, element), broadcast(m, element)
            for register in registers(y, of_y):
                register.store(r * (register[1] - mean - share * register[0]), 1)


def _through_mean(z: Array, r: Lanes, of_z: Array) -> Lanes:
    """∂L/∂x in the place of ∂L/∂z, of which z = r (x - ⟨x⟩); returns ⟨z ∂L/∂z⟩, for r."""
    along, m = means(
        (z, of_z),
        lambda register: register[0] * register[1],
        lambda register: register[1],
    )
    mean = broadcast(m, z.element)
    for register in registers(of_z):
        register.store(r * (register[0] - mean), 0)
    return along


class _Sum:
    """A number in float64 to which one may add in branches and loops."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder
        self._place = cgutils.alloca_once(builder, ir.DoubleType())
        builder.store(ir.DoubleType()(0.0), self._place)

    def add(self, number: Lanes) -> None:
        self.builder.store((self.total + number).value, self._place)

    @property
    def total(self) -> Lanes:
        return Lanes(self.builder, self.builder.load(self._place))


def _rows_of_parts(
    builder: ir.IRBuilder, i: ir.Value, rows: ir.Value, first: ir.Value, stop: ir.Value
) -> Iterator[tuple[ir.Value, ir.Value]]:
    """A loop over row i of the parts first to stop of a stack: its place there, and a number."""
    start, end = builder.add(builder.mul(first, rows), i), builder.mul(stop, rows)
    with cgutils.for_range_slice(builder, start, end, rows, INT64) as (row, number):
        yield row, number


def _pair(
    builder: ir.IRBuilder, pairs: Array, paired: ir.Value, m: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """The directions of second derivative m."""
    places = [cgutils.alloca_once(builder, INT64) for _ in range(2)]
    for place in places:
        builder.store(m, place)
    with builder.if_then(builder.icmp_signed("==", paired, ONE)):
        first = builder.mul(m, TWO)
        for number, place in enumerate(places):
            builder.store(builder.load(pairs.at(builder.add(first, INT64(number)))), place)
    one, other = (builder.load(place) for place in places)
    return one, other


def _number(lanes: Lanes, element: ir.Type) -> ir.Value:
    """A number in float64, rounded to `element`."""
    same = lanes.element == element
    return lanes.value if same else lanes.builder.fptrunc(lanes.value, element)
