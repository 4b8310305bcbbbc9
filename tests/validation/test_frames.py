"""Frames and other holders of numbers: what they give, and what they get told."""

import decimal
from functools import partial

import numpy as np
import pytest

from networks import network

A = np.arange(12.0).reshape(4, 3)
NAMES = ["a", "b", "c"]
pandas = pytest.importorskip("pandas", reason="frames of pandas need pandas")

make = partial(network, (3, 4, 1), dtype="float32")


def frame():
    return pandas.DataFrame(A, columns=NAMES)


def polars_frame():
    return pytest.importorskip("polars", reason="frames of polars need polars").DataFrame(
        A, schema=NAMES
    )


def arrow():
    return pytest.importorskip("pyarrow", reason="Arrow's tables need pyarrow")


def torch_tensor():
    torch = pytest.importorskip("torch", reason="tensors need torch")
    return torch.tensor(A)


class OnlyDLPack:
    """What another library may offer of an array."""

    def __dlpack__(self, **options):
        return A.__dlpack__(**options)

    def __dlpack_device__(self):
        return A.__dlpack_device__()


GOOD = {
    "plain": frame,
    "a view": lambda: frame().T.T,
    "several types": lambda: frame().astype({"a": "int8", "b": "float32"}),
    "nullable": lambda: frame().convert_dtypes(),
    "nullable and plain": lambda: frame().astype({"a": "Int64", "b": "Float32"}),
    "numbers as categories": lambda: frame().astype({"b": "category"}),
    "objects": lambda: frame().astype(object),
    "sparse columns": lambda: frame().astype(pandas.SparseDtype(float, 0)),
    "backed by Arrow": lambda: arrow() and frame().astype("float64[pyarrow]"),
    "one name twice": lambda: frame().set_axis(["a", "b", "a"], axis=1).astype({"b": "Int8"}),
    "polars": polars_frame,
    "polars, several types": lambda: polars_frame().cast({"a": __import__("polars").Int8}),
    "polars, decimals": lambda: polars_frame().cast({"a": __import__("polars").Decimal(9, 2)}),
    "a table of pyarrow": lambda: arrow().table(dict(zip(NAMES, A.T, strict=True))),
    "a tensor": torch_tensor,
    "a half tensor": lambda: torch_tensor().half(),
    "nothing but DLPack": OnlyDLPack,
    "a memoryview": lambda: memoryview(A),
    "lists of decimals": lambda: [[decimal.Decimal(int(v)) for v in row] for row in A],
    "a mask of nothing": lambda: np.ma.masked_equal(A, -1),
}


@pytest.mark.parametrize("case", GOOD)
def test_taken_as_the_array_it_is(case):
    net = make()
    np.testing.assert_array_equal(net.predict(GOOD[case]()), net.predict(A))


@pytest.mark.parametrize("dtype", [bool, "boolean", "bool[pyarrow]"])
def test_booleans_are_0_and_1(dtype):
    if dtype == "bool[pyarrow]":
        arrow()
    net, odd = make(), A % 2 == 1
    truths = pandas.DataFrame(odd, columns=NAMES).astype(dtype)
    np.testing.assert_array_equal(net.predict(truths), net.predict(odd.astype(float)))
    mixed = frame().assign(b=truths["b"])
    expected = np.column_stack([A[:, 0], odd[:, 1], A[:, 2]])
    np.testing.assert_array_equal(net.predict(mixed), net.predict(expected))


def test_every_argument_of_fit_may_be_of_a_frame():
    polars = pytest.importorskip("polars", reason="frames of polars need polars")
    y, weight = A[:, 0] / 10, np.array([1.0, 2, 0, 1])
    runs = []
    for series in (np.asarray, pandas.Series, polars.Series):
        net = make()
        X = {np.asarray: A, pandas.Series: frame(), polars.Series: polars_frame()}[series]
        history = net.fit(
            X,
            series(y),
            sample_weight=series(weight),
            validation_data=(X, series(y), series(weight)),
            epochs=3,
        )
        runs.append((net.params.tobytes(), history.loss.tobytes(), history.val_loss.tobytes()))
    assert runs[0] == runs[1] == runs[2]


def with_text():
    return frame().assign(b=list("xyxy"))


def with_missing(dtype):
    missing = frame().astype({"b": dtype})
    missing.loc[1, "b"] = pandas.NA
    return missing


BAD = {
    "text": (with_text, r"X\[0, 1\] in column 'b' is 'x'; turn text, categories and dates into"),
    "digits as text": (lambda: frame().astype(str), r"X\[0, 0\] in column 'a' is '0.0'"),
    "text as categories": (
        lambda: with_text().astype({"b": "category"}),
        r"X\[0, 1\] in column 'b' is 'x'",
    ),
    "dates": (
        lambda: frame().assign(b=pandas.date_range("2020", periods=4)),
        "column 'b' of X must hold numbers, got dtype datetime64",
    ),
    "NaN": (lambda: frame().where(A != 4), r"X\[1, 1\] in column 'b' is nan; remove or"),
    "NA": (lambda: with_missing("Float64"), r"X\[1, 1\] in column 'b' is nan"),
    "NA among whole numbers": (lambda: with_missing("Int64"), r"X\[1, 1\] in column 'b' is nan"),
    "None": (
        lambda: frame().astype(object).where(A != 4, None),
        r"X\[1, 1\] in column 'b' is missing \(None\)",
    ),
    "NA among objects": (
        lambda: frame().astype(object).where(A != 4, pandas.NA),
        r"X\[1, 1\] in column 'b' is missing \(<NA>\)",
    ),
    "too large": (lambda: frame().assign(c=1e300), r"X\[0, 2\] in column 'c' is .*1e\+300.*too l"),
    "complex numbers": (lambda: frame().assign(c=1j), "column 'c' of X is complex"),
    "polars, text": (
        lambda: polars_frame().with_columns(b=__import__("polars").Series(list("xyxy"))),
        "column 'b' of X must hold numbers, got dtype <U1",
    ),
    "polars, dates": (
        lambda: polars_frame().cast({"b": __import__("polars").Datetime}),
        "column 'b' of X must hold numbers, got dtype datetime64",
    ),
    "polars, null": (
        lambda: polars_frame().with_columns(b=__import__("polars").Series([1, None, 2, 3])),
        r"X\[1, 1\] in column 'b' is nan",
    ),
    "a lazy frame": (lambda: polars_frame().lazy(), r"a LazyFrame; call its collect\(\) first"),
    "a tensor with its gradient": (
        lambda: torch_tensor().requires_grad_(),
        r"X cannot be made into an array of numbers.*detach\(\)",
    ),
    "masked values": (lambda: np.ma.masked_equal(A, 4), r"1 masked values; .*X.filled\(0\)"),
    "a generator": (lambda: (row for row in A), "X must be an array of numbers, got a generator"),
    "a dict": (lambda: {"a": A}, "X must be an array of numbers, got a dict"),
}


@pytest.mark.parametrize("case", BAD)
def test_message(case):
    bad, message = BAD[case]
    with pytest.raises((TypeError, ValueError), match=message):
        make().predict(bad())


def test_targets_of_text():
    with pytest.raises(TypeError, match=r"y must hold numbers, but y\[0\] is 'x'"):
        make().fit(frame(), with_text()["b"])
