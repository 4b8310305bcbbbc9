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
    masks: bool
    """Whether this processor loads and stores under a mask at no cost (AVX-512)."""

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

    def __init__(self, arrays: Sequence[Array], start: ir.Value, pointers: list[ir.Value]) -> None:
        self.builder = arrays[0].builder
        self.start = start
        self.pointers = pointers
        self.lanes = lane_count(arrays[0].element)
        self.left = self.builder.sub(arrays[0].count, start)
        self.alignment = _alignment(arrays[0].element)
        self.values: dict[int, ir.Value] = {}
        self.stores: dict[int, Lanes] = {}

    def __getitem__(self, place: int) -> Lanes:
        if place not in self.values:
            pointer = self.pointers[place]
            self.values[place] = self.builder.load(pointer, align=self.alignment)
        return Lanes(self.builder, self.values[place])

    def store(self, lanes: Lanes, place: int) -> None:
        """Write `lanes` to the array at `place` when the step ends."""
        self.stores[place] = lanes

    def inside(self, lanes: Lanes, otherwise: float = 0.0) -> Lanes:
        """`lanes`, with another number where the array has already ended."""
        return where(
            Mask(self.builder, mask_of(self.builder, self.left, self.lanes)), lanes, otherwise
        )

    def is_place(self, index: ir.Value) -> Mask:
        """True in the lane that holds element `index`, if this register does."""
        here = self.builder.trunc(self.builder.sub(index, self.start), INT32)
        places = ir.Constant(ir.VectorType(INT32, self.lanes), list(range(self.lanes)))
        return Mask(
            self.builder,
            self.builder.icmp_signed("==", places, splat(self.builder, here, self.lanes)),
        )

    def end(self) -> None:
        """Carry out the stores."""
        for place, lanes in self.stores.items():
            self.builder.store(lanes.value, self.pointers[place], align=self.alignment)


def registers(*arrays: Array, written_only: int = 0) -> Iterator[Register]:
    """A loop over equally long arrays; the last `written_only` are not read.

    Where the last register is not full, a buffer stands for it during the loop. So the loop
    meets whole registers only, and needs no mask.
    """
    first = arrays[0]
    builder, lanes = first.builder, lane_count(first.element)
    vector = ir.VectorType(first.element, lanes)
    whole = builder.and_(first.count, INT64(-lanes))
    rest = builder.sub(first.count, whole)
    mask = mask_of(builder, rest, lanes)
    partial = builder.icmp_signed(">", rest, INT64(0))
    buffers = [cgutils.alloca_once(builder, vector) for _ in arrays]
    ends = []
    for array, buffer in zip(arrays, buffers, strict=True):
        # where nothing is left over, the buffer stands for itself
        end = builder.bitcast(array.at(whole), vector.as_pointer())
        ends.append(builder.select(partial, end, buffer))
    for end, buffer in list(zip(ends, buffers, strict=True))[: len(arrays) - written_only]:
        builder.store(masked_load(builder, end, mask), buffer)

    step = INT64(lanes)
    with cgutils.for_range_slice(builder, INT64(0), first.count, step, INT64) as (start, _):
        full = builder.icmp_signed("<", start, whole)
        pointers = []
        for array, buffer in zip(arrays, buffers, strict=True):
            here = builder.bitcast(array.at(start), vector.as_pointer())
            pointers.append(builder.select(full, here, buffer))
        register = Register(arrays, start, pointers)
        yield register
        register.end()

    for place in register.stores:
        masked_store(builder, builder.load(buffers[place]), ends[place], mask)


def mask_of(builder: ir.IRBuilder, count: ir.Value, lanes: int) -> ir.Value:
    """A mask of the first `count` lanes: none below 1, all from `lanes` on."""
    for bound, sign in ((INT64(lanes), ">"), (INT64(0), "<")):
        count = builder.select(builder.icmp_signed(sign, count, bound), bound, count)
    # 2^n - 1, whose bits are the lanes: the cheapest way to a mask of AVX-512
    power = builder.shl(INT32(1), builder.trunc(count, INT32))
    bits = builder.trunc(builder.sub(power, INT32(1)), ir.IntType(lanes))
    return builder.bitcast(bits, ir.VectorType(ir.IntType(1), lanes))


def masked_load(builder: ir.IRBuilder, pointer: ir.Value, mask: ir.Value) -> ir.Value:
    """A vector from memory; lanes outside of the mask are not read, but 0."""
    vector = pointer.type.pointee
    nothing = ir.Constant(vector, None)
    return _masked(builder, "load", vector, vector, [pointer], [mask, nothing])


def masked_store(
    builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value, mask: ir.Value
) -> None:
    """A vector to memory; lanes outside of the mask are left alone."""
    _masked(builder, "store", value.type, ir.VoidType(), [value, pointer], [mask])


def _masked(
    builder: ir.IRBuilder,
    name: str,
    vector: ir.VectorType,
    result: ir.Type,
    first: list[ir.Value],
    last: list[ir.Value],
) -> ir.Value:
    arguments = [*first, INT32(_alignment(vector.element)), *last]
    bits = 8 * _alignment(vector.element)
    symbol = f"llvm.masked.{name}.v{vector.count}f{bits}.p0"
    signature = ir.FunctionType(result, [value.type for value in arguments])
    function = cgutils.get_or_insert_function(builder.module, signature, symbol)
    return builder.call(function, arguments)


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
            half = lanes.type.count // 2
            low, high = (
                self.builder.shuffle_vector(
                    lanes, lanes, ir.Constant(ir.VectorType(INT32, half), list(places))
                )
                for places in (range(half), range(half, 2 * half))
            )
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


def splat(builder: ir.IRBuilder, scalar: ir.Value, count: int) -> ir.Value:
    """A vector with `scalar` in every lane."""
    vector = ir.VectorType(scalar.type, count)
    first = builder.insert_element(ir.Constant(vector, None), scalar, INT32(0))
    nowhere = ir.Constant(ir.VectorType(INT32, count), None)
    return builder.shuffle_vector(first, first, nowhere)


def broadcast(number: Lanes, element: ir.Type) -> Lanes:
    """A number, rounded to `element`, in every lane of a register."""
    builder, value = number.builder, number.value
    if number.element != element:
        value = builder.fptrunc(value, element)
    return Lanes(builder, splat(builder, value, lane_count(element)))


def _alignment(element: ir.Type) -> int:
    return 4 if isinstance(element, ir.FloatType) else 8
