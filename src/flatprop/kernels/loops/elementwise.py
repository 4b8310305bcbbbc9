"""The loops around the formulas, as functions that other kernels call.

Each is a Numba intrinsic. Where one takes a `code`, it is a switch over a table of formulas, with
one loop for each entry. Arrays are C-contiguous, of one dtype and equally long.
"""

import math
from collections.abc import Sequence

from llvmlite import ir
from numba.core import cgutils, types

from flatprop.formulas.activations import ACTIVATIONS
from flatprop.formulas.losses import LOSSES
from flatprop.kernels.loops.addresses import activation_type, custom_cases, loss_type
from flatprop.kernels.loops.routines import Record, routine
from flatprop.kernels.loops.vector_loops import (
    DOUBLE,
    Array,
    broadcast,
    cases,
    registers,
    rows_of,
    sum_of,
    wide,
)
from flatprop.numbers.duals import Dual, twice_dual
from flatprop.numbers.lanes import Lanes

ACTIVATION_FORMULAS = tuple(a.formula for a in ACTIVATIONS.values() if a.formula is not None)
LOSS_FORMULAS = tuple(loss.formula for loss in LOSSES.values())
LOSS_FIELDS = "loss", "function", "parameter"
"""The fields of the record of a loss that are needed here."""


@routine(number=types.float64)
def fill(builder: ir.IRBuilder, out: Array, number: ir.Value) -> None:
    """out ← a number, everywhere."""
    lanes = broadcast(Lanes(builder, number), out.element)
    for register in registers(out, written_only=1):
        register.store(lanes, 0)


@routine()
def multiply(builder: ir.IRBuilder, factor: Array, out: Array) -> None:
    """out ← out · factor."""
    for register in registers(factor, out):
        register.store(register[0] * register[1], 1)


@routine()
def add(builder: ir.IRBuilder, term: Array, out: Array) -> None:
    """out ← out + term."""
    for register in registers(term, out):
        register.store(register[0] + register[1], 1)


@routine()
def copy(builder: ir.IRBuilder, source: Array, out: Array) -> None:
    """out ← source; nothing where both are the same array."""
    with builder.if_then(builder.icmp_unsigned("!=", source.data, out.data)):
        for register in registers(source, out, written_only=1):
            register.store(register[0], 1)


@routine()
def repeat_rows(builder: ir.IRBuilder, source: Array, out: Array) -> None:
    """out ← each row of the source as often, one after the other."""
    times = builder.udiv(out.shape[0], source.shape[0])
    for i in rows_of(out):
        row = source.row(builder.udiv(i, times))
        for register in registers(row, out.row(i), written_only=1):
            register.store(register[0], 1)


@routine(types.float64, start=types.int64, stop=types.int64)
def squared_norm(builder: ir.IRBuilder, x: Array, start: ir.Value, stop: ir.Value) -> ir.Value:
    """Σ x² over x[start:stop], in float64."""
    total = sum_of(x)
    for register in registers(x.part(start, builder.sub(stop, start))):
        number = wide(register[0])
        total.add(number * number)
    return total.total().value


@routine(code=types.int64, function=types.int64)
def activate(builder: ir.IRBuilder, code: ir.Value, function: ir.Value, z: Array) -> None:
    """z ← its activation a."""
    custom_activation(code, function, z)
    for formula in cases(builder, code, ACTIVATION_FORMULAS):
        for register in registers(z):
            register.store(formula(register[0])[0], 0)


@routine(code=types.int64, function=types.int64)
def activate_with_slope(
    builder: ir.IRBuilder, code: ir.Value, function: ir.Value, z: Array, slope: Array
) -> None:
    """z ← its activation a, slope ← da/dz."""
    custom_activation(code, function, z, slope)
    for formula in cases(builder, code, ACTIVATION_FORMULAS):
        for register in registers(z, slope, written_only=1):
            a, derivative = formula(register[0])
            register.store(a, 0)
            register.store(derivative, 1)


@routine(code=types.int64, function=types.int64)
def activate_with_curvature(
    builder: ir.IRBuilder,
    code: ir.Value,
    function: ir.Value,
    z: Array,
    slope: Array,
    curvature: Array,
) -> None:
    """z ← its activation a, slope ← da/dz, curvature ← d²a/dz²."""
    custom_activation(code, function, z, slope, curvature)
    for formula in cases(builder, code, ACTIVATION_FORMULAS):
        for register in registers(z, slope, curvature, written_only=2):
            a, derivative = formula(Dual(register[0], register[0].like(1.0)))
            register.store(a.value, 0)
            register.store(derivative.value, 1)
            register.store(derivative.tangent, 2)


@routine(code=types.int64, function=types.int64)
def activate_with_third(
    builder: ir.IRBuilder,
    code: ir.Value,
    function: ir.Value,
    z: Array,
    slope: Array,
    curvature: Array,
    third: Array,
) -> None:
    """As `activate_with_curvature`, and third ← d³a/dz³."""
    custom_activation(code, function, z, slope, curvature, third)
    for formula in cases(builder, code, ACTIVATION_FORMULAS):
        for register in registers(z, slope, curvature, third, written_only=3):
            a, derivative = formula(twice_dual(register[0]))
            register.store(a.value.value, 0)
            register.store(derivative.value.value, 1)
            register.store(derivative.value.tangent, 2)
            register.store(derivative.tangent.tangent, 3)


@routine(types.float64, scale=types.float64)
def loss_with_slope(
    builder: ir.IRBuilder,
    loss_record: Record,
    scale: ir.Value,
    prediction: Array,
    y: Array,
    weight: Array,
    slope: Array,
) -> ir.Value:
    """Σ w ℓ(ŷ, y) in float64; slope ← scale · w · ∂ℓ/∂ŷ.

    `slope` may be the same array as `prediction`.
    """
    code, function, parameter = (loss_record.field(name) for name in LOSS_FIELDS)
    result = cgutils.alloca_once_value(builder, ir.Constant(DOUBLE, 0.0))
    custom = _custom_loss(code, function, scale, (prediction, y, weight), slope=slope)
    builder.store(custom, result)
    shape = broadcast(Lanes(builder, parameter), prediction.element)
    factor = broadcast(Lanes(builder, scale), prediction.element)
    for formula in cases(builder, code, LOSS_FORMULAS):
        total = sum_of(prediction)
        for register in registers(prediction, y, weight, slope, written_only=1):
            value, derivative = formula(register[0], register[1], shape)
            total.add(wide(register.inside(register[2] * value)))
            register.store(derivative * (register[2] * factor), 3)
        builder.store(total.total().value, result)
    return builder.load(result)


@routine(scale=types.float64)
def loss_curvature(
    builder: ir.IRBuilder,
    loss_record: Record,
    scale: ir.Value,
    prediction: Array,
    y: Array,
    weight: Array,
    tangent: Array,
) -> None:
    """tangent ← scale · w · ∂²ℓ/∂ŷ² · tangent: how fast the slope changes along it."""
    code, function, parameter = (loss_record.field(name) for name in LOSS_FIELDS)
    _custom_loss(code, function, scale, (prediction, y, weight), tangent=tangent)
    shape = broadcast(Lanes(builder, parameter), prediction.element)
    factor = broadcast(Lanes(builder, scale), prediction.element)
    for formula in cases(builder, code, LOSS_FORMULAS):
        for register in registers(prediction, y, weight, tangent):
            moving = Dual(register[0], register[3])
            _, slope = formula(moving, Dual(register[1]), Dual(shape))
            register.store(slope.tangent * (register[2] * factor), 3)


# ---- functions by their address: of the user, and of losses over a row


def custom_activation(code: ir.Value, function: ir.Value, z: Array, *derivatives: Array) -> None:
    """Call the user's activation, where there is one; NaN where it may not be called."""
    builder = z.builder
    pointer = z.element.as_pointer()
    kind = activation_type(z.element)
    for known in custom_cases(builder, code, function):
        if known:
            wanted = [array.data for array in derivatives]
            unwanted = [ir.Constant(pointer, None)] * (3 - len(derivatives))
            address = builder.inttoptr(function, kind.as_pointer())
            builder.call(address, [z.count, z.data, *wanted, *unwanted])
        else:
            _fill_with_nan(z, *derivatives)


def _custom_loss(
    code: ir.Value,
    function: ir.Value,
    scale: ir.Value,
    arrays: Sequence[Array],
    slope: Array | None = None,
    tangent: Array | None = None,
) -> ir.Value:
    """The sum of a loss that has a function; 0 for others, NaN where it may not be called."""
    builder = arrays[0].builder
    prediction, y, _ = arrays
    pointer, kind = prediction.element.as_pointer(), loss_type(prediction.element)
    result = cgutils.alloca_once_value(builder, ir.Constant(DOUBLE, 0.0))
    for known in custom_cases(builder, code, function):
        if known:
            address = builder.inttoptr(function, kind.as_pointer())
            data = [ir.Constant(pointer, None) if a is None else a.data for a in (slope, tangent)]
            given = [prediction.count, scale, *(array.data for array in arrays), *data]
            columns = prediction.shape[-1], y.shape[-1]
            builder.store(builder.call(address, [*given, *columns]), result)
        else:
            builder.store(DOUBLE(math.nan), result)
            _fill_with_nan(*(array for array in (slope, tangent) if array is not None))
    return builder.load(result)


def _fill_with_nan(*arrays: Array) -> None:
    for array in arrays:
        with cgutils.for_range(array.builder, array.count) as loop:
            place = array.builder.gep(array.data, [loop.index])
            array.builder.store(array.element(math.nan), place)
