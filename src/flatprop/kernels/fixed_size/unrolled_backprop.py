"""Backpropagation of a few rows with every size a constant.

What `backprop` does for any network, written out for one, in matrices that lie in
registers. The formulas are those of all other loops.
"""

import json
from math import inf
from typing import NamedTuple

from llvmlite import ir

from flatprop.kernels.fixed_size.register_matrix import Matrix, fold, product, repeat, spread
from flatprop.kernels.loops.elementwise import ACTIVATION_FORMULAS, LOSS_FORMULAS
from flatprop.kernels.loops.vector_loops import DOUBLE
from flatprop.kernels.network.records import CROSS_ENTROPY, SOFTMAX
from flatprop.numbers import elementary
from flatprop.numbers.lanes import Lanes, lane_count
from flatprop.numbers.numbers import where

TILE_REGISTERS = 8
"""How many registers the widest layer of the rows that go through together may fill."""


class Sizes(NamedTuple):
    """All of a network but its parameters."""

    bits: int
    """32 or 64, of the dtype."""
    units: tuple[int, ...]
    """Of the inputs, then of every layer."""
    activations: tuple[int, ...]
    """The codes of the layer records."""
    loss: int
    """This and the following: the fields of `layout.OBJECTIVE`."""
    divisor: float
    from_logits: int
    parameter: float
    rows: int
    """Of the data; 0 where only the call tells."""

    def text(self) -> str:
        """As one string: what Numba's cache tells apart functions by, in every process."""
        return json.dumps(self)

    @classmethod
    def of_text(cls, text: str) -> "Sizes":
        """The inverse of `text`."""
        bits, units, activations, *rest = json.loads(text)
        return cls(bits, tuple(units), tuple(activations), *rest)

    @property
    def element(self) -> ir.Type:
        """The LLVM type of a number."""
        return ir.FloatType() if self.bits == 32 else DOUBLE

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Those of every W and, as one row, b, in the order of the parameters."""
        pairs = zip(self.units[:-1], self.units[1:], strict=True)
        return [shape for inputs, units in pairs for shape in ((inputs, units), (1, units))]

    @property
    def parameters(self) -> int:
        """How many there are."""
        return sum(inputs * units for inputs, units in self.shapes)

    @property
    def tile(self) -> int:
        """How many rows go through the network together at most."""
        return max(1, TILE_REGISTERS * lane_count(self.element) // max(self.units))


class Target(NamedTuple):
    """What the outputs of some rows are held against."""

    y: Lanes
    """A number per output, or one class index per row."""
    indices: bool
    weight: Lanes
    """The weight of its row, once per output."""
    factor: Lanes
    """scale · weight."""


def forward(
    sizes: Sizes, params: list[Matrix], x: Matrix, logits: bool
) -> tuple[list[Matrix], list[Lanes | None]]:
    """x and every layer's a, the last one's z where `logits`; every layer's da/dz."""
    activations, slopes = [x], []
    for l, code in enumerate(sizes.activations):
        W, b = params[2 * l], params[2 * l + 1]
        z = product(activations[l], W, plus=repeat(b.lanes, x.rows))
        a, slope = z.lanes, None
        if l == len(sizes.activations) - 1 and logits:
            pass
        elif code == SOFTMAX:
            a, _, _ = softmax(z)
        else:
            a, slope = ACTIVATION_FORMULAS[code](z.lanes)
        activations.append(z.holding(a))
        slopes.append(slope)
    return activations, slopes


def loss_and_gradient(
    sizes: Sizes, params: list[Matrix], x: Matrix, target: Target
) -> tuple[Lanes, list[Matrix]]:
    """w ℓ, a lane per output of every row, and ∂(scale · Σ w ℓ) of every W and b."""
    activations, slopes = forward(sizes, params, x, sizes.from_logits == 1)
    last = activations.pop()
    if sizes.loss == CROSS_ENTROPY:
        value, slope = cross_entropy(last, target)
    else:
        parameter = last.lanes.like(sizes.parameter)
        value, slope = LOSS_FORMULAS[sizes.loss](last.lanes, target.y, parameter)
    dL_dz = last.holding(slope * target.factor)
    if not sizes.from_logits:
        dL_dz = through_activation(dL_dz, last, slopes[-1])

    gradient: list[Matrix] = []
    for l in reversed(range(len(sizes.activations))):
        dL_dW = product(activations[l].T, dL_dz)
        dL_db = Matrix(fold(dL_dz.lanes, x.rows), 1, dL_dz.columns)
        gradient = [dL_dW, dL_db, *gradient]
        if l > 0:
            W = params[2 * l]
            dL_dz = through_activation(product(dL_dz, W.T), activations[l], slopes[l - 1])
    return target.weight * value, gradient


def through_activation(dL_da: Matrix, a: Matrix, slope: Lanes | None) -> Matrix:
    """∂L/∂z; softmax, which has no slope of its own, gives a (∂L/∂a - Σ a ∂L/∂a)."""
    if slope is not None:
        return dL_da.holding(dL_da.lanes * slope)
    mean = a.holding(a.lanes * dL_da.lanes).across()
    return a.holding(a.lanes * (dL_da.lanes - mean))


def softmax(z: Matrix) -> tuple[Lanes, Lanes, Lanes]:
    """e^z / Σ e^z; every row's largest z, and Σ e^(z - largest)."""
    largest = z.across(lambda one, other: where(other > one, other, one), -inf)
    e = elementary.exp_of_negative(z.lanes - largest)
    total = z.holding(e).across()
    return e / total, largest, total


def cross_entropy(z: Matrix, target: Target) -> tuple[Lanes, Lanes]:
    """The terms of Σₖ yₖ (log Σ e^z - zₖ), and softmax(z) Σₖ yₖ - y."""
    p, largest, total = softmax(z)
    if target.indices:
        index = spread(target.y, z.columns)
        classes = [float(k) for k in range(z.columns)] * z.rows
        here = index.equals(Lanes(index.builder, ir.Constant(index.value.type, classes)))
        y = where(here, index.like(1.0), 0.0)
    else:
        y = target.y
    slope = z.holding(y).across() * p - y
    log_p = z.lanes - largest - elementary.log(total)
    return where(y > 0.0, -y * log_p, 0.0), slope
