"""The data set that comes with the package."""

import numpy as np

from flatprop.data import load_digits

WEIGHTED = 16_337_198_609
"""The pixels weighted by their place and by that of the image: any that moved would show."""


def test_digits_are_those_of_the_archive():
    X, y = load_digits()
    assert X.shape == (1797, 64)
    assert (X.dtype, y.dtype) == (np.float64, np.int64)
    assert (X.min(), X.max(), X.sum()) == (0, 16, 561718)
    assert (np.round(X) == X).all()
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert y[:12].tolist() == [*range(10), 0, 1]
    assert X[0, :16].tolist() == [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
    assert int((X * np.arange(1, 65)).sum(axis=1) @ np.arange(1, 1798)) == WEIGHTED
