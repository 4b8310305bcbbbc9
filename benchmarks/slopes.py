"""Trainings on derivatives beside JAX and PyTorch: an evaluation for L-BFGS, steps on forces.

    python -m benchmarks.slopes                      # both, float32 and float64
    python -m benchmarks.slopes --only forces --batch 32
    python -m benchmarks.slopes --avx2               # every library held to AVX2

| workload | what is timed |
| --- | --- |
| Burgers | loss and gradient of 2-20x8-1 tanh at 10,000 collocation points and 100 samples |
| forces | a step of Adam, of 3-64-64-1 tanh on 2,000 energies with their gradients |

One process has all libraries, with one thread each, on one processor. Before anything is timed,
losses and gradients must agree, and trainings in the same order must reach the same loss. A
training on forces takes new random orders in every epoch, in all libraries; afterwards its errors
are shown for each. `... in order` is JAX without shuffling. JAX and PyTorch do it in the fastest
of the ways in which it is usually written; `JAX, grad of grad` is the commonest.

The share of the peak counts multiplications with matrices alone: see `PASSES`.
"""

import argparse
import math
import os
import sys

from . import machine

if __name__ == "__main__":  # before any of them starts
    machine.restart("benchmarks.slopes", avx2="--avx2" in sys.argv)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    single = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {single}".strip()

import numba
import numpy as np

import flatprop as fp
from flatprop.evaluation import crew
from flatprop.evaluation.terms import Terms
from flatprop.samples.in_memory import in_memory

from . import loops
from .repetitions import repetitions

NU = 0.01 / np.pi
POINTS, SAMPLES = 10_000, 100
ROWS = 2_000
RATE = 1e-3
PASSES = {"burgers": 12, "forces": 6}
"""How often a row goes through all matrices, forward, back or into the gradient.

| workload | what goes through |
| --- | --- |
| burgers | u and three derivatives: forward, back, gradient |
| forces | u, its slopes back, their gradient along: forward; u back; gradient of both |
"""


@numba.njit
def residual(x, u, du, d2u):
    return du[1] + u * du[0] - NU * d2u[0]


# ---- Burgers' equation


def burgers_network(dtype):
    """The network, the samples and the points."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (SAMPLES, 2)).astype(dtype)
    y = -np.sin(np.pi * x[:, :1])
    points = rng.uniform(-1, 1, (POINTS, 2)).astype(dtype)
    layers = [fp.Dense(20, "tanh")] * 8 + [fp.Dense(1)]
    return fp.Network(2, layers, dtype=dtype, rng=0), x, y, points


def flatprop_burgers(net, x, y, points):
    """A function that returns loss and gradient."""
    terms = Terms(net, in_memory(net, x, y), None, 1.0, [fp.Equation(residual, points)])

    def evaluate():
        with crew.using(1):
            loss, gradient, _ = terms.loss_and_gradient()
        return loss, gradient

    return evaluate


class Evaluation:
    """asv: an evaluation of loss and gradient."""

    params = (("float32", "float64"),)
    param_names = ("dtype",)
    unit = "ms"

    def setup(self, dtype):
        self.evaluate = flatprop_burgers(*burgers_network(dtype))
        self.evaluate()

    def track_burgers(self, dtype):
        return 1e3 * loops.median_seconds(self.evaluate)

    track_burgers.unit = "ms"


# ---- forces


def forces_network(dtype, rows=ROWS, seed=0):
    """The network, the points, their energies and the gradients of these."""
    x = np.random.default_rng(seed).uniform(-1, 1, (rows, 3))
    y, dy = np.sin(x).sum(axis=1, keepdims=True), np.cos(x)[:, None, :]
    net = fp.Network(3, [fp.Dense(64, "tanh")] * 2 + [fp.Dense(1)], dtype=dtype, rng=0)
    return net, *(array.astype(dtype) for array in (x, y, dy))


class FlatpropForces:
    """A training; called with a number of epochs and whether to shuffle, it returns the seconds
    of a step and the last epoch's loss. `weights` are those that it has reached."""

    name = "flatprop"

    def __init__(self, net, x, y, dy, batch_size):
        self.net, self.samples, self.batch_size = net, (x, y, dy), batch_size
        self.start = net.params.copy()

    def __call__(self, epochs, shuffle=True):
        x, y, dy = self.samples
        self.net.params = self.start
        history = self.net.fit(
            x,
            y,
            derivatives=dy,
            optimizer=fp.Adam(RATE),
            epochs=epochs,
            batch_size=self.batch_size,
            shuffle=shuffle,
            rng=0,
            threads=1,
        )
        return history.seconds / (epochs * (len(x) // self.batch_size)), history.loss[-1]

    @property
    def weights(self):
        return list(zip(self.net.weights, self.net.biases, strict=True))


class Step:
    """asv: a step on forces."""

    params = (("float32", "float64"), (32, 256, ROWS))
    param_names = ("dtype", "batch")

    def setup(self, dtype, batch):
        rows = ROWS // batch * batch
        self.train = FlatpropForces(*forces_network(dtype, rows), batch)
        self.epochs = max(2, repetitions(4000 // (rows // batch) // max(1, batch // 8)))
        self.train(self.epochs)

    def track_forces(self, dtype, batch):
        return 1e6 * min(self.train(self.epochs)[0] for _ in range(repetitions(5)))

    track_forces.unit = "µs"


# ---- the table


def burgers(dtype, options):
    from . import slope_peers as peers
    from .peers import report, timed

    given = burgers_network(dtype)
    net, *_ = given
    calls = {"flatprop": flatprop_burgers(*given), **peers.burgers(*given, NU)}
    loss, gradient = calls["flatprop"]()
    tolerance = {"float32": 1e-4, "float64": 1e-11}[dtype]
    for name, call in calls.items():
        other, slopes = (np.asarray(part, np.float64) for part in call())
        error = abs(slopes - gradient).max() / abs(gradient).max()
        if not math.isclose(other, loss, rel_tol=tolerance) or error > tolerance:
            raise AssertionError(f"{name}: the loss is {other}, the gradient differs by {error}")
    runs = {name: timed(call) for name, call in calls.items()}
    flop = 2 * PASSES["burgers"] * POINTS * net.params.size
    table(
        f"Burgers, 2-20x8-1 tanh, {dtype}, loss {loss:.6g}",
        runs,
        1e-3,
        "ms",
        flop,
        dtype,
        options,
        report,
    )


def forces(dtype, batch, options):
    from . import slope_peers as peers
    from .peers import report

    given = forces_network(dtype, ROWS // batch * batch)
    net, x, *_ = given
    trainers = [kind(*given, batch) for kind in (FlatpropForces, *peers.forces())]
    losses = {peer.name: peer(3, False)[1] for peer in trainers}
    for name, loss in losses.items():
        tolerance = {"float32": 5e-3, "float64": 1e-8}[dtype]
        if not math.isclose(loss, losses["flatprop"], rel_tol=tolerance):
            raise AssertionError(f"{name} reached the loss {loss}, others {losses}")

    def steps(peer):
        def run(times):
            epochs = max(1, math.ceil(times * batch / len(x)))
            return peer(epochs)[0] * times

        return run

    runs = {peer.name: steps(peer) for peer in trainers}
    flop = 2 * PASSES["forces"] * batch * net.params.size
    title = f"forces, 3-64-64-1 tanh, {dtype}, batches of {batch}"
    table(title, runs, 1e-6, "µs/step", flop, dtype, options, report)
    held_out = forces_network(dtype, 1000, seed=1)[1:]
    for peer in trainers:
        peer(options.epochs)
        energy, force = errors(peer.weights, *held_out)
        after = f"after {options.epochs} epochs"
        print(f"    {peer.name:14} {after}: energy {energy:.2e}, force {force:.2e}")


def errors(weights, x, y, dy):
    """Root mean squares of the errors of energies and forces."""
    net = fp.Network(3, [fp.Dense(64, "tanh")] * 2 + [fp.Dense(1)], dtype=x.dtype.name)
    for layer, (W, b) in enumerate(weights):
        net.weights[layer], net.biases[layer] = np.asarray(W), np.asarray(b)
    apart = net.predict(x) - y, net.jacobian(x) - dy
    return [float(np.sqrt(np.mean(np.square(d, dtype=np.float64)))) for d in apart]


def table(title, runs, unit_seconds, unit, flop, dtype, options, report):
    from .peers import alternate

    peaks, own = [], runs["flatprop"]

    def measured(times):
        peaks.append(loops.sgemm_rate(dtype, rounds=1))
        return own(times)

    durations = alternate(runs | {"flatprop": measured}, options.rounds, options.seconds)
    report(title, durations, unit_seconds, unit, flop, peaks[-options.rounds :])


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slopes")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--dtype", nargs="+", default=["float32", "float64"])
    parser.add_argument("--batch", nargs="+", type=int, default=[32, 256, ROWS])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="per peer and round")
    parser.add_argument("--epochs", type=int, default=40, help="of the trainings that show errors")
    parser.add_argument("--avx2", action="store_true", help="hold every library to AVX2")
    options = parser.parse_args()
    print(machine.kind(), "one thread", sep=", ")
    for dtype in options.dtype:
        if options.only in "burgers":
            burgers(dtype, options)
        for batch in options.batch:
            if options.only in "forces":
                forces(dtype, batch, options)


if __name__ == "__main__":
    main()
