"""The three matrix products of backpropagation, and what follows, beside NumPy's."""

import numpy as np

from flatprop.kernels.products import matmul

from . import loops

SHAPES = (
    "1·64·64",
    "64·8·32",
    "64·32·1",
    "64·32·32",
    "32·784·128",
    "128·256·256",
    "256·2048·2048",
)
"""Rows · inputs · units."""
WORK = 20_000_000
"""Floating-point operations between two looks at the clock."""


class Products:
    """`forward` is x W + b, `weights` is xᵀ dL/dz, and `inputs` is slope · dL/dz Wᵀ."""

    params = (("forward", "weights", "inputs"), SHAPES, ("float32", "float64"))
    param_names = ("product", "shape", "dtype")

    def setup(self, product, shape, dtype):
        rows, inputs, units = map(int, shape.split("·"))
        rng = np.random.default_rng(0)

        def draw(*size):
            return rng.standard_normal(size).astype(dtype)

        x, W, b, dL_dz = draw(rows, inputs), draw(inputs, units), draw(1, units), draw(rows, units)
        slope = draw(rows, inputs)
        # the kernel, its operands, and the same for NumPy: factors, and what comes after
        self.compiled, self.operands, self.factors, finish, size = {
            "forward": (loops.affine, (x, W, b), (x, W), np.add, (rows, units)),
            "weights": (
                loops.product_transposed_left,
                (x, dL_dz, 1.0, False),
                (x.T, dL_dz),
                None,
                (inputs, units),
            ),
            "inputs": (
                loops.product_transposed_right,
                (dL_dz, W, slope),
                (dL_dz, W.T),
                np.multiply,
                (rows, inputs),
            ),
        }[product]
        self.out = np.empty(size, dtype)
        self.scratch = np.empty(matmul.scratch_size(rows, max(inputs, units)), dtype)
        self.flop = 2 * rows * inputs * units
        self.times = max(1, WORK // self.flop)
        self.finish = finish and (lambda out: finish(out, self.operands[-1], out=out))

        expected = np.matmul(*self.factors)
        if self.finish:
            self.finish(expected)
        self.compiled(*self.operands, self.out, self.scratch, 1)
        eps, terms = np.finfo(dtype).eps, self.factors[0].shape[1]
        np.testing.assert_allclose(self.out, expected, rtol=100 * eps, atol=10 * terms * eps)

    def with_flatprop(self):
        self.compiled(*self.operands, self.out, self.scratch, self.times)

    def with_numpy(self):
        for _ in range(self.times):
            np.matmul(*self.factors, out=self.out)
            if self.finish:
                self.finish(self.out)

    def rate(self, call):
        return self.flop * self.times / loops.median_seconds(call) / 1e9

    def track_flatprop(self, product, shape, dtype):
        return self.rate(self.with_flatprop)

    def track_numpy(self, product, shape, dtype):
        return self.rate(self.with_numpy)

    def track_share_of_gemm_peak(self, product, shape, dtype):
        return 100 * self.rate(self.with_flatprop) / loops.sgemm_rate(dtype)

    track_flatprop.unit = track_numpy.unit = "GFLOP/s"
    track_share_of_gemm_peak.unit = "%"


class ProductTimes(Products):
    """As many products as make 20 MFLOP."""

    params = (*Products.params[:2], ("float32",))
    track_flatprop = track_numpy = track_share_of_gemm_peak = None

    def time_20_mflop(self, product, shape, dtype):
        self.with_flatprop()
