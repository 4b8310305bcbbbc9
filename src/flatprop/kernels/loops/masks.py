"""Vectors that are only partly inside of an array: how they are loaded and stored."""

from collections.abc import Sequence
from typing import NamedTuple

from llvmlite import ir
from numba.core import cgutils

from flatprop.numbers.lanes import lane_count

INT32 = ir.IntType(32)
INT64 = ir.IntType(64)


class MaskedMoves(NamedTuple):
    """What the processor moves under a mask at little cost: see `LaneMask`."""

    loads: bool
    stores: bool

    @classmethod
    def of(cls, features: str) -> "MaskedMoves":
        """Those of a processor with these features, as LLVM names them."""
        names = features.split(",")
        stores = "+avx512f" in names
        return cls(stores or "+avx" in names, stores)

    def __bool__(self) -> bool:
        """Whether both are (AVX-512)."""
        return self.loads and self.stores


class LaneMask:
    """The first `count` lanes of a vector: none below 1, all from `lanes` on.

    How a vector moves between memory and a register depends on the processor:

    | processor | load | store |
    | --- | --- | --- |
    | AVX-512 | one instruction | one instruction |
    | AVX | an instruction for each half | in parts, for AMD's instructions take 5 ns each |
    | others, as NEON | in parts | in parts |

    Parts are a half, a quarter, ... a single number: each is moved where `count` has it as a power
    of two. A branch for each part is what that costs, and a loop meets the same count again and
    again.

    Parameters
    ----------
    builder, element
        Where the instructions go, and the type of a lane.
    count
        Any number, in 64 bits.
    moves
        What this processor does at little cost.
    """

    def __init__(
        self, builder: ir.IRBuilder, element: ir.Type, count: ir.Value, moves: MaskedMoves
    ) -> None:
        self.builder = builder
        self.element = element
        self.count = count
        self.moves = moves
        self._bits: dict[ir.Block, ir.Value] = {}

    # What follows is computed where it is asked for: where all lanes are inside, nobody asks.

    @property
    def lanes(self) -> int:
        """How many lanes there are, inside of the mask or outside."""
        return lane_count(self.element)

    @property
    def whole(self) -> ir.Value:
        """Whether all lanes are inside."""
        return self.builder.icmp_signed(">=", self.count, INT64(self.lanes))

    @property
    def inside(self) -> ir.Value:
        """How many lanes are inside, in 64 bits."""
        builder, count = self.builder, self.count
        for bound, sign in ((INT64(self.lanes), ">"), (INT64(0), "<")):
            count = builder.select(builder.icmp_signed(sign, count, bound), bound, count)
        return count

    @property
    def bits(self) -> ir.Value:
        """A truth value for each lane; computed once in a block of instructions."""
        here = self.builder.block
        if here not in self._bits:
            self._bits[here] = self._computed_bits()
        return self._bits[here]

    def _computed_bits(self) -> ir.Value:
        builder, lanes, count = self.builder, self.lanes, self.inside
        if self.moves.stores:
            # 2^n - 1, whose bits are the lanes: the cheapest way to a mask of AVX-512
            power = builder.shl(INT32(1), builder.trunc(count, INT32))
            bits = builder.trunc(builder.sub(power, INT32(1)), ir.IntType(lanes))
            return builder.bitcast(bits, ir.VectorType(ir.IntType(1), lanes))
        # Truth values of the width of the numbers are what other processors compute with.
        integer = ir.IntType(8 * alignment(self.element))
        places = ir.Constant(ir.VectorType(integer, lanes), list(range(lanes)))
        number = builder.trunc(count, integer) if integer != INT64 else count
        return builder.icmp_signed("<", places, splat(builder, number, lanes))

    def only_if(self, condition: ir.Value) -> "LaneMask":
        """The same mask where the condition holds, an empty one elsewhere."""
        count = self.builder.select(condition, self.count, INT64(0))
        return LaneMask(self.builder, self.element, count, self.moves)

    def load(self, pointers: Sequence[ir.Value]) -> list[ir.Value]:
        """Vectors from memory, one from each place; lanes outside are not read, but 0."""
        if self.moves.loads:
            return [self._masked_load(place) for place in pointers]
        return self.load_often_whole(pointers)

    def load_often_whole(self, pointers: Sequence[ir.Value]) -> list[ir.Value]:
        """The same, faster where most masks have all lanes, as in a loop over a long array."""
        builder = self.builder
        with builder.if_else(self.whole) as (yes, no):
            with yes:
                whole = [builder.load(place, align=alignment(self.element)) for place in pointers]
                after_whole = builder.block
            with no:
                some = self.load(pointers) if self.moves.loads else self._load_parts(pointers)
                after_some = builder.block
        return merged(builder, (after_whole, whole), (after_some, some))

    def store(self, values: Sequence[ir.Value], pointers: Sequence[ir.Value]) -> None:
        """Vectors to memory, each to its place; lanes outside are left alone.

        All under one branch, where there are branches.
        """
        builder = self.builder
        with builder.if_else(self.whole) as (yes, no):
            with yes:
                for value, place in zip(values, pointers, strict=True):
                    builder.store(value, place, align=alignment(self.element))
            with no:
                if self.moves.stores:
                    for value, place in zip(values, pointers, strict=True):
                        self._masked_store(value, place)
                else:
                    self._store_parts(values, pointers)

    def _load_parts(self, pointers: Sequence[ir.Value]) -> list[ir.Value]:
        """The last numbers first: they make the smallest vectors, which the others then join."""
        builder = self.builder
        results = [ir.Constant(ir.VectorType(self.element, 1), None)] * len(pointers)
        size = 1
        while size < self.lanes:
            nothing = ir.Constant(results[0].type, None)
            padded = [joined(builder, result, nothing) for result in results]
            before = builder.block
            with builder.if_then(self._has_part(size)):
                longer = []
                for result, place in zip(results, pointers, strict=True):
                    part = builder.load(self._part(place, size), align=alignment(self.element))
                    longer.append(joined(builder, part, result))
                after = builder.block
            results = merged(builder, (before, padded), (after, longer))
            size *= 2
        return results

    def _store_parts(self, values: Sequence[ir.Value], pointers: Sequence[ir.Value]) -> None:
        """The first numbers first."""
        builder, size = self.builder, self.lanes // 2
        while size:
            low, high = zip(*(halves(builder, value) for value in values), strict=True)
            before = builder.block
            with builder.if_then(self._has_part(size)):
                for part, place in zip(low, pointers, strict=True):
                    builder.store(part, self._part(place, size), align=alignment(self.element))
                after = builder.block
            values = merged(builder, (before, low), (after, high))
            size //= 2

    def _has_part(self, size: int) -> ir.Value:
        part = self.builder.and_(self.inside, INT64(size))
        return self.builder.icmp_signed("!=", part, INT64(0))

    def _part(self, pointer: ir.Value, size: int) -> ir.Value:
        """Where the part of `size` numbers is: behind all that are larger."""
        start = self.builder.and_(self.inside, INT64(-2 * size))
        numbers = self.builder.bitcast(pointer, self.element.as_pointer())
        kind = ir.VectorType(self.element, size).as_pointer()
        return self.builder.bitcast(self.builder.gep(numbers, [start]), kind)

    def _masked_load(self, pointer: ir.Value) -> ir.Value:
        vector = pointer.type.pointee
        nothing = ir.Constant(vector, None)
        return self._masked("load", vector, vector, [pointer], [self.bits, nothing])

    def _masked_store(self, value: ir.Value, pointer: ir.Value) -> None:
        self._masked("store", value.type, ir.VoidType(), [value, pointer], [self.bits])

    def _masked(
        self,
        name: str,
        vector: ir.VectorType,
        result: ir.Type,
        first: list[ir.Value],
        last: list[ir.Value],
    ) -> ir.Value:
        arguments = [*first, INT32(alignment(vector.element)), *last]
        bits = 8 * alignment(vector.element)
        symbol = f"llvm.masked.{name}.v{vector.count}f{bits}.p0"
        signature = ir.FunctionType(result, [value.type for value in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, signature, symbol)
        return self.builder.call(function, arguments)


def merged(
    builder: ir.IRBuilder, *incoming: tuple[ir.Block, Sequence[ir.Value]]
) -> list[ir.Value]:
    """What values are where several blocks meet, each with its own."""
    blocks, lists = zip(*incoming, strict=True)
    result = []
    for values in zip(*lists, strict=True):
        phi = builder.phi(values[0].type)
        for block, value in zip(blocks, values, strict=True):
            phi.add_incoming(value, block)
        result.append(phi)
    return result


def halves(builder: ir.IRBuilder, value: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The first lanes of a vector and the last."""
    half = value.type.count // 2
    kind = ir.VectorType(INT32, half)
    low, high = (
        builder.shuffle_vector(value, value, ir.Constant(kind, list(lanes)))
        for lanes in (range(half), range(half, 2 * half))
    )
    return low, high


def joined(builder: ir.IRBuilder, low: ir.Value, high: ir.Value) -> ir.Value:
    """Two vectors as one."""
    lanes = 2 * low.type.count
    order = ir.Constant(ir.VectorType(INT32, lanes), list(range(lanes)))
    return builder.shuffle_vector(low, high, order)


def splat(builder: ir.IRBuilder, scalar: ir.Value, count: int) -> ir.Value:
    """A vector with `scalar` in every lane."""
    vector = ir.VectorType(scalar.type, count)
    first = builder.insert_element(ir.Constant(vector, None), scalar, INT32(0))
    nowhere = ir.Constant(ir.VectorType(INT32, count), None)
    return builder.shuffle_vector(first, first, nowhere)


def alignment(element: ir.Type) -> int:
    """The bytes of a number of the LLVM type `element`."""
    return 4 if isinstance(element, ir.FloatType) else 8
