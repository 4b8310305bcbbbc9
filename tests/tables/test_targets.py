"""What is to be predicted, and which rows are held back to measure on."""

import numpy as np
import pytest

pl = pytest.importorskip("polars", reason="tables are polars' frames")
pytest.importorskip("skrub", reason="tables need skrub")

from flatprop.tables import splits  # noqa: E402
from flatprop.tables.splits import divided, held_back, shorten  # noqa: E402
from flatprop.tables.targets import learn_target  # noqa: E402


def learnt(values, task=None, **others):
    return learn_target(pl.DataFrame({"t": values, **others}, strict=False), "t", task)


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"], "classification"),
        (["True", "False"], "classification"),
        ([True, False] * 10, "classification"),
        (["0", "1"] * 10, "classification"),
        ([0, 1] * 10, "classification"),
        (["1.0", "2.0"] * 10, "classification"),
        (["0.5", "1"] * 10, "regression"),
        ([str(i) for i in range(100)], "regression"),
        (["1", "2", "3"], "regression"),
        (["0,5", "1,5"], "regression"),
        (["€ 3.50", "€ 12"], "regression"),
        (np.float32([0.5, 1.25]), "regression"),
    ],
)
def test_task_is_guessed(values, task):
    target = learnt(values)
    assert target.task == task
    assert target.guess.startswith("guessed, since it")
    assert learnt(values, "classification" if task == "classification" else None).task == task


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["b", "a"] * 4, ["a", "b"]),
        (["10", "9"] * 4, [9, 10]),
        (["True", "False"] * 4, [False, True]),
        ([True, False] * 4, [False, True]),
        (["01", "2"] * 4, ["01", "2"]),
        (["TRUE", "FALSE"] * 4, ["FALSE", "TRUE"]),
        (["1.5", "-1.0"] * 4, ["-1.0", "1.5"]),
        ([str(2**70), "1"] * 4, ["1", str(2**70)]),
    ],
)
def test_labels_come_back_as_written(values, labels):
    y = learnt(values, "classification").y
    assert np.unique(y).tolist() == labels


@pytest.mark.parametrize("word", ["NA", "None", "nan", "?", "null"])
def test_words_for_nothing_are_labels_among_texts_and_gaps_among_numbers(word):
    target = learnt([word, "a", "b"] * 5)
    assert target.known.all()
    assert target.notes[0].startswith(f"{word!r} is a class of 5 rows")
    for values in ([word, "1", "2"] * 20, [word, "0.5", "1.5"] * 5):
        target = learnt(values)
        assert (~target.known).sum() == values.count(word)
        assert target.notes[-1] == f"{values.count(word)} rows without a target left out"


def test_an_empty_field_is_no_label():
    target = learnt(["a", None, "b", None, "a", "b"])
    assert target.known.tolist() == [True, False, True, False, True, True]
    assert target.y.tolist() == ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("texts", "others", "values"),
    [
        (["950", "1,234"], [], [950, 1234]),
        (["950", "1,234.5"], [], [950, 1234.5]),
        (["950", "1,234"], ["2,5", "3"], [950, 1.234]),
        (["1,234", "-1,234,567"], ["2,5", "3"], [1234, -1234567]),
        (["1,234", "3,5"], [], [1.234, 3.5]),
    ],
)
def test_what_a_comma_means(texts, others, values):
    more = {"other": others} if others else {}
    target = learnt(texts, "regression", **more)
    assert target.y.tolist() == values
    assert target.notes


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        ([None, None], None, "'t' has a value in no row"),
        (["x", None], None, "in 1 row; at least 2"),
        (["x", "x"], None, "'t' is 'x' in every row"),
        ([1.5, 1.5], None, "is 1.5 in every row"),
        ([0.3, 0.1 + 0.1 + 0.1], None, "in every row"),
        ([f"k{i}" for i in range(50)], None, r"has 50 different values .*too many for classes"),
        (range(50), "classification", "or --task regression"),
        (["x", "y"], "regression", "holds text, such as 'x'"),
        ([1.5, float("inf")], None, "an infinite number"),
        ([1.5, 1e300], None, r"holds 1e\+300: numbers above 1e\+150"),
    ],
)
def test_what_cannot_be_learnt(values, task, message):
    with pytest.raises(ValueError, match=message):
        learnt(values, task)


# ---- splits


def some(y):
    return learnt(y, "classification")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.5])
def test_a_split_takes_the_share_of_every_class(share):
    target = some(np.repeat(["a", "b", "c"], [100, 46, 4]))
    held = held_back(target, share, 0)
    for label in "abc":
        assert abs(held[target.y == label].sum() - share * (target.y == label).sum()) <= 1
    assert (held == held_back(target, share, 0)).all()
    if share:
        assert (held != held_back(target, share, 1)).any()


@pytest.mark.parametrize(("counts", "share"), [([100, 99, 1], 0.5), ([5, 5, 5, 5], 0.1)])
def test_a_split_leaves_a_row_of_every_class(counts, share):
    target = some(np.repeat([f"k{i}" for i in range(len(counts))], counts))
    held = held_back(target, share, 0)
    assert held.any()
    assert set(target.y[~held]) == set(target.y)


@pytest.mark.parametrize("block", [1, 3, 100])
def test_a_frame_is_divided(monkeypatch, block):
    monkeypatch.setattr(splits, "BLOCK", block)
    frame = pl.DataFrame({"a": [1, 2, 3, 4], "b": list("wxyz")})
    known = np.array([True, True, False, True])
    parts = divided(frame, known, np.array([False, True, False]))
    kept, rest = map(pl.concat, parts)
    assert kept.to_dict(as_series=False) == {"a": [1, 4], "b": ["w", "z"]}
    assert rest.to_dict(as_series=False) == {"a": [2], "b": ["x"]}
    assert frame.width == 0


def test_numbers_are_kept_in_single_precision_where_that_hardly_moves_any():
    rng = np.random.default_rng(0)
    columns = {
        "usual": rng.normal(size=100),
        "gaps": pl.Series([None, 0.5, 0.1, 2.0] * 25),
        "stamp": 1.7e9 + rng.normal(size=100),
        "huge": rng.normal(size=100) * 1e300,
    }
    frame = pl.DataFrame(columns)
    shorten(frame)
    assert frame.dtypes == [pl.Float32, pl.Float32, pl.Float64, pl.Float64]
    for name, column in columns.items():
        np.testing.assert_allclose(frame[name], column, rtol=1e-6)
