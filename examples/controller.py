"""A controller in a loop of a million steps: a two-joint arm, held upright by a network.

Two rods hang from a motor at the shoulder, and a second motor drives the elbow. Each rod has
1 m and a mass of 1 kg at its end. A policy of 4-64-64-2 tanh units sees angles and speeds and
sets both torques.

The policy is trained by backpropagation through time. The simulation runs forward. On the way
back `kernels.vjp` differentiates the network, and finite differences differentiate the
physics. Finite differences work for any simulator, even without derivatives. The trained
policy then runs for a million steps in one compiled function, with a kick every few seconds.

    python examples/controller.py            # about half a minute; writes controller.png
    python examples/controller.py --fast     # less training
"""

import argparse
import math
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numba
import numpy as np

import flatprop as fp
from flatprop.kernels import LEARNING_RATE, forward, gradient_workspace_size, update, vjp

TIME_STEP = 0.01  # s
TORQUES = 20.0, 10.0  # N·m, shoulder and elbow; holding the arm straight out needs 29.4


@numba.njit(cache=True)
def step(x, u):
    """One time step from the state x = (angles from upright, their speeds), in rad and rad/s.

    u are the policy's outputs, between -1 and 1. Returns the new state and the cost of the step.
    """
    g, damping = 9.81, 0.1
    q1, q2, v1, v2 = x
    out1, out2 = u
    shoulder, elbow = TORQUES[0] * out1 - damping * v1, TORQUES[1] * out2 - damping * (v2 - v1)
    c, s = math.cos(q1 - q2), math.sin(q1 - q2)
    force1 = shoulder - elbow + 2 * g * math.sin(q1) - s * v2 * v2
    force2 = elbow + g * math.sin(q2) + s * v1 * v1
    v1 += TIME_STEP * (force1 - c * force2) / (2 - c * c)
    v2 += TIME_STEP * (2 * force2 - c * force1) / (2 - c * c)
    q1 += TIME_STEP * v1
    q2 += TIME_STEP * v2
    cost = 2 - math.cos(q1) - math.cos(q2) + 0.01 * (v1 * v1 + v2 * v2)
    return (q1, q2, v1, v2), cost + 0.01 * (out1 * out1 + out2 * out2)


@numba.njit(cache=True)
def simulate(layers, params, state, kicks, path, workspace):
    """path[n] ← the state (1, 4) after step n. Before step n the speeds change by kicks[n]."""
    out = np.empty((1, 2), params.dtype)
    for n in range(kicks.shape[0]):
        state[0, 2] += kicks[n, 0]
        state[0, 3] += kicks[n, 1]
        forward(layers, params, state, out, workspace)
        (q1, q2, v1, v2), _ = step(state[0], out[0])
        turn = 2 * math.pi
        state[0] = (q1 + math.pi) % turn - math.pi, (q2 + math.pi) % turn - math.pi, v1, v2
        path[n] = state[0]


@numba.njit(cache=True)
def cost_and_gradient(layers, params, start, steps, gradient, workspace):
    """The mean cost per step over all starts (rows, 4). Overwrites gradient."""
    rows = start.shape[0]
    x, u = np.empty((steps + 1, rows, 4), params.dtype), np.empty((steps, rows, 2), params.dtype)
    x[0] = start
    total = 0.0
    for n in range(steps):
        forward(layers, params, x[n], u[n], workspace)
        for i in range(rows):
            x[n + 1, i], cost = step(x[n, i], u[n, i])
            total += cost

    gradient[:] = 0
    dL_dx, dL_du, through_policy = np.zeros_like(start), np.empty_like(u[0]), np.empty_like(start)
    a, d = np.empty(6), np.empty(6)
    for n in range(steps - 1, -1, -1):
        for i in range(rows):
            a[:4], a[4:] = x[n, i], u[n, i]
            for j in range(6):
                a[j] += 1e-5
                high, high_cost = step(a[:4], a[4:])
                a[j] -= 2e-5
                low, low_cost = step(a[:4], a[4:])
                a[j] += 1e-5
                d[j] = (high_cost - low_cost) / (rows * steps)
                for k in range(4):
                    d[j] += dL_dx[i, k] * (high[k] - low[k])
            dL_dx[i], dL_du[i] = d[:4] / 2e-5, d[4:] / 2e-5
        vjp(layers, params, x[n], dL_du, through_policy, gradient, workspace)
        dL_dx += through_policy
    return total / (rows * steps)


def train(net, updates, steps=300, rows=16):
    """Train by Adam, first from starts near upright; from far away most policies learn nothing.

    Returns the mean cost of the last 50 updates.
    """
    rng = np.random.default_rng(0)
    workspace = np.empty(gradient_workspace_size(net.layers, rows), net.dtype)
    gradient = np.empty_like(net.params)
    adam = fp.Adam(3e-3).start(net.params)
    costs = np.empty(updates)
    for n in range(updates):
        reach = min(1, 0.1 + n / (0.6 * updates)) * np.array([np.pi, np.pi, 3, 3])
        start = (reach * rng.uniform(-1, 1, (rows, 4))).astype(net.dtype)
        costs[n] = cost_and_gradient(net.layers, net.params, start, steps, gradient, workspace)
        gradient *= min(1, 0.1 / np.linalg.norm(gradient))  # over 300 steps some explode
        adam.settings[LEARNING_RATE] = 3e-3 * (1 - n / updates)
        update(adam, net.params, gradient)
        if n % (updates // 5) == 0 or n == updates - 1:
            print(f"update {n:3}: mean cost {costs[n]:.3f}")
    return costs[-50:].mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="less training")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".png"))
    options = parser.parse_args()

    layers = [fp.Dense(64, "tanh"), fp.Dense(64, "tanh"), fp.Dense(2, "tanh")]
    for seed in range(5):  # about one seed in twenty ends in a poor minimum, with a cost of 2
        net = fp.Network(4, layers, rng=seed)
        if train(net, updates=400 if options.fast else 800) < 1.3:
            break

    steps = 1_000_000
    kicks = np.zeros((steps, 2))
    kicks[500::500] = np.random.default_rng(1).normal(0, 2, (steps // 500 - 1, 2))
    path = np.empty((steps, 4), net.dtype)
    workspace = np.empty(gradient_workspace_size(net.layers, 1), net.dtype)
    for count in (1, steps):  # the first call compiles
        hanging = np.array([[3.1, 3.1, 0, 0]], net.dtype)
        began = time.perf_counter()
        simulate(net.layers, net.params, hanging, kicks[:count], path, workspace)
        seconds = time.perf_counter() - began
    height = np.cos(path[:, 0]) + np.cos(path[:, 1])
    print(f"{steps:,} steps of simulation and network: {seconds / steps * 1e6:.3f} µs each")
    print(f"the tip is above 1.9 m for {(height > 1.9).mean():.1%} of {steps * TIME_STEP:,.0f} s")
    draw(options.output, path, kicks, height)


def draw(file, path, kicks, height):
    figure, axes = plt.subplot_mosaic("saa;kkk", figsize=(10, 7.5), layout="constrained")
    times = TIME_STEP * np.arange(1, len(path) + 1)
    for n in range(0, 280, 14):  # the rods every 0.14 s, dark to light
        elbow = np.array([np.sin(path[n, 0]), np.cos(path[n, 0])])
        tip = elbow + np.array([np.sin(path[n, 1]), np.cos(path[n, 1])])
        axes["s"].plot(*np.array([[0, 0], elbow, tip]).T, "-o", color=plt.cm.viridis(n / 300))
    axes["s"].set(aspect="equal", xlabel="x / m", ylabel="height / m", xlim=(-1, 2.2))
    axes["s"].set_title("swinging up, dark to light")

    first = slice(0, 400)
    axes["a"].plot(times[first], np.unwrap(path[first, :2], axis=0), label=["upper", "lower"])
    axes["a"].axhline(0, color="0.8", zorder=0)
    axes["a"].set(xlabel="time / s", ylabel="angle from upright / rad", xlim=(0, 4))
    axes["a"].set_title("its angles")
    axes["a"].legend(title="rod", frameon=False)

    stretch = slice(0, 12_000)
    axes["k"].plot(times[stretch], height[stretch], color="C2", linewidth=1)
    kicked = TIME_STEP * np.flatnonzero(kicks[stretch].any(axis=1))
    axes["k"].plot(kicked, np.full(len(kicked), 2.25), "v", color="C3", label="kick")
    axes["k"].set(xlabel="time / s", ylabel="height of the tip / m", xlim=(0, 120))
    axes["k"].set_title(f"the first two of {times[-1] / 60:.0f} minutes, kicked every 5 s")
    axes["k"].legend(loc="lower right")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
