"""A team: the threads that run the same compiled function at the same time, on shares of its work.

Every thread of a team goes through the same statements, and knows its `rank` and the `size` of
the team. Each computes its share of the rows of a block, and later its share of the rows of a
gradient. `wait` ends each such part. Nothing is added up in an order that depends on how many
threads there are, so results are the same bit for bit for any number.

One thread leads. It waits for the others a short while only: who comes later is not needed, and
leaves again. So no call waits to begin for a thread that the system or Python does not let run.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from flatprop.kernels.compile import intrinsic, kernel
from flatprop.kernels.loops.routines import compiled, routine
from flatprop.kernels.loops.vector_loops import INT64, Array
from flatprop.kernels.threads.atomics import add, load, store, wait_while

CELLS = 48
"""How many int64 numbers, the cells, the threads of a team share besides their work. All are 0 at
first but for two:

| place | what it holds |
| --- | --- |
| WANTED | how many threads the leader waits for, itself included |
| PATIENCE | how often the leader looks for them before it goes on without the rest |
| JOINED | how many have come to the leader; CLOSED and more: it waits no longer |
| SIZE | how many threads the team has, once it is complete |
| ARRIVED | how many threads wait for the others |
| PHASE | how often all have waited for each other |
"""
WANTED, PATIENCE, JOINED, SIZE, ARRIVED, PHASE = range(0, CELLS, 8)  # a cache line for each

CLOSED = 1 << 32
"""What JOINED is raised by when the team is complete."""
GIVEN_UP = -1
"""The SIZE of a team whose leader does not come."""
SHARED_ROWS = 16
"""Shares are multiples of so many rows: cut there, a product has the same sums as in one piece."""
MOST_UNITS = 32
"""Into so many units a block of rows is divided at most."""


@kernel
def join(cells, leads):
    """The rank of this thread, -1 for who comes too late, and the size of the team."""
    if not leads:
        rank = rank_of_helper(cells)
        return rank, cells[SIZE]
    return 0, size_of_team(cells) if cells[WANTED] > 1 else 1


@routine(types.int64)
def size_of_team(builder: ir.IRBuilder, cells: Array) -> ir.Value:
    """Wait for the helpers, for some time; how many threads there are, the leader included."""
    wanted, patience = load(builder, cells, WANTED), load(builder, cells, PATIENCE)
    helpers = builder.sub(wanted, INT64(1))
    wait_while(builder, cells, JOINED, "<", helpers, longest=patience)
    size = builder.add(add(builder, cells, JOINED, CLOSED), INT64(1))
    store(builder, cells, SIZE, size)
    return size


@routine(types.int64)
def rank_of_helper(builder: ir.IRBuilder, cells: Array) -> ir.Value:
    """Come to the leader, and wait for the team to be complete."""
    before = add(builder, cells, JOINED, 1)
    rank = cgutils.alloca_once_value(builder, INT64(-1))
    with builder.if_then(builder.icmp_signed("<", before, INT64(CLOSED))):
        size = wait_while(builder, cells, SIZE, "==", INT64(0))
        given_up = builder.icmp_signed("<", size, INT64(0))
        own = builder.add(before, INT64(1))
        builder.store(builder.select(given_up, INT64(-1), own), rank)
    return builder.load(rank)


# `wait` and `share_of` stand in many places. Written as LLVM instructions, they compile quickly.


@intrinsic
def wait(typing_context: Any, cells: Any, size: Any) -> Any:
    """Wait until all threads of the team are here."""
    signature, call = compiled(_meet, types.void, cells, types.int64)

    def codegen(context: Any, builder: Any, _: Any, values: Any) -> Any:
        with builder.if_then(builder.icmp_signed(">", values[1], INT64(1))):
            call(context, builder, signature, values)
        return context.get_dummy_value()

    return signature, codegen


def _meet(builder: ir.IRBuilder, cells: Array, size: ir.Value) -> None:
    """The barrier: who comes last lets all others go on."""
    phase = load(builder, cells, PHASE)
    before = add(builder, cells, ARRIVED, 1)
    last = builder.icmp_signed("==", builder.add(before, INT64(1)), size)
    with builder.if_else(last) as (yes, no):
        with yes:
            store(builder, cells, ARRIVED, INT64(0))
            store(builder, cells, PHASE, builder.add(phase, INT64(1)))
        with no:
            wait_while(builder, cells, PHASE, "==", phase)


@routine(types.int64, rows=types.int64)
def unit_of(builder: ir.IRBuilder, rows: ir.Value) -> ir.Value:
    """How many rows of a block stay together: SHARED_ROWS, or so many times as many that there
    are at most MOST_UNITS units.
    """
    most = INT64(SHARED_ROWS * MOST_UNITS)
    further = builder.sdiv(builder.sub(rows, INT64(1)), most)
    return builder.mul(INT64(SHARED_ROWS), builder.add(further, INT64(1)))


@kernel
def end_of_unit(row, rows, unit):
    """The row behind the unit that begins at `row`. What is left over goes with the last unit."""
    return row + unit if rows - row >= 2 * unit else rows


@intrinsic
def share_of(typing_context: Any, rows: Any, unit: Any, rank: Any, size: Any) -> Any:
    """The rows that one thread takes, the first and the one behind the last."""
    number = types.int64
    signature, call = compiled(_share_before, number, *[number] * 4)
    share = types.UniTuple(number, 2)

    def codegen(context: Any, builder: Any, _: Any, values: Any) -> Any:
        rows, unit, rank, size = values
        ends = [cgutils.alloca_once_value(builder, end) for end in (INT64(0), rows)]
        with builder.if_then(builder.icmp_signed(">", size, INT64(1))):
            for more, end in enumerate(ends):
                taken = rows, unit, builder.add(rank, INT64(more)), size
                builder.store(call(context, builder, signature, taken), end)
        return context.make_tuple(builder, share, [builder.load(end) for end in ends])

    return share(*[number] * 4), codegen


def _share_before(
    builder: ir.IRBuilder, rows: ir.Value, unit: ir.Value, rank: ir.Value, size: ir.Value
) -> ir.Value:
    """How many rows the threads before this one take together.

    They are whole units, as even as can be.
    """
    units = builder.sdiv(rows, unit)
    some = builder.icmp_signed(">", units, INT64(0))
    units = builder.select(some, units, INT64(1))
    before = builder.mul(builder.sdiv(builder.mul(units, rank), size), unit)
    return builder.select(builder.icmp_signed("<", rank, size), before, rows)


@routine(types.float64, rows=types.int64, unit=types.int64)
def sum_over_units(builder: ir.IRBuilder, rows: ir.Value, unit: ir.Value, sums: Array) -> ir.Value:
    """A sum over a block of so many rows, from the sum of each unit, always in the same order."""
    total = cgutils.alloca_once_value(builder, builder.load(sums.at(INT64(0))))
    index = cgutils.alloca_once_value(builder, INT64(1))
    whole = builder.sub(rows, builder.sub(unit, INT64(1)))  # the start of the last unit is below
    with cgutils.for_range_slice(builder, unit, whole, unit, INT64):
        i = builder.load(index)
        total_so_far = builder.load(total)
        builder.store(builder.fadd(total_so_far, builder.load(sums.at(i))), total)
        builder.store(builder.add(i, INT64(1)), index)
    return builder.load(total)
