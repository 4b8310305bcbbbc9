"""What matrix products are made of: a tile of the result, held in registers.

A tile is a few rows by one or two vectors of the result. While p runs over the columns
of A, A[i, p] times row p of B is added to row i of the tile. So every number that is read of
A, and every vector that is read of B, serves many multiplications.
"""

from collections.abc import Callable, Iterator, Sequence
import os
from typing import NamedTuple, TypeAlias

from llvmlite import ir
from numba.core import cgutils

from flatprop.kernels.loops.vector_loops import (
    INT32,
    INT64,
    cases,
    mask_of,
    masked_load,
    masked_store,
    splat,
)
from flatprop.numbers.lanes import REGISTER_BYTES, Lanes, lane_count
from flatprop.numbers.numbers import fma, maximum, where

POINTER = ir.IntType(8).as_pointer()
ZERO = INT64(0)

CHAINS = 8
"""How many sums must be under way at once to keep two multipliers busy that take 4 cycles
each. The sums of a single row are split into as many."""


class Strided(NamedTuple):
    """A matrix in memory: its first number, and the bytes between neighbours."""

    builder: ir.IRBuilder
    data: ir.Value
    row: ir.Value
    column: ir.Value

    def at(self, i: ir.Value, j: ir.Value) -> "Strided":
        """What begins at row i, column j."""
        down, right = self.builder.mul(i, self.row), self.builder.mul(j, self.column)
        return self._replace(data=self.builder.gep(self.data, [self.builder.add(down, right)]))

    def or_else(self, chosen: ir.Value, other: "Strided") -> "Strided":
        """Itself where `chosen`, the other one elsewhere."""
        pairs = zip(self[1:], other[1:], strict=True)
        return Strided(self.builder, *(self.builder.select(chosen, *pair) for pair in pairs))

    def transposed(self) -> "Strided":
        """The same numbers, rows read as columns."""
        return self._replace(row=self.column, column=self.row)


class Finish(NamedTuple):
    """What becomes of a product A B.

    | `multiplies` | `bound` | out |
    | --- | --- | --- |
    | 0 | -∞ | D + alpha A B |
    | 0 | 0 | relu(D + alpha A B) |
    | 1 | ∞ | D ⊙ A B |
    | 1 | 0 | A B where D > 0, elsewhere D ⊙ A B: D is the a of a relu, so 0 or NaN there |
    """

    out: Strided
    d: Strided
    alpha: ir.Value
    multiplies: ir.Value
    bound: ir.Value
    """The same number in every lane. A sum is at least the bound. A factor D above it counts
    as 1."""

    def at(self, i: ir.Value, j: ir.Value) -> "Finish":
        """What begins at row i, column j."""
        return self._replace(out=self.out.at(i, j), d=self.d.at(i, j))

    def rectified(self, total: ir.Value) -> ir.Value:
        """A vector of sums, none below the bound."""
        total, bound = (Lanes(self.out.builder, value) for value in (total, self.bound))
        return maximum(total, bound).value

    def factor(self, kept: ir.Value) -> ir.Value:
        """What a vector of D stands for where it multiplies."""
        d, bound = (Lanes(self.out.builder, value) for value in (kept, self.bound))
        return where(d > bound, 1.0, d).value


class Sums(NamedTuple):
    """Where the sums of products stay that are added up in several blocks."""

    data: ir.Value
    """Vectors, tile by tile."""
    begun: ir.Value
    """Whether they hold the sums of the blocks before."""
    go_on: ir.Value
    """Whether they take the sums, because there are further blocks; `out` gets them if not."""
    nowhere: ir.Value
    """Room for a row of a tile that does not exist."""


Values: TypeAlias = list[ir.Value]
Step: TypeAlias = Callable[[Values, Values], tuple[Values, Values]]


class Tiles:
    """Writes tiles for one dtype into one function."""

    def __init__(self, builder: ir.IRBuilder, element: ir.Type, masks: bool) -> None:
        self.builder = builder
        self.element = element
        self.masks = masks
        self.lanes = lane_count(element)
        self.itemsize = REGISTER_BYTES // self.lanes
        self.vector = ir.VectorType(element, self.lanes)
        # AVX-512 has 32 registers for the sums, of 64 bytes; others have 16 of 32 or 32
        # of 16, of which two or four make a vector here.
        self.heights = (12, 4) if masks else (6, 4)
        self.vectors = 2 if masks else 1

    # ---- vectors in memory

    def mask(self, count: ir.Value) -> ir.Value:
        """The first `count` lanes: none below 1, all from `lanes` on."""
        return mask_of(self.builder, count, self.lanes)

    def broadcast(self, at: ir.Value) -> ir.Value:
        """One number from memory, in every lane."""
        pointer = self.builder.bitcast(at, self.element.as_pointer())
        return splat(self.builder, self.builder.load(pointer), self.lanes)

    def load(self, at: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        """A vector from memory; lanes outside of the mask are not read, but 0."""
        pointer = self.builder.bitcast(at, self.vector.as_pointer())
        if mask is None:
            return self.builder.load(pointer, align=self.itemsize)
        return masked_load(self.builder, pointer, mask)

    def store(self, value: ir.Value, at: ir.Value, mask: ir.Value | None = None) -> None:
        """A vector to memory; lanes outside of the mask are left alone."""
        pointer = self.builder.bitcast(at, self.vector.as_pointer())
        if mask is None:
            self.builder.store(value, pointer, align=self.itemsize)
        else:
            masked_store(self.builder, value, pointer, mask)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a b + c, rounded once."""
        lanes = (Lanes(self.builder, value) for value in (a, b, c))
        return fma(*lanes).value

    def prefetch(self, at: ir.Value) -> None:
        """Ask for the line around one byte, into the second cache."""
        arguments = [at, INT32(0), INT32(2), INT32(1)]
        signature = ir.FunctionType(ir.VoidType(), [value.type for value in arguments])
        module = self.builder.module
        function = cgutils.get_or_insert_function(module, signature, "llvm.prefetch.p0")
        self.builder.call(function, arguments)

    def vector_at(self, pointer: ir.Value, j: int) -> ir.Value:
        """Where the vector j places further begins."""
        return self.builder.gep(pointer, [INT64(j * REGISTER_BYTES)])

    # ---- a tile

    def column_of_tiles(
        self,
        vectors: int,
        m: ir.Value,
        columns: ir.Value,
        k: ir.Value,
        a: Strided,
        packed: ir.Value,
        b: Strided,
        finish: Finish,
        sums: Sums,
        ahead_b: Strided,
    ) -> None:
        """All m rows of one panel, `columns` of whose `vectors` vectors are written.

        B's panel is read in whole vectors; A is as `packing.pack_rows` leaves it where `packed`.
        """
        builder = self.builder
        mask = self.mask(builder.sub(columns, INT64((vectors - 1) * self.lanes)))
        itemsize, row_bytes = INT64(self.itemsize), INT64(vectors * REGISTER_BYTES)
        by_rows = builder.icmp_signed("==", a.column, itemsize)
        following = cgutils.alloca_once_value(builder, ahead_b.data)
        builder.store(ahead_b.data, following)
        lines = builder.udiv(builder.mul(k, INT64(self.heights[0])), m)
        lines = builder.add(lines, INT64(1))
        if os.environ.get("FP_NOAHEAD"): lines = ZERO
        for height, i, count in self.rows_of_tiles(m):
            if height == self.heights[0]:
                with cgutils.for_range(builder, lines) as loop:
                    line = builder.load(following)
                    for v in range(vectors):
                        self.prefetch(self.vector_at(line, v))
                    if os.environ.get("FP_AHEADLAST"):
                        self.prefetch(builder.gep(line, [INT64(vectors * REGISTER_BYTES - 1)]))
                    builder.store(builder.gep(line, [ahead_b.row]), following)
            start = builder.gep(a.data, [builder.mul(builder.mul(i, k), itemsize)])
            packed_row = builder.select(by_rows, builder.mul(k, itemsize), itemsize)
            packed_column = builder.select(by_rows, itemsize, INT64(height * self.itemsize))
            copy = Strided(builder, start, packed_row, packed_column)
            rows = copy.or_else(packed, a.at(i, ZERO))
            place = builder.gep(sums.data, [builder.mul(i, row_bytes)])
            part = finish.at(i, ZERO)
            ahead = Strided(builder, place, row_bytes, ZERO).or_else(sums.go_on, part.out)
            total = self.sums(height, vectors, k, rows, b, None, count, ahead)
            total = self._begun(total, place, sums.begun)
            self._finish(height, vectors, total, mask, part, count, place, sums)

    def rows_of_tiles(self, m: ir.Value) -> Iterator[tuple[int, ir.Value, ir.Value | None]]:
        """A loop over m rows: what is written while a height and the first row are yielded
        runs for every tile of that height.

        The third is how many rows are left, where they may be fewer than the tile is high.
        """
        builder = self.builder
        done = cgutils.alloca_once_value(builder, ZERO)
        builder.store(ZERO, done)
        for height in self.heights:
            head, body, after = (builder.append_basic_block(f"rows.{height}") for _ in range(3))
            builder.branch(head)
            builder.position_at_end(head)
            i = builder.load(done)
            left = builder.sub(m, i)
            partial = height == self.heights[-1]
            enough = builder.icmp_signed(">=", left, INT64(1 if partial else height))
            builder.cbranch(enough, body, after)
            builder.position_at_end(body)
            yield height, i, left if partial else None
            builder.store(builder.add(i, INT64(height)), done)
            builder.branch(head)
            builder.position_at_end(after)

    def row_pointers(self, rows: int, first: Strided, left: ir.Value | None) -> Values:
        """Where `rows` rows begin; the last one stands for those that are not left."""
        builder = self.builder
        pointers = [first.data]
        for i in range(1, rows):
            step = first.row
            if left is not None:
                step = builder.select(builder.icmp_signed("<", INT64(i), left), step, ZERO)
            pointers.append(builder.gep(pointers[-1], [step]))
        return pointers

    def _begun(self, totals: Values, place: ir.Value, begun: ir.Value) -> Values:
        """The totals, with what was left at `place` added to them where something was."""
        builder = self.builder
        before = builder.block
        with builder.if_then(begun):
            left = [self.load(self.vector_at(place, j)) for j in range(len(totals))]
            added = [builder.fadd(*pair) for pair in zip(totals, left, strict=True)]
            after = builder.block
        return self.merged((before, totals), (after, added))

    def sums(
        self,
        rows: int,
        vectors: int,
        k: ir.Value,
        a: Strided,
        b: Strided,
        masks: Sequence[ir.Value] | None = None,
        left: ir.Value | None = None,
        result: Strided | None = None,
    ) -> Values:
        """A B for one tile, row by row.

        B's vectors are read under `masks`, if given. Where only so many rows are `left`, the
        last one is read again and again. Where the sums take long, the lines of the `result`, if
        given, are asked for meanwhile.
        """
        builder = self.builder
        size = rows * vectors
        chains = CHAINS // size if rows == 1 else 1
        # Three rows share a pointer, which x86 addresses as p, p + row and p + 2 row.
        row_twice = builder.shl(a.row, INT64(1))
        if left is None:
            pointers, group = [a.data], 3
            for _ in range(3, rows, 3):
                pointers.append(builder.gep(pointers[-1], [builder.add(a.row, row_twice)]))
        else:
            pointers, group = self.row_pointers(rows, a, left), 1

        def step(walk: Values, sums: Values) -> tuple[Values, Values]:
            *here, at_b = walk
            vector = [
                self.load(self.vector_at(at_b, j), masks and masks[j]) for j in range(vectors)
            ]
            after = []
            for i in range(rows):
                place, offset = here[i // group], (None, a.row, row_twice)[i % group]
                number = self.broadcast(place if offset is None else builder.gep(place, [offset]))
                for j in range(vectors):
                    after.append(self.fma(number, vector[j], sums[i * vectors + j]))
            further = [builder.gep(pointer, [a.column]) for pointer in here]
            return [*further, builder.gep(at_b, [b.row])], after

        def chained(walk: Values, sums: Values) -> tuple[Values, Values]:
            together = []
            for chain in range(chains):
                walk, after = step(walk, sums[chain * size : (chain + 1) * size])
                together += after
            return walk, together

        sums = [ir.Constant(self.vector, None)] * (size * chains)
        walk = [*pointers, b.data]
        if result is not None and rows == self.heights[0]:
            # now and then one: many at once would make the tile wait
            long = builder.icmp_signed(">=", k, INT64(64))
            places = builder.select(long, INT64(rows), ZERO)
            steps = builder.udiv(k, INT64(rows))

            def stretch(walk: Values, sums: Values) -> tuple[Values, Values]:
                *here, line = walk
                for j in range(vectors):
                    self.prefetch(self.vector_at(line, j))
                if True:
                    self.prefetch(builder.gep(line, [INT64(vectors * REGISTER_BYTES - 1)]))
                here, sums = self.repeat(steps, step, here, sums)
                return [*here, builder.gep(line, [result.row])], sums

            walk, sums = self.repeat(places, stretch, [*walk, result.data], sums)
            *walk, _ = walk
            k = builder.sub(k, builder.mul(places, steps))
        if chains == 1:
            return self.repeat(k, step, walk, sums)[1]
        walk, sums = self.repeat(builder.sdiv(k, INT64(chains)), chained, walk, sums)
        while len(sums) > size:
            half = len(sums) // 2
            sums = [builder.fadd(x, y) for x, y in zip(sums[:half], sums[half:], strict=True)]
        return self.repeat(builder.srem(k, INT64(chains)), step, walk, sums)[1]

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
        blocks, lists = zip(*incoming, strict=True)
        result = []
        for values in zip(*lists, strict=True):
            phi = self.builder.phi(values[0].type)
            for block, value in zip(blocks, values, strict=True):
                phi.add_incoming(value, block)
            result.append(phi)
        return result

    def _finish(
        self,
        rows: int,
        vectors: int,
        totals: Values,
        mask: ir.Value,
        finish: Finish,
        left: ir.Value | None,
        place: ir.Value,
        sums: Sums,
    ) -> None:
        builder = self.builder

        def write(mask: ir.Value | None, multiplies: bool) -> None:
            out, d = finish.out.data, finish.d.data
            for i in range(rows):
                if left is not None:
                    exists = builder.icmp_signed("<", INT64(i), left)
                    out, d = (builder.select(exists, here, sums.nowhere) for here in (out, d))
                for j in range(vectors):
                    lanes = mask if j == vectors - 1 else None
                    kept, total = self.load(self.vector_at(d, j), lanes), totals[i * vectors + j]
                    if multiplies:
                        total = builder.fmul(total, finish.factor(kept))
                    else:
                        total = finish.rectified(self.fma(total, finish.alpha, kept))
                    self.store(total, self.vector_at(out, j), lanes)
                out, d = builder.gep(out, [finish.out.row]), builder.gep(d, [finish.d.row])

        code = builder.select(sums.go_on, INT64(2), builder.zext(finish.multiplies, INT64))
        for multiplies in cases(builder, code, (False, True, None)):
            if multiplies is None:
                for j, total in enumerate(totals):
                    self.store(total, self.vector_at(place, j))
                continue
            if self.masks:
                write(mask, multiplies)
                continue
            bits = builder.bitcast(mask, ir.IntType(self.lanes))
            whole = builder.icmp_signed("==", bits, ir.Constant(bits.type, -1))
            with builder.if_else(whole) as (yes, no):
                with yes:
                    write(None, multiplies)
                with no:
                    write(mask, multiplies)
