"""Tables, targets and splits of the command line, within the process."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from flatprop.cli.columns import Categorical, Numeric, numbers, words
from flatprop.cli.commas import style
from flatprop.cli.errors import UserError
from flatprop.cli.reading import read_table, sniff
from flatprop.cli.splits import hold_back
from flatprop.cli.tables import Recipe, learn_columns
from flatprop.cli.targets import (
    Classes,
    Quantity,
    as_numbers,
    guess_task,
    learn_classes,
    learn_quantity,
)
from flatprop.data import digits_table, load_digits


def everything(frame):
    return np.ones(len(frame), bool)


def learnt(**columns):
    frame = pd.DataFrame(columns)
    return learn_columns(frame, everything(frame))


# ---- columns


def test_numbers_are_scaled_by_the_training_rows_alone():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 1000.0]})
    (column,), notices = learn_columns(frame, np.array([True, True, True, False]))
    assert column == Numeric("a", 2.0, np.sqrt(2 / 3), 2.0)
    assert not notices
    np.testing.assert_allclose(column.encode(frame["a"])[:, 0], (frame["a"] - 2) / np.sqrt(2 / 3))


def test_missing_numbers_become_the_median_and_are_marked():
    (column,), _ = learnt(a=[1.0, 2.0, 6.0, np.nan, np.inf])
    assert (column.median, column.indicator, column.width) == (2.0, True, 2)
    encoded = column.encode(pd.Series([2.0, np.nan]))
    assert encoded[0, 0] == encoded[1, 0]
    assert encoded[:, 1].tolist() == [0, 1]


def test_a_number_missing_only_later_becomes_the_median():
    (column,), _ = learnt(a=[1.0, 2.0, 6.0])
    expected = (2.0 - 3.0) / np.std([1, 2, 6])
    np.testing.assert_allclose(column.encode(pd.Series([np.nan])), [[expected]])


@pytest.mark.parametrize(
    ("values", "categories"),
    [
        (["b", "a", "b"] * 5, ("a", "b")),
        ([True, False, True] * 5, ("False", "True")),
        ([True, None, False] * 5, ("False", "True")),
        (["TRUE", "false", None] * 5, ("False", "True")),
        ([" x", "x ", "y"] * 5, ("x", "y")),
    ],
)
def test_words_become_one_input_each(values, categories):
    (column,), _ = learnt(a=values)
    assert column == Categorical("a", categories)
    assert (column.encode(pd.Series(values)).sum(axis=1) == pd.Series(values).notna()).all()


def test_unknown_and_missing_words_are_zero_everywhere():
    column = Categorical("a", ("x", "y"))
    assert column.encode(pd.Series(["y", "z", None])).tolist() == [[0, 1], [0, 0], [0, 0]]


def test_words_do_not_depend_on_how_pandas_read_them():
    column = Categorical("a", ("1", "2", "x"))
    for values in (["1", "2"], [1, 2], [1.0, 2.0]):
        assert column.encode(pd.Series(values)).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert words(pd.Series([True, None])).tolist()[0] == "True"


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("a", [1, 1, 1, 1], "1 throughout"),
        ("a", ["k", "k", "k", "k"], "'k' throughout"),
        ("a", [None, None, None, None], "empty"),
        ("a", ["p", "q", "r", "s"], "text of its own"),
        ("a", ["2020-01-02", "2020-01-03", "2020-01-02", None], "dates"),
        ("a", ["2.1.2020 10:30", "3.1.2020 11:00", "1.1.2020 12:00", None], "dates"),
        ("Id", [5, 6, 7, 8], "counts the rows"),
        ("Unnamed: 0", [0, 1, 2, 3], "counts the rows"),
        ("customer_id", [0, 1, 2, 3], "counts the rows"),
    ],
)
def test_useless_columns_are_left_out_with_a_notice(name, values, why):
    columns, notices = learnt(good=[1.5, 2.0, 3.0, 1.0], **{name: values})
    assert [column.name for column in columns] == ["good"]
    (notice,) = notices
    assert repr(name) in notice
    assert why in notice


def test_numbers_in_order_are_kept_under_another_name():
    (column,), notices = learnt(x=[1, 2, 3, 4])
    assert column.name == "x"
    assert not notices


def test_constant_with_gaps_says_at_least_where():
    (column,), _ = learnt(a=[1.0, None, 1.0, None])
    np.testing.assert_array_equal(column.encode(pd.Series([1.0, None])), [[0, 0], [0, 1]])


def test_many_categories_are_cut():
    values = [f"v{i % 80}" for i in range(400)] + ["common"] * 5
    (column,), (notice,) = learnt(a=values)
    assert column.width == 50
    assert "common" in column.values
    assert "81 different" in notice


def test_numbers_whose_squares_overflow():
    columns, (notice,) = learnt(good=[1.5, 2.0, 3.0], a=[1e300, -1.7e308, 1.7e308])
    assert [column.name for column in columns] == ["good"]
    assert "too large" in notice
    encoded = Numeric("a", 0.0, 1e-10, 0.0).encode(pd.Series([1e300, -1e300, 0]))
    assert encoded[:, 0].tolist() == [1e30, -1e30, 0]
    value = np.array([1.0, 2.0, 1e300])
    with pytest.raises(UserError, match=r"holds 1e\+300: numbers above 1e\+150"):
        learn_quantity("t", value, np.ones(3, bool), centred=True)


def test_nothing_left_is_an_error():
    with pytest.raises(UserError, match="no column is left"):
        learnt(a=[1, 1])


def test_text_where_numbers_were():
    with pytest.raises(UserError, match="row 2 has 'x'"):
        numbers("a", pd.Series(["1", "x", None]))


# ---- the recipe


RECIPE = Recipe(
    (Numeric("a", 1.0, 2.0, 1.5, True), Categorical("b", ("u", "v"))), Classes("t", ("x", "y"))
)


def test_recipe_survives_json():
    assert Recipe.from_json(json.loads(json.dumps(RECIPE.to_json()))) == RECIPE
    for target in (Classes("t", (1, 2)), Classes("t", (False, True)), Quantity("t", 1.0, 2.0)):
        recipe = Recipe(RECIPE.columns, target)
        assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@pytest.mark.parametrize("broken", [None, {}, {"columns": [{}]}, {"columns": [], "target": {}}])
def test_broken_recipe(broken):
    with pytest.raises(UserError, match="damaged"):
        Recipe.from_json(broken)


def test_columns_are_found_by_name():
    frame = pd.DataFrame({"b": ["v"], "further": [0], "a": [3.0]})
    assert RECIPE.encode(frame).tolist() == [[1, 0, 0, 1]]
    assert RECIPE.width == 4
    with pytest.raises(UserError, match="Did you mean 'bb'"):
        RECIPE.encode(pd.DataFrame({"a": [1.0], "bb": ["u"]}))


# ---- targets


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"], "classification"),
        (["True", "False"], "classification"),
        (["0", "1"] * 10, "classification"),
        (["1.0", "2.0"] * 10, "classification"),
        (["0.5", "1"] * 10, "regression"),
        ([str(i) for i in range(100)], "regression"),
        (["1", "2", "3"], "regression"),
        (["0,5", "1,5"], "regression"),
    ],
)
def test_task_is_guessed(values, task):
    assert guess_task(pd.Series(values))[0] == task


@pytest.mark.parametrize(
    ("texts", "labels"),
    [
        (["b", "a"], ("a", "b")),
        (["10", "9"], (9, 10)),
        (["1.5", "-1.0"], (-1.0, 1.5)),
        (["True", "False"], (False, True)),
        (["01", "2"], ("01", "2")),
        (["TRUE", "FALSE"], ("FALSE", "TRUE")),
    ],
)
def test_labels_come_back_as_written(texts, labels):
    classes = learn_classes("t", pd.Series(texts))
    assert classes.labels == labels
    assert [type(label) for label in classes.labels] == [type(label) for label in labels]
    assert [str(classes.labels[code]) for code in classes.encode(texts)] == texts


def test_one_class_or_too_many():
    with pytest.raises(UserError, match="'a' in every row"):
        learn_classes("t", pd.Series(["a", "a"]))
    with pytest.raises(UserError, match="too many"):
        learn_classes("t", pd.Series([str(i) for i in range(50)]))


def test_probabilities_of_one_sigmoid():
    p = Classes("t", ("a", "b")).probabilities(np.array([[0.25]], np.float32))
    assert p.tolist() == [[0.75, 0.25]]


def test_quantity_there_and_back():
    value = np.array([1.0, 3.0, 100.0])
    quantity = learn_quantity("t", value, np.array([True, True, False]), centred=True)
    assert (quantity.mean, quantity.scale) == (2.0, 1.0)
    np.testing.assert_allclose(quantity.decode(quantity.encode(value)[:, None]), value)
    with pytest.raises(UserError, match="nothing to learn"):
        learn_quantity("t", value, np.array([True, False, False]), centred=True)


# ---- splits


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.5])
def test_split_takes_the_share_of_every_class(share):
    y = np.repeat([0, 1, 2], [100, 47, 1])
    held = hold_back(y, share, np.random.default_rng(0))
    for label in (0, 1):
        assert abs(held[y == label].sum() - share * (y == label).sum()) < 1
    assert not held[y == 2].any()
    assert (held == hold_back(y, share, np.random.default_rng(0))).all()


def test_split_leaves_one_row_of_every_class():
    y = np.repeat([0, 1, 2], [100, 99, 1])
    held = hold_back(y, 0.99, np.random.default_rng(0))
    assert [int((~held)[y == label].sum()) for label in (0, 1, 2)] == [1, 1, 1]
    y = np.arange(200) % 2
    assert hold_back(y, 0.999, np.random.default_rng(0)).sum() == 198


# ---- reading


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2,5\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ('"a,x"|b\n"1,2,3"|2\n', "|"),
        ("a\n1\n", ","),
    ],
)
def test_delimiter_is_found(text, delimiter):
    assert sniff(text) == delimiter


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        (b"\xef\xbb\xbfa, b\n1, x\n", {"a": [1], "b": ["x"]}),
        ("a,b\n1,é\n".encode("cp1252"), {"a": [1], "b": ["é"]}),
        ("a,b\n1,é\n".encode("utf-16"), {"a": [1], "b": ["é"]}),
        (b"a;b\n1,5;x\n", {"a": [1.5], "b": ["x"]}),
        (b'a,b\n1,"x, ""y""\nz"\n', {"a": [1], "b": ['x, "y"\nz']}),
    ],
)
def test_tables_of_all_kinds(tmp_path, content, columns):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    frame, _ = read_table(str(path))
    assert frame.to_dict("list") == columns


def test_compressed_table(tmp_path):
    path = tmp_path / "t.csv.gz"
    pd.DataFrame({"a": [1], "b": [2]}).to_csv(path, index=False)
    assert read_table(str(path))[0].to_dict("list") == {"a": [1], "b": [2]}


def read(tmp_path, text, **options):
    path = tmp_path / "t.csv"
    path.write_text(text)
    return read_table(str(path), **options)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_decimal_points_beside_a_whole_target(tmp_path, delimiter):
    text = '"fixed acidity";"pH";"quality"\n7.1;3.20;5\n6.9;3.00;6\n'.replace(";", delimiter)
    frame, notices = read(tmp_path, text, as_text=["quality"])
    assert frame.to_dict("list") == {
        "fixed acidity": [7.1, 6.9],
        "pH": [3.2, 3.0],
        "quality": ["5", "6"],
    }
    assert not notices


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("a;b\n3,5;2.5\n4;1\n", [3.5, 4]),
        ("a;b\n1,234;2.5\n3,5;1\n", [1.234, 3.5]),
        ("a;b\n0,125;2.5\n1,250;1\n", [0.125, 1.25]),
        ("a;b\n1,234;3,5\n950;1\n", [1.234, 950]),  # as in the other column
        ("a;b\n1,234,567;3,5\n1,234;1\n", [1234567, 1234]),
        ("a;b\n1,234;2.5\n950;1\n", [1234, 950]),
        ('a,b\n"1,234",2.5\n950.5,1\n', [1234, 950.5]),
        ('a,b\n"1,234.5",2.5\n,1\n', [1234.5, np.nan]),
        ("a;b\n3,5;1\n2.5;1\n", ["3,5", "2.5"]),
        ("a;b\n3,5;1\nx;1\n", ["3,5", "x"]),
        ('a,b\n"3,5",1\n4,2\n', ["3,5", "4"]),
    ],
)
def test_commas_in_numbers(tmp_path, text, column):
    frame, notices = read(tmp_path, text)
    np.testing.assert_array_equal(frame["a"].tolist(), column)
    assert frame["b"].dtype.kind in "if"
    thousands = frame.attrs["commas"].get("a") == "thousands"
    assert any("thousands separator" in notice for notice in notices) == thousands


def test_commas_mean_what_they_meant_in_the_training(tmp_path):
    frame, _ = read(tmp_path, "a;b\n3,5;1,234\n4,25;950\n2;2,5\n")
    columns, _ = learn_columns(frame, everything(frame), frame.attrs["commas"])
    recipe = Recipe(columns, Quantity("t"))
    recipe = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert recipe.commas == {"a": "decimal", "b": "decimal"}
    for text in ("a;b\n1,234;2,345\n", 'a,b\n"1,234","2,345"\n'):
        frame, notices = read(tmp_path, text, commas=recipe.commas)
        assert frame.to_dict("list") == {"a": [1.234], "b": [2.345]}
        assert not notices
    frame, _ = read(tmp_path, "a;b\n1,234;x\n", commas={"a": "thousands", "b": "decimal"})
    assert frame.to_dict("list") == {"a": [1234], "b": ["x"]}


@pytest.mark.parametrize(
    ("texts", "decimals", "value"),
    [
        (["950", "1,234"], False, [950, 1234]),
        (["950", "1,234.5", None], False, [950, 1234.5, np.nan]),
        (["1,234", "-1,234,567"], True, [1234, -1234567]),
        (["950", "1,234"], True, [950, 1.234]),
        (["1,234", "3,5"], False, [1.234, 3.5]),
        (["0,125", "1,250"], False, [0.125, 1.25]),
    ],
)
def test_commas_of_the_target(texts, decimals, value):
    column = pd.Series(texts, dtype=object)
    np.testing.assert_array_equal(as_numbers(column, style(column, decimals)), value)


def test_text_with_commas_is_no_number():
    assert as_numbers(pd.Series(["1,234", "x"])) is None
    assert as_numbers(pd.Series(["3,5", "2.5"])) is None


@pytest.mark.parametrize("cut", [30, 200])
def test_damaged_gz(tmp_path, cut):
    path = tmp_path / "t.csv.gz"
    whole = gzip.compress(b"a,b\n" + np.random.default_rng(0).bytes(2000))
    path.write_bytes(whole[:cut])
    with pytest.raises(UserError, match="damaged or incomplete"):
        read_table(str(path))
    path.write_bytes(whole[:10] + b"\xff" * 40)
    with pytest.raises(UserError, match="damaged or incomplete"):
        read_table(str(path))
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(UserError, match="cannot be read: Not a gzipped file"):
        read_table(str(path))


@pytest.mark.parametrize("blank", ["\n", " ", "\r\n", " \n"])
def test_a_table_below_much_that_is_blank(tmp_path, blank):
    frame, _ = read(tmp_path, blank * 70_000 + "a;b\n1;2\n")
    assert frame.to_dict("list") == {"a": [1], "b": [2]}


def test_as_text_leaves_the_writing_alone(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n01,TRUE\n")
    assert read_table(str(path), as_text=["a", "b"])[0].to_dict("list") == {
        "a": ["01"],
        "b": ["TRUE"],
    }


# ---- the digits

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
    assert list(digits_table().columns[[0, 63, 64]]) == ["p0", "p63", "digit"]
