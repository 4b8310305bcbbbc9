"""Tables are read from files of all kinds, with the values and the messages they should have."""

import bz2
import csv
import gzip
import io
import json
import lzma
import pickle
import random
import sys
import zipfile

import numpy as np
import pytest

pl = pytest.importorskip("polars", reason="reading tables needs polars")

from flatprop.tables import delimited_text  # noqa: E402
from flatprop.tables.table_files import read_table  # noqa: E402

TABLE = {"a": [1, 2], "b": ["x", "y"]}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads content as the file `t.csv` of the current folder."""
    monkeypatch.chdir(tmp_path)

    def read(content, **options):
        content = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "t.csv").write_bytes(content)
        frame, notes = read_table("t.csv", **options)
        return frame.to_dict(as_series=False), notes

    return read


def archive(**files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as opened:
        for name, text in files.items():
            opened.writestr(name.replace("__", "/"), text)
    return content.getvalue()


# ---- delimited text


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("a,b\n1,x\n2,y\n", TABLE),
        ("a;b\n1;x\n2;y", TABLE),
        ("a\tb\r\n1\tx\r\n2\ty\r\n", TABLE),
        ('"a"|"b"\n"1"|"x"\n"2"|"y"\n', TABLE),
        ("a,b\r1,x\r2,y\r", TABLE),
        (" a , b\n 1, x\n2 ,y \n", TABLE),
        ("\n \r\n" * 70_000 + "a,b\n1,x\n\n2,y\n\n", TABLE),
        (b"\xef\xbb\xbfa,b\n1,x\n2,y\n", TABLE),
        ("a,b\n1,x\n2,y\n".encode("utf-16"), TABLE),
        ("a;b\n3,5;1,234\n", {"a": ["3,5"], "b": ["1,234"]}),
        ('a,b\n1,"x, ""y""\nz"\n', {"a": [1], "b": ['x, "y"\nz']}),
        ('a,b\n1, "x, y"\n', {"a": [1], "b": ["x, y"]}),
        ('a,b\n5" pipe,1\n6" pipe,2\n', {"a": ['5" pipe', '6" pipe'], "b": [1, 2]}),
        ("a,b\n1,2,\n3,4,\n", {"a": [1, 3], "b": [2, 4]}),
        ("a,b,\n1,2,\n", {"a": [1], "b": [2], "Unnamed: 2": [None]}),
        ("a\n1\n\n2\n", {"a": [1, 2]}),
        ("[a],[b]\n1,x\n", {"[a]": [1], "[b]": ["x"]}),
    ],
)
def test_texts_of_all_kinds(read, content, columns):
    assert read(content) == (columns, [])


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        (["1", "-2", "+3", ""], [1, -2, 3, None]),
        (["1", "2.5"], [1.0, 2.5]),
        (["inf", "1e5", "-Infinity", ".5"], [np.inf, 1e5, -np.inf, 0.5]),
        (["99999999999999999999", "1"], [1e20, 1.0]),
        (["9223372036854775807"], [2**63 - 1]),
        (["01", "2"], [1, 2]),
        (["", ""], [None, None]),
        (["1", "12O.5"], ["1", "12O.5"]),
        (["1", "NA", "None", "?", '""'], ["1", "NA", "None", "?", None]),
        (["75.9 m2", "$1,2", "1_0"], ["75.9 m2", "$1,2", "1_0"]),
        (["True", "false"], ["True", "false"]),
        (["2020-01-02"], ["2020-01-02"]),
        (["1 ", "  "], [1, None]),
    ],
)
def test_only_columns_of_numbers_throughout_are_numbers(read, fields, values):
    columns, _ = read("a;b\n" + "".join(f"{field};x\n" for field in fields))
    assert columns["a"] == values
    assert [type(value) for value in columns["a"]] == [type(value) for value in values]


def test_nan_is_a_number_and_no_missing_value(read):
    columns, _ = read("a,b\nnan,1\n,2\n")
    assert np.isnan(columns["a"][0])
    assert columns["a"][1] is None


def test_texts_are_left_as_they_are_written(read):
    columns, _ = read("zip,n,y\n01234,1,01\n56789,2,1.0\n", texts=["zip", "y"])
    assert columns == {"zip": ["01234", "56789"], "n": [1, 2], "y": ["01", "1.0"]}


def test_no_header(read):
    assert read("\n1,x\n2,y\n", header=False) == ({"column_1": [1, 2], "column_2": ["x", "y"]}, [])


@pytest.mark.parametrize(
    ("delimiter", "content"),
    [(" ", "a b\n1 x\n2 y\n"), ("\\t", "a\tb\n1\tx\n2\ty\n"), ("¦", "a¦b\n1¦x\n2¦y\n")],
)
def test_a_delimiter_that_is_given(read, delimiter, content):
    assert read(content, delimiter=delimiter) == (TABLE, [])


@pytest.mark.parametrize(
    ("content", "columns", "note"),
    [
        ("a,b\n1,é\n".encode("cp1252"), {"a": [1], "b": ["é"]}, "read as Windows-1252"),
        (
            "a,b\n1,x\n2\n3,z\n4\n",
            {"a": [1, 2, 3, 4], "b": ["x", None, "z", None]},
            "2 rows have fewer fields than t.csv has columns, first in line 3",
        ),
        ("a,a,a.1\n1,2,3\n", {"a": [1], "a.2": [2], "a.1": [3]}, "'a', which is called 'a.2'"),
        (
            "1,2\n3,4\n",
            {"1": [3], "2": [4]},
            "holds only numbers, .* that the table has no header",
        ),
    ],
)
def test_what_the_user_should_know(read, content, columns, note):
    found, notes = read(content)
    assert found == columns
    with pytest.raises(AssertionError, match=note):
        raise AssertionError("\n".join(notes))
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "t.csv is empty; a table needs a line of column names"),
        ("\n \n", "t.csv is empty"),
        ("a,b\n", "t.csv has column names but no rows"),
        ("a,b\n\n1,2\n3,4,5\n", r"line 4: more fields \(3\) than columns \(2\); is ',' the delim"),
        ('a,b\n1,2\n3,"4\n5,6\n', "line 3: a quote is opened here and never closed"),
        ('"a,b\n1,2\n', "line 1: a quote is opened here"),
        ("a,b\n1,2\n3,\0\n", "line 3: there is a NUL byte; the file is damaged, or is no text"),
        (b"\1\0\2" * 9, "line 1: there is a NUL byte"),
        (b"\x80\x04\x95", "t.csv is a pickle of Python; save the table as CSV, parquet or .xlsx"),
        (pickle.dumps({}, 2), "is a pickle"),
        (b"SQLite format 3\0", "is an SQLite database"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old Excel file"),
        (b"\x93NUMPY\1\0", "is an array of NumPy"),
        ("\n<!DOCTYPE html>\n<html>", "is a web page"),
    ],
)
def test_what_is_no_table(read, content, message):
    with pytest.raises(ValueError, match=message):
        read(content)


def test_a_delimiter_of_many_characters(read):
    with pytest.raises(ValueError, match="the delimiter must be one character, not '::'"):
        read("a::b\n1::2\n", delimiter="::")


# ---- blocks


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 1024 bytes for each column."""
    monkeypatch.setattr(delimited_text, "BLOCK", 1)


@pytest.mark.usefixtures("small_blocks")
def test_a_stray_cell_far_down(read):
    written = [f"{i}.50" for i in range(2000)]
    written[1900] = "12O.5"
    shares = []
    columns, notes = read(
        "a,b\n" + "".join(f"{a},{i}\n" for i, a in enumerate(written)), progress=shares.append
    )
    assert columns == {"a": written, "b": list(range(2000))}
    assert not notes
    half = len(shares) // 2
    assert half > 3
    assert shares[:half] == shares[half:] == sorted(shares[:half])
    assert 0 < shares[0] < shares[-1] == 1


@pytest.mark.usefixtures("small_blocks")
def test_numbers_that_become_fractions_or_appear_far_down(read):
    a, b, c = [*range(1000), 0.5], [None] * 1000 + [7], [""] * 1000 + ["x"]
    columns, _ = read(
        "a,b,c\n" + "".join(f"{x},{y or ''},{z}\n" for x, y, z in zip(a, b, c, strict=True))
    )
    assert columns == {"a": a, "b": b, "c": [z or None for z in c]}
    assert isinstance(columns["a"][0], float)


FIELDS = ["1", "2.5", "", "a b", " x", "y ", '"q"', '"a,b"', '"a\nb"', '"a ""b"" c"', '""', '5" p',
          "é", "NA", '"x" ', ' "y,z"', "12O.5"]  # fmt: skip


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("seed", range(12))
def test_untidy_texts_are_read_as_by_python(read, seed):
    rng = random.Random(seed)
    few, rare, end = rng.sample(FIELDS, 4), rng.choice(FIELDS), rng.choice(["\n", "\r\n"])

    def row():
        fields = [rare if rng.random() < 0.002 else rng.choice(few) for _ in range(3)]
        return ",".join(fields[: 2 if rng.random() < 0.002 else 3])

    text = end.join(["n,m,k", *(row() for _ in range(1000))])
    rows = list(csv.reader(io.StringIO(text, newline=""), skipinitialspace=True))[1:]
    expected = [[*(field.strip(" ") or None for field in row), None][:3] for row in rows]
    encoding = rng.choice(["utf-8", "cp1252"])
    columns, notes = read(text.encode(encoding), texts=["n", "m", "k"])
    assert [list(row) for row in zip(*columns.values(), strict=True)] == expected
    short = sum(len(row) < 3 for row in rows)
    assert any("fewer fields" in note for note in notes) == (short > 0)
    assert any("1252" in note for note in notes) == (encoding == "cp1252" and "é" in text)


# ---- compressed files


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(b"a,b\n1,x\n2,y\n"),
        bz2.compress(b"a,b\n1,x\n2,y\n"),
        lzma.compress(b"a,b\n1,x\n2,y\n"),
        b"(\xb5/\xfd \x0ca\x00\x00a,b\n1,x\n2,y\n",  # zstd
        archive(t="a,b\n1,x\n2,y\n"),
        gzip.compress("a,b\n1,x\n2,y\n".encode("utf-16")),
    ],
    ids=["gzip", "bzip2", "xz", "zstd", "zip", "UTF-16 in gzip"],
)
def test_what_is_compressed_is_told_by_the_content(read, packed):
    assert read(packed) == (TABLE, [])


PACKED = gzip.compress(random.Random(0).randbytes(2000).hex().encode())


@pytest.mark.parametrize(
    "content",
    [
        PACKED[:30],
        PACKED[:200],
        PACKED[:10] + b"\xff" * 40,
        bz2.compress(b"a,b\n1,2\n")[:-5],
        bz2.compress(b"a,b\n1,2\n")[:10] + b"\xff" * 40,
        lzma.compress(b"a,b\n1,2\n")[:-5],
        b"(\xb5/\xfd \x0ca\x00",
        archive(t="a,b\n1,2\n")[:40],
    ],
    ids=["gzip", "more gzip", "not gzip", "bzip2", "not bzip2", "xz", "zstd", "zip"],
)
def test_damaged_files(read, content):
    with pytest.raises(ValueError, match=r"t\.csv is damaged or incomplete: "):
        read(content)


def test_an_archive_of_many_files(read):
    with pytest.raises(ValueError, match=r"archive of 2 files \(x, y\); unpack it and name one"):
        read(archive(x="a,b\n1,2\n", y=""))
    arrays = io.BytesIO()
    np.savez(arrays, a=np.ones(2))
    with pytest.raises(ValueError, match="is an array of NumPy"):
        read(arrays.getvalue())


# ---- parquet, JSON, Excel


def test_parquet_under_another_name(read):
    content = io.BytesIO()
    pl.DataFrame(
        {
            "whole": pl.Series([1, 2], dtype=pl.UInt8),
            "large": pl.Series([1, 2**64 - 1], dtype=pl.UInt64),
            "single": pl.Series([0.5, None], dtype=pl.Float32),
            "code": ["01", " "],
            "kind": pl.Series(["u", "v"], dtype=pl.Categorical),
            "flag": [True, None],
            "none": [None, None],
            "lists": [[1], [2]],
        }
    ).write_parquet(content)
    columns, (note,) = read(content.getvalue())
    assert columns == {
        "whole": [1, 2],
        "large": [1.0, 2.0**64],
        "single": [0.5, None],
        "code": ["01", None],
        "kind": ["u", "v"],
        "flag": [True, None],
        "none": [None, None],
    }
    assert "column 'lists' of t.csv is left out" in note
    assert read(content.getvalue(), texts=["whole"])[0]["whole"] == ["1", "2"]
    with pytest.raises(ValueError, match=r"t\.csv is no parquet file that polars reads"):
        read(content.getvalue()[:200])


@pytest.mark.parametrize(
    "content",
    [
        '[{"a": 1, "b": "x"}, {"b": "y", "a": 2}]',
        '\ufeff{"a": 1, "b": "x"}\n\n{"a": 2, "b": "y"}\n',
        '{"a": [1, 2], "b": ["x", "y"]}',
        '{"a": {"0": 1, "1": 2}, "b": {"0": "x", "1": "y"}}',
        '[{"a": "1", "b": "x"}, {"a": "2", "b": " y"}]',
    ],
)
def test_json(read, content):
    assert read(content) == (TABLE, [])


def test_json_of_several_types(read):
    records = [{"a": 1, "b": True, "c": float("nan"), "d": 1}, {"a": "x", "d": 2.5, "e": [1]}]
    columns, (note,) = read(json.dumps(records))
    assert np.isnan(columns.pop("c")[0])
    assert columns == {"a": ["1", "x"], "b": [True, None], "d": [1.0, 2.5]}
    assert "column 'e' of t.csv is left out: it holds no plain values" in note


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "is no table in JSON: it holds other values than records"),
        ('[{"a": 1}', "is no table in JSON: Expecting"),
        ('{"a": 1}\n{"a":\n', "is no table in JSON: Expecting"),
        ('{"a": [1, 2], "b": [1]}', "its columns differ in length"),
        ("[]", "has no column of numbers or of texts"),
        ('[{"a": [1]}]', "has no column of numbers or of texts"),
    ],
)
def test_json_that_is_no_table(read, content, message):
    with pytest.raises(ValueError, match=message):
        read(content)


def workbook(**sheets):
    """The smallest .xlsx of sheets, each a list of rows."""
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    package = "http://schemas.openxmlformats.org/package/2006"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"

    def relations(kind, targets):
        inner = "".join(
            f'<Relationship Id="r{i}" Type="{office}/{kind}" Target="{target}"/>'
            for i, target in enumerate(targets)
        )
        return f'<Relationships xmlns="{package}/relationships">{inner}</Relationships>'

    def cell(value):
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
        return f"<c><v>{value}</v></c>"

    names = "".join(f'<sheet name="{s}" sheetId="1" r:id="r{i}"/>' for i, s in enumerate(sheets))
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"/>',
        "_rels__.rels": relations("officeDocument", ["xl/workbook.xml"]),
        "xl__workbook.xml": f'<workbook {main} xmlns:r="{office}"><sheets>{names}</sheets>'
        "</workbook>",
        "xl___rels__workbook.xml.rels": relations("worksheet", [f"{s}.xml" for s in sheets]),
    }
    for name, rows in sheets.items():
        inner = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
        files[f"xl__{name}.xml"] = f"<worksheet {main}><sheetData>{inner}</sheetData></worksheet>"
    return archive(**files)


def test_excel(read):
    pytest.importorskip("fastexcel", reason="Excel files need fastexcel")
    assert read(workbook(one=[["a", "b"], [1, "x"], [2, "y"]])) == (TABLE, [])
    columns, (note,) = read(
        workbook(one=[[" a", "b", "c"], [1, "x", "1"], [2.5, 3, "2"]], two=[["z"], [1]])
    )
    assert columns == {"a": [1, 2.5], "b": ["x", "3"], "c": [1, 2]}
    assert note == "t.csv has 2 sheets; the first, 'one', was read"
    assert read(workbook(one=[[1, 2], [3, 4]]), header=False)[0] == {
        "column_1": [1, 3],
        "column_2": [2, 4],
    }
    with pytest.raises(ValueError, match=r"t\.csv has nothing in its first sheet, 'one'"):
        read(workbook(one=[]))
    with pytest.raises(ValueError, match=r"t\.csv is no Excel file that can be read"):
        read(archive(**{"[Content_Types].xml": ""}))


def test_excel_without_its_reader(read, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    with pytest.raises(ImportError, match="Excel files need fastexcel: pip install"):
        read(workbook(one=[["a"], [1]]))


# ---- files that are not there


def test_files_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wine.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FileNotFoundError, match=r"^no such file: vine\.csv\. Did you mean 'wine"):
        read_table("vine.csv")
    with pytest.raises(FileNotFoundError, match="Did you mean 'digits'"):
        read_table("digit")
    with pytest.raises(FileNotFoundError, match=r"^no such file: zzz\.$"):
        read_table("zzz")
    with pytest.raises(FileNotFoundError, match="There is no folder nowhere either"):
        read_table("nowhere/wine.csv")
    with pytest.raises(IsADirectoryError, match="is a folder; name a file in it"):
        read_table(str(tmp_path))


def test_a_file_that_must_not_be_read(read, monkeypatch):
    def refuse(path, mode):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(PermissionError, match=r"^t\.csv cannot be read: Permission denied$"):
        read_table("t.csv")


@pytest.mark.parametrize(
    "content", [b"a,b\n1,x\n2,y\n", gzip.compress(b"a,b\n1,x\n2,y\n")], ids=["plain", "gzip"]
)
def test_standard_input(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert read_table("-")[0].to_dict(as_series=False) == TABLE


def test_standard_input_that_is_closed_or_empty(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(ValueError, match="standard input is empty"):
        read_table("-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ValueError, match="standard input is closed"):
        read_table("-")
