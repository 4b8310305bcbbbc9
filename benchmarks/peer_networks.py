"""The same networks in flatprop, NumPy, PyTorch, JAX, scikit-learn and onnxruntime.

A trainer is called with a number of steps. It begins at the same weights every time, and returns
the seconds and the last loss.
"""

import importlib.util
import os
import time
import warnings

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np

import flatprop as fp
from flatprop.kernels import workspace_size

from . import loops
from .yardstick import NumPyNetwork

RATE = 1e-3


def installed(*names):
    return all(importlib.util.find_spec(name) for name in names)


# ---- training


class Flatprop:
    name = "flatprop"

    def __init__(self, net, x, y, optimizer):
        self.net, self.x, self.y = net, x, y
        self.start = net.params.copy()
        self.optimizer = fp.Adam(RATE) if optimizer == "adam" else fp.SGD(RATE)

    def __call__(self, steps):
        self.net.params = self.start
        began = time.perf_counter()
        history = self.net.fit(
            self.x,
            self.y,
            optimizer=self.optimizer,
            epochs=steps,
            batch_size=None,
            shuffle=False,
        )
        return time.perf_counter() - began, history.loss[-1]


class NumPy:
    name = "NumPy"

    def __init__(self, net, x, y, optimizer):
        start = net.copy()
        self.make = lambda: NumPyNetwork(start, RATE, adam=optimizer == "adam")
        self.x, self.y = x, y

    def __call__(self, steps):
        twin = self.make()
        began = time.perf_counter()
        for _ in range(steps):
            loss = twin.step(self.x, self.y)
        return time.perf_counter() - began, float(loss)


class Torch:
    name = "PyTorch"

    def __init__(self, net, x, y, optimizer):
        import torch

        self.torch, self.adam = torch, optimizer == "adam"
        self.model = torch_model(net)
        self.start = [parameter.detach().clone() for parameter in self.model.parameters()]
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        self.loss = (
            torch.nn.CrossEntropyLoss()
            if net.loss_function.name == "cross_entropy"
            else torch.nn.MSELoss()
        )

    def __call__(self, steps):
        torch = self.torch
        with torch.no_grad():
            for parameter, value in zip(self.model.parameters(), self.start, strict=True):
                parameter.copy_(value)
        make = torch.optim.Adam if self.adam else torch.optim.SGD
        optimizer = make(self.model.parameters(), lr=RATE, fused=True)
        began = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad()
            loss = self.loss(self.model(self.x), self.y)
            loss.backward()
            optimizer.step()
        return time.perf_counter() - began, loss.item()


def torch_model(net):
    """The same network as an `nn.Sequential`, without the softmax that its loss contains."""
    import torch

    kinds = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}
    layers = []
    for layer, W, b in zip(net.dense, net.weights, net.biases, strict=True):
        linear = torch.nn.Linear(*W.shape, dtype=getattr(torch, net.dtype.name))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T.copy()))
            linear.bias.copy_(torch.from_numpy(b.copy()))
        layers.append(linear)
        if layer.activation in kinds:
            layers.append(kinds[layer.activation]())
    return torch.nn.Sequential(*layers)


class Jax:
    """Every step is a call of a compiled function."""

    name = "JAX per step"

    def __init__(self, net, x, y, optimizer):
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", net.dtype == np.float64)
        self.jax = jax
        activation = {"relu": jax.nn.relu, "tanh": jnp.tanh}[net.dense[0].activation]
        classes = net.loss_function.name == "cross_entropy"
        x, y = jnp.asarray(x), jnp.asarray(y)
        weights = [
            (jnp.asarray(W.copy()), jnp.asarray(b.copy()))
            for W, b in zip(net.weights, net.biases, strict=True)
        ]

        def loss(weights):
            a = x
            for W, b in weights[:-1]:
                a = activation(a @ W + b)
            z = a @ weights[-1][0] + weights[-1][1]
            if not classes:
                return jnp.mean((z - y) ** 2)
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1))

        def sgd(state, _):
            value, gradient = jax.value_and_grad(loss)(state)
            return jax.tree.map(lambda p, g: p - RATE * g, state, gradient), value

        def adam(state, _):
            p, m, v, t = state
            value, gradient = jax.value_and_grad(loss)(p)
            t = t + 1
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
            size, root = RATE / (1 - 0.9**t), jnp.sqrt(1 - 0.999**t)
            p = jax.tree.map(lambda p, m, v: p - size * m / (jnp.sqrt(v) / root + 1e-8), p, m, v)
            return (p, m, v, t), value

        zeros = jax.tree.map(jnp.zeros_like, weights)
        self.step = adam if optimizer == "adam" else sgd
        self.start = (
            (weights, zeros, zeros, jnp.zeros((), net.dtype)) if optimizer == "adam" else weights
        )
        self.compiled = jax.jit(self.step)

    def __call__(self, steps):
        state = self.start
        self.compiled(state, None)
        began = time.perf_counter()
        for _ in range(steps):
            state, loss = self.compiled(state, None)
        loss.block_until_ready()
        return time.perf_counter() - began, float(loss)


class JaxScan(Jax):
    """All steps are one call of one compiled function."""

    name = "JAX lax.scan"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.loops = {}

    def __call__(self, steps):
        if steps not in self.loops:
            scan = self.jax.lax.scan
            loop = self.jax.jit(lambda state: scan(self.step, state, None, length=steps))
            self.loops[steps] = loop.lower(self.start).compile()
        began = time.perf_counter()
        _, losses = self.loops[steps](self.start)
        losses.block_until_ready()
        return time.perf_counter() - began, float(losses[-1])


def trainers():
    """The trainers of what is installed."""
    found = [Flatprop, NumPy]
    found += [Torch] if installed("torch") else []
    return found + ([JaxScan, Jax] if installed("jax") else [])


# ---- scikit-learn: epochs of the handwritten digits, the same settings for both


LONGEST = 50
"""Epochs: later, gradients below the normal numbers of float32 slow everybody down, and the slower
peer does not get there."""


class FlatpropDigits:
    name = "flatprop"

    def __init__(self, net, x, y):
        self.net, self.x, self.y, self.start = net, x, y, net.params.copy()

    def __call__(self, epochs):
        seconds = 0.0
        while epochs:
            some = min(epochs, LONGEST)
            epochs -= some
            self.net.params = self.start
            began = time.perf_counter()
            history = self.net.fit(
                self.x,
                self.y,
                optimizer=fp.Adam(RATE),
                epochs=some,
                batch_size=32,
                shuffle=False,
            )
            seconds += time.perf_counter() - began
        return seconds, history.loss[-1]


class ScikitLearn:
    name = "scikit-learn"

    def __init__(self, net, x, y, batch_size=32):
        from sklearn.neural_network import MLPClassifier

        hidden = tuple(layer.units for layer in net.dense[:-1])
        self.model = MLPClassifier(
            hidden,
            batch_size=batch_size,
            learning_rate_init=RATE,
            alpha=0.0,
            shuffle=False,
            max_iter=1,
            tol=0.0,
            n_iter_no_change=10**9,
            warm_start=True,
        )
        self.x, self.y = x, y
        self.start = [W.copy() for W in net.weights], [b.copy() for b in net.biases]
        self.fit(1)

    def fit(self, epochs):
        self.model.max_iter = epochs
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            self.model.fit(self.x, self.y)

    def __call__(self, epochs):
        coefficients, intercepts = self.start
        self.model.coefs_ = [W.copy() for W in coefficients]
        self.model.intercepts_ = [b.copy() for b in intercepts]
        began = time.perf_counter()
        self.fit(epochs)
        return time.perf_counter() - began, self.model.loss_


# ---- inference: each is called with a number of calls and gives the last outputs' sum


def predictors(net, x):
    """Ways to compute the outputs for x, by name."""
    found = {"flatprop": lambda: net.predict(x)}
    twin = NumPyNetwork(net, 0.0)
    found["NumPy"] = lambda: twin.predict(x)
    if installed("torch"):
        import torch

        model, tensor = torch_model(net), torch.from_numpy(x)

        def with_torch():
            with torch.inference_mode():
                return model(tensor).numpy()

        found["PyTorch"] = with_torch
    if installed("jax"):
        import jax
        import jax.numpy as jnp

        weights = [
            (jnp.asarray(W), jnp.asarray(b)) for W, b in zip(net.weights, net.biases, strict=True)
        ]

        @jax.jit
        def forward(a):
            for W, b in weights[:-1]:
                a = jnp.tanh(a @ W + b)
            return a @ weights[-1][0] + weights[-1][1]

        found["JAX"] = lambda: np.asarray(forward(x))
    if installed("onnx", "onnxruntime"):
        session = onnx_session(net)
        found["onnxruntime"] = lambda: session.run(None, {"X": x})[0]
    return found


def onnx_session(net):
    import onnxruntime

    model = net.to_onnx()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def embedded(net, x):
    """Outputs of one row, again and again within jitted code."""
    row, out = x[:1].copy(), np.empty((1, net.outputs), net.dtype)
    workspace = np.empty(workspace_size(net.layers, 1), net.dtype)
    return lambda times: loops.predict_one_by_one(
        net.layers, net.params, row, out, workspace, times
    )
