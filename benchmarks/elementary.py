"""Elementary functions and activations on 4,096 elements, which stay in cache."""

import numpy as np
from scipy import special

from flatprop.formulas.activations import ACTIVATIONS
from flatprop.numbers.elementary import FUNCTIONS

from . import loops

ELEMENTS = 4_096
PASSES = 200
CODES = {function.__name__: code for code, function in enumerate(FUNCTIONS)}
YARDSTICKS = {
    "exp": np.exp,
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "log1p": np.log1p,
    "softplus": lambda x, out: np.logaddexp(x, 0.0, out=out),
    "erf": special.erf,
}
DTYPES = ("float32", "float64")


def samples(dtype, rows=1):
    rng = np.random.default_rng(0)
    return (3 * rng.standard_normal((rows, ELEMENTS))).astype(dtype)


class Elementary:
    """flatprop's functions beside the ufuncs of NumPy and SciPy."""

    params = (tuple(YARDSTICKS), DTYPES, ("flatprop", "numpy"))
    param_names = ("function", "dtype", "library")

    def setup(self, function, dtype, library):
        x = samples(dtype)[0]
        self.x = np.abs(x) if function == "log1p" else x
        self.out, expected = np.empty_like(x), np.empty_like(x)
        self.code, self.ufunc = CODES[function], YARDSTICKS[function]
        self.ufunc(self.x, out=expected)
        loops.apply(self.code, self.x, self.out, 1)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(self.out, expected, rtol=16 * eps, atol=4 * eps)
        self.passes = self.passes_numpy if library == "numpy" else self.passes_flatprop

    def passes_flatprop(self):
        loops.apply(self.code, self.x, self.out, PASSES)

    def passes_numpy(self):
        for _ in range(PASSES):
            self.ufunc(self.x, out=self.out)

    def time_200_passes(self, function, dtype, library):
        self.passes()

    def track_per_element(self, function, dtype, library):
        return loops.median_seconds(self.passes) / (PASSES * ELEMENTS) * 1e9

    track_per_element.unit = "ns/element"


class Activations:
    """Activations as the two passes call them: alone, and with their derivative."""

    params = (tuple(name for name in ACTIVATIONS if name != "softmax"), DTYPES)
    param_names = ("activation", "dtype")

    def setup(self, activation, dtype):
        self.code = ACTIVATIONS[activation].code
        self.sources = samples(dtype, rows=2)
        self.z, self.slope = np.empty((2, ELEMENTS), dtype)
        loops.renew(self.sources, self.z, 1)
        np.testing.assert_array_equal(self.z, self.sources[0])
        self.forward(1)
        alone = self.z.copy()
        self.with_slope(1)
        np.testing.assert_array_equal(self.z, alone)

    def forward(self, passes=PASSES):
        loops.activate(self.code, self.sources, self.z, passes)

    def with_slope(self, passes=PASSES):
        loops.activate_with_slope(self.code, self.sources, self.z, self.slope, passes)

    def per_element(self, passes):
        """Without the time it takes to make z anew."""
        renewing = loops.median_seconds(
            lambda: loops.renew(self.sources, self.z, PASSES), budget=0.02
        )
        seconds = loops.median_seconds(passes, budget=0.06)
        return (seconds - renewing) / (PASSES * ELEMENTS) * 1e9

    def track_forward_per_element(self, activation, dtype):
        return self.per_element(self.forward)

    def track_with_slope_per_element(self, activation, dtype):
        return self.per_element(self.with_slope)

    track_forward_per_element.unit = "ns/element"
    track_with_slope_per_element.unit = "ns/element"


class ActivationTimes(Activations):
    """Whole passes, with making z anew (0.05 ns/element or so)."""

    params = (Activations.params[0], ("float32",))
    track_forward_per_element = None
    track_with_slope_per_element = None

    def time_200_forward_passes(self, activation, dtype):
        self.forward()

    def time_200_passes_with_slope(self, activation, dtype):
        self.with_slope()
