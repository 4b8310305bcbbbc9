"""Loops that take arrays a register at a time: what the intrinsics are written with.

Arrays are contiguous, of one dtype and, in one loop, equally long. The last
register of an array may be partly outside; its lanes are masked, so every
element is computed by the same instructions, wherever it stands.
"""

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Any, NamedTuple, TypeVar

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError

from flatprop.formulas.lanes import Lanes, Mask, lane_count, where

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

    def __init__(self, arrays: Sequence[Array], start: ir.Value, written_only: int) -> None:
        self.arrays = arrays
        self.builder = arrays[0].builder
        self.start = start
        element = arrays[0].element
        self.lanes = lane_count(element)
        self.vector = ir.VectorType(element, self.lanes)
        left = self.builder.sub(arrays[0].count, start)
        self.full = self.builder.icmp_signed(">=", left, INT64(self.lanes))
        self.mask = self._mask(left)
        self.values = self._load(arrays[: len(arrays) - written_only])
        self.stores: list[tuple[Lanes, int]] = []

    def __getitem__(self, place: int) -> Lanes:
        return Lanes(self.builder, self.values[place])

    def store(self, lanes: Lanes, place: int) -> None:
        """Write `lanes` to the array at `place` when the step ends."""
        self.stores.append((lanes, place))

    def inside(self, lanes: Lanes, otherwise: float = 0.0) -> Lanes:
        """`lanes`, with another number where the array has already ended."""
        return where(Mask(self.builder, self.mask), lanes, otherwise)

    def is_place(self, index: ir.Value) -> Mask:
        """True in the lane that holds element `index`, if this register does."""
        here = self.builder.trunc(self.builder.sub(index, self.start), INT32)
        return Mask(
            self.builder,
            self.builder.icmp_signed("==", self._places, splat(self.builder, here, self.lanes)),
        )

    @property
    def _places(self) -> ir.Constant:
        return ir.Constant(ir.VectorType(INT32, self.lanes), list(range(self.lanes)))

    def _mask(self, left: ir.Value) -> ir.Value:
        # 2^n - 1, whose bits are the lanes: the cheapest way to a mask of AVX-512
        most = self.builder.select(self.full, INT64(self.lanes), left)
        power = self.builder.shl(INT32(1), self.builder.trunc(most, INT32))
        bits = self.builder.trunc(self.builder.sub(power, INT32(1)), ir.IntType(self.lanes))
        return self.builder.bitcast(bits, ir.VectorType(ir.IntType(1), self.lanes))

    def _pointer(self, array: Array) -> ir.Value:
        return self.builder.bitcast(array.at(self.start), self.vector.as_pointer())

    def _load(self, arrays: Sequence[Array]) -> list[ir.Value]:
        nothing = ir.Constant(self.vector, None)

        def under_mask() -> list[ir.Value]:
            pointers = [self._pointer(array) for array in arrays]
            return [self._masked("load", self.vector, [at], [nothing]) for at in pointers]

        if self.arrays[0].masks:
            return under_mask()
        builder = self.builder
        alignment = _alignment(arrays[0].element)
        with builder.if_else(self.full) as (whole, part):
            with whole:
                complete = [builder.load(self._pointer(a), align=alignment) for a in arrays]
                from_whole = builder.block
            with part:
                partial = under_mask()
                from_part = builder.block
        merged = []
        for one, other in zip(complete, partial, strict=True):
            value = builder.phi(self.vector)
            value.add_incoming(one, from_whole)
            value.add_incoming(other, from_part)
            merged.append(value)
        return merged

    def end(self) -> None:
        """Carry out the stores."""

        def under_mask() -> None:
            for lanes, place in self.stores:
                pointer = self._pointer(self.arrays[place])
                self._masked("store", ir.VoidType(), [lanes.value, pointer], [])

        builder = self.builder
        alignment = _alignment(self.arrays[0].element)
        if self.arrays[0].masks:
            under_mask()
            return
        with builder.if_else(self.full) as (whole, part):
            with whole:
                for lanes, place in self.stores:
                    pointer = self._pointer(self.arrays[place])
                    builder.store(lanes.value, pointer, align=alignment)
            with part:
                under_mask()

    def _masked(
        self, name: str, result: ir.Type, first: list[ir.Value], last: list[ir.Value]
    ) -> ir.Value:
        builder = self.builder
        align = ir.Constant(INT32, _alignment(self.arrays[0].element))
        arguments = [*first, align, self.mask, *last]
        kind = "f32" if isinstance(self.arrays[0].element, ir.FloatType) else "f64"
        symbol = f"llvm.masked.{name}.v{self.lanes}{kind}.p0"
        signature = ir.FunctionType(result, [value.type for value in arguments])
        function = cgutils.get_or_insert_function(builder.module, signature, symbol)
        return builder.call(function, arguments)


def registers(*arrays: Array, written_only: int = 0) -> Iterator[Register]:
    """A loop over equally long arrays; the last `written_only` are not read."""
    builder = arrays[0].builder
    step = INT64(lane_count(arrays[0].element))
    with cgutils.for_range_slice(builder, INT64(0), arrays[0].count, step, INT64) as (start, _):
        register = Register(arrays, start, written_only)
        yield register
        register.end()


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


def compiled(emit: Callable[..., Any], result: types.Type, *arguments: types.Type) -> Any:
    """The signature and code generator that an intrinsic returns.

    `emit` gets a builder and the arguments, arrays as `Array`; what it returns,
    if anything, is the result.
    """
    for kind in arguments:
        if isinstance(kind, types.Array) and kind.layout != "C":
            raise TypingError(f"expected a C-contiguous array, got {kind}")

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        operands = [
            _as_array(context, builder, kind, value) if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, values, strict=True)
        ]
        outcome = emit(builder, *operands)
        return context.get_dummy_value() if outcome is None else outcome

    return result(*arguments), codegen


def _as_array(context: Any, builder: ir.IRBuilder, kind: Any, value: ir.Value) -> Array:
    array = context.make_array(kind)(context, builder, value)
    shape = tuple(cgutils.unpack_tuple(builder, array.shape, kind.ndim))
    element = context.get_data_type(kind.dtype)
    _, _, features = context.codegen().magic_tuple()
    return Array(builder, element, array.data, array.nitems, shape, "+avx512f" in features)
