"""Rows to train on, and rows that are held back to measure on."""

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flatprop.tables.targets import TableTarget

BLOCK = 20_000
"""Rows that become inputs at a time: the steps in between take several times their memory."""
EXACT = 1e-5
"""By this share of the standard deviation of a column, its numbers may be rounded."""


def shorten(frame: pl.DataFrame) -> None:
    """Keep numbers in single precision where that hardly moves any; the frame is changed."""
    for place in range(frame.width):
        column = frame.to_series(place)
        if column.dtype != pl.Float64:
            continue
        short = column.cast(pl.Float32, strict=False)
        moved = float((short.cast(pl.Float64) - column).abs().max() or 0.0)  # type: ignore
        spread = float(column.std() or 0.0)  # type: ignore[arg-type]
        if math.isfinite(moved) and moved <= EXACT * spread:
            frame.replace_column(place, short)


def held_back(target: TableTarget, share: float, seed: int) -> NDArray[np.bool_]:
    """Which rows are held back: of every class the same share, and never all of its rows."""
    from sklearn.model_selection import train_test_split  # late: for the memory, see `shorten`

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
    frame: pl.DataFrame, known: NDArray[np.bool_], held: NDArray[np.bool_]
) -> tuple[list[pl.DataFrame], list[pl.DataFrame]]:
    """The rows to train on, and those held back, in blocks; the frame is taken apart.

    So the memory of a column is free once it was divided, and that of a block once it was used.

    Parameters
    ----------
    frame
        The table; it has no columns afterwards.
    known
        (rows,), which rows have a target.
    held
        Which of these are held back.
    """
    masks = np.zeros((2, known.size), bool)
    masks[:, known] = ~held, held
    blocks: list[list[list[pl.Series]]] = [
        [[] for _ in range(0, known.size, BLOCK)] for _ in masks
    ]
    for name in frame.columns:
        column = frame.drop_in_place(name)
        for mask, of_mask in zip(masks, blocks, strict=True):
            for begin, block in zip(range(0, known.size, BLOCK), of_mask, strict=True):
                some = slice(begin, begin + BLOCK)
                block.append(column[some].filter(mask[some]))
    trained, rest = ([pl.DataFrame(block) for block in of_mask] for of_mask in blocks)
    return trained, rest
