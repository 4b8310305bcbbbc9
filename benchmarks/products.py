"""The three matrix products of backpropagation, and what follows, beside OpenBLAS.

`python -m benchmarks.products [--avx2]` prints a table, on one thread. Everybody in a row takes
turns, so that what the machine does meanwhile happens to all.

| column | what it takes |
| --- | --- |
| flatprop | the product with what follows: x W + b, W + alpha xᵀ dL/dz, slope · dL/dz Wᵀ |
| NumPy | `np.matmul` alone, into an array that is there |
| NumPy + | and what follows |
| SciPy | `gemm` alone; `W + alpha xᵀ dL/dz` in one call |
| FMA | a loop of multiplications and additions in registers: what the processor has |
"""

import argparse
import sys
import time

from . import machine

if __name__ == "__main__":  # before OpenBLAS looks at the processor
    machine.restart("benchmarks.products", avx2="--avx2" in sys.argv)

import numpy as np
import scipy.linalg.blas

from flatprop.kernels.products import matmul

from . import loops

SHAPES = (
    "1·64·64",
    "64·8·32",
    "64·32·1",
    "64·32·32",
    "64·64·64",
    "32·784·128",
    "128·128·128",
    "128·256·256",
    "128·512·512",
    "264·1024·1024",
    "256·2048·2048",
)
"""Rows · inputs · units."""
PRODUCTS = ("forward", "weights", "inputs")
WORK = 20_000_000
"""Floating-point operations between two looks at the clock."""
STEPS = 1000
"""Of the loop of multiplications and additions, in one call."""


class Products:
    """`forward` is x W + b, `weights` is W + alpha xᵀ dL/dz, `inputs` is slope · dL/dz Wᵀ."""

    params = (PRODUCTS, SHAPES, ("float32", "float64"))
    param_names = ("product", "shape", "dtype")

    def setup(self, product, shape, dtype):
        rows, inputs, units = map(int, shape.split("·"))
        rng = np.random.default_rng(0)

        def draw(*size):
            return rng.standard_normal(size).astype(dtype)

        x, W, b, dL_dz = draw(rows, inputs), draw(inputs, units), draw(1, units), draw(rows, units)
        slope = draw(rows, inputs)
        gemm = getattr(scipy.linalg.blas, "sgemm" if dtype == "float32" else "dgemm")
        # The kernel, its operands, the factors and what comes after them for NumPy, and gemm's
        # operands, which takes columns for rows.
        if product == "forward":
            self.compiled, self.operands, self.factors = loops.affine, (x, W, b), (x, W)
            self.out, fortran = np.zeros((rows, units), dtype), ((W.T, x.T), {})
            self.finish = lambda out: np.add(out, b, out=out)
        elif product == "weights":
            self.compiled, self.operands = loops.product_transposed_left, (x, dL_dz, 1e-6, True)
            self.factors = x.T, dL_dz
            self.out, more = np.zeros((inputs, units), dtype), np.zeros((inputs, units), dtype)
            fortran = (dL_dz.T, x.T), {"trans_b": True, "beta": 1.0}
            self.finish = lambda out: np.add(out, np.multiply(out, 1e-6, out=more), out=out)
        else:
            self.compiled, self.operands = loops.product_transposed_right, (dL_dz, W, slope)
            self.factors = dL_dz, W.T
            self.out, fortran = (
                np.zeros((rows, inputs), dtype),
                ((W.T, dL_dz.T), {"trans_a": True}),
            )
            self.finish = lambda out: np.multiply(out, slope, out=out)
        self.scratch = np.empty(matmul.scratch_size(rows, max(inputs, units)), dtype)
        self.flop = 2 * rows * inputs * units
        self.times = max(1, WORK // self.flop)
        self.gemm = lambda: gemm(
            1e-6 if product == "weights" else 1.0,
            *fortran[0],
            **fortran[1],
            c=self.out.T,
            overwrite_c=True,
        )
        self.chains = np.zeros(loops.CHAINS * 64, dtype)
        self.check(product)

    def check(self, product):
        """The kernel and gemm against NumPy."""
        expected = np.matmul(*self.factors)
        terms, eps = self.factors[0].shape[1], np.finfo(expected.dtype).eps
        if product != "weights":
            self.finish(expected)
        self.compiled(*self.operands, self.out, self.scratch, 1)
        scale = 1e6 if product == "weights" else 1
        near = {"rtol": 100 * eps, "atol": 10 * terms * eps}
        np.testing.assert_allclose(scale * self.out, expected, **near)
        self.out[:] = 0
        result = self.gemm()
        assert np.shares_memory(result, self.out)

    def with_flatprop(self):
        self.compiled(*self.operands, self.out, self.scratch, self.times)

    def with_numpy(self):
        for _ in range(self.times):
            np.matmul(*self.factors, out=self.out)

    def with_numpy_and_finish(self):
        for _ in range(self.times):
            np.matmul(*self.factors, out=self.out)
            self.finish(self.out)

    def with_scipy(self):
        for _ in range(self.times):
            self.gemm()

    def with_multiplications(self):
        """A loop of as many floating-point operations, more or less; it returns how many."""
        numbers = loops.multiplications(0, self.chains)
        steps = self.flop * self.times // (2 * numbers)
        return 2 * steps * loops.multiplications(steps, self.chains)

    def rate(self, call):
        return self.flop * self.times / loops.median_seconds(call) / 1e9

    def track_flatprop(self, product, shape, dtype):
        return self.rate(self.with_flatprop)

    def track_numpy(self, product, shape, dtype):
        return self.rate(self.with_numpy_and_finish)

    def track_share_of_multiplications(self, product, shape, dtype):
        seconds = loops.median_seconds(self.with_multiplications)
        return 100 * self.rate(self.with_flatprop) * seconds * 1e9 / self.with_multiplications()

    track_flatprop.unit = track_numpy.unit = "GFLOP/s"
    track_share_of_multiplications.unit = "%"


class ProductTimes(Products):
    """As many products as make 20 MFLOP."""

    params = (*Products.params[:2], ("float32",))
    track_flatprop = track_numpy = track_share_of_multiplications = None

    def time_20_mflop(self, product, shape, dtype):
        self.with_flatprop()


CONTESTANTS = ("flatprop", "numpy", "numpy_and_finish", "scipy", "multiplications")


def rates(case, budget):
    """GFLOP/s of every contestant in each of several rounds, in which all take turns."""
    calls = [getattr(case, f"with_{name}") for name in CONTESTANTS]
    found = []
    end = time.perf_counter() + budget
    while len(found) < 5 or time.perf_counter() < end:
        found.append([])
        for call in calls:
            began = time.perf_counter()
            done = call() or case.flop * case.times
            found[-1].append(done / (time.perf_counter() - began) / 1e9)
    return np.array(found[1:])


def main():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.products", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--products", default=",".join(PRODUCTS))
    parser.add_argument("--dtypes", default="float32,float64")
    parser.add_argument("--budget", type=float, default=0.25, help="seconds for a row")
    parser.add_argument("--avx2", action="store_true", help="hold flatprop and BLAS to AVX2")
    given = parser.parse_args()
    print(machine.kind())
    print(f"{'':32}GFLOP/s (quartiles of flatprop)               flatprop / ...")
    print(f"{'':32}flatprop           NumPy  NumPy + SciPy  FMA    NumPy  NumPy + SciPy  FMA")
    for dtype in given.dtypes.split(","):
        for product in given.products.split(","):
            for shape in given.shapes.split(","):
                case = Products()
                case.setup(product, shape, dtype)
                found = rates(case, given.budget)
                ours, *others = np.median(found, axis=0)
                low, high = np.quantile(found[:, 0], [0.25, 0.75])
                ratios = [np.median(found[:, 0] / other) for other in found.T[1:]]
                print(
                    f"{dtype:8} {product:8} {shape:14}{ours:5.1f} ({low:.1f}-{high:.1f})".ljust(
                        51
                    ),
                    *(f"{rate:6.1f}" for rate in others),
                    "  ",
                    *(f"{ratio:6.2f}" for ratio in ratios),
                    flush=True,
                )


if __name__ == "__main__":
    main()
