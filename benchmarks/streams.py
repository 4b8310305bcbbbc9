"""Samples that come a part at a time, beside the same in memory."""

import statistics
import time

import numpy as np

import flatprop as fp

ROWS, INPUTS = 200_000, 100
"""80 MB in float32: several parts."""
BATCHES, BATCH_SIZE = 1_000, 32


def network(inputs, units):
    return fp.Network(inputs, [fp.Dense(units, "relu"), fp.Dense(1)], rng=0)


def alternating(calls, rounds=5):
    """The median duration of each call, in rounds of all of them."""
    durations = [[] for _ in calls]
    for _ in range(rounds):
        for call, times in zip(calls, durations, strict=True):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in durations]


class File:
    """In the page cache, so that no disk is timed; see `memory.LargeData` for arrays."""

    params = (("float32", "uint8"),)
    param_names = ("stored",)

    def setup_cache(self):
        """Writes the files and compiles, in a process of its own."""
        for stored in self.params[0]:
            file = np.lib.format.open_memmap(f"{stored}.npy", "w+", stored, (ROWS, INPUTS))
            rng = np.random.default_rng(0)
            for start in range(0, ROWS, 10_000):
                file[start : start + 10_000] = rng.integers(0, 2, (10_000, INPUTS), "uint8")
        self.setup("float32")
        self.fit(np.ones((64, INPUTS), "float32"), np.ones(64))
        self.net.predict(np.ones((64, INPUTS), "float32"))

    def setup(self, stored):
        self.net = network(INPUTS, 32)
        self.x = np.load(f"{stored}.npy", mmap_mode="r")
        self.y = np.ones(ROWS, "float32")

    def fit(self, x, y):
        self.net.fit(x, y, epochs=1, batch_size=128)

    def peakmem_fit(self, stored):
        self.fit(self.x, self.y)

    def peakmem_predict(self, stored):
        self.net.predict(self.x)

    def track_fit_times_of_array(self, stored):
        x = np.array(self.x, "float32")
        calls = [lambda: self.fit(self.x, self.y), lambda: self.fit(x, self.y)]
        file, array = alternating(calls)
        return file / array

    def track_predict_times_of_array(self, stored):
        x = np.array(self.x, "float32")
        calls = [lambda: self.net.predict(self.x), lambda: self.net.predict(x)]
        file, array = alternating(calls)
        return file / array

    track_fit_times_of_array.unit = track_predict_times_of_array.unit = "times"


class Batches:
    """What a batch costs beside the kernel's work on it."""

    def setup(self):
        rng = np.random.default_rng(0)
        rows = BATCHES * BATCH_SIZE
        self.x, self.y = rng.random((rows, 4), np.float32), rng.random((rows, 1), np.float32)
        starts = range(0, rows, BATCH_SIZE)
        self.batches = [(self.x[i : i + BATCH_SIZE], self.y[i : i + BATCH_SIZE]) for i in starts]
        self.net = network(4, 16)
        self.trainer = fp.Trainer(self.net)

    def whole(self):
        self.net.fit(self.x, self.y, batch_size=BATCH_SIZE, shuffle=False, epochs=1)

    def streamed(self):
        self.net.fit(self.batches, epochs=1)

    def by_hand(self):
        for x, y in self.batches:
            self.trainer.partial_fit(x, y)

    def beside(self, call):
        """Of an epoch's whole time, what the same epoch of arrays does not take."""
        streamed, whole = alternating([call, self.whole])
        return (streamed - whole) / BATCHES * 1e6

    def track_fit(self):
        return self.beside(self.streamed)

    def track_partial_fit(self):
        return self.beside(self.by_hand)

    track_fit.unit = track_partial_fit.unit = "µs/batch"
