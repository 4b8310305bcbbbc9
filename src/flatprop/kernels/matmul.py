"""The three matrix products of backpropagation, all C-contiguous.

BLAS does the large ones, through the symbol by which Numba itself reaches
SciPy's. Where such a call costs more than the arithmetic, and for the single
rows of prediction, loops over registers do.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from flatprop.formulas.lanes import Lanes, Mask, fma, where
from flatprop.kernels.jit import intrinsic
from flatprop.kernels.registers import (
    DOUBLE,
    INT32,
    INT64,
    Array,
    broadcast,
    compiled,
    registers,
)

SMALL = 1_024
"""Multiplications up to which the loops win."""
FEW_ROWS = 2
FEW_ROWS_SMALL = 32_768
"""The same where the left factor has few rows."""


@intrinsic
def product(typing_context: Any, a: Any, b: Any, beta: Any, out: Any) -> Any:
    """out ← A B + beta out, (m, k) times (k, n): the forward pass."""

    def emit(builder: ir.IRBuilder, a: Array, b: Array, beta: ir.Value, out: Array) -> None:
        m, k = a.shape
        with builder.if_else(_is_small(builder, m, k, b.shape[1])) as (small, large):
            with small:
                _product_by_rows(a, (k, INT64(1)), b, beta, out)
            with large:
                _blas(a, False, b, False, beta, out)

    return compiled(emit, types.void, a, b, types.float64, out)


@intrinsic
def product_transposed_left(typing_context: Any, a: Any, b: Any, beta: Any, out: Any) -> Any:
    """out ← Aᵀ B + beta out, (m, k) and (m, n): the gradient of W."""

    def emit(builder: ir.IRBuilder, a: Array, b: Array, beta: ir.Value, out: Array) -> None:
        m, k = a.shape
        with builder.if_else(_is_small(builder, m, k, b.shape[1])) as (small, large):
            with small:
                _product_by_rows(a, (INT64(1), k), b, beta, out)
            with large:
                _blas(a, True, b, False, beta, out)

    return compiled(emit, types.void, a, b, types.float64, out)


@intrinsic
def product_transposed_right(typing_context: Any, a: Any, b: Any, out: Any) -> Any:
    """out ← A Bᵀ, (m, n) and (k, n): the gradient of a layer's inputs."""

    def emit(builder: ir.IRBuilder, a: Array, b: Array, out: Array) -> None:
        work = builder.mul(a.count, b.shape[0])
        with builder.if_else(builder.icmp_signed("<=", work, INT64(SMALL))) as (small, large):
            with small:
                _products_of_rows(a, b, out)
            with large:
                _blas(a, False, b, True, ir.Constant(DOUBLE, 0.0), out)

    return compiled(emit, types.void, a, b, out)


def _is_small(builder: ir.IRBuilder, m: ir.Value, k: ir.Value, n: ir.Value) -> ir.Value:
    few = builder.icmp_signed("<=", m, INT64(FEW_ROWS))
    limit = builder.select(few, INT64(FEW_ROWS_SMALL), INT64(SMALL))
    return builder.icmp_signed("<=", builder.mul(m, builder.mul(k, n)), limit)


def _product_by_rows(
    a: Array, strides: tuple[ir.Value, ir.Value], b: Array, beta: ir.Value, out: Array
) -> None:
    """out ← A B + beta out; A's rows and columns are `strides` apart.

    Each row of the result is held in registers while A's numbers pass by.
    """
    builder = a.builder
    fresh = Mask(builder, builder.fcmp_ordered("==", beta, ir.Constant(DOUBLE, 0.0)))
    scale = broadcast(Lanes(builder, beta), out.element)
    with cgutils.for_range(builder, out.shape[0]) as rows:
        start = builder.mul(rows.index, strides[0])
        for register in registers(out.row(rows.index)):
            # not a product with 0 where nothing is kept: out may hold NaN
            kept = where(fresh, 0.0, register[0] * scale)
            total = cgutils.alloca_once(builder, kept.value.type)
            builder.store(kept.value, total)
            with cgutils.for_range(builder, b.shape[0]) as terms:
                place = builder.add(start, builder.mul(terms.index, strides[1]))
                factor = broadcast(a.scalar(place), out.element)
                so_far = Lanes(builder, builder.load(total))
                more = fma(factor, register.aside(b.row(terms.index)), so_far)
                builder.store(more.value, total)
            register.store(Lanes(builder, builder.load(total)), 0)


def _products_of_rows(a: Array, b: Array, out: Array) -> None:
    """out ← A Bᵀ, number by number."""
    builder = a.builder
    total = cgutils.alloca_once(builder, out.element)
    with (
        cgutils.for_range(builder, a.shape[0]) as rows,
        cgutils.for_range(builder, b.shape[0]) as columns,
    ):
        left, right = a.row(rows.index), b.row(columns.index)
        builder.store(ir.Constant(out.element, 0.0), total)
        with cgutils.for_range(builder, a.shape[1]) as terms:
            so_far = Lanes(builder, builder.load(total))
            more = fma(left.scalar(terms.index), right.scalar(terms.index), so_far)
            builder.store(more.value, total)
        builder.store(builder.load(total), out.row(rows.index).at(columns.index))


def _blas(
    a: Array, transpose_a: bool, b: Array, transpose_b: bool, beta: ir.Value, out: Array
) -> None:
    """out ← op(A) op(B) + beta out by BLAS's gemm, op the identity or the transpose."""
    builder = a.builder
    single = out.element != DOUBLE
    m, n = out.shape
    k = a.shape[0] if transpose_a else a.shape[1]
    one = cgutils.alloca_once_value(builder, ir.Constant(out.element, 1.0))
    kept = cgutils.alloca_once(builder, out.element)
    builder.store(builder.fptrunc(beta, out.element) if single else beta, kept)
    # BLAS reads a matrix by columns, which makes ours transposed: it is given
    # outᵀ = op(B)ᵀ op(A)ᵀ.
    letters = "s" if single else "d", "nt"[transpose_b], "nt"[transpose_a]
    arguments = [
        *(ir.Constant(ir.IntType(8), ord(letter)) for letter in letters),
        n,
        m,
        k,
        _address(one, builder),
        _address(b.data, builder),
        b.shape[1],
        _address(a.data, builder),
        a.shape[1],
        _address(kept, builder),
        _address(out.data, builder),
        n,
    ]
    signature = ir.FunctionType(INT32, [argument.type for argument in arguments])
    gemm = cgutils.get_or_insert_function(builder.module, signature, "numba_xxgemm")
    builder.call(gemm, arguments)


def _address(pointer: ir.Value, builder: ir.IRBuilder) -> ir.Value:
    return builder.bitcast(pointer, cgutils.voidptr_t)
