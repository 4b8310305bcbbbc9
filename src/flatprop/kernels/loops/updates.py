"""The optimizers' updates, in place, and what happens to a gradient before them."""

import math
from collections.abc import Iterator

from llvmlite import ir
from numba.core import cgutils, types

from flatprop.formulas.optimizer import RULES, SETTINGS, UpdateRule
from flatprop.kernels.loops.masks import splat
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import (
    INT64,
    Array,
    broadcast,
    cases,
    largest_of,
    registers,
    sum_of,
    wide,
)
from flatprop.numbers.lanes import Lanes, lane_count
from flatprop.numbers.numbers import sqrt, where

ZERO = INT64(0)


@routine(code=types.int64)
def update(
    builder: ir.IRBuilder,
    code: ir.Value,
    settings: Array,
    params: Array,
    gradient: Array,
    state: Array,
) -> None:
    """One update of all params and of the optimizer's state.

    `state` is (slots, parameters); `settings` are float64, `SETTINGS` first, then the optimizer's
    own in their order.
    """
    _update(builder, code, settings, params, gradient, state, ZERO, params.count, ZERO)


@routine(code=types.int64, start=types.int64, stop=types.int64, first=types.int64)
def update_trained(
    builder: ir.IRBuilder,
    code: ir.Value,
    settings: Array,
    params: Array,
    gradient: Array,
    state: Array,
    ranges: Array,
    start: ir.Value,
    stop: ir.Value,
    first: ir.Value,
) -> None:
    """The same of what lies both in start:stop and in one of the ranges, (ranges, 2).

    gradient[0] is that of params[first].
    """
    for low, high in within(ranges, start, stop):
        _update(builder, code, settings, params, gradient, state, low, high, first)


def _update(
    builder: ir.IRBuilder,
    code: ir.Value,
    settings: Array,
    params: Array,
    gradient: Array,
    state: Array,
    start: ir.Value,
    stop: ir.Value,
    first: ir.Value,
) -> None:
    count = builder.sub(stop, start)
    g = gradient.part(builder.sub(start, first), count)
    for rule in cases(builder, code, RULES):
        update_by(builder, rule, settings, params.part(start, count), g, state, start)


def update_by(
    builder: ir.IRBuilder,
    rule: UpdateRule,
    settings: Array,
    theta: Array,
    gradient: Array,
    state: Array,
    start: ir.Value,
    factors: Array | None = None,
) -> None:
    """One update by this rule of θ, which begins at `start` in each row of the state.

    The learning rate of each parameter is multiplied by its factor, if there are any.
    """
    names = (*SETTINGS, *rule.optimizer.settings)
    numbers = {name: settings.scalar(INT64(i)) for i, name in enumerate(names)}
    scalars = {
        name: broadcast(number, theta.element)
        for name, number in rule.optimizer.scalars(numbers).items()
    }
    clip = broadcast(numbers["gradient_scale"], theta.element)
    slots = [state.row(INT64(slot)).part(start, theta.count) for slot in range(rule.slots)]
    more = [] if factors is None else [factors]
    for register in registers(theta, gradient, *slots, *more):
        s = scalars if factors is None else rule.optimizer.scaled(scalars, register[-1])
        before = [register[2 + slot] for slot in range(rule.slots)]
        after = rule.optimizer.update(register[0], register[1] * clip, before, s)
        register.store(after[0], 0)
        for place, lanes in enumerate(after[1:], start=2):
            # A gradient that stays 0, as of a dead relu, lets the state decay
            # into denormal numbers, which processors handle many times slower.
            tiny = abs(lanes) < lanes.choose(2.0**-126, 2.0**-1022)
            register.store(where(tiny, 0.0, lanes), place)


@routine(types.float64, clip_norm=types.float64)
def clipping(
    builder: ir.IRBuilder, gradient: Array, ranges: Array, clip_norm: ir.Value
) -> ir.Value:
    """What a gradient is multiplied by, so that its norm is `clip_norm` at most.

    Only the ranges count. Where the squares overflow, the norm is computed in units of its largest
    part.
    """
    limit = Lanes(builder, clip_norm)
    norm = sqrt(_squares(gradient, ranges, limit.like(1.0)))
    result = cgutils.alloca_once_value(builder, (limit / (norm + 1e-6)).value)
    with builder.if_then(builder.not_((norm < math.inf).value), likely=False):
        largest = largest_of(gradient)
        for low, high in within(ranges, ZERO, gradient.count):
            for register in registers(gradient.part(low, builder.sub(high, low))):
                largest.add(abs(register[0]))
        unit = wide(largest.total())
        norm = sqrt(_squares(gradient, ranges, unit))
        builder.store((limit / unit / norm).value, result)
    scale = Lanes(builder, builder.load(result))
    return where(scale < 1.0, scale, 1.0).value


def _squares(gradient: Array, ranges: Array, unit: Lanes) -> Lanes:
    """Σ (g / unit)² over the ranges."""
    builder, total = gradient.builder, sum_of(gradient)
    for low, high in within(ranges, ZERO, gradient.count):
        for register in registers(gradient.part(low, builder.sub(high, low))):
            number = wide(register[0])
            number = number / Lanes(builder, splat(builder, unit.value, number.value.type.count))
            total.add(number * number)
    return total.total()


def within(ranges: Array, start: ir.Value, stop: ir.Value) -> Iterator[tuple[ir.Value, ir.Value]]:
    """A loop over the ranges, (ranges, 2): what each has in common with start:stop."""
    for low, high, _ in _each_within(ranges, start, stop):
        yield low, high


def _each_within(
    ranges: Array, start: ir.Value, stop: ir.Value
) -> Iterator[tuple[ir.Value, ir.Value, ir.Value]]:
    """The same, and which range it is."""
    builder = ranges.builder
    with cgutils.for_range(builder, ranges.shape[0]) as loop:
        low, high = (builder.load(ranges.row(loop.index).at(INT64(i))) for i in range(2))
        low = builder.select(builder.icmp_signed("<", low, start), start, low)
        high = builder.select(builder.icmp_signed(">", high, stop), stop, high)
        with builder.if_then(builder.icmp_signed("<", low, high)):
            yield low, high, loop.index


@routine(types.float64, strength=types.float64, first=types.int64, last=types.int64)
def penalise(
    builder: ir.IRBuilder,
    strength: ir.Value,
    weights: Array,
    params: Array,
    gradient: Array,
    first: ir.Value,
    last: ir.Value,
) -> ir.Value:
    """½ strength Σ W², W being what lies in the ranges `weights`.

    Its gradient is added to the gradient, between places `first` and `last`.
    """
    factor, total = broadcast(Lanes(builder, strength), params.element), sum_of(params)
    for low, high in within(weights, ZERO, params.count):
        for register in registers(params.part(low, builder.sub(high, low))):
            number = wide(register[0])
            total.add(number * number)
    for low, high in within(weights, first, last):
        count = builder.sub(high, low)
        for register in registers(params.part(low, count), gradient.part(low, count)):
            register.store(register[1] + factor * register[0], 1)
    half = Lanes(builder, strength) * 0.5
    return (half * total.total()).value


@routine(types.float64, first=types.int64, last=types.int64)
def penalise_layers(
    builder: ir.IRBuilder,
    weights: Array,
    strengths: Array,
    params: Array,
    gradient: Array,
    first: ir.Value,
    last: ir.Value,
) -> ir.Value:
    """Σ over layers of l1 Σ |W| + l2 Σ W², with a row (l1, l2) of `strengths` for each W.

    Arguments otherwise as for `penalise`.
    """
    total = sum_of(params)
    for low, high, layer in _each_within(weights, ZERO, params.count):
        l1, l2 = (_everywhere(strengths.row(layer).scalar(INT64(i)), params) for i in (0, 1))
        for register in registers(params.part(low, builder.sub(high, low))):
            number = wide(register[0])
            total.add(l1 * abs(number) + l2 * (number * number))
    for low, high, layer in _each_within(weights, first, last):
        l1, l2 = (strengths.row(layer).scalar(INT64(i)) for i in (0, 1))
        factor, step = broadcast(2.0 * l2, params.element), broadcast(l1, params.element)
        count = builder.sub(high, low)
        for register in registers(params.part(low, count), gradient.part(low, count)):
            W = register[0]
            of_size = where(W > 0.0, step, where(W < 0.0, -step, 0.0))
            register.store(register[1] + factor * W + of_size, 1)
    return total.total().value


def _everywhere(number: Lanes, like: Array) -> Lanes:
    """A float64 in every lane of a register that is `wide`."""
    return Lanes(number.builder, splat(number.builder, number.value, lane_count(like.element)))
