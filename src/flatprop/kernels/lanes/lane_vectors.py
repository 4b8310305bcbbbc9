"""Arrays of numbers that each stand for a block of members: what the loops over lanes share.

A number of the network is `lanes` contiguous numbers in memory, one for each member of a block.
`lanes` is a multiple of `SPAN` registers, so that no register is only partly inside of a number. A
member's result depends on no other member, nor on its place.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from llvmlite import ir
from numba.core import cgutils

from flatprop.kernels.loops.masks import alignment, splat
from flatprop.kernels.loops.vector_loops import INT64, Array
from flatprop.numbers.lanes import SPAN, Lanes, lane_count

HEIGHTS = 4, 2, 1
"""How many rows (or inputs) a loop takes at once: each loaded weight serves all of them."""

ZERO, ONE = INT64(0), INT64(1)


def at_once(array: Array) -> int:
    """How many registers a loop takes side by side; AVX2 has half as many, half as wide."""
    return SPAN if array.masks.stores else 1


class InLanes(NamedTuple):
    """An array of numbers of `lanes` lanes each, seen from lane `first` on."""

    array: Array
    lanes: ir.Value
    first: ir.Value

    def _pointer(self, number: ir.Value, register: int, count: int) -> ir.Value:
        builder = self.array.builder
        place = builder.add(builder.mul(number, self.lanes), self.first)
        pointer = builder.gep(self.array.data, [builder.add(place, INT64(register * count))])
        return builder.bitcast(pointer, ir.VectorType(self.array.element, count).as_pointer())

    def load(self, number: ir.Value, register: int = 0, count: int = 0) -> Lanes:
        """A register of this number, `register` registers further on."""
        count = count or lane_count(self.array.element)
        pointer = self._pointer(number, register, count)
        builder = self.array.builder
        return Lanes(builder, builder.load(pointer, align=alignment(self.array.element)))

    def store(self, lanes: Lanes, number: ir.Value, register: int = 0) -> None:
        """Write a register of this number."""
        pointer = self._pointer(number, register, lanes.value.type.count)
        self.array.builder.store(lanes.value, pointer, align=alignment(self.array.element))


class Everywhere(NamedTuple):
    """An array whose numbers are the same for all members of a block."""

    array: Array

    def load(self, number: ir.Value, register: int = 0) -> Lanes:
        """The number in all lanes of a register."""
        builder, element = self.array.builder, self.array.element
        value = builder.load(builder.gep(self.array.data, [number]))
        return Lanes(builder, splat(builder, value, lane_count(element)))


def groups(builder: ir.IRBuilder, lanes: ir.Value, step: int) -> Iterator[ir.Value]:
    """A loop over the lanes, `step` at a time: the first lane of each step."""
    with cgutils.for_range_slice(builder, ZERO, lanes, INT64(step), INT64) as (first, _):
        yield first


def counted(builder: ir.IRBuilder, count: ir.Value) -> Iterator[ir.Value]:
    """A loop from 0 to `count`."""
    with cgutils.for_range(builder, count) as loop:
        yield loop.index


def tiles(builder: ir.IRBuilder, count: ir.Value) -> Iterator[tuple[list[ir.Value], int]]:
    """Loops that go through 0 to `count` some at a time: the numbers, and how many they are."""
    start = ZERO
    for height in HEIGHTS:
        left = builder.sub(count, start)
        stop = builder.add(start, builder.and_(left, INT64(-height)))
        with cgutils.for_range_slice(builder, start, stop, INT64(height), INT64) as (i, _):
            yield [builder.add(i, INT64(k)) for k in range(height)], height
        start = stop


def repeated(
    builder: ir.IRBuilder,
    count: ir.Value,
    values: Sequence[Lanes],
    step: Callable[[ir.Value, list[Lanes]], Sequence[Lanes]],
) -> list[Lanes]:
    """What `values` are after values = step(i, values) for i from 0 to `count`, in registers."""
    before = builder.block
    head, body, done = (
        builder.append_basic_block(name) for name in ("repeated", "repeated.body", "repeated.done")
    )
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(INT64)
    index.add_incoming(ZERO, before)
    phis = []
    for value in values:
        phi = builder.phi(value.value.type)
        phi.add_incoming(value.value, before)
        phis.append(phi)
    builder.cbranch(builder.icmp_signed("<", index, count), body, done)
    builder.position_at_end(body)
    after = step(index, [Lanes(builder, phi) for phi in phis])
    index.add_incoming(builder.add(index, ONE), builder.block)
    for phi, value in zip(phis, after, strict=True):
        phi.add_incoming(value.value, builder.block)
    builder.branch(head)
    builder.position_at_end(done)
    return [Lanes(builder, phi) for phi in phis]
