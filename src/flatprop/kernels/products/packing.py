"""Copies of operands in the order in which tiles read them."""

from llvmlite import ir
from numba.core import cgutils

from flatprop.kernels.loops.masks import joined
from flatprop.kernels.loops.routines import subroutine
from flatprop.kernels.loops.vector_loops import INT32, INT64
from flatprop.kernels.products.operands import ZERO, Finish, Strided, Sums
from flatprop.kernels.products.tiles import Tiles
from flatprop.kernels.products.vectors import Values
from flatprop.numbers.lanes import REGISTER_BYTES

ROWS_AHEAD = 2
"""How many rows ahead of the copy memory is asked for them."""


def pack_rows(tiles: Tiles, m: ir.Value, k: ir.Value, a: Strided, out: ir.Value) -> None:
    """out ← A, (m, k), without gaps: row by row where rows are contiguous.

    Where columns are, tile by tile: k times a tile's numbers of a column.
    """
    builder, itemsize = tiles.builder, tiles.itemsize
    with builder.if_else(a.contiguous_rows(itemsize)) as (by_rows, by_columns):
        with by_rows, cgutils.for_range(builder, m) as loop:
            row = builder.gep(out, [builder.mul(builder.mul(loop.index, k), INT64(itemsize))])
            _copy_row(tiles, k, a.at(loop.index, ZERO), row)
        with by_columns, cgutils.for_range(builder, k) as loop:
            for height, i, left in tiles.rows_of_tiles(m):
                kind = ir.VectorType(tiles.element, height)
                here, p = a.at(i, loop.index).data, builder.mul(loop.index, INT64(height))
                place = builder.mul(builder.add(builder.mul(i, k), p), INT64(itemsize))
                there = builder.bitcast(builder.gep(out, [place]), kind.as_pointer())
                if left is None:
                    here = builder.bitcast(here, kind.as_pointer())
                    numbers = builder.load(here, align=itemsize)
                else:
                    some = tiles.load(here, tiles.mask(left))
                    first = ir.Constant(ir.VectorType(INT32, height), list(range(height)))
                    numbers = builder.shuffle_vector(some, some, first)
                builder.store(numbers, there, align=itemsize)


def _copy_row(tiles: Tiles, count: ir.Value, source: Strided, out: ir.Value) -> None:
    builder, step = tiles.builder, INT64(tiles.lanes)
    ahead = builder.mul(source.row, INT64(ROWS_AHEAD))
    with cgutils.for_range_slice(builder, ZERO, count, step, INT64) as (p, _):
        place = builder.mul(p, INT64(tiles.itemsize))
        here, there = (builder.gep(pointer, [place]) for pointer in (source.data, out))
        tiles.prefetch(builder.gep(here, [ahead]))
        mask = tiles.mask(builder.sub(count, p))
        tiles.store(tiles.load(here, mask), there, mask)


def pack(
    tiles: Tiles, vectors: int, columns: ir.Value, k: ir.Value, b: Strided, out: ir.Value
) -> None:
    """out ← the first `columns` of B's k rows, one after the other, filled up with 0."""
    row_bytes = vectors * REGISTER_BYTES
    _copy(tiles, vectors * tiles.lanes, columns, k, b, out, row_bytes)


def _copy(
    tiles: Tiles,
    room: int,
    columns: ir.Value,
    k: ir.Value,
    source: Strided,
    out: ir.Value,
    row_bytes: int,
) -> None:
    builder, lanes = tiles.builder, tiles.lanes
    inside = [tiles.mask(builder.sub(columns, INT64(start))) for start in range(0, room, lanes)]
    with cgutils.for_range(builder, k) as loop:
        here = builder.gep(source.data, [builder.mul(loop.index, source.row)])
        there = builder.gep(out, [builder.mul(loop.index, INT64(row_bytes))])
        for j, mask in enumerate(inside):
            whole = (j + 1) * REGISTER_BYTES <= row_bytes
            value = tiles.load(tiles.vector_at(here, j), mask)
            tiles.store(value, tiles.vector_at(there, j), None if whole else mask)


def pack_transposed(
    tiles: Tiles, vectors: int, columns: ir.Value, k: ir.Value, b: Strided, out: ir.Value
) -> None:
    """As `pack`, for Bᵀ: `b.row` says how far apart the columns of Bᵀ are.

    Columns that do not exist hold the numbers of the last one.
    """

    def emit(builder: ir.IRBuilder, *given: ir.Value) -> None:
        _pack_transposed(Tiles(builder, tiles.element, tiles.masks), *given)

    name = f"flatprop.pack_transposed.{tiles.element}"
    operands = [INT64(vectors), columns, k, b.data, b.row, out]
    subroutine(tiles.builder, name, emit, ir.VoidType(), operands)


def _pack_transposed(
    tiles: Tiles,
    vectors: ir.Value,
    columns: ir.Value,
    k: ir.Value,
    data: ir.Value,
    row: ir.Value,
    out: ir.Value,
) -> None:
    builder, size, lanes = tiles.builder, tiles.square, INT64(tiles.lanes)
    b = Strided(builder, data, row, INT64(tiles.itemsize))
    to = b._replace(data=out, row=builder.mul(vectors, INT64(REGISTER_BYTES)))
    step = INT64(size)
    last = builder.sub(k, step)
    enough = builder.icmp_signed(">=", last, ZERO)
    end = builder.mul(vectors, lanes)
    with cgutils.for_range_slice(builder, ZERO, end, lanes, INT64) as (j, _):
        # The last vector stands for those that have no column at all.
        first = builder.select(builder.icmp_signed("<", j, columns), j, ZERO)
        left = builder.sub(columns, first)
        with builder.if_else(enough) as branches:
            for branch, whole in zip(branches, (True, False), strict=True):
                with (
                    branch,
                    cgutils.for_range_slice(builder, ZERO, k, INT64(size), INT64) as (p, _),
                ):
                    if whole:  # the last squares overlap
                        p = builder.select(builder.icmp_signed("<", p, last), p, last)
                    pointers = tiles.rows_until(b.at(first, p), tiles.lanes, left)
                    parts = [
                        tiles.load_part(pointer, None if whole else tiles.mask(k))
                        for pointer in pointers
                    ]
                    for i, vector in enumerate(transposed(tiles, parts)):
                        tiles.store(vector, to.at(builder.add(p, INT64(i)), j).data)


def write_transposed(
    tiles: Tiles, m: ir.Value, n: ir.Value, room: ir.Value, sums: Sums, finish: Finish
) -> None:
    """out ← D ⊙ the transposed sums, of m rows and n columns, as panels left them.

    The panels are `room` rows high.
    """
    builder, lanes, size = tiles.builder, tiles.lanes, tiles.square
    width, step = INT64(tiles.vectors * lanes), INT64(size)
    with cgutils.for_range_slice(builder, ZERO, n, step, INT64) as (j, _):
        inside = builder.urem(j, width)
        start = builder.sub(j, inside)
        # The last panel may be narrower.
        wide = builder.icmp_signed(">", builder.sub(n, start), INT64(lanes))
        row = builder.select(wide, INT64(tiles.vectors * REGISTER_BYTES), INT64(REGISTER_BYTES))
        column = INT64(tiles.itemsize)
        panel = builder.gep(sums.data, [builder.mul(builder.mul(start, room), column)])
        source = Strided(builder, panel, row, column).at(ZERO, inside)
        left = builder.sub(n, j)
        with cgutils.for_range_slice(builder, ZERO, m, INT64(lanes), INT64) as (i, _):
            rows = tiles.rows_from(source.at(i, ZERO), lanes)
            totals = transposed(tiles, [tiles.load_part(place) for place in rows])
            mask = tiles.mask(builder.sub(m, i))
            tiles.write(totals, mask, finish.at(j, i), left, sums.nowhere)


def transposed(tiles: Tiles, parts: Values) -> Values:
    """Parts of rows as whole vectors of columns: square by square, which are put side by side."""
    size = tiles.square
    squares = [_square(tiles, parts[i : i + size]) for i in range(0, len(parts), size)]
    columns = squares[0]
    if len(squares) > 1:
        columns = [joined(tiles.builder, *pair) for pair in zip(*squares, strict=True)]
    return columns


def _square(tiles: Tiles, rows: Values) -> Values:
    """A square of vectors, transposed: ever smaller blocks of it change places."""
    builder, lanes = tiles.builder, len(rows)
    kind = ir.VectorType(INT32, lanes)
    distance = lanes // 2
    while distance:
        low = [i if not i & distance else lanes + i - distance for i in range(lanes)]
        high = [i + distance if not i & distance else lanes + i for i in range(lanes)]
        for i in range(lanes):
            if not i & distance:
                pair = rows[i], rows[i + distance]
                rows[i] = builder.shuffle_vector(*pair, ir.Constant(kind, low))
                rows[i + distance] = builder.shuffle_vector(*pair, ir.Constant(kind, high))
        distance //= 2
    return rows
