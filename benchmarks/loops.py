"""Compiled loops around what only compiled code can call, and a stopwatch.

asv times one call after every `setup`, and the intrinsics take microseconds, so
each is repeated within the call.
"""

import statistics
import time

import numpy as np
from numba.core import types

from flatprop.kernels import forward
from flatprop.kernels.compile import entry_point
from flatprop.kernels.loops import elementwise
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import INT64, cases, registers
from flatprop.kernels.products import matmul
from flatprop.kernels.products.operands import POINTER
from flatprop.kernels.products.tiles import Tiles
from flatprop.numbers import elementary

from .repetitions import duration, repetitions

CHAINS = 12
"""Registers of sums in the loop of multiplications: more than are under way at once."""


@routine(code=types.int64)
def one_pass(builder, code, x, out):
    """out ← the elementary function `code` of x; they may be one array."""
    for function in cases(builder, code, elementary.FUNCTIONS):
        for register in registers(x, out, written_only=1):
            register.store(function(register[0]), 1)


@entry_point
def apply(code, x, out, times):
    for _ in range(times):
        one_pass(code, x, out)


@entry_point
def activate(code, sources, z, times):
    """z is overwritten, and so made anew from one of two sources every time."""
    for i in range(times):
        source = sources[i & 1]
        for j in range(z.size):
            z[j] = source[j]
        elementwise.activate(code, 0, z)


@entry_point
def activate_with_slope(code, sources, z, slope, times):
    for i in range(times):
        source = sources[i & 1]
        for j in range(z.size):
            z[j] = source[j]
        elementwise.activate_with_slope(code, 0, z, slope)


@entry_point
def renew(sources, z, times):
    """What the two above do besides."""
    for i in range(times):
        source = sources[i & 1]
        for j in range(z.size):
            z[j] = source[j]


@entry_point
def affine(x, W, b, out, scratch, times):
    for _ in range(times):
        matmul.affine(x, W, b, False, out, scratch)


@entry_point
def product_transposed_left(a, b, alpha, accumulate, out, scratch, times):
    for _ in range(times):
        matmul.product_transposed_left(a, b, 0, alpha, accumulate, out, scratch)


@entry_point
def column_sums(a, alpha, accumulate, out, scratch, times):
    for _ in range(times):
        matmul.column_sums(a, alpha, accumulate, out, scratch)


@entry_point
def product_transposed_right(a, b, factor, out, scratch, times):
    for _ in range(times):
        matmul.product_transposed_right(a, b, factor, False, out, scratch)


@routine(types.int64, steps=types.int64)
def multiply_and_add(builder, steps, out):
    """`steps` times one fused multiplication and addition for each number of 12 registers.

    The first so many numbers of `out`, which should be 0; the result says how many.
    """
    tiles = Tiles(builder, out.element, out.masks)
    vectors = CHAINS if out.masks else CHAINS // 2
    places = [tiles.vector_at(builder.bitcast(out.data, POINTER), j) for j in range(vectors)]
    factor = tiles.load(places[0])

    def step(walk, sums):
        return walk, [tiles.fma(factor, total, factor) for total in sums]

    _, sums = tiles.repeat(steps, step, [], [tiles.load(place) for place in places])
    for place, total in zip(places, sums, strict=True):
        tiles.store(total, place)
    return INT64(vectors * tiles.lanes)


@entry_point
def multiplications(steps, out):
    return multiply_and_add(steps, out)


@entry_point
def predict_one_by_one(layers, params, x, out, workspace, times):
    """Each row but the first begins with what the last one gave: nothing can overlap."""
    for _ in range(times):
        forward(layers, params, x, out, workspace)
        x[0, 0] = out[0, 0]


# With the launch method "forkserver" asv imports the suite once and forks a process for
# every case; Numba's own start, a quarter of a second, belongs before that.
renew(np.zeros((2, 1)), np.zeros(1), 0)


def sgemm_rate(dtype="float32", size=1536, rounds=3):
    """What NumPy's BLAS reaches with large square matrices, in GFLOP/s."""
    a = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
    out = np.empty_like(a)
    durations = []
    for _ in range(repetitions(rounds)):
        began = time.perf_counter()
        np.matmul(a, a, out=out)
        durations.append(time.perf_counter() - began)
    return 2 * size**3 / min(durations) / 1e9


def median_seconds(call, budget=0.06, at_least=5):
    """The median duration of `call()`, repeated for `budget` seconds."""
    durations = []
    end = time.perf_counter() + duration(budget)
    while len(durations) < repetitions(at_least) or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        durations.append(time.perf_counter() - began)
    return statistics.median(durations)
