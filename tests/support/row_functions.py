"""Losses of a user's own over a row of outputs."""

import math

import numba


@numba.njit
def gaussian(prediction, y, slope):
    """The likelihood of normal errors: means, then log-variances."""
    value, targets = 0.0, y.size
    for k in range(targets):
        s = prediction[targets + k]
        precision, d = math.exp(-s), y[k] - prediction[k]
        value += 0.5 * (math.log(2 * math.pi) + s + d * d * precision)
        slope[k] = -d * precision
        slope[targets + k] = 0.5 * (1 - d * d * precision)
    return value


@numba.njit
def squares(prediction, y, slope):
    slope[:] = prediction - y
    return 0.5 * (slope**2).sum()


@numba.njit
def mixed(prediction, y, slope):
    """All outputs depend on each other: softplus of a sum, a product and a power."""
    total = prediction.sum() - y[0]
    first, second = prediction[0], prediction[1]
    share = 1 / (1 + math.exp(-total))
    slope[:] = share
    slope[0] += first * second**2 / 4 - y[1] * math.sin(first)
    slope[1] += first**2 * second / 4
    return math.log1p(math.exp(total)) + (first * second) ** 2 / 8 + y[1] * math.cos(first)


@numba.njit
def of_a_simplex(prediction, y, slope):
    if y[0] > 50:
        raise ValueError("too much")
    slope[:] = prediction
    return 0.5 * (prediction**2).sum()
