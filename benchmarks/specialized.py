"""Networks with their sizes compiled in, beside `fit` and JAX.

    python -m benchmarks.specialized                    # a minute or two
    python -m benchmarks.specialized --only 2-4-1 --rounds 15

The script sets `fp.specialize` beside `net.fit` and JAX's `lax.scan`, all steps in one
call of each, on one processor. They start from the same weights and must reach the same
loss before they are timed; rounds alternate between them, ratios are taken within a round.
"""

import argparse
import math
import os
import sys
import time

# Before NumPy and JAX start; `peers` sets what else they need.
if hasattr(os, "sched_setaffinity") and __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import numpy as np

import flatprop as fp

from . import loops, peer_networks, peers
from .training import problem

CASES = {
    # units, hidden activation, rows, steps in one call
    "1-2-1 relu, 3 rows": ((1, 2, 1), "relu", 3, 200_000),
    "1-2-1 tanh, 3 rows": ((1, 2, 1), "tanh", 3, 200_000),
    "2-4-1 tanh, 4 rows": ((2, 4, 1), "tanh", 4, 100_000),
    "4-8-8-1 tanh, 8 rows": ((4, 8, 8, 1), "tanh", 8, 20_000),
    "6-6-6-1 tanh, 10 rows": ((6, 6, 6, 1), "tanh", 10, 20_000),
    "8-16-16-1 tanh, 16 rows": ((8, 16, 16, 1), "tanh", 16, 10_000),
    "8-32-32-1 tanh, 32 rows": ((8, 32, 32, 1), "tanh", 32, 2_000),
}


class Specialized:
    """Called with a number of steps, gives the seconds and the last loss, as `peers` do."""

    name = "specialised"

    def __init__(self, net, x, y, batch_size):
        self.start, self.x, self.y = net.params.copy(), x, y
        self.functions = fp.specialize(net, batch_size)

    def __call__(self, steps):
        params = self.start.copy()
        began = time.perf_counter()
        loss = self.functions.sgd_steps(params, self.x, self.y, None, peer_networks.RATE, steps)
        return time.perf_counter() - began, loss


class AnyRows(Specialized):
    name = "... any rows"


class Steps:
    """Nanoseconds of one full-batch step of gradient descent."""

    params = (tuple(CASES), ("float32",))  # the script does float64, too
    param_names = ("case", "dtype")

    def setup(self, case, dtype):
        units, activation, rows, self.steps = CASES[case]
        net, x, y = problem(units, activation, rows, False, dtype)
        self.runs = {
            "constant rows": Specialized(net, x, y, rows),
            "any rows": AnyRows(net, x, y, None),
            "fit": peer_networks.Flatprop(net, x, y, "sgd"),
        }
        losses = [run(5)[1] for run in self.runs.values()]
        np.testing.assert_allclose(losses, losses[-1], rtol=20 * np.finfo(dtype).eps)

    def nanoseconds(self, name):
        run = self.runs[name]
        return loops.median_seconds(lambda: run(self.steps)) / self.steps * 1e9

    def track_constant_rows(self, case, dtype):
        return self.nanoseconds("constant rows")

    def track_any_rows(self, case, dtype):
        return self.nanoseconds("any rows")

    def track_times_faster_than_fit(self, case, dtype):
        return self.nanoseconds("fit") / self.nanoseconds("constant rows")

    track_constant_rows.unit = track_any_rows.unit = "ns/step"
    track_times_faster_than_fit.unit = "times"


class Calls:
    """Calls from Python: one step of a 2-4-1 network with 4 rows."""

    def setup(self):
        self.net, x, y = problem((2, 4, 1), "tanh", 4, False, "float32")
        self.arguments = self.net.params, x, y, None, 1e-3
        self.step = fp.specialize(self.net, 4).sgd_step
        self.step(*self.arguments)

    def time_sgd_step(self):
        self.step(*self.arguments)


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.specialized")
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--dtype", nargs="+", default=["float32", "float64"])
    parser.add_argument("--rounds", type=int, default=peers.ROUNDS)
    parser.add_argument("--seconds", type=float, default=0.1, help="per peer and round")
    options = parser.parse_args()
    print(f"flatprop {fp.__version__}, numpy {np.__version__}, Python {sys.version.split()[0]}")
    for dtype in options.dtype:
        for case, (units, activation, rows, _) in CASES.items():
            if options.only not in case:
                continue
            net, x, y = problem(units, activation, rows, False, dtype)
            runs = [Specialized(net, x, y, rows), AnyRows(net, x, y, None)]
            began = time.perf_counter()
            runs[0](1)
            compiling = time.perf_counter() - began
            runs.append(peer_networks.Flatprop(net, x, y, "sgd"))
            if peer_networks.installed("jax"):
                runs.append(peer_networks.JaxScan(net, x, y, "sgd"))
            losses = {run.name: run(50)[1] for run in runs}
            expected = losses["flatprop"]
            for name, loss in losses.items():
                if not math.isclose(loss, expected, rel_tol=200 * np.finfo(dtype).eps):
                    raise AssertionError(f"{case}, {dtype}: loss {loss} of {name}, {expected}")
            report(f"{case}, {dtype}", runs, compiling, options)


def report(title, runs, compiling, options):
    """The median and range of ns per step, and of the ratio to the first of the runs."""
    steps = {}
    for run in runs:
        seconds = min(run(1000)[0] for _ in range(3)) / 1000
        steps[run] = max(1000, int(options.seconds / seconds))
        run(steps[run])  # JAX compiles for every number of steps
    rounds = {run: [] for run in runs}
    for _ in range(options.rounds):
        for run in runs:
            rounds[run].append(run(steps[run])[0] / steps[run] * 1e9)
    print(f"\n{title}; sgd_steps was there after {compiling:.2f} s")
    for run in runs:
        name = "fit" if run.name == "flatprop" else run.name
        low, middle, high = np.quantile(rounds[run], [0, 0.5, 1])
        ratio = np.median(np.divide(rounds[run], rounds[runs[0]]))
        print(f"  {name:14s} {middle:9.1f} ns/step ({low:.1f} to {high:.1f})  {ratio:6.2f} ×")


if __name__ == "__main__":
    main()
