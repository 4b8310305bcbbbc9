"""The smaller and the larger of two integers, in one instruction.

Numba compiles Python's own `min` and `max` as functions, for every pair of types anew.
"""

from typing import Any

from numba.core import types

from flatprop.kernels.compile import intrinsic


def _chosen(comparison: str) -> Any:
    """The signature and code generator of a choice between two integers."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b = arguments
        return builder.select(builder.icmp_signed(comparison, a, b), a, b)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def smaller(typing_context: Any, a: Any, b: Any) -> Any:
    """The smaller of a and b."""
    return _chosen("<")


@intrinsic
def larger(typing_context: Any, a: Any, b: Any) -> Any:
    """The larger of a and b."""
    return _chosen(">")
