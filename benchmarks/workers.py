"""`fit_many` over threads and over the workers of joblib's backends: what a task costs.

    python -m benchmarks.workers [loky dask ray]

200 networks of 29 architectures are trained, on the threads and then on two workers of each
backend. Results must be the same bit for bit. Printed are

- the first call, which starts the workers, and later ones;
- what a task costs: networks that are hardly trained, each sent alone, against a few at a time;
- what samples cost: eight tasks that get an array of 64 MB, against a small one.
"""

import contextlib
import logging
import statistics
import sys
import time

import numpy as np

import flatprop as fp
from flatprop.many import over_workers

from . import machine

ROWS, EPOCHS, NETWORKS, ROUNDS = 2000, 40, 200, 3


@contextlib.contextmanager
def backend(name):
    import joblib

    with contextlib.ExitStack() as stack:
        options = {"n_jobs": 2}
        if name == "dask":
            from distributed import Client, LocalCluster

            options = {}
            cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
            stack.enter_context(Client(stack.enter_context(cluster)))
        elif name == "ray":
            import ray
            from ray.util.joblib import register_ray

            register_ray()
            ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR)
            stack.callback(ray.shutdown)
        with joblib.parallel_config(backend=name, **options):
            yield


def networks(count=NETWORKS):
    return [
        fp.Network(8, [fp.Dense(4 + i % 29, "tanh"), fp.Dense(1)], rng=i) for i in range(count)
    ]


def samples(rows):
    X = np.random.default_rng(0).normal(size=(rows, 8)).astype("float32")
    return X, np.sin(X.sum(axis=1))


def seconds(count=NETWORKS, rows=ROWS, epochs=EPOCHS):
    """A call, and the parameters that it leaves."""
    nets, (X, y) = networks(count), samples(rows)
    began = time.perf_counter()
    fp.fit_many(nets, X, y, epochs=epochs, batch_size=64)
    return time.perf_counter() - began, np.concatenate([net.params for net in nets])


def median(**options):
    return statistics.median(seconds(**options)[0] for _ in range(ROUNDS))


def sending(array):
    """A call of eight tasks that do nothing with the array."""
    from joblib import Parallel, delayed

    times = []
    for _ in range(ROUNDS):
        one = array.copy()  # one that no worker has yet
        began = time.perf_counter()
        Parallel()(delayed(np.shape)(one) for _ in range(8))
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main():
    print(machine.kind())
    seconds(2)
    expected = seconds()[1]
    print(f"threads: {median():.2f} s; hardly trained {median(rows=64, epochs=1):.3f} s")
    for name in sys.argv[1:] or ["loky", "dask", "ray"]:
        with backend(name):
            first, params = seconds()
            assert (params == expected).all()
            print(
                f"{name}: first call {first:.2f} s, later {median():.2f} s", end="; ", flush=True
            )
            few = median(rows=64, epochs=1)
            tasks, over_workers.TASKS_OF_WORKER = over_workers.TASKS_OF_WORKER, NETWORKS
            alone = median(rows=64, epochs=1)
            over_workers.TASKS_OF_WORKER = tasks
            each = (alone - few) / (NETWORKS - 2 * tasks)
            print(f"{few:.3f} s for {2 * tasks} tasks, {each * 1e3:.2f} ms each more", end="; ")
            small, large = (sending(np.ones(numbers)) for numbers in (8, 2**23))
            print(f"64 MB of samples {large - small:.2f} s", flush=True)


if __name__ == "__main__":
    main()
