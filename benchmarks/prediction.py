"""Latency of the calls that a program makes one at a time."""

import numpy as np

from flatprop.kernels import workspace_size

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


class Embedded(Calls):
    """One row after the other in jitted code, each waiting for the one before."""

    params = (("8-64-64-2 tanh, 1 row", "16-64-64-4 relu, 1 row"),)
    steps = 5_000

    def check(self):
        self.row, self.out = self.x.copy(), np.empty((1, self.net.outputs), "float32")
        self.workspace = np.empty(workspace_size(self.net.layers, 1), "float32")
        expected = self.x.copy()
        for _ in range(3):
            last = self.numpy.predict(expected)
            expected[0, 0] = last[0, 0]
        self.iterate(3)
        np.testing.assert_allclose(self.out, last, rtol=1e-4, atol=1e-5)

    def iterate(self, steps):
        network = self.net.layers, self.net.params
        loops.predict_one_by_one(*network, self.row, self.out, self.workspace, steps)

    def time_5000_steps(self, case):
        self.iterate(self.steps)

    def track_step(self, case):
        return loops.median_seconds(lambda: self.iterate(self.steps)) / self.steps * 1e6

    track_step.unit = "µs/step"


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
