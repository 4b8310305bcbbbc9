"""What compiled code may pass to the functions of `flatprop.kernels`, checked.

`expect_matrix` and `expect_flat` look at types, while the caller is compiled: they cost
nothing when it runs. What depends on sizes and addresses is for `kernels.checked`.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.errors import TypingError

from flatprop.kernels.compile import intrinsic

INT64 = ir.IntType(64)


def _expect(array: Any, params: Any, ndim: int, written: bool = False) -> Any:
    shape = {1: "flat", 2: "two-dimensional, (rows, columns)"}[ndim]
    if not isinstance(array, types.Array) or array.ndim != ndim:
        raise TypingError(f"flatprop expected an array that is {shape}, got {array}")
    if array.layout != "C":
        raise TypingError(f"flatprop expected a C-contiguous array, got {array}")
    if array.dtype != params.dtype:
        raise TypingError(
            f"flatprop expected an array of {params.dtype}, as params are, got {array}"
        )

    if written and not array.mutable:
        raise TypingError(f"flatprop would write into an array that is read-only, {array}")

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_dummy_value()

    return types.void(array, params), codegen


@intrinsic
def expect_matrix(typing_context: Any, array: Any, params: Any) -> Any:
    """Fails to compile unless `array` is C-contiguous, two-dimensional and like `params`."""
    return _expect(array, params, 2)


@intrinsic
def expect_flat(typing_context: Any, array: Any, params: Any) -> Any:
    """Fails to compile unless `array` is contiguous, flat and of the dtype of `params`."""
    return _expect(array, params, 1)


@intrinsic
def expect_weight(typing_context: Any, array: Any, params: Any) -> Any:
    """`expect_flat`, but None will do."""
    if isinstance(array, types.NoneType):
        return types.void(array, params), lambda context, *_: context.get_dummy_value()
    return _expect(array, params, 1)


@intrinsic
def writes_matrix(typing_context: Any, array: Any, params: Any) -> Any:
    """`expect_matrix` of one that is not read-only."""
    return _expect(array, params, 2, written=True)


@intrinsic
def writes_flat(typing_context: Any, array: Any, params: Any) -> Any:
    """`expect_flat` of one that is not read-only."""
    return _expect(array, params, 1, written=True)


@intrinsic
def overlap(typing_context: Any, one: Any, other: Any) -> Any:
    """Whether two contiguous arrays have memory in common; never where one is None."""

    def bounds(context: Any, builder: Any, kind: Any, value: Any) -> tuple[Any, Any]:
        array = context.make_array(kind)(context, builder, value)
        size = INT64(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        start = builder.ptrtoint(array.data, INT64)
        return start, builder.add(start, builder.mul(array.nitems, size))

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if not all(isinstance(kind, types.Array) for kind in signature.args):
            return context.get_constant(types.boolean, False)
        (first, first_end), (second, second_end) = (
            bounds(context, builder, kind, value)
            for kind, value in zip(signature.args, arguments, strict=True)
        )
        return builder.and_(
            builder.icmp_unsigned("<", first, second_end),
            builder.icmp_unsigned("<", second, first_end),
        )

    return types.boolean(one, other), codegen
