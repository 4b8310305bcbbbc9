"""How long Ctrl-C takes to stop a training."""

import signal
import statistics
import threading
import time

import numpy as np

import flatprop as fp

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
        return statistics.median(self.seconds() for _ in range(5))

    track_seconds.unit = "s"
