"""Memory beside the data, and allocations while training."""

import tracemalloc

import numba
import numpy as np
from numba.core.runtime import _nrt_python, rtsys

import flatprop as fp

ROWS, INPUTS = 200_000, 50
"""40 MB in float32."""


def network(inputs):
    layers = [fp.Dense(32, "relu"), fp.Dense(32, "relu"), fp.Dense(1)]
    return fp.Network(inputs, layers, rng=0)


def train(net, x, y, batch_size, epochs=1):
    return net.fit(x, y, batch_size=batch_size, epochs=epochs)


class LargeData:
    """`peakmem_` counts the interpreter and the data too: `peakmem_data_alone`."""

    def setup_cache(self):
        """Compiles, in a process of its own, so that no peak is the compiler's."""
        net = network(INPUTS)
        x, y = np.ones((64, INPUTS), np.float32), np.ones(64, np.float32)
        train(net, x, y, 32)
        net.predict(x)

    def setup(self):
        self.net = network(INPUTS)
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((ROWS, INPUTS), np.float32)
        self.y = rng.standard_normal(ROWS, np.float32)
        train(self.net, self.x[:64], self.y[:64], 32)
        self.net.predict(self.x[:64])

    def peakmem_data_alone(self):
        pass

    def peakmem_fit_full_batch(self):
        train(self.net, self.x, self.y, None)

    def peakmem_fit_mini_batches(self):
        train(self.net, self.x, self.y, 32)

    def peakmem_predict(self):
        self.net.predict(self.x)

    def share_of_data(self, call):
        """NumPy reports its arrays to tracemalloc, and kernels allocate none."""
        tracemalloc.start()
        result = call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        del result
        return 100 * peak / (self.x.nbytes + self.y.nbytes)

    def track_fit_full_batch(self):
        return self.share_of_data(lambda: train(self.net, self.x, self.y, None))

    def track_fit_mini_batches(self):
        return self.share_of_data(lambda: train(self.net, self.x, self.y, 32))

    def track_predict(self):
        return self.share_of_data(lambda: self.net.predict(self.x))

    track_fit_full_batch.unit = "% of data"
    track_fit_mini_batches.unit = "% of data"
    track_predict.unit = "% of data"


@numba.njit(cache=True)
def allocate(times):
    total = 0.0
    for i in range(times):
        total += np.ones(i + 1).sum()
    return total


def allocations(call):
    """What compiled code allocated, and what it took over from Python."""
    before = rtsys.get_allocation_stats()
    call()
    return rtsys.get_allocation_stats().alloc - before.alloc


class PerEpoch:
    """How k epochs differ from 2 k."""

    params = (("full batch", "mini-batches"),)
    param_names = ("batches",)

    def setup(self, batches):
        self.batch_size, self.epochs = {"full batch": (None, 300), "mini-batches": (8, 40)}[
            batches
        ]
        rng = np.random.default_rng(0)
        self.x, self.y = rng.random((64, 4), np.float32), rng.random(64, np.float32)
        self.net = network(4)
        self.fit(1)
        _nrt_python.memsys_enable_stats()
        allocate(1)
        assert allocations(lambda: allocate(20)) - allocations(lambda: allocate(10)) == 10

    def fit(self, times):
        return train(self.net, self.x, self.y, self.batch_size, epochs=self.epochs * times)

    def track_allocations(self, batches):
        """Of so few steps, fit makes the same number of calls of the kernel."""
        once, twice = (
            min(allocations(lambda times=times: self.fit(times)) for _ in range(5))
            for times in (1, 2)
        )
        steps = self.epochs * (1 if self.batch_size is None else 64 // self.batch_size)
        return (twice - once) / steps

    def traced(self, times):
        tracemalloc.start()
        history = self.fit(times)
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        del history
        return np.array([kept, peak])

    def growth(self):
        self.traced(1)
        times = 20
        return (self.traced(2 * times) - self.traced(times)) / (times * self.epochs)

    def track_bytes_kept(self, batches):
        """In the history: a loss and a learning rate."""
        return self.growth()[0]

    def track_peak_bytes(self, batches):
        return self.growth()[1]

    track_allocations.unit = "allocations/step"
    track_bytes_kept.unit = track_peak_bytes.unit = "bytes/epoch"
