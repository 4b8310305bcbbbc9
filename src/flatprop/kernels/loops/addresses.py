"""Addresses in records: which of them may be called.

A record that Python made for a user's function holds two numbers: the address of the function
in this process and, where the code of a formula would be, `here()`. No other process has the
same `here()`. So kernels notice a record that comes from another process (pickled, saved, part
of somebody's cached code), and do not call its function. C writes `CUSTOM` instead, and answers
for its addresses itself.

After a fork both processes have the functions that there were before the fork. What one of them
adds later is unknown to the other. So each goes on with a new number, and still knows its
numbers of before.
"""

import ctypes
import os
from collections.abc import Iterator
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, types

from flatprop.kernels.compile import intrinsic

CUSTOM = -1
"""The code of an activation or a loss that the user wrote: FLATPROP_OWN in C. Python writes
`here()` instead."""

_INT64 = ir.IntType(64)
_SYMBOL = "flatprop_process"


class _Numbers:
    """The numbers of this process, oldest first, where compiled code finds them."""

    def __init__(self) -> None:
        self._room = (ctypes.c_int64 * 8)()
        self._outgrown: list[Any] = []  # which a thread may still be reading
        self._table = (ctypes.c_int64 * 2)(0, ctypes.addressof(self._room))
        # Looked up by its name when code is loaded: from a cache on disk, too.
        llvm.add_symbol(_SYMBOL, ctypes.addressof(self._table))
        self._forked = True
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_parent=self._fork, after_in_child=self._fork)

    def newest(self) -> int:
        """The last of them; a new one if there was a fork since."""
        if self._forked:
            self._add(-2 - (int.from_bytes(os.urandom(8)) >> 2))
            self._forked = False
        return int(self._room[self._table[0] - 1])

    def _fork(self) -> None:
        self._forked = True

    def _add(self, number: int) -> None:
        count = self._table[0]
        if count == len(self._room):
            room = (ctypes.c_int64 * (2 * count))(*self._room)
            self._outgrown.append(self._room)
            self._room = room
            self._table[1] = ctypes.addressof(room)
        self._room[count] = number
        self._table[0] = count + 1


here = _Numbers().newest
"""What Python writes instead of `CUSTOM`: it also says that the address is of this process."""


def may_call(builder: ir.IRBuilder, code: ir.Value, function: ir.Value) -> ir.Value:
    """Whether a record with this code and this address has a function that may be called."""
    module, kind = builder.module, ir.ArrayType(_INT64, 2)
    table = module.globals.get(_SYMBOL) or ir.GlobalVariable(module, kind, _SYMBOL)
    count, place = (
        builder.load(builder.gep(table, [_INT64(0), _INT64(number)])) for number in range(2)
    )
    numbers = builder.inttoptr(place, _INT64.as_pointer())
    known = cgutils.alloca_once_value(builder, builder.icmp_signed("==", code, _INT64(CUSTOM)))
    with cgutils.for_range(builder, count) as loop:
        same = builder.icmp_signed("==", code, builder.load(builder.gep(numbers, [loop.index])))
        builder.store(builder.or_(builder.load(known), same), known)
    given = builder.icmp_signed("!=", function, _INT64(0))
    return builder.and_(builder.load(known), given)


def custom_cases(builder: ir.IRBuilder, code: ir.Value, function: ir.Value) -> Iterator[bool]:
    """Where a record has a function of the user's own: yields whether it may be called."""
    with (
        builder.if_then(builder.icmp_signed("<", code, _INT64(0)), likely=False),
        builder.if_else(may_call(builder, code, function)) as (known, unknown),
    ):
        with known:
            yield True
        with unknown:
            yield False


def activation_type(element: ir.Type) -> ir.FunctionType:
    """An activation of the user's own, as `custom` describes it."""
    return ir.FunctionType(ir.VoidType(), [_INT64, *[element.as_pointer()] * 4])


def loss_type(element: ir.Type) -> ir.FunctionType:
    """The function of a loss, as `custom` describes it."""
    pointers = [element.as_pointer()] * 5
    return ir.FunctionType(ir.DoubleType(), [_INT64, ir.DoubleType(), *pointers, _INT64, _INT64])


@intrinsic
def callable_here(typing_context: Any, code: Any, function: Any) -> Any:
    """`may_call` for kernels."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return may_call(builder, *arguments)

    return types.boolean(types.int64, types.int64), codegen
