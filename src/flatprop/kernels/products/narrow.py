"""Matrix products with few columns, as of an output layer: no vector is left half empty.

A tile would use one lane per column. Here the lanes run along the other dimension: along
k for A B, whose sums are then added up across the lanes, and along the rows of the result
for Aᵀ B, whose columns are then interleaved.
"""

from collections.abc import Iterator, Sequence

from llvmlite import ir
from numba.core import cgutils

from flatprop.kernels.loops.masks import LaneMask
from flatprop.kernels.loops.vector_loops import INT32, INT64
from flatprop.kernels.products.operands import ZERO, Finish, Strided
from flatprop.kernels.products.tiles import Tiles
from flatprop.kernels.products.vectors import Values
from flatprop.numbers.lanes import REGISTER_BYTES


def times_few_columns(
    tiles: Tiles,
    n: int,
    m: ir.Value,
    k: ir.Value,
    x: Strided,
    W: Strided,
    finish: Finish,
    work: ir.Value,
) -> None:
    """out ← x W + b, (m, k) times (k, n), all rows contiguous."""
    builder, lanes = tiles.builder, tiles.lanes
    bias = [tiles.broadcast(finish.d.at(ZERO, INT64(j)).data) for j in range(n)]
    every = _gathered(tiles, bias, [(lane % n, lane) for lane in range(lanes)])
    for i, total, mask in _few_columns(tiles, n, m, k, x, W, work):
        z = finish.rectified(builder.fadd(total, every))
        tiles.store(z, finish.out.at(i, ZERO).data, mask)


def row_times_transposed(
    tiles: Tiles, n: ir.Value, k: ir.Value, x: Strided, W: Strided, finish: Finish, work: ir.Value
) -> None:
    """out ← D ⊙ x Wᵀ for one row, (1, k) and (n, k), all rows contiguous.

    It is the one column W xᵀ: nothing has to be transposed.
    """
    builder = tiles.builder
    for i, total, mask in _few_columns(tiles, 1, n, k, W, x.transposed(), work):
        here = finish.at(ZERO, i)
        factor = finish.factor(tiles.load(here.d.data, mask))
        tiles.store(builder.fmul(total, factor), here.out.data, mask)


def _few_columns(
    tiles: Tiles, n: int, m: ir.Value, k: ir.Value, x: Strided, W: Strided, work: ir.Value
) -> Iterator[tuple[ir.Value, ir.Value, LaneMask]]:
    """A loop over vectors of x W, row by row: the first row, the vector, its mask."""
    builder, lanes = tiles.builder, tiles.lanes
    _pack_columns(tiles, n, k, W, work)
    group = lanes // n
    steps = builder.lshr(builder.add(k, INT64(lanes - 1)), INT64(lanes.bit_length() - 1))
    row_bytes, last = INT64(REGISTER_BYTES * n), builder.sub(m, INT64(1))
    with cgutils.for_range_slice(builder, ZERO, m, INT64(group), INT64) as (i, _):
        rows = []
        for r in range(group):  # rows beyond the last are computed again, and not stored
            row = builder.add(i, INT64(r))
            row = builder.select(builder.icmp_signed("<", row, last), row, last)
            rows.append(x.at(row, ZERO).data)

        def step(walk: Values, sums: Values) -> tuple[Values, Values]:
            offset, at_w, left = walk
            mask = tiles.mask(left)
            columns = [tiles.load(tiles.vector_at(at_w, j)) for j in range(n)]
            after = []
            for r, row in enumerate(rows):
                numbers = tiles.load(builder.gep(row, [offset]), mask)
                for j, column in enumerate(columns):
                    after.append(tiles.fma(numbers, column, sums[r * n + j]))
            further = [builder.add(offset, INT64(REGISTER_BYTES)), builder.gep(at_w, [row_bytes])]
            return [*further, builder.sub(left, INT64(lanes))], after

        zero = ir.Constant(tiles.vector, None)
        _, sums = tiles.repeat(steps, step, [ZERO, work, k], [zero] * (group * n))
        total = _added_up(tiles, [*sums, *[zero] * (lanes - group * n)])
        left = builder.mul(builder.sub(m, i), INT64(n))
        room = INT64(group * n)
        count = builder.select(builder.icmp_signed("<", left, room), left, room)
        yield i, total, tiles.mask(count)


def row_times_few_columns(
    tiles: Tiles, n: int, k: ir.Value, x: Strided, W: Strided, finish: Finish
) -> None:
    """out ← x W + b for one row, (1, k) times (k, n), all rows contiguous.

    W is read as it lies, `lanes` rows as n vectors, and x spread out to match.
    """
    builder, lanes = tiles.builder, tiles.lanes
    kind = ir.VectorType(INT32, lanes)
    spread = [
        ir.Constant(kind, [(v * lanes + lane) // n for lane in range(lanes)]) for v in range(n)
    ]
    steps = builder.lshr(builder.add(k, INT64(lanes - 1)), INT64(lanes.bit_length() - 1))

    def step(walk: Values, sums: Values) -> tuple[Values, Values]:
        at_x, at_w, left = walk
        numbers = tiles.load(at_x, tiles.mask(left))
        after = []
        for v, order in enumerate(spread):
            mask = tiles.mask(builder.sub(builder.mul(left, INT64(n)), INT64(v * lanes)))
            weights = tiles.load(tiles.vector_at(at_w, v), mask)
            wanted = builder.shuffle_vector(numbers, numbers, order) if n > 1 else numbers
            after.append(tiles.fma(wanted, weights, sums[v]))
        further = [tiles.vector_at(at_x, 1), tiles.vector_at(at_w, n)]
        return [*further, builder.sub(left, INT64(lanes))], after

    zero = ir.Constant(tiles.vector, None)
    _, sums = tiles.repeat(steps, step, [x.data, W.data, k], [zero] * n)
    total = _added_up(tiles, [*_deinterleaved(tiles, sums), *[zero] * (lanes - n)])
    mask = tiles.mask(INT64(n))
    z = builder.fadd(total, tiles.load(finish.d.data, mask))
    tiles.store(finish.rectified(z), finish.out.data, mask)


def transposed_times_few_columns(
    tiles: Tiles, n: int, m: ir.Value, k: ir.Value, a: Strided, b: Strided, finish: Finish
) -> None:
    """out ← D + alpha Aᵀ B, (m, k) and (m, n), all rows of `out` contiguous."""
    builder, lanes = tiles.builder, tiles.lanes
    with cgutils.for_range_slice(builder, ZERO, k, INT64(lanes), INT64) as (i, _):
        left = builder.sub(k, i)
        sums = tiles.sums(n, 1, m, b.transposed(), a.at(ZERO, i), [tiles.mask(left)])
        here = finish.at(i, ZERO)
        for v, interleaved in enumerate(_interleaved(tiles, sums)):
            mask = tiles.mask(builder.sub(builder.mul(left, INT64(n)), INT64(v * lanes)))
            before = tiles.load(tiles.vector_at(here.d.data, v), mask)
            total = tiles.fma(interleaved, finish.alpha, before)
            tiles.store(total, tiles.vector_at(here.out.data, v), mask)


def _pack_columns(tiles: Tiles, n: int, k: ir.Value, b: Strided, out: ir.Value) -> None:
    """out ← for each vector of B's k contiguous rows, n columns, one after the other.

    Filled up with 0 to a multiple of `lanes` rows.
    """
    builder, lanes = tiles.builder, tiles.lanes
    with cgutils.for_range_slice(builder, ZERO, k, INT64(lanes), INT64) as (p, _):
        here = b.at(p, ZERO).data
        left = builder.mul(builder.sub(k, p), INT64(n))
        vectors = [
            tiles.load(tiles.vector_at(here, v), tiles.mask(builder.sub(left, INT64(v * lanes))))
            for v in range(n)
        ]
        there = builder.gep(out, [builder.mul(p, INT64(n * tiles.itemsize))])
        for j, column in enumerate(_deinterleaved(tiles, vectors)):
            tiles.store(column, tiles.vector_at(there, j))


def _deinterleaved(tiles: Tiles, vectors: Values) -> Values:
    """n vectors, which hold `lanes` rows one after the other, as n columns."""
    n, lanes = len(vectors), tiles.lanes
    return [
        _gathered(tiles, vectors, [divmod(row * n + j, lanes) for row in range(lanes)])
        for j in range(n)
    ]


def _interleaved(tiles: Tiles, columns: Values) -> Values:
    """n columns of `lanes` rows as n vectors, row by row."""
    n, lanes = len(columns), tiles.lanes
    return [
        _gathered(tiles, columns, [divmod(v * lanes + lane, n)[::-1] for lane in range(lanes)])
        for v in range(n)
    ]


def _gathered(tiles: Tiles, vectors: Values, places: Sequence[tuple[int, int]]) -> ir.Value:
    """A vector whose lanes come from (vector, lane)."""
    result = vectors[0]
    if len(vectors) == 1:
        return result
    order = [lane if vector == 0 else 0 for vector, lane in places]
    for number, vector in enumerate(vectors[1:], start=1):
        for lane, (origin, place) in enumerate(places):
            if origin == number:
                order[lane] = tiles.lanes + place
        mask = ir.Constant(ir.VectorType(INT32, tiles.lanes), order)
        result = tiles.builder.shuffle_vector(result, vector, mask)
        order = list(range(tiles.lanes))
    return result


def _added_up(tiles: Tiles, vectors: Values) -> ir.Value:
    """A vector whose lane i is the sum over the lanes of vector i, of `lanes` vectors.

    Halves are added first, always in the same order: while two vectors become one, each
    gives half of its lanes.
    """
    builder, lanes = tiles.builder, tiles.lanes
    distance = lanes // 2
    while distance:
        kept = [lane if not lane & distance else lanes + lane for lane in range(lanes)]
        moved = [lane ^ distance if not lane & distance else lanes + (lane ^ distance)
                 for lane in range(lanes)]  # fmt: skip
        masks = [ir.Constant(ir.VectorType(INT32, lanes), order) for order in (kept, moved)]
        pairs = zip(vectors[:distance], vectors[distance:], strict=True)
        vectors = [
            builder.fadd(*(builder.shuffle_vector(one, other, mask) for mask in masks))
            for one, other in pairs
        ]
        distance //= 2
    return vectors[0]
