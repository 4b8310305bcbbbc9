"""Activation functions: z -> (a, da/dz).

To add an activation, write its function here and decorate it with the initialisation
that suits it. The table then gives it a code, a loop in both passes and a name for
`Dense`. Two activations have no such loop. Softmax mixes the units of a row: its loops are
in `kernels.loops.softmax`. The relu of a hidden layer is applied by the matrix products:
`kernels.products.tiles.Finish`.
"""

from collections.abc import Callable
from math import pi, sqrt
from typing import NamedTuple, Protocol

from flatprop.numbers import elementary
from flatprop.numbers.numbers import N, fma, maximum, minimum, where


class Formula(Protocol):
    """z -> (a, da/dz), for every kind of number."""

    __name__: str

    def __call__(self, z: N, /) -> tuple[N, N]: ...


class Activation(NamedTuple):
    """One row of the table."""

    name: str
    code: int
    """The number that stands for this activation in a layer's record."""
    initialisation: str
    """`"he"`, `"glorot"` or `"lecun"`: the variance of W that keeps signals alive."""
    formula: Formula | None
    """None for softmax, which is not elementwise."""


ACTIVATIONS: dict[str, Activation] = {}


def activation(initialisation: str) -> Callable[[Formula], Formula]:
    """Enter a formula into the table under its own name."""

    def register(formula: Formula) -> Formula:
        name = formula.__name__
        ACTIVATIONS[name] = Activation(name, len(ACTIVATIONS), initialisation, formula)
        return formula

    return register


@activation("glorot")
def identity(z: N) -> tuple[N, N]:
    """z"""
    return z, z.like(1.0)


@activation("glorot")
def sigmoid(z: N) -> tuple[N, N]:
    """1 / (1 + e^-z)"""
    a = elementary.sigmoid(z)
    return a, a * (1.0 - a)


@activation("glorot")
def tanh(z: N) -> tuple[N, N]:
    """tanh z"""
    a = elementary.tanh_of_activation(z)
    return a, fma(-a, a, 1.0)


# For hidden layers the products of `kernels` contain this formula once more: see
# `kernels.products.tiles.Finish`.
@activation("he")
def relu(z: N) -> tuple[N, N]:
    """max(z, 0); the slope at 0 is 0"""
    return maximum(z, 0.0), where(z > 0.0, z.like(1.0), 0.0)


@activation("he")
def leaky_relu(z: N) -> tuple[N, N]:
    """z where z > 0, 0.01 z elsewhere"""
    slope = where(z > 0.0, z.like(1.0), 0.01)
    return slope * z, slope


@activation("he")
def elu(z: N) -> tuple[N, N]:
    """z where z > 0, e^z - 1 elsewhere (Clevert et al. 2016)"""
    e = elementary.expm1_of_negative(minimum(z, 0.0))
    return where(z > 0.0, z, e), e + 1.0


# Klambauer et al. 2017, equation 14: mean 0 and variance 1 are a fixed point
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


@activation("lecun")
def selu(z: N) -> tuple[N, N]:
    """λ z where z > 0, λ α (e^z - 1) elsewhere (Klambauer et al. 2017)"""
    e = SELU_SCALE * SELU_ALPHA * elementary.expm1_of_negative(minimum(z, 0.0))
    positive = z > 0.0
    a = where(positive, SELU_SCALE * z, e)
    return a, where(positive, z.like(SELU_SCALE), e + SELU_SCALE * SELU_ALPHA)


@activation("he")
def gelu(z: N) -> tuple[N, N]:
    """z Φ(z), Φ the normal distribution function (Hendrycks & Gimpel 2016)"""
    phi = fma(elementary.erf(z * sqrt(0.5)), 0.5, 0.5)
    density = elementary.exp_of_negative(-0.5 * z * z) * (1.0 / sqrt(2.0 * pi))
    return z * phi, fma(z, density, phi)


@activation("he")
def silu(z: N) -> tuple[N, N]:
    """z sigmoid(z) (Elfwing et al. 2018)"""
    s = elementary.sigmoid(z)
    a = z * s
    return a, fma(a, 1.0 - s, s)


@activation("he")
def mish(z: N) -> tuple[N, N]:
    """z tanh(log(1 + e^z)) (Misra 2019)"""
    # tanh(log(1 + e)) = n / (n + 2) with n = e (e + 2); from z = 20 on it is 1
    e = elementary.exp(minimum(z, 20.0))
    n = e * (e + 2.0)
    t = n / (n + 2.0)
    return z * t, fma(z * (e / (e + 1.0)), fma(-t, t, 1.0), t)


@activation("he")
def softplus(z: N) -> tuple[N, N]:
    """log(1 + e^z)"""
    e = elementary.exp_of_negative(-abs(z))
    a = maximum(z, 0.0) + elementary.log1p_of_fraction(e)
    return a, where(z < 0.0, e, 1.0) / (e + 1.0)


@activation("glorot")
def softsign(z: N) -> tuple[N, N]:
    """z / (1 + |z|)"""
    q = 1.0 / (abs(z) + 1.0)
    return z * q, q * q


@activation("glorot")
def exp(z: N) -> tuple[N, N]:
    """e^z"""
    a = elementary.exp(z)
    return a, a


ACTIVATIONS["softmax"] = Activation("softmax", len(ACTIVATIONS), "glorot", None)
