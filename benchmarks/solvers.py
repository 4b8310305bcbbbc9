"""Time to tolerance: fit with a solver against SciPy called by hand on the same kernels.

`python -m benchmarks.solvers` prints a table. SciPy gets residuals and the analytic Jacobian
from `predict` and `jacobian`, or the loss from `loss_and_gradient`, and is stopped by the same
target, at its first evaluation below. Every start is raced by all in turn, in one process.
Last come many small networks, one after the other and in two threads.
"""

import contextlib
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

if hasattr(os, "sched_setaffinity") and __name__ == "__main__":
    PROCESSORS = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(PROCESSORS)})

import numpy as np
from scipy import optimize

import flatprop as fp

EPOCHS = 3_000


def curve(seed):
    """1-10-1 tanh, 200 rows of a wave under noise."""
    rng = np.random.default_rng(0)
    X = np.linspace(-1, 1, 200)[:, None]
    y = np.sin(5 * X[:, 0]) + 0.05 * rng.standard_normal(200)
    net = fp.Network(1, [fp.Dense(10, "tanh"), fp.Dense(1)], "ssr", "float64", rng=seed)
    return net, X, y, 200 * 0.05**2, slice(None)


def surrogate(seed):
    """4-20-1 tanh, 2,000 rows of a smooth function without noise, to 1e-4 of its variance."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (2_000, 4))
    y = np.sin(3 * X[:, 0]) * X[:, 1] + np.exp(-2 * X[:, 2] ** 2) + X[:, 3] ** 2
    net = fp.Network(4, [fp.Dense(20, "tanh"), fp.Dense(1)], "ssr", "float64", rng=seed)
    return net, X, y, 1e-4 * len(y) * y.var(), slice(None)


def rat42(seed):
    """NIST's Rat42 from its far start, b1 / (1 + exp(b2 - b3 x)), to its certified residuals."""
    X = np.array([9.0, 14, 21, 28, 42, 57, 63, 70, 79])[:, None]
    y = np.array([8.93, 10.8, 18.59, 22.33, 39.35, 56.11, 61.73, 64.62, 67.08])
    net = fp.Network(1, [fp.Dense(1, "sigmoid"), fp.Dense(1)], "ssr", "float64")
    net.params = [0.1, -1, 100, 0]
    return net, X, y, 8.0565229338 * (1 + 1e-9), slice(0, 3)


CASES = {
    # the problem, and how many starts
    "1-10-1 tanh, 200 rows": (curve, 5),
    "4-20-1 tanh, 2000 rows": (surrogate, 5),
    "NIST Rat42": (rat42, 1),
}


class ReachedError(Exception):
    """Ends SciPy where the target is met."""


class Race:
    """One start of one problem; every contender leaves the network where it ended."""

    def __init__(self, make, seed):
        self.net, self.X, self.y, self.target, self.trained = make(seed)
        self.start = self.net.params.copy()
        self.mask = np.zeros(self.start.size, bool)
        self.mask[self.trained] = True

    def fit(self, solver, **options):
        self.net.fit(
            self.X, self.y, optimizer=solver, epochs=EPOCHS, trainable=self.mask, **options
        )

    def flatprop_lm(self):
        self.fit(fp.LevenbergMarquardt(goal=self.target, min_grad=0))

    def scipy_least_squares(self, method):
        net, X, y = self.net, self.X, self.y

        def residuals(theta):
            net.params[self.trained] = theta
            r = net.predict(X)[:, 0] - y
            if r @ r <= self.target:
                raise ReachedError
            return r

        def jacobian(theta):
            net.params[self.trained] = theta
            return net.jacobian(X, wrt="params")[:, 0, self.trained]

        tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "max_nfev": EPOCHS}
        with contextlib.suppress(ReachedError):
            optimize.least_squares(
                residuals, self.start[self.trained], jacobian, method=method, **tight
            )

    def scipy_lm(self):
        self.scipy_least_squares("lm")

    def scipy_trf(self):
        self.scipy_least_squares("trf")

    def flatprop_lbfgs(self):
        self.fit(fp.LBFGS(ftol=0, gtol=0), callbacks=self.below)

    def below(self, epoch):
        return epoch.loss <= self.target  # which is an iteration late

    def scipy_lbfgs(self):
        net, X, y = self.net, self.X, self.y

        def evaluate(theta):
            net.params[self.trained] = theta
            loss, gradient = net.loss_and_gradient(X, y)
            return loss, gradient[self.trained]

        def callback(intermediate_result):
            if intermediate_result.fun <= self.target:
                raise StopIteration

        result = optimize.minimize(
            evaluate,
            self.start[self.trained],
            jac=True,
            method="L-BFGS-B",
            callback=callback,
            options={"ftol": 0, "gtol": 0, "maxiter": EPOCHS, "maxfun": 10 * EPOCHS},
        )
        net.params[self.trained] = result.x

    def seconds(self, contender):
        """How long it took to the target; NaN if it was not reached."""
        self.net.params[:] = self.start
        began = time.perf_counter()
        getattr(self, contender)()
        taken = time.perf_counter() - began
        reached = self.net.loss(self.X, self.y) <= self.target * (1 + 1e-12)
        return taken if reached else float("nan")


CONTENDERS = (
    "flatprop_lm",
    "scipy_lm",
    "scipy_trf",
    "flatprop_lbfgs",
    "scipy_lbfgs",
)


def raced(case, rounds=3):
    """The median seconds of every contender from every start, NaN where it was not reached."""
    make, starts = CASES[case]
    races = [Race(make, seed) for seed in range(starts)]
    table = np.empty((len(CONTENDERS), starts))
    for i, race in enumerate(races):
        taken = [[race.seconds(name) for name in CONTENDERS] for _ in range(rounds + 1)]
        for k, column in enumerate(zip(*taken[1:], strict=True)):
            table[k, i] = statistics.median(column)
    return table


class ManySmallNetworks:
    """100 networks 2-8-1 tanh on 50 rows, 100 iterations each, in one thread and in two."""

    params = (1, 2)
    param_names = ("threads",)

    def setup(self, threads):
        rng = np.random.default_rng(0)
        self.X = rng.uniform(-1, 1, (50, 2))
        self.y = np.sin(3 * self.X[:, 0]) * self.X[:, 1]
        layers = [fp.Dense(8, "tanh"), fp.Dense(1)]
        self.nets = [fp.Network(2, layers, dtype="float64", rng=seed) for seed in range(100)]
        self.starts = [net.params.copy() for net in self.nets]
        self.fit(self.nets[0])

    def fit(self, net):
        net.fit(self.X, self.y, optimizer="levenberg_marquardt")

    def time_fit(self, threads):
        for net, start in zip(self.nets, self.starts, strict=True):
            net.params[:] = start
        if threads == 1:
            for net in self.nets:
                self.fit(net)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(self.fit, self.nets))


class TimeToTolerance:
    """From one start, to be followed over time; `main` compares, from several."""

    params = (tuple(CASES), CONTENDERS)
    param_names = ("case", "contender")
    start = 1

    def setup(self, case, contender):
        make, _ = CASES[case]
        self.race = Race(make, self.start)
        assert np.isfinite(self.race.seconds(contender))

    def time_to_tolerance(self, case, contender):
        assert np.isfinite(self.race.seconds(contender))


def main():
    for case in CASES:
        table = raced(case)
        print(f"\n{case}\n{'':16} {'reached':>8} {'ms, by start':>12}")
        for name, row in zip(CONTENDERS, table, strict=True):
            times = "".join(f"{1e3 * t:9.2f}" for t in row)
            print(f"{name:16} {np.isfinite(row).sum():5}/{row.size:<2} {times}", flush=True)
        for ours, theirs in (
            ("flatprop_lm", "scipy_lm"),
            ("flatprop_lm", "scipy_trf"),
            ("flatprop_lbfgs", "scipy_lbfgs"),
        ):
            ratios = table[CONTENDERS.index(theirs)] / table[CONTENDERS.index(ours)]
            ratios = ratios[np.isfinite(ratios)]
            if ratios.size:
                print(
                    f"{theirs} / {ours}: median {np.median(ratios):.2f}, "
                    f"{ratios.min():.2f} to {ratios.max():.2f}, of {ratios.size}"
                )
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, PROCESSORS)
    many, rounds = ManySmallNetworks(), []
    many.setup(1)
    for _ in range(9):
        times = []
        for threads in many.params:
            began = time.perf_counter()
            many.time_fit(threads)
            times.append(time.perf_counter() - began)
        rounds.append(times)
    one, two = np.median(rounds, axis=0)
    ratio = np.median([a / b for a, b in rounds])
    print(f"\n100 networks 2-8-1: {one:.3f} s, in two threads {two:.3f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
