"""What threads tell each other through memory: the instructions of LLVM for it."""

import ctypes
import sys

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils

from flatprop.kernels.loops.vector_loops import INT32, INT64, Array

_YIELD = "flatprop_yield"
SPINS = 300
"""How often a thread that waits looks again before it lets others have its processor: some 10 µs,
many times as long as most waits."""


def _address_of_yield() -> int:
    if sys.platform == "win32":
        library, name = ctypes.WinDLL("kernel32"), "SwitchToThread"
    else:
        library, name = ctypes.CDLL(None), "sched_yield"
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0


# Looked up by its name when code is loaded: from a cache on disk, too.
llvm.add_symbol(_YIELD, _address_of_yield())


def load(builder: ir.IRBuilder, cells: Array, place: int) -> ir.Value:
    """One of the int64 numbers in `cells`, and with it all that was written before its `store`."""
    return builder.load_atomic(cells.at(INT64(place)), "acquire", 8)


def store(builder: ir.IRBuilder, cells: Array, place: int, number: ir.Value) -> None:
    """Write a number for `load`."""
    builder.store_atomic(number, cells.at(INT64(place)), "release", 8)


def add(builder: ir.IRBuilder, cells: Array, place: int, number: int) -> ir.Value:
    """Add to a number; what it was before."""
    return builder.atomic_rmw("add", cells.at(INT64(place)), INT64(number), "seq_cst")


def wait_while(
    builder: ir.IRBuilder,
    cells: Array,
    place: int,
    sign: str,
    number: ir.Value,
    longest: ir.Value | None = None,
) -> ir.Value:
    """Wait while a number in `cells` compares so, or until it was looked at `longest` times.

    Returns the number.
    """
    loops = cgutils.alloca_once_value(builder, INT64(0))
    look, again, rest, after = (builder.append_basic_block(name) for name in
                                ("look", "again", "rest", "after"))  # fmt: skip
    builder.branch(look)
    builder.position_at_end(look)
    found = load(builder, cells, place)
    waits = builder.icmp_signed(sign, found, number)
    count = builder.load(loops)
    if longest is not None:
        waits = builder.and_(waits, builder.icmp_signed("<", count, longest))
    builder.cbranch(waits, again, after)

    builder.position_at_end(again)
    builder.store(builder.add(count, INT64(1)), loops)
    _pause(builder)
    builder.cbranch(builder.icmp_signed("<", count, INT64(SPINS)), look, rest)
    builder.position_at_end(rest)  # who is waited for may need this processor to get there
    kind = ir.FunctionType(INT32, [])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, _YIELD), [])
    builder.branch(look)
    builder.position_at_end(after)
    return found


def _pause(builder: ir.IRBuilder) -> None:
    """Tell the processor that this loop waits, where it has an instruction for that."""
    machine = llvm.get_process_triple().split("-")[0]
    if machine in ("x86_64", "i686"):
        name, arguments = "llvm.x86.sse2.pause", []
    elif machine in ("aarch64", "arm64"):
        name, arguments = "llvm.aarch64.hint", [INT32(1)]
    else:
        return
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)
