"""A small network, its samples, and calls of `fit` to be made later."""

from functools import partial

import numpy as np

import flatprop as fp
import networks

DENSE = [fp.Dense(2)]
X = np.arange(12.0).reshape(4, 3) / 10
Y = np.arange(8.0).reshape(4, 2)


network = partial(networks.network, (3, 4, 2), dtype="float32")


def fit(**options):
    return lambda: network().fit(X, Y, **options)
