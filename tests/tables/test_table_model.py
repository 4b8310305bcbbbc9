"""The pipeline of a table: what is in it, saved without code, loaded with care."""

import io
import json
import pickle
import zipfile
from datetime import date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pl = pytest.importorskip("polars", reason="tables are polars' frames")
pytest.importorskip("skrub", reason="tables need skrub")
skops_io = pytest.importorskip("skops.io", reason="pipelines are saved by skops")

from sklearn.linear_model import LinearRegression  # noqa: E402
from sklearn.pipeline import Pipeline, make_pipeline  # noqa: E402

from flatprop.cli import main  # noqa: E402
from flatprop.sklearn import EnsembleClassifier  # noqa: E402
from flatprop.tables import load, recipe  # noqa: E402
from flatprop.tables.table_model import (  # noqa: E402
    describe,
    fit_inputs,
    fit_networks,
    inputs,
    make,
    notes,
    predicted,
    save,
)

N = 240
RNG = np.random.default_rng(0)
X = RNG.normal(10, 3, N)
FRAME = pl.DataFrame(
    {
        "area": [f"{value:.2f} m2" for value in X],
        "rooms": [None if row % 7 == 0 else row % 5 for row in range(N)],
        "town": [["Paris", "Lyon", "Saint-Étienne"][row % 3] for row in range(N)],
        "sold": [f"2024-{row % 12 + 1:02d}-{row % 28 + 1:02d}" for row in range(N)],
        "remark": [f"it is number {row} of them" for row in range(N)],
        "garden": [row % 2 == 0 for row in range(N)],
    }
)


@pytest.fixture(scope="module", autouse=True)
def two_members():
    """Ensembles of two networks do for what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "MEMBERS", 2)
        yield


TARGETS = {"classification": np.where(X > 10, "large", "small"), "regression": 3 * X}


@pytest.fixture(scope="module", params=TARGETS)
def model(request, two_members):
    made = make(request.param, N, hidden=(8,), epochs=20, random_state=0)
    y = TARGETS[request.param]
    fit_inputs(made[:-1], FRAME, y)
    assert not fit_networks(made, inputs(made[:-1], [FRAME[:100], FRAME[100:]]), y, [])
    made.target_name_ = "size"
    return made


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "m.net"
    save(model, path, "size")
    return path


def test_what_becomes_of_the_columns_is_told(model):
    assert describe(model) == [
        "numbers: area, rooms, garden",
        "dates: sold",
        "categories: town",
        "texts: remark",
        "missing values are marked, in: rooms",
    ]
    (note,) = notes(model)
    assert "'area' is read as numbers" in note


def test_it_is_a_pipeline_of_scikit_learn(model, saved):
    again = load(saved)
    assert type(again) is Pipeline
    assert again.target_name_ == "size"
    np.testing.assert_array_equal(again.predict(FRAME), model.predict(FRAME))
    assert again.score(FRAME, model.predict(FRAME)) == pytest.approx(1)
    if isinstance(model[-1], EnsembleClassifier):
        p = again.predict_proba(FRAME)
        np.testing.assert_array_equal(p, model.predict_proba(FRAME))
        assert predicted(again, FRAME)[0].columns == ["size", "p(large)", "p(small)"]
        assert (again.predict(FRAME) == TARGETS["classification"]).mean() > 0.9
    else:
        assert predicted(again, FRAME)[0].columns == ["size"]


def test_frames_of_pandas_too(model):
    pandas = pytest.importorskip("pandas", reason="the frame is one of pandas")
    frame = pandas.DataFrame(FRAME.to_dict(as_series=False))
    np.testing.assert_array_equal(model.predict(frame), model.predict(FRAME))
    np.testing.assert_array_equal(
        model.predict(frame[frame.columns[::-1]].assign(more=1)), model.predict(FRAME)
    )


def test_blocks_are_used_up(model):
    blocks = list(FRAME.iter_slices(50))
    found = inputs(model[:-1], blocks)
    assert blocks == []
    np.testing.assert_array_equal(found, model[:-1].transform(FRAME))


# ---- files that lie


def test_columns_of_any_kind_are_saved_and_loaded(tmp_path):
    rows = range(400)
    frame = pl.DataFrame(
        {
            "few": [row % 2 for row in rows],
            "mostly 0": [float(row % 50 == 0) * row for row in rows],
            "heavy": [10.0 ** (row % 30) for row in rows],
            "truth": [row % 3 == 0 for row in rows],
            "stamp": [1.7e9 + row for row in rows],
            "day": [date(2024, 1, 1) + timedelta(row) for row in rows],
            "when": [datetime(2024, 1, 1) + timedelta(hours=row) for row in rows],
            "time": [f"2024-01-{row % 28 + 1:02d} {row % 24:02d}:30" for row in rows],
            "code": [f"{row % 7:05d}" for row in rows],
            "word": [None if row % 9 == 0 else "ab"[row % 2] for row in rows],
            "text": [f"a text of its own {row * 7919}" for row in rows],
        }
    )
    for task, y in (("regression", np.arange(400.0)), ("classification", np.arange(400) % 3)):
        for dtype in ("float32", "float64"):
            made = make(task, 400, hidden=(4,), epochs=1, dtype=dtype)
            fit_inputs(made[:-1], frame, y)
            fit_networks(made, inputs(made[:-1], [frame]), y, [])
            save(made, tmp_path / "m.net", "y")
            again = load(tmp_path / "m.net")
            np.testing.assert_array_equal(again.predict(frame), made.predict(frame))


def test_dates_may_be_texts_later_and_the_other_way_round():
    days = [date(2024, 1, 1) + timedelta(row) for row in range(100)]
    typed = pl.DataFrame({"day": days})
    texts = typed.with_columns(pl.col("day").cast(pl.String))
    nothing = pl.DataFrame({"day": [None, None]})
    for frame, other in ((typed, texts), (texts, typed)):
        made = make("regression", 100, hidden=(4,), epochs=1)
        fit_inputs(made[:-1], frame, np.arange(100.0))
        np.testing.assert_array_equal(inputs(made[:-1], [other]), inputs(made[:-1], [frame]))
        assert len(inputs(made[:-1], [nothing])) == 2


def test_a_file_holds_no_code(saved, tmp_path):
    content = saved.read_bytes()
    for archived in zipfile.ZipFile(io.BytesIO(content)).infolist():
        assert archived.filename.endswith((".json", ".npy", ".npz"))
    other = tmp_path / "other.net"
    other.write_bytes(pickle.dumps(1))
    for path in (other, tmp_path):
        with pytest.raises((ValueError, OSError)):
            load(path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_pipeline(LinearRegression()), "another pipeline"),
        (Pipeline([(n, LinearRegression()) for n in ("numbers", "columns", "inputs", "networks")]),
         "its first steps are others"),
        (LinearRegression(), "is no file"),
        (np.arange(3), "is no file"),
        (FileExistsError, "FileExistsError, which no table needs"),
        ({"a": eval}, "builtins.eval, which no table needs"),
        ([json.loads], "json.loads, which no table needs"),
    ],
)  # fmt: skip
def test_other_files_of_skops_are_refused(tmp_path, other, message):
    path = tmp_path / "other.net"
    path.write_bytes(skops_io.dumps(other))
    with pytest.raises(ValueError, match=message):
        load(path)


ODD = [
    None,
    True,
    -1,
    0,
    3,
    2**63,
    1e300,
    float("nan"),
    "",
    "x",
    "float64",
    [],
    {},
    [1],
    "os.system",
]


def places(node, path=()):
    """The way to every value in what JSON holds."""
    if path:
        yield path
    steps = node.items() if isinstance(node, dict) else enumerate(node)
    for step, value in steps if isinstance(node, (dict, list)) else ():
        if isinstance(value, (dict, list)) or step not in ("__id__", "__module__"):
            yield from (
                places(value, (*path, step))
                if isinstance(value, (dict, list))
                else [(*path, step)]
            )


@pytest.mark.parametrize("cases", [10, pytest.param(20, marks=pytest.mark.slow)])
def test_whatever_happened_to_a_file(saved, tmp_path_factory, capsys, cases):
    content = saved.read_bytes()
    archive = zipfile.ZipFile(io.BytesIO(content))
    members = {name: archive.read(name) for name in archive.namelist()}
    ways = list(places(json.loads(members["schema.json"])))
    path = tmp_path_factory.mktemp("damaged") / "m.net"
    FRAME[:3].write_csv(path.parent / "t.csv")

    @settings(
        max_examples=cases, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def one(data):
        kind = data.draw(st.sampled_from(["schema", "schema", "array", "bytes"]))
        changed = dict(members)
        if kind == "schema":
            root = json.loads(members["schema.json"])
            way = ways[data.draw(st.integers(0, len(ways) - 1))]
            parent = root
            for step in way[:-1]:
                parent = parent[step]
            parent[way[-1]] = data.draw(st.sampled_from(ODD))
            changed["schema.json"] = json.dumps(root).encode()
        elif kind == "array":
            arrays = sorted(name for name in members if name.endswith(".npy"))
            name = data.draw(st.sampled_from(arrays))
            file = io.BytesIO()
            odd = np.array(
                data.draw(st.sampled_from([[], [0.5], [[1, 2]], [np.nan] * 40, [2**40]]))
            )
            np.save(file, odd)
            changed[name] = file.getvalue()
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as written:
            for name, part in changed.items():
                written.writestr(name, part)
        broken = bytearray(file.getvalue())
        if kind == "bytes":
            at = data.draw(st.integers(0, len(broken) - 1))
            broken[at : at + data.draw(st.sampled_from([1, 8, 10**6]))] = data.draw(
                st.sampled_from([b"", b"\0", b"PK\x03\x04", b"\xff" * 9])
            )
        path.write_bytes(broken)
        capsys.readouterr()
        status = main(["predict", str(path), str(path.parent / "t.csv")])
        out, err = capsys.readouterr()
        if status:  # otherwise numbers were changed, or what predictions do not need
            assert (status, out) == (2, "")
            assert err.startswith("flatprop: error: ")

    one()
