"""Samples of a block of members, as the other loops over lanes take them; see `lane_vectors`."""

from llvmlite import ir
from numba.core import types

from flatprop.kernels.lanes.lane_vectors import ONE, Place, counted, group_size, groups
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import INT64, Array

NO_ORDER, ONE_ORDER, OWN_ORDERS = range(3)
"""In which order members take the samples: as they lie; in one order for all; each in its own."""

SIZES = dict.fromkeys(("lanes", "rows", "columns", "start", "own", "mode", "samples"), types.int64)


@routine(**SIZES)
def lane_gather(
    builder: ir.IRBuilder,
    source: Array,
    order: Array,
    out: Array,
    lanes: ir.Value,
    rows: ir.Value,
    columns: ir.Value,
    start: ir.Value,
    own: ir.Value,
    mode: ir.Value,
    samples: ir.Value,
) -> None:
    """out (rows, columns), in lanes ← rows `start` to start + rows of the members' samples.

    | `own` | `source` is | | `mode` | `order` is |
    | --- | --- | --- | --- | --- |
    | 0 | (samples, columns) | | `NO_ORDER` | anything |
    | 1 | (samples, columns), in lanes | | `ONE_ORDER` | (samples,) |
    | | | | `OWN_ORDERS` | (lanes, samples) |
    """
    is_own = builder.icmp_signed("!=", own, INT64(0))
    each = builder.icmp_signed("==", mode, INT64(OWN_ORDERS))
    stride = builder.select(is_own, lanes, INT64(1))
    with builder.if_else(each) as (differently, alike):
        with differently:
            for r in counted(builder, rows):
                place_of_row = builder.add(start, r)
                for lane in counted(builder, lanes):
                    at = builder.add(builder.mul(lane, samples), place_of_row)
                    row = builder.load(order.at(at))
                    further = builder.select(is_own, lane, INT64(0))
                    first = builder.add(builder.mul(builder.mul(row, columns), stride), further)
                    to = builder.add(builder.mul(builder.mul(r, columns), lanes), lane)
                    for c in counted(builder, columns):
                        number = builder.load(
                            source.at(builder.add(first, builder.mul(c, stride)))
                        )
                        builder.store(number, out.at(builder.add(to, builder.mul(c, lanes))))
        with alike:
            ordered = builder.icmp_signed("==", mode, INT64(1))
            for r in counted(builder, rows):
                place = builder.add(start, r)
                # order may be empty: read it only where there is one
                with builder.if_else(ordered) as (yes, no):
                    with yes:
                        chosen, block = builder.load(order.at(place)), builder.block
                    with no:
                        otherwise = builder.block
                row = builder.phi(INT64)
                row.add_incoming(chosen, block)
                row.add_incoming(place, otherwise)
                with builder.if_else(is_own) as (of_each, of_all):
                    for branch, holds_lanes in ((of_each, True), (of_all, False)):
                        with branch:
                            _copy_row(builder, source, out, lanes, row, r, columns, holds_lanes)


def _copy_row(
    builder: ir.IRBuilder,
    source: Array,
    out: Array,
    lanes: ir.Value,
    row: ir.Value,
    r: ir.Value,
    columns: ir.Value,
    holds_lanes: bool,
) -> None:
    for first in groups(builder, lanes, group_size(out)):
        at = builder.gep(source.data, [first]) if holds_lanes else source.data
        given = Place(source, at, lanes if holds_lanes else ONE, alike=not holds_lanes)
        to = Place(out, builder.gep(out.data, [first]), lanes)
        for c in counted(builder, columns):
            number = given.load(builder.add(builder.mul(row, columns), c))
            to.store(number, builder.add(builder.mul(r, columns), c))
