"""Threads inside a call: flatprop against itself.

    python -m benchmarks.threads [--avx2] [--only fit]

One thread, two, and as many as the call takes by itself ("None") alternate in every round; shown
are medians and ranges of one thread's time by the others'. Then what two processors can give: two
trainings that share nothing, one thread each, one after the other by both at once. Then eight
threads of the user's each call `fit`, while a neighbour keeps one processor busy: their time by
that of the same eight calls one after the other.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import flatprop as fp

from . import machine
from .repetitions import duration, repetitions
from .training import CASES as TRAINING_CASES
from .training import problem

CASES = {
    # units, hidden activation, rows
    "2-4-1 tanh, 4 rows": TRAINING_CASES["2-4-1 tanh, 4 rows"][:3],
    "8-32-32-1 relu, 64 rows": TRAINING_CASES["8-32-32-1 relu, 64 rows"][:3],
    "64-64-64-1 relu, 1024 rows": ((64, 64, 64, 1), "relu", 1_024),
    "32-64-64-1 relu, 10000 rows": ((32, 64, 64, 1), "relu", 10_000),
    "256-256-256-10 relu, 256 rows": ((256, 256, 256, 10), "relu", 256),
    "512-512-512-10 relu, 256 rows": ((512, 512, 512, 10), "relu", 256),
    "1024-1024-1024-10 relu, 256 rows": ((1024, 1024, 1024, 10), "relu", 256),
    "1024-2048-2048-10 relu, 256 rows": ((1024, 2048, 2048, 10), "relu", 256),
}
CALLS = ("fit", "predict", "loss", "loss_and_gradient")
THREADS = (1, 2, None)
SECONDS = {"fit": 0.4, "predict": 0.06, "loss": 0.06, "loss_and_gradient": 0.06}
"""How long one number of threads works in one round; a training finds its own pace at first."""
ROUNDS = 9


class Call:
    """One of `CALLS`, called with a number of threads and of repetitions."""

    def __init__(self, case, call, dtype):
        units, activation, rows = CASES[case]
        self.net, self.x, self.y = problem(units, activation, rows, False, dtype)
        self.start = self.net.params.copy()
        self.run, self.duration = getattr(self, call), duration(SECONDS[call])

    def fit(self, threads, times):
        self.net.params = self.start
        self.net.fit(
            self.x,
            self.y,
            optimizer=fp.SGD(1e-3),
            epochs=times,
            batch_size=None,
            shuffle=False,
            threads=threads,
        )

    def predict(self, threads, times):
        for _ in range(times):
            self.net.predict(self.x, threads=threads)

    def loss(self, threads, times):
        for _ in range(times):
            self.net.loss(self.x, self.y, threads=threads)

    def loss_and_gradient(self, threads, times):
        for _ in range(times):
            self.net.loss_and_gradient(self.x, self.y, threads=threads)

    def seconds(self, threads, times):
        began = time.perf_counter()
        self.run(threads, times)
        return (time.perf_counter() - began) / times

    def rounds(self, number=ROUNDS, choices=THREADS):
        """Per number of threads the seconds of one call (or step) in every round."""
        for threads in choices:
            self.seconds(threads, 3)
        times = max(2, round(0.1 * self.duration / self.seconds(1, 3)))
        times = max(2, round(self.duration / self.seconds(1, times)))
        found = {threads: [] for threads in choices}
        for _ in range(number):
            for threads in choices:
                found[threads].append(self.seconds(threads, times))
        return found


def gains(found, threads):
    """One thread's time by that of `threads`, in every round."""
    return sorted(one / many for one, many in zip(found[1], found[threads], strict=True))


class Gain:
    """One thread's time by that of two, or of as many as the call takes."""

    params = (
        (
            "8-32-32-1 relu, 64 rows",
            "64-64-64-1 relu, 1024 rows",
            "256-256-256-10 relu, 256 rows",
            "1024-1024-1024-10 relu, 256 rows",
        ),
        ("fit", "predict"),
        ("2", "None"),
    )
    param_names = ("case", "call", "threads")
    timeout = 300
    rounds = 3

    def setup(self, case, call, threads):
        self.stack = default_threads()
        self.call = Call(case, call, "float32")

    def track_gain(self, case, call, threads):
        chosen = None if threads == "None" else int(threads)
        found = self.call.rounds(repetitions(self.rounds), (1, chosen))
        return statistics.median(gains(found, chosen))

    def teardown(self, case, call, threads):
        self.stack.close()

    track_gain.unit = "one thread / threads"


def default_threads():
    """A stack that gives flatprop in asv's process the threads that it takes by itself."""
    stack = contextlib.ExitStack()
    before = os.environ.pop("OMP_NUM_THREADS", None)
    if before is not None:
        stack.callback(os.environ.__setitem__, "OMP_NUM_THREADS", before)
        time.sleep(1.1)  # flatprop looks once in a second
    return stack


# ---- what two processors can give


def apart(case):
    """The time of two trainings in turn, one thread each, by that of both at once."""
    calls = [Call(case, "fit", "float32") for _ in range(2)]
    times = max(2, round(calls[0].duration / calls[0].seconds(1, 3)))

    def seconds(workers):
        with ThreadPoolExecutor(workers) as users:
            began = time.perf_counter()
            for future in [users.submit(call.run, 1, times) for call in calls]:
                future.result()
            return time.perf_counter() - began

    return sorted(seconds(1) / seconds(2) for _ in range(ROUNDS))


# ---- eight threads of the user's

BUSY = "while True: pass"
USERS = 8


def crowd(case="256-256-256-10 relu, 256 rows", seconds=0.25):
    """The time of eight calls of `fit` at once by that of the same one after the other.

    A neighbour keeps one processor busy throughout, in both. `seconds` is about how long one of
    the calls takes alone.
    """
    calls = [Call(case, "fit", "float32") for _ in range(USERS)]
    calls[0].seconds(None, 3)
    times = max(2, round(duration(seconds) / calls[0].seconds(None, 10)))
    neighbour = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        began = time.perf_counter()
        for call in calls:
            call.run(None, times)
        serial = time.perf_counter() - began
        expected = [call.net.params.copy() for call in calls]
        with ThreadPoolExecutor(USERS) as users:
            began = time.perf_counter()
            for future in [users.submit(call.run, None, times) for call in calls]:
                future.result()
            together = time.perf_counter() - began
    finally:
        neighbour.kill()
        neighbour.wait()
    for call, params in zip(calls, expected, strict=True):
        np.testing.assert_array_equal(call.net.params, params)
    return together / serial


class Crowd:
    """Eight users' threads at once, by one after the other; a neighbour is busy."""

    timeout = 120

    def track_crowd(self):
        with default_threads():
            return statistics.median(crowd() for _ in range(repetitions(3)))

    track_crowd.unit = "at once / in turn"


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.threads")
    parser.add_argument("--only", default="", help="lines whose text contains this")
    parser.add_argument("--dtype", nargs="+", default=["float32"], choices=("float32", "float64"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--avx2", action="store_true", help="hold flatprop to AVX2")
    options = parser.parse_args()
    machine.restart("benchmarks.threads", avx2=options.avx2, default_threads=True)
    print(machine.kind())
    print(f"{'':62}{'one, µs':>12}{'one / two':>22}{'one / None':>22}")
    for dtype in options.dtype:
        for call in CALLS:
            for case in CASES:
                title = f"{call} {dtype}, {case}"
                if options.only not in title:
                    continue
                found = Call(case, call, dtype).rounds(options.rounds)
                line = f"{title:62}{1e6 * statistics.median(found[1]):12.2f}"
                for threads in THREADS[1:]:
                    every = gains(found, threads)
                    middle = f"{statistics.median(every):.2f}"
                    line += f"{f'{middle} ({every[0]:.2f} to {every[-1]:.2f})':>22}"
                print(line, flush=True)
    for case in CASES:
        if options.only in f"apart, {case}":
            found = apart(case)
            middle = statistics.median(found)
            title = f"apart, {case}: two trainings in turn / at once"
            print(f"{title:80}{middle:.2f} ({found[0]:.2f} to {found[-1]:.2f})", flush=True)
    if options.only in "crowd":
        ratios = sorted(crowd() for _ in range(5))
        print(
            f"\ncrowd: {USERS} threads of the user's and a busy neighbour, at once / in turn: ",
            end="",
        )
        print(f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
