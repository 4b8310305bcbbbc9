"""How a product is cut: into panels of columns, and those into tiles of rows.

A panel is one or two vectors of columns:

    for each panel of B: pack it, where it does not lie as the tiles read it
        for each tile of rows of A: add up its products in registers

Aᵀ costs no more than A, whose numbers are read one by one with strides of their own. B is
read in whole vectors: a panel of Bᵀ, or one with fewer columns, is first copied ("packed")
in the order in which it is read. How large products are cut so that what is read again is
still in a cache follows Goto and van de Geijn (2008).

A layer of one to four units, or a batch of one row, would leave most of a tile empty. Such
products have functions of their own: see `special_cases`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import NamedTuple

from llvmlite import ir
from numba.core import cgutils

from flatprop.kernels.loops.vector_loops import INT64
from flatprop.kernels.products.multiplication import Multiplication
from flatprop.kernels.products.packing import pack, pack_rows, pack_transposed
from flatprop.kernels.products.special_cases import special_cases, vectors_for
from flatprop.kernels.products.tiles import ZERO, Finish, Strided, Tiles
from flatprop.numbers.lanes import REGISTER_BYTES

PANEL = 32
"""Columns of a panel for more rows, at most."""
BLOCK = 320
"""How many products are added up before the result is written, where B is not transposed."""

# When packing pays: where numbers that are read one after the other lie far apart, and the copy
# is read often. Rows of B that are far apart fall on few places of the cache, and each on a page
# of its own. So do columns of A.
B_FAR_BYTES, B_READERS = 512, 36
"""B is packed from so many bytes between its rows on, if so many rows of A read the copy."""
A_FAR_BYTES, A_READERS = 4096, 256
"""A is packed from so many bytes between its columns on, if so many columns of B read the copy."""
PACKED_ROWS = 480
"""How many rows of A are packed at once: they stay in the second cache. Whole tiles fill them."""


def write_product(product: Multiplication) -> None:
    """A B as the product's `finish` takes it."""
    special_cases(product)
    product.call("large_product", _write_large, last=True)


def _write_large(product: Multiplication) -> None:
    a, b, *_ = product.matrices
    Product(product.tiles(), a, b, product.finish(), product.work).write(*product.shape)


class Product(NamedTuple):
    """Writes a product by panels and tiles."""

    tiles: Tiles
    a: Strided
    b: Strided
    finish: Finish
    work: ir.Value
    """Room for a panel of B, and behind it for some rows of A."""

    def write(self, m: ir.Value, n: ir.Value, k: ir.Value) -> None:
        """Cut along k, so that a panel stays in the cache, and where A is packed along m."""
        tiles, builder = self.tiles, self.tiles.builder
        transposed = self.finish.multiplies  # a product once begun could not be added to
        length = builder.select(transposed, k, INT64(BLOCK))
        packs_a = builder.and_(
            builder.icmp_signed(">=", self.a.column, INT64(A_FAR_BYTES)),
            builder.icmp_signed(">=", n, INT64(A_READERS)),
        )
        height = builder.select(packs_a, INT64(PACKED_ROWS), m)
        copy = builder.gep(self.work, [INT64(BLOCK * PANEL * tiles.itemsize)])
        with _slices(builder, k, length) as (p, some), _slices(builder, m, height) as (i, rows):
            a = self.a.at(i, p)
            with builder.if_then(packs_a):
                pack_rows(tiles, rows, some, a, copy)
            a = a._replace(data=builder.select(packs_a, copy, a.data))
            first = builder.icmp_signed("==", p, ZERO)
            last = builder.icmp_signed("==", builder.add(p, some), k)
            below = ir.Constant(tiles.vector, [-inf] * tiles.lanes)
            finish = self.finish._replace(
                d=self.finish.d.or_else(first, self.finish.out),
                bound=builder.select(last, self.finish.bound, below),
            )
            # p is 0 where B is transposed
            part = self._replace(a=a, b=self.b.at(p, ZERO), finish=finish.at(i, ZERO))
            part.by_panels(rows, n, some, packs_a)

    def by_panels(self, m: ir.Value, n: ir.Value, k: ir.Value, a_is_packed: ir.Value) -> None:
        """All of it, panel by panel."""
        tiles, builder = self.tiles, self.tiles.builder
        width = INT64(tiles.vectors * tiles.lanes)
        with cgutils.for_range_slice(builder, ZERO, n, width, INT64) as (j, _):
            left = builder.sub(n, j)
            for vectors in vectors_for(tiles, left, range(1, tiles.vectors + 1)):
                panel = self.panel(vectors, m, left, k, j)
                finish = self.finish.at(ZERO, j)
                tiles.column_of_tiles(vectors, m, left, k, self.a, a_is_packed, panel, finish)

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


@contextmanager
def _slices(
    builder: ir.IRBuilder, stop: ir.Value, step: ir.Value
) -> Iterator[tuple[ir.Value, ir.Value]]:
    """A loop over slices of `step` numbers, the last one shorter: its start and its length."""
    with cgutils.for_range_slice(builder, ZERO, stop, step, INT64) as (start, _):
        left = builder.sub(stop, start)
        yield start, builder.select(builder.icmp_signed("<", left, step), left, step)
