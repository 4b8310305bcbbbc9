"""Losses and softmax for a register full of members; see `lane_vectors`.

Rows and outputs are added up in float64, as for one network, but for each member by itself.
"""

from collections.abc import Callable, Sequence

from llvmlite import ir

from flatprop.kernels.lanes.lane_vectors import (
    ZERO,
    InLanes,
    LaneMatrix,
    Place,
    counted,
    everywhere,
    group_size,
    loop,
    repeated,
)
from flatprop.kernels.loops.elementwise import LOSS_FORMULAS
from flatprop.kernels.loops.routines import Record
from flatprop.kernels.loops.vector_loops import INT64, cases, wide
from flatprop.numbers import elementary
from flatprop.numbers.lanes import Lanes
from flatprop.numbers.numbers import maximum, where


def narrow(lanes: Lanes, element: ir.Type) -> Lanes:
    """Numbers of float64 as numbers of this type."""
    if lanes.element == element:
        return lanes
    kind = ir.VectorType(element, lanes.value.type.count)
    return Lanes(lanes.builder, lanes.builder.fptrunc(lanes.value, kind))


def _started(total: InLanes, width: int, accumulate: ir.Value) -> Lanes:
    """What a sum starts from."""
    builder, before = total.array.builder, total.load(ZERO, width)
    adds = builder.icmp_signed("!=", accumulate, INT64(0))
    return Lanes(builder, builder.select(adds, before.value, before.like(0.0).value))


def loss_of_rows(
    builder: ir.IRBuilder,
    loss_record: Record,
    factor: Lanes,
    arrays: Sequence[LaneMatrix],
    totals: InLanes,
    rows: ir.Value,
    outputs: ir.Value,
    accumulate: ir.Value,
) -> None:
    """totals (1,) ← Σ w ℓ(ŷ, y), added if `accumulate`; slope ← factor · w · ∂ℓ/∂ŷ.

    `arrays` are prediction and y, (rows, outputs), weight, (rows, 1), and slope, which may be
    prediction. `totals` is float64.
    """
    array = arrays[0].first.array
    shape = everywhere(Lanes(builder, loss_record.field("parameter")), array)
    for formula in cases(builder, loss_record.field("loss"), LOSS_FORMULAS):
        of_row = _loss_row(builder, formula, arrays, factor, shape, outputs)
        start = [_started(totals, group_size(array), accumulate)]
        (after,) = repeated(builder, rows, start, of_row)
        totals.store(after, ZERO)


def _loss_row(
    builder: ir.IRBuilder,
    formula: Callable[..., tuple[Lanes, Lanes]],
    arrays: Sequence[LaneMatrix],
    factor: Lanes,
    shape: Lanes,
    outputs: ir.Value,
) -> Callable[[ir.Value, list[Lanes]], list[Lanes]]:
    """What `loss_of_rows` does for row r: the step of a loop."""
    p, y, w, out = arrays
    builder = factor.builder

    def of_row(r: ir.Value, sums: list[Lanes]) -> list[Lanes]:
        weight, places = w.row(r).load(), [matrix.row(r) for matrix in (p, y, out)]
        scaled = weight * factor

        def of_output(state: list[ir.Value]) -> list[ir.Value]:
            here = [place.at(at) for place, at in zip(places, state, strict=False)]
            value, derivative = formula(here[0].load(), here[1].load(), shape)
            here[2].store(derivative * scaled)
            total = Lanes(builder, state[3]) + wide(weight * value)
            return [*(place.further(1).pointer for place in here), total.value]

        begin = [*(place.pointer for place in places), sums[0].value]
        return [Lanes(builder, loop(builder, outputs, begin, of_output)[3])]

    return of_row


def cross_entropy_of_rows(
    builder: ir.IRBuilder,
    factor: Lanes,
    arrays: Sequence[LaneMatrix],
    totals: InLanes,
    rows: ir.Value,
    outputs: ir.Value,
    columns: ir.Value,
    accumulate: ir.Value,
) -> None:
    """The same of cross-entropy from logits; y is (rows, columns), 1 or as many as outputs.

    See `loops.softmax.cross_entropy` for the formula.
    """
    logits, target, w, p = arrays
    array = logits.first.array
    element = array.element
    indices = builder.icmp_signed("!=", columns, outputs)
    integer = ir.IntType(32 if element == ir.FloatType() else 64)
    with builder.if_else(indices) as (one_index, one_per_unit):
        for branch, by_index in ((one_index, True), (one_per_unit, False)):
            with branch:
                of_row = _cross_entropy_row(
                    builder, logits, target, w, p, factor, outputs, by_index, integer
                )
                start = [_started(totals, group_size(array), accumulate)]
                (after,) = repeated(builder, rows, start, of_row)
                totals.store(after, ZERO)


def _cross_entropy_row(
    builder: ir.IRBuilder,
    logits: LaneMatrix,
    target: LaneMatrix,
    w: LaneMatrix,
    p: LaneMatrix,
    factor: Lanes,
    outputs: ir.Value,
    by_index: bool,
    integer: ir.Type,
) -> Callable[[ir.Value, list[Lanes]], list[Lanes]]:
    """The same for `cross_entropy_of_rows`."""
    element = logits.first.array.element

    def y_of(row: Place, k: ir.Value, like: Lanes) -> Lanes:
        if not by_index:
            return row.load(k)
        number = builder.sitofp(builder.trunc(k, integer) if integer != INT64 else k, element)
        same = row.load().equals(everywhere(Lanes(builder, number), logits.first.array))
        return where(same, like.like(1.0), 0.0)

    def of_row(r: ir.Value, sums: list[Lanes]) -> list[Lanes]:
        z, y, out = logits.row(r), target.row(r), p.row(r)
        shift, total = _exponentials(builder, z, out, outputs)
        narrow_weight = w.row(r).load()
        weight = wide(narrow_weight)

        def value(k: ir.Value, sums: list[Lanes]) -> list[Lanes]:
            number = z.load(k)
            share = y_of(y, k, number)
            part = where(share > 0.0, share * (shift - number), 0.0)
            return [sums[0] + weight * wide(part), sums[1] + wide(share)]

        loss, mass = repeated(builder, outputs, [sums[0], total.like(0.0)], value)
        share = narrow(mass, element) * narrow(1.0 / total, element)
        scaled = narrow_weight * factor
        for k in counted(builder, outputs):
            e = out.load(k)
            out.store(scaled * (share * e - y_of(y, k, e)), k)
        return [loss + weight * mass * elementary.log(total)]

    return of_row


def _exponentials(
    builder: ir.IRBuilder, z: Place, out: Place, units: ir.Value
) -> tuple[Lanes, Lanes]:
    """out ← e^(z - shift), shift the largest z of a row; that, and the sum of out in float64."""
    lowest = z.load()

    def larger(k: ir.Value, so_far: list[Lanes]) -> list[Lanes]:
        return [maximum(so_far[0], z.load(k))]

    (shift,) = repeated(builder, units, [lowest], larger)

    def add(k: ir.Value, sums: list[Lanes]) -> list[Lanes]:
        e = elementary.exp_of_negative(z.load(k) - shift)
        out.store(e, k)
        return [sums[0] + wide(e)]

    (total,) = repeated(builder, units, [wide(lowest).like(0.0)], add)
    return shift, total


def softmax_of_rows(builder: ir.IRBuilder, z: LaneMatrix, rows: ir.Value, units: ir.Value) -> None:
    """z (rows, units) ← e^z / Σ e^z over each row."""
    for r in counted(builder, rows):
        row = z.row(r)
        _, total = _exponentials(builder, row, row, units)
        factor = narrow(1.0 / total, z.first.array.element)
        for k in counted(builder, units):
            row.store(row.load(k) * factor, k)


def softmax_backward_of_rows(
    builder: ir.IRBuilder, a: LaneMatrix, delta: LaneMatrix, rows: ir.Value, units: ir.Value
) -> None:
    """delta ← a (delta - Σ a delta): from ∂L/∂a to ∂L/∂z."""
    for r in counted(builder, rows):
        of_a, of_delta = a.row(r), delta.row(r)

        def add(
            k: ir.Value, sums: list[Lanes], of_a: Place = of_a, of_delta: Place = of_delta
        ) -> list[Lanes]:
            return [sums[0] + wide(of_a.load(k) * of_delta.load(k))]

        zero = wide(of_a.load()).like(0.0)
        (product,) = repeated(builder, units, [zero], add)
        mean = narrow(product, a.first.array.element)
        for k in counted(builder, units):
            of_delta.store(of_a.load(k) * (of_delta.load(k) - mean), k)
