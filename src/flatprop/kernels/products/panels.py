"""How a product is cut: into blocks, those into panels of columns, and those into tiles of rows.

    for each block of rows of A, and for each of columns of B, as `blocks` says
        for some of the columns of A and rows of B: pack that part of A
            for each panel of B, one or two vectors of columns: pack it
                for each tile of rows of A: add up its products in registers

What is read again is in a cache then: a panel in the first, the part of A in the second. This
follows Goto and van de Geijn (2008). Sums that are not complete wait in the scratch.

To pack is to copy in the order in which tiles read. Aᵀ costs no more than A, whose numbers are
read one by one with strides of their own, so that A is packed in the order in which it lies,
and only where many columns of B read the copy. B is read in whole vectors: a panel of Bᵀ is
transposed on the way, one with fewer columns filled up. A panel of rows that lie close together
is read where it lies.

A Bᵀ is made as B Aᵀ where that leaves less to transpose, as for W and a batch that is smaller
than the layer. All sums then wait in the scratch, and are transposed when they are written. A sum
is added up in the same order in either case, and in tiles of any height: a row's result has the
same bits whichever rows it is computed with.

A layer of one to four units, or a batch of one row, would leave most of a tile empty. Such
products have functions of their own: see `special_cases`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from llvmlite import ir
from numba.core import cgutils

from flatprop.kernels.loops.vector_loops import INT64
from flatprop.kernels.products.blocks import A_READERS, PANEL
from flatprop.kernels.products.multiplication import Multiplication
from flatprop.kernels.products.operands import ZERO, Finish, Panel, RowBlock, Strided, Sums
from flatprop.kernels.products.packing import pack, pack_rows, pack_transposed, write_transposed
from flatprop.kernels.products.special_cases import special_cases, vectors_for
from flatprop.kernels.products.tiles import Tiles
from flatprop.numbers.lanes import REGISTER_BYTES

TILE_ROWS = 12
"""Blocks of rows are made of so many: whole tiles, however high."""
EXCHANGED_ROWS = 8
"""Fewer rows would fill no vector, so that A Bᵀ is not exchanged."""
LANES = 16
"""Numbers of a vector, at most."""

# When packing B pays: where rows that are read one after the other lie far apart, and the copy is
# read often. Rows far apart fall on few places of the cache, and each on a page of its own.
B_FAR_BYTES, B_READERS = 512, 36
"""B is packed from so many bytes between its rows on, if so many rows of A read the copy."""


def write_product(product: Multiplication) -> None:
    """A B as the product's `finish` takes it."""
    special_cases(product)
    product.call("large_product", _write_large, last=True)


def _write_large(product: Multiplication) -> None:
    builder, finish = product.builder, product.finish()
    (m, n, k), (a, b, *_) = product.shape, product.matrices
    # A Bᵀ, or B Aᵀ where the transposed A and result are smaller than the transposed B.
    small = builder.icmp_signed("<=", builder.mul(m, builder.add(n, k)), builder.mul(n, k))
    some = builder.icmp_signed(">=", m, INT64(EXCHANGED_ROWS))
    exchanged = builder.and_(builder.and_(some, small), finish.multiplies)
    m, n = builder.select(exchanged, n, m), builder.select(exchanged, m, n)
    a, b = b.or_else(exchanged, a), a.or_else(exchanged, b)
    Product(product.tiles(), a, b, finish, product.work, exchanged).write(m, n, k)


class Product(NamedTuple):
    """Writes a product by blocks, panels and tiles."""

    tiles: Tiles
    a: Strided
    b: Strided
    finish: Finish
    work: ir.Value
    exchanged: ir.Value
    """Whether this is B Aᵀ, for a result that is transposed at the end."""

    def write(self, m: ir.Value, n: ir.Value, k: ir.Value) -> None:
        """Cut into blocks, so that what is read again is still in a cache.

        `work` has room for a row of a tile, a panel of B, some rows of A and the sums of a block.
        """
        tiles, builder, blocks = self.tiles, self.tiles.builder, self.tiles.blocks

        def behind(pointer: ir.Value, count: ir.Value) -> ir.Value:
            return builder.gep(pointer, [builder.mul(count, INT64(tiles.itemsize))])

        length = _least(builder, k, blocks.depth)
        whole_vectors = builder.and_(builder.add(length, INT64(15)), INT64(-16))
        panel = behind(self.work, INT64(PANEL))
        copy = behind(panel, builder.mul(whole_vectors, INT64(PANEL)))
        packs = builder.icmp_signed(">=", n, INT64(A_READERS))
        height = builder.add(_least(builder, m, blocks.rows), INT64(4))
        packed = builder.add(builder.mul(height, length), INT64(tiles.lanes))
        kept = behind(copy, builder.select(packs, packed, ZERO))
        with (
            _slices(builder, m, blocks.rows, TILE_ROWS) as (i, rows),
            _slices(builder, n, blocks.columns, PANEL) as (j, columns),
        ):
            finish = self.finish.at(i, j)
            # every panel has room for the rows of whole tiles
            room = builder.and_(builder.add(rows, INT64(18)), INT64(-16))
            with _slices(builder, k, blocks.depth, LANES) as (p, some):
                a = self.a.at(i, p)
                with builder.if_then(packs):
                    pack_rows(tiles, rows, some, a, copy)
                a = a._replace(data=builder.select(packs, copy, a.data))
                begun = builder.icmp_signed(">", p, ZERO)
                go_on = builder.icmp_signed("<", builder.add(p, some), k)
                go_on = builder.or_(go_on, self.exchanged)
                b = self.b.at(j, p).or_else(self.finish.multiplies, self.b.at(p, j))
                part = self._replace(b=b, finish=finish, work=panel)
                by_rows = self.a.contiguous_rows(tiles.itemsize)
                sums = Sums(kept, begun, go_on, self.work)
                part.by_panels(columns, some, RowBlock(a, packs, by_rows, rows), room, sums)
            with builder.if_then(self.exchanged):
                place = self.finish.at(j, i)
                write_transposed(tiles, rows, columns, room, sums, place)

    def by_panels(
        self, n: ir.Value, k: ir.Value, rows: RowBlock, room: ir.Value, sums: Sums
    ) -> None:
        """All panels of a block."""
        tiles, builder = self.tiles, self.tiles.builder
        width = INT64(tiles.vectors * tiles.lanes)
        room = builder.mul(room, INT64(tiles.itemsize))
        with cgutils.for_range_slice(builder, ZERO, n, width, INT64) as (j, _):
            left = builder.sub(n, j)
            here = sums._replace(data=builder.gep(sums.data, [builder.mul(j, room)]))
            for vectors in vectors_for(tiles, left, range(1, tiles.vectors + 1)):
                panel = self.panel(vectors, rows.count, left, k, j)
                tiles.column_of_tiles(k, rows, panel, self.finish.at(ZERO, j), here)

    def panel(
        self, vectors: int, m: ir.Value, columns: ir.Value, k: ir.Value, j: ir.Value
    ) -> Panel:
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
        mask = tiles.mask(builder.sub(columns, INT64((vectors - 1) * tiles.lanes)))
        following = b.at(ZERO, builder.add(j, INT64(vectors * tiles.lanes)))
        size = builder.mul(b.row, k)
        large = builder.icmp_signed(">", size, INT64(tiles.blocks.far))
        fetches = builder.and_(large, builder.and_(packs, builder.not_(transposed)))
        return Panel(copy.or_else(packs, in_place), vectors, mask, following, fetches)


def _least(builder: ir.IRBuilder, value: ir.Value, most: int) -> ir.Value:
    return builder.select(builder.icmp_signed("<", value, INT64(most)), value, INT64(most))


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
