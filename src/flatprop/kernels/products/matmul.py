"""The matrix products of backpropagation, without BLAS.

They share one function for each dtype, whatever the sizes. It cuts a product as `panels` says.

Every product takes `scratch`, of `scratch_size` numbers, and overwrites it.
"""

from collections.abc import Sequence
from math import inf

from llvmlite import ir
from numba.core import cgutils, types

from flatprop.kernels.compile import jittable
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import (
    DOUBLE,
    INT64,
    Array,
    broadcast,
    registers,
    rows_of,
)
from flatprop.kernels.products.blocks import A_READERS, BLOCKS, FEW_COLUMNS, PANEL
from flatprop.kernels.products.multiplication import (
    AFFINE,
    PLAIN,
    TRANSPOSED_LEFT,
    TRANSPOSED_RIGHT,
    Multiplication,
)
from flatprop.kernels.products.operands import POINTER, ZERO, Strided
from flatprop.kernels.products.panels import EXCHANGED_ROWS, write_product
from flatprop.numbers.lanes import REGISTER_BYTES, lane_count


@jittable
def scratch_size(rows: int, widest: int) -> int:
    """Numbers of scratch for batches of `rows` through layers of `widest` inputs or units.

    See `panels.Product`, which shares them out.
    """
    longest = (max(rows, widest) + 15) // 16 * 16
    size = REGISTER_BYTES // 4  # for its alignment
    size += PANEL + max(min(longest, BLOCKS.depth) * PANEL, longest * FEW_COLUMNS)
    if widest >= A_READERS:
        size += min(longest, BLOCKS.rows) * min(longest, BLOCKS.depth) + 4 * BLOCKS.depth
    # Sums stay there between blocks, and where the roles of A and B are exchanged: for a batch of
    # so many rows at least, and of half as many as there are units at most.
    exchanges = rows >= EXCHANGED_ROWS and widest >= 2 * EXCHANGED_ROWS
    if longest > BLOCKS.depth or exchanges:
        height = longest if widest > BLOCKS.depth else widest
        width = widest if longest > BLOCKS.depth else min(rows, widest // 2)
        size += (min(height, BLOCKS.rows) + 18) * (min(width, BLOCKS.columns) + PANEL)
    return size


@routine(rectify=types.boolean)
def affine(
    builder: ir.IRBuilder,
    x: Array,
    W: Array,
    b: Array,
    rectify: ir.Value,
    z: Array,
    scratch: Array,
) -> None:
    """z ← x W + b, (m, k) times (k, n) plus (1, n); max(x W + b, 0) where `rectify`."""
    matrices = _strided(x), _strided(W), _repeated(b), _strided(z)
    _multiply(AFFINE, (*z.shape, x.shape[1]), *matrices, scratch, rectify=rectify)


@routine(start=types.int64, alpha=types.float64, accumulate=types.boolean)
def product_transposed_left(
    builder: ir.IRBuilder,
    a: Array,
    b: Array,
    start: ir.Value,
    alpha: ir.Value,
    accumulate: ir.Value,
    out: Array,
    scratch: Array,
) -> None:
    """out ← alpha Aᵀ B, added to what `out` held where `accumulate`; (m, k) and (m, n).

    Where `out` has fewer than k rows, it gets the rows of the product from `start` on.
    """
    transposed = _strided(a).transposed().at(start, ZERO)
    matrices = transposed, _strided(b), _kept(accumulate, out), _strided(out)
    _multiply(TRANSPOSED_LEFT, (*out.shape, a.shape[0]), *matrices, scratch, alpha)


@routine(alpha=types.float64, accumulate=types.boolean)
def column_sums(
    builder: ir.IRBuilder,
    a: Array,
    alpha: ir.Value,
    accumulate: ir.Value,
    out: Array,
    scratch: Array,
) -> None:
    """out ← alpha times the sum over A's rows; (m, n) and (1, n).

    It is added to what `out` held where `accumulate`.
    """
    ones = _constant(builder, a.element, 1.0)
    matrices = ones, _strided(a), _kept(accumulate, out), _strided(out)
    _multiply(PLAIN, (*out.shape, a.shape[0]), *matrices, scratch, alpha)


@routine(rectified=types.boolean)
def product_transposed_right(
    builder: ir.IRBuilder,
    a: Array,
    b: Array,
    factor: Array,
    rectified: ir.Value,
    out: Array,
    scratch: Array,
) -> None:
    """out ← factor ⊙ A Bᵀ, (m, n) and (k, n); `factor` may be `out`.

    Where `rectified`, a positive `factor` counts as 1: `factor` is a of a relu, and a tells the
    slope of the relu.
    """
    matrices = _strided(a), _strided(b), _strided(factor), _strided(out)
    shape = (*out.shape, a.shape[1])
    _multiply(TRANSPOSED_RIGHT, shape, *matrices, scratch, rectify=rectified)


@routine()
def add_product(builder: ir.IRBuilder, x: Array, W: Array, z: Array, scratch: Array) -> None:
    """z ← z + x W."""
    matrices = _strided(x), _strided(W), _strided(z), _strided(z)
    _multiply(PLAIN, (*z.shape, x.shape[1]), *matrices, scratch)


@routine()
def product(builder: ir.IRBuilder, x: Array, W: Array, z: Array, scratch: Array) -> None:
    """z ← x W."""
    zeros = _constant(builder, z.element, 0.0)
    matrices = _strided(x), _strided(W), zeros, _strided(z)
    _multiply(PLAIN, (*z.shape, x.shape[1]), *matrices, scratch)


@routine()
def times_transposed(
    builder: ir.IRBuilder, a: Array, b: Array, out: Array, scratch: Array
) -> None:
    """out ← A Bᵀ, (m, n) and (k, n)."""
    ones = _constant(builder, a.element, 1.0)
    matrices = _strided(a), _strided(b), ones, _strided(out)
    _multiply(TRANSPOSED_RIGHT, (*out.shape, a.shape[1]), *matrices, scratch)


@routine(start=types.int64, stride=types.int64)
def outer_products(
    builder: ir.IRBuilder, a: Array, delta: Array, out: Array, start: ir.Value, stride: ir.Value
) -> None:
    """out[start + i · stride:] ← aᵢ ⊗ deltaᵢ and then deltaᵢ: the gradient of W and b, row i."""
    units = delta.shape[1]
    for i in rows_of(a):
        x, slopes = a.row(i), delta.row(i)
        place = builder.add(start, builder.mul(i, stride))
        with cgutils.for_range(builder, x.count) as loop:
            factor = broadcast(x.scalar(loop.index), a.element)
            row = out.part(builder.add(place, builder.mul(loop.index, units)), units)
            for register in registers(slopes, row, written_only=1):
                register.store(factor * register[0], 1)
        biases = out.part(builder.add(place, builder.mul(x.count, units)), units)
        for register in registers(slopes, biases, written_only=1):
            register.store(register[0], 1)


def _aligned(builder: ir.IRBuilder, pointer: ir.Value) -> ir.Value:
    """The first place from `pointer` on where no vector straddles two lines of the cache."""
    address = builder.add(builder.ptrtoint(pointer, INT64), INT64(REGISTER_BYTES - 1))
    return builder.inttoptr(builder.and_(address, INT64(-REGISTER_BYTES)), POINTER)


def _strided(array: Array) -> Strided:
    builder = array.builder
    column = INT64(8 if array.element == DOUBLE else 4)
    row = builder.mul(array.shape[1], column)
    return Strided(builder, builder.bitcast(array.data, POINTER), row, column)


def _repeated(row: Array) -> Strided:
    """A matrix that has the same row again and again."""
    return _strided(row)._replace(row=ZERO)


def _constant(builder: ir.IRBuilder, element: ir.Type, number: float) -> Strided:
    """A matrix in which every number is the same. As many are stored as are read at once."""
    count = FEW_COLUMNS * lane_count(element)
    numbers = ir.Constant(ir.ArrayType(element, count), [number] * count)
    name = f"flatprop.{element}.{number:g}"
    stored = builder.module.globals.get(name)
    if stored is None:
        stored = cgutils.global_constant(builder, name, numbers)
    return Strided(builder, builder.bitcast(stored, POINTER), ZERO, ZERO)


def _kept(accumulate: ir.Value, out: Array) -> Strided:
    """`out`, or zeros."""
    return _strided(out).or_else(accumulate, _constant(out.builder, out.element, 0.0))


def _multiply(
    kind: int,
    shape: Sequence[ir.Value],
    a: Strided,
    b: Strided,
    d: Strided,
    out: Strided,
    scratch: Array,
    alpha: ir.Value | None = None,
    rectify: ir.Value | None = None,
) -> None:
    """out ← D + alpha A B, or D ⊙ A Bᵀ where TRANSPOSED_RIGHT; (m, n), of k products each.

    What `rectify` does to it is said in `Finish`.
    """
    builder, element = scratch.builder, scratch.element
    if alpha is None:
        alpha = ir.Constant(element, 1.0)
    elif element != DOUBLE:
        alpha = builder.fptrunc(alpha, element)
    bound = element(inf if kind == TRANSPOSED_RIGHT else -inf)
    if rectify is not None:
        bound = builder.select(rectify, element(0.0), bound)
    work = _aligned(builder, scratch.data)
    matrices = [value for matrix in (a, b, d, out) for value in matrix[1:]]

    operands = [INT64(kind), *shape, *matrices, alpha, bound, work]
    Multiplication(builder, element, scratch.masks, operands).call("product", write_product)
