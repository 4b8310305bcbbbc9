"""Forward pass, loss and backpropagation of some rows, for a block of members at once.

What `network.backprop` does for one network of dense layers. A register full of members goes
through all of it before the next ones do: so what is computed on the way stays in the first cache,
and one call serves the whole block.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import types

from flatprop.formulas.activations import ACTIVATIONS
from flatprop.kernels.lanes.lane_losses import (
    cross_entropy_of_rows,
    loss_of_rows,
    softmax_backward_of_rows,
    softmax_of_rows,
)
from flatprop.kernels.lanes.lane_products import (
    Gradient,
    lane_affine,
    lane_backward,
    lane_gradient,
)
from flatprop.kernels.lanes.lane_vectors import (
    ONE,
    ZERO,
    InLanes,
    LaneMatrix,
    Place,
    TilePlace,
    counted,
    group_size,
    groups,
    loop,
)
from flatprop.kernels.loops.elementwise import ACTIVATION_FORMULAS, custom_activation
from flatprop.kernels.loops.routines import Record, routine
from flatprop.kernels.loops.vector_loops import INT64, Array, cases
from flatprop.kernels.network.records import CROSS_ENTROPY, LAYER, SOFTMAX

IDENTITY = ACTIVATIONS["identity"].code


class LaneLayer(NamedTuple):
    """A layer: its record, and where a group of members has its numbers."""

    inputs: ir.Value
    units: ir.Value
    W_start: ir.Value
    b_start: ir.Value
    activation: ir.Value
    function: ir.Value
    a: LaneMatrix
    """(rows, units)"""
    slope: LaneMatrix
    """da/dz, later ∂L/∂z, (rows, units)."""


class Group(NamedTuple):
    """A register full of members, and some of their rows."""

    builder: ir.IRBuilder
    layers: Array
    workspace: Array
    x: Array
    shared: ir.Value
    lanes: ir.Value
    first: ir.Value
    rows: ir.Value

    def layer(self, l: ir.Value) -> LaneLayer:
        """One of the layers."""
        builder = self.builder
        fields = builder.bitcast(self.layers.data, INT64.as_pointer())
        size = LAYER.itemsize // 8

        def field(name: str) -> ir.Value:
            assert LAYER.fields is not None
            place = builder.add(builder.mul(l, INT64(size)), INT64(LAYER.fields[name][1] // 8))
            return builder.load(builder.gep(fields, [place]))

        units = field("units")
        start = builder.mul(builder.shl(field("units_before"), ONE), self.room)
        middle = builder.add(start, builder.mul(units, self.room))
        return LaneLayer(
            field("inputs"),
            units,
            field("W_start"),
            field("b_start"),
            field("activation"),
            field("function"),
            LaneMatrix.of_work(self.workspace, units, start),
            LaneMatrix.of_work(self.workspace, units, middle),
        )

    @property
    def room(self) -> ir.Value:
        """How many numbers a column has in the workspace: rows in fours."""
        builder = self.builder
        fours = builder.and_(builder.add(self.rows, INT64(3)), INT64(-4))
        return builder.mul(fours, INT64(group_size(self.workspace)))

    def samples(self, inputs: ir.Value) -> Iterator[LaneMatrix]:
        """Code for samples that are the same for all members, and for those of each."""
        of_all = self.builder.icmp_signed("!=", self.shared, ZERO)
        with self.builder.if_else(of_all) as branches:
            for branch, alike in zip(branches, (True, False), strict=True):
                with branch:
                    yield LaneMatrix.of_samples(self.x, inputs, self.lanes, self.first, alike)

    def parameters(self, array: Array, layer: LaneLayer) -> tuple[Place, Place]:
        """W and b of a layer, or their gradients."""
        builder = self.builder
        at = Place(array, builder.gep(array.data, [self.first]), self.lanes)
        return at.further(layer.W_start), at.further(layer.b_start)


SIZES = dict.fromkeys(("lanes", "rows", "columns", "shared", "accumulate", "learns"), types.int64)


@routine(**SIZES)
def lane_pass(
    builder: ir.IRBuilder,
    layers: Array,
    loss_record: Record,
    params: Array,
    x: Array,
    y: Array,
    weight: Array,
    factor: Array,
    totals: Array,
    gradient: Array,
    workspace: Array,
    lanes: ir.Value,
    rows: ir.Value,
    columns: ir.Value,
    shared: ir.Value,
    accumulate: ir.Value,
    learns: ir.Value,
) -> None:
    """totals ← Σ w ℓ over some rows; gradient ← factor · its gradient, if `learns`.

    Both are added to what is there if `accumulate`. x is (rows, inputs), in lanes or, if `shared`,
    one number for all members. `factor` and `totals` are (lanes,), `totals` is float64.
    """
    last = builder.sub(layers.count, ONE)
    logits = builder.icmp_signed("!=", loss_record.field("from_logits"), ZERO)
    for first in groups(builder, lanes, group_size(params)):
        group = Group(builder, layers, workspace, x, shared, lanes, first, rows)
        layer = group.layer(ZERO)
        W, b = group.parameters(params, layer)
        for source in group.samples(layer.inputs):
            lane_affine(builder, source, W, b, layer.a, rows, layer.inputs, layer.units)
        for further in counted(builder, last):
            before, layer = group.layer(further), group.layer(builder.add(further, ONE))
            _activate(builder, before, rows)
            W, b = group.parameters(params, layer)
            lane_affine(builder, before.a, W, b, layer.a, rows, layer.inputs, layer.units)
        layer = group.layer(last)
        with builder.if_then(builder.not_(logits)):
            _activate(builder, layer, rows, is_last=True)
        target = LaneMatrix.of_samples(y, columns, lanes, first, False)
        of_rows = LaneMatrix.of_samples(weight, ONE, lanes, first, False)
        sums = InLanes(totals, lanes, first)
        scale = InLanes(factor, lanes, first).load(ZERO, group_size(params))
        numbers = loss_record, scale, target, of_rows, sums
        _loss(builder, layer, logits, numbers, rows, columns, accumulate)
        with builder.if_then(builder.icmp_signed("!=", learns, ZERO)):
            of_first = group.layer(ZERO)
            first_gradient = Gradient(*group.parameters(gradient, of_first), accumulate)
            deep = builder.sub(last, ONE)
            for down in counted(builder, deep):
                l = builder.sub(last, down)
                layer, before = group.layer(l), group.layer(builder.sub(l, ONE))
                W, _ = group.parameters(params, layer)
                own = Gradient(*group.parameters(gradient, layer), accumulate)
                lane_backward(
                    *(builder, before.a, layer.slope, W, own, before.slope, None),
                    *(rows, layer.inputs, layer.units),
                )
            with builder.if_else(builder.icmp_signed(">", last, ZERO)) as (several, one):
                with several:
                    layer = group.layer(ONE)
                    W, _ = group.parameters(params, layer)
                    own = Gradient(*group.parameters(gradient, layer), accumulate)
                    for source in group.samples(of_first.inputs):
                        first_of_all = source, first_gradient, of_first.inputs
                        lane_backward(
                            *(builder, of_first.a, layer.slope, W, own, of_first.slope),
                            *(first_of_all, rows, layer.inputs, layer.units),
                        )
                with one:
                    sizes = rows, of_first.inputs, of_first.units
                    for source in group.samples(of_first.inputs):
                        lane_gradient(builder, source, of_first.slope, first_gradient, *sizes)


def _activate(
    builder: ir.IRBuilder, layer: LaneLayer, rows: ir.Value, is_last: bool = False
) -> None:
    """a ← the activation of z, slope ← da/dz."""
    code = layer.activation
    with contextlib.ExitStack() as stack:
        if is_last:
            is_softmax = builder.icmp_signed("==", code, INT64(SOFTMAX))
            softmax, other = stack.enter_context(builder.if_else(is_softmax))
            with softmax:
                softmax_of_rows(builder, layer.a, rows, layer.units)
            stack.enter_context(other)
            # nobody multiplies with the slope of a last layer without activation
            changes = builder.icmp_signed("!=", code, INT64(IDENTITY))
            stack.enter_context(builder.if_then(changes))
        count = _fours(builder, layer, rows)
        places = layer.a.first, layer.slope.first
        size = builder.mul(count, places[0].step)
        parts = [
            place.array._replace(data=place.pointer, count=size, shape=(size,)) for place in places
        ]
        custom_activation(code, layer.function, *parts)
        row = layer.a.row_step
        for formula in cases(builder, code, ACTIVATION_FORMULAS):

            def four(state: list[ir.Value], formula: Any = formula) -> list[ir.Value]:
                here = [place.at(at) for place, at in zip(places, state, strict=True)]
                tiles = [TilePlace(place, row, 4) for place in here]
                pairs = [formula(z) for z in tiles[0].load()]
                for tile, numbers in zip(tiles, zip(*pairs, strict=True), strict=True):
                    tile.store(numbers)
                return [place.further(1).pointer for place in here]

            loop(builder, count, [place.pointer for place in places], four)


def _fours(builder: ir.IRBuilder, layer: LaneLayer, rows: ir.Value) -> ir.Value:
    """How many steps it takes through a and slope of a layer, four rows at a time."""
    fours = builder.lshr(builder.add(rows, INT64(3)), INT64(2))
    return builder.mul(fours, layer.units)


def _loss(
    builder: ir.IRBuilder,
    layer: LaneLayer,
    logits: ir.Value,
    numbers: tuple[Any, ...],
    rows: ir.Value,
    columns: ir.Value,
    accumulate: ir.Value,
) -> None:
    """totals ← Σ w ℓ; ∂L/∂z of the last layer into its place."""
    loss_record, factor, y, weight, totals = numbers
    a, slope, units = layer.a, layer.slope, layer.units
    code, loss = layer.activation, loss_record.field("loss")
    is_softmax = builder.icmp_signed("==", code, INT64(SOFTMAX))
    is_identity = builder.icmp_signed("==", code, INT64(IDENTITY))
    is_entropy = builder.icmp_signed("==", loss, INT64(CROSS_ENTROPY))
    with builder.if_else(is_entropy) as (entropy, other):
        with entropy:
            arrays = a, y, weight, slope
            cross_entropy_of_rows(
                builder, factor, arrays, totals, rows, units, columns, accumulate
            )
        with other:
            direct = builder.or_(logits, builder.or_(is_softmax, is_identity))
            at = builder.select(direct, slope.first.pointer, a.first.pointer)
            arrays = a, y, weight, slope._replace(first=slope.first.at(at))
            loss_of_rows(builder, loss_record, factor, arrays, totals, rows, units, accumulate)
            with builder.if_else(direct) as (done, chain):
                with done, builder.if_then(is_softmax):
                    softmax_backward_of_rows(builder, a, slope, rows, units)
                with chain:
                    for r in counted(builder, rows):
                        of_a, of_slope = a.row(r), slope.row(r)
                        for k in counted(builder, units):
                            of_slope.store(of_slope.load(k) * of_a.load(k), k)
