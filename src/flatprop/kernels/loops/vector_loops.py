"""Loops that take arrays a register at a time: what the intrinsics are written with.

Arrays are contiguous, of one dtype and, in one loop, equally long. The last register of an
array may be partly outside of the array. It is computed in full all the same, so that every
element is computed by the same instructions, wherever it stands.
"""

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import NamedTuple, TypeVar

from llvmlite import ir
from numba.core import cgutils

from flatprop.kernels.loops.masks import LaneMask, MaskedMoves, halves, splat
from flatprop.numbers.lanes import Lanes, Mask, lane_count
from flatprop.numbers.numbers import where

INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
DOUBLE = ir.DoubleType()


class Array(NamedTuple):
    """A contiguous array as LLVM sees it."""

    builder: ir.IRBuilder
    element: ir.Type
    data: ir.Value
    count: ir.Value
    """How many elements there are."""
    shape: tuple[ir.Value, ...]
    masks: MaskedMoves
    """What this processor moves under a mask at little cost."""

    def at(self, index: ir.Value) -> ir.Value:
        """A pointer to one element, counted over the whole array."""
        return self.builder.gep(self.data, [index], inbounds=True)

    def part(self, start: ir.Value, count: ir.Value) -> "Array":
        """`count` elements from `start` on."""
        return self._replace(data=self.at(start), count=count, shape=(count,))

    def row(self, i: ir.Value) -> "Array":
        """One row of a matrix."""
        columns = self.shape[1]
        return self.part(self.builder.mul(i, columns), columns)

    def scalar(self, index: ir.Value) -> Lanes:
        """One element, as a number."""
        return Lanes(self.builder, self.builder.load(self.at(index)))


class Register:
    """One step of a loop: a register full of elements of each array."""

    def __init__(
        self, builder: ir.IRBuilder, start: ir.Value, mask: LaneMask, values: list[ir.Value]
    ) -> None:
        self.builder = builder
        self.start = start
        self.mask = mask
        self.values = values
        self.stores: dict[int, Lanes] = {}

    def __getitem__(self, place: int) -> Lanes:
        return Lanes(self.builder, self.values[place])

    def store(self, lanes: Lanes, place: int) -> None:
        """Write `lanes` to the array at `place` when the step ends."""
        self.stores[place] = lanes

    def inside(self, lanes: Lanes, otherwise: float = 0.0) -> Lanes:
        """`lanes`, with another number where the array has already ended."""
        return where(Mask(self.builder, self.mask.bits), lanes, otherwise)

    def is_place(self, index: ir.Value) -> Mask:
        """True in the lane that holds element `index`, if this register does."""
        here = self.builder.trunc(self.builder.sub(index, self.start), INT32)
        lanes = self.mask.lanes
        places = ir.Constant(ir.VectorType(INT32, lanes), list(range(lanes)))
        same = self.builder.icmp_signed("==", places, splat(self.builder, here, lanes))
        return Mask(self.builder, same)


def registers(*arrays: Array, written_only: int = 0) -> Iterator[Register]:
    """A loop over equally long arrays; the last `written_only` are not read.

    What is computed stands in the code once, for whole registers and for the last one, which may
    not be full.
    """
    first = arrays[0]
    builder, step = first.builder, INT64(lane_count(first.element))
    vector = ir.VectorType(first.element, lane_count(first.element)).as_pointer()
    with cgutils.for_range_slice(builder, INT64(0), first.count, step, INT64) as (start, _):
        left = builder.sub(first.count, start)
        mask = LaneMask(builder, first.element, left, first.masks)
        pointers = [builder.bitcast(array.at(start), vector) for array in arrays]
        values = mask.load_often_whole(pointers[: len(arrays) - written_only])
        register = Register(builder, start, mask, values)
        yield register
        if register.stores:
            results = [lanes.value for lanes in register.stores.values()]
            mask.store(results, [pointers[place] for place in register.stores])


def rows_of(matrix: Array) -> Iterator[ir.Value]:
    """A loop over the rows of a matrix."""
    with cgutils.for_range(matrix.builder, matrix.shape[0]) as loop:
        yield loop.index


class Fold:
    """What a loop leaves behind of all its elements: their sum, their largest.

    Lanes are combined among themselves at the end, halves first: always in the
    same order.
    """

    def __init__(self, start: Lanes, combine: Callable[[Lanes, Lanes], Lanes]) -> None:
        self.builder = start.builder
        self.combine = combine
        self.place = cgutils.alloca_once(self.builder, start.value.type)
        self.builder.store(start.value, self.place)

    def add(self, lanes: Lanes) -> None:
        """Take one more register in."""
        so_far = Lanes(self.builder, self.builder.load(self.place))
        self.builder.store(self.combine(so_far, lanes).value, self.place)

    def total(self) -> Lanes:
        """All lanes combined into one number."""
        lanes = self.builder.load(self.place)
        while lanes.type.count > 1:
            low, high = halves(self.builder, lanes)
            lanes = self.combine(Lanes(self.builder, low), Lanes(self.builder, high)).value
        return Lanes(self.builder, self.builder.extract_element(lanes, INT32(0)))


def sum_of(model: Array) -> Fold:
    """A sum in float64 over an array like `model`; feed it `wide` registers."""
    vector = ir.VectorType(DOUBLE, lane_count(model.element))
    zero = Lanes(model.builder, ir.Constant(vector, None))
    return Fold(zero, lambda one, other: one + other)


def largest_of(model: Array) -> Fold:
    """The largest element of an array like `model`; NaN is passed over."""
    vector = ir.VectorType(model.element, lane_count(model.element))
    lowest = Lanes(model.builder, ir.Constant(vector, None)).like(-inf)
    return Fold(lowest, lambda one, other: where(other > one, other, one))


def wide(lanes: Lanes) -> Lanes:
    """The same numbers in float64."""
    if lanes.bits == 64:
        return lanes
    kind = lanes.value.type
    double = ir.VectorType(DOUBLE, kind.count) if isinstance(kind, ir.VectorType) else DOUBLE
    return Lanes(lanes.builder, lanes.builder.fpext(lanes.value, double))


Case = TypeVar("Case")


def cases(builder: ir.IRBuilder, code: ir.Value, table: Sequence[Case]) -> Iterator[Case]:
    """A switch: what is written while an entry is yielded runs for its code."""
    done = builder.append_basic_block("done")
    switch = builder.switch(code, done)
    for number, entry in enumerate(table):
        block = builder.append_basic_block(f"case.{number}")
        switch.add_case(INT64(number), block)
        builder.position_at_end(block)
        yield entry
        builder.branch(done)
    builder.position_at_end(done)


def broadcast(number: Lanes, element: ir.Type) -> Lanes:
    """A number, rounded to `element`, in every lane of a register."""
    builder, value = number.builder, number.value
    if number.element != element:
        value = builder.fptrunc(value, element)
    return Lanes(builder, splat(builder, value, lane_count(element)))


def prefetch(builder: ir.IRBuilder, at: ir.Value) -> None:
    """Ask for the line of memory around an address, into the second cache."""
    byte = builder.bitcast(at, ir.IntType(8).as_pointer())
    arguments = [byte, INT32(0), INT32(2), INT32(1)]
    signature = ir.FunctionType(ir.VoidType(), [value.type for value in arguments])
    function = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0")
    builder.call(function, arguments)
