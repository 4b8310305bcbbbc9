"""Rows that are held back, to measure on or to stop by."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def hold_back(groups: NDArray[Any], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose rows at random, of every group the same share (rounded).

    Parameters
    ----------
    groups
        (rows,), such as the class of each; a constant for one draw from all.
    share
        How much to hold back, from 0 to 1.
    rng
        Where the order is drawn from.

    Returns
    -------
    ndarray
        (rows,), True for what is held back. Of every group, one row at least is not.
    """
    rows = groups.size
    order = np.lexsort((rng.random(rows), groups))
    # Of the sorted rows every so-many-th is held back: in total and in each group, the share is
    # off by less than one row.
    ticks = np.ceil(np.arange(rows + 1) * share)
    held = np.zeros(rows, bool)
    held[order[np.diff(ticks) > 0]] = True
    for group in np.unique(groups):
        member = groups == group
        if held[member].all():
            held[order[member[order]][-1]] = False
    return held
