"""Training with the user's own activation or loss of a row, beside the same one built in.

python -m benchmarks.own_functions      # all of them, alternating; median and range
"""

import math
import statistics
import time

import numba
import numpy as np

import flatprop as fp

from .training import LEARNING_RATE, problem


@numba.njit
def relu(z):
    return (z, 1.0) if z > 0 else (0.0, 0.0)


@numba.njit
def tanh(z):
    a = math.tanh(z)
    return a, 1 - a * a


@numba.njit
def silu(z):
    s = 1 / (1 + math.exp(-z))
    a = z * s
    return a, s + a * (1 - s)


@numba.njit
def mse(prediction, y):
    return (prediction - y) ** 2, 2 * (prediction - y)


@numba.njit
def gaussian_nll(prediction, y, slope):
    value, targets = 0.0, y.size
    for k in range(targets):
        s = prediction[targets + k]
        precision, d = math.exp(-s), y[k] - prediction[k]
        value += 0.5 * (math.log(2 * math.pi) + s + d * d * precision)
        slope[k] = -d * precision
        slope[targets + k] = 0.5 - 0.5 * d * d * precision
    return value


FUNCTIONS = {"relu": relu, "tanh": tanh, "silu": silu}
CASES = {
    # units, rows, epochs in one call of fit
    "8-32-32-1, 64 rows": ((8, 32, 32, 1), 64, 2_000),
    "4-64-64-2, 64 rows": ((4, 64, 64, 2), 64, 1_000),
    "784-128-10, 32 rows": ((784, 128, 10), 32, 200),
}


class _Ratios:
    """How many times as long a step takes with own functions as with built-in ones."""

    params = (tuple(CASES), tuple(FUNCTIONS), ("float32",))  # the script does float64, too
    param_names = ("case", "activation", "dtype")
    rounds = 5

    def fit(self, net, epochs):
        optimizer = fp.SGD(LEARNING_RATE)
        return net.fit(self.x, self.y, optimizer=optimizer, epochs=epochs, batch_size=None)

    def check(self, dtype):
        """Both train alike; compiles what is needed."""
        self.own.params = self.built_in.params
        ours, theirs = (self.fit(net, 5).loss for net in (self.own, self.built_in))
        np.testing.assert_allclose(ours, theirs, rtol=100 * np.finfo(dtype).eps)

    def ratios(self):
        found = []
        for _ in range(self.rounds):
            durations = []
            for net in (self.own, self.built_in):
                began = time.perf_counter()
                self.fit(net, self.epochs)
                durations.append(time.perf_counter() - began)
            found.append(durations[0] / durations[1])
        return found

    def track_ratio(self, *case):
        return statistics.median(self.ratios())

    track_ratio.unit = "times as long"


class OwnActivation(_Ratios):
    """With an own activation and an own loss of one output."""

    def setup(self, case, activation, dtype):
        units, rows, self.epochs = CASES[case]
        self.built_in, self.x, self.y = problem(units, activation, rows, False, dtype)
        hidden = [fp.Dense(n, FUNCTIONS[activation]) for n in units[1:-1]]
        self.own = fp.Network(units[0], [*hidden, fp.Dense(units[-1])], mse, dtype)
        self.check(dtype)


class OwnRowLoss(_Ratios):
    """With an own loss of a whole row, beside "gaussian_nll"."""

    params = (tuple(CASES), ("tanh",), ("float32",))

    def setup(self, case, activation, dtype):
        (inputs, *hidden, last), rows, self.epochs = CASES[case]
        rng = np.random.default_rng(0)
        targets = max(last // 2, 1)
        self.x = rng.normal(size=(rows, inputs)).astype(dtype)
        self.y = rng.normal(size=(rows, targets)).astype(dtype)
        layers = [*(fp.Dense(n, activation) for n in hidden), fp.Dense(2 * targets)]
        self.built_in = fp.Network(inputs, layers, "gaussian_nll", dtype, rng=0)
        self.own = fp.Network(inputs, layers, fp.losses.Row(gaussian_nll, targets), dtype)
        self.check(dtype)


def main():
    for suite, activations in ((OwnActivation(), FUNCTIONS), (OwnRowLoss(), ("tanh",))):
        suite.rounds = 11
        for dtype in ("float32", "float64"):
            for case in CASES:
                for activation in activations:
                    suite.setup(case, activation, dtype)
                    found = suite.ratios()
                    median = f"{statistics.median(found):5.2f}"
                    spread = f"{min(found):.2f} to {max(found):.2f}"
                    what = f"{type(suite).__name__:13}  {dtype}  {case:20} {activation:5}"
                    print(f"{what} {median}  ({spread})")


if __name__ == "__main__":
    main()
