"""Vectors between memory and registers, as products write them."""

from collections.abc import Callable
from typing import TypeAlias

from llvmlite import ir

from flatprop.kernels.loops.masks import LaneMask, MaskedMoves, halves, merged, splat
from flatprop.kernels.loops.vector_loops import INT64, prefetch
from flatprop.kernels.products.operands import ZERO, Strided
from flatprop.numbers.lanes import REGISTER_BYTES, Lanes, lane_count
from flatprop.numbers.numbers import fma

Values: TypeAlias = list[ir.Value]
Step: TypeAlias = Callable[[Values, Values], tuple[Values, Values]]


class Vectors:
    """Writes what one function does with vectors of one dtype."""

    def __init__(self, builder: ir.IRBuilder, element: ir.Type, masks: MaskedMoves) -> None:
        self.builder = builder
        self.element = element
        self.masks = masks
        self.lanes = lane_count(element)
        self.itemsize = REGISTER_BYTES // self.lanes
        self.vector = ir.VectorType(element, self.lanes)
        self.square = self.lanes if masks else self.lanes // 2
        """Rows and columns of the squares that are transposed in registers."""

    def mask(self, count: ir.Value) -> LaneMask:
        """The first `count` lanes: none below 1, all from `lanes` on."""
        return LaneMask(self.builder, self.element, count, self.masks)

    def broadcast(self, at: ir.Value) -> ir.Value:
        """One number from memory, in every lane."""
        pointer = self.builder.bitcast(at, self.element.as_pointer())
        return splat(self.builder, self.builder.load(pointer), self.lanes)

    def load(self, at: ir.Value, mask: LaneMask | None = None) -> ir.Value:
        """A vector from memory; lanes outside of the mask are not read, but 0."""
        return self.loads([at], mask)[0]

    def loads(self, places: Values, mask: LaneMask | None) -> Values:
        """Vectors from memory, all under one mask."""
        pointers = [self.builder.bitcast(at, self.vector.as_pointer()) for at in places]
        if mask is None:
            return [self.builder.load(pointer, align=self.itemsize) for pointer in pointers]
        return mask.load(pointers)

    def store(self, value: ir.Value, at: ir.Value, mask: LaneMask | None = None) -> None:
        """A vector to memory; lanes outside of the mask are left alone."""
        self.stores([value], [at], mask)

    def stores(self, values: Values, places: Values, mask: LaneMask | None) -> None:
        """Vectors to memory, all under one mask."""
        pointers = [self.builder.bitcast(at, self.vector.as_pointer()) for at in places]
        if mask is not None:
            mask.store(values, pointers)
            return
        for value, pointer in zip(values, pointers, strict=True):
            self.builder.store(value, pointer, align=self.itemsize)

    def load_part(self, at: ir.Value, mask: LaneMask | None = None) -> ir.Value:
        """As many numbers from memory as a square has rows."""
        if mask is None:
            kind = ir.VectorType(self.element, self.square).as_pointer()
            return self.builder.load(self.builder.bitcast(at, kind), align=self.itemsize)
        vector = self.load(at, mask)
        return vector if self.square == self.lanes else halves(self.builder, vector)[0]

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a b + c, rounded once."""
        lanes = (Lanes(self.builder, value) for value in (a, b, c))
        return fma(*lanes).value

    def prefetch(self, at: ir.Value) -> None:
        """Ask for the line around one byte, into the second cache."""
        prefetch(self.builder, at)

    def prefetch_vectors(self, at: ir.Value, count: int) -> None:
        """Ask for the lines of `count` vectors, which may begin in the middle of a line."""
        for place in [
            *range(0, count * REGISTER_BYTES, REGISTER_BYTES),
            count * REGISTER_BYTES - 1,
        ]:
            self.prefetch(self.builder.gep(at, [INT64(place)]))

    def vector_at(self, pointer: ir.Value, j: int) -> ir.Value:
        """Where the vector j places further begins."""
        return self.builder.gep(pointer, [INT64(j * REGISTER_BYTES)])

    def rows_from(
        self,
        first: Strided,
        count: int,
        left: ir.Value | None = None,
        nowhere: ir.Value | None = None,
    ) -> Values:
        """Where so many rows begin; those that are not `left`, if that is given, are `nowhere`."""
        builder, pointers = self.builder, [first.data]
        for _ in range(1, count):
            pointers.append(builder.gep(pointers[-1], [first.row]))
        if left is None:
            return pointers
        exist = [builder.icmp_signed("<", INT64(i), left) for i in range(count)]
        return [builder.select(*pair, nowhere) for pair in zip(exist, pointers, strict=True)]

    def rows_until(self, first: Strided, count: int, left: ir.Value) -> Values:
        """Where so many rows begin; the last one stands for those that are not `left`."""
        builder, pointers = self.builder, [first.data]
        for i in range(1, count):
            step = builder.select(builder.icmp_signed("<", INT64(i), left), first.row, ZERO)
            pointers.append(builder.gep(pointers[-1], [step]))
        return pointers

    def repeat(
        self, times: ir.Value, step: Step, walk: Values, sums: Values
    ) -> tuple[Values, Values]:
        """`step` again and again, what it returns being what it is given next."""
        builder = self.builder
        before = builder.block
        body, after = (builder.append_basic_block("k") for _ in range(2))
        builder.cbranch(builder.icmp_signed(">", times, ZERO), body, after)

        builder.position_at_end(body)
        start = [*walk, *sums]
        state = [builder.phi(value.type) for value in start]
        count = builder.phi(INT64)
        walked, summed = step(state[: len(walk)], state[len(walk) :])
        end = [*walked, *summed]
        counted = builder.add(count, INT64(1))
        for phi, first, later in zip(
            [*state, count], [*start, ZERO], [*end, counted], strict=True
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(later, builder.block)
        last = builder.block
        builder.cbranch(builder.icmp_signed("<", counted, times), body, after)

        builder.position_at_end(after)
        result = self.merged((before, start), (last, end))
        return result[: len(walk)], result[len(walk) :]

    def merged(self, *incoming: tuple[ir.Block, Values]) -> Values:
        """What the values are where several blocks meet, each with its own."""
        return merged(self.builder, *incoming)
