"""The products of a dense layer, for a register full of members; see `lane_vectors`.

Members have weights of their own, so that no sum goes across lanes: each is a chain of
multiplications and additions over registers. Some rows, a tile of them, are added up at once, so
that what is loaded serves all of them and the processor need not wait for one sum. Networks are
so small that a loop takes few steps: all it does is to move pointers.
"""

import operator
from functools import reduce
from typing import NamedTuple

from llvmlite import ir

from flatprop.kernels.lanes.lane_vectors import (
    ZERO,
    LaneMatrix,
    Place,
    TilePlace,
    group_size,
    loop,
    tiles,
)
from flatprop.kernels.loops.vector_loops import INT64
from flatprop.numbers.lanes import Lanes
from flatprop.numbers.numbers import fma


def lane_affine(
    builder: ir.IRBuilder,
    x: LaneMatrix,
    W: Place,
    b: Place,
    z: LaneMatrix,
    rows: ir.Value,
    inputs: ir.Value,
    units: ir.Value,
) -> None:
    """z (rows, units) ← x W + b."""
    # two units share what is loaded of x; AVX2 has too few registers for that
    pairs = ZERO
    if W.array.masks.stores:
        pairs = builder.lshr(units, INT64(1))
    rest = builder.sub(units, builder.shl(pairs, INT64(1)))
    for r, height in tiles(builder, rows):
        sources, out = x.tile(r, height), z.tile(r, height)
        state = [W.pointer, b.pointer, out.place.pointer]
        for count, side in ((pairs, 2), (rest, 1)):
            if count is ZERO:
                continue

            def columns(
                state: list[ir.Value],
                side: int = side,
                sources: TilePlace = sources,
                out: TilePlace = out,
            ) -> list[ir.Value]:
                weights, biases, to = W.at(state[0]), b.at(state[1]), out.at(state[2])

                def add_input(state: list[ir.Value]) -> list[ir.Value]:
                    weight, source = W.at(state[0]), sources.at(state[1])
                    numbers = source.load()
                    sums = iter(state[2:])
                    after = []
                    for k in range(side):
                        w = weight.load(k)
                        after += [fma(x, w, Lanes(builder, next(sums))).value for x in numbers]
                    return [weight.further(units).pointer, source.next(), *after]

                start = [biases.load(k).value for k in range(side) for _ in range(out.height)]
                begin = [weights.pointer, sources.place.pointer, *start]
                sums = [Lanes(builder, v) for v in loop(builder, inputs, begin, add_input)[2:]]
                for k in range(side):
                    to.store(sums[k * out.height : (k + 1) * out.height])
                    to = to.at(to.next())
                return [
                    weights.further(side).pointer,
                    biases.further(side).pointer,
                    to.place.pointer,
                ]

            state = loop(builder, count, state, columns)


class Gradient(NamedTuple):
    """Where the gradient of a layer goes, and whether it is added to what is there."""

    dW: Place
    db: Place
    accumulate: ir.Value

    def started(self, out: Place, r: ir.Value) -> Lanes:
        """What the sum over a tile from row r on begins with."""
        builder = out.array.builder
        later = builder.icmp_signed("!=", builder.or_(r, self.accumulate), ZERO)
        before = out.load()
        return Lanes(builder, builder.select(later, before.value, before.like(0.0).value))


def lane_gradient(
    builder: ir.IRBuilder,
    x: LaneMatrix,
    dL_dz: LaneMatrix,
    gradient: Gradient,
    rows: ir.Value,
    inputs: ir.Value,
    units: ir.Value,
) -> None:
    """dW (inputs, units) ← xᵀ ∂L/∂z, db (units,) ← Σ ∂L/∂z."""
    for r, height in tiles(builder, rows):
        source, given = x.tile(r, height), dL_dz.tile(r, height)

        def of_unit(
            state: list[ir.Value],
            source: TilePlace = source,
            given: TilePlace = given,
            r: ir.Value = r,
        ) -> list[ir.Value]:
            d = given.at(state[0])
            after = _column(
                builder, source, d.load(), gradient, r, state[1], state[2], inputs, units
            )
            return [d.next(), *after]

        begin = [given.place.pointer, gradient.dW.pointer, gradient.db.pointer]
        loop(builder, units, begin, of_unit)


def _column(
    builder: ir.IRBuilder,
    source: TilePlace,
    slopes: list[Lanes],
    gradient: Gradient,
    r: ir.Value,
    dW: ir.Value,
    db: ir.Value,
    inputs: ir.Value,
    units: ir.Value,
) -> list[ir.Value]:
    """The gradient of a unit from its ∂L/∂z in a tile; returns the pointers of the next unit."""

    def of_input(state: list[ir.Value]) -> list[ir.Value]:
        numbers, out = source.at(state[0]), gradient.dW.at(state[1])
        total = gradient.started(out, r)
        for x, slope in zip(numbers.load(), slopes, strict=True):
            total = fma(x, slope, total)
        out.store(total)
        return [numbers.next(), out.further(units).pointer]

    loop(builder, inputs, [source.place.pointer, dW], of_input)
    bias = gradient.db.at(db)
    bias.store(gradient.started(bias, r) + reduce(operator.add, slopes))
    return [gradient.dW.at(dW).further(1).pointer, bias.further(1).pointer]


def lane_backward(
    builder: ir.IRBuilder,
    a: LaneMatrix,
    dL_dz: LaneMatrix,
    W: Place,
    gradient: Gradient,
    slope: LaneMatrix,
    first: tuple[LaneMatrix, Gradient, ir.Value] | None,
    rows: ir.Value,
    inputs: ir.Value,
    units: ir.Value,
) -> None:
    """dW (inputs, units) ← aᵀ ∂L/∂z, db (units,) ← Σ ∂L/∂z, and the layer before gets its own.

    slope (rows, inputs) ← slope · ∂L/∂z Wᵀ, the ∂L/∂z of the layer before. If that one is the
    `first`, this is its x, its gradient and its inputs: then its ∂L/∂z does not leave the
    registers.
    """
    nothing = ir.Constant(ir.VectorType(W.array.element, group_size(W.array)), None)
    for r, height in tiles(builder, rows):
        source, given, to = (matrix.tile(r, height) for matrix in (a, dL_dz, slope))
        of_first = None if first is None else first[0].tile(r, height)

        def of_input(
            state: list[ir.Value],
            source: TilePlace = source,
            given: TilePlace = given,
            to: TilePlace = to,
            of_first: TilePlace | None = of_first,
            r: ir.Value = r,
        ) -> list[ir.Value]:
            numbers = source.at(state[0]).load()

            def of_unit(state: list[ir.Value]) -> list[ir.Value]:
                d, weight, out = given.at(state[0]), W.at(state[1]), gradient.dW.at(state[2])
                slopes, w = d.load(), weight.load()
                total = gradient.started(out, r)
                for x, slope in zip(numbers, slopes, strict=True):
                    total = fma(x, slope, total)
                out.store(total)
                sums = [Lanes(builder, value) for value in state[3:]]
                sums = [fma(s, w, total) for s, total in zip(slopes, sums, strict=True)]
                pointers = d.next(), weight.further(1).pointer, out.further(1).pointer
                return [*pointers, *(total.value for total in sums)]

            begin = [given.place.pointer, state[1], state[2], *[nothing] * to.height]
            after = loop(builder, units, begin, of_unit)
            out = to.at(state[3])
            sums = [Lanes(builder, value) for value in after[3:]]
            deltas = [total * s for total, s in zip(sums, out.load(), strict=True)]
            further = [source.at(state[0]).next(), after[1], after[2], out.next()]
            if first is None or of_first is None:
                out.store(deltas)
                return further
            _, own, count = first
            return [
                *further,
                *_column(builder, of_first, deltas, own, r, state[4], state[5], count, inputs),
            ]

        begin = [source.place.pointer, W.pointer, gradient.dW.pointer, to.place.pointer]
        if first is not None:
            begin += [first[1].dW.pointer, first[1].db.pointer]
        loop(builder, inputs, begin, of_input)

        def of_bias(
            state: list[ir.Value], given: TilePlace = given, r: ir.Value = r
        ) -> list[ir.Value]:
            d, out = given.at(state[0]), gradient.db.at(state[1])
            out.store(gradient.started(out, r) + reduce(operator.add, d.load()))
            return [d.next(), out.further(1).pointer]

        loop(builder, units, [given.place.pointer, gradient.db.pointer], of_bias)
