"""What a fresh interpreter waits for: the import, and the first call."""

import os
import statistics
import subprocess
import sys
import tempfile
import time

FIRST_FIT = """
import time
import numpy as np
import flatprop as fp

rng = np.random.default_rng(0)
X, y = rng.random((64, 8)), rng.random(64)
net = fp.Network(8, [fp.Dense(32, "relu"), fp.Dense(1)], rng=0)
began = time.perf_counter()
history = net.fit(X, y, epochs=2)
seconds = time.perf_counter() - began
assert history.stopped_by == "epochs", history
print(seconds)
"""
WARM_RUNS = 3


class Import:
    """Without the start of Python itself."""

    number = 1
    timeout = 120

    def timeraw_flatprop(self):
        return "import flatprop"

    def timeraw_numba(self):
        return "import numba"

    def timeraw_numpy(self):
        return "import numpy"


class FirstFit:
    """The first call of fit, with Numba's cache folder empty and filled."""

    params = (("empty", "filled"),)
    param_names = ("cache",)
    timeout = 300

    def setup_cache(self):
        with tempfile.TemporaryDirectory() as folder:
            empty = self.measure(folder)
            assert any(files for _, _, files in os.walk(folder)), "nothing was cached"
            filled = [self.measure(folder) for _ in range(WARM_RUNS)]
        medians = tuple(map(statistics.median, zip(*filled, strict=True)))
        return {"empty": empty, "filled": medians}

    setup_cache.timeout = 300

    @staticmethod
    def measure(folder):
        """Seconds of the call, and of the whole process."""
        began = time.perf_counter()
        process = subprocess.run(
            [sys.executable, "-c", FIRST_FIT],
            env={**os.environ, "NUMBA_CACHE_DIR": folder},
            capture_output=True,
            text=True,
        )
        whole = time.perf_counter() - began
        if process.returncode != 0:
            raise RuntimeError(process.stderr)
        return float(process.stdout), whole

    def track_call(self, seconds, cache):
        return seconds[cache][0]

    def track_process(self, seconds, cache):
        return seconds[cache][1]

    track_call.unit = track_process.unit = "s"
