"""Products that would leave most of a tile empty: few numbers, a single row, few columns.

| what | function |
| --- | --- |
| few products at all | `_number_by_number` |
| A and B have one column and one row | `_outer_product` |
| one row, and many columns | `_one_row` |
| one row, or any number of rows, and few columns | those of `narrow` |
| A Bᵀ of a layer with few units | `few_products_transposed` of `narrow` |
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from llvmlite import ir
from numba.core import cgutils

from flatprop.kernels.loops.vector_loops import INT64, cases
from flatprop.kernels.products.blocks import FEW_COLUMNS
from flatprop.kernels.products.multiplication import (
    AFFINE,
    TRANSPOSED_LEFT,
    Multiplication,
    Writer,
)
from flatprop.kernels.products.narrow import (
    few_products_transposed,
    row_times_few_columns,
    row_times_transposed,
    times_few_columns,
    transposed_times_few_columns,
    whole_or_not,
)
from flatprop.kernels.products.operands import ZERO
from flatprop.kernels.products.tiles import Tiles
from flatprop.kernels.products.vectors import Values
from flatprop.numbers.lanes import Lanes
from flatprop.numbers.numbers import fma

WithCount: TypeAlias = Callable[[Multiplication, int], None]

FEW_PRODUCTS = 96
"""Up to so many products are made one by one, unless a single sum takes most of them: it would
wait for each of them, where `narrow` adds up several at once."""
FEW = 16
"""And for fewer columns, which would not fill a vector, and for fewer rows: a part of a larger
product must have the same bits as the whole, and has as many rows."""
WIDE = 4
"""Vectors of a panel for a single row of A."""


def special_cases(product: Multiplication) -> None:
    """Go on in the function for the case, where there is one."""
    builder = product.builder
    m, n, k = product.shape

    def at_most(value: ir.Value, number: int) -> ir.Value:
        return builder.icmp_signed("<=", value, INT64(number))

    def go_on_if(condition: ir.Value, name: str, write: Writer) -> None:
        with builder.if_then(condition):
            product.call(name, write, last=True)
            builder.ret_void()

    products = builder.mul(builder.mul(m, n), k)
    small = builder.and_(at_most(m, FEW - 1), at_most(n, FEW - 1))
    small = builder.and_(small, at_most(k, FEW_PRODUCTS // 2))
    some = builder.and_(at_most(products, FEW_PRODUCTS), small)
    go_on_if(some, "number_by_number", _number_by_number)
    few = at_most(n, FEW_COLUMNS)
    one_row = builder.icmp_signed("==", m, INT64(1))
    with builder.if_then(product.multiplies):
        for count in range(1, FEW_COLUMNS + 1):
            same = builder.icmp_signed("==", k, INT64(count))
            go_on_if(same, f"transposed.{count}", _with_count(few_products_transposed, count))
        go_on_if(one_row, "row_times_transposed", row_times_transposed)
    adds = builder.not_(product.multiplies)
    with builder.if_then(builder.and_(adds, builder.not_(few))):
        go_on_if(builder.icmp_signed("==", k, INT64(1)), "outer_product", _outer_product)
        in_place = at_most(product.kind, AFFINE)
        go_on_if(builder.and_(one_row, in_place), "one_row", _one_row)
    with builder.if_then(builder.and_(adds, few)):
        left = product.is_kind(TRANSPOSED_LEFT)
        go_on_if(left, "few_columns.left", _for_each_count(transposed_times_few_columns))
        go_on_if(one_row, "few_columns.row", _for_each_count(row_times_few_columns))
        with builder.if_then(product.is_kind(AFFINE)):
            for count in (1, 2):
                same = builder.icmp_signed("==", n, INT64(count))
                go_on_if(same, f"few_columns.{count}", _with_count(times_few_columns, count))


def _with_count(
    write: Callable[[Multiplication, int], None], count: int
) -> Callable[[Multiplication], None]:
    def written(product: Multiplication) -> None:
        write(product, count)

    return written


def _for_each_count(
    write: Callable[[Multiplication, int], None],
) -> Callable[[Multiplication], None]:
    """A switch over the number of columns."""

    def written(product: Multiplication) -> None:
        for count in cases(product.builder, product.shape[1], range(FEW_COLUMNS + 1)):
            if count:
                write(product, count)

    return written


def _number_by_number(product: Multiplication) -> None:
    """Any product, in one loop for each dimension."""
    builder, tiles, finish = product.builder, product.tiles(), product.finish_of_one()
    m, n, k = product.shape
    a, b, *_ = product.matrices
    b = b.transposed().or_else(product.multiplies, b)

    def load(at: ir.Value) -> Lanes:
        return Lanes(builder, builder.load(builder.bitcast(at, product.element.as_pointer())))

    with cgutils.for_range(builder, m) as rows, cgutils.for_range(builder, n) as columns:
        i, j = rows.index, columns.index

        def step(walk: Values, sums: Values) -> tuple[Values, Values]:
            at_a, at_b = walk
            total = fma(load(at_a), load(at_b), Lanes(builder, sums[0]))
            return [builder.gep(at_a, [a.column]), builder.gep(at_b, [b.row])], [total.value]

        start = [a.at(i, ZERO).data, b.at(ZERO, j).data]
        _, (total,) = tiles.repeat(k, step, start, [product.element(0.0)])
        here = finish.at(i, j)
        d = load(here.d.data).value
        added = here.rectified(tiles.fma(total, here.alpha, d))
        multiplied = builder.fmul(total, here.factor(d))
        result = builder.select(product.multiplies, multiplied, added)
        builder.store(result, builder.bitcast(here.out.data, product.element.as_pointer()))


def _one_row(product: Multiplication) -> None:
    """out ← D + alpha x W for one row: wide panels, since nothing of W is used twice."""
    builder, tiles, finish, lanes = (
        product.builder,
        product.tiles(),
        product.finish(),
        product.tiles().lanes,
    )
    _, n, k = product.shape
    x, W, *_ = product.matrices
    with cgutils.for_range_slice(builder, ZERO, n, INT64(WIDE * lanes), INT64) as (j, _):
        left = builder.sub(n, j)
        here = finish.at(ZERO, j)
        for vectors in vectors_for(tiles, left, (1, 2, WIDE)):
            every = [tiles.mask(builder.sub(left, INT64(v * lanes))) for v in range(vectors)]
            for masks in whole_or_not(tiles, every):
                sums = tiles.sums(1, vectors, k, x, W.at(ZERO, j), masks)
                for v, total in enumerate(sums):
                    mask = masks[v] if masks else None
                    before = tiles.load(tiles.vector_at(here.d.data, v), mask)
                    z = tiles.fma(total, finish.alpha, before)
                    tiles.store(finish.rectified(z), tiles.vector_at(here.out.data, v), mask)


def _outer_product(product: Multiplication) -> None:
    """out ← D + alpha a b, (m, 1) times (1, n): the gradient of W from a single row."""
    builder, tiles, finish, lanes = (
        product.builder,
        product.tiles(),
        product.finish(),
        product.tiles().lanes,
    )
    m, n, _ = product.shape
    a, b, *_ = product.matrices
    with cgutils.for_range_slice(builder, ZERO, n, INT64(WIDE * lanes), INT64) as (j, _):
        left = builder.sub(n, j)
        for vectors in vectors_for(tiles, left, (1, 2, WIDE)):
            every = [tiles.mask(builder.sub(left, INT64(v * lanes))) for v in range(vectors)]
            start = b.at(ZERO, j).data
            numbers = [tiles.load(tiles.vector_at(start, v), every[v]) for v in range(vectors)]
            row = [builder.fmul(finish.alpha, vector) for vector in numbers]
            for masks in whole_or_not(tiles, every):
                with cgutils.for_range(builder, m) as loop:
                    factor = tiles.broadcast(a.at(loop.index, ZERO).data)
                    here = finish.at(loop.index, j)
                    for v, vector in enumerate(row):
                        mask = masks[v] if masks else None
                        before = tiles.load(tiles.vector_at(here.d.data, v), mask)
                        z = finish.rectified(tiles.fma(factor, vector, before))
                        tiles.store(z, tiles.vector_at(here.out.data, v), mask)


def vectors_for(tiles: Tiles, columns: ir.Value, choices: Sequence[int]) -> Iterator[int]:
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
