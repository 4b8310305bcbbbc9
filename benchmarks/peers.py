"""flatprop beside JAX, PyTorch, scikit-learn, onnxruntime and NumPy.

    python -m benchmarks.peers                          # everything, some ten minutes
    python -m benchmarks.peers --only 784 --optimizer adam
    python -m benchmarks.peers --default-threads        # all processors
    python -m benchmarks.peers --avx2                   # held to AVX2, every library
    python -m benchmarks.peers --figure docs/peers.svg

| | threads | processes |
| --- | --- | --- |
| as a rule | one processor, one thread each | one for all |
| `--default-threads` | as a user meets them: what each library takes by itself | one for each |

Every peer starts from the same weights and must reach the same loss after the same steps before
it is timed. Rounds alternate between the peers, so that what slows the machine down slows all of
them; ratios are taken within a round, and their median and range are shown. A peer that is not
installed is left out.
"""

import argparse
import importlib
import math
import os
import statistics
import sys
import time

from . import machine

if __name__ == "__main__":  # before any of them starts
    machine.restart(
        "benchmarks.peers",
        avx2="--avx2" in sys.argv,
        default_threads="--default-threads" in sys.argv,
    )
    if "--default-threads" not in sys.argv:  # one processor, and one thread in each pool
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        single = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {single}".strip()

import numpy as np

import flatprop as fp
from flatprop.data import load_digits

from . import loops
from .peer_networks import (
    FlatpropDigits,
    ScikitLearn,
    embedded,
    installed,
    predictors,
    trainers,
)
from .training import CASES, operations, problem

ROUNDS = 7
SECONDS = 0.2
"""How long one peer runs in one round."""


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
    peers = {kind.name: kind(net, x, y, optimizer) for kind in trainers()}
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


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--optimizer", nargs="+", default=["sgd"], choices=("sgd", "adam"))
    parser.add_argument("--dtype", nargs="+", default=["float32"], choices=("float32", "float64"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="per peer and round")
    parser.add_argument("--avx2", action="store_true", help="hold every library to AVX2")
    parser.add_argument(
        "--default-threads",
        action="store_true",
        help="each peer in a process of its own, with the threads that it takes by itself",
    )
    parser.add_argument("--figure", help="where to draw the ratios")
    options = parser.parse_args()
    versions = [
        f"{name} {importlib.import_module(name).__version__}"
        for name in ("flatprop", "numpy", "jax", "torch", "sklearn", "onnxruntime")
        if installed(name)
    ]
    print(", ".join(versions), f"Python {sys.version.split()[0]}", sep=", ")
    print(machine.kind(), "default threads" if options.default_threads else "one thread", sep=", ")
    if options.default_threads:
        from . import peer_processes

        peer_processes.tables(options)
        return
    if installed("torch"):
        importlib.import_module("torch").set_num_threads(1)
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
        from .peer_figure import draw

        draw(table, options.figure)


if __name__ == "__main__":
    main()
