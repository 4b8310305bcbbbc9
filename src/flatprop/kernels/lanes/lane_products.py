"""The products of a dense layer, for a block of members at once; see `lane_vectors`.

Members have weights of their own, so that no sum goes across lanes: each is a chain of
multiplications and additions over registers. Several rows, or several inputs, are added up at
once, so that what is loaded serves all of them and the processor need not wait for one sum.
"""

from llvmlite import ir
from numba.core import types

from flatprop.kernels.lanes.lane_vectors import (
    Everywhere,
    InLanes,
    at_once,
    counted,
    groups,
    repeated,
    tiles,
)
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import INT64, Array
from flatprop.numbers.lanes import Lanes, lane_count
from flatprop.numbers.numbers import fma

SIZES = dict.fromkeys(("lanes", "rows", "inputs", "units"), types.int64)


@routine(**SIZES, shared=types.int64)
def lane_affine(
    builder: ir.IRBuilder,
    x: Array,
    W: Array,
    b: Array,
    z: Array,
    lanes: ir.Value,
    rows: ir.Value,
    inputs: ir.Value,
    units: ir.Value,
    shared: ir.Value,
) -> None:
    """z (rows, units) ← x W + b; x (rows, inputs) is one number for all members if `shared`."""
    width, side = lane_count(z.element), at_once(z)
    with builder.if_else(builder.icmp_signed("!=", shared, INT64(0))) as (one, each):
        for where, is_shared in ((one, True), (each, False)):
            with where:
                for first in groups(builder, lanes, side * width):
                    of_W, of_b, of_z = (InLanes(array, lanes, first) for array in (W, b, z))
                    of_x = Everywhere(x) if is_shared else InLanes(x, lanes, first)
                    _affine(builder, of_x, of_W, of_b, of_z, side, rows, inputs, units)


def _affine(
    builder: ir.IRBuilder,
    x: Everywhere | InLanes,
    W: InLanes,
    b: InLanes,
    z: InLanes,
    side: int,
    rows: ir.Value,
    inputs: ir.Value,
    units: ir.Value,
) -> None:
    for some, _ in tiles(builder, rows):
        starts = [builder.mul(row, inputs) for row in some]
        for j in counted(builder, units):
            biases = [b.load(j, v) for v in range(side)]

            def step(
                i: ir.Value, sums: list[Lanes], j: ir.Value = j, starts: list[ir.Value] = starts
            ) -> list[Lanes]:
                place = builder.add(builder.mul(i, units), j)
                weights = [W.load(place, v) for v in range(side)]
                after = []
                for k, start in enumerate(starts):
                    for v, weight in enumerate(weights):
                        number = x.load(builder.add(start, i), v)
                        after.append(fma(number, weight, sums[k * side + v]))
                return after

            sums = repeated(builder, inputs, biases * len(some), step)
            for k, row in enumerate(some):
                place = builder.add(builder.mul(row, units), j)
                for v in range(side):
                    z.store(sums[k * side + v], place, v)


@routine(**SIZES)
def lane_backward(
    builder: ir.IRBuilder,
    dL_dz: Array,
    W: Array,
    slope: Array,
    lanes: ir.Value,
    rows: ir.Value,
    inputs: ir.Value,
    units: ir.Value,
) -> None:
    """slope (rows, inputs) ← slope · ∂L/∂z Wᵀ, the ∂L/∂z of the layer before."""
    width, side = lane_count(W.element), at_once(W)
    for first in groups(builder, lanes, side * width):
        of_d, of_W, of_slope = (InLanes(array, lanes, first) for array in (dL_dz, W, slope))
        for some, _ in tiles(builder, rows):
            starts = [builder.mul(row, units) for row in some]
            for i in counted(builder, inputs):
                row_of_W = builder.mul(i, units)

                def step(
                    j: ir.Value,
                    sums: list[Lanes],
                    row_of_W: ir.Value = row_of_W,
                    starts: list[ir.Value] = starts,
                    of_d: InLanes = of_d,
                    of_W: InLanes = of_W,
                ) -> list[Lanes]:
                    place = builder.add(row_of_W, j)
                    weights = [of_W.load(place, v) for v in range(side)]
                    after = []
                    for k, start in enumerate(starts):
                        for v, weight in enumerate(weights):
                            d = of_d.load(builder.add(start, j), v)
                            after.append(fma(d, weight, sums[k * side + v]))
                    return after

                nothing = Lanes(builder, ir.Constant(ir.VectorType(W.element, width), None))
                sums = repeated(builder, units, [nothing] * (side * len(some)), step)
                for k, row in enumerate(some):
                    place = builder.add(builder.mul(row, inputs), i)
                    for v in range(side):
                        of_slope.store(sums[k * side + v] * of_slope.load(place, v), place, v)


@routine(**SIZES, shared=types.int64, accumulate=types.int64)
def lane_gradient(
    builder: ir.IRBuilder,
    x: Array,
    dL_dz: Array,
    dW: Array,
    db: Array,
    lanes: ir.Value,
    rows: ir.Value,
    inputs: ir.Value,
    units: ir.Value,
    shared: ir.Value,
    accumulate: ir.Value,
) -> None:
    """dW (inputs, units) ← xᵀ ∂L/∂z, db (units,) ← Σ ∂L/∂z; added if `accumulate`."""
    width, side = lane_count(dW.element), at_once(dW)
    adds = builder.icmp_signed("!=", accumulate, INT64(0))
    nothing = Lanes(builder, ir.Constant(ir.VectorType(dW.element, width), None))

    def started(out: InLanes, place: ir.Value, v: int) -> Lanes:
        before = out.load(place, v)
        return Lanes(builder, builder.select(adds, before.value, nothing.value))

    with builder.if_else(builder.icmp_signed("!=", shared, INT64(0))) as (one, each):
        for where, is_shared in ((one, True), (each, False)):
            with where:
                for first in groups(builder, lanes, side * width):
                    of_d, of_dW = (InLanes(array, lanes, first) for array in (dL_dz, dW))
                    of_x = Everywhere(x) if is_shared else InLanes(x, lanes, first)
                    for some, _ in tiles(builder, inputs):
                        for j in counted(builder, units):
                            places = [builder.add(builder.mul(i, units), j) for i in some]

                            def step(
                                r: ir.Value,
                                sums: list[Lanes],
                                j: ir.Value = j,
                                some: list[ir.Value] = some,
                                of_x: Everywhere | InLanes = of_x,
                                of_d: InLanes = of_d,
                            ) -> list[Lanes]:
                                place = builder.add(builder.mul(r, units), j)
                                ds = [of_d.load(place, v) for v in range(side)]
                                start, after = builder.mul(r, inputs), []
                                for k, i in enumerate(some):
                                    for v, d in enumerate(ds):
                                        number = of_x.load(builder.add(start, i), v)
                                        after.append(fma(number, d, sums[k * side + v]))
                                return after

                            values = [started(of_dW, p, v) for p in places for v in range(side)]
                            sums = repeated(builder, rows, values, step)
                            for k, place in enumerate(places):
                                for v in range(side):
                                    of_dW.store(sums[k * side + v], place, v)
    for first in groups(builder, lanes, side * width):
        of_d, of_db = (InLanes(array, lanes, first) for array in (dL_dz, db))
        for j in counted(builder, units):

            def add(
                r: ir.Value, sums: list[Lanes], j: ir.Value = j, of_d: InLanes = of_d
            ) -> list[Lanes]:
                place = builder.add(builder.mul(r, units), j)
                return [sums[v] + of_d.load(place, v) for v in range(side)]

            values = [started(of_db, j, v) for v in range(side)]
            for v, total in enumerate(repeated(builder, rows, values, add)):
                of_db.store(total, j, v)
