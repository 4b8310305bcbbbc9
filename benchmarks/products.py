"""The three matrix products of backpropagation beside NumPy's, at its shapes."""

import numpy as np

from . import loops

SHAPES = (
    "1·64·64",
    "64·8·32",
    "64·32·1",
    "64·32·32",
    "32·784·128",
    "128·256·256",
)
"""Rows · inputs · units."""
WORK = 20_000_000
"""Floating-point operations between two looks at the clock."""


class Products:
    """`forward` is x W, `weights` is xᵀ dL/dz, and `inputs` is dL/dz Wᵀ."""

    params = (("forward", "weights", "inputs"), SHAPES, ("float32", "float64"))
    param_names = ("product", "shape", "dtype")

    def setup(self, product, shape, dtype):
        rows, inputs, units = map(int, shape.split("·"))
        rng = np.random.default_rng(0)
        x, W, dL_dz = (
            rng.standard_normal(size).astype(dtype)
            for size in ((rows, inputs), (inputs, units), (rows, units))
        )
        self.compiled, a, b, left, right, size = {
            "forward": (loops.product, x, W, x, W, (rows, units)),
            "weights": (loops.product_transposed_left, x, dL_dz, x.T, dL_dz, (inputs, units)),
            "inputs": (loops.product_transposed_right, dL_dz, W, dL_dz, W.T, (rows, inputs)),
        }[product]
        self.factors, self.operands = (a, b), (left, right)
        self.out = np.empty(size, dtype)
        self.flop = 2 * rows * inputs * units
        self.times = max(1, WORK // self.flop)

        self.compiled(a, b, self.out, 1)
        tolerance = 100 * np.finfo(dtype).eps
        np.testing.assert_allclose(self.out, left @ right, rtol=tolerance, atol=10 * tolerance)

    def with_flatprop(self):
        self.compiled(*self.factors, self.out, self.times)

    def with_numpy(self):
        left, right = self.operands
        for _ in range(self.times):
            np.matmul(left, right, out=self.out)

    def rate(self, call):
        return self.flop * self.times / loops.median_seconds(call) / 1e9

    def track_flatprop(self, product, shape, dtype):
        return self.rate(self.with_flatprop)

    def track_numpy(self, product, shape, dtype):
        return self.rate(self.with_numpy)

    track_flatprop.unit = track_numpy.unit = "GFLOP/s"


class ProductTimes(Products):
    """As many products as make 20 MFLOP."""

    params = (*Products.params[:2], ("float32",))
    track_flatprop = track_numpy = None

    def time_20_mflop(self, product, shape, dtype):
        self.with_flatprop()
