"""The self-test of a network in C: a program, and how far its outputs may be from `predict`'s.

The bound follows from the arithmetic. A sum z = b + Σ x W that is added up one term after the
other is off by no more than half a unit of the last place of every term and of every partial
sum (Higham 2002, 3.3). What a layer adds goes on to the outputs by the derivatives of the
layers behind it, all signs at their worst:

    |error of ŷ| <= Σ over layers and units |∂ŷ/∂z| (what the sum adds)
                                          + |∂ŷ/∂a| (what the activation adds)

The derivatives are those at the samples, in float64, so that this is a bound to first order;
a slope is the steepest one within reach of z's error, kinks and steps included. The bound is
doubled, and `predict`'s own distance from the outputs in float64 is added.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatprop.evaluation.values import predict
from flatprop.export.formula_text import formula_of
from flatprop.model.model import Model
from flatprop.numbers.c_source import c_type, constant_array, function_name, literal
from flatprop.numbers.rounding import FUNCTION, Precision, Rounded
from flatprop.numbers.translated import CustomFormula
from flatprop.validation import checks
from flatprop.validation.arrays import Array

Matrix = NDArray[np.float64]

NUMBERS = 2**22
"""How many derivatives there are at once, 32 MB."""
CHANCE = 8
"""A sum of errors of random signs stays within so many of its standard deviations."""


class Layer(NamedTuple):
    """What happens in one layer; arrays are (rows, units) unless said otherwise."""

    W: Matrix
    """(inputs, units)."""
    softmax: bool
    added_to_z: Matrix
    a: Matrix
    added_to_a: Matrix
    slope: Matrix
    """da/dz; of a softmax unused."""
    error: Matrix
    """How far a is off: only the reach of the next layer's slopes depends on it."""


def program(network: Model, name: str, test: ArrayLike) -> str:
    """A program that compares what the compiled network computes with `predict`."""
    try:
        x = checks.inputs(test, network.inputs, network.dtype)
        expected = predict(network, x)
        checks.finite("predict(X)", expected)
    except (TypeError, ValueError) as error:
        raise type(error)(f"test: {error}") from None
    kind, upper = c_type(network.dtype), name.upper()
    one, fabs = literal(1.0, network.dtype), function_name("fabs", network.dtype)
    return f"""\
#ifdef {upper}_TEST /* a program: 0 if this machine computes what flatprop did */
#include <stdio.h>

{constant_array(f"{name}_test_x", x)}
{constant_array(f"{name}_test_expected", expected)}
/* how far each output may be off by rounding: from the sizes of all terms and partial sums,
   each half a unit of the last place, by the slopes of the layers behind */
{constant_array(f"{name}_test_bound", bounds(network, x, expected))}
int main(void)
{{
    {kind} largest = 0;
    int wrong = 0;
    for (size_t i = 0; i < {len(x)}; i++) {{
        {kind} out[{upper}_OUTPUTS];
        {name}({name}_test_x + i * {upper}_INPUTS, out);
        for (size_t j = 0; j < {upper}_OUTPUTS; j++) {{
            const size_t k = i * {upper}_OUTPUTS + j;
            const {kind} error = {fabs}(out[j] - {name}_test_expected[k]);
            const {kind} part = error / {name}_test_bound[k];
            if (!(part <= {one})) /* as it is for NaN */
                wrong++;
            if (part > largest)
                largest = part;
        }}
    }}
{_as_double("shown", "largest", network.dtype)}
    printf("largest error %g of what rounding explains, %d of {expected.size} outputs beyond\\n",
        shown, wrong);
    return wrong > 0;
}}
#endif
"""


def _as_double(name: str, variable: str, dtype: np.dtype[Any]) -> str:
    """A constant of the same value: for `printf`, without a warning in either language."""
    if dtype == np.float64:
        return f"    const double {name} = {variable};"
    return f"""\
#ifdef __cplusplus
    const double {name} = static_cast<double>({variable});
#else
    const double {name} = (double){variable};
#endif"""


# ---- the bounds


def bounds(network: Model, x: Array, expected: Array) -> Array:
    """How far each of the outputs for x may be from `expected`; of the network's dtype."""
    formulas = [
        None if layer.activation == "softmax" else formula_of("to_c", layer, l)
        for l, layer in enumerate(network.dense)
    ]
    widest = max(layer.units for layer in network.dense)
    some = max(1, NUMBERS // (widest * network.outputs))
    with np.errstate(all="ignore"):  # a bound that overflows becomes the largest
        parts = [
            _of_rows(network, formulas, x[start : start + some], expected[start : start + some])
            for start in range(0, len(x), some)
        ]
    info = np.finfo(network.dtype)
    found = np.nan_to_num(np.concatenate(parts), nan=np.inf)
    return np.clip(found, float(info.tiny), float(info.max)).astype(network.dtype)


def _of_rows(
    network: Model, formulas: list[CustomFormula | None], x: Array, expected: Array
) -> Matrix:
    a = x.astype(np.float64)
    error = np.zeros_like(a)
    layers = []
    for l, formula in enumerate(formulas):
        layer = _layer(network, l, formula, a, error)
        layers.append(layer)
        a, error = layer.a, layer.error
    bound = np.zeros(a.shape)
    dy_da = np.broadcast_to(np.eye(network.outputs), (len(a), network.outputs, network.outputs))
    for layer in reversed(layers):
        if layer.softmax:
            scaled = dy_da * layer.a[:, None]
            dy_dz = scaled - scaled.sum(axis=2, keepdims=True) * layer.a[:, None]
        else:
            dy_dz = dy_da * layer.slope[:, None]
        bound += np.einsum("nku,nu->nk", np.abs(dy_da), layer.added_to_a)
        bound += np.einsum("nku,nu->nk", np.abs(dy_dz), layer.added_to_z)
        dy_da = dy_dz @ layer.W.T
    return np.asarray(np.abs(expected - a) + 2 * bound, np.float64)


def _layer(
    network: Model, l: int, formula: CustomFormula | None, a: Matrix, error: Matrix
) -> Layer:
    info = np.finfo(network.dtype)
    unit, least = precision = Precision(float(info.eps) / 2, float(info.tiny))
    W, b = (array[l].astype(np.float64) for array in (network.weights, network.biases))
    z, sizes = _sums(a, W, b)
    # A machine may take subnormal numbers for 0, as operands and as results.
    lost = np.abs(a).sum(axis=1, keepdims=True) + np.abs(W).sum(axis=0) + len(W) + 1
    added_to_z = unit * sizes + least * lost
    worst = error @ np.abs(W) + added_to_z
    chance = np.sqrt(error**2 @ W**2 + added_to_z**2)
    reach = np.fmin(worst, CHANCE * chance)
    if formula is None:
        below = z.max(axis=1, keepdims=True) - z
        e = np.exp(-below)
        out = e / e.sum(axis=1, keepdims=True)
        # the error of e^-below comes from its argument; the quotient has that of the sum, too
        roundings = below + (out * below).sum(axis=1, keepdims=True) + len(b) + 2 * FUNCTION
        added = np.where(out > 0, out * unit * roundings, 0) + least
        return Layer(W, True, added_to_z, out, added, out, out * reach + added)
    value, slope = _values(formula, precision, z)
    size = np.abs(slope.value)
    for place in (z - reach, z + reach):
        there, slope_there = _values(formula, precision, place)
        noise = 8 * np.finfo(np.float64).eps * np.abs(value.value)
        step = np.maximum(np.abs(there.value - value.value) - noise, 0)
        secant = np.where(reach > 0, step / reach, 0)
        size = np.fmax(size, np.fmax(np.abs(slope_there.value), secant))
    steepest = np.copysign(size, slope.value)
    return Layer(
        W, False, added_to_z, value.value, value.error, steepest, size * reach + value.error
    )


def _values(formula: CustomFormula, precision: Precision, z: Matrix) -> tuple[Any, Any]:
    """The activation and its slope with their own errors, of the shape of z."""
    nothing = np.zeros(z.shape)
    return tuple(  # type: ignore[return-value]
        Rounded(precision, result.value + nothing, result.error + nothing)
        for result in formula(Rounded(precision, z))
    )


def _sums(a: Matrix, W: Matrix, b: Matrix) -> tuple[Matrix, Matrix]:
    """z = b + Σ a W term by term, and what is rounded on the way: |terms| and |partial sums|."""
    z = np.broadcast_to(b, (len(a), len(b))).copy()
    sizes = np.zeros_like(z)
    for xi, weights in zip(a.T, W, strict=True):
        term = xi[:, None] * weights
        z += term
        sizes += np.abs(term) + np.abs(z)
    return z, sizes
