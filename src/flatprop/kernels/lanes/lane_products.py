"""The products of a dense layer, for a register full of members; see `lane_vectors`.

Members have weights of their own, so that no sum goes across lanes: each is a chain of
multiplications and additions over registers. Some rows, a tile of them, are added up at once, so
that what is loaded serves all of them and the processor need not wait for one sum. Networks are
so small that a loop takes few steps: all it does is to move pointers.
"""

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


def lane_backward(
    builder: ir.IRBuilder,
    x: LaneMatrix,
    dL_dz: LaneMatrix,
    W: Place,
    dW: Place,
    db: Place,
    slope: LaneMatrix | None,
    rows: ir.Value,
    inputs: ir.Value,
    units: ir.Value,
    accumulate: ir.Value,
) -> None:
    """dW (inputs, units) ← xᵀ ∂L/∂z, db (units,) ← Σ ∂L/∂z; added if `accumulate`.

    slope (rows, inputs) ← slope · ∂L/∂z Wᵀ, the ∂L/∂z of the layer before, unless it is None.
    """
    nothing = Lanes(builder, ir.Constant(ir.VectorType(W.array.element, group_size(W.array)), None))
    for r, height in tiles(builder, rows):
        source, given = x.tile(r, height), dL_dz.tile(r, height)
        later = builder.icmp_signed("!=", builder.or_(r, accumulate), ZERO)
        to = None if slope is None else slope.tile(r, height)

        def started(out: Place, later: ir.Value = later) -> Lanes:
            return Lanes(builder, builder.select(later, out.load().value, nothing.value))

        def of_input(
            state: list[ir.Value],
            source: TilePlace = source,
            given: TilePlace = given,
            to: TilePlace | None = to,
        ) -> list[ir.Value]:
            numbers = source.at(state[0]).load()

            def of_unit(state: list[ir.Value]) -> list[ir.Value]:
                d, weight, out = given.at(state[0]), W.at(state[1]), dW.at(state[2])
                slopes = d.load()
                total = started(out)
                for x, slope in zip(numbers, slopes, strict=True):
                    total = fma(x, slope, total)
                out.store(total)
                sums = [Lanes(builder, value) for value in state[3:]]
                if sums:
                    w = weight.load()
                    sums = [fma(s, w, total) for s, total in zip(slopes, sums, strict=True)]
                pointers = d.next(), weight.further(1).pointer, out.further(1).pointer
                return [*pointers, *(total.value for total in sums)]

            start = [nothing.value] * (0 if to is None else to.height)
            begin = [given.place.pointer, state[1], state[2], *start]
            after = loop(builder, units, begin, of_unit)
            further = [source.at(state[0]).next(), after[1], after[2]]
            if to is None:
                return further
            out = to.at(state[3])
            sums = [Lanes(builder, value) for value in after[3:]]
            out.store([total * s for total, s in zip(sums, out.load(), strict=True)])
            return [*further, out.next()]

        begin = [source.place.pointer, W.pointer, dW.pointer]
        if to is not None:
            begin.append(to.place.pointer)
        loop(builder, inputs, begin, of_input)

        def of_bias(state: list[ir.Value], given: TilePlace = given) -> list[ir.Value]:
            d, out = given.at(state[0]), db.at(state[1])
            total = started(out)
            for number in d.load():
                total = total + number
            out.store(total)
            return [d.next(), out.further(1).pointer]

        loop(builder, units, [given.place.pointer, db.pointer], of_bias)

