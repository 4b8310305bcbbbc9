"""Small problems for the solvers."""

import numpy as np

import flatprop as fp

SHAPES = {
    # inputs, layers
    "a curve": (1, [fp.Dense(2, "tanh"), fp.Dense(1)]),
    "two hidden layers": (3, [fp.Dense(4, "sigmoid"), fp.Dense(3, "gelu"), fp.Dense(1)]),
    "several outputs": (2, [fp.Dense(4, "softplus"), fp.Dense(3)]),
    "softmax": (2, [fp.Dense(4, "tanh"), fp.Dense(3, "softmax")]),
}


def network(shape="a curve", loss="mse", dtype="float64", seed=0):
    return fp.Network(*SHAPES[shape], loss=loss, dtype=dtype, rng=seed)


def samples(net, rows=40):
    """X, noisy y that two units of tanh can follow, and weights, some of them 0."""
    rng = np.random.default_rng(1)
    X = rng.uniform(-2, 2, (rows, net.inputs))
    z = X.sum(axis=1, keepdims=True) + np.arange(net.outputs) / 2
    y = 1.5 * np.tanh(2 * z + 1) - np.tanh(3 * z - 2)
    return X, y + 0.1 * rng.normal(size=y.shape), rng.integers(0, 4, rows) / 2


def every_other(net):
    return np.arange(net.params.size) % 2 == 0
