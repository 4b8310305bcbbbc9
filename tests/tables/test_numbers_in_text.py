"""Columns of number-like text: which are numbers, how they are read, and what is told."""

import doctest
import pickle
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("polars", reason="tables need polars")
pytest.importorskip("sklearn", reason="tables need scikit-learn")

import polars as pl
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from flatprop.tables import numbers_in_text, written_numbers
from flatprop.tables.numbers_in_text import NumbersInText, as_series
from flatprop.tables.written_numbers import learn_format, read, stray_note

NAN = float("nan")


def values_of(texts, others=""):
    """The numbers of a column, NaN where there is none; None if it stays text."""
    series = pl.Series("x", texts, pl.String)
    form = learn_format(series, others)
    return None if form is None else read(series, form)[0].fill_null(NAN).to_list()


@pytest.mark.parametrize("module", [numbers_in_text, written_numbers])
def test_examples_of_the_docstrings(module):
    failed, tried = doctest.testmod(module)
    assert (failed, tried > 0) == (0, True)


# ---- one column


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["75.9 m2", "80m2", "1,080 m²", "12 m^2"], [75.9, 80, 1080, 12]),
        (["15.2%", "5 %", "0"], [15.2, 5, 0]),
        (["12 kg", "13.5 KG", "14"], [12, 13.5, 14]),
        (["12 g", "13"], [12, 13]),
        (["12G", "13"], None),
        (["$ 1.2 Mio.", "$3"], None),
        (["€ 3.50", "1,200.00 EUR", "-4 €"], [3.5, 1200, -4]),
        (["$1,200", "$ 3.5", "-$5", "$-6"], [1200, 3.5, -5, -6]),
        (["Rs. 500", "Rs 20"], [500, 20]),
        (["(1,234.5)", "3", "$(2)", "(€ 7)"], None),
        (["(1,234.5)", "3"], [-1234.5, 3]),
        (["$(2)", "($3)", "$4"], [-2, -3, 4]),
        (["+3", "-4", "−5", "–6", "7-"], [3, -4, -5, -6, -7]),
        (["1 234", "1\u00a0234.5", "12\u202f345", "1\u2009000"], [1234, 1234.5, 12345, 1000]),
        (["1'234.5", "1’234"], [1234.5, 1234]),
        (["138.300,00", "950,5"], [138300, 950.5]),
        (["1.234.567", "12,5"], [1234567, 12.5]),
        (["3,5", "-,5", "4,"], [3.5, -0.5, 4]),
        (["1e-3", "-2.5E+4", "1"], [0.001, -25000, 1]),
        (["1,5e3", "2,25"], [1500, 2.25]),
        (["5.-", "1'200.-", "3,--"], [5, 1200, 3]),
        (["12-inch", "15.6-inch"], [12, 15.6]),
        (['15.6"', '17"'], [15.6, 17]),
        (["1 year", "2 years", "3 Years"], [1, 2, 3]),
        (["6.1 l/100 km", "7 l/100 km"], [6.1, 7]),
        (["5k", "0", "7.5k"], [5, 0, 7.5]),
        (["$1.2M", "$3M"], [1.2, 3]),
        (["12,34,567", "1,23,456.5"], [1234567, 123456.5]),
        ([" 1 ", "2\t", "\n3"], [1, 2, 3]),
        (["007.5", "1"], [7.5, 1]),
        (["5.", ".5", "5"], [5, 0.5, 5]),
        (["12345678901234567", "0.1"], [12345678901234567, 0.1]),
        (["inf", "-Infinity", "∞", "1"], [np.inf, -np.inf, np.inf, 1]),
        (["1", None, "2"], [1, NAN, 2]),
    ],
)
def test_numbers(texts, values):
    assert values_of(texts) == (values and pytest.approx(values, rel=0, abs=0, nan_ok=True))


@pytest.mark.parametrize(
    ("texts", "others", "values"),
    [
        (["950", "1,234"], "", [950, 1234]),
        (["950", "1,234"], ",", [950, 1.234]),
        (["950", "1,234"], ",.", [950, 1.234]),
        (["950", "1,234"], ".", [950, 1234]),
        (["950.5", "1,234"], ",", [950.5, 1234]),
        (["1,234", "-1,234,567"], ",", [1234, -1234567]),
        (["1,234", "3,5"], "", [1.234, 3.5]),
        (["0,125", "1,250"], "", [0.125, 1.25]),
        (["950", "1.234"], "", [950, 1.234]),
        (["950", "1.234"], ",", [950, 1234]),
        (["950", "1.234"], ",.", [950, 1.234]),
        (["950", "1.2340"], ",", [950, 1.234]),
        (["950 EUR", "1.200 EUR"], "", [950, 1200]),
        (["$950", "$1.200"], "", [950, 1.2]),
        (["3,5", "2.5"], "", None),
    ],
)
def test_points_and_commas(texts, others, values):
    assert values_of(texts, others) == values


MISSING = """NA n/a N/A ? - -- — null None NaN missing .. #DIV/0! Unknown <NA> #N/A"""


@pytest.mark.parametrize("word", ["", " ", "not available", *MISSING.split()])
def test_missing_words_are_no_strays(word):
    texts = pl.Series(["1,5", word, "2,5", word])
    values, strays = read(texts, learn_format(texts))
    assert values.to_list() == [1.5, None, 2.5, None]
    assert strays == []


@pytest.mark.parametrize(
    "texts",
    [
        ["2024-01-05", "2024-02-06"],
        ["05.01.2024", "06.02.2024"],
        ["12/3/2024", "1/4/2024"],
        ["12:30", "01:15:20"],
        ["1.2.3", "1.10.0"],
        ["192.168.0.1", "10.0.0.1"],
        ["192.168.100.200", "192.168.100.201"],
        ["+4930123456", "+4940987654"],
        ["612 345 678", "698 765 432"],
        ["555-1234", "555-9876"],
        ["(030) 123456", "(040) 9876"],
        ["01234", "98101"],
        ["007", "12", "1984"],
        ["10-20", "20-30"],
        ["10 to 20", "20 to 30"],
        ["M5", "M3"],
        ["12a", "12b", "3c"],
        ["0x1F", "0xA0"],
        ["yes", "no"],
        ["True", "False"],
        ["1st", "2nd", "3rd"],
        ["5pm", "6am"],
        ["1/2", "3/4"],
        ["<5", "<6"],
        ["1,2,3", "4,5,6"],
        ["10 20", "30 40"],
        ["1_000", "2_000"],
        ["--5", "+-6"],
        ["e5", "."],
        ["info", "infrared"],
        ["3 little pigs", "101 dalmatians"],
        ["5k", "200"],
        ["5 %", "0.3"],
        ["2 m", "15 cm"],
        ["5 mW", "5 MW"],
        ["$5", "€5"],
        ["NA", "?"],
        [None, None],
        [],
    ],
)
def test_text_stays_text(texts):
    assert values_of(texts) is None


def test_only_texts_have_a_format():
    assert learn_format(pl.Series([1.5, 2.5])) is None


def test_a_stray_among_300():
    texts = pl.Series("x", [f"{i / 8}" for i in range(300)])
    texts[16] = "12O.5"
    values, strays = read(texts, learn_format(texts))
    assert values[16] is None
    assert values.null_count() == 1
    (note,) = stray_note("x", values, strays)
    assert note == (
        "column 'x': 1 of 300 values is no number: '12O.5' (row 17); it is taken as missing"
    )


def test_several_strays_are_counted_with_the_first_three():
    texts = pl.Series("x", [f"{i},5" for i in range(200)] + ["b", "a", "a", "c", "d", None, "?"])
    values, strays = read(texts, learn_format(texts))
    (note,) = stray_note("x", values, strays)
    assert note == (
        "column 'x': 5 of 205 values are no numbers: 'b' (row 201), 'a' (row 202, 2 times), "
        "'c' (row 204), ...; they are taken as missing"
    )
    assert stray_note("x", values, []) == []


@pytest.mark.parametrize(("strays", "are_numbers"), [(5, True), (6, False)])
def test_at_most_one_in_twenty_is_a_stray(strays, are_numbers):
    texts = [str(i) for i in range(100 - strays)] + ["x"] * strays
    assert (values_of(texts) is not None) == are_numbers


def test_most_distinct_texts_must_be_numbers():
    assert values_of(["7"] * 98 + ["A1", "B2"]) is None


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["5k", "200"], "its numbers have different units: none, 'k'"),
        (["1", "2", "3", "<5"], "25% of its values are no numbers like the others, as '<5'"),
        (["01", "12"], "digits that begin with zeros are codes, as '01'"),
        (["+4930123456"], "telephone numbers and the like are no quantities, as '+4930123456'"),
    ],
)
def test_it_is_told_why_digits_stay_text(texts, why):
    assert NumbersInText().fit(pl.DataFrame({"x": texts})).notes_ == [
        f"column 'x' stays text: {why}"
    ]


def test_a_lone_other_unit_is_a_stray():
    texts = pl.Series([f"{i}.5 cm" for i in range(40)] + ["3 m"])
    values, strays = read(texts, learn_format(texts))
    assert values.to_list()[-2:] == [39.5, None]
    assert [stray.text for stray in strays] == ["3 m"]


def test_what_was_rare_in_a_long_column_is_found():
    texts = pl.Series([f"{i}" for i in range(150_000)])
    texts[77_777] = "77777x"
    values, strays = read(texts, learn_format(texts))
    assert [stray[1:] for stray in strays] == [(77_778, 1)]
    assert values.sum() == sum(range(150_000)) - 77_777


@given(
    st.lists(st.integers(-(10**11), 10**11), min_size=1, max_size=20),
    st.sampled_from(["", ",", " ", "'", "\u202f"]),
    st.booleans(),
    st.sampled_from(["{}", "{} kg", "{}%", "€ {}", "{} m2", "{} USD", " {}\u00a0l/100 km "]),
    st.sampled_from(["-{}", "\u2212{}", "({})", "{}-"]),
)
@settings(max_examples=100, deadline=None)
def test_numbers_come_back_as_they_were_written(hundredths, thousands, comma, unit, minus):
    swapped = {".": ",", ",": "."} if comma else {}

    def written(number):
        text = f"{abs(number) // 100:,}".replace(",", "\0") + f".{abs(number) % 100:02}"
        text = text.replace("\0", thousands).translate(str.maketrans(swapped))
        if number < 0 and minus == "{}-":  # stands behind digits alone
            return unit.format(text) if unit != "{}" else f"{text}-"
        return unit.format(minus.format(text) if number < 0 else text)

    expected = [
        abs(n) / 100 if n < 0 and minus == "{}-" and unit != "{}" else n / 100 for n in hundredths
    ]
    assert values_of([written(number) for number in hundredths]) == expected


# ---- a table


FRAME = pl.DataFrame(
    {
        "price": ["$1,200", "$950", "n/a", "$3.5"],
        "width": ["1,234", "950", "2,5", None],
        "depth": ["1,234", "950", "1", "2"],
        "zip": ["01234", "98101", "00501", None],
        "day": ["2024-01-05", "2024-01-06", None, "2024-02-01"],
        "word": ["1.0", "a", "TRUE", "2.0"],
        "typed": [1.5, float("inf"), None, 3.0],
        "whole": [1, 2, 3, 4],
    }
)


def test_a_table():
    cleaner = NumbersInText()
    out = cleaner.fit_transform(FRAME)
    assert out.equals(cleaner.transform(FRAME))
    assert out.columns == FRAME.columns
    assert out["price"].to_list() == [1200, 950, None, 3.5]
    assert out["width"].to_list() == [1.234, 950, 2.5, None]
    assert out["depth"].to_list() == [1.234, 950, 1, 2]  # as in the other column
    assert out["zip"].dtype == pl.Categorical
    assert out["zip"].cast(pl.String).to_list() == FRAME["zip"].to_list()
    rest = ["day", "word", "typed", "whole"]
    assert out.select(rest).equals(FRAME.select(rest))
    assert cleaner.formats_ == {
        "price": {"decimal": ".", "unit": "$"},
        "width": {"decimal": ",", "unit": ""},
        "depth": {"decimal": ",", "unit": ""},
    }
    assert cleaner.notes_ == [
        "column 'price' is read as numbers: '$1,200' is 1200 (the comma groups thousands)",
        "column 'width' is read as numbers: '1,234' is 1.234 (the comma is a decimal mark)",
        "column 'depth' is read as numbers: '1,234' is 1.234 (the comma is a decimal mark)",
        "column 'zip' stays text: digits that begin with zeros are codes, as '00501'",
    ]


def test_a_later_table():
    cleaner = NumbersInText().fit(FRAME)
    later = pl.DataFrame(
        {
            "extra": [1, 2],
            "whole": ["7", "8 kg"],
            "word": [1, 2],
            "day": ["2024-03-01", None],
            "zip": [1234, 98101],
            "depth": [3, None],
            "width": ["1.234,5", "x"],
            "price": ["12", "€ 3"],
            "typed": ["1,5", "2.5"],
        }
    )
    out = cleaner.transform(later)
    assert out.to_dict(as_series=False) == {
        "price": [12, None],
        "width": [1234.5, None],
        "depth": [3.0, None],
        "zip": ["01234", "98101"],
        "day": ["2024-03-01", None],
        "word": ["1.0", "2.0"],
        "typed": [None, 2.5],
        "whole": [7, None],
    }
    assert cleaner.transform_and_tell(later)[1] == [
        "column 'price': 1 of 2 values is no number: '€ 3' (row 2); it is taken as missing",
        "column 'width': 1 of 2 values is no number: 'x' (row 2); it is taken as missing",
        "column 'typed': 1 of 2 values is no number: '1,5' (row 1); it is taken as missing",
        "column 'whole': 1 of 2 values is no number: '8 kg' (row 2); it is taken as missing",
    ]
    assert cleaner.transform_and_tell(FRAME)[1] == []
    assert cleaner.transform(FRAME.clear()).columns == FRAME.columns


def test_words_that_arrive_as_numbers_or_truth_values():
    words = pl.DataFrame({"a": ["1", "b", "c"], "b": ["TRUE", "no", "b"], "c": ["1.0", "b", "c"]})
    cleaner = NumbersInText().fit(words)
    typed = pl.DataFrame({"a": [1.0, 2.5], "b": [True, False], "c": [1, 2]})
    assert cleaner.transform(typed).to_dict(as_series=False) == {
        "a": ["1", "2.5"],
        "b": ["TRUE", "false"],
        "c": ["1.0", "2.0"],
    }


def test_numbers_that_arrive_as_something_else():
    cleaner = NumbersInText().fit(pl.DataFrame({"a": ["1,5", "2,5"]}))
    for typed in ([True, False], [None, None], [1, 0]):
        out = cleaner.transform(pl.DataFrame({"a": typed}))["a"]
        assert out.dtype == pl.Float64
        assert out.to_list() == typed
    categories = pl.DataFrame({"a": ["3,5"]}, schema={"a": pl.Categorical})
    assert cleaner.transform(categories)["a"].to_list() == [3.5]
    with pytest.raises(ValueError, match="column 'a' held numbers, and now Date"):
        cleaner.transform(pl.DataFrame({"a": [date(2024, 1, 1)]}))


def test_missing_columns_are_named_with_the_nearest():
    cleaner = NumbersInText().fit(FRAME)
    with pytest.raises(ValueError, match=r"no column 'width' \(the nearest is 'widht'\), 'zip'"):
        cleaner.transform(FRAME.rename({"width": "widht"}).drop("zip"))


def test_what_is_no_table():
    with pytest.raises(TypeError, match="data frame of polars or pandas, not ndarray"):
        NumbersInText().fit(np.ones((2, 2)))
    with pytest.raises(TypeError, match="not LazyFrame"):
        NumbersInText().fit(FRAME.lazy())


def test_conventions_of_scikit_learn():
    cleaner = NumbersInText()
    assert clone(cleaner).get_params() == {}
    cleaner.fit(FRAME)
    assert cleaner.get_feature_names_out().tolist() == FRAME.columns
    again = pickle.loads(pickle.dumps(cleaner))
    assert again.transform(FRAME).equals(cleaner.transform(FRAME))


def test_saved_by_skops():
    io = pytest.importorskip("skops.io", reason="saves without pickle")
    cleaner = NumbersInText().fit(FRAME)
    saved = io.dumps(cleaner)
    assert io.get_untrusted_types(data=saved) == ["flatprop.tables.numbers_in_text.NumbersInText"]
    again = io.loads(saved, trusted=io.get_untrusted_types(data=saved))
    assert vars(again) == vars(cleaner)
    assert again.transform(FRAME).equals(cleaner.transform(FRAME))


# ---- pandas


def test_frames_of_pandas():
    pd = pytest.importorskip("pandas", reason="one of the two kinds of frames")
    frame = pd.DataFrame(
        {
            "price": ["$1,200", None, "$3.5"],
            "mixed": pd.Series([1, "2.5", None], dtype=object),
            "words": pd.Series([1, "b", 2.0], dtype=object),
            "numbers": [1.5, np.nan, 2.5],
            "whole": pd.Series([1, None, 3], dtype="Int64"),
            "truth": pd.Series([True, None, False], dtype="boolean"),
            "kind": pd.Categorical(["1", "2", None]),
            "day": pd.to_datetime(["2024-01-05", None, "2024-02-01"]),
            "zoned": pd.to_datetime(["2024-01-05", None, "2024-02-01"]).tz_localize("UTC"),
            0: ["3,5", "n/a", "4"],
        }
    )
    cleaner = NumbersInText()
    out = cleaner.fit_transform(frame)
    assert out.columns == [*map(str, frame.columns)]
    assert out["price"].to_list() == [1200, None, 3.5]
    assert out["mixed"].to_list() == [1, 2.5, None]
    assert out["words"].to_list() == ["1", "b", "2"]
    assert out["numbers"].to_list() == [1.5, None, 2.5]
    assert out["whole"].to_list() == [1, None, 3]
    assert out["truth"].to_list() == [True, None, False]
    assert out["kind"].dtype == pl.Categorical
    assert out["day"].dt.day().to_list() == [5, None, 1]
    assert out["zoned"].dt.day().to_list() == [5, None, 1]
    assert out["0"].to_list() == [3.5, None, 4]
    assert cleaner.transform(frame).equals(out)
    assert as_series(frame["price"], "p").to_list() == ["$1,200", None, "$3.5"]


# ---- before skrub


def test_before_the_vectorizer_of_skrub():
    skrub = pytest.importorskip("skrub", reason="the vectorizer behind")
    rows = range(60)
    frame = pl.DataFrame(
        {
            "area": ["75O.5 m2" if i == 7 else f"{100 + i},5 m2" for i in rows],
            "zip": [f"0{1230 + i % 4}" for i in rows],
            "day": [f"2024-01-{1 + i % 28:02}" for i in rows],
        }
    )
    table = skrub.TableVectorizer()
    pipeline = make_pipeline(NumbersInText(), table)
    vectors = pipeline.fit_transform(frame)
    kinds = table.kind_to_columns_
    assert (kinds["numeric"], kinds["datetime"]) == (["area"], ["day"])
    assert kinds["low_cardinality"] == ["zip"]
    assert vectors["area"].null_count() == 1
    assert vectors["area"][8] == 108.5
    later = frame.with_columns(area=pl.lit(5), zip=pl.lit(1231)).head(1)
    assert pipeline.transform(later).select("area", "zip_01231").row(0) == (5, 1)
