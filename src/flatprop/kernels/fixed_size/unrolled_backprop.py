"""Forward pass, loss and backpropagation of a dense network, complete: start reading here.

A layer with inputs x has z = x W + b and a = f(z). Going back, the chain rule gives

    ∂L/∂z = ∂L/∂a · f'(z)      ∂L/∂W = xᵀ ∂L/∂z
    ∂L/∂x = ∂L/∂z Wᵀ           ∂L/∂b = Σ over rows of ∂L/∂z

and ∂L/∂x is ∂L/∂a of the layer before. Every size is a constant here, and every matrix a vector
of the processor: the loops run while a function is compiled, and the operations that they meet
are its code. `kernels.network` does the same for networks of any size, in memory. The formulas
of activations and losses are those of `flatprop.formulas` in both.

| word | what it means here |
| --- | --- |
| `Lanes` | a vector of numbers; arithmetic on it is done on all of them at once |
| `Matrix` | `Lanes` that are read row after row; `.T` reads them the other way |
| `m.holding(lanes)` | a matrix of the shape of m with these numbers |
| `m.across()` | the sum of each row, or its largest number, in all columns of that row |
| `fold(lanes, n)` | the sum of the n equal parts of a vector; with n rows, the column sums |
| `repeat(lanes, n)` | the whole vector n times: b for every row |
| `spread(lanes, n)` | each lane n times in a row: a class index for every column |
"""

from math import inf
from typing import NamedTuple

from llvmlite import ir

from flatprop.kernels.fixed_size.register_matrix import Matrix, fold, product, repeat, spread
from flatprop.kernels.fixed_size.sizes import Sizes
from flatprop.kernels.loops.elementwise import ACTIVATION_FORMULAS, LOSS_FORMULAS
from flatprop.kernels.network.records import CROSS_ENTROPY, SOFTMAX
from flatprop.numbers import elementary
from flatprop.numbers.lanes import Lanes
from flatprop.numbers.numbers import where


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
        z = product(activations[l], W, plus=repeat(b.lanes, x.rows))  # x W + b
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
        dL_db = Matrix(fold(dL_dz.lanes, x.rows), 1, dL_dz.columns)  # the sum over the rows
        gradient = [dL_dW, dL_db, *gradient]
        if l > 0:
            dL_dx = product(dL_dz, params[2 * l].T)  # x is a of the layer before
            dL_dz = through_activation(dL_dx, activations[l], slopes[l - 1])
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
