"""A small network, its samples, and calls of `fit` to be made later."""

import numpy as np

import flatprop as fp

DENSE = [fp.Dense(2)]
X = np.arange(12.0).reshape(4, 3) / 10
Y = np.arange(8.0).reshape(4, 2)


def network():
    return fp.Network(3, [fp.Dense(4, "tanh"), fp.Dense(2)], rng=0)


def fit(**options):
    return lambda: network().fit(X, Y, **options)
