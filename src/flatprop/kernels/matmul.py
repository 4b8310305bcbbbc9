"""The three matrix products of backpropagation, by BLAS; all C-contiguous.

SciPy's BLAS is reached through the symbol by which Numba itself reaches it, which
costs some 40 ns a call and, unlike `np.dot`, adds to what is already there.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from flatprop.kernels.jit import intrinsic
from flatprop.kernels.registers import DOUBLE, INT32, Array, compiled


@intrinsic
def product(typing_context: Any, a: Any, b: Any, beta: Any, out: Any) -> Any:
    """out ← A B + beta out, (m, k) times (k, n): the forward pass."""

    def emit(builder: ir.IRBuilder, a: Array, b: Array, beta: ir.Value, out: Array) -> None:
        _gemm(a, False, b, False, beta, out)

    return compiled(emit, types.void, a, b, types.float64, out)


@intrinsic
def product_transposed_left(typing_context: Any, a: Any, b: Any, beta: Any, out: Any) -> Any:
    """out ← Aᵀ B + beta out, (m, k) and (m, n): the gradient of W."""

    def emit(builder: ir.IRBuilder, a: Array, b: Array, beta: ir.Value, out: Array) -> None:
        _gemm(a, True, b, False, beta, out)

    return compiled(emit, types.void, a, b, types.float64, out)


@intrinsic
def product_transposed_right(typing_context: Any, a: Any, b: Any, out: Any) -> Any:
    """out ← A Bᵀ, (m, n) and (k, n): the gradient of a layer's inputs."""

    def emit(builder: ir.IRBuilder, a: Array, b: Array, out: Array) -> None:
        _gemm(a, False, b, True, ir.Constant(DOUBLE, 0.0), out)

    return compiled(emit, types.void, a, b, out)


def _gemm(
    a: Array, transpose_a: bool, b: Array, transpose_b: bool, beta: ir.Value, out: Array
) -> None:
    """out ← op(A) op(B) + beta out, op the identity or the transpose."""
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
