"""Loops over stacks that have a row for each unit, see `dense_columns`: bias and chain rule.

A row has the values of a unit, then its derivatives along each direction, then the second ones
along the first directions. It is so short that it stays in the first cache: what all directions
need may be read again. `chain_rule` has the formulas.
"""

from llvmlite import ir
from numba.core import cgutils, types

from flatprop.kernels.loops.chain_rule import first_back, second_back
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import (
    INT64,
    Array,
    Fold,
    broadcast,
    registers,
    rows_of,
)
from flatprop.numbers.lanes import Lanes, lane_count
from flatprop.numbers.numbers import fma

ZERO, ONE = INT64(0), INT64(1)


def _part(row: Array, number: ir.Value, rows: ir.Value) -> Array:
    """A part of a row: 0 has the values, 1 the derivatives along the first direction."""
    return row.part(row.builder.mul(number, rows), rows)


def _zeros(array: Array) -> Lanes:
    """0 in every lane of a register."""
    vector = ir.VectorType(array.element, lane_count(array.element))
    return Lanes(array.builder, ir.Constant(vector, None))


@routine()
def spread(builder: ir.IRBuilder, values: Array, moved: Array, z: Array) -> None:
    """z ← these values (units, rows), `moved` (directions, units) as first derivatives, and 0."""
    rows, count = values.shape[1], moved.shape[0]
    for i in rows_of(values):
        row = z.row(i)
        for register in registers(values.row(i), _part(row, ZERO, rows), written_only=1):
            register.store(register[0], 1)
        with cgutils.for_range(builder, count) as loop:
            number = broadcast(moved.row(loop.index).scalar(i), z.element)
            part = _part(row, builder.add(loop.index, ONE), rows)
            for register in registers(part, written_only=1):
                register.store(number, 0)
        done = builder.mul(builder.add(count, ONE), rows)
        rest = row.part(done, builder.sub(row.count, done))
        for register in registers(rest, written_only=1):
            register.store(_zeros(rest), 0)


@routine(rows=types.int64)
def add_bias(builder: ir.IRBuilder, z: Array, b: Array, rows: ir.Value, a: Array) -> None:
    """The values in `a` ← those in z, and b."""
    for i in rows_of(z):
        bias = broadcast(b.scalar(i), z.element)
        values = _part(z.row(i), ZERO, rows), _part(a.row(i), ZERO, rows)
        for register in registers(*values, written_only=1):
            register.store(register[0] + bias, 1)


@routine(count=types.int64, seconds=types.int64)
def derive_rows(
    builder: ir.IRBuilder,
    z: Array,
    curvature: Array,
    count: ir.Value,
    seconds: ir.Value,
    a: Array,
) -> None:
    """The derivatives in `a` ← those of f(z); f' is in the place of the values of z."""
    rows = curvature.shape[1]
    for i in rows_of(curvature):
        row, out, f2 = z.row(i), a.row(i), curvature.row(i)
        f1 = _part(row, ZERO, rows)
        with cgutils.for_range(builder, count) as loop:
            first = builder.add(loop.index, ONE)
            second = builder.add(first, count)
            dz, da = _part(row, first, rows), _part(out, first, rows)
            with builder.if_else(builder.icmp_signed("<", loop.index, seconds)) as (yes, no):
                with yes:
                    d2z, d2a = _part(row, second, rows), _part(out, second, rows)
                    for register in registers(f1, f2, dz, d2z, da, d2a, written_only=2):
                        slope, bend, d1, d2 = (register[j] for j in range(4))
                        register.store(slope * d1, 4)
                        register.store(fma(bend * d1, d1, slope * d2), 5)
                with no:
                    for register in registers(f1, dz, da, written_only=1):
                        register.store(register[0] * register[1], 2)


@routine(count=types.int64, seconds=types.int64)
def derive_rows_back(
    builder: ir.IRBuilder,
    z: Array,
    curvature: Array,
    third: Array,
    count: ir.Value,
    seconds: ir.Value,
    gradient: Array,
) -> None:
    """gradient ← that with respect to z, from that with respect to a."""
    rows = curvature.shape[1]
    for i in rows_of(curvature):
        row, out, f2, f3 = z.row(i), gradient.row(i), curvature.row(i), third.row(i)
        f1, of_z = _part(row, ZERO, rows), _part(out, ZERO, rows)
        for register in registers(f1, of_z):
            register.store(register[0] * register[1], 1)
        with cgutils.for_range(builder, count) as loop:
            first = builder.add(loop.index, ONE)
            second = builder.add(first, count)
            dz, of_da = _part(row, first, rows), _part(out, first, rows)
            with builder.if_else(builder.icmp_signed("<", loop.index, seconds)) as (yes, no):
                with yes:
                    d2z, of_d2a = _part(row, second, rows), _part(out, second, rows)
                    second_back(f1, f2, f3, dz, d2z, of_da, of_d2a, of_z)
                with no:
                    first_back(f1, f2, dz, of_da, of_z)


@routine(rows=types.int64, first=types.int64, accumulate=types.boolean)
def part_sums(
    builder: ir.IRBuilder,
    matrix: Array,
    rows: ir.Value,
    first: ir.Value,
    accumulate: ir.Value,
    out: Array,
) -> None:
    """out (parts, units) ← the sums of so many parts from part `first` on, or added to it."""
    with cgutils.for_range(builder, out.shape[0]) as loop:
        for i in rows_of(matrix):
            total = Fold(_zeros(matrix), lambda one, other: one + other)
            part = _part(matrix.row(i), builder.add(first, loop.index), rows)
            for register in registers(part):
                total.add(register.inside(register[0]))
            place = out.row(loop.index).at(i)
            before = builder.select(accumulate, builder.load(place), out.element(0.0))
            builder.store(builder.fadd(total.total().value, before), place)
