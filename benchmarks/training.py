"""What one update costs, with Python's share spread over many of them."""

from itertools import pairwise

import numpy as np

import flatprop as fp

from . import loops
from .yardstick import NumPyNetwork

CASES = {
    # units, hidden activation, rows, epochs in one call of fit
    "2-4-1 tanh, 4 rows": ((2, 4, 1), "tanh", 4, 20_000),
    "8-32-32-1 relu, 64 rows": ((8, 32, 32, 1), "relu", 64, 2_000),
    "4-64-64-2 tanh, 64 rows": ((4, 64, 64, 2), "tanh", 64, 1_000),
    "4-32-16-4 relu, 10000 rows": ((4, 32, 16, 4), "relu", 10_000, 20),
    "784-128-10 relu, 32 rows, classes": ((784, 128, 10), "relu", 32, 100),
    "784-256-256-10 relu, 128 rows, classes": ((784, 256, 256, 10), "relu", 128, 10),
    "100-512-512-1 relu, 128 rows": ((100, 512, 512, 1), "relu", 128, 10),
    "1024-2048-2048-10 relu, 256 rows, classes": ((1024, 2048, 2048, 10), "relu", 256, 2),
}


def operations(units, rows):
    """Floating-point operations of one update: three products a layer, two for the first."""
    sizes = [inputs * outputs for inputs, outputs in pairwise(units)]
    return 2 * rows * (3 * sum(sizes) - sizes[0])


LEARNING_RATE = 1e-3
OPTIMIZERS = {"sgd": fp.SGD(LEARNING_RATE), "adam": fp.Adam(LEARNING_RATE)}


def problem(units, activation, rows, classes, dtype):
    """A network, and samples that are noise."""
    hidden = [fp.Dense(n, activation) for n in units[1:-1]]
    last = fp.Dense(units[-1], "softmax" if classes else "identity")
    loss = "cross_entropy" if classes else "mse"
    net = fp.Network(units[0], [*hidden, last], loss, dtype, rng=0)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, units[0])).astype(dtype)
    if classes:
        return net, x, rng.integers(0, units[-1], rows)
    return net, x, rng.standard_normal((rows, units[-1])).astype(dtype)


class FullBatch:
    """One update from all rows; fit against the same in plain NumPy."""

    params = (tuple(CASES), tuple(OPTIMIZERS))
    param_names = ("case", "optimizer")
    dtype = "float32"

    def setup(self, case, optimizer):
        units, activation, rows, self.epochs = CASES[case]
        self.optimizer = OPTIMIZERS[optimizer]
        self.net, self.x, self.y = problem(
            units, activation, rows, case.endswith("classes"), self.dtype
        )
        self.numpy = NumPyNetwork(self.net, LEARNING_RATE, adam=optimizer == "adam")
        expected = [self.numpy.step(self.x, self.y) for _ in range(4)]
        losses = self.fit(epochs=4).loss
        np.testing.assert_allclose(losses, expected, rtol=100 * np.finfo(self.dtype).eps)
        assert losses[-1] != losses[0]

    def fit(self, epochs):
        return self.net.fit(
            self.x,
            self.y,
            optimizer=self.optimizer,
            epochs=epochs,
            batch_size=None,
            shuffle=False,
        )

    def step_seconds(self):
        return loops.median_seconds(lambda: self.fit(self.epochs)) / self.epochs

    def numpy_seconds(self):
        return loops.median_seconds(lambda: self.numpy.step(self.x, self.y))

    def track_step(self, case, optimizer):
        return self.step_seconds() * 1e6

    def track_times_faster_than_numpy(self, case, optimizer):
        return self.numpy_seconds() / self.step_seconds()

    def track_share_of_gemm_peak(self, case, optimizer):
        units, _, rows, _ = CASES[case]
        rate = operations(units, rows) / self.step_seconds() / 1e9
        return 100 * rate / loops.sgemm_rate(self.dtype)

    track_step.unit = "µs/step"
    track_times_faster_than_numpy.unit = "times"
    track_share_of_gemm_peak.unit = "%"


class FullBatchDouble(FullBatch):
    params = (
        ("2-4-1 tanh, 4 rows", "8-32-32-1 relu, 64 rows", "4-64-64-2 tanh, 64 rows"),
        ("sgd", "adam"),
    )
    dtype = "float64"


class FullBatchTimes(FullBatch):
    """A whole call of fit: 10 to 20,000 epochs, see `CASES`."""

    track_step = track_times_faster_than_numpy = track_share_of_gemm_peak = None

    def time_fit(self, case, optimizer):
        self.fit(self.epochs)


class Options:
    """An update of 784-128-10 with what few trainings ask for, beside one without."""

    params = (("nothing", "ema", "learning_rate_factors", "clip_norm"), tuple(OPTIMIZERS))
    param_names = ("option", "optimizer")
    epochs = 100

    def setup(self, option, optimizer):
        self.net, self.x, self.y = problem((784, 128, 10), "relu", 32, True, "float32")
        self.options = {
            "nothing": {},
            "ema": {"ema": 0.999},
            "learning_rate_factors": {"learning_rate_factors": np.ones_like(self.net.params)},
            "clip_norm": {"clip_norm": 1e6},
        }[option]
        expected = self.net.copy().fit(self.x, self.y, optimizer=OPTIMIZERS[optimizer], epochs=4)
        history = self.net.copy().fit(
            self.x, self.y, optimizer=OPTIMIZERS[optimizer], epochs=4, **self.options
        )
        np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-5)

    def track_step(self, option, optimizer):
        def fit():
            self.net.fit(
                self.x,
                self.y,
                optimizer=OPTIMIZERS[optimizer],
                epochs=self.epochs,
                batch_size=None,
                **self.options,
            )

        return loops.median_seconds(fit) / self.epochs * 1e6

    track_step.unit = "µs/step"


class MiniBatches:
    """Epochs as of the handwritten digits: 1,437 samples, shuffled, 32 at a time."""

    params = (("float32", "float64"),)
    param_names = ("dtype",)
    rows, batch_size, epochs = 1_437, 32, 20

    def setup(self, dtype):
        self.net, self.x, self.y = problem((64, 32, 10), "relu", self.rows, True, dtype)
        self.numpy = NumPyNetwork(self.net, LEARNING_RATE, adam=True)
        self.rng = np.random.default_rng(0)
        expected = [self.numpy.epoch(self.x, self.y, self.batch_size) for _ in range(2)]
        losses = self.fit(epochs=2, shuffle=False).loss
        # of the dtype, yet after 90 updates
        np.testing.assert_allclose(losses, expected, rtol=1000 * np.finfo(dtype).eps)
        self.fit(epochs=1)

    def fit(self, epochs, shuffle=True):
        return self.net.fit(
            self.x,
            self.y,
            optimizer=OPTIMIZERS["adam"],
            epochs=epochs,
            batch_size=self.batch_size,
            shuffle=shuffle,
        )

    def epoch_seconds(self):
        return loops.median_seconds(lambda: self.fit(self.epochs)) / self.epochs

    def numpy_epoch(self):
        self.numpy.epoch(self.x, self.y, self.batch_size, self.rng)

    def time_20_epochs(self, dtype):
        self.fit(self.epochs)

    def track_step(self, dtype):
        return self.epoch_seconds() / -(-self.rows // self.batch_size) * 1e6

    def track_times_faster_than_numpy(self, dtype):
        return loops.median_seconds(self.numpy_epoch) / self.epoch_seconds()

    track_step.unit = "µs/step"
    track_times_faster_than_numpy.unit = "times"
