"""Forward pass, loss, gradient and descent with every size a constant.

What `backprop` does for any network, written out for one: each layer's parameters and
activations are vectors whose lanes are known, so that the steps of a training follow
each other without touching memory. The sizes come as one string, since Numba's cache on
disk finds functions again that close over nothing but such data.
"""

import json
from collections.abc import Iterator
from functools import cache
from math import inf
from typing import Any, NamedTuple

import numba.extending
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError

from flatprop.formulas import elementary
from flatprop.formulas.activations import ACTIVATIONS
from flatprop.formulas.lanes import Lanes, fma, lane_count, where
from flatprop.formulas.losses import LOSSES
from flatprop.kernels.jit import entry_point
from flatprop.kernels.matrices import Matrix, fold, product, repeat, take
from flatprop.kernels.registers import DOUBLE, INT64, wide

TILE_REGISTERS = 4
"""How many registers the widest layer's activations of one tile of rows may take."""


class Sizes(NamedTuple):
    """What is constant: all but parameters and data."""

    dtype: str
    inputs: int
    layers: tuple[tuple[int, str], ...]
    """Units and activation."""
    loss: str
    parameter: float
    divisor: float
    """As in `layout.OBJECTIVE`."""
    rows: int
    """0 where only the call tells."""

    @property
    def outputs(self) -> int:
        return self.layers[-1][0]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Those of W and b, b as one row, in the order of `params`."""
        found, inputs = [], self.inputs
        for units, _ in self.layers:
            found += [(inputs, units), (1, units)]
            inputs = units
        return found

    @property
    def parameters(self) -> int:
        return sum(m * n for m, n in self.shapes)

    @property
    def tile(self) -> int:
        """How many rows go through the network together."""
        bits = 32 if self.dtype == "float32" else 64
        lanes = TILE_REGISTERS * 512 // bits
        widest = max(n for _, n in self.shapes)
        return max(1, min(lanes // widest, self.rows or 16))


def written(sizes: Sizes) -> str:
    return json.dumps(sizes)


def read(text: str) -> Sizes:
    *first, layers, loss, parameter, divisor, rows = json.loads(text)
    return Sizes(*first, tuple(map(tuple, layers)), loss, parameter, divisor, rows)


# ---- one tile of rows


class Target(NamedTuple):
    """y, as it comes: rows of outputs, or one class index per row."""

    lanes: Lanes
    indices: bool


def softmax(z: Matrix) -> tuple[Lanes, Lanes, Lanes]:
    """Softmax, and of every row the largest z and Σ e^(z - largest)."""
    largest = across(z, lambda one, other: where(other > one, other, one), -inf)
    e = elementary.exp_of_negative(z.lanes - largest)
    total = across(z.with_lanes(e))
    return e / total, largest, total


def across(z: Matrix, combine: Any = Lanes.__add__, neutral: float = 0.0) -> Lanes:
    """The numbers of every row combined into one, which stands in every column."""
    one_per_row = fold(z.by_columns(), z.columns, combine, neutral)
    return take(one_per_row, [r for r in range(z.rows) for _ in range(z.columns)])


def forward(
    sizes: Sizes, params: list[Matrix], x: Matrix, logits: bool = False
) -> tuple[list[Matrix], list[Lanes | None]]:
    """The activations of every layer, x first, and da/dz of every layer but a softmax."""
    activations, slopes = [x], []
    last = len(sizes.layers) - 1
    for l, (_, name) in enumerate(sizes.layers):
        W, b = params[2 * l], params[2 * l + 1]
        z = product(activations[-1], W, repeat(b.lanes, x.rows))
        formula = ACTIVATIONS[name].formula
        slope = None
        if l == last and logits:
            a = z.lanes
        elif formula is None:
            a = softmax(z)[0]
        else:
            a, slope = formula(z.lanes)
        activations.append(z.with_lanes(a))
        slopes.append(slope)
    return activations, slopes


def cross_entropy(z: Matrix, y: Target) -> tuple[Lanes, Lanes]:
    """Σₖ yₖ (log Σ e^z - zₖ), its terms, and the slope with respect to z."""
    p, largest, total = softmax(z)
    if y.indices:
        index = take(y.lanes, [r for r in range(z.rows) for _ in range(z.columns)])
        units = ir.Constant(index.value.type, [float(k) for k in range(z.columns)] * z.rows)
        share = where(index._compare("==", Lanes(index.builder, units)), index.like(1.0), 0.0)
        slope = p - share
    else:
        share = y.lanes
        slope = across(z.with_lanes(share)) * p - share
    log_p = z.lanes - largest - elementary.log(total)
    return where(share > 0.0, -share * log_p, 0.0), slope


def backward(
    sizes: Sizes, params: list[Matrix], x: Matrix, y: Target, weight: Lanes, factor: Lanes
) -> tuple[Lanes, list[Matrix]]:
    """w ℓ, one lane per output of a row, and the gradient, one matrix per W and b."""
    loss = LOSSES[sizes.loss]
    from_logits = loss.activation is not None
    activations, slopes = forward(sizes, params, x, from_logits)
    prediction = activations.pop()
    if sizes.loss == "cross_entropy":
        value, delta = cross_entropy(prediction, y)
    else:
        parameter = prediction.lanes.like(sizes.parameter)
        value, delta = loss.formula(prediction.lanes, y.lanes, parameter)
    delta = delta * factor
    if not from_logits:
        slope = slopes[-1]
        if slope is None:
            a = prediction.lanes
            delta = a * (delta - across(prediction.with_lanes(a * delta)))
        else:
            delta = delta * slope
    gradient = []
    for l in range(len(sizes.layers) - 1, -1, -1):
        dL_dz = prediction.with_lanes(delta) if l == len(sizes.layers) - 1 else dL_dz
        db = Matrix(fold(dL_dz.lanes, x.rows), 1, dL_dz.columns)
        gradient = [product(activations[l].T, dL_dz), db, *gradient]
        if l > 0:
            dL_da = product(dL_dz, params[2 * l].T)
            dL_dz = dL_da.with_lanes(dL_da.lanes * slopes[l - 1])
    return weight * value, gradient


# ---- all rows


class Arrays(NamedTuple):
    """The arguments, as LLVM sees them: where data begin."""

    x: ir.Value
    y: ir.Value
    weight: ir.Value | None
    rows: ir.Value
    scale: ir.Value
    indices: bool


def element_type(sizes: Sizes) -> ir.Type:
    return ir.FloatType() if sizes.dtype == "float32" else DOUBLE


def load(builder: ir.IRBuilder, data: ir.Value, start: ir.Value, count: int) -> Lanes:
    """`count` numbers in a row."""
    element = data.type.pointee
    vector = ir.VectorType(element, count)
    pointer = builder.bitcast(builder.gep(data, [start]), vector.as_pointer())
    return Lanes(builder, builder.load(pointer, align=alignment(element)))


def store(lanes: Lanes, data: ir.Value, start: ir.Value) -> None:
    builder = lanes.builder
    pointer = builder.bitcast(builder.gep(data, [start]), lanes.value.type.as_pointer())
    builder.store(lanes.value, pointer, align=alignment(lanes.element))


def alignment(element: ir.Type) -> int:
    if isinstance(element, ir.IntType):
        return element.width // 8
    return 4 if isinstance(element, ir.FloatType) else 8


def load_params(builder: ir.IRBuilder, sizes: Sizes, data: ir.Value) -> list[Matrix]:
    found, start = [], 0
    for m, n in sizes.shapes:
        found.append(Matrix(load(builder, data, INT64(start), m * n), m, n))
        start += m * n
    return found


def store_params(sizes: Sizes, matrices: list[Matrix], data: ir.Value) -> None:
    start = 0
    for matrix in matrices:
        store(matrix.lanes, data, INT64(start))
        start += matrix.rows * matrix.columns


def tiles(builder: ir.IRBuilder, sizes: Sizes, rows: ir.Value) -> Iterator[tuple[ir.Value, int]]:
    """Where tiles of rows begin, and how many rows they have."""
    count = sizes.tile
    if sizes.rows == count:
        yield INT64(0), count
        return
    if sizes.rows:
        rows = INT64(sizes.rows)
    rest = builder.srem(rows, INT64(count))
    whole = builder.sub(rows, rest)
    with cgutils.for_range_slice(builder, INT64(0), whole, INT64(count), INT64) as (start, _):
        yield start, count
    if not sizes.rows:
        with cgutils.for_range_slice(builder, whole, rows, INT64(1), INT64) as (start, _):
            yield start, 1
    elif sizes.rows % count:
        yield whole, sizes.rows % count


def total_and_gradient(
    builder: ir.IRBuilder, sizes: Sizes, params: list[Matrix], arrays: Arrays
) -> tuple[ir.Value, list[Matrix]]:
    """Σ w ℓ in float64 and the gradient of scale · Σ w ℓ."""
    element = element_type(sizes)
    # -0 is what can be added to any number without changing it: LLVM drops the addition
    total = cgutils.alloca_once(builder, DOUBLE)
    builder.store(ir.Constant(DOUBLE, -0.0), total)
    sums = []
    for matrix in params:
        place = cgutils.alloca_once(builder, matrix.lanes.value.type)
        builder.store(matrix.lanes.like(-0.0).value, place)
        sums.append(place)

    k = sizes.outputs
    for start, rows in tiles(builder, sizes, arrays.rows):
        x = load(builder, arrays.x, builder.mul(start, INT64(sizes.inputs)), rows * sizes.inputs)
        if arrays.indices:
            y = load(builder, arrays.y, start, rows)
            if isinstance(y.value.type.element, ir.IntType):
                y = Lanes(builder, builder.sitofp(y.value, ir.VectorType(element, rows)))
        else:
            y = load(builder, arrays.y, builder.mul(start, INT64(k)), rows * k)
        scale = arrays.scale
        if element != DOUBLE:
            scale = builder.fptrunc(scale, element)
        vector = ir.VectorType(element, rows * k)
        one = Lanes(builder, builder.insert_element(ir.Constant(vector, ir.Undefined), scale, ir.IntType(32)(0)))
        factor = take(one, [0] * (rows * k))
        weight = factor.like(1.0)
        if arrays.weight is not None:
            weight = take(load(builder, arrays.weight, start, rows), [r for r in range(rows) for _ in range(k)])
            factor = weight * factor
        values, gradient = backward(
            sizes, params, Matrix(x, rows, sizes.inputs), Target(y, arrays.indices), weight, factor
        )
        value = builder.extract_element(fold(wide(values), rows * k).value, ir.IntType(32)(0))
        builder.store(builder.fadd(builder.load(total), value), total)
        for place, part in zip(sums, gradient, strict=True):
            builder.store(builder.fadd(builder.load(place), part.lanes.value), place)
    return builder.load(total), [
        matrix.with_lanes(Lanes(builder, builder.load(place)))
        for matrix, place in zip(params, sums, strict=True)
    ]


# ---- what compiled code calls


def intrinsic(function):
    """As `jit.intrinsic`; the string with the sizes comes as a literal."""
    return numba.extending.intrinsic(prefer_literal=True)(function)


def data_of(context, builder, kind, value):
    return context.make_array(kind)(context, builder, value).data


def arrays_of(context, builder, kinds, x, y, weight, scale):
    source = context.make_array(kinds[0])(context, builder, x)
    rows = builder.extract_value(source.shape, 0)
    return Arrays(
        source.data,
        data_of(context, builder, kinds[1], y),
        None if kinds[2] == types.none else data_of(context, builder, kinds[2], weight),
        rows,
        scale,
        False,
    )


@intrinsic
def write_outputs(typing_context: Any, text: Any, params: Any, x: Any, out: Any) -> Any:
    """out ← the network's outputs for x."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        sizes = read(text.literal_value)
        data = [data_of(context, builder, k, v) for k, v in zip(signature.args[1:], values[1:])]
        rows = builder.extract_value(context.make_array(signature.args[2])(context, builder, values[2]).shape, 0)
        matrices = load_params(builder, sizes, data[0])
        for start, count in tiles(builder, sizes, rows):
            xs = load(builder, data[1], builder.mul(start, INT64(sizes.inputs)), count * sizes.inputs)
            a, _ = forward(sizes, matrices, Matrix(xs, count, sizes.inputs))
            store(a[-1].lanes, data[2], builder.mul(start, INT64(sizes.outputs)))
        return context.get_dummy_value()

    return types.void(text, params, x, out), codegen


@intrinsic
def write_gradient(typing_context: Any, text: Any, params: Any, x: Any, y: Any, weight: Any, scale: Any, gradient: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        sizes = read(text.literal_value)
        kinds = signature.args
        arrays = arrays_of(context, builder, kinds[2:5], *values[2:6])
        arrays = arrays._replace(indices=sizes.loss == "cross_entropy" and kinds[3].ndim == 1)
        matrices = load_params(builder, sizes, data_of(context, builder, kinds[1], values[1]))
        total, found = total_and_gradient(builder, sizes, matrices, arrays)
        store_params(sizes, found, data_of(context, builder, kinds[6], values[6]))
        return total

    return types.float64(text, params, x, y, weight, types.float64, gradient), codegen


@intrinsic
def descend(typing_context: Any, text: Any, params: Any, x: Any, y: Any, weight: Any, scale: Any, rate: Any, steps: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        sizes = read(text.literal_value)
        kinds = signature.args
        arrays = arrays_of(context, builder, kinds[2:5], *values[2:6])
        arrays = arrays._replace(indices=sizes.loss == "cross_entropy" and kinds[3].ndim == 1)
        data = data_of(context, builder, kinds[1], values[1])
        matrices = load_params(builder, sizes, data)
        places = [cgutils.alloca_once_value(builder, m.lanes.value) for m in matrices]
        last = cgutils.alloca_once(builder, DOUBLE)
        element = element_type(sizes)
        rate = builder.fneg(values[6])
        if element != DOUBLE:
            rate = builder.fptrunc(rate, element)

        def current():
            return [m.with_lanes(Lanes(builder, builder.load(p))) for m, p in zip(matrices, places)]

        with cgutils.for_range(builder, values[7]):
            theta = current()
            total, gradient = total_and_gradient(builder, sizes, theta, arrays)
            builder.store(total, last)
            for m, g, p in zip(theta, gradient, places):
                vector = m.lanes.value.type
                one = Lanes(builder, builder.insert_element(ir.Constant(vector, ir.Undefined), rate, ir.IntType(32)(0)))
                factor = take(one, [0] * vector.count)
                builder.store(fma(factor, g.lanes, m.lanes).value, p)
        store_params(sizes, current(), data)
        return builder.load(last)

    return types.float64(text, params, x, y, weight, types.float64, types.float64, types.int64), codegen


@cache
def functions(text):
    sizes = read(text)
    rows, divisor = sizes.rows, sizes.divisor

    @entry_point
    def forward(params, x, out):
        write_outputs(text, params, x, out)

    @entry_point
    def loss_and_gradient(params, x, y, weight, gradient):
        scale = 1.0 / ((rows or x.shape[0]) * divisor) if divisor else 1.0
        return scale * write_gradient(text, params, x, y, weight, scale, gradient)

    @entry_point
    def sgd_step(params, x, y, weight, learning_rate):
        scale = 1.0 / ((rows or x.shape[0]) * divisor) if divisor else 1.0
        return scale * descend(text, params, x, y, weight, scale, learning_rate, 1)

    @entry_point
    def sgd_steps(params, x, y, weight, learning_rate, steps):
        scale = 1.0 / ((rows or x.shape[0]) * divisor) if divisor else 1.0
        return scale * descend(text, params, x, y, weight, scale, learning_rate, steps)

    return forward, loss_and_gradient, sgd_step, sgd_steps
