"""The deep ensembles of `examples/uci.py` in PyTorch: the same networks, rows and recipe.

    python -m benchmarks.uci_peers                  # a tenth of the training, counted ten times
    python -m benchmarks.uci_peers --share 1        # all of it, and how good it gets; minutes

PyTorch trains the 100 networks of a set in two ways: one after the other, as most programs do, of
which only some are trained and the time is multiplied; and all at once, by batched matrix
products. Everything has the threads that it takes by itself. flatprop's networks are trained in
whole, after a first training has compiled or loaded what they need.
"""

import argparse
import copy
import functools
import runpy
import time
import types
from pathlib import Path

import numpy as np

import flatprop as fp

from . import machine

if __name__ == "__main__":
    machine.restart("benchmarks.uci_peers", default_threads=True)

UNITS = 50


@functools.cache
def example():
    """The program, not its run."""
    path = Path(__file__).parent.parent / "examples" / "uci.py"
    return types.SimpleNamespace(**runpy.run_path(str(path)))


class Training:
    """Several networks in PyTorch at once; every tensor has a first axis of networks."""

    def __init__(self, samples, seed, share, recipe):
        import torch

        self.torch, self.recipe, uci = torch, recipe, example()
        pairs = [uci.held_out(each, recipe, seed + i) for i, each in enumerate(samples)]
        arrays = [[*trained, *held] for trained, held in pairs]
        self.X, self.y, self.X_held, self.y_held = (
            torch.from_numpy(np.stack(part)) for part in zip(*arrays, strict=True)
        )
        self.epochs = max(1, round(share * recipe.samples_seen / self.X.shape[1]))
        inputs = self.X.shape[2]
        layers = [fp.Dense(UNITS, "relu"), fp.Dense(2)]
        nets = [
            fp.Network(inputs, layers, "gaussian_nll", rng=seed + i) for i in range(len(samples))
        ]
        arrays = []
        for l in range(2):
            arrays.append(np.stack([net.weights[l] for net in nets]))
            arrays.append(np.stack([net.biases[l] for net in nets])[:, None])
        self.parameters = [torch.tensor(array, requires_grad=True) for array in arrays]

    def outputs(self, X):
        W1, b1, W2, b2 = self.parameters
        hidden = self.torch.relu(self.torch.baddbmm(b1, X, W1))
        return self.torch.baddbmm(b2, hidden, W2)

    def losses(self, X, y):
        """The loss of each network."""
        mean, s = self.outputs(X).split(1, dim=2)
        return 0.5 * (s + (y[..., None] - mean) ** 2 * self.torch.exp(-s)).mean(dim=(1, 2))

    def run(self):
        """Train; the averages of the best epoch of each network are kept."""
        torch, recipe, (members, rows) = self.torch, self.recipe, self.X.shape[:2]
        optimizer = torch.optim.Adam(self.parameters, lr=recipe.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)
        best = torch.full((members,), torch.inf)
        sums = [torch.zeros_like(p) for p in self.parameters]
        kept = [torch.zeros_like(p) for p in self.parameters]
        which, updates = torch.arange(members)[:, None], 0
        for _ in range(self.epochs):
            order = torch.rand(members, rows).argsort(dim=1)
            for start in range(0, rows, recipe.batch_size):
                chosen = order[:, start : start + recipe.batch_size]
                optimizer.zero_grad()
                self.losses(self.X[which, chosen], self.y[which, chosen]).sum().backward()
                optimizer.step()
                torch._foreach_lerp_(
                    sums, [p.detach() for p in self.parameters], 1 - recipe.average
                )
                updates += 1
            schedule.step()
            trained, self.parameters = (
                self.parameters,
                [s / (1 - recipe.average**updates) for s in sums],
            )
            with torch.no_grad():
                loss = self.losses(self.X_held, self.y_held)
            better = loss < best
            best = torch.where(better, loss, best)
            for p, k in zip(self.parameters, kept, strict=True):
                k[better] = p[better]
            self.parameters = trained
        self.parameters = kept

    def predict(self, networks, X, scale):
        """As the example's `predict`, of the networks with these numbers."""
        part = copy.copy(self)
        part.parameters = [p[list(networks)] for p in self.parameters]
        X = self.torch.from_numpy(X).expand(len(networks), -1, -1)
        outputs = part.outputs(X).detach().numpy().astype(float)
        means = scale.mean + scale.deviation * outputs[:, :, 0]
        return means, scale.deviation**2 * np.exp(outputs[:, :, 1])


def compare(name, options):
    """Seconds for the 100 networks of a set: by flatprop, and by PyTorch in both ways."""
    uci = example()
    recipe = uci.Recipe()
    X, y = uci.read(name, uci.DATA)
    parts = uci.splits(len(y), 20)
    scales = [(uci.Scale(X[rows]), uci.Scale(y[rows])) for rows, _ in parts]
    pairs = [
        (of_X(X[rows]), of_y(y[rows]))
        for (of_X, of_y), (rows, _) in zip(scales, parts, strict=True)
    ]
    members = uci.MEMBERS
    began = time.perf_counter()
    uci.train(pairs, recipe)
    seconds = [time.perf_counter() - began]
    samples = [pair for pair in pairs for _ in range(members)]
    for batches in ([samples[:1]] * options.alone, [samples]):
        runs = [Training(some, 1000 * i, options.share, recipe) for i, some in enumerate(batches)]
        began = time.perf_counter()
        for run in runs:
            run.run()
        factor = len(samples) / sum(map(len, batches)) / options.share
        seconds.append((time.perf_counter() - began) * factor)
    print(f"{name:18} {seconds[0]:8.2f} s {seconds[1]:8.0f} s {seconds[2]:8.1f} s", flush=True)
    if options.share == 1:
        found = [
            uci.measure(
                y[rows],
                *runs[0].predict(range(members * i, members * (i + 1)), of_X(X[rows]), of_y),
            )[:2]
            for i, ((of_X, of_y), (_, rows)) in enumerate(zip(scales, parts, strict=True))
        ]
        print("    PyTorch reached RMSE {:.3f}, NLL {:.3f}".format(*np.mean(found, axis=0)))
    return seconds


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.uci_peers")
    parser.add_argument("--share", type=float, default=0.1, help="how much of the training")
    parser.add_argument("--alone", type=int, default=1, help="networks one after the other")
    parser.add_argument("--only", default="", help="sets whose name contains this")
    options = parser.parse_args()
    print(machine.kind())
    uci = example()
    few = [(np.zeros((20, 4), "float32"), np.arange(20, dtype="float32"))] * 2
    uci.train(few, uci.Recipe(samples_seen=20))
    Training(few, 0, 1.0, uci.Recipe(samples_seen=20 * 4096)).run()
    print("100 networks         flatprop  one by one  all at once in PyTorch")
    table = [compare(name, options) for name in uci.PUBLISHED if options.only in name]
    total = np.sum(table, axis=0)
    print(f"{'all':18} {total[0]:8.2f} s {total[1]:8.0f} s {total[2]:8.1f} s")
    print(f"ratios             {'':10} {total[1] / total[0]:8.1f} x {total[2] / total[0]:8.1f} x")


if __name__ == "__main__":
    main()
