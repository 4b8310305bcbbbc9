"""What matrix products are made of: a tile of the result, held in registers.

A tile is a few rows by one or two vectors of the result. While p runs over the columns
of A, A[i, p] times row p of B is added to row i of the tile. So every number that is read of
A, and every vector that is read of B, serves many multiplications.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from llvmlite import ir
from numba.core import cgutils

from flatprop.kernels.loops.masks import LaneMask, MaskedMoves
from flatprop.kernels.loops.vector_loops import INT64
from flatprop.kernels.products.blocks import blocks_of
from flatprop.kernels.products.operands import ZERO, Finish, Panel, RowBlock, Strided, Sums
from flatprop.kernels.products.vectors import Values, Vectors
from flatprop.numbers.lanes import REGISTER_BYTES, Lanes
from flatprop.numbers.numbers import fma, maximum, where

CHAINS = 8
"""How many sums must be under way at once to keep two multipliers busy that take 4 cycles
each. The sums of a single row are split into as many."""
LONG = 64
"""From so many products for each sum on, what comes next is fetched meanwhile."""


End: TypeAlias = Callable[[Lanes, Lanes, Lanes], Lanes]
ENDS: tuple[tuple[End, End], ...] = (
    (lambda total, d, _: where(d > 0.0, total, d), lambda total, d, _: total * d),
    (lambda total, d, _: maximum(total + d, 0.0), lambda total, d, alpha: fma(total, alpha, d)),
)
"""What becomes of a tile's totals: see `Finish`. First those that multiply and those that rectify.

Each has instructions of its own, so that no product pays for what another one needs."""


class Tiles(Vectors):
    """Writes tiles for one dtype into one function."""

    def __init__(self, builder: ir.IRBuilder, element: ir.Type, masks: MaskedMoves) -> None:
        super().__init__(builder, element, masks)
        # A tile keeps 12 or 24 registers of sums. AVX-512 has 32 registers, of 64 bytes; AVX2 has
        # 16 of 32 bytes, two of which make a vector here; NEON has 32 of 16 bytes, four a vector.
        # The last height is also for fewer rows: 8 registers of sums are what two multipliers
        # have under way at once, so that fewer would not be faster.
        self.heights = (12, 4) if masks else (6, 4)
        self.vectors = 2 if masks else 1
        self.blocks = blocks_of(self.itemsize)

    def column_of_tiles(
        self, k: ir.Value, rows: RowBlock, panel: Panel, finish: Finish, sums: Sums
    ) -> None:
        """All rows of one panel, k products for each sum."""
        builder, vectors, itemsize = self.builder, panel.vectors, INT64(self.itemsize)
        row_bytes = INT64(vectors * REGISTER_BYTES)
        lines = builder.udiv(builder.mul(k, INT64(self.heights[0])), rows.count)
        lines = builder.select(panel.fetches, builder.add(lines, INT64(1)), ZERO)
        following = cgutils.alloca_once(builder, panel.following.data.type)
        builder.store(panel.following.data, following)
        for height, i, left in self.rows_of_tiles(rows.count):
            if left is None:  # the tiles of a panel share the lines of the next one
                with cgutils.for_range(builder, lines):
                    line = builder.load(following)
                    self.prefetch_vectors(line, vectors)
                    builder.store(builder.gep(line, [panel.following.row]), following)
            start = builder.gep(rows.a.data, [builder.mul(builder.mul(i, k), itemsize)])
            row = builder.select(rows.by_rows, builder.mul(k, itemsize), itemsize)
            column = builder.select(rows.by_rows, itemsize, INT64(height * self.itemsize))
            copy = Strided(builder, start, row, column)
            a = copy.or_else(rows.packed, rows.a.at(i, ZERO))
            part = finish.at(i, ZERO)
            place = builder.gep(sums.data, [builder.mul(i, row_bytes)])
            written = Strided(builder, place, row_bytes, ZERO).or_else(sums.go_on, part.out)
            total = self.sums(height, vectors, k, a, panel.b, left=left, written=written)
            self._finish(total, left, panel, part, sums._replace(data=place))

    def rows_of_tiles(self, m: ir.Value) -> Iterator[tuple[int, ir.Value, ir.Value | None]]:
        """A loop over m rows: what is written while a height and the first row are yielded
        runs for every tile of that height.

        The third is how many rows are left, where the tile may be higher.
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
            last = height == self.heights[-1]
            enough = builder.icmp_signed(">=", left, INT64(1 if last else height))
            if not last and height % self.heights[-1]:
                # Two low tiles hold 8 rows and take less time than a high and a low one; three
                # hold 11 rows, which would be a high one and two low ones.
                for rows in (height + 1, height + 2, height + 5):
                    other = builder.icmp_signed("!=", left, INT64(rows))
                    enough = builder.and_(enough, other)
            builder.cbranch(enough, body, after)
            builder.position_at_end(body)
            yield height, i, left if last else None
            builder.store(builder.add(i, INT64(height)), done)
            builder.branch(head)
            builder.position_at_end(after)

    def sums(
        self,
        rows: int,
        vectors: int,
        k: ir.Value,
        a: Strided,
        b: Strided,
        masks: Sequence[LaneMask] | None = None,
        left: ir.Value | None = None,
        written: Strided | None = None,
    ) -> Values:
        """A B for one tile, row by row.

        B's vectors are read under `masks`, if given. Where only so many rows are `left`, the last
        one is read for the others too. Where the sums take long, the lines that are going to be
        `written`, if given, are asked for meanwhile.
        """
        builder = self.builder
        size = rows * vectors
        # without AVX-512 a vector is two registers or four, of which there are 16 or 32
        most = CHAINS if self.masks else CHAINS // 2
        chains = most // size if rows == 1 else 1
        # Three rows share a pointer, which x86 addresses as p, p + row and p + 2 row.
        row_twice = builder.shl(a.row, INT64(1))
        group = 3
        if left is None:
            pointers = self.rows_from(a._replace(row=builder.add(a.row, row_twice)), -(-rows // 3))
        else:
            pointers, group = self.rows_until(a, rows, left), 1

        def step(walk: Values, sums: Values) -> tuple[Values, Values]:
            *here, at_b = walk
            vector = [
                self.load(self.vector_at(at_b, j), masks[j] if masks else None)
                for j in range(vectors)
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

        zeros = [ir.Constant(self.vector, None)] * (size * chains)
        walk = [*pointers, b.data]
        if written is not None and left is None:
            # Now and then one: many at once would make the tile wait. The last one is asked for
            # after half of the products, so that it has come when all are made.
            long = builder.icmp_signed(">=", k, INT64(LONG))
            places = builder.select(long, INT64(rows), ZERO)
            steps = builder.udiv(k, INT64(2 * rows))

            def stretch(walk: Values, sums: Values) -> tuple[Values, Values]:
                *here, line = walk
                self.prefetch_vectors(line, vectors)
                here, sums = self.repeat(steps, step, here, sums)
                return [*here, builder.gep(line, [written.row])], sums

            walk, zeros = self.repeat(places, stretch, [*walk, written.data], zeros)
            *walk, _ = walk
            k = builder.sub(k, builder.mul(places, steps))
        if chains == 1:
            return self.repeat(k, step, walk, zeros)[1]
        walk, sums = self.repeat(builder.sdiv(k, INT64(chains)), chained, walk, zeros)
        while len(sums) > size:
            half = len(sums) // 2
            sums = [builder.fadd(x, y) for x, y in zip(sums[:half], sums[half:], strict=True)]
        return self.repeat(builder.srem(k, INT64(chains)), step, walk, sums)[1]

    def _finish(
        self, totals: Values, left: ir.Value | None, panel: Panel, finish: Finish, sums: Sums
    ) -> None:
        """Write a tile to `out` or, where further blocks follow, to the sums."""
        builder, vectors = self.builder, panel.vectors
        before = builder.block
        with builder.if_then(sums.begun):
            earlier = [self.load(self.vector_at(sums.data, j)) for j in range(len(totals))]
            added = [builder.fadd(*pair) for pair in zip(totals, earlier, strict=True)]
            after = builder.block
        totals = self.merged((before, totals), (after, added))
        with builder.if_else(sums.go_on) as (waits, ends):
            with waits:
                for j, total in enumerate(totals):
                    self.store(total, self.vector_at(sums.data, j))
            with ends:
                for j in range(vectors):
                    mask = panel.mask if j == vectors - 1 else None
                    part = finish.at(ZERO, INT64(j * self.lanes))
                    self.write(totals[j::vectors], mask, part, left, sums.nowhere)

    def write(
        self,
        totals: Values,
        mask: LaneMask | None,
        finish: Finish,
        left: ir.Value | None,
        nowhere: ir.Value,
    ) -> None:
        """out ← what `finish` makes of D and the totals, a vector of each row.

        Rows that are not `left`, if that is given, are written `nowhere`.
        """
        builder = self.builder
        outs, ds = (
            self.rows_from(matrix, len(totals), left, nowhere) for matrix in (finish.out, finish.d)
        )
        alpha = Lanes(builder, finish.alpha)

        def finished(end: End) -> tuple[ir.Block, Values]:
            pairs = zip(totals, self.loads(ds, mask), strict=True)
            vectors = [[Lanes(builder, value) for value in pair] for pair in pairs]
            result = [end(total, d, alpha).value for total, d in vectors]
            return builder.block, result

        results = []
        with builder.if_else(finish.multiplies) as branches:
            for branch, (rectified, plain) in zip(branches, ENDS, strict=True):
                with branch:
                    with builder.if_else(finish.rectifies) as (yes, no):
                        with yes:
                            one = finished(rectified)
                        with no:
                            other = finished(plain)
                    results.append((builder.block, self.merged(one, other)))
        self.stores(self.merged(*results), outs, mask)
