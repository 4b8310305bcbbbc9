"""What the estimators are trained on, and how far apart two of them are."""

import numpy as np
import pytest

rng = np.random.default_rng(0)
X = rng.normal(size=(240, 6))
WEIGHT = rng.uniform(0.5, 2, 240)
NUMBERS = np.sin(X[:, 0]) + X[:, 1]
PAIRS = np.c_[NUMBERS, X[:, 2] ** 2]
COUNTS = rng.poisson(np.exp(0.3 * X[:, 0]))
BINARY = X[:, 0] > 0
CLASSES = BINARY.astype(int) + (X[:, 3] > 1)
NAMES = np.array(["ant", "bee", "cow"], dtype=object)[CLASSES]
LABELS = (rng.normal(size=(240, 3)) + X[:, :3] > 0).astype(int)

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def furthest(one, other):
    pairs = zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True)
    return max(np.abs(a - b).max() for a, b in pairs)
