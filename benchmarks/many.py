"""Many networks: flatprop's ensemble beside one network after the other, JAX and PyTorch.

    python -m benchmarks.many [--avx2] [--default-threads] [--only 2-4-1]
    python -m benchmarks.many --busy         # 200 architectures in one call

JAX runs `vmap` over members in a `lax.scan` over updates, PyTorch `torch.func.vmap` of the
gradient of stacked parameters. All start from the same parameters, see the same batches, and must
reach the same loss with every member. Rounds alternate between the peers, as in
`benchmarks.peers`. Without `--default-threads` everything has one thread.
"""

import argparse
import contextlib
import os
import sys
import time

from . import machine

if __name__ == "__main__":
    machine.restart(
        "benchmarks.many",
        avx2="--avx2" in sys.argv,
        default_threads="--default-threads" in sys.argv or "--busy" in sys.argv,
    )
    if not {"--default-threads", "--busy"} & {*sys.argv}:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        single = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {single}".strip()

import numpy as np

import flatprop as fp

from .peer_networks import installed

RATE = 1e-2
MOST_APART = 5e-3
"""By which part of the mean loss that of a member may differ, as rounding grows in a training."""
CASES = {
    # members, units, hidden activation, rows, own samples, batch, optimizer, epochs
    "1000 x 2-4-1 tanh, 4 rows each, sgd": (
        *(1000, (2, 4, 1), "tanh", 4, True, None),
        *("sgd", 2000),
    ),
    "500 x 2-8-1 tanh, 50 rows each, adam": (
        *(500, (2, 8, 1), "tanh", 50, True, None),
        *("adam", 300),
    ),
    "100 x 8-32-32-1 relu, batches of 64": (
        *(100, (8, 32, 32, 1), "relu", 1024, False, 64),
        *("sgd", 100),
    ),
}


class EnsembleProblem:
    """An ensemble, and samples that are noise; and its training by flatprop."""

    def __init__(self, case):
        members, units, activation, rows, own, self.batch, name, self.epochs = CASES[case]
        layers = [*(fp.Dense(n, activation) for n in units[1:-1]), fp.Dense(units[-1])]
        self.ens = fp.Ensemble(units[0], layers, members=members, rng=0)
        self.start = self.ens.params.copy()
        rng = np.random.default_rng(1)
        lead = (members,) if own else ()
        self.x = rng.standard_normal((*lead, rows, units[0])).astype("float32")
        self.y = rng.standard_normal((*lead, rows, units[-1])).astype("float32")
        self.own, self.activation, self.adam = own, activation, name == "adam"
        self.updates = self.epochs * (1 if self.batch is None else -(-rows // self.batch))

    @property
    def options(self):
        optimizer = fp.Adam(RATE) if self.adam else fp.SGD(RATE)
        return {
            "optimizer": optimizer,
            "epochs": self.epochs,
            "batch_size": self.batch,
            "shuffle": False,
        }

    def together(self):
        self.ens.params = self.start
        return self.ens.fit(self.x, self.y, **self.options).loss[-1]

    def one_by_one(self):
        self.ens.params = self.start
        losses = []
        for i, net in enumerate(self.ens):
            x, y = (self.x[i], self.y[i]) if self.own else (self.x, self.y)
            losses.append(net.fit(x, y, **self.options).loss[-1])
        return np.array(losses)

    @property
    def batches(self):
        """x and y with a first axis of batches of an epoch; a last batch is as long as all."""
        if self.batch is None:
            return self.x[None], self.y[None]
        return (a.reshape(-1, self.batch, a.shape[-1]) for a in (self.x, self.y))

    def parts(self):
        """W and b of each layer, with a first axis of members."""
        self.ens.params = self.start
        pairs = zip(self.ens.weights, self.ens.biases, strict=True)
        return [(W.copy(), b.copy()) for W, b in pairs]


def jax_training(problem):
    import jax
    import jax.numpy as jnp

    activation = {"relu": jax.nn.relu, "tanh": jnp.tanh}[problem.activation]
    x, y = (jnp.asarray(a) for a in problem.batches)
    start = [(jnp.asarray(W), jnp.asarray(b)) for W, b in problem.parts()]

    def loss(parts, x, y):
        a = x
        for W, b in parts[:-1]:
            a = activation(a @ W + b)
        W, b = parts[-1]
        return jnp.mean((a @ W + b - y) ** 2)

    data = 0 if problem.own else None
    slopes = jax.vmap(jax.value_and_grad(loss), in_axes=(0, data, data))

    def update(state, batch):
        parts, m, v, t = state
        values, gradient = slopes(parts, *batch)
        tree = jax.tree_util.tree_map
        if not problem.adam:
            return (tree(lambda p, g: p - RATE * g, parts, gradient), m, v, t), values
        t = t + 1
        m = tree(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
        v = tree(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
        one, other = 1 - 0.9**t, 1 - 0.999**t
        step = tree(
            lambda p, m, v: p - RATE * (m / one) / (jnp.sqrt(v / other) + 1e-8), parts, m, v
        )
        return (step, m, v, t), values

    @jax.jit
    def train(parts):
        zeros = jax.tree_util.tree_map(jnp.zeros_like, parts)
        state = parts, zeros, zeros, jnp.zeros(())

        def epoch(state, _):
            state, losses = jax.lax.scan(update, state, (x, y))
            return state, losses.mean(axis=0)

        return jax.lax.scan(epoch, state, None, length=problem.epochs)

    def run():
        _, losses = train(start)
        return np.asarray(losses.block_until_ready()[-1])

    return run


def torch_training(problem):
    import torch
    from torch.func import grad_and_value, vmap

    activation = {"relu": torch.relu, "tanh": torch.tanh}[problem.activation]
    x, y = (torch.from_numpy(np.ascontiguousarray(a)) for a in problem.batches)
    start = [torch.from_numpy(a) for pair in problem.parts() for a in pair]

    def loss(parts, x, y):
        a = x
        for W, b in zip(parts[:-2:2], parts[1:-2:2], strict=True):
            a = activation(a @ W + b)
        return ((a @ parts[-2] + parts[-1] - y) ** 2).mean()

    data = 0 if problem.own else None
    slopes = vmap(grad_and_value(loss), in_dims=(0, data, data))

    def run():
        parts = [a.clone() for a in start]
        kind = torch.optim.Adam if problem.adam else torch.optim.SGD
        optimizer = kind(parts, lr=RATE)
        with torch.no_grad():
            for _ in range(problem.epochs):
                losses = []
                for x_batch, y_batch in zip(x, y, strict=True):
                    gradient, values = slopes(parts, x_batch, y_batch)
                    for a, g in zip(parts, gradient, strict=True):
                        a.grad = g
                    optimizer.step()
                    losses.append(values)
        return torch.stack(losses).mean(dim=0).numpy()

    return run


def compare(case, options):
    problem = EnsembleProblem(case)
    runs = {"flatprop": problem.together, "one by one": problem.one_by_one}
    if installed("jax"):
        runs["JAX"] = jax_training(problem)
    if installed("torch") and not options.without_torch:
        runs["torch.func"] = torch_training(problem)
    losses = {name: run() for name, run in runs.items()}
    ours = losses["flatprop"]
    apart = {
        name: float(np.abs(values - ours).max() / ours.mean()) for name, values in losses.items()
    }
    if max(apart.values()) > MOST_APART:
        raise AssertionError(f"{case}: losses of members differ from flatprop's by {apart}")
    seconds = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            if name == "torch.func" and seconds[name]:
                continue  # it takes long, and its spread is small beside its ratio
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    steps = problem.updates * len(problem.ens)
    print(
        f"\n{case}: {problem.updates} updates, mean loss {ours.mean():.5g}; the losses of all "
        f"members agree to {max(apart.values()):.1g} of that"
    )
    for name, values in seconds.items():
        median = np.median(values)
        ratio = median / np.median(seconds["flatprop"])
        print(
            f"    {name:12} {median:8.3f} s {1e9 * median / steps:10.1f} ns per net-step"
            f" {ratio:8.2f} x",
            flush=True,
        )


def busy():
    """How busy the processors are while `fit_many` trains 200 architectures, cold but compiled."""
    from flatprop.kernels.network import training_loop

    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 8)).astype("float32")
    y = np.sin(X.sum(axis=1))
    nets = [
        fp.Network(
            8, [fp.Dense(8 + i // 2, "tanh"), fp.Dense(8 + i % 7, "relu"), fp.Dense(1)], rng=i
        )
        for i in range(200)
    ]
    nets[0].copy().fit(X, y, epochs=1)
    compiled = len(training_loop.train.signatures)
    began, cpu = time.perf_counter(), time.process_time()
    fp.fit_many(nets, X, y, epochs=10)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    processors = os.cpu_count() or 1
    with contextlib.suppress(AttributeError):
        processors = len(os.sched_getaffinity(0))
    new = len(training_loop.train.signatures) - compiled
    print(
        f"200 architectures: {seconds:.2f} s, {100 * cpu / seconds / processors:.0f} % of "
        f"{processors} processors, {new} functions compiled"
    )


class Many:
    """asv: ensembles by `fit`, and the same one after the other."""

    params = (tuple(CASES), ("together", "one_by_one"))
    param_names = ("case", "way")

    def setup(self, case, way):
        self.run = getattr(EnsembleProblem(case), way)
        assert np.isfinite(self.run()).all()

    def time_fit(self, case, way):
        self.run()


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--avx2", action="store_true")
    parser.add_argument("--default-threads", action="store_true")
    parser.add_argument("--without-torch", action="store_true", help="torch.func takes longest")
    parser.add_argument("--busy", action="store_true", help="only `fit_many`")
    options = parser.parse_args()
    threads = "default threads" if options.default_threads or options.busy else "one thread"
    print(machine.kind(), threads, sep=", ")
    if options.busy:
        busy()
        return
    if installed("torch") and not options.default_threads:
        import torch

        torch.set_num_threads(1)
    for case in CASES:
        if options.only in case:
            compare(case, options)


if __name__ == "__main__":
    main()
