"""A table for a network that was saved without the names of its columns."""

import numpy as np
import polars as pl
from numpy.typing import NDArray


def in_order(frame: pl.DataFrame, inputs: int) -> NDArray[np.float64]:
    """All columns in order, as numbers, (rows, inputs).

    Raises ValueError if they are not as many, or hold something else.
    """
    if frame.width != inputs:
        raise ValueError(
            f"the table has {frame.width} columns, but the network takes {inputs} inputs; it was "
            "saved without column names, so that every column counts, in order"
        )
    columns = []
    for column in frame:
        numbers = column.cast(pl.Float64, strict=False).to_numpy()
        if not np.isfinite(numbers).all():
            row = int(np.isfinite(numbers).argmin())
            raise ValueError(
                f"column {column.name!r} must hold numbers, but row {row + 1} has "
                f"{column[row]!r}; this network was saved without a rule for missing ones"
            )
        columns.append(numbers)
    return np.stack(columns, axis=1)
