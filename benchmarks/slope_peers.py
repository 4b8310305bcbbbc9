"""The workloads of `benchmarks.slopes` in JAX and PyTorch."""

import os
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np

from .peer_networks import RATE, installed, torch_model


def burgers(net, x, y, points, nu):
    """By name, functions that return the loss and its gradient as one vector."""
    calls = {}
    if installed("jax"):
        calls |= _jax_burgers(net, x, y, points, nu)
    if installed("torch"):
        calls["PyTorch"] = _torch_burgers(net, x, y, points, nu)
    return calls


def forces():
    """The classes of trainings on forces, as `slopes.FlatpropForces`."""
    kinds = [JaxForces, JaxForcesInOrder] if installed("jax") else []
    return [*kinds, TorchForces] if installed("torch") else kinds


# ---- JAX


def _jax(net):
    import jax

    jax.config.update("jax_enable_x64", net.dtype == np.float64)
    return jax


def _weights(net):
    import jax.numpy as jnp

    return [(jnp.array(W), jnp.array(b)) for W, b in zip(net.weights, net.biases, strict=True)]


def _outputs(weights, x):
    import jax.numpy as jnp

    for W, b in weights[:-1]:
        x = jnp.tanh(x @ W + b)
    W, b = weights[-1]
    return x @ W + b


def _jax_burgers(net, x, y, points, nu):
    jax = _jax(net)
    jnp = jax.numpy
    along_x, along_t = (jnp.tile(jnp.eye(2, dtype=net.dtype)[i], (len(points), 1)) for i in (0, 1))
    x, y, points = map(jnp.asarray, (x, y, points))

    def total(weights, r):
        return jnp.mean(r**2) + jnp.mean((_outputs(weights, x) - y) ** 2)

    def forward(weights):
        def u(x):
            return _outputs(weights, x)

        value, u_t = jax.jvp(u, (points,), (along_t,))
        u_x, u_xx = jax.jvp(lambda x: jax.jvp(u, (x,), (along_x,))[1], (points,), (along_x,))
        return total(weights, u_t + value * u_x - nu * u_xx)

    def backward(weights):
        def u(x, t):
            return _outputs(weights, jnp.stack([x, t]))[0]

        def r(x, t):
            u_x = jax.grad(u)
            u_t, u_xx = jax.grad(u, 1)(x, t), jax.grad(u_x)(x, t)
            return u_t + u(x, t) * u_x(x, t) - nu * u_xx

        return total(weights, jax.vmap(r)(points[:, 0], points[:, 1]))

    weights = _weights(net)

    def call(loss):
        compiled = jax.jit(jax.value_and_grad(loss))

        def evaluate():
            value, slopes = jax.block_until_ready(compiled(weights))
            parts = [np.asarray(part).ravel() for pair in slopes for part in pair]
            return float(value), np.concatenate(parts)

        return evaluate

    return {"JAX": call(forward), "JAX, grad of grad": call(backward)}


class JaxForces:
    """All epochs are one compiled function, a scan of scans."""

    name = "JAX scan"
    shuffles = True

    def __init__(self, net, x, y, dy, batch_size):
        self.jax = jax = _jax(net)
        jnp, samples = jax.numpy, tuple(map(jax.numpy.asarray, (x, y, dy[:, 0])))
        rows, batches = len(x), len(x) // batch_size
        weights = _weights(net)
        zeros = jax.tree.map(jnp.zeros_like, weights)
        self.start = weights, zeros, zeros, jnp.zeros((), net.dtype)
        self.batches = batches

        def loss(weights, x, y, dy):
            u, back = jax.vjp(lambda x: _outputs(weights, x), x)
            (slopes,) = back(jnp.ones_like(u))
            return jnp.mean((u - y) ** 2) + jnp.mean((slopes - dy) ** 2)

        def step(carry, batch):
            weights, m, v, t = carry
            value, g = jax.value_and_grad(loss)(weights, *batch)
            t = t + 1
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
            m_scale, v_scale = 1 / (1 - 0.9**t), 1 / (1 - 0.999**t)

            def moved(W, m, v):
                return W - RATE * (m * m_scale) / (jnp.sqrt(v * v_scale) + 1e-8)

            return (jax.tree.map(moved, weights, m, v), m, v, t), value

        def through(carry, samples):
            cut = tuple(p.reshape(batches, batch_size, *p.shape[1:]) for p in samples)
            return jax.lax.scan(step, carry, cut)

        def shuffled(carry, key):
            order = jax.random.permutation(key, rows)
            return through(carry, [part[order] for part in samples])

        def in_order(carry, _):
            return through(carry, samples)

        self.runs = {
            shuffles: jax.jit(lambda carry, keys, epoch=epoch: jax.lax.scan(epoch, carry, keys))
            for shuffles, epoch in ((True, shuffled), (False, in_order))
        }
        self.compiled = set()

    def __call__(self, epochs, shuffle=True):
        shuffle = shuffle and self.shuffles and self.batches > 1
        run, keys = self.runs[shuffle], self.jax.random.split(self.jax.random.key(0), epochs)
        if (shuffle, epochs) not in self.compiled:
            self.jax.block_until_ready(run(self.start, keys))
            self.compiled.add((shuffle, epochs))
        began = time.perf_counter()
        carry, losses = self.jax.block_until_ready(run(self.start, keys))
        seconds = time.perf_counter() - began
        self.weights = carry[0]
        return seconds / (epochs * self.batches), float(losses[-1].mean())


class JaxForcesInOrder(JaxForces):
    name = "... in order"
    shuffles = False


# ---- PyTorch


def _flat(model):
    """The gradient, laid out as in flatprop."""
    parts = [p.grad.numpy() for p in model.parameters()]
    return np.concatenate([p.T.ravel() if p.ndim == 2 else p for p in parts])


def _torch_burgers(net, x, y, points, nu):
    import torch

    torch.set_num_threads(1)
    model = torch_model(net)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    columns = (torch.from_numpy(points[:, i : i + 1].copy()).requires_grad_() for i in (0, 1))
    place, moment = columns

    def evaluate():
        model.zero_grad()
        u = model(torch.cat([place, moment], 1))
        u_x, u_t = torch.autograd.grad(u.sum(), (place, moment), create_graph=True)
        (u_xx,) = torch.autograd.grad(u_x.sum(), place, create_graph=True)
        loss = ((u_t + u * u_x - nu * u_xx) ** 2).mean() + ((model(x) - y) ** 2).mean()
        loss.backward()
        return loss.item(), _flat(model)

    return evaluate


class TorchForces:
    name = "PyTorch"

    def __init__(self, net, x, y, dy, batch_size):
        import torch

        torch.set_num_threads(1)
        self.torch, self.batch_size = torch, batch_size
        self.model = torch_model(net)
        self.start = [parameter.detach().clone() for parameter in self.model.parameters()]
        self.samples = [torch.from_numpy(part) for part in (x, y, dy[:, 0])]

    def __call__(self, epochs, shuffle=True):
        torch, size = self.torch, self.batch_size
        rows = len(self.samples[0])
        with torch.no_grad():
            for parameter, value in zip(self.model.parameters(), self.start, strict=True):
                parameter.copy_(value)
        optimizer = torch.optim.Adam(self.model.parameters(), lr=RATE, fused=True)
        generator = torch.Generator().manual_seed(0)
        began = time.perf_counter()
        for _ in range(epochs):
            order = torch.randperm(rows, generator=generator) if shuffle else torch.arange(rows)
            total = 0.0
            for first in range(0, rows, size):
                x, y, dy = (part[order[first : first + size]] for part in self.samples)
                x.requires_grad_()
                optimizer.zero_grad()
                u = self.model(x)
                (slopes,) = torch.autograd.grad(u.sum(), x, create_graph=True)
                loss = ((u - y) ** 2).mean() + ((slopes - dy) ** 2).mean()
                loss.backward()
                optimizer.step()
                total += loss.detach()
        seconds = time.perf_counter() - began
        batches = -(-rows // size)
        return seconds / (epochs * batches), float(total) / batches

    @property
    def weights(self):
        layers = [m for m in self.model if hasattr(m, "weight")]
        return [(m.weight.detach().numpy().T, m.bias.detach().numpy()) for m in layers]
