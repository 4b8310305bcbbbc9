"""How a product is cut: into panels of columns, and those into tiles of rows.

A panel is one or two vectors of columns:

    for each panel of B: pack it, where it does not lie as the tiles read it
        for each tile of rows of A: add up its products in registers

Aᵀ costs no more than A, whose numbers are read one by one with strides of their own. B is
read in whole vectors: a panel of Bᵀ, or one with fewer columns, is first copied ("packed")
in the order in which it is read. How large products are cut so that what is read again is
still in a cache follows Goto and van de Geijn (2008).

A layer of one to four units, or a batch of one row, would leave most of a tile empty. Such
products have functions of their own, here and in `narrow`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import NamedTuple

from llvmlite import ir
from numba.core import cgutils

from flatprop.kernels.loops.vector_loops import INT64, cases
from flatprop.kernels.products.narrow import (
    row_times_few_columns,
    row_times_transposed,
    times_few_columns,
    transposed_times_few_columns,
)
from flatprop.kernels.products.packing import pack, pack_rows, pack_transposed
from flatprop.kernels.products.tiles import ZERO, Finish, Strided, Sums, Tiles
from flatprop.numbers.lanes import REGISTER_BYTES

# Kinds of products
PLAIN, AFFINE, TRANSPOSED_LEFT, TRANSPOSED_RIGHT = range(4)

FEW_COLUMNS = 4
"""Up to so many columns `narrow` has its own way."""
WIDE = 4
"""Vectors of a panel for a single row of A."""
PANEL = 32
"""Columns of a panel for more rows, at most."""
import os
DEPTH, ROWS, COLUMNS = eval(os.environ.get("FP_BLOCKS", "(256, 240, 1024)"))

# When packing pays: where numbers that are read one after the other lie far apart, and the copy
# is read often. Rows of B that are far apart fall on few places of the cache, and each on a page
# of its own. So do columns of A.
B_FAR_BYTES, B_READERS = eval(os.environ.get("FP_B", "(512, 36)"))
"""B is packed from so many bytes between its rows on, if so many rows of A read the copy."""
A_READERS = eval(os.environ.get("FP_AREADERS", "128"))
"""A is packed from so many bytes between its columns on, if so many columns of B read the copy."""
PACKED_ROWS = 480
"""How many rows of A are packed at once: they stay in the second cache. Whole tiles fill them."""


def write_product(
    tiles: Tiles,
    kind: ir.Value,
    shape: Sequence[ir.Value],
    a: Strided,
    b: Strided,
    finish: Finish,
    work: ir.Value,
) -> None:
    """A B as `finish` takes it, (m, k) times (k, n), for the shape (m, n, k)."""
    _special_cases(tiles, kind, shape, a, b, finish, work)
    Product(tiles, a, b, finish, work).write(*shape)


def _special_cases(
    tiles: Tiles,
    kind: ir.Value,
    shape: Sequence[ir.Value],
    a: Strided,
    b: Strided,
    finish: Finish,
    work: ir.Value,
) -> None:
    """A single row, and few columns: the code for these returns when it is done."""
    builder = tiles.builder
    m, n, k = shape
    few = builder.icmp_signed("<=", n, INT64(FEW_COLUMNS))
    single = builder.icmp_signed("==", k, INT64(1))
    adds = builder.not_(builder.or_(few, finish.multiplies))
    with builder.if_then(builder.and_(single, adds)):
        _outer_product(tiles, m, n, a, b, finish)
        builder.ret_void()
    one_row = builder.icmp_signed("==", m, INT64(1))
    in_place = builder.icmp_signed("<=", kind, INT64(AFFINE))
    many = builder.not_(few)
    with builder.if_then(builder.and_(builder.and_(one_row, in_place), many)):
        _one_row(tiles, n, k, a, b, finish)
        builder.ret_void()
    with builder.if_then(builder.icmp_signed("==", kind, INT64(AFFINE))):
        with builder.if_then(one_row):
            for count in cases(builder, n, range(FEW_COLUMNS + 1)):
                if count:
                    row_times_few_columns(tiles, count, k, a, b, finish)
            builder.ret_void()
        for count in (1, 2):
            with builder.if_then(builder.icmp_signed("==", n, INT64(count))):
                times_few_columns(tiles, count, m, k, a, b, finish, work)
                builder.ret_void()
    with builder.if_then(builder.and_(finish.multiplies, one_row)):
        row_times_transposed(tiles, n, k, a, b, finish, work)
        builder.ret_void()
    left = builder.icmp_signed("==", kind, INT64(TRANSPOSED_LEFT))
    with builder.if_then(builder.and_(few, left)):
        for count in cases(builder, n, range(FEW_COLUMNS + 1)):
            if count:
                transposed_times_few_columns(tiles, count, k, m, a.transposed(), b, finish)
        builder.ret_void()


def _one_row(
    tiles: Tiles, n: ir.Value, k: ir.Value, x: Strided, W: Strided, finish: Finish
) -> None:
    """out ← D + alpha x W for one row: wide panels, since nothing of W is used twice."""
    builder, lanes = tiles.builder, tiles.lanes
    with cgutils.for_range_slice(builder, ZERO, n, INT64(WIDE * lanes), INT64) as (j, _):
        left = builder.sub(n, j)
        here = finish.at(ZERO, j)
        for vectors in _vectors_for(tiles, left, (1, 2, WIDE)):
            masks = [tiles.mask(builder.sub(left, INT64(v * lanes))) for v in range(vectors)]
            sums = tiles.sums(1, vectors, k, x, W.at(ZERO, j), masks)
            for v, (total, mask) in enumerate(zip(sums, masks, strict=True)):
                before = tiles.load(tiles.vector_at(here.d.data, v), mask)
                z = tiles.fma(total, finish.alpha, before)
                tiles.store(finish.rectified(z), tiles.vector_at(here.out.data, v), mask)


def _outer_product(
    tiles: Tiles, m: ir.Value, n: ir.Value, a: Strided, b: Strided, finish: Finish
) -> None:
    """out ← D + alpha a b, (m, 1) times (1, n): the gradient of W from a single row."""
    builder, lanes = tiles.builder, tiles.lanes
    with cgutils.for_range_slice(builder, ZERO, n, INT64(WIDE * lanes), INT64) as (j, _):
        left = builder.sub(n, j)
        for vectors in _vectors_for(tiles, left, (1, 2, WIDE)):
            masks = [tiles.mask(builder.sub(left, INT64(v * lanes))) for v in range(vectors)]
            start = b.at(ZERO, j).data
            numbers = [tiles.load(tiles.vector_at(start, v), masks[v]) for v in range(vectors)]
            row = [builder.fmul(finish.alpha, vector) for vector in numbers]
            with cgutils.for_range(builder, m) as loop:
                factor = tiles.broadcast(a.at(loop.index, ZERO).data)
                here = finish.at(loop.index, j)
                for v, (vector, mask) in enumerate(zip(row, masks, strict=True)):
                    before = tiles.load(tiles.vector_at(here.d.data, v), mask)
                    total = tiles.fma(factor, vector, before)
                    z = finish.rectified(total)
                    tiles.store(z, tiles.vector_at(here.out.data, v), mask)


class Product(NamedTuple):
    """Writes a product by panels and tiles."""

    tiles: Tiles
    a: Strided
    b: Strided
    finish: Finish
    work: ir.Value
    """Room for a panel of B, and behind it for some rows of A."""

    def write(self, m: ir.Value, n: ir.Value, k: ir.Value) -> None:
        """Cut along m and k, so that what is read again is still in a cache."""
        tiles, builder = self.tiles, self.tiles.builder
        itemsize = tiles.itemsize
        packs_a = builder.icmp_signed(">=", n, INT64(A_READERS))
        nowhere = self.work
        panel = builder.gep(nowhere, [INT64(PANEL * itemsize)])
        copy = builder.gep(panel, [INT64(DEPTH * PANEL * itemsize)])
        kept = builder.gep(copy, [INT64(DEPTH * ROWS * itemsize + REGISTER_BYTES)])
        with (
            _slices(builder, m, ROWS, 48) as (i, rows),
            _slices(builder, n, COLUMNS, 64) as (j, columns),
            _slices(builder, k, DEPTH, 16) as (p, some),
        ):
            a = self.a.at(i, p)
            with builder.if_then(packs_a):
                pack_rows(tiles, rows, some, a, copy)
            a = a._replace(data=builder.select(packs_a, copy, a.data))
            begun = builder.icmp_signed(">", p, ZERO)
            go_on = builder.icmp_signed("<", builder.add(p, some), k)
            row, column = self.b.at(p, j), self.b.at(j, p)
            b = column.or_else(self.finish.multiplies, row)
            part = self._replace(a=a, b=b, finish=self.finish.at(i, j), work=panel)
            part.by_panels(rows, columns, some, packs_a, Sums(kept, begun, go_on, nowhere))

    def by_panels(
        self, m: ir.Value, n: ir.Value, k: ir.Value, a_is_packed: ir.Value, sums: Sums
    ) -> None:
        """All of it, panel by panel."""
        tiles, builder = self.tiles, self.tiles.builder
        width = INT64(tiles.vectors * tiles.lanes)
        with cgutils.for_range_slice(builder, ZERO, n, width, INT64) as (j, _):
            left = builder.sub(n, j)
            room = builder.and_(builder.add(m, INT64(18)), INT64(-16))
            place = builder.mul(builder.mul(j, room), INT64(tiles.itemsize))
            here = sums._replace(data=builder.gep(sums.data, [place]))
            for vectors in _vectors_for(tiles, left, range(1, tiles.vectors + 1)):
                panel = self.panel(vectors, m, left, k, j)
                finish = self.finish.at(ZERO, j)
                tiles.column_of_tiles(
                    vectors, m, left, k, self.a, a_is_packed, panel, finish, here, self.b.at(ZERO, builder.add(j, INT64(vectors * tiles.lanes)))
                )

    def panel(
        self, vectors: int, m: ir.Value, columns: ir.Value, k: ir.Value, j: ir.Value
    ) -> Strided:
        """B's columns from j on, packed if need be."""
        tiles, builder, b = self.tiles, self.tiles.builder, self.b
        in_place = b.at(ZERO, j)
        narrow = builder.icmp_signed("<", columns, INT64(vectors * tiles.lanes))
        far = builder.icmp_signed(">=", b.row, INT64(B_FAR_BYTES))
        often = builder.icmp_signed(">=", m, INT64(B_READERS))
        transposed = self.finish.multiplies
        packs = builder.or_(builder.or_(transposed, narrow), builder.and_(far, often))
        with builder.if_then(packs), builder.if_else(transposed) as (yes, no):
            with yes:
                pack_transposed(tiles, vectors, columns, k, b.at(j, ZERO), self.work)
            with no:
                pack(tiles, vectors, columns, k, in_place, self.work)
        copy = Strided(builder, self.work, INT64(vectors * REGISTER_BYTES), b.column)
        return copy.or_else(packs, in_place)


def _vectors_for(tiles: Tiles, columns: ir.Value, choices: Sequence[int]) -> Iterator[int]:
    """A switch: what is written for a number of vectors runs where fewer do not suffice."""
    builder = tiles.builder
    fewer = 0
    for vectors in choices:
        wanted = builder.icmp_signed(">", columns, INT64(fewer * tiles.lanes))
        if vectors < choices[-1]:
            enough = builder.icmp_signed("<=", columns, INT64(vectors * tiles.lanes))
            wanted = builder.and_(wanted, enough)
        with builder.if_then(wanted):
            yield vectors
        fewer = vectors


@contextmanager
def _slices(
    builder: ir.IRBuilder, stop: ir.Value, most: int, unit: int
) -> Iterator[tuple[ir.Value, ir.Value]]:
    """A loop over equal slices of at most `most` numbers: where one starts, and its length.

    All but the last are multiples of `unit`.
    """
    count = builder.udiv(builder.add(stop, INT64(most - 1)), INT64(most))
    count = builder.select(builder.icmp_signed(">", count, ZERO), count, INT64(1))
    units = builder.udiv(builder.add(stop, INT64(unit - 1)), INT64(unit))
    step = builder.udiv(builder.sub(builder.add(units, count), INT64(1)), count)
    step = builder.mul(step, INT64(unit))
    with cgutils.for_range_slice(builder, ZERO, stop, step, INT64) as (start, _):
        left = builder.sub(stop, start)
        yield start, builder.select(builder.icmp_signed("<", left, step), left, step)
