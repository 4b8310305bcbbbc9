"""Arrays of numbers that each stand for a block of members: what the loops over lanes share.

A number of the network is `lanes` contiguous numbers in memory, one for each member of a block.
`lanes` is a multiple of a register, so that no register is only partly inside of a number. A
member's result depends on no other member, nor on its place.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from llvmlite import ir
from numba.core import cgutils

from flatprop.kernels.loops.masks import alignment, splat
from flatprop.kernels.loops.vector_loops import INT64, Array
from flatprop.numbers.lanes import Lanes, lane_count

HEIGHTS = 4, 1
"""How many rows (or inputs) a loop takes at once: each loaded weight serves all of them."""

ZERO, ONE = INT64(0), INT64(1)


def group_size(array: Array) -> int:
    """How many members go through a network together.

    Two registers full of them with AVX-512, so that one computes while the other waits; AVX2 has
    half as many registers, and a vector is two of them already.
    """
    return lane_count(array.element) * (2 if array.masks.stores else 1)


def everywhere(number: Lanes, array: Array) -> Lanes:
    """A number, rounded to the type of the array, for each member of a group."""
    builder, value = number.builder, number.value
    if number.element != array.element:
        value = builder.fptrunc(value, array.element)
    return Lanes(builder, splat(builder, value, group_size(array)))


class InLanes(NamedTuple):
    """An array of numbers of `lanes` lanes each, seen from lane `first` on."""

    array: Array
    lanes: ir.Value
    first: ir.Value

    def _pointer(self, number: ir.Value, count: int) -> ir.Value:
        builder = self.array.builder
        place = builder.add(builder.mul(number, self.lanes), self.first)
        pointer = builder.gep(self.array.data, [place])
        return builder.bitcast(pointer, ir.VectorType(self.array.element, count).as_pointer())

    def from_number(self, start: ir.Value) -> "InLanes":
        """The same array from number `start` on."""
        builder = self.array.builder
        return self._replace(first=builder.add(self.first, builder.mul(start, self.lanes)))

    def load(self, number: ir.Value, count: int = 0) -> Lanes:
        """A register of this number."""
        count = count or lane_count(self.array.element)
        pointer = self._pointer(number, count)
        builder = self.array.builder
        return Lanes(builder, builder.load(pointer, align=alignment(self.array.element)))

    def store(self, lanes: Lanes, number: ir.Value) -> None:
        """Write a register of this number."""
        pointer = self._pointer(number, lanes.value.type.count)
        self.array.builder.store(lanes.value, pointer, align=alignment(self.array.element))


class Place(NamedTuple):
    """Where a number of a register full of members is, and how far it is to the next one."""

    array: Array
    pointer: ir.Value
    step: ir.Value
    alike: bool = False
    """Whether it is one number, the same for all members."""

    def load(self, number: ir.Value | int = 0) -> Lanes:
        """The number that stands so many steps further on."""
        builder, element = self.array.builder, self.array.element
        at, width = self.further(number).pointer, group_size(self.array)
        if self.alike:
            return Lanes(builder, splat(builder, builder.load(at), width))
        at = builder.bitcast(at, ir.VectorType(element, width).as_pointer())
        return Lanes(builder, builder.load(at, align=alignment(element)))

    def store(self, lanes: Lanes, number: ir.Value | int = 0) -> None:
        """Write that number."""
        builder, element = self.array.builder, self.array.element
        vector = ir.VectorType(element, group_size(self.array)).as_pointer()
        at = builder.bitcast(self.further(number).pointer, vector)
        builder.store(lanes.value, at, align=alignment(element))

    def further(self, numbers: ir.Value | int) -> "Place":
        """The place so many steps further on."""
        if isinstance(numbers, int):
            if numbers == 0:
                return self
            numbers = INT64(numbers)
        builder = self.array.builder
        far = builder.gep(self.pointer, [builder.mul(numbers, self.step)])
        return self._replace(pointer=far)

    def at(self, pointer: ir.Value) -> "Place":
        """The same for another pointer."""
        return self._replace(pointer=pointer)


class LaneMatrix(NamedTuple):
    """Rows of numbers of a register full of members.

    | rows | from one to the next | from four to the next four | from column to column |
    | --- | --- | --- | --- |
    | of samples, in lanes | columns · lanes | 4 · columns · lanes | lanes |
    | of samples, the same for all members | columns | 4 · columns | 1 |
    | of what is computed on the way | a register | 4 · columns registers | 4 registers |

    The last is what `tiles` of four rows go through with the fewest instructions.
    """

    first: Place
    """The first number; steps go from column to column."""
    row_step: ir.Value
    four_step: ir.Value

    @classmethod
    def of_samples(
        cls, array: Array, columns: ir.Value, lanes: ir.Value, first: ir.Value, alike: bool
    ) -> "LaneMatrix":
        """Rows of samples, of each member or the same for all."""
        builder = array.builder
        step = ONE if alike else lanes
        pointer = array.data if alike else builder.gep(array.data, [first])
        row = builder.mul(columns, step)
        return cls(Place(array, pointer, step, alike), row, builder.shl(row, INT64(2)))

    @classmethod
    def of_work(cls, array: Array, columns: ir.Value, start: ir.Value) -> "LaneMatrix":
        """Rows of what is computed, from number `start` of the array on."""
        builder, width = array.builder, group_size(array)
        pointer = builder.gep(array.data, [start])
        four = builder.mul(columns, INT64(4 * width))
        return cls(Place(array, pointer, INT64(4 * width)), INT64(width), four)

    def row(self, r: ir.Value) -> Place:
        """The first number of a row."""
        builder = self.first.array.builder
        fours, further = builder.lshr(r, INT64(2)), builder.and_(r, INT64(3))
        distance = builder.add(
            builder.mul(fours, self.four_step), builder.mul(further, self.row_step)
        )
        return self.first.at(builder.gep(self.first.pointer, [distance]))

    def tile(self, r: ir.Value, height: int) -> "TilePlace":
        """The first numbers of `height` rows from r on, which are in one tile."""
        return TilePlace(self.row(r), self.row_step, height)


class TilePlace(NamedTuple):
    """A number of each row of a tile."""

    place: Place
    row_step: ir.Value
    height: int

    def _rows(self) -> list[Place]:
        builder, pointer = self.place.array.builder, self.place.pointer
        far = [builder.mul(INT64(k), self.row_step) for k in range(self.height)]
        return [self.place.at(builder.gep(pointer, [distance])) for distance in far]

    def load(self) -> list[Lanes]:
        """The number of each row."""
        return [place.load() for place in self._rows()]

    def store(self, numbers: Sequence[Lanes]) -> None:
        """Write them."""
        for place, number in zip(self._rows(), numbers, strict=True):
            place.store(number)

    def at(self, pointer: ir.Value) -> "TilePlace":
        """The same from another pointer on."""
        return self._replace(place=self.place.at(pointer))

    def next(self) -> ir.Value:
        """The pointer to the column after this one."""
        return self.place.further(1).pointer


def groups(builder: ir.IRBuilder, lanes: ir.Value, step: int) -> Iterator[ir.Value]:
    """A loop over the lanes, `step` at a time: the first lane of each step."""
    with cgutils.for_range_slice(builder, ZERO, lanes, INT64(step), INT64) as (first, _):
        yield first


def counted(builder: ir.IRBuilder, count: ir.Value) -> Iterator[ir.Value]:
    """A loop from 0 to `count`."""
    with cgutils.for_range(builder, count) as loop:
        yield loop.index


def tiles(builder: ir.IRBuilder, rows: ir.Value) -> Iterator[tuple[ir.Value, int]]:
    """Loops that go through some rows a tile at a time: its first row, and how many it has."""
    start = ZERO
    for height in HEIGHTS:
        left = builder.sub(rows, start)
        stop = builder.add(start, builder.and_(left, INT64(-height)))
        with cgutils.for_range_slice(builder, start, stop, INT64(height), INT64) as (r, _):
            yield r, height
        start = stop


def loop(
    builder: ir.IRBuilder,
    count: ir.Value,
    values: Sequence[ir.Value],
    step: Callable[[list[ir.Value]], Sequence[ir.Value]],
) -> list[ir.Value]:
    """What `values` are after values = step(values), `count` times: pointers and registers."""
    before = builder.block
    head, body, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(INT64)
    index.add_incoming(count, before)
    phis = [builder.phi(value.type) for value in values]
    for phi, value in zip(phis, values, strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed(">", index, ZERO), body, done)
    builder.position_at_end(body)
    after = step(list(phis))
    index.add_incoming(builder.sub(index, ONE), builder.block)
    for phi, value in zip(phis, after, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(done)
    return list(phis)


def repeated(
    builder: ir.IRBuilder,
    count: ir.Value,
    values: Sequence[Lanes],
    step: Callable[[ir.Value, list[Lanes]], Sequence[Lanes]],
) -> list[Lanes]:
    """What `values` are after values = step(i, values) for i from 0 to `count`, in registers."""

    def one(state: list[ir.Value]) -> list[ir.Value]:
        after = step(state[0], [Lanes(builder, value) for value in state[1:]])
        return [builder.add(state[0], ONE), *(lanes.value for lanes in after)]

    start = [ZERO, *(lanes.value for lanes in values)]
    return [Lanes(builder, value) for value in loop(builder, count, start, one)[1:]]
