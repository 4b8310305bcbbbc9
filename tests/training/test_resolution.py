"""Inputs that the dtype cannot tell apart are told of."""

import numpy as np
import pytest

import flatprop as fp


def make(**options):
    return fp.Network(4, [fp.Dense(16, "tanh"), fp.Dense(2)], **{"rng": 0, **options})


NOW = 1.7e9
LOST = {
    # a column, in float64, of which a float32 network cannot tell the rows apart
    "seconds": NOW + np.arange(300),
    "minutes": NOW + 60 * np.arange(300),
    "half a day": NOW + np.linspace(0, 43_200, 300),
    "constant in float32": NOW + np.linspace(0, 50, 300),
    "nanoseconds": 1.7e18 + 1e9 * np.arange(300),
    "whole numbers": (NOW + np.arange(300)).astype(np.int64),
    "negative": -NOW - np.arange(300),
    "a flag": 1e9 + (np.arange(300) == 280),
    "a small spread": 1 + 1e-7 * np.arange(300),
    "a day": NOW + 86_400 * np.linspace(0, 1, 300),
    "codes that are close": 2e7 + np.arange(300) % 3,
    "microseconds": (1.7e15 + 1e6 * np.arange(300)).astype(np.int64),
}
ORDINARY = {
    "standardised": np.random.default_rng(0).normal(size=300),
    "constant": np.full(300, NOW),
    "zero": np.zeros(300),
    "one-hot": (np.arange(300) == 290).astype(float),
    "years": 1900.0 + np.arange(300) % 125,
    "whole numbers": np.random.default_rng(0).integers(0, 10**6, 300),
    "large": np.random.default_rng(0).integers(0, 10**9, 300),
    "an offset": 1000 + np.random.default_rng(0).normal(size=300),
    "months of timestamps": NOW + 86_400 * np.arange(300),
    "tiny": 1e-30 * np.arange(300),
    "mostly one value": np.where(np.arange(300) == 299, 5.0, 4.0),
    "two codes": 10_000 + np.arange(300) % 2,
    "postcodes": 90_001 + np.arange(300) % 5,
    "float codes": 50_000.0 + np.arange(300) % 2,
    "pressure": 101_300 + 10 * np.random.default_rng(0).random(300),
    "pressure in steps": 101_300 + np.random.default_rng(0).integers(0, 101, 300) / 10,
    "one is rounded": 0.1 + np.where(np.arange(300) == 7, 1.4e-17, 0),
    "rounded sums": np.cumsum(np.full(300, 0.1)) - np.arange(300) * 0.1 + 1,
    "a rounded product": 7e5 * (1 + 3e-16 * np.arange(300)),
}


def with_column(column):
    return np.column_stack([np.linspace(-1, 1, 300), column])


def fit_once(X, dtype="float32", **options):
    net = fp.Network(2, [fp.Dense(3, "tanh"), fp.Dense(1)], dtype=dtype, rng=0)
    return net.fit(X, np.zeros(300), epochs=1, **options)


@pytest.mark.parametrize("case", LOST)
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_rows_that_cannot_be_told_apart(case, optimizer):
    X = with_column(LOST[case])
    with pytest.warns(fp.ResolutionWarning, match="column 1 of X ranges from .*Subtract") as told:
        fit_once(X, optimizer=optimizer)
    assert len(told) == 1
    assert told[0].filename == __file__
    assert f"from {X[:, 1].min():.10g} to {X[:, 1].max():.10g}" in str(told[0].message)
    fit_once(X, "float64", optimizer=optimizer)


def test_rows_that_were_lost_before_they_came_or_lie_in_a_frame():
    X = with_column(LOST["minutes"])
    with pytest.warns(fp.ResolutionWarning, match="column 1 of X"):
        fit_once(X.astype("float32"))
    with pytest.warns(fp.ResolutionWarning, match="column 1 of X"):
        fit_once(X.tolist())
    pandas = pytest.importorskip("pandas", reason="the frame is one of pandas")
    with pytest.warns(fp.ResolutionWarning, match="column 'time' of X"):
        fit_once(pandas.DataFrame({"place": X[:, 0], "time": X[:, 1].astype(np.int64)}))
    with pytest.warns(fp.ResolutionWarning, match=r"column 0 of X.*and 1 more columns"):
        fit_once(np.column_stack([X[:, 1], X[:, 1]]))


@pytest.mark.parametrize("case", ORDINARY)
def test_ordinary_columns_are_not_told_of(case):
    fit_once(with_column(ORDINARY[case]))
    fit_once(with_column(ORDINARY[case]).astype("float32"))
    fit_once(with_column(ORDINARY[case]), "float64")


def test_ordinary_columns_of_a_frame_are_not_told_of():
    pandas = pytest.importorskip("pandas", reason="the frame is one of pandas")
    frame = pandas.DataFrame({name: ORDINARY[name] for name in ORDINARY})
    net = fp.Network(len(ORDINARY), [fp.Dense(2)], rng=0)
    net.fit(frame, np.zeros((300, 2)), epochs=1, optimizer=fp.SGD(0.0))


def test_columns_that_differ_by_less_than_is_written():
    column = 1e9 * (1 + 1e-14 * np.arange(300))
    with pytest.warns(fp.ResolutionWarning, match=r"from 1000000000 to 1000000000\.00[23]"):
        fit_once(with_column(column))


def test_a_column_of_a_stream_is_told_of_after_its_first_epoch():
    y = np.zeros(300)

    def in_batches(X):
        return [(X[i : i + 50], y[i : i + 50]) for i in range(0, 300, 50)]

    net = fp.Network(2, [fp.Dense(1)], rng=0)
    with pytest.warns(fp.ResolutionWarning, match="column 1 of X") as told:
        net.fit(in_batches(with_column(LOST["minutes"])), optimizer=fp.SGD(0.0), epochs=2)
    assert len(told) == 1
    sorted_stamps = with_column(NOW + 3600 * np.arange(300))  # of which each batch is too narrow
    net.fit(in_batches(sorted_stamps), optimizer=fp.SGD(0.0), epochs=1)
