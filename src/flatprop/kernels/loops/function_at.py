"""Functions that kernels call by address, each compiled in this process for one purpose.

A record of the network holds the address, so that a new function recompiles no kernel. The C
signatures are

    void activation(int64_t n, T *z, T *slope, T *curvature, T *third)
    double loss(int64_t n, double scale, const T *prediction, const T *y, const T *weight,
                T *slope, T *tangent, int64_t outputs, int64_t targets)

An activation overwrites z with a, `slope` with da/dz, `curvature` with d²a/dz² and `third` with
d³a/dz³. The last three may be NULL. Where one of them is not, nor is one before it.

A loss is given n numbers: `prediction` is (n / outputs, outputs), y (n / outputs, targets), and
all others are as `prediction`; the weights of a row are equal. It returns Σ w ℓ. It overwrites
`slope` with scale · w · ∂ℓ/∂ŷ, and `tangent` with its product with the Hessian of scale · w ℓ for
each row, each where it is not NULL. `slope` may be the array `prediction`, unless the loss takes
logits.
Logits are overwritten where `tangent` is given; what a call with `tangent` returns is not used.
"""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import count
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.core.registry import cpu_target

from flatprop.kernels.loops.addresses import loss_type
from flatprop.kernels.loops.masks import MaskedMoves
from flatprop.kernels.loops.vector_loops import DOUBLE, INT64, Array
from flatprop.kernels.pipeline import Library

_number = count()


def compiled_at(
    emit: Callable[..., None], kind: ir.FunctionType, linked: Any = None, plain: bool = False
) -> int:
    """The address of the function of type `kind` that `emit` writes.

    `emit` gets a builder and the arguments. It may call the functions of the library `linked`.
    If it writes `plain` loops, which are as they should be, LLVM looks for less to improve.
    """
    name = f"flatprop.own.{next(_number)}"
    library = Library(_codegen(), name) if plain else _codegen().create_library(name)
    module = library.create_ir_module(name)
    function = ir.Function(module, kind, name)
    emit(ir.IRBuilder(function.append_basic_block("entry")), *function.args)
    if linked is not None:
        library.add_linking_library(linked)
    library.add_ir_module(module)
    library.finalize()
    _libraries.append(library)
    return int(library.get_pointer_to_function(name))


_libraries: list[Any] = []
"""Code that records point to, kept as long as the process runs."""


def loss_at(
    emit: Callable[..., ir.Value],
    outputs: int,
    targets: Sequence[int],
    dtype: np.dtype[Any],
    linked: Any = None,
) -> int:
    """The address of a loss for rows of so many outputs, with one of these numbers of targets.

    `emit` gets a builder, the number of rows, the scale, the five pointers and the number of
    targets. It returns Σ w ℓ. For other rows the result is NaN.
    """
    kind = loss_type(element_of(dtype))

    def whole(builder: ir.IRBuilder, n: ir.Value, scale: ir.Value, *given: ir.Value) -> None:
        *pointers, columns, y_columns = given
        among = [builder.icmp_signed("==", y_columns, INT64(count)) for count in targets]
        fits = builder.icmp_signed("==", columns, INT64(outputs))
        fits = builder.and_(fits, reduce(builder.or_, among))
        with builder.if_then(builder.not_(fits), likely=False):
            for out in pointers[3:]:
                wanted = builder.if_then(is_given(builder, out))
                with wanted, cgutils.for_range(builder, n) as loop:
                    builder.store(out.type.pointee(math.nan), builder.gep(out, [loop.index]))
            builder.ret(DOUBLE(math.nan))
        builder.ret(emit(builder, builder.udiv(n, INT64(outputs)), scale, pointers, y_columns))

    return compiled_at(whole, kind, linked, plain=linked is None)


def constants(builder: ir.IRBuilder, numbers: Sequence[float], element: ir.Type) -> ir.Value:
    """A pointer to constant numbers of this type."""
    kind = ir.ArrayType(element, len(numbers))
    name = builder.module.get_unique_name("constants")
    table = ir.GlobalVariable(builder.module, kind, name)
    table.linkage, table.global_constant = "internal", True
    rounded = np.asarray(numbers, np.float32 if element == ir.FloatType() else np.float64)
    table.initializer = ir.Constant(kind, list(map(float, rounded)))
    return builder.bitcast(table, element.as_pointer())


def element_of(dtype: np.dtype[Any]) -> ir.Type:
    """The LLVM type of a number."""
    return ir.FloatType() if dtype == np.float32 else DOUBLE


def array_of(builder: ir.IRBuilder, count: ir.Value, data: ir.Value) -> Array:
    """A flat array of what `data` points to."""
    masks = MaskedMoves.of(_codegen().magic_tuple()[2])
    return Array(builder, data.type.pointee, data, count, (count,), masks)


def is_given(builder: ir.IRBuilder, pointer: ir.Value) -> ir.Value:
    """Whether a pointer is not NULL."""
    return builder.icmp_unsigned("!=", pointer, ir.Constant(pointer.type, None))


def _codegen() -> Any:
    return cpu_target.target_context.codegen()
