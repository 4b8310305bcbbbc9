"""Latency of the calls that a program makes one at a time."""

import numpy as np

from . import loops
from .training import problem
from .yardstick import NumPyNetwork

CASES = {
    # units, hidden activation, rows, calls between two looks at the clock
    "8-64-64-2 tanh, 1 row": ((8, 64, 64, 2), "tanh", 1, 500),
    "16-64-64-4 relu, 1 row": ((16, 64, 64, 4), "relu", 1, 500),
    "16-64-64-4 relu, 32 rows": ((16, 64, 64, 4), "relu", 32, 200),
    "16-64-64-4 relu, 1024 rows": ((16, 64, 64, 4), "relu", 1_024, 5),
    "16-64-64-4 relu, 100000 rows": ((16, 64, 64, 4), "relu", 100_000, 1),
    "784-256-10 relu, 1 row": ((784, 256, 10), "relu", 1, 100),
    "784-256-10 relu, 1024 rows": ((784, 256, 10), "relu", 1_024, 1),
}


class Calls:
    params = (tuple(CASES),)
    param_names = ("case",)

    def setup(self, case):
        units, activation, rows, self.calls = CASES[case]
        self.net, self.x, self.y = problem(units, activation, rows, False, "float32")
        self.numpy = NumPyNetwork(self.net, learning_rate=0.0)
        self.check()

    def repeat(self, function, *arguments):
        for _ in range(self.calls):
            function(*arguments)

    def latency(self, function, *arguments):
        seconds = loops.median_seconds(lambda: self.repeat(function, *arguments))
        return seconds / self.calls * 1e6


class Predict(Calls):
    """Calls of `net.predict`, in `time_` as many as `CASES` says."""

    def check(self):
        expected = self.numpy.predict(self.x)
        np.testing.assert_allclose(self.net.predict(self.x), expected, rtol=1e-4, atol=1e-5)

    def time_calls(self, case):
        self.repeat(self.net.predict, self.x)

    def track_flatprop(self, case):
        return self.latency(self.net.predict, self.x)

    def track_numpy(self, case):
        return self.latency(self.numpy.predict, self.x)

    track_flatprop.unit = track_numpy.unit = "µs/call"


class LossAndGradient(Calls):
    """Calls of `net.loss_and_gradient`, in `time_` as many as `CASES` says."""

    def check(self):
        loss, gradient = self.net.loss_and_gradient(self.x, self.y)
        expected = self.numpy.loss_and_gradient(self.x, self.y)
        np.testing.assert_allclose(loss, expected, rtol=1e-4)
        np.testing.assert_allclose(gradient, self.numpy.gradient, rtol=1e-3, atol=1e-5)

    def time_calls(self, case):
        self.repeat(self.net.loss_and_gradient, self.x, self.y)

    def track_flatprop(self, case):
        return self.latency(self.net.loss_and_gradient, self.x, self.y)

    def track_numpy(self, case):
        return self.latency(self.numpy.loss_and_gradient, self.x, self.y)

    track_flatprop.unit = track_numpy.unit = "µs/call"
