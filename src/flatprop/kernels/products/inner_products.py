"""A Bᵀ of a few long rows: the gradient of W where each unit has a row.

A tile of `matmul` would have to turn B. Here the lanes run along the rows of both. A tile keeps
the sums of some rows of A with some of B; in the end the lanes of each sum are added up.
"""

from collections.abc import Sequence
from functools import partial

from llvmlite import ir
from numba.core import cgutils, types

from flatprop.kernels.loops.masks import LaneMask
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import INT64, Array
from flatprop.kernels.products.narrow import added_up, by_vectors
from flatprop.kernels.products.operands import POINTER, ZERO, Strided
from flatprop.kernels.products.tiles import Tiles
from flatprop.kernels.products.vectors import Values
from flatprop.numbers.lanes import REGISTER_BYTES


@routine(accumulate=types.boolean)
def inner_products(
    builder: ir.IRBuilder, a: Array, b: Array, accumulate: ir.Value, out: Array
) -> None:
    """out ← A Bᵀ, (m, n) and (k, n), added to what `out` held where `accumulate`.

    Of longer rows of B the first n numbers count.
    """
    tiles = Tiles(builder, a.element, a.masks)
    side = 4 if tiles.masks else 2  # as many sums as there are registers for
    (m, n), k = a.shape, b.shape[0]
    rows, columns = (_strided(matrix, tiles.itemsize) for matrix in (a, b))
    count = max(side * side, tiles.lanes)
    sums_of_tile = cgutils.alloca_once(builder, a.element, count)
    kept = builder.bitcast(sums_of_tile, POINTER)
    step = INT64(side)
    with (
        cgutils.for_range_slice(builder, ZERO, m, step, INT64) as (i, _),
        cgutils.for_range_slice(builder, ZERO, k, step, INT64) as (j, _),
    ):
        left = [builder.sub(m, i), builder.sub(k, j)]
        of_a = tiles.rows_until(rows.at(i, ZERO), side, left[0])
        of_b = tiles.rows_until(columns.at(j, ZERO), side, left[1])

        def along(walk: Values, sums: Values, mask: LaneMask | None) -> tuple[Values, Values]:
            (offset,) = walk
            one, other = (
                [tiles.load(builder.gep(row, [offset]), mask) for row in matrix]
                for matrix in (of_a, of_b)
            )
            after = [
                tiles.fma(x, y, sums[r * side + c])
                for r, x in enumerate(one)
                for c, y in enumerate(other)
            ]
            return [builder.add(offset, INT64(REGISTER_BYTES))], after

        zeros = [ir.Constant(tiles.vector, None)] * (side * side)
        sums = by_vectors(tiles, n, along, [ZERO], zeros)
        sums += [ir.Constant(tiles.vector, None)] * (-len(sums) % tiles.lanes)
        for first in range(0, len(sums), tiles.lanes):
            some = sums[first : first + tiles.lanes]
            total = added_up(tiles, partial(_chosen, some))
            tiles.store(total, tiles.vector_at(kept, first // tiles.lanes))
        inside = [_least(builder, here, side) for here in left]
        with (
            cgutils.for_range(builder, inside[0]) as r,
            cgutils.for_range(builder, inside[1]) as c,
        ):
            place = builder.add(builder.mul(r.index, step), c.index)
            total = builder.load(builder.gep(sums_of_tile, [place]))
            row = builder.mul(builder.add(i, r.index), k)
            there = out.at(builder.add(row, builder.add(j, c.index)))
            before = builder.select(accumulate, builder.load(there), a.element(0.0))
            builder.store(builder.fadd(total, before), there)


def _chosen(values: Values, places: Sequence[int]) -> Values:
    return [values[place] for place in places]


def _least(builder: ir.IRBuilder, value: ir.Value, most: int) -> ir.Value:
    return builder.select(builder.icmp_signed("<", value, INT64(most)), value, INT64(most))


def _strided(array: Array, itemsize: int) -> Strided:
    builder = array.builder
    row = builder.mul(array.shape[1], INT64(itemsize))
    return Strided(builder, builder.bitcast(array.data, POINTER), row, INT64(itemsize))
