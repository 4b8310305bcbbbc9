"""Addresses in records: which of them may be called.

A record that Python made for a function of the user's own holds its address in this
process, and `HERE`, a number that no other process has, where others have the code of a
formula. So a record that comes from elsewhere (pickled, saved, part of somebody's cached
code) is known, and the function is not called. C vouches for its own addresses: `OWN`.
"""

import ctypes
import os
from collections.abc import Iterator
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import types

from flatprop.kernels.jit import intrinsic
from flatprop.kernels.layout import OWN

HERE = -2 - (int.from_bytes(os.urandom(8)) >> 2)
"""What Python writes instead of `OWN`: it says besides that the address is of this process."""

_INT64 = ir.IntType(64)
_place = ctypes.c_int64(HERE)
_SYMBOL = "flatprop_process"
# Compiled code finds the number of the process that it runs in by this name. It is
# looked up when code is loaded: from a cache on disk, too.
llvm.add_symbol(_SYMBOL, ctypes.addressof(_place))


def may_call(builder: ir.IRBuilder, code: ir.Value, function: ir.Value) -> ir.Value:
    """Whether a record with these two says that there is a function at the address."""
    module = builder.module
    place = module.globals.get(_SYMBOL) or ir.GlobalVariable(module, _INT64, _SYMBOL)
    here = builder.icmp_signed("==", code, builder.load(place))
    known = builder.or_(here, builder.icmp_signed("==", code, _INT64(OWN)))
    return builder.and_(known, builder.icmp_signed("!=", function, _INT64(0)))


def own_cases(builder: ir.IRBuilder, code: ir.Value, function: ir.Value) -> Iterator[bool]:
    """Where a record has a function of the user's own: yields whether it may be called."""
    with (
        builder.if_then(builder.icmp_signed("<", code, _INT64(0)), likely=False),
        builder.if_else(may_call(builder, code, function)) as (known, unknown),
    ):
        with known:
            yield True
        with unknown:
            yield False


@intrinsic
def callable_here(typing_context: Any, code: Any, function: Any) -> Any:
    """`may_call` for kernels."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return may_call(builder, *arguments)

    return types.boolean(types.int64, types.int64), codegen
