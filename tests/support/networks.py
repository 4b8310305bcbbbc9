"""Networks, samples that suit them, and the tables of what a network can be made of."""

from functools import partial

import numpy as np
import pytest

import flatprop as fp
import reference
from flatprop.kernels.network.records import LOSS_RECORD

DTYPES = [np.float32, np.float64]
both_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
double_first = pytest.mark.parametrize(
    "dtype",
    [np.float64, pytest.param(np.float32, marks=pytest.mark.slow)],
    ids=lambda dtype: dtype.__name__,
)
"""For what compiles long: float32, of the same source, is tested in CI."""
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}

HIDDEN = list(reference.ELEMENTWISE)
LOSSES = {
    "mse": "mse",
    "half_mse": "half_mse",
    "ssr": "ssr",
    "mae": "mae",
    "huber": fp.losses.Huber(delta=0.7),
    "log_cosh": "log_cosh",
    "quantile": fp.losses.Quantile(q=0.3),
    "poisson": "poisson",
    "cross_entropy": "cross_entropy",
    "binary_cross_entropy": "binary_cross_entropy",
}
NEEDED_OUTPUT = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}


def loss_records(code, parameter):
    """The mean of a loss of `formulas.losses`, as the kernels take it."""
    return np.array([(code, 1, 0, parameter, 0, 0)], LOSS_RECORD)


# One of each rule, with every term in it.
KINDS = [
    fp.SGD(0.05),
    fp.SGD(0.01, momentum=0.8, nesterov=True, weight_decay=0.02),
    fp.Adam(0.02, weight_decay=0.05),
    fp.AdamW(0.02, weight_decay=0.3, amsgrad=True),
    fp.RMSprop(0.005, weight_decay=0.05),
    fp.RMSprop(0.005, momentum=0.7, centered=True, weight_decay=0.05),
    fp.Adagrad(0.1, lr_decay=0.01, weight_decay=0.05),
    fp.Rprop(0.01, weight_decay=0.05),
]
every_kind = pytest.mark.parametrize("optimizer", KINDS, ids=repr)


def network(sizes, activations="tanh", loss="mse", dtype="float64", seed=0):
    """A network whose biases are not 0 and, for poisson, whose outputs are positive.

    `activations` has the name of each layer's; one name is that of all hidden layers.
    """
    if isinstance(activations, str):
        activations = [activations] * (len(sizes) - 2) + ["identity"]
    layers = [fp.Dense(n, name) for n, name in zip(sizes[1:], activations, strict=True)]
    net = fp.Network(sizes[0], layers, loss, dtype, rng=seed)
    rng = np.random.default_rng(seed + 1000)
    for b in net.biases:
        b[:] = rng.uniform(-0.5, 0.5, b.size)
    if net.loss_function.name == "poisson":
        net.weights[-1][:] *= 0.1
        net.biases[-1][:] += 3
    return net


make = partial(network, (4, 16, 2), dtype="float32")
"""The network for what holds of any network; the fixture `data` suits it."""
make_small = partial(network, (3, 8, 2), dtype="float32")
"""The one that `curves` suit."""


def samples(net, rows, seed=0):
    """X, targets that suit the loss, and sample weights, all exact in the dtype."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, net.inputs))
    shape = rows, net.outputs
    match net.loss_function.name:
        case "cross_entropy":
            y = rng.dirichlet(np.ones(net.outputs), rows)
        case "binary_cross_entropy":
            y = rng.uniform(size=shape)
        case "poisson":
            y = rng.poisson(2, shape)
        case _ if net.dense[-1].activation == "softmax":  # among the outputs, not all beside them
            y = rng.dirichlet(np.ones(net.outputs), rows)
        case _:
            y = rng.normal(size=shape)
    w = rng.uniform(0.2, 3, rows)
    return X.astype(net.dtype), y.astype(net.dtype), w.astype(net.dtype)


def curves(rows):
    """X of three columns, two targets that a small network can follow, and sample weights."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(rows, 3))
    y = np.column_stack([np.sin(2 * X[:, 0]) + X[:, 1], X[:, 0] * X[:, 2]])
    return X, y, rng.uniform(0.2, 2, rows)


def in_batches(arrays, size=32):
    rows = len(arrays[0])
    return [tuple(a[i : i + size] for a in arrays) for i in range(0, rows, size)]


def bits(net, history):
    numbers = (net.params, history.loss, history.val_loss, history.learning_rate)
    return [n.tobytes() for n in numbers], history.stopped_by, history.best_epoch
