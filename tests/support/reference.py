"""The library once more, in NumPy, float64 and plain mathematics.

Every kernel is held against this twin. Nothing in it comes from `flatprop`:
formulas are written as their papers or api pages state them, without regard to
speed. A network is two lists, W and b, and the names of its activations.
"""

from functools import partial
from itertools import pairwise

import numpy as np
from scipy.special import expit, ndtr, xlog1py, xlogy


def error(actual, expected):
    """The largest difference, in units of the largest expected size."""
    actual, expected = np.asarray(actual, float), np.asarray(expected, float)
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-300)


def difference(function, place, h=3e-4):
    """The derivative of an array-valued function at each place, along the last axis."""
    columns = []
    for i in range(place.size):
        step = np.zeros_like(place)
        step.flat[i] = h
        near = function(place + step) - function(place - step)
        far = function(place + 2 * step) - function(place - 2 * step)
        columns.append((8 * near - far) / (12 * h))
    return np.stack(columns, axis=-1)


# ---- activations: z -> (a, da/dz)


def identity(z):
    return z, np.ones_like(z)


def sigmoid(z):
    return expit(z), expit(z) * expit(-z)


def tanh(z):
    return np.tanh(z), 4 * expit(2 * z) * expit(-2 * z)


def relu(z):
    return np.where(z > 0, z, 0), np.where(z > 0, 1.0, 0)


def leaky_relu(z):
    return np.where(z > 0, z, 0.01 * z), np.where(z > 0, 1, 0.01)


def elu(z):
    negative = np.minimum(z, 0)
    return np.where(z > 0, z, np.expm1(negative)), np.where(z > 0, 1, np.exp(negative))


def selu(z):
    scale, alpha = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
    negative = np.minimum(z, 0)
    return (
        scale * np.where(z > 0, z, alpha * np.expm1(negative)),
        scale * np.where(z > 0, 1, alpha * np.exp(negative)),
    )


def gelu(z):
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return z * ndtr(z), ndtr(z) + z * density


def silu(z):
    return z * expit(z), expit(z) + z * expit(z) * expit(-z)


def mish(z):
    t = np.tanh(np.logaddexp(0, z))
    return z * t, t + z * (1 - t**2) * expit(z)


def softplus(z):
    return np.logaddexp(0, z), expit(z)


def softsign(z):
    return z / (1 + np.abs(z)), 1 / (1 + np.abs(z)) ** 2


def exp(z):
    return np.exp(z), np.exp(z)


ELEMENTWISE = {
    f.__name__: f
    for f in (
        identity,
        sigmoid,
        tanh,
        relu,
        leaky_relu,
        elu,
        selu,
        gelu,
        silu,
        mish,
        softplus,
        softsign,
        exp,
    )
}


def softmax(z):
    """a and the whole Jacobian, ∂aᵢ/∂zⱼ = aᵢ (δᵢⱼ - aⱼ), of every row."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    a = e / e.sum(axis=1, keepdims=True)
    return a, a[:, :, None] * (np.eye(z.shape[1]) - a[:, None, :])


def activate(name, z):
    return (softmax if name == "softmax" else ELEMENTWISE[name])(z)


# ---- losses of one sample and one output: (ŷ, y) -> (ℓ, ∂ℓ/∂ŷ)


def squared(p, y):
    return (p - y) ** 2, 2 * (p - y)


def half_squared(p, y):
    return (p - y) ** 2 / 2, p - y


def absolute(p, y):
    return np.abs(p - y), np.sign(p - y)


def huber(p, y, delta=1.0):
    d = p - y
    quadratic = np.abs(d) <= delta
    value = np.where(quadratic, d**2 / 2, delta * (np.abs(d) - delta / 2))
    return value, np.where(quadratic, d, delta * np.sign(d))


def log_cosh(p, y):
    return np.logaddexp(p - y, y - p) - np.log(2), np.tanh(p - y)


def quantile(p, y, q=0.5):
    d = y - p
    return np.maximum(q * d, (q - 1) * d), np.where(d == 0, 0, np.where(d > 0, -q, 1 - q))


def poisson(p, y):
    return p - xlogy(y, p), 1 - y / p


def binary_cross_entropy(p, y):
    return -xlogy(y, p) - xlog1py(1 - y, -p), (p - y) / (p * (1 - p))


def cross_entropy(p, y):
    return -xlogy(y, p), -y / p


# name: (the formula, what its values are divided by: rows and outputs, rows, nothing)
LOSSES = {
    "mse": (squared, "rows and outputs"),
    "half_mse": (half_squared, "rows"),
    "ssr": (squared, "nothing"),
    "cross_entropy": (cross_entropy, "rows"),
    "binary_cross_entropy": (binary_cross_entropy, "rows"),
    "mae": (absolute, "rows and outputs"),
    "huber": (huber, "rows and outputs"),
    "log_cosh": (log_cosh, "rows and outputs"),
    "quantile": (quantile, "rows and outputs"),
    "poisson": (poisson, "rows and outputs"),
}


def one_hot(indices, classes):
    return np.eye(classes)[np.asarray(indices, int)]


def loss(name, prediction, y, w=None, **parameter):
    """The loss and its gradient with respect to the predictions.

    y is (n, k), (n,) with one output, or (n,) class indices with "cross_entropy".
    """
    formula, divisor = LOSSES[name]
    prediction, y = np.asarray(prediction, float), np.asarray(y, float)
    n, k = prediction.shape
    if y.ndim == 1:
        y = one_hot(y, k) if name == "cross_entropy" else y[:, None]
    w = np.ones(n) if w is None else np.asarray(w, float)
    value, slope = formula(prediction, y, **parameter)
    scale = {"rows and outputs": 1 / (w.sum() * k), "rows": 1 / w.sum(), "nothing": 1}[divisor]
    return scale * np.sum(w[:, None] * value), scale * w[:, None] * slope


# ---- the network


def forward(W, b, activations, X):
    """The outputs of every layer, X first, and every layer's da/dz."""
    a, slopes = [np.asarray(X, float)], []
    for l, name in enumerate(activations):
        value, slope = activate(name, a[l] @ W[l] + b[l])
        a.append(value)
        slopes.append(slope)
    return a, slopes


def loss_and_gradient(W, b, activations, loss_name, X, y, w=None, **parameter):
    """The loss, ∂L/∂W and ∂L/∂b of every layer, by the chain rule."""
    a, slopes = forward(W, b, activations, X)
    value, dL_da = loss(loss_name, a[-1], y, w, **parameter)
    dW, db = [None] * len(W), [None] * len(b)
    for l in reversed(range(len(W))):
        if activations[l] == "softmax":
            dL_dz = np.einsum("ni,nij->nj", dL_da, slopes[l])
        else:
            dL_dz = dL_da * slopes[l]
        dW[l] = a[l].T @ dL_dz
        db[l] = dL_dz.sum(axis=0)
        dL_da = dL_dz @ W[l].T
    return value, dW, db


def flat(W, b):
    """One vector: per layer W by rows, then b."""
    return np.concatenate([part.ravel() for pair in zip(W, b, strict=True) for part in pair])


def split(theta, sizes):
    """W and b of layers of these sizes, the inputs first, out of one vector."""
    W, b, start = [], [], 0
    for m, n in pairwise(sizes):
        W.append(theta[start : start + m * n].reshape(m, n))
        b.append(theta[start + m * n : start + m * n + n])
        start += m * n + n
    assert start == theta.size
    return W, b


class Twin:
    """A float64 copy of a `flatprop.Network` that computes as this file does."""

    def __init__(self, net):
        self.theta = np.array(net.params, float)
        self.sizes = [net.inputs, *(layer.units for layer in net.dense)]
        self.activations = [layer.activation for layer in net.dense]
        self.loss_name = net.loss_function.name
        self.parameter = net.loss_function.described()

    def predict(self, X):
        return forward(*split(self.theta, self.sizes), self.activations, X)[0][-1]

    def loss_and_gradient(self, X, y, w=None):
        W, b = split(self.theta, self.sizes)
        names = self.activations, self.loss_name
        value, dW, db = loss_and_gradient(W, b, *names, X, y, w, **self.parameter)
        return value, flat(dW, db)

    def fit(self, X, y, update, rates, *, batch_size=None, w=None, trainable=None, clip_norm=None):
        """Train by `update`, one rate per epoch, in the order of the rows; losses by epoch.

        The loss of an epoch is the mean of its batches' losses before their updates. A batch
        counts its Σ w, or 1 where the loss is a sum; one without weight is no update.
        """
        n = len(X)
        w = np.ones(n) if w is None else np.asarray(w, float)
        trained = np.ones(self.theta.size, bool) if trainable is None else trainable
        state, step, losses = {}, 0, []
        for rate in rates:
            epoch, shares = [], []
            for start in range(0, n, batch_size or n):
                batch = slice(start, start + (batch_size or n))
                if not w[batch].any():
                    if LOSSES[self.loss_name][1] == "nothing":
                        epoch.append(0.0)
                        shares.append(1)
                    continue
                value, g = self.loss_and_gradient(X[batch], y[batch], w[batch])
                epoch.append(value)
                shares.append(1 if LOSSES[self.loss_name][1] == "nothing" else w[batch].sum())
                g = g[trained]
                if clip_norm is not None:
                    g = g * min(1, clip_norm / (np.linalg.norm(g) + 1e-6))
                step += 1
                self.theta[trained] = update(self.theta[trained], g, state, step, rate)
            losses.append(np.average(epoch, weights=shares))
        return np.array(losses)


# ---- optimizers: the new θ; `state` is a dict that lives from update to update, t counts from 1


def sgd(theta, g, state, t, lr, momentum=0, dampening=0, nesterov=False, weight_decay=0):
    g = g + weight_decay * theta
    if momentum:
        b = g if t == 1 else momentum * state["b"] + (1 - dampening) * g
        state["b"] = b
        g = g + momentum * b if nesterov else b
    return theta - lr * g


def adam(theta, g, state, t, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False):
    g = g + weight_decay * theta
    m = betas[0] * state.get("m", 0) + (1 - betas[0]) * g
    v = betas[1] * state.get("v", 0) + (1 - betas[1]) * g**2
    top = np.maximum(state.get("top", 0), v) if amsgrad else v
    state.update(m=m, v=v, top=top)
    m_hat, v_hat = m / (1 - betas[0] ** t), top / (1 - betas[1] ** t)
    return theta - lr * m_hat / (np.sqrt(v_hat) + eps)


def adamw(theta, g, state, t, lr, weight_decay=1e-2, **options):
    return adam(theta, g, state, t, lr, **options) - lr * weight_decay * theta


def rmsprop(
    theta, g, state, t, lr, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False
):
    g = g + weight_decay * theta
    v = alpha * state.get("v", 0) + (1 - alpha) * g**2
    mean = alpha * state.get("mean", 0) + (1 - alpha) * g
    spread = v - mean**2 if centered else v
    b = momentum * state.get("b", 0) + g / (np.sqrt(spread) + eps)
    state.update(v=v, mean=mean, b=b)
    return theta - lr * b


def adagrad(
    theta, g, state, t, lr, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10
):
    g = g + weight_decay * theta
    v = state.get("v", initial_accumulator_value) + g**2
    state["v"] = v
    return theta - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(v) + eps)


def rprop(theta, g, state, t, lr, etas=(0.5, 1.2), step_sizes=(1e-6, 50), weight_decay=0):
    g = g + weight_decay * theta
    agreement = np.sign(g * state.get("before", 0))
    factor = np.select([agreement < 0, agreement > 0], etas, 1)
    step = np.clip(factor * state.get("step", lr), *step_sizes)
    g = np.where(agreement < 0, 0, g)
    state.update(before=g, step=step)
    return theta - np.sign(g) * step


def updating(name, **options):
    """The update of the optimizer `name` with these settings."""
    rules = {f.__name__: f for f in (sgd, adam, adamw, rmsprop, adagrad, rprop)}
    return partial(rules[name], **options)
