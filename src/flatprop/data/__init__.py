"""The data set that comes with the package."""

import numpy as np
from numpy.typing import NDArray

CITATION = (
    "Alpaydin & Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning "
    "Repository, https://archive.ics.uci.edu/dataset/80, licence CC BY 4.0"
)
"""Whose data they are, which the licence asks to be said."""


def load_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """1,797 handwritten digits, 8 × 8 pixels each.

    Returns
    -------
    X : ndarray
        (1797, 64), the pixels row by row, whole numbers from 0 (paper) to 16 (ink).
        ``X[i].reshape(8, 8)`` is an image.
    y : ndarray
        (1797,), what was written, 0 to 9.

    Notes
    -----
    E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI
    Machine Learning Repository, https://archive.ics.uci.edu/dataset/80, licence
    CC BY 4.0; the test part of it.

    Examples
    --------
    >>> from flatprop.data import load_digits
    >>> X, y = load_digits()
    >>> X.shape, y[:10]
    ((1797, 64), array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]))
    """
    from importlib.resources import files

    with (
        (files("flatprop.data") / "digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        return arrays["pixels"].astype(np.float64), arrays["digits"].astype(np.int64)
