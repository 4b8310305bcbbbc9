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

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop.evaluation.values import predict
from flatprop.export.layer_formats import formats_of
from flatprop.model.model import Model
from flatprop.numbers.c_source import c_type, constant_array, function_name, literal
from flatprop.validation import checks
from flatprop.validation.arrays import Array

NUMBERS = 2**22
"""How many derivatives there are at once, 32 MB."""


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
    layers: list[Any] = []
    for l, layer in enumerate(network.dense):
        layers.append(formats_of(layer).rounding(network, l, layers))
    widest = max(layer.units for layer in network.dense)
    some = max(1, NUMBERS // (widest * network.outputs))
    with np.errstate(all="ignore"):  # a bound that overflows becomes the largest
        parts = [
            _of_rows(layers, x[start : start + some], expected[start : start + some])
            for start in range(0, len(x), some)
        ]
    info = np.finfo(network.dtype)
    found = np.nan_to_num(np.concatenate(parts), nan=np.inf)
    bound: Array = np.clip(found, float(info.tiny), float(info.max)).astype(network.dtype)
    return bound


def _of_rows(layers: list[Any], x: Array, expected: Array) -> Array:
    a = x.astype(np.float64)
    error = np.zeros_like(a)
    for layer in layers:
        a, error = layer.forward(a, error)
    rows, outputs = a.shape
    bound = np.zeros(a.shape)
    dy_da = np.broadcast_to(np.eye(outputs), (rows, outputs, outputs))
    for layer in reversed(layers):
        dy_da = layer.backward(dy_da, bound)
    return np.asarray(np.abs(expected - a) + 2 * bound, np.float64)
