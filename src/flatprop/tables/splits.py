"""Rows to train on, and rows that are held back to measure on."""

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from flatprop.tables.targets import Target

EXACT = 1e-5
"""By this share of the standard deviation of a column, its numbers may be rounded."""


def held_back(target: Target, share: float, seed: int) -> NDArray[np.bool_]:
    """Which rows are held back: of every class the same share, and never all of its rows."""
    held = np.zeros(target.y.size, bool)
    if share == 0:
        return held
    rows = np.arange(target.y.size)
    groups = None
    if target.task == "classification":
        labels, first, counts = np.unique(target.y, return_index=True, return_counts=True)
        fewest = min(share, 1 - share) * rows.size
        if counts.min() >= 2 and fewest >= len(labels):
            groups = target.y
        else:
            rows = np.delete(rows, first)
    held[train_test_split(rows, test_size=share, stratify=groups, random_state=seed)[1]] = True
    return held


def divided(
    frame: pl.DataFrame, held: NDArray[np.bool_], single: bool = True
) -> list[pl.DataFrame]:
    """The rows to train on, and those held back; the frame is taken apart for its memory.

    With `single`, numbers are kept in single precision where that hardly moves any.
    """
    parts: list[list[pl.Series]] = [[], []]
    for name in frame.columns:
        column = frame.drop_in_place(name)
        if single and column.dtype == pl.Float64:
            short = column.cast(pl.Float32, strict=False)
            moved = (short.cast(pl.Float64) - column).abs().max()
            if moved is not None and moved <= EXACT * (column.std() or 0.0):  # type: ignore
                column = short
        for part, rows in zip(parts, (~held, held), strict=True):
            part.append(column.filter(rows))
    return [pl.DataFrame(part) for part in parts]
