"""All rows through a network of constant sizes, a tile of rows at a time.

Parameters, gradients and sums stay in LLVM's hands from the first tile to the last and
from step to step: in registers, as far as they go.
"""

from collections.abc import Iterator
from typing import NamedTuple

from llvmlite import ir
from numba.core import cgutils

from flatprop.kernels.fixed_size import unrolled_backprop
from flatprop.kernels.fixed_size.register_matrix import Matrix, fold, spread
from flatprop.kernels.fixed_size.sizes import Sizes
from flatprop.kernels.fixed_size.unrolled_backprop import Target
from flatprop.kernels.loops.masks import splat
from flatprop.kernels.loops.vector_loops import DOUBLE, INT32, INT64, wide
from flatprop.numbers.lanes import Lanes
from flatprop.numbers.numbers import fma

TILES = (16, 4, 1)
"""How many rows a tile may have where only the call tells how many rows there are."""


class TileSamples(NamedTuple):
    """What a network is trained with: where the arrays begin."""

    x: ir.Value
    y: ir.Value
    indices: bool
    """Whether y is one class index per row."""
    weight: ir.Value | None
    rows: ir.Value
    scale: ir.Value
    """What Σ w ℓ is multiplied by, of the network's dtype."""


def write_outputs(
    builder: ir.IRBuilder,
    sizes: Sizes,
    params: ir.Value,
    x: ir.Value,
    rows: ir.Value,
    out: ir.Value,
) -> None:
    """out ← the outputs for x."""
    theta = split(builder, sizes, params)
    for start, count in tiles(builder, sizes, rows):
        a = rows_from(builder, x, start, count, sizes.units[0])
        activations, _ = unrolled_backprop.forward(sizes, theta, a, False)
        store(activations[-1].lanes, out, builder.mul(start, INT64(sizes.units[-1])))


def write_gradient(
    builder: ir.IRBuilder, sizes: Sizes, params: ir.Value, samples: TileSamples, gradient: ir.Value
) -> ir.Value:
    """Σ w ℓ in float64; gradient ← the gradient of scale · Σ w ℓ."""
    total, found = loss_and_gradient(builder, sizes, split(builder, sizes, params), samples)
    join(found, gradient)
    return total


def descend(
    builder: ir.IRBuilder,
    sizes: Sizes,
    params: ir.Value,
    samples: TileSamples,
    rate: ir.Value,
    steps: ir.Value,
) -> ir.Value:
    """params ← params - rate · gradient, so many times; Σ w ℓ before the last of them."""
    begun = split(builder, sizes, params)
    places = [cgutils.alloca_once_value(builder, matrix.lanes.value) for matrix in begun]
    last = cgutils.alloca_once(builder, DOUBLE)

    def current() -> list[Matrix]:
        values = [Lanes(builder, builder.load(place)) for place in places]
        return [matrix.holding(lanes) for matrix, lanes in zip(begun, values, strict=True)]

    with cgutils.for_range(builder, steps):
        theta = current()
        total, gradient = loss_and_gradient(builder, sizes, theta, samples)
        builder.store(total, last)
        for place, matrix, g in zip(places, theta, gradient, strict=True):
            factor = Lanes(builder, splat(builder, rate, matrix.rows * matrix.columns))
            builder.store(fma(-factor, g.lanes, matrix.lanes).value, place)
    join(current(), params)
    return builder.load(last)


def loss_and_gradient(
    builder: ir.IRBuilder, sizes: Sizes, params: list[Matrix], samples: TileSamples
) -> tuple[ir.Value, list[Matrix]]:
    """Σ w ℓ in float64, and the gradient of scale · Σ w ℓ for every W and b."""
    total = Sum(builder, ir.VectorType(DOUBLE, 1))
    sums = [Sum(builder, matrix.lanes.value.type) for matrix in params]
    outputs = sizes.units[-1]
    columns = 1 if samples.indices else outputs
    for start, rows in tiles(builder, sizes, samples.rows):
        x = rows_from(builder, samples.x, start, rows, sizes.units[0])
        y = rows_from(builder, samples.y, start, rows, columns).lanes
        if isinstance(samples.y.type.pointee, ir.IntType):
            y = Lanes(builder, builder.sitofp(y.value, ir.VectorType(sizes.element, rows)))
        factor = Lanes(builder, splat(builder, samples.scale, rows * outputs))
        weight = factor.like(1.0)
        if samples.weight is not None:
            weight = spread(rows_from(builder, samples.weight, start, rows, 1).lanes, outputs)
            factor = weight * factor
        target = Target(y, samples.indices, weight, factor)
        values, gradient = unrolled_backprop.loss_and_gradient(sizes, params, x, target)
        total.add(fold(wide(values), rows * outputs))
        for so_far, part in zip(sums, gradient, strict=True):
            so_far.add(part.lanes)
    found = builder.extract_element(total.value.value, INT32(0))
    pairs = zip(params, sums, strict=True)
    return found, [matrix.holding(so_far.value) for matrix, so_far in pairs]


def tiles(builder: ir.IRBuilder, sizes: Sizes, rows: ir.Value) -> Iterator[tuple[ir.Value, int]]:
    """Where tiles of rows begin, and how many rows they have."""
    most = sizes.tile
    if sizes.rows:
        count = -(-sizes.rows // -(-sizes.rows // most))  # all but the last equally long
        counts = [count, sizes.rows % count]
    else:
        counts = sorted({min(count, most) for count in TILES}, reverse=True)
    start: ir.Value = INT64(0)
    for count in filter(None, counts):
        rest = builder.srem(builder.sub(rows, start), INT64(count))
        stop = builder.sub(rows, rest)
        with cgutils.for_range_slice(builder, start, stop, INT64(count), INT64) as (row, _):
            yield row, count
        start = stop


class Sum:
    """What tiles add up to."""

    def __init__(self, builder: ir.IRBuilder, kind: ir.VectorType) -> None:
        self.builder = builder
        self.place = cgutils.alloca_once(builder, kind)
        # -0 changes no number that it is added to: LLVM drops the first addition
        nothing = Lanes(builder, ir.Constant(kind, None)).like(-0.0)
        builder.store(nothing.value, self.place)

    @property
    def value(self) -> Lanes:
        """The sum so far."""
        return Lanes(self.builder, self.builder.load(self.place))

    def add(self, lanes: Lanes) -> None:
        """Add what one tile gives."""
        self.builder.store((self.value + lanes).value, self.place)


# ---- memory


def rows_from(
    builder: ir.IRBuilder, data: ir.Value, start: ir.Value, rows: int, columns: int
) -> Matrix:
    """So many rows of a matrix in memory."""
    return load(builder, data, builder.mul(start, INT64(columns)), rows, columns)


def split(builder: ir.IRBuilder, sizes: Sizes, data: ir.Value) -> list[Matrix]:
    """Every W and b out of the flat array."""
    matrices, start = [], 0
    for rows, columns in sizes.shapes:
        matrices.append(load(builder, data, INT64(start), rows, columns))
        start += rows * columns
    return matrices


def join(matrices: list[Matrix], data: ir.Value) -> None:
    """Every W and b into the flat array."""
    start = 0
    for matrix in matrices:
        store(matrix.lanes, data, INT64(start))
        start += matrix.rows * matrix.columns


def load(
    builder: ir.IRBuilder, data: ir.Value, start: ir.Value, rows: int, columns: int
) -> Matrix:
    element = data.type.pointee
    vector = ir.VectorType(element, rows * columns)
    pointer = builder.bitcast(builder.gep(data, [start]), vector.as_pointer())
    return Matrix(Lanes(builder, builder.load(pointer, align=_bytes(element))), rows, columns)


def store(lanes: Lanes, data: ir.Value, start: ir.Value) -> None:
    builder = lanes.builder
    pointer = builder.bitcast(builder.gep(data, [start]), lanes.value.type.as_pointer())
    builder.store(lanes.value, pointer, align=_bytes(lanes.element))


def _bytes(element: ir.Type) -> int:
    """What an array of this type is aligned to at least."""
    if isinstance(element, ir.IntType):
        return int(element.width) // 8
    return 4 if isinstance(element, ir.FloatType) else 8
