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

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flatprop.numbers.rounding import FUNCTION, Precision, Rounded
from flatprop.numbers.translated import CustomFormula, formula_of
from flatprop.validation.arrays import Array

if TYPE_CHECKING:
    from flatprop.network import Network

Matrix = NDArray[np.float64]

NUMBERS = 2**22
"""How many derivatives there are at once, 32 MB."""
CHANCE = 8
"""How many standard deviations of the errors' sum, signs being random, are out of reach."""


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


def bounds(network: "Network", x: Array, expected: Array) -> Array:
    """How far each of the outputs for x may be from `expected`; of the network's dtype."""
    formulas = [
        None if layer.activation == "softmax" else formula_of("to_c", layer, l)
        for l, layer in enumerate(network.dense)
    ]
    widest = max(layer.units for layer in network.dense)
    some = max(1, NUMBERS // (widest * network.outputs))
    with np.errstate(all="ignore"):  # what overflows is no bound, and becomes the largest
        parts = [
            _of_rows(network, formulas, x[start : start + some], expected[start : start + some])
            for start in range(0, len(x), some)
        ]
    info = np.finfo(network.dtype)
    found = np.nan_to_num(np.concatenate(parts), nan=np.inf)
    return np.clip(found, float(info.tiny), float(info.max)).astype(network.dtype)


def _of_rows(
    network: "Network", formulas: list[CustomFormula | None], x: Array, expected: Array
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
    network: "Network", l: int, formula: CustomFormula | None, a: Matrix, error: Matrix
) -> Layer:
    info = np.finfo(network.dtype)
    unit, least = precision = Precision(float(info.eps) / 2, float(info.tiny))
    W, b = (array[l].astype(np.float64) for array in (network.weights, network.biases))
    z, sizes = _sums(a, W, b)
    # Where a machine takes numbers below the normal ones for 0: operands, and results.
    lost = np.abs(a).sum(axis=1, keepdims=True) + np.abs(W).sum(axis=0) + len(W) + 1
    added_to_z = unit * sizes + least * lost
    worst = error @ np.abs(W) + added_to_z
    chance = np.sqrt(error**2 @ W**2 + added_to_z**2)
    reach = np.fmin(worst, CHANCE * chance)
    if formula is None:
        below = z.max(axis=1, keepdims=True) - z
        e = np.exp(-below)
        out = e / e.sum(axis=1, keepdims=True)
        # of e^-below its argument counts, of the quotient also the sum's
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
