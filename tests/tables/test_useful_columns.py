"""Which columns of a table are left out, and what is told of the others."""

import math
import warnings

import numpy as np
import pytest

pl = pytest.importorskip("polars", reason="tables are polars' frames")
pytest.importorskip("skrub", reason="skrub says which texts are dates")

from flatprop.tables.useful_columns import UsefulColumns  # noqa: E402

N = 60
GOOD = np.random.default_rng(0).normal(size=N)


def learnt(**columns):
    return UsefulColumns().fit(pl.DataFrame({"good": GOOD, **columns}))


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("a", [1] * N, "1 throughout"),
        ("a", ["k"] * N, "'k' throughout"),
        ("a", [True] * N, "True throughout"),
        ("a", [None] * N, "empty"),
        ("a", [math.nan, math.inf] * (N // 2), "empty"),
        ("a", [f"A-{i}" for i in range(N)], "text of its own"),
        ("a", [[1, 2]] * N, "it holds List(Int64)"),
        ("Id", range(5, 5 + N), "counts the rows"),
        ("", [float(i) for i in range(N)], "counts the rows"),
        ("customer_id", range(N, 0, -1), "counts the rows"),
        # the same but for rounding
        ("a", [0.3, 0.1 + 0.1 + 0.1] * (N // 2), "0.3 throughout"),
        ("a", [1e300, 1e300 * (1 + 1e-12)] * (N // 2), "1e+300 throughout"),
        ("a", np.float32([0.1, 0.1]).repeat(N // 2), "0.1 throughout"),
        ("a", [0.0] * N, "0 throughout"),
    ],
)
def test_what_says_nothing_is_left_out_and_told(name, values, why):
    useful = learnt(**{name: values})
    assert useful.kept_ == ["good"]
    (note,) = useful.notes_
    assert repr(name) in note
    assert why in note
    frame = pl.DataFrame({"good": GOOD, name: values})
    assert UsefulColumns(keep=[name]).fit(frame).kept_ == ["good", name]


@pytest.mark.parametrize("drop", [1, 2, 17])
def test_a_counter_is_one_also_where_rows_are_gone_or_in_another_order(drop):
    rows = np.random.default_rng(drop).permutation(N + drop)[:N] + 1
    assert learnt(id=rows).kept_ == ["good"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("x", range(N)),  # in order, but not by a counter's name
        ("id", [1.5 * i for i in range(N)]),
        ("id", [i % 7 for i in range(N)]),
        ("id", [i * i for i in range(N)]),
        ("when", [f"2024-{1 + i % 12:02d}-{1 + i // 12:02d}" for i in range(N)]),
        ("review", [f"number {i} was a good one" for i in range(N)]),
        ("stamp", [1.7e9 + i for i in range(N)]),
        ("some", [1.0, None] * (N // 2)),
        ("word", ["k", None] * (N // 2)),
    ],
)
def test_what_may_say_something_stays(name, values):
    assert learnt(**{name: values}).kept_ == ["good", name]


def test_nothing_left_is_an_error():
    frame = pl.DataFrame({"a": [1, 1], "b": [None, None]})
    with pytest.raises(ValueError, match=r"no column is left to predict from: column 'a'.*'b'"):
        UsefulColumns().fit(frame)


@pytest.mark.parametrize("value", [-9999, 999, 1e9])
@pytest.mark.parametrize("count", [1, 5])
def test_values_far_from_all_others_are_told(value, count):
    values = GOOD.copy()
    values[:count] = value
    (note,) = learnt(a=values).notes_
    assert note.startswith("column 'a': 1 row has" if count == 1 else f"column 'a': {count} rows")
    assert f"{value:g}, far from the others" in note
    assert "leave the field empty" in note


@pytest.mark.parametrize(
    "values",
    [np.exp(2 * GOOD), GOOD**3, np.arange(N) % 2, np.arange(N) // 59, [0, 1, 5] * (N // 3)],
)
def test_long_tails_and_few_values_are_no_outliers(values):
    assert learnt(a=values).notes_ == []


def test_infinite_numbers_are_missing_and_told():
    frame = pl.DataFrame({"a": [1.0, math.inf, -math.inf, None, 2.5], "t": list("uvuvu")})
    useful = UsefulColumns().fit(frame)
    assert useful.notes_ == [
        "column 'a': 2 rows have an infinite number, which is taken as missing"
    ]
    assert useful.transform(frame)["a"].to_list() == [1.0, None, None, None, 2.5]
    assert useful.notes(frame[:1]) == []
    (note,) = useful.notes(frame[1:2])
    assert note == "column 'a': 1 row has an infinite number, which is taken as missing"


def test_values_that_the_training_did_not_know_are_told():
    useful = learnt(town=["Paris", "Lyon", None] * (N // 3))
    new = pl.DataFrame({"good": [1.0] * 4, "town": ["Lyon", "Rome", "Bern", None]})
    (note,) = useful.notes(new)
    assert note.startswith("column 'town': 2 rows have a value that the training did not know")
    assert "'Rome'" in note


def test_other_columns_and_their_order_do_not_matter():
    useful = learnt(a=["u", "v"] * (N // 2))
    frame = pl.DataFrame({"more": [1], "a": ["v"], "good": [0.5]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert useful.transform(frame).columns == ["good", "a"]
    assert useful.get_feature_names_out().tolist() == ["good", "a"]
