"""Where the time of a training step goes, and how it grows.

    python -m benchmarks.breakdown [--avx2]

For each workload the kernels of a step are timed one by one at the sizes that the step
has, with data in the cache as the step would find them, and set beside the whole step
and beside two floors: the operations over the gemm peak, and the bytes of the parameters,
which a step reads twice and writes once, over the bandwidth of a copy.
"""

import argparse
import os
import sys
import time

from . import machine

if __name__ == "__main__":  # before a thread pool starts
    machine.restart("benchmarks.breakdown", avx2="--avx2" in sys.argv)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import numpy as np

import flatprop as fp
from flatprop.evaluation import calls
from flatprop.formulas.activations import ACTIVATIONS
from flatprop.kernels.products.matmul import scratch_size

from . import loops
from .training import CASES, operations, problem


def seconds(loop, *arguments, budget=0.1):
    """The median time of one of the repetitions that the last argument of `loop` asks for."""
    loop(*arguments, 1)
    times = 1
    while True:
        began = time.perf_counter()
        loop(*arguments, times)
        if time.perf_counter() - began > 0.002:
            break
        times *= 4
    return loops.median_seconds(lambda: loop(*arguments, times), budget) / times


def step_seconds(net, x, y, epochs):
    options = {"optimizer": fp.SGD(1e-4), "batch_size": None, "shuffle": False}
    net.fit(x, y, epochs=2, **options)
    return loops.median_seconds(lambda: net.fit(x, y, epochs=epochs, **options), 0.4) / epochs


def copy_rate():
    """Bytes per second, read and written, of a copy that no cache holds."""
    source = np.ones(2**26, "float32")
    out = np.ones_like(source)
    return 2 * source.nbytes / loops.median_seconds(lambda: np.copyto(out, source), 0.3)


def steadily(measure, tries=6):
    """What `measure()` gives, and the gemm peak meanwhile, once that has not changed.

    The clock of a shared machine may fall by a third for seconds; what was measured across
    such a change is measured again.
    """
    for _ in range(tries):
        before = loops.sgemm_rate()
        result = measure()
        after = loops.sgemm_rate()
        if abs(after - before) < 0.06 * before:
            break
    return result, (before + after) / 2 * 1e9


def parts(net, rows):
    """Seconds of each kind of kernel in one step of plain gradient descent."""
    dtype, rng = net.dtype, np.random.default_rng(0)
    block = calls.block_rows(net)
    blocks = -(-rows // block)
    rows = -(-rows // blocks)
    found = dict.fromkeys(("forward", "weights", "inputs", "biases", "activations"), 0.0)

    def draw(*size):
        return rng.standard_normal(size).astype(dtype)

    last = len(net.dense) - 1
    for number, (layer, W) in enumerate(zip(net.dense, net.weights, strict=True)):
        inputs, units = W.shape
        scratch = np.empty(scratch_size(rows, max(inputs, units)), dtype)
        x, b, z, d, W = (
            draw(rows, inputs),
            draw(1, units),
            draw(rows, units),
            draw(rows, units),
            W.copy(),
        )
        slope, dx = draw(rows, inputs), draw(rows, inputs)
        left, right = loops.product_transposed_left, loops.product_transposed_right
        found["forward"] += seconds(loops.affine, x, W, b, z, scratch)
        found["weights"] += seconds(left, x, d, 1e-9, True, W, scratch)
        found["biases"] += seconds(loops.column_sums, d, 1e-9, True, b, scratch)
        if number > 0:
            found["inputs"] += seconds(right, d, W, slope, dx, scratch)
        if number < last and layer.activation != "relu":  # which the products take care of
            code = ACTIVATIONS[layer.activation].code
            sources, z, slope = draw(2, rows * units), draw(rows * units), draw(rows * units)
            both = seconds(loops.activate_with_slope, code, sources, z, slope)
            found["activations"] += both - seconds(loops.renew, sources, z)
    return {name: value * blocks for name, value in found.items()}


def measured(net, x, y, epochs):
    """Seconds of a step and of its parts, and the gemm peak meanwhile."""

    def both():
        return step_seconds(net, x, y, epochs), parts(net, len(x))

    (step, found), peak = steadily(both)
    return step, found, peak


def workloads(rate):
    names = ("forward", "weights", "inputs", "biases", "activations")
    head = ("step µs", "floor µs", "of peak", "bytes µs", *names, "rest")
    print(f"{'':42}" + "".join(f"{name:>12}" for name in head))
    for case, (units, _, rows, epochs) in CASES.items():
        net, x, y = problem(units, CASES[case][1], rows, case.endswith("classes"), "float32")
        step, found, peak = measured(net, x, y, epochs)
        floor = operations(units, rows) / peak
        travel = 3 * net.params.nbytes / rate
        rest = step - sum(found.values())
        shares = [*(found[name] / step for name in names), rest / step]
        numbers = (1e6 * step, 1e6 * floor, f"{floor / step:.0%}", 1e6 * travel)
        cells = [f"{n:12.2f}" if isinstance(n, float) else f"{n:>12}" for n in numbers]
        cells += [f"{share:12.0%}" for share in shares]
        print(f"{case:42}" + "".join(cells), flush=True)


def growth():
    """Steps of nets that differ in one thing; relu, mse, 16 inputs and 4 outputs."""

    def step(width, depth, rows):
        net, x, y = problem((16, *[width] * depth, 4), "relu", rows, False, "float32")
        flop = operations(net_units(net), rows)
        taken, peak = steadily(lambda: step_seconds(net, x, y, 3 + 2_000_000_000 // flop))
        return net.params.size, flop, taken, peak

    for title, cases in (
        ("width", [(width, 2, 64) for width in (4, 16, 32, 64, 128, 256, 512, 1024)]),
        ("depth", [(64, depth, 64) for depth in (1, 2, 4, 8, 16)]),
        ("batch", [(64, 2, rows) for rows in (1, 4, 16, 64, 256, 1024, 4096)]),
    ):
        print(f"\n{title:>8} {'parameters':>12} {'µs/step':>10} {'of peak':>10} {'ns/row':>10}")
        for case in cases:
            size, flop, taken, peak = step(*case)
            value = {"width": case[0], "depth": case[1], "batch": case[2]}[title]
            print(
                f"{value:8} {size:12,} {1e6 * taken:10.2f} {flop / taken / peak:10.0%} "
                f"{1e9 * taken / case[2]:10.1f}",
                flush=True,
            )


def net_units(net):
    return (net.inputs, *(layer.units for layer in net.dense))


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.breakdown")
    parser.add_argument("--avx2", action="store_true", help="hold every library to AVX2")
    parser.parse_args()
    print(machine.kind())
    rate = copy_rate()
    print(f"gemm peak {loops.sgemm_rate():.0f} GFLOP/s, copy {rate / 1e9:.1f} GB/s\n")
    workloads(rate)
    growth()


if __name__ == "__main__":
    main()
