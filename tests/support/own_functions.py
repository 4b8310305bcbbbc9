"""Activations and a loss of a user's own; in a module, so that another process finds them."""

import math

import numba


@numba.njit
def swish(z):
    s = 1 / (1 + math.exp(-z))
    return z * s, s + z * s * (1 - s)


@numba.njit
def squared(prediction, y):
    return (prediction - y) ** 2, 2 * (prediction - y)


@numba.njit
def snake(z):
    return z + math.sin(z) ** 2, 1 + 2 * math.sin(z) * math.cos(z)


@numba.njit
def hard_swish(z):
    if z < -3:
        return 0.0, 0.0
    if z > 3:
        return z, 1.0
    return z * (z + 3) / 6, (2 * z + 3) / 6


@numba.njit
def three_quarters(z):
    size = abs(z) + 1
    return math.copysign(size**0.75 - 1, z), 0.75 * size**-0.25


@numba.njit
def bumps(z):
    steep = -1 < z <= 1 or 2 <= z < 3 or z > 6
    return (0.5 * z, 0.5) if steep else (0.25 * z, 0.25)


@numba.njit
def bounded(z):
    """With a bound that float32 does not reach."""
    return (z, 1.0) if abs(z) < 1e300 else (0.0, 0.0)


@numba.njit
def by_a_loop(z):
    power = 1.0
    for _ in range(int(3 + abs(z)) // 100 + 3):
        power *= z
    return power, 3 * z**2
