"""Matrix products with few columns, as of an output layer: no vector is left half empty.

A tile would use one lane per column. Here the lanes run along the other dimension: along
k for A B, whose sums are then added up across the lanes, and along the rows of the result
for Aᵀ B, whose columns are then interleaved.
"""

from collections.abc import Callable, Iterator, Sequence

from llvmlite import ir
from numba.core import cgutils

from flatprop.kernels.loops.masks import LaneMask, halves
from flatprop.kernels.loops.vector_loops import INT32, INT64
from flatprop.kernels.products.multiplication import Multiplication
from flatprop.kernels.products.operands import ZERO, Strided
from flatprop.kernels.products.tiles import Tiles
from flatprop.kernels.products.vectors import Values
from flatprop.numbers.lanes import REGISTER_BYTES


def times_few_columns(product: Multiplication, n: int) -> None:
    """out ← x W + b, (m, k) times (k, n), all rows contiguous."""
    tiles, finish = product.tiles(), product.finish()
    builder, lanes = tiles.builder, tiles.lanes
    m, _, k = product.shape
    x, W, *_ = product.matrices
    bias = [tiles.broadcast(finish.d.at(ZERO, INT64(j)).data) for j in range(n)]
    every = _gathered(tiles, bias, [(lane % n, lane) for lane in range(lanes)])
    for i, total, mask in _few_columns(tiles, n, m, k, x, W, product.work):
        z = finish.rectified(builder.fadd(total, every))
        tiles.store(z, finish.out.at(i, ZERO).data, mask)


def row_times_transposed(product: Multiplication) -> None:
    """out ← D ⊙ x Wᵀ for one row, (1, k) and (n, k), all rows contiguous.

    It is the one column W xᵀ: nothing has to be transposed.
    """
    tiles, finish, builder = product.tiles(), product.finish(), product.builder
    _, n, k = product.shape
    x, W, *_ = product.matrices
    for i, total, mask in _few_columns(tiles, 1, n, k, W, x.transposed(), product.work):
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
    last = builder.sub(m, INT64(1))
    with cgutils.for_range_slice(builder, ZERO, m, INT64(group), INT64) as (i, _):

        def sums_of(places: Sequence[int]) -> Values:
            """The sums of some of the vectors: vector r n + j is row r times column j."""
            rows = {}
            for r in dict.fromkeys(place // n for place in places):
                row = builder.add(i, INT64(r))  # beyond the last it is computed, but not stored
                row = builder.select(builder.icmp_signed("<", row, last), row, last)
                rows[r] = x.at(row, ZERO).data

            def step(walk: Values, sums: Values, mask: LaneMask | None) -> tuple[Values, Values]:
                offset, at_w = walk
                columns = [tiles.load(tiles.vector_at(at_w, j)) for j in range(n)]
                numbers = {
                    r: tiles.load(builder.gep(row, [offset]), mask) for r, row in rows.items()
                }
                after = [
                    tiles.fma(numbers[place // n], columns[place % n], total)
                    for place, total in zip(places, sums, strict=True)
                ]
                return [
                    builder.add(offset, INT64(REGISTER_BYTES)),
                    tiles.vector_at(at_w, n),
                ], after

            zeros = [ir.Constant(tiles.vector, None)] * len(places)
            return by_vectors(tiles, k, step, [ZERO, work], zeros)

        total = added_up(tiles, sums_of)
        left = builder.mul(builder.sub(m, i), INT64(n))
        room = INT64(group * n)
        count = builder.select(builder.icmp_signed("<", left, room), left, room)
        yield i, total, tiles.mask(count)


def row_times_few_columns(product: Multiplication, n: int) -> None:
    """out ← D + alpha x W for one row, (1, k) times (k, n), all rows contiguous.

    W is read as it lies, `lanes` rows as n vectors, and x spread out to match.
    """
    tiles, finish = product.tiles(), product.finish_of_one()
    builder, lanes = tiles.builder, tiles.lanes
    x, W, *_ = product.matrices
    kind = ir.VectorType(INT32, lanes)
    spread = [
        ir.Constant(kind, [(v * lanes + lane) // n for lane in range(lanes)]) for v in range(n)
    ]
    x_bytes = builder.mul(x.column, INT64(lanes))  # 0 where x is a number again and again

    def step(walk: Values, sums: Values, left: LaneMask | None) -> tuple[Values, Values]:
        at_x, at_w = walk
        numbers = tiles.load(at_x, left)
        after = []
        for v, order in enumerate(spread):
            mask = left
            if left is not None:
                mask = tiles.mask(builder.sub(builder.mul(left.count, INT64(n)), INT64(v * lanes)))
            weights = tiles.load(tiles.vector_at(at_w, v), mask)
            wanted = builder.shuffle_vector(numbers, numbers, order) if n > 1 else numbers
            after.append(tiles.fma(wanted, weights, sums[v]))
        return [builder.gep(at_x, [x_bytes]), tiles.vector_at(at_w, n)], after

    zero = ir.Constant(tiles.vector, None)
    sums = by_vectors(tiles, product.shape[2], step, [x.data, W.data], [zero] * n)
    number = product.element.as_pointer()
    for j, column in enumerate(_deinterleaved(tiles, sums)):
        here = finish.at(ZERO, INT64(j))
        d = builder.load(builder.bitcast(here.d.data, number))
        z = tiles.fma(_sum_of_lanes(builder, column), here.alpha, d)
        builder.store(here.rectified(z), builder.bitcast(here.out.data, number))


def transposed_times_few_columns(product: Multiplication, n: int) -> None:
    """out ← D + alpha Aᵀ B, (m, k) and (m, n), all rows of `out` contiguous."""
    tiles, finish = product.tiles(), product.finish()
    builder, lanes = tiles.builder, tiles.lanes
    k, _, m = product.shape
    at, b, *_ = product.matrices
    a = at.transposed()
    with cgutils.for_range_slice(builder, ZERO, k, INT64(lanes), INT64) as (i, _):
        left = builder.sub(k, i)
        here = finish.at(i, ZERO)
        for masks in whole_or_not(tiles, [tiles.mask(left)]):
            sums = tiles.sums(n, 1, m, b.transposed(), a.at(ZERO, i), masks)
            for v, interleaved in enumerate(_interleaved(tiles, sums)):
                mask = None
                if masks:
                    mask = tiles.mask(builder.sub(builder.mul(left, INT64(n)), INT64(v * lanes)))
                before = tiles.load(tiles.vector_at(here.d.data, v), mask)
                total = tiles.fma(interleaved, finish.alpha, before)
                tiles.store(total, tiles.vector_at(here.out.data, v), mask)


def few_products_transposed(product: Multiplication, k: int) -> None:
    """out ← D ⊙ A Bᵀ, (m, k) and (n, k), all rows contiguous: a sum of k outer products."""
    tiles, finish = product.tiles(), product.finish()
    builder, lanes = tiles.builder, tiles.lanes
    m, n, _ = product.shape
    a, b, *_ = product.matrices
    with cgutils.for_range_slice(builder, ZERO, n, INT64(lanes), INT64) as (j, _):
        columns = _columns_from(tiles, k, builder.sub(n, j), b.at(j, ZERO).data)
        for masks in whole_or_not(tiles, [tiles.mask(builder.sub(n, j))]):
            mask = masks[0] if masks else None
            with cgutils.for_range(builder, m) as loop:
                i = loop.index
                factors = [tiles.broadcast(a.at(i, INT64(p)).data) for p in range(k)]
                total = builder.fmul(factors[0], columns[0])
                for factor, column in zip(factors[1:], columns[1:], strict=True):
                    total = tiles.fma(factor, column, total)
                here = finish.at(i, j)
                factor = here.factor(tiles.load(here.d.data, mask))
                tiles.store(builder.fmul(total, factor), here.out.data, mask)


def by_vectors(
    tiles: Tiles,
    k: ir.Value,
    step: Callable[[Values, Values, LaneMask | None], tuple[Values, Values]],
    walk: Values,
    sums: Values,
) -> Values:
    """Sums over k numbers: a step for each vector of them, the last under a mask if need be."""
    builder = tiles.builder
    times = builder.lshr(k, INT64(tiles.lanes.bit_length() - 1))
    walk, sums = tiles.repeat(times, lambda walk, sums: step(walk, sums, None), walk, sums)
    rest = tiles.mask(builder.and_(k, INT64(tiles.lanes - 1)))
    once = builder.zext(builder.icmp_signed(">", rest.count, ZERO), INT64)
    return tiles.repeat(once, lambda walk, sums: step(walk, sums, rest), walk, sums)[1]


def whole_or_not(tiles: Tiles, masks: Sequence[LaneMask]) -> Iterator[Sequence[LaneMask] | None]:
    """What is written runs without masks where all lanes are inside, and under them elsewhere.

    With AVX-512 masks cost nothing.
    """
    if tiles.masks:
        yield masks
        return
    with tiles.builder.if_else(masks[-1].whole) as (yes, no):
        with yes:
            yield None
        with no:
            yield masks


def _pack_columns(tiles: Tiles, n: int, k: ir.Value, b: Strided, out: ir.Value) -> None:
    """out ← for each vector of B's k contiguous rows, n columns, one after the other.

    Filled up with 0 to a multiple of `lanes` rows.
    """
    builder, lanes = tiles.builder, tiles.lanes
    with cgutils.for_range_slice(builder, ZERO, k, INT64(lanes), INT64) as (p, _):
        columns = _columns_from(tiles, n, builder.sub(k, p), b.at(p, ZERO).data)
        there = builder.gep(out, [builder.mul(p, INT64(n * tiles.itemsize))])
        for j, column in enumerate(columns):
            tiles.store(column, tiles.vector_at(there, j))


def _columns_from(tiles: Tiles, n: int, rows: ir.Value, data: ir.Value) -> Values:
    """The next `lanes` numbers, of which `rows` exist, of each of n columns, row by row."""
    builder, left = tiles.builder, tiles.builder.mul(rows, INT64(n))
    masks = [tiles.mask(builder.sub(left, INT64(v * tiles.lanes))) for v in range(n)]
    vectors = [tiles.load(tiles.vector_at(data, v), mask) for v, mask in enumerate(masks)]
    return _deinterleaved(tiles, vectors)


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


def _sum_of_lanes(builder: ir.IRBuilder, vector: ir.Value) -> ir.Value:
    """The sum over the lanes, halves first."""
    while vector.type.count > 1:
        vector = builder.fadd(*halves(builder, vector))
    return builder.extract_element(vector, INT32(0))


def added_up(tiles: Tiles, vectors: Callable[[Sequence[int]], Values]) -> ir.Value:
    """A vector whose lane i is the sum over the lanes of vector i, of `lanes` vectors.

    Halves are added first, always in the same order: while two vectors become one, each
    gives half of its lanes. `vectors` gives the vectors of some places. As many are asked for at
    once as there are registers for.
    """
    builder, lanes = tiles.builder, tiles.lanes
    some = lanes if tiles.masks else 4

    def merge(vectors: Values, distance: int) -> Values:
        kept = [lane if not lane & distance else lanes + lane for lane in range(lanes)]
        moved = [lane ^ distance if not lane & distance else lanes + (lane ^ distance)
                 for lane in range(lanes)]  # fmt: skip
        masks = [ir.Constant(ir.VectorType(INT32, lanes), order) for order in (kept, moved)]
        pairs = zip(vectors[: len(vectors) // 2], vectors[len(vectors) // 2 :], strict=True)
        return [
            builder.fadd(*(builder.shuffle_vector(one, other, mask) for mask in masks))
            for one, other in pairs
        ]

    parts = lanes // some
    totals = []
    for first in range(parts):
        part, distance = vectors(range(first, lanes, parts)), lanes // 2
        while len(part) > 1:
            part, distance = merge(part, distance), distance // 2
        totals += part
    while len(totals) > 1:
        totals = merge(totals, len(totals) // 2)
    return totals[0]
