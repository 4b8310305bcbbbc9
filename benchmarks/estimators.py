"""scikit-learn's MLP and flatprop's, with the same settings: time and score.

    python -m benchmarks.estimators

The digits (with scikit-learn's default of 100 hidden units, and two others), a table of 20,000
rows and 50 columns, and a 5-fold grid search over 12 architectures of the digits. In every round
both train from the same `random_state` and so from the same weights; the rounds alternate and
each has its own seed. BLAS has one thread, flatprop never has more, and both run on one
processor.
"""

import argparse
import os
import time
import warnings
from functools import partial

if __name__ == "__main__":
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import numpy as np
from sklearn import neural_network
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split

import flatprop.sklearn

ARCHITECTURES = [(n,) for n in (16, 32, 64, 100)] + [
    (a, b) for a in (16, 32, 64, 100) for b in (16, 32)
]
MODULES = (neural_network, flatprop.sklearn)


def digits(dtype):
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(dtype), y


def table(dtype, rows=20_000, columns=50):
    """Numbers from a smooth function of a few of the columns, with noise."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, columns))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.5 * X[:, 3] + 0.1 * rng.standard_normal(rows)
    return X.astype(dtype), y.astype(dtype)


def train_digits(module, dtype, seed, hidden=(100,)):
    X, X_test, y, y_test = train_test_split(*digits(dtype), test_size=0.25, random_state=0)
    return module.MLPClassifier(hidden, random_state=seed), X, y, X_test, y_test


def train_table(module, dtype, seed):
    X, X_test, y, y_test = train_test_split(*table(dtype), test_size=0.25, random_state=0)
    return module.MLPRegressor(random_state=seed, max_iter=20), X, y, X_test, y_test


def search_digits(module, dtype, seed):
    X, X_test, y, y_test = train_test_split(*digits(dtype), test_size=0.25, random_state=0)
    model = module.MLPClassifier(random_state=seed, max_iter=50)
    grid = {"hidden_layer_sizes": ARCHITECTURES}
    return GridSearchCV(model, grid, cv=5), X, y, X_test, y_test


WORKLOADS = {
    "digits, 100 units": (train_digits, 9),
    "digits, 64 units": (partial(train_digits, hidden=(64,)), 7),
    "digits, 64, 32 units": (partial(train_digits, hidden=(64, 32)), 7),
    "table of 20,000 x 50": (train_table, 5),
    "grid of 12, 5 folds": (search_digits, 3),
}


def one(workload, module, dtype, seed):
    """Seconds to fit, the held-out score, and the epochs it took."""
    model, X, y, X_test, y_test = workload(module, dtype, seed)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    seconds = time.perf_counter() - began
    fitted = getattr(model, "best_estimator_", model)
    return seconds, model.score(X_test, y_test), fitted.n_iter_


class Estimators:
    """One epoch's time, and how many times as long scikit-learn's takes."""

    params = (("float64", "float32"),)
    param_names = ("dtype",)

    def setup(self, dtype):
        self.models = [module.MLPClassifier(max_iter=10, random_state=0) for module in MODULES]
        self.data = digits(dtype)
        self.fit(self.models[1])

    def fit(self, model):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(*self.data)

    def time_digits(self, dtype):
        self.fit(self.models[1])

    def track_digits_against_scikit_learn(self, dtype):
        seconds = [[], []]
        for _ in range(3):
            for model, taken in zip(self.models, seconds, strict=True):
                began = time.perf_counter()
                self.fit(model)
                taken.append(time.perf_counter() - began)
        return np.median(seconds[0]) / np.median(seconds[1])

    track_digits_against_scikit_learn.unit = "times as long"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, help="of each workload")
    parser.add_argument("--dtype", choices=["float32", "float64"], action="append")
    options = parser.parse_args()
    head = ("scikit-learn s", "flatprop s", "ratio", "range", "scores", "", "epochs")
    print(f"{'':22}{'':9}" + "".join(f"{name:>16}" for name in head))
    for name, (workload, rounds) in WORKLOADS.items():
        for dtype in options.dtype or ("float64", "float32"):
            found = []
            for module in MODULES[::-1]:
                one(train_digits, module, dtype, 0)  # compiled, and warm
            for seed in range(options.rounds or rounds):
                found.append([one(workload, module, dtype, seed) for module in MODULES])
            theirs, ours = np.moveaxis(np.array(found), 0, -1)
            ratios = theirs[0] / ours[0]
            cells = [f"{np.median(theirs[0]):.3f}", f"{np.median(ours[0]):.3f}"]
            cells += [f"{np.median(ratios):.1f}", f"{ratios.min():.1f} to {ratios.max():.1f}"]
            cells += [f"{s[1].mean():.4f} ± {s[1].std():.4f}" for s in (theirs, ours)]
            cells += [f"{theirs[2].mean():.0f} / {ours[2].mean():.0f}"]
            print(f"{name:22}{dtype:>9}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
