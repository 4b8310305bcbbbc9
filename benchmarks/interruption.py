"""How long Ctrl-C takes to stop a training, or a call over many rows."""

import signal
import statistics
import threading
import time

import numpy as np

import flatprop as fp

from .repetitions import repetitions

CASES = {
    "4-8-1, 1,000 rows, one at a time": ((4, 8, 1), 1_000, 1),
    "20-128-1, 200,000 rows, full batch": ((20, 128, 1), 200_000, None),
    "784-256-256-10, batches of 128": ((784, 256, 256, 10), 5_000, 128),
}


class CtrlC:
    params = (list(CASES),)
    param_names = ("case",)
    timeout = 120

    def setup(self, case):
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
        sizes, rows, self.batch_size = CASES[case]
        rng = np.random.default_rng(0)
        self.x = rng.random((rows, sizes[0]), np.float32)
        self.y = rng.random((rows, sizes[-1]), np.float32)
        layers = [*(fp.Dense(units, "tanh") for units in sizes[1:-1]), fp.Dense(sizes[-1])]
        self.net = fp.Network(sizes[0], layers, rng=0)
        self.net.fit(self.x[:2], self.y[:2], epochs=1)

    def seconds(self):
        sent = []

        def interrupt():
            sent.append(time.perf_counter())
            signal.raise_signal(signal.SIGINT)

        timer = threading.Timer(0.3, interrupt)
        timer.start()
        history = self.net.fit(
            self.x,
            self.y,
            optimizer=fp.SGD(1e-6),
            epochs=10**9,
            batch_size=self.batch_size,
        )
        seconds = time.perf_counter() - sent[0]
        timer.join()
        assert history.stopped_by == "interrupted", history
        return seconds

    def track_seconds(self, case):
        return statistics.median(self.seconds() for _ in range(repetitions(5)))

    track_seconds.unit = "s"


CALLS = {
    "predict": lambda net, x, y: net.predict(x),
    "loss": lambda net, x, y: net.loss(x, y),
    "loss_and_gradient": lambda net, x, y: net.loss_and_gradient(x, y),
    "vjp": lambda net, x, y: net.vjp(x, y),
    "hessian_vector_product": lambda net, x, y: net.hessian_vector_product(x, y, net.params),
    "jacobian, 100 rows": lambda net, x, y: net.jacobian(x[:100]),
}


class CtrlCInACall:
    """At 20,000 rows of 1024-1024-1024, float32."""

    params = (list(CALLS),)
    param_names = ("call",)
    timeout = 240

    def setup(self, call):
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
        rng = np.random.default_rng(0)
        self.x = rng.random((20_000, 1024), np.float32)
        self.y = rng.random((20_000, 1024), np.float32)
        self.net = fp.Network(1024, [fp.Dense(1024, "tanh"), fp.Dense(1024)], rng=0)
        self.function = CALLS[call]
        self.function(self.net, self.x[:2], self.y[:2])  # compiles

    def seconds(self, after):
        sent = []

        def interrupt():
            sent.append(time.perf_counter())
            signal.raise_signal(signal.SIGINT)

        timer = threading.Timer(after, interrupt)
        timer.start()
        try:
            while True:
                self.function(self.net, self.x, self.y)
        except KeyboardInterrupt:
            return time.perf_counter() - sent[0]

    def track_longest(self, call):
        moments = (0.1, 0.17, 0.23, 0.31, 0.37)
        return max(self.seconds(after) for after in moments[: repetitions(len(moments))])

    track_longest.unit = "s"
