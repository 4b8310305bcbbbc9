"""The recipe for tables: columns of all kinds, and faults in them."""

import numpy as np
import pytest

pytest.importorskip("skrub")
pytest.importorskip("polars")

import polars as pl

from flatprop.tables.recipe import recipe

ROWS = 120
QUICK = {"hidden": (8,), "epochs": 3, "batch_size": 32, "dtype": "float64"}


def table():
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "number": rng.normal(size=ROWS),
            "time": 1.7e9 + rng.uniform(-1000, 1000, ROWS),
            "kind": rng.choice(["a", "b", "c"], ROWS),
            "date": pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 4, 29), eager=True),
            "constant": [0.3, 0.1 + 0.1 + 0.1] * (ROWS // 2),
        }
    )


def numbers(frame, **overrides):
    vectorizer = recipe("regression", ROWS, **overrides)[0]
    return vectorizer.fit(frame)


def test_timestamps_keep_their_differences():
    frame = table().select("time")
    seen = numbers(frame).transform(frame)
    assert np.unique(np.asarray(seen)).size > 0.9 * ROWS
