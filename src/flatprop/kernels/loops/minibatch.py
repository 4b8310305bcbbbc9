"""Which samples make a batch: their order, their rows, their weights."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import (
    DOUBLE,
    INT64,
    Array,
    broadcast,
    prefetch,
    registers,
    rows_of,
    wide,
)
from flatprop.numbers.lanes import Lanes

ZERO, ONE = INT64(0), INT64(1)


@routine(seed=types.uint64, epoch=types.int64)
def shuffle(builder: ir.IRBuilder, seed: ir.Value, epoch: ir.Value, order: Array) -> None:
    """Overwrite `order` with a permutation that seed and epoch decide.

    By Fisher and Yates, with draws of SplitMix64 (Steele et al. 2014) by their number.
    """
    with cgutils.for_range(builder, order.count) as loop:
        builder.store(loop.index, order.at(loop.index))
    inner = _mixed(builder, builder.add(epoch, ONE))
    stream = _mixed(builder, builder.xor(seed, inner))
    with cgutils.for_range(builder, builder.sub(order.count, ONE)) as loop:
        i = builder.sub(builder.sub(order.count, ONE), loop.index)
        # the high half of a draw times (i + 1): uniform below i + 1 to 2^-32
        draw = builder.lshr(_mixed(builder, builder.add(stream, i)), INT64(32))
        j = builder.lshr(builder.mul(draw, builder.add(i, ONE)), INT64(32))
        one, other = builder.load(order.at(i)), builder.load(order.at(j))
        builder.store(other, order.at(i))
        builder.store(one, order.at(j))


def _mixed(builder: ir.IRBuilder, counter: ir.Value) -> ir.Value:
    """64 random-looking bits for a counter."""
    z = builder.mul(counter, INT64(0x9E3779B97F4A7C15))
    for distance, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = builder.mul(builder.xor(z, builder.lshr(z, INT64(distance))), INT64(factor))
    return builder.xor(z, builder.lshr(z, INT64(31)))


@routine(start=types.int64)
def gather(
    builder: ir.IRBuilder, source: Array, order: Array, start: ir.Value, out: Array
) -> None:
    """out ← rows order[start], order[start + 1], ... of `source`, which is flat.

    While a row is copied, the next one is asked for.
    """
    columns, last = out.shape[1], builder.sub(order.count, ONE)

    def row(place: ir.Value) -> Array:
        return source.part(builder.mul(builder.load(order.at(place)), columns), columns)

    for i in rows_of(out):
        place = builder.add(start, i)
        before = builder.icmp_signed("<", place, last)
        following = row(builder.add(place, builder.zext(before, INT64)))
        for register in registers(row(place), out.row(i), written_only=1):
            prefetch(builder, following.at(register.start))
            register.store(register[0], 1)


@routine(start=types.int64)
def weights_per_output(
    builder: ir.IRBuilder, weight: Array, order: Any, start: ir.Value, out: Array
) -> None:
    """out[i] ← the weight of sample start + i, in the order of `order` unless it is empty.

    Where every sample counts alike `weight` is empty, and `out` is left alone. `order`
    may be None.
    """
    with builder.if_then(builder.icmp_signed(">", weight.count, ZERO)):
        for i in rows_of(out):
            w = broadcast(_weight(weight, order, builder.add(start, i)), out.element)
            for register in registers(out.row(i), written_only=1):
                register.store(w, 0)


@routine(types.float64, start=types.int64, stop=types.int64)
def sum_of_weights(
    builder: ir.IRBuilder, weight: Array, order: Array, start: ir.Value, stop: ir.Value
) -> ir.Value:
    """The weights of samples start to stop added up in float64; 1 each if `weight` is empty."""
    count = builder.sitofp(builder.sub(stop, start), DOUBLE)
    alike = builder.icmp_signed("==", weight.count, ZERO)
    total = cgutils.alloca_once_value(builder, count)
    with builder.if_then(builder.not_(alike)):
        builder.store(ir.Constant(DOUBLE, 0.0), total)
        with cgutils.for_range_slice(builder, start, stop, ONE, INT64) as (place, _):
            w = wide(_weight(weight, order, place))
            builder.store(builder.fadd(builder.load(total), w.value), total)
    return builder.load(total)


def _weight(weight: Array, order: Any, place: ir.Value) -> Lanes:
    builder = weight.builder
    if not isinstance(order, Array):
        return weight.scalar(place)
    chosen = cgutils.alloca_once(builder, INT64)
    builder.store(place, chosen)
    with builder.if_then(builder.icmp_signed(">", order.count, ZERO)):
        builder.store(builder.load(order.at(place)), chosen)
    return weight.scalar(builder.load(chosen))
