"""One row at a time through the file of `net.to_c`, by the compiler's flags.

    python -m benchmarks.exported_c [--avx2]

Each row begins with what the one before gave, so that no two can overlap. The file and the jitted
kernel take turns in every round, on one processor; quote the ratios, the file's time by the
kernel's. `--avx2` holds both to AVX2: the file has no more in any case, except under
`-march=native`, which then names a processor that has no more.
"""

import argparse
import ctypes
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from flatprop.kernels import workspace_size

from . import loops, machine
from .repetitions import repetitions
from .training import problem

CASES = {
    # units, hidden activation, classes
    "8-64-64-2 tanh": ((8, 64, 64, 2), "tanh", False),
    "4-32-16-4 relu": ((4, 32, 16, 4), "relu", False),
    "784-128-10 relu, classes": ((784, 128, 10), "relu", True),
    "8-64-64-2 gelu": ((8, 64, 64, 2), "gelu", False),
    "1-10-1 tanh": ((1, 10, 1), "tanh", False),
    "2-4-1 tanh": ((2, 4, 1), "tanh", False),
}
DTYPES = ("float32", "float64")
NATIVE = f"-march={os.environ.get('NUMBA_CPU_NAME') or 'native'}"
FLAGS = {
    "gcc -O2": ("gcc", "-O2"),
    "gcc -std=c99 -O2": ("gcc", "-std=c99", "-O2"),
    "gcc -O3 native fast": ("gcc", "-O3", NATIVE, "-ffast-math"),
    "gcc -O2 plain": ("gcc", "-O2", "-DNET_PLAIN"),
    "clang -O2": ("clang", "-O2"),
}
CHAIN = """
void net(const {real} *x, {real} *out);
void chain({real} *x, {real} *out, long times)
{{
    for (long i = 0; i < times; i++) {{
        net(x, out);
        x[0] = out[0];
    }}
}}
"""


def compiled(net, flags):
    """The chain of rows in C, or None where there is no such compiler."""
    compiler, *options = flags
    if shutil.which(compiler) is None:
        return None
    real = {"float32": "float", "float64": "double"}[net.dtype.name]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        net.to_c(folder / "net.c")
        (folder / "chain.c").write_text(CHAIN.format(real=real))
        for source, chosen in (("net.c", options), ("chain.c", ["-O2"])):
            command = [compiler, *chosen, "-fPIC", "-c", folder / source, "-o", folder / source[0]]
            subprocess.run(command, check=True)
        # without -ffast-math, which would switch subnormal numbers off in this process
        command = [compiler, "-shared", folder / "n", folder / "c", "-lm", "-o", folder / "net.so"]
        subprocess.run(command, check=True)
        return ctypes.CDLL(str(folder / "net.so")).chain


class Rows:
    """The same chain of rows in the kernel and in each compilation of the file."""

    def __init__(self, case, dtype, flags=tuple(FLAGS)):
        units, activation, classes = CASES[case]
        self.net, self.x, _ = problem(units, activation, 1, classes, dtype)
        self.first, self.out = self.x.copy(), np.empty((1, units[-1]), dtype)
        self.workspace = np.empty(workspace_size(self.net.layers, 1), dtype)
        self.callers = {"kernel": self.kernel}
        for name in flags:
            chain = compiled(self.net, FLAGS[name])
            if chain is not None:
                self.callers[name] = lambda times, chain=chain: self.in_c(chain, times)
        self.check()

    def kernel(self, times):
        network = self.net.layers, self.net.params
        loops.predict_one_by_one(*network, self.x, self.out, self.workspace, times)

    def in_c(self, chain, times):
        pointers = (ctypes.c_void_p(array.ctypes.data) for array in (self.x, self.out))
        chain(*pointers, ctypes.c_long(times))

    def check(self):
        """Of 100 rows, relative to the largest output; sums of 784 terms are off by more."""
        bound = {"float32": 5e-7, "float64": 8.4e-16}[self.net.dtype.name]
        rng = np.random.default_rng(2)
        rows = rng.standard_normal((100, self.net.inputs)).astype(self.net.dtype)
        expected = self.net.predict(rows)
        for name, caller in self.callers.items():
            found = np.empty_like(expected)
            for row, result in zip(rows, found, strict=True):
                self.x[:] = row
                caller(1)
                result[:] = self.out
            error = abs(found - expected).max() / abs(expected).max()
            assert error <= bound or name == "kernel", (name, error)
            bound = max(bound, 2 * error)  # of the kernel, which is first
        self.x[:] = self.first

    def seconds(self, rounds=61, duration=0.5e-3):
        """Per row, of each caller in each round."""
        self.kernel(10)
        began = time.perf_counter()
        self.kernel(10)
        times = max(10, int(10 * duration / (time.perf_counter() - began)))
        found = {name: [] for name in self.callers}
        for _ in range(repetitions(rounds)):
            for name, caller in self.callers.items():
                began = time.perf_counter()
                caller(times)
                found[name].append((time.perf_counter() - began) / times)
        return found


class ExportedC:
    """The file's time by the jitted kernel's."""

    params = (tuple(CASES), DTYPES, tuple(FLAGS))
    param_names = ("case", "dtype", "flags")

    def setup(self, case, dtype, flags):
        self.rows = Rows(case, dtype, [flags])
        if flags not in self.rows.callers:
            raise NotImplementedError("there is no such compiler here")

    def track_ratio(self, case, dtype, flags):
        found = self.rows.seconds()
        return statistics.median(_ratios(found, flags))

    track_ratio.unit = "file / kernel"


def _ratios(found, name):
    return [c / k for c, k in zip(found[name], found["kernel"], strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--avx2", action="store_true", help="hold both to AVX2")
    machine.restart("benchmarks.exported_c", avx2=parser.parse_args().avx2)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(machine.kind())
    print(f"{'one row':34}{'kernel':>10}   µs; the file's time / the kernel's")
    for case in CASES:
        for dtype in DTYPES:
            rows = Rows(case, dtype)
            found = rows.seconds()
            micro = 1e6 * statistics.median(found["kernel"])
            ratios = ", ".join(
                f"{name} {statistics.median(_ratios(found, name)):.2f}"
                for name in found
                if name != "kernel"
            )
            print(f"{case + ' ' + dtype:34}{micro:10.3f}   {ratios}", flush=True)


if __name__ == "__main__":
    main()
