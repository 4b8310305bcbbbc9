"""One row at a time through a network, called from jitted code, C, SciPy and Python.

    python -m benchmarks.embedding

Each row begins with what the one before gave, so that no two can overlap. The callers take turns
in every round, on one processor; quote the ratios. Then: how long the first call of a user's own
jitted function takes in a fresh process that finds flatprop's cache filled.
"""

import ctypes
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if hasattr(os, "sched_setaffinity") and __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import numpy as np

import flatprop as fp
from flatprop.kernels import workspace_size

from . import loops
from .repetitions import repetitions
from .training import problem

CASES = {
    f"{'-'.join(map(str, units))} {activation} {dtype}": (units, activation, dtype)
    for units in ((8, 64, 64, 2), (2, 4, 1))
    for dtype in ("float32", "float64")
    for activation in ("tanh", "relu")
}
SOURCE = """
#include "flatprop.h"

#define DEFINE(real, suffix)                                                             \\
    void chain_##suffix(const flatprop_functions_##suffix *flatprop,                     \\
                        const flatprop_network_##suffix *network, real *x, real *out,    \\
                        real *workspace, int64_t times)                                  \\
    {                                                                                    \\
        for (int64_t i = 0; i < times; i++) {                                            \\
            flatprop->forward(network, 1, x, out, workspace);                            \\
            x[0] = out[0];                                                               \\
        }                                                                                \\
    }

DEFINE(float, f32)
DEFINE(double, f64)
"""


def c_library():
    """The loop in C, or None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "chain.c", Path(folder) / "chain.so"
        source.write_text(SOURCE)
        flags = ["-std=c99", "-O2", "-shared", "-fPIC", "-I", fp.get_include()]
        subprocess.run([compiler, *flags, source, "-o", library], check=True)
        return ctypes.CDLL(str(library))


class Callers:
    """The same chain of rows, `times` of them, from each kind of caller."""

    def __init__(self, units, activation, dtype):
        self.net, self.x, _ = problem(units, activation, 1, False, dtype)
        self.first, self.out = self.x.copy(), np.empty((1, units[-1]), dtype)
        self.workspace = np.empty(workspace_size(self.net.layers, 1), dtype)
        self.functions = fp.c_functions(dtype, only=["forward"])
        self.network = fp.c_network(self.net)
        self.forward = self.functions.forward
        self.library = c_library()
        self.callers = {"jitted": self.jitted, "ctypes": self.ctypes, "predict": self.predict}
        if self.library is not None:
            suffix = {"float32": "f32", "float64": "f64"}[dtype]
            self.chain = getattr(self.library, f"chain_{suffix}")
            self.callers["C"] = self.c
        self.check()

    def jitted(self, times):
        network = self.net.layers, self.net.params
        loops.predict_one_by_one(*network, self.x, self.out, self.workspace, times)

    def c(self, times):
        pointers = (array.ctypes.data for array in (self.x, self.out, self.workspace))
        addresses = (self.functions.address, self.network.address, *pointers)
        self.chain(*map(ctypes.c_void_p, addresses), ctypes.c_int64(times))

    def ctypes(self, times):
        for _ in range(times):
            self.forward(self.network, 1, self.x, self.out, self.workspace)
            self.x[0, 0] = self.out[0, 0]

    def predict(self, times):
        for _ in range(times):
            self.out[:] = self.net.predict(self.x)
            self.x[0, 0] = self.out[0, 0]

    def check(self):
        results = []
        for caller in self.callers.values():
            self.x[:] = self.first
            caller(5)
            results.append(self.out.copy())
        assert len({result.tobytes() for result in results}) == 1, results
        assert self.out.any()


class OneRow:
    """Microseconds per row."""

    params = (tuple(CASES), ("jitted", "C", "ctypes", "predict"))
    param_names = ("case", "caller")

    def setup(self, case, caller):
        callers = Callers(*CASES[case]).callers
        if caller not in callers:
            raise NotImplementedError("there is no C compiler here")
        self.call = callers[caller]
        self.times = 200 if caller in ("ctypes", "predict") else 5_000

    def track_row(self, case, caller):
        return loops.median_seconds(lambda: self.call(self.times)) / self.times * 1e6

    track_row.unit = "µs/row"


FIRST_CALL = """
import sys, time
import numba, numpy as np
import flatprop as fp
from flatprop import kernels

@numba.njit
def forward(layers, params, x, out, dL_dx, gradient, workspaces):
    kernels.forward(layers, params, x, out, workspaces[0])

@numba.njit
def vjp(layers, params, x, out, dL_dx, gradient, workspaces):
    kernels.vjp(layers, params, x, out, dL_dx, gradient, workspaces[0])

@numba.njit(parallel=True)
def prange(layers, params, x, out, dL_dx, gradient, workspaces):
    for i in numba.prange(len(x)):
        kernels.forward(layers, params, x[i : i + 1], out[i : i + 1], workspaces[i])

@numba.njit(parallel=True)
def prange_alone(layers, params, x, out, dL_dx, gradient, workspaces):
    for i in numba.prange(len(x)):
        workspaces[i][0] = x[i : i + 1][0, 0] + out[i : i + 1][0, 0] + layers[0].inputs + params[0]

@numba.njit
def nothing(x):
    return x

net = fp.Network(8, [fp.Dense(64, "tanh"), fp.Dense(64, "tanh"), fp.Dense(2)], rng=0)
x, out = np.ones((4, 8), "float32"), np.ones((4, 2), "float32")
workspaces = np.empty((4, kernels.gradient_workspace_size(net.layers, 4)), "float32")
given = net.layers, net.params, x, out, np.empty_like(x), np.zeros_like(net.params), workspaces
nothing(1)  # Numba's own start is no part of it
began = time.perf_counter()
globals()[sys.argv[1]](*given)
print(time.perf_counter() - began)
"""


class FirstCall:
    """Seconds, in a fresh process, flatprop's cache filled; "prange_alone" calls nothing."""

    params = (("forward", "vjp", "prange", "prange_alone"),)
    param_names = ("caller",)
    timeout = 300

    def setup(self, caller):
        self.seconds(caller)

    def seconds(self, caller):
        command = [sys.executable, "-c", FIRST_CALL, caller]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def track_first_call(self, caller):
        return statistics.median(self.seconds(caller) for _ in range(repetitions(3)))

    track_first_call.unit = "s"


class Quad:
    """Milliseconds of SciPy's quad over a network of one input, 32-32 tanh, float64."""

    params = (("low_level_callable", "predict"),)
    param_names = ("integrand",)

    def setup(self, integrand):
        self.quad, self.integrands = quad_and_integrands()
        self.function = self.integrands[integrand]

    def track_quad(self, integrand):
        return loops.median_seconds(lambda: self.quad(self.function, -3, 3)) * 1e3

    track_quad.unit = "ms"


def quad_and_integrands():
    from scipy.integrate import quad

    layers = [fp.Dense(32, "tanh"), fp.Dense(32, "tanh"), fp.Dense(1)]
    net = fp.Network(1, layers, dtype="float64", rng=0)
    integrands = {
        "low_level_callable": fp.low_level_callable(net),
        "predict": lambda x: net.predict([[x]])[0, 0],
    }
    one, other = (quad(integrand, -3, 3) for integrand in integrands.values())
    assert one == other
    return quad, integrands


def rounds(callers, number, rows=4_000):
    """Seconds per row of each caller in each of `number` rounds."""
    found = {name: [] for name in callers}
    for _ in range(number):
        for name, caller in callers.items():
            times = rows // 20 if name in ("ctypes", "predict") else rows
            began = time.perf_counter()
            caller(times)
            found[name].append((time.perf_counter() - began) / times)
    return found


def main():
    print(f"{'one row':24}" + "".join(f"{name:>12}" for name in ("jitted", "C")), end="")
    print(f"{'C / jitted':>22}{'ctypes':>12}{'predict':>12}   medians, µs")
    for case, choice in CASES.items():
        found = rounds(Callers(*choice).callers, 301)
        micro = {name: 1e6 * statistics.median(seconds) for name, seconds in found.items()}
        line = f"{case:24}{micro['jitted']:12.3f}"
        if "C" in found:
            ratios = [c / j for c, j in zip(found["C"], found["jitted"], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            line += f"{micro['C']:12.3f}{f'{middle:.3f} ({low:.2f} to {high:.2f})':>22}"
        else:
            line += f"{'no compiler':>12}{'':22}"
        print(f"{line}{micro['ctypes']:12.3f}{micro['predict']:12.3f}")
    quad, integrands = quad_and_integrands()
    milli = {
        name: 1e3 * loops.median_seconds(lambda f=f: quad(f, -3, 3), 0.5)
        for name, f in integrands.items()
    }
    ratio = milli["predict"] / milli["low_level_callable"]
    times = ", ".join(f"{name} {value:.3f} ms" for name, value in milli.items())
    print(f"\nquad over 1-32-32-1 tanh float64: {times}: {ratio:.0f} times")
    print("\nfirst call of a user's function, flatprop's cache filled:")
    for caller in FirstCall.params[0]:
        FirstCall().setup(caller)
        print(f"{caller:>14} {FirstCall().track_first_call(caller):.3f} s")


if __name__ == "__main__":
    main()
