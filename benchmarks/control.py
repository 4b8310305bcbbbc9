"""A control loop of a million steps: simulation and network in turn, on one processor.

    python -m benchmarks.control                      # two minutes or so
    python -m benchmarks.control --rounds 15 --only flatprop

A policy of 4-64-64-2 tanh units in float32 sees the four states of a two-joint arm that
hangs in oil, and sets its two torques; the next state follows from them. flatprop, in one
jitted function, and JAX's `lax.scan` do the whole loop in one call; the others come back to
Python every step, for which their simulation is written in plain floats, the fastest there.
All start from the same state and must be in the same one later, before they are timed. The
fast ones then take a million steps a round, the slow ones as many as fit into a second.
Rounds alternate between them; ratios are taken within a round. A peer that is not installed
is left out.
"""

import argparse
import importlib
import math
import os
import statistics
import sys
import time

# Before NumPy and JAX start; `peers` sets what else they need.
if hasattr(os, "sched_setaffinity") and __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import numba
import numpy as np

import flatprop as fp
from flatprop.kernels import forward, workspace_size

from . import loops, peer_networks, peers
from .yardstick import NumPyNetwork

STEPS = 1_000_000
CHECKED = 300
"""Steps after which all must be in the same state; the arm still swings then."""
START = (1.5, -0.5, 0.0, 0.0)


def arm(sin, cos):
    """The simulation, in terms of somebody's sine and cosine.

    Two rods of 1 m, with 1 kg at the end of each; angles from hanging down.
    """

    def step(q1, q2, v1, v2, out1, out2):
        c, s = cos(q1 - q2), sin(q1 - q2)
        force1 = 3.0 * (out1 - out2) - 0.5 * v1 - 19.62 * sin(q1) - s * v2 * v2
        force2 = 3.0 * out2 - 0.5 * v2 - 9.81 * sin(q2) + s * v1 * v1
        det = 2.0 - c * c
        v1 = v1 + 0.01 * (force1 - c * force2) / det
        v2 = v2 + 0.01 * (2.0 * force2 - c * force1) / det
        return q1 + 0.01 * v1, q2 + 0.01 * v2, v1, v2

    return step


in_python = arm(math.sin, math.cos)
jitted = numba.njit(in_python)


@numba.njit  # no cache: Numba's own does not notice an edit of the kernels
def control(layers, params, state, steps, workspace):
    """state (1, 4) ← so many steps later."""
    out = np.empty((1, 2), params.dtype)
    for _ in range(steps):
        forward(layers, params, state, out, workspace)
        q1, q2, v1, v2 = state[0]
        state[0] = jitted(q1, q2, v1, v2, out[0, 0], out[0, 1])


def policy():
    net = fp.Network(4, [fp.Dense(64, "tanh"), fp.Dense(64, "tanh"), fp.Dense(2)], rng=0)
    for b in net.biases:  # so that the arm does not come to rest at zero
        b[:] = np.random.default_rng(1).normal(0, 0.3, b.size)
    return net


# ---- the loops: each is called with a number of steps, gives the seconds and the last state


def flatprop_jitted(net):
    workspace = np.empty(workspace_size(net.layers, 1), net.dtype)

    def run(steps):
        state = np.array([START], net.dtype)
        began = time.perf_counter()
        control(net.layers, net.params, state, steps, workspace)
        return time.perf_counter() - began, state[0]

    return run


def jax_loops(net):
    """The whole loop compiled, and step by step."""
    import jax
    import jax.numpy as jnp

    weights = [
        (jnp.asarray(W.copy()), jnp.asarray(b.copy()))
        for W, b in zip(net.weights, net.biases, strict=True)
    ]
    simulate = arm(jnp.sin, jnp.cos)

    def step(state, _):
        a = state
        for W, b in weights[:-1]:
            a = jnp.tanh(a @ W + b)
        out = a @ weights[-1][0] + weights[-1][1]
        return jnp.stack(simulate(*state, *out)), None

    start = jnp.asarray(START, jnp.float32)
    compiled = {}

    def scan(steps):
        if steps not in compiled:
            loop = jax.jit(lambda state: jax.lax.scan(step, state, None, length=steps)[0])
            compiled[steps] = loop.lower(start).compile()
        began = time.perf_counter()
        state = compiled[steps](start).block_until_ready()
        return time.perf_counter() - began, np.asarray(state)

    one = jax.jit(lambda state: step(state, None)[0])

    def per_step(steps):
        state = start
        began = time.perf_counter()
        for _ in range(steps):
            state = one(state)
        state.block_until_ready()
        return time.perf_counter() - began, np.asarray(state)

    return scan, per_step


def from_python(outputs):
    """A loop in Python around `outputs`, (1, 4) float32 -> two numbers."""

    def run(steps):
        row = np.empty((1, 4), np.float32)
        state = START
        began = time.perf_counter()
        for _ in range(steps):
            row[0] = state
            state = in_python(*state, *outputs(row))
        return time.perf_counter() - began, np.array(state)

    return run


def torch_loop(net):
    import torch

    torch.set_num_threads(1)
    model = peer_networks.torch_model(net)
    loop = from_python(lambda row: model(torch.from_numpy(row))[0].tolist())

    def run(steps):
        with torch.inference_mode():
            return loop(steps)

    return run


def runs_of(net):
    """All loops whose library is installed, by name."""
    twin = NumPyNetwork(net, 0.0)
    found = {"flatprop, jitted loop": flatprop_jitted(net)}
    if peer_networks.installed("jax"):
        scan, per_step = jax_loops(net)
        found |= {"JAX, lax.scan": scan, "JAX, jit per step": per_step}
    found["flatprop, predict per step"] = from_python(lambda row: net.predict(row)[0].tolist())
    found["NumPy per step"] = from_python(lambda row: twin.predict(row)[0].tolist())
    if peer_networks.installed("onnx", "onnxruntime"):
        session = peer_networks.onnx_session(net)
        found["onnxruntime per step"] = from_python(
            lambda row: session.run(None, {"x": row})[0][0].tolist()
        )
    if peer_networks.installed("torch"):
        found["PyTorch per step"] = torch_loop(net)
    return found


def check(runs):
    """All in the same state, which is not the one at the end of the motion."""
    states = {name: run(CHECKED)[1] for name, run in runs.items()}
    for name, state in states.items():
        np.testing.assert_allclose(
            state, states["flatprop, jitted loop"], rtol=0, atol=1e-4, err_msg=name
        )
    if np.abs(state[2:]).max() < 1e-2:
        raise AssertionError(f"the arm is at rest, which proves nothing: {state}")
    return state


class ControlLoop:
    """Simulation and network in one jitted function."""

    steps = 100_000

    def setup(self):
        net = policy()
        self.run = flatprop_jitted(net)
        twin = NumPyNetwork(net, 0.0)
        numpy = from_python(lambda row: twin.predict(row)[0].tolist())
        check({"flatprop, jitted loop": self.run, "NumPy": numpy})

    def time_100_000_steps(self):
        self.run(self.steps)

    def track_step(self):
        return loops.median_seconds(lambda: self.run(self.steps)) / self.steps * 1e6

    track_step.unit = "µs/step"


# ---- measuring


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.control")
    parser.add_argument("--only", default="", help="loops whose name contains this")
    parser.add_argument("--rounds", type=int, default=peers.ROUNDS)
    parser.add_argument("--steps", type=int, default=STEPS, help="of the fast loops")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a round of the slow ones")
    options = parser.parse_args()
    versions = [
        f"{name} {importlib.import_module(name).__version__}"
        for name in ("flatprop", "numba", "numpy", "jax", "torch", "onnxruntime")
        if peer_networks.installed(name)
    ]
    print(", ".join(versions), f"Python {sys.version.split()[0]}", sep=", ")
    runs = runs_of(policy())
    print(f"state after {CHECKED} steps, the same for all: {check(runs).round(4).tolist()}\n")

    own, *_ = runs
    runs = {name: run for name, run in runs.items() if name == own or options.only in name}
    steps = {}
    for name, run in runs.items():
        seconds = run(1_000)[0] / 1_000
        fast = seconds * options.steps < 3 * options.seconds
        steps[name] = options.steps if fast else math.ceil(options.seconds / seconds)
        run(steps[name])  # JAX compiles for every number of steps
    rounds = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            rounds[name].append(run(steps[name])[0] / steps[name] * 1e6)
    print("4-64-64-2 tanh, float32     steps timed   µs/step   (range)            × flatprop")
    for name, values in rounds.items():
        ratios = [value / mine for value, mine in zip(values, rounds[own], strict=True)]
        spread = f"({min(values):.3g} to {max(values):.3g})"
        print(
            f"{name:28}{steps[name]:11,}{statistics.median(values):10.3f}   {spread:18}"
            f"{statistics.median(ratios):8.2f}   ({min(ratios):.3g} to {max(ratios):.3g})"
        )


if __name__ == "__main__":
    main()
