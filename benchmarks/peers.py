"""flatprop beside JAX, PyTorch, scikit-learn, onnxruntime and NumPy, in one process.

    python -m benchmarks.peers                          # everything, some ten minutes
    python -m benchmarks.peers --only 784 --optimizer adam
    python -m benchmarks.peers --figure docs/peers.svg

All work on one processor. Every peer starts from the same weights and must reach the
same loss after the same steps before it is timed. Rounds alternate between the peers, so
that what slows the machine down slows all of them; ratios are taken within a round, and
their median and range are shown. A peer that is not installed is left out.
"""

import argparse
import importlib.util
import math
import os
import statistics
import sys
import time
import warnings

# Before any of them starts: one processor, and one thread in each pool.
if hasattr(os, "sched_setaffinity") and __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import numpy as np

import flatprop as fp
from flatprop.data import load_digits
from flatprop.kernels import workspace_size

from . import loops
from .training import CASES, operations, problem
from .yardstick import NumPyNetwork

RATE = 1e-3
ROUNDS = 7
SECONDS = 0.2
"""How long one peer runs in one round."""


def installed(*names):
    return all(importlib.util.find_spec(name) for name in names)


# ---- training: each of these is called with a number of steps and gives the last loss


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

        torch.set_num_threads(1)
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

    def __init__(self, net, x, y):
        from sklearn.neural_network import MLPClassifier

        hidden = tuple(layer.units for layer in net.dense[:-1])
        self.model = MLPClassifier(
            hidden,
            batch_size=32,
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

        torch.set_num_threads(1)
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


# ---- measuring


def alternate(runs, rounds, seconds):
    """Per peer the seconds of one repetition in every round; `runs` take a number of them."""
    counts = {}
    for name, run in runs.items():
        run(2)
        taken = run(2)
        count = max(2, math.ceil(0.1 * seconds * 2 / max(taken, 1e-7)))
        counts[name] = max(2, math.ceil(seconds * count / max(run(count), 1e-7)))
        run(counts[name])
    durations = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            durations[name].append(run(counts[name]) / counts[name])
    return durations


def timed(call):
    def run(times):
        began = time.perf_counter()
        for _ in range(times):
            call()
        return time.perf_counter() - began

    return run


def report(title, durations, unit_seconds, unit, flop=None, peaks=None):
    """Print a table of one workload; returns the median ratios to flatprop."""
    own = durations["flatprop"]
    print(f"\n{title}")
    ratios = {}
    for name, values in durations.items():
        line = f"    {name:14} {statistics.median(values) / unit_seconds:12.3f} {unit}"
        if name != "flatprop":
            every = sorted(value / mine for value, mine in zip(values, own, strict=True))
            ratios[name] = statistics.median(every)
            line += f"   {ratios[name]:8.2f} x   ({every[0]:.2f} to {every[-1]:.2f})"
        else:
            line += " " * 32
        if flop:
            share = flop / statistics.median(values) / statistics.median(peaks) / 1e9
            line += f"   {100 * share:5.1f} % of the gemm peak"
        print(line, flush=True)
    return ratios


def training(case, optimizer, dtype, options):
    units, activation, rows, _ = CASES[case]
    net, x, y = problem(units, activation, rows, case.endswith("classes"), dtype)
    kinds = [Flatprop, NumPy]
    kinds += [Torch] if installed("torch") else []
    kinds += [JaxScan, Jax] if installed("jax") else []
    peers = {kind.name: kind(net, x, y, optimizer) for kind in kinds}
    losses = {name: peer(5)[1] for name, peer in peers.items()}
    tolerance = 2e-3 if dtype == "float32" else 1e-9
    for name, loss in losses.items():
        if not math.isclose(loss, losses["flatprop"], rel_tol=tolerance, abs_tol=1e-6):
            raise AssertionError(f"{case}: {name} reached the loss {loss}, others {losses}")
    peaks = []

    def own(steps):
        peaks.append(loops.sgemm_rate(dtype, rounds=1))
        return peers["flatprop"](steps)[0]

    runs = {name: (lambda steps, peer=peer: peer(steps)[0]) for name, peer in peers.items()}
    runs["flatprop"] = own
    durations = alternate(runs, options.rounds, options.seconds)
    peaks = peaks[-options.rounds :]
    title = f"{case}; {optimizer}, {dtype}, loss {losses['flatprop']:.6g} after 5 steps"
    return report(title, durations, 1e-6, "µs/step", operations(units, rows), peaks)


def digits(options):
    x, labels = load_digits()
    x, labels = x.astype("float32") / 16, np.asarray(labels)
    net = fp.Network(
        64, [fp.Dense(32, "relu"), fp.Dense(10, "softmax")], loss="cross_entropy", rng=0
    )
    peers = [kind(net, x, labels) for kind in (FlatpropDigits, ScikitLearn)]
    losses = [peer(3)[1] for peer in peers]
    if not math.isclose(*losses, rel_tol=5e-3):  # it weighs the last, shorter batch differently
        raise AssertionError(f"losses after three epochs: {losses}")
    runs = {peer.name: (lambda epochs, peer=peer: peer(epochs)[0]) for peer in peers}
    title = "digits, 64-32-10 relu, mini-batches of 32; adam, float32"
    return report(title, alternate(runs, options.rounds, options.seconds), 1e-3, "ms/epoch")


def inference(rows, options):
    net, x, _ = problem((8, 64, 64, 2), "tanh", rows, False, "float32")
    calls = predictors(net, x)
    expected = calls["NumPy"]()
    for name, call in calls.items():
        np.testing.assert_allclose(call(), expected, rtol=1e-3, atol=1e-5, err_msg=name)
    runs = {name: timed(call) for name, call in calls.items()}
    if rows == 1:
        within = embedded(net, x)
        runs["... in njit"] = lambda times: timed(lambda: within(times))(1)
    title = f"8-64-64-2 tanh, outputs of {rows} row{'s' * (rows > 1)}"
    return report(title, alternate(runs, options.rounds, options.seconds), 1e-6, "µs")


def draw(table, path):
    """A picture of the ratios: for each workload a mark per peer."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "flatprop", "svg.fonttype": "none"})
    from matplotlib import pyplot

    colours = {
        "JAX lax.scan": "#c44e52",
        "JAX per step": "#dd8452",
        "JAX": "#dd8452",
        "PyTorch": "#4c72b0",
        "NumPy": "#8c8c8c",
        "onnxruntime": "#8172b3",
        "scikit-learn": "#55a868",
    }
    figure, axes = pyplot.subplots(figsize=(8.5, 0.42 * len(table) + 1.6))
    for place, ratios in enumerate(table.values()):
        for name, ratio in ratios.items():
            if name in colours:
                axes.plot(ratio, place, "o", color=colours[name], markersize=7, alpha=0.9)
    axes.axvline(1, color="black", linewidth=1.2)
    axes.text(1, -1.08, "flatprop", ha="center", va="bottom", fontsize=9)
    axes.set_xscale("log")
    ticks = [1, 2, 5, 10, 20, 50, 100, 200, 500]
    axes.set_xticks(ticks, [f"{tick} ×" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(table)), list(table), fontsize=9)
    axes.set_ylim(len(table) - 0.4, -1)
    axes.set_xlabel("times as long as flatprop, on one processor (logarithmic)")
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    names = list(dict.fromkeys(name for ratios in table.values() for name in ratios))
    merged = {"JAX": "JAX per step"}
    shown = [name for name in names if name in colours and name not in merged]
    handles = [axes.plot([], [], "o", color=colours[name], label=name)[0] for name in shown]
    axes.legend(handles=handles, ncols=3, frameon=False, fontsize=9, loc="upper center",
                bbox_to_anchor=(0.4, -0.14 if len(table) > 8 else -0.2))  # fmt: skip
    figure.tight_layout()
    figure.savefig(
        path, facecolor="white", metadata={"Date": None} if path.endswith("svg") else {}
    )


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--optimizer", nargs="+", default=["sgd"], choices=("sgd", "adam"))
    parser.add_argument("--dtype", nargs="+", default=["float32"], choices=("float32", "float64"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="per peer and round")
    parser.add_argument("--figure", help="where to draw the ratios")
    options = parser.parse_args()
    versions = [
        f"{name} {importlib.import_module(name).__version__}"
        for name in ("flatprop", "numpy", "jax", "torch", "sklearn", "onnxruntime")
        if installed(name)
    ]
    print(", ".join(versions), f"Python {sys.version.split()[0]}", sep=", ")
    table = {}
    for dtype in options.dtype:
        for optimizer in options.optimizer:
            for case in CASES:
                if options.only in case:
                    ratios = training(case, optimizer, dtype, options)
                    if (dtype, optimizer) == (options.dtype[0], options.optimizer[0]):
                        table[case] = ratios
    if options.only in "digits" and installed("sklearn"):
        table["digits, an epoch of mini-batches"] = digits(options)
    for rows in (1, 1024):
        name = f"predict 8-64-64-2, {rows} row{'s' * (rows > 1)}"
        if options.only in name:
            table[name] = inference(rows, options)
    if options.figure:
        draw(table, options.figure)


if __name__ == "__main__":
    main()
