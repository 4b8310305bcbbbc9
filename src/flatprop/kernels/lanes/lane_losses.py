"""Losses and softmax for a block of members at once; see `lane_vectors`.

Rows and outputs are added up in float64, as for one network, but for each member by itself.
"""

from collections.abc import Callable, Sequence

from llvmlite import ir
from numba.core import types

from flatprop.kernels.lanes.lane_vectors import ZERO, InLanes, counted, groups, repeated
from flatprop.kernels.loops.elementwise import LOSS_FORMULAS
from flatprop.kernels.loops.routines import Record, routine
from flatprop.kernels.loops.vector_loops import INT64, Array, broadcast, cases, wide
from flatprop.numbers import elementary
from flatprop.numbers.lanes import Lanes, lane_count
from flatprop.numbers.numbers import maximum, where

SIZES = dict.fromkeys(("lanes", "rows", "outputs", "columns", "accumulate"), types.int64)


def narrow(lanes: Lanes, element: ir.Type) -> Lanes:
    """Numbers of float64 as numbers of this type."""
    if lanes.element == element:
        return lanes
    kind = ir.VectorType(element, lanes.value.type.count)
    return Lanes(lanes.builder, lanes.builder.fptrunc(lanes.value, kind))


def _started(total: InLanes, width: int, accumulate: ir.Value) -> Lanes:
    """What a sum starts from."""
    builder, before = total.array.builder, total.load(ZERO, count=width)
    adds = builder.icmp_signed("!=", accumulate, INT64(0))
    return Lanes(builder, builder.select(adds, before.value, before.like(0.0).value))


@routine(**SIZES)
def lane_loss(
    builder: ir.IRBuilder,
    loss_record: Record,
    scale: Array,
    prediction: Array,
    y: Array,
    weight: Array,
    totals: Array,
    slope: Array,
    lanes: ir.Value,
    rows: ir.Value,
    outputs: ir.Value,
    columns: ir.Value,
    accumulate: ir.Value,
) -> None:
    """totals (lanes,) ← Σ w ℓ(ŷ, y), added if `accumulate`; slope ← scale · w · ∂ℓ/∂ŷ.

    prediction, y and slope are (rows, outputs), weight is (rows,). `scale` and `totals` are
    float64. `slope` may be the same array as `prediction`.
    """
    element = prediction.element
    width = lane_count(element)
    shape = broadcast(Lanes(builder, loss_record.field("parameter")), element)
    for formula in cases(builder, loss_record.field("loss"), LOSS_FORMULAS):
        for first in groups(builder, lanes, width):
            arrays = prediction, y, weight, slope
            in_lanes = [InLanes(array, lanes, first) for array in arrays]
            total = InLanes(totals, lanes, first)
            factor = narrow(InLanes(scale, lanes, first).load(ZERO, count=width), element)
            of_row = _loss_row(builder, formula, in_lanes, factor, shape, outputs)
            (after,) = repeated(builder, rows, [_started(total, width, accumulate)], of_row)
            total.store(after, ZERO)


def _loss_row(
    builder: ir.IRBuilder,
    formula: Callable[..., tuple[Lanes, Lanes]],
    arrays: Sequence[InLanes],
    factor: Lanes,
    shape: Lanes,
    outputs: ir.Value,
) -> Callable[[ir.Value, list[Lanes]], list[Lanes]]:
    """What `lane_loss` does for row r: the step of a loop."""
    p, y, w, out = arrays

    def of_row(r: ir.Value, sums: list[Lanes]) -> list[Lanes]:
        weight, start = w.load(r), builder.mul(r, outputs)
        scaled = weight * factor

        def of_output(k: ir.Value, sums: list[Lanes]) -> list[Lanes]:
            place = builder.add(start, k)
            value, derivative = formula(p.load(place), y.load(place), shape)
            out.store(derivative * scaled, place)
            return [sums[0] + wide(weight * value)]

        return repeated(builder, outputs, sums, of_output)

    return of_row


@routine(**SIZES)
def lane_cross_entropy(
    builder: ir.IRBuilder,
    scale: Array,
    z: Array,
    y: Array,
    weight: Array,
    totals: Array,
    slope: Array,
    lanes: ir.Value,
    rows: ir.Value,
    outputs: ir.Value,
    columns: ir.Value,
    accumulate: ir.Value,
) -> None:
    """The same of cross-entropy from logits; y is (rows, columns), 1 or as many as outputs.

    See `loops.softmax.cross_entropy` for the formula.
    """
    element = z.element
    width = lane_count(element)
    indices = builder.icmp_signed("!=", columns, outputs)
    integer = ir.IntType(32 if element == ir.FloatType() else 64)
    with builder.if_else(indices) as (one_index, one_per_unit):
        for branch, by_index in ((one_index, True), (one_per_unit, False)):
            with branch:
                for first in groups(builder, lanes, width):
                    logits, target, w, p = (
                        InLanes(array, lanes, first) for array in (z, y, weight, slope)
                    )
                    total = InLanes(totals, lanes, first)
                    factor = InLanes(scale, lanes, first).load(ZERO, count=width)
                    of_row = _cross_entropy_row(
                        builder, logits, target, w, p, factor, outputs, by_index, integer
                    )
                    (after,) = repeated(
                        builder, rows, [_started(total, width, accumulate)], of_row
                    )
                    total.store(after, ZERO)


def _cross_entropy_row(
    builder: ir.IRBuilder,
    logits: InLanes,
    target: InLanes,
    w: InLanes,
    p: InLanes,
    factor: Lanes,
    outputs: ir.Value,
    by_index: bool,
    integer: ir.Type,
) -> Callable[[ir.Value, list[Lanes]], list[Lanes]]:
    """The same for `lane_cross_entropy`."""
    element = logits.array.element

    def y_of(r: ir.Value, start: ir.Value, k: ir.Value, like: Lanes) -> Lanes:
        if not by_index:
            return target.load(builder.add(start, k))
        number = builder.sitofp(builder.trunc(k, integer) if integer != INT64 else k, element)
        same = target.load(r).equals(broadcast(Lanes(builder, number), element))
        return where(same, like.like(1.0), 0.0)

    def of_row(r: ir.Value, sums: list[Lanes]) -> list[Lanes]:
        start = builder.mul(r, outputs)
        shift, total = _exponentials(builder, logits, p, start, outputs)
        weight = wide(w.load(r))

        def value(k: ir.Value, sums: list[Lanes]) -> list[Lanes]:
            z = logits.load(builder.add(start, k))
            y = y_of(r, start, k, z)
            part = where(y > 0.0, y * (shift - z), 0.0)
            return [sums[0] + weight * wide(part), sums[1] + wide(y)]

        loss, mass = repeated(builder, outputs, [sums[0], total.like(0.0)], value)
        share = narrow(mass, element) * narrow(1.0 / total, element)
        scaled = narrow(weight * factor, element)
        for k in counted(builder, outputs):
            place = builder.add(start, k)
            e = p.load(place)
            p.store(scaled * (share * e - y_of(r, start, k, e)), place)
        return [loss + weight * mass * elementary.log(total)]

    return of_row


def _exponentials(
    builder: ir.IRBuilder, z: InLanes, out: InLanes, start: ir.Value, units: ir.Value
) -> tuple[Lanes, Lanes]:
    """out ← e^(z - shift), shift the largest z of a row; that, and the sum of out in float64."""
    lowest = z.load(start)

    def larger(k: ir.Value, so_far: list[Lanes]) -> list[Lanes]:
        return [maximum(so_far[0], z.load(builder.add(start, k)))]

    (shift,) = repeated(builder, units, [lowest], larger)

    def add(k: ir.Value, sums: list[Lanes]) -> list[Lanes]:
        place = builder.add(start, k)
        e = elementary.exp_of_negative(z.load(place) - shift)
        out.store(e, place)
        return [sums[0] + wide(e)]

    (total,) = repeated(builder, units, [wide(lowest).like(0.0)], add)
    return shift, total


@routine(lanes=types.int64, rows=types.int64, units=types.int64)
def lane_softmax(
    builder: ir.IRBuilder, z: Array, lanes: ir.Value, rows: ir.Value, units: ir.Value
) -> None:
    """z (rows, units) ← e^z / Σ e^z over each row."""
    for first in groups(builder, lanes, lane_count(z.element)):
        of_z = InLanes(z, lanes, first)
        for r in counted(builder, rows):
            start = builder.mul(r, units)
            _, total = _exponentials(builder, of_z, of_z, start, units)
            factor = narrow(1.0 / total, z.element)
            for k in counted(builder, units):
                place = builder.add(start, k)
                of_z.store(of_z.load(place) * factor, place)


@routine(lanes=types.int64, rows=types.int64, units=types.int64)
def lane_softmax_backward(
    builder: ir.IRBuilder,
    a: Array,
    delta: Array,
    lanes: ir.Value,
    rows: ir.Value,
    units: ir.Value,
) -> None:
    """delta ← a (delta - Σ a delta): from ∂L/∂a to ∂L/∂z."""
    for first in groups(builder, lanes, lane_count(a.element)):
        of_a, of_delta = InLanes(a, lanes, first), InLanes(delta, lanes, first)
        for r in counted(builder, rows):
            start = builder.mul(r, units)

            def add(
                k: ir.Value,
                sums: list[Lanes],
                start: ir.Value = start,
                of_a: InLanes = of_a,
                of_delta: InLanes = of_delta,
            ) -> list[Lanes]:
                place = builder.add(start, k)
                return [sums[0] + wide(of_a.load(place) * of_delta.load(place))]

            zero = wide(of_a.load(start)).like(0.0)
            (product,) = repeated(builder, units, [zero], add)
            mean = narrow(product, a.element)
            for k in counted(builder, units):
                place = builder.add(start, k)
                of_delta.store(of_a.load(place) * (of_delta.load(place) - mean), place)
