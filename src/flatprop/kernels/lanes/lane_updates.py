"""Updates of a block of members, and what is decided for each of them; see `lane_vectors`.

Each member may have a learning rate of its own. What stands for a member outside of the network,
such as a loss or a rate, is one number of float64 in an array (lanes,).
"""

import math
from typing import Any

from llvmlite import ir
from numba.core import types

from flatprop.formulas.optimizer import RULES, SETTINGS
from flatprop.kernels.lanes.lane_losses import narrow
from flatprop.kernels.lanes.lane_vectors import (
    ONE,
    ZERO,
    InLanes,
    Place,
    counted,
    everywhere,
    group_size,
    groups,
    loop,
    repeated,
)
from flatprop.kernels.loops.masks import splat
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import DOUBLE, INT64, Array, cases, wide
from flatprop.numbers.lanes import Lanes, Mask, lane_count
from flatprop.numbers.numbers import sqrt, where

WIDE = lane_count(DOUBLE)


@routine(code=types.int64, lanes=types.int64)
def lane_update(
    builder: ir.IRBuilder,
    code: ir.Value,
    settings: Array,
    rate: Array,
    clip: Array,
    params: Array,
    gradient: Array,
    state: Array,
    ranges: Array,
    lanes: ir.Value,
) -> None:
    """One update of the params in the ranges, (ranges, 2), of every member, and of the state.

    `settings` are those of `loops.updates.update`, with `rate` (lanes,) in the place of the
    learning rate and `clip` (lanes,) in the place of the gradient's scale. `state` is
    (slots, parameters · lanes).
    """
    element, width = params.element, group_size(params)
    for rule in cases(builder, code, RULES):
        names = (*SETTINGS, *rule.optimizer.settings)
        for first in groups(builder, lanes, width):
            numbers = {name: settings.scalar(INT64(i)) for i, name in enumerate(names)}
            numbers["learning_rate"] = InLanes(rate, lanes, first).load(ZERO, width)
            scalars = {
                name: _in_all_lanes(number, params)
                for name, number in rule.optimizer.scalars(numbers).items()
            }
            scale = narrow(InLanes(clip, lanes, first).load(ZERO, width), element)
            slots = [state.row(INT64(i)) for i in range(rule.slots)]
            arrays = [params, gradient, *slots]
            starts = [builder.gep(array.data, [first]) for array in arrays]
            for low, high in _ranges(builder, ranges):

                def step(
                    state: list[ir.Value],
                    rule: Any = rule,
                    arrays: list[Array] = arrays,
                    scale: Lanes = scale,
                    scalars: dict[str, Lanes] = scalars,
                ) -> list[ir.Value]:
                    places = [Place(a, p, lanes) for a, p in zip(arrays, state, strict=True)]
                    theta, g, *before = (place.load() for place in places)
                    after = rule.optimizer.update(theta, g * scale, before, scalars)
                    places[0].store(after[0])
                    for place, number in zip(places[2:], after[1:], strict=True):
                        # as in `loops.updates`: no denormal numbers
                        tiny = abs(number) < number.choose(2.0**-126, 2.0**-1022)
                        place.store(where(tiny, 0.0, number))
                    return [place.further(1).pointer for place in places]

                distance = builder.mul(low, lanes)
                begin = [builder.gep(start, [distance]) for start in starts]
                loop(builder, builder.sub(high, low), begin, step)


def _in_all_lanes(number: Lanes, model: Array) -> Lanes:
    """A number of float64, of all members or of each, for a group of members."""
    if isinstance(number.value.type, ir.VectorType):
        return narrow(number, model.element)
    return everywhere(number, model)


def _ranges(builder: ir.IRBuilder, ranges: Array) -> Any:
    for k in counted(builder, ranges.shape[0]):
        row = ranges.row(k)
        yield builder.load(row.at(ZERO)), builder.load(row.at(ONE))


@routine(clip_norm=types.float64, lanes=types.int64)
def lane_clipping(
    builder: ir.IRBuilder,
    gradient: Array,
    ranges: Array,
    clip: Array,
    clip_norm: ir.Value,
    lanes: ir.Value,
) -> None:
    """clip (lanes,) ← what each member's gradient is multiplied by, to have this norm at most."""
    width = lane_count(gradient.element)
    limit = Lanes(builder, splat(builder, clip_norm, width))
    for first in groups(builder, lanes, width):
        g, out = InLanes(gradient, lanes, first), InLanes(clip, lanes, first)
        out.store(limit.like(0.0), ZERO)
        for low, high in _ranges(builder, ranges):

            def add(
                i: ir.Value, sums: list[Lanes], g: InLanes = g, low: ir.Value = low
            ) -> list[Lanes]:
                number = wide(g.load(builder.add(low, i)))
                return [sums[0] + number * number]

            sums = [out.load(ZERO, width)]
            (total,) = repeated(builder, builder.sub(high, low), sums, add)
            out.store(total, ZERO)
        scale = limit / (sqrt(out.load(ZERO, width)) + 1e-6)
        out.store(where(scale < 1.0, scale, 1.0), ZERO)


@routine(types.int64, fresh=types.int64, lanes=types.int64)
def lane_batch_ended(
    builder: ir.IRBuilder,
    totals: Array,
    scale: Array,
    counts: Array,
    epoch_loss: Array,
    epoch_weight: Array,
    fresh: ir.Value,
    lanes: ir.Value,
) -> ir.Value:
    """epoch_loss, epoch_weight ← with one more batch, which counts `counts`; totals ← its loss.

    All are (lanes,). The batch is the first of its epoch if `fresh`. Returns whether a loss is not
    finite.
    """
    nothing = Lanes(builder, ir.Constant(ir.VectorType(DOUBLE, WIDE), None))
    first_batch = Mask(builder, builder.icmp_signed("!=", fresh, ZERO))
    found = _Any(builder)
    for first in groups(builder, lanes, WIDE):
        total, factor, count, loss, weight = (
            InLanes(array, lanes, first)
            for array in (totals, scale, counts, epoch_loss, epoch_weight)
        )
        value = total.load(ZERO) * factor.load(ZERO)
        total.store(value, ZERO)
        found.note(nothing.like(math.inf), abs(value))
        together = where(first_batch, nothing, weight.load(ZERO)) + count.load(ZERO)
        weight.store(together, ZERO)
        before = where(first_batch, nothing, loss.load(ZERO))
        loss.store(before + count.load(ZERO) / together * (value - before), ZERO)
    return found.result()


@routine(types.int64, tol=types.float64, lanes=types.int64)
def lane_settled(
    builder: ir.IRBuilder, loss: Array, before: Array, tol: ir.Value, lanes: ir.Value
) -> ir.Value:
    """Whether the loss of a member differs from the one before by `tol` at most."""
    found = _Any(builder)
    bound = Lanes(builder, splat(builder, tol, WIDE))
    for first in groups(builder, lanes, WIDE):
        one, other = (InLanes(array, lanes, first).load(ZERO) for array in (loss, before))
        found.note(abs(one - other), bound)
    return found.result()


class _Any:
    """Whether a comparison did not hold somewhere: for NaN none does."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        from numba.core import cgutils

        self._builder = builder
        self._place = cgutils.alloca_once_value(builder, INT64(0))

    def note(self, larger: Lanes, smaller: Lanes) -> None:
        """Take note of a comparison, `larger` > `smaller`, that ought to hold in every lane."""
        builder = self._builder
        holds: Mask = larger > smaller
        bits = builder.bitcast(holds.value, ir.IntType(WIDE))
        failed = builder.icmp_unsigned("!=", bits, ir.IntType(WIDE)(2**WIDE - 1))
        so_far = builder.load(self._place)
        builder.store(builder.or_(so_far, builder.zext(failed, INT64)), self._place)

    def result(self) -> ir.Value:
        """1 or 0."""
        return self._builder.load(self._place)


@routine(numbers=types.int64, lanes=types.int64, epoch=types.float64)
def lane_keep_best(
    builder: ir.IRBuilder,
    monitored: Array,
    best_loss: Array,
    best_epoch: Array,
    params: Array,
    best: Array,
    epoch: ir.Value,
    numbers: ir.Value,
    lanes: ir.Value,
) -> None:
    """best_loss, best_epoch, best ← those of members whose monitored loss is the lowest so far."""
    element = params.element
    width = lane_count(element)
    now = Lanes(builder, splat(builder, epoch, width))
    for first in groups(builder, lanes, width):
        loss, lowest, since = (
            InLanes(array, lanes, first) for array in (monitored, best_loss, best_epoch)
        )
        new, old = loss.load(ZERO, width), lowest.load(ZERO, width)
        improved = new < old
        lowest.store(where(improved, new, old), ZERO)
        since.store(where(improved, now, since.load(ZERO, width)), ZERO)
        theta, kept = InLanes(params, lanes, first), InLanes(best, lanes, first)
        for p in counted(builder, numbers):
            kept.store(where(improved, theta.load(p), kept.load(p)), p)
