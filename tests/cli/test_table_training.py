"""`train FILE` and `predict NET FILE`, as a user meets them: each fault that was met is a test."""

import csv
import io
import re
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

pl = pytest.importorskip("polars", reason="tables are read by polars")
pytest.importorskip("skrub", reason="tables need skrub")
pytest.importorskip("skops", reason="pipelines are saved by skops")

import flatprop as fp  # noqa: E402
from commands import flat, refused  # noqa: E402
from flatprop.cli import main, table_training, waiting  # noqa: E402
from flatprop.tables import load, recipe  # noqa: E402

N = 300
QUICK = ["--hidden", "16", "--epochs", "30"]


@pytest.fixture(scope="module", autouse=True)
def two_members():
    """Ensembles of two networks do for what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "MEMBERS", 2)
        yield


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def train(here, capsys):
    """Train on a table, given by its columns or as text: what was told, in one line."""

    def call(columns, target, *options, status=0, name="t.csv"):
        if isinstance(columns, dict):
            pl.DataFrame(columns).write_csv(name)
        elif columns is not None:
            (here / name).write_text(columns, encoding="utf-8")
        capsys.readouterr()
        assert main(["train", name, "--target", target, *QUICK, *options]) == status
        out, err = capsys.readouterr()
        told = out if status == 0 else err
        assert max(map(len, told.split("\n"))) <= 79
        return flat(told)

    return call


@pytest.fixture
def predict(capsys):
    """Predict: the rows as dictionaries, and the notes."""

    def call(*arguments):
        capsys.readouterr()
        assert main(["predict", *map(str, arguments)]) == 0
        out, err = capsys.readouterr()
        return list(csv.DictReader(io.StringIO(out))), flat(err)

    return call


def r2(told):
    return float(re.search(r"R²: ([-\d.]+)", told)[1])


def accuracy(told):
    return float(re.search(r"accuracy: ([\d.]+) %", told)[1])


RNG = np.random.default_rng(0)
X = RNG.normal(10, 3, N)
"""What the targets of most tables below follow from."""


def numbers(form):
    return [form.format(value) for value in X]


# ---- what was lost, once


@pytest.mark.parametrize("stray", ["12O.5", "about 7", "n/a", "#DIV/0!"])
def test_a_stray_cell_costs_no_column(train, stray):
    texts = numbers("{:.3f}")
    texts[16] = stray
    told = train({"x": texts, "y": 3 * X}, "y")
    assert r2(told) > 0.95
    assert "numbers: x" in told
    if stray in ("12O.5", "about 7"):  # the others are words for a missing number
        assert f"is no number: {stray!r}; it is taken as missing" in told


@pytest.mark.parametrize(
    ("form", "example"),
    [
        ("{:.1f} m2", "m2"),
        ("{:.1f}%", "%"),
        ("${:,.3f}", "$"),
        ("{:.2f} EUR", "EUR"),
    ],
)
def test_numbers_with_units_are_numbers_and_told(train, form, example):
    told = train({"x": numbers(form), "y": 3 * X}, "y")
    assert r2(told) > 0.95
    assert re.search(rf"column 'x' is read as numbers: '[^']*{re.escape(example)}[^']*' is ", told)


def test_numbers_as_they_are_written_in_other_countries(train):
    texts = [f"{1000 * value:,.2f}".translate(str.maketrans(",.", ".,")) for value in X]
    assert r2(train({"x": texts, "y": 3 * X}, "y")) > 0.95


def test_many_categories_are_not_cut(train):
    # 142 countries, as in gapminder, each with a level of its own
    country = np.arange(142 * 6) % 142
    level = RNG.normal(0, 5, 142)[country]
    names = [f"country {k:03d}" for k in country]
    told = train({"country": names, "y": level}, "y", "--epochs", "60")
    assert r2(told) > 0.9


def test_dates_are_used(train):
    day = RNG.integers(0, 3000, N)
    dates = [str(np.datetime64("2015-01-01") + int(d)) for d in day]
    told = train({"when": dates, "other": X, "y": day}, "y", "--task", "regression")
    assert "dates: when" in told
    assert r2(told) > 0.95


def test_a_row_counter_is_none_where_rows_are_gone(train):
    y = np.where(RNG.random(N) < 0.2, None, np.round(3 * X, 3)).tolist()
    told = train({"Id": np.arange(N), "x": X, "y": y}, "y")
    assert "column 'Id' left out: it only counts the rows" in told
    assert f"{y.count(None)} rows without a target left out" in told


@pytest.mark.parametrize("bad", [-9999, 1e9, "inf"])
def test_far_and_infinite_numbers_are_told_and_harm_no_other_row(train, bad):
    x = X.round(4).tolist()
    x[3] = x[77] = bad
    told = train({"x": [str(value) for value in x], "y": 3 * X}, "y", "--loss", "mae")
    assert ("infinite" if bad == "inf" else "far from the others") in told
    mae = float(re.search(r"MAE: ([\d.]+)", told)[1])
    assert mae < 2  # of a target from -2 to 60


def test_a_column_that_is_constant_but_for_rounding_does_not_explode(train, predict):
    told = train(
        {"c": [0.3, 0.1 + 0.1 + 0.1] * (N // 2), "x": X, "y": 3 * X}, "y", "--save", "c.net"
    )
    assert "column 'c' left out: it is 0.3 throughout" in told
    pl.DataFrame({"c": [0.31, 5.0], "x": [10.0, 10.0]}).write_csv("new.csv")
    rows, _ = predict("c.net", "new.csv")
    assert [float(row["y"]) for row in rows] == pytest.approx([30, 30], abs=3)


def test_a_column_that_hardly_varies_is_bounded_at_predict(train, predict):
    c = np.where(np.arange(N) % 2, 0.3, 0.3 + 1e-7)
    train({"c": c, "x": X, "y": 3 * X}, "y", "--save", "c.net")
    pl.DataFrame({"c": [1e6, -1e6], "x": [10.0, 10.0]}).write_csv("new.csv")
    rows, _ = predict("c.net", "new.csv")
    assert all(-30 < float(row["y"]) < 90 for row in rows)


@pytest.mark.parametrize("label", ["NA", "None", "null", "nan"])
def test_no_label_makes_its_rows_vanish(train, label):
    kind = [label if value > 10 else "other" for value in X]
    told = train({"x": X, "kind": kind}, "kind")
    assert f"{N} rows" in told
    assert "without a target" not in told
    assert f"'{label}' is a class of {kind.count(label)} rows" in told
    assert accuracy(told) > 90


def test_a_missing_number_of_the_target_is_no_label(train):
    y = [f"{3 * value:.3f}" for value in X]
    y[0] = "NA"
    assert "1 row without a target left out" in train({"x": X, "y": y}, "y")


def test_unseen_values_are_told_at_predict(train, predict):
    town = RNG.choice(["Paris", "Lyon"], N)
    train({"x": X, "town": town, "y": 3 * X}, "y", "--save", "t.net")
    pl.DataFrame({"x": [1.0, 2.0], "town": ["Rome", "Paris"]}).write_csv("new.csv")
    _, notes = predict("t.net", "new.csv")
    assert (
        "column 'town': 1 row has a value that the training did not know, such as 'Rome'" in notes
    )


def test_stray_cells_are_told_at_predict(train, predict):
    train({"x": numbers("{:.2f} kg"), "y": 3 * X}, "y", "--save", "t.net")
    pl.DataFrame({"x": ["10 kg", "heavy", None], "z": [1, 2, 3]}).write_csv("new.csv")
    rows, notes = predict("t.net", "new.csv")
    assert len(rows) == 3
    assert "'heavy'" in notes
    assert "column 'x'" in notes


@pytest.mark.parametrize("kind", ["parquet", "json", "ndjson", "csv.gz"])
def test_files_of_other_kinds(train, predict, kind):
    frame = pl.DataFrame({"x": X, "y": 3 * X})
    name = f"t.{kind}"
    if kind == "csv.gz":
        import gzip

        with gzip.open(name, "wb") as file:
            frame.write_csv(file)
    else:
        getattr(frame, f"write_{kind}")(name)
    assert r2(train(None, "y", "--save", "t.net", name=name)) > 0.95
    rows, notes = predict("t.net", name)
    assert len(rows) == N
    assert notes == ""


# ---- options


def test_class_weights(train):
    rare = np.where(X + RNG.normal(0, 2, N) > 15, "yes", "no")
    columns = {"x": X, "rare": rare}
    recall = {}
    for weights in ("no=1,yes=1", "no=1,yes=30", "balanced"):
        told = train(columns, "rare", "--class-weight", weights)
        recall[weights] = float(re.search(r" yes +[\d.]+ +([\d.]+)", told)[1])
    assert recall["no=1,yes=30"] > recall["no=1,yes=1"]
    assert recall["balanced"] > recall["no=1,yes=1"]


def test_numbers_as_labels_come_back_and_have_weights(train, predict):
    k = np.where(X > 10, 20, 10)
    told = train({"x": X, "k": k}, "k", "--class-weight", "10=1,20=2", "--save", "t.net")
    assert "2 different whole numbers; if that is wrong, --task regression" in told
    assert load("t.net").predict(pl.DataFrame({"x": [1.0, 19.0]})).tolist() == [10, 20]
    rows, _ = predict("t.net", "t.csv")
    assert list(rows[0]) == ["k", "p(10)", "p(20)"]


def test_a_table_without_names(train, predict):
    text = "".join(f"{value:.3f},{'u' if value > 10 else 'v'}\n" for value in X)
    told = train(text, "column_2", "--no-header", "--save", "t.net")
    assert f"{N} rows" in told
    assert accuracy(told) > 90
    rows, _ = predict("t.net", "t.csv", "--no-header")
    assert len(rows) == N


def test_columns_are_kept(train, predict, here):
    told = train({"Id": np.arange(N), "x": X, "y": 3 * X}, "y", "--keep", "Id", "--save", "t.net")
    assert "left out" not in told
    rows, _ = predict("t.net", "t.csv", "--keep", "Id,x")
    assert list(rows[0]) == ["y", "Id", "x"]
    assert [row["Id"] for row in rows[:3]] == ["0", "1", "2"]


def test_predictions_go_to_a_file(train, predict, capsys):
    train({"x": X, "y": 3 * X}, "y", "--save", "t.net")
    expected, _ = predict("t.net", "t.csv")
    for name in ("p.csv", "p.parquet"):
        assert predict("t.net", "t.csv", "--output", name) == ([], "")
        read = pl.read_csv if name == "p.csv" else pl.read_parquet
        np.testing.assert_allclose(read(name)["y"], [float(row["y"]) for row in expected])


def test_auc_where_accuracy_says_little(train):
    two = train({"x": X, "k": np.where(X > 10, "u", "v")}, "k")
    assert float(re.search(r"AUC: ([\d.]+)", two)[1]) > 0.95
    kind = np.select([X > 15, X > 9], ["rare", "u"], "v")
    several = train({"x": X, "k": kind}, "k")
    assert (
        float(re.search(r"AUC \(mean of one class against the rest\): ([\d.]+)", several)[1]) > 0.9
    )
    assert "AUC" not in train({"x": X, "k": [f"k{i % 3}" for i in range(N)]}, "k")


@pytest.mark.parametrize(
    "options",
    [
        "--loss binary_cross_entropy --optimizer adam --hidden 8 --activation tanh",
        "--test-size 0 --patience 5 --epochs 20 --label-smoothing 0.1",
        "--drop town --dtype float64 --batch-size all --optimizer rprop",
        "--optimizer sgd --learning-rate 0.1 --weight-decay 0.001 --seed 7 --delimiter ,",
    ],
)
def test_options(train, options):
    town = RNG.choice(["Paris", "Lyon"], N)
    columns = {"x": X, "town": town, "kind": np.where(X > 10, "u", "v")}
    told = train(columns, "kind", "--quiet", *options.split())
    assert re.fullmatch(r"(held-out|training) accuracy: ([\d.]+) % \(\d+ of \d+\)", told.strip())
    assert accuracy(told) > 80


@pytest.mark.parametrize("loss", ["poisson", "mae", "huber"])
def test_losses_of_a_regression(train, loss):
    assert r2(train({"x": X, "y": 30 * abs(X)}, "y", "--loss", loss, "--epochs", "60")) > 0.9


def test_the_same_again(train):
    columns = {"x": X, "kind": np.where(X > 10, "u", "v")}
    first, second = (re.sub(r"[\d.]+ s\b", "", train(columns, "kind")) for _ in range(2))
    assert first == second


# ---- mistakes


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    """A folder of tables with something wrong."""
    path = tmp_path_factory.mktemp("wrong")
    label = np.where(X > 10, "yes", "no")
    flowers = {"a": X, "town": ["u", "v"] * (N // 2), "label": label}
    pl.DataFrame(flowers).write_csv(path / "flowers.csv")
    pl.DataFrame({"x": X - 10, "y": 3 * X}).write_csv(path / "curve.csv")
    texts = {
        "short.csv": "a,b\n1,2\n2,4\n3,1\n",
        "one.csv": "a,b\n1,2\n",
        "same.csv": "a,b\n" + "".join(f"{i},x\n" for i in range(20)),
        "constant.csv": "a,b\n" + "".join(f"k,{i % 2}\n" for i in range(20)),
        "none.csv": "a,b\n" + "1,\n" * 20,
        "text.csv": "x\nhello\n",
    }
    for name, text in texts.items():
        (path / name).write_text(text)
    fp.Network(2, [fp.Dense(2, "softmax")], "cross_entropy", rng=0).save(path / "plain.net")
    fp.Network(1, [fp.Dense(1)], rng=0).save(path / "one.net")
    return path


MISTAKES = {
    "train digit --target a": "Did you mean 'digits'?",
    "train nothing.csv --target a": "no such file: nothing.csv",
    "train . --target a": "is a folder",
    "train flowers.csv": "Add --target COLUMN; there are: a, town, label",
    "train flowers.csv --target lable": "Did you mean 'label'?",
    "train flowers.csv --target label --drop twon": "Did you mean 'town'?",
    "train flowers.csv --target label --keep twon": "Did you mean 'town'?",
    "train flowers.csv --target label --drop label": "both in --target and in --drop",
    "train flowers.csv --target label --keep a --drop a": "both in --drop and in --keep",
    "train flowers.csv --target label --delimiter ;": "Is --delimiter right?",
    "train flowers.csv --target label --save x.parquet": "such as x.net",
    "train curve.csv --target y --drop x": "no column is left",
    "train short.csv --target b": "--test-size 0",
    "train one.csv --target b": "at least 2",
    "train none.csv --target b": "a value in no row",
    "train same.csv --target b": "'x' in every row",
    "train constant.csv --target b": "'k' throughout",
    "train curve.csv --target y --task classification": "too many for classes",
    "train flowers.csv --target label --task regression": "holds text, such as",
    "train flowers.csv --target label --loss mse": "is for regression; this is a classification",
    "train curve.csv --target y --loss cross_entropy": "is for classification",
    "train curve.csv --target y --loss mes": "Did you mean 'mse'?",
    "train curve.csv --target x --loss poisson": "not negative",
    "train curve.csv --target y --activation rleu": "Did you mean 'relu'?",
    "train curve.csv --target y --optimizer adm": "Did you mean 'adam'?",
    "train flowers.csv --target label --class-weight yes=1,noo=2": "Did you mean 'no'?",
    "train curve.csv --target y --class-weight balanced": "are for classification",
    "predict short.csv plain.net": "NET comes before FILE",
    "predict plain.net flowers.csv": "has 3 columns, but the network takes 2 inputs",
    "predict one.net text.csv": "row 1 has 'hello'",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_told_with_what_to_do(wrong, capsys, monkeypatch, command):
    monkeypatch.chdir(wrong)
    assert MISTAKES[command] in refused(command, capsys)


def test_divergence_is_told_and_nothing_saved(train, here):
    options = ["--optimizer", "sgd", "--learning-rate", "1e9", "--save", "d.net"]
    told = train({"x": X, "y": 3 * X}, "y", *options, status=1)
    assert "smaller --learning-rate" in told
    assert not (here / "d.net").exists()


def test_missing_columns_are_named(train, here, capsys):
    train({"x": X, "z": X, "y": 3 * X}, "y", "--save", "m.net")
    pl.DataFrame({"x": [1.0], "zz": [1.0]}).write_csv("new.csv")
    assert main(["predict", "m.net", "new.csv"]) == 2
    err = flat(capsys.readouterr().err)
    assert "'z'" in err
    assert "'zz'" in err


def test_a_network_saved_in_python_takes_the_columns_in_order(wrong, predict):
    net = fp.load(wrong / "plain.net")
    rows, _ = predict(wrong / "plain.net", wrong / "short.csv")
    p = net.predict([[1, 2], [2, 4], [3, 1]])
    assert [int(row["class"]) for row in rows] == p.argmax(axis=1).tolist()
    found = [[float(row["p(0)"]), float(row["p(1)"])] for row in rows]
    np.testing.assert_allclose(found, p, rtol=1e-5)


# ---- what is shown meanwhile


@pytest.mark.parametrize("epoch", [1, 20])
def test_interruption_reports_and_saves(here, capsys, monkeypatch, epoch):
    calls = []

    def press(done):
        calls.append(done)
        if len(calls) == epoch:
            raise KeyboardInterrupt

    @contextmanager
    def shown(epochs, quiet):
        yield [press]

    monkeypatch.setattr(table_training, "shown", shown)
    pl.DataFrame({"x": X, "y": 3 * X}).write_csv("t.csv")
    assert main(["train", "t.csv", "--target", "y", *QUICK, "--save", "i.net"]) == 130
    out, err = capsys.readouterr()
    assert "interrupted after" in out
    assert "RMSE" in out
    assert err == ""
    assert len(load("i.net").predict(pl.DataFrame({"x": [1.0, 2.0]}))) == 2


def test_lines_where_the_output_is_no_terminal(train, capsys, monkeypatch):
    monkeypatch.setattr(waiting, "EVERY", 0.0)
    pl.DataFrame({"x": X, "y": 3 * X}).write_csv("t.csv")
    assert main(["train", "t.csv", "--target", "y", *QUICK]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"epoch \d+ of \d+, \d+ s, loss [\d.e-]+", lines[-1])
    assert main(["train", "t.csv", "--target", "y", *QUICK, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_standard_input_that_is_closed(here):
    script = '"$@" <&-'
    command = [sys.executable, "-m", "flatprop", "train", "-", "--target", "a"]
    done = subprocess.run(
        ["sh", "-c", script, "sh", *command], capture_output=True, encoding="utf-8", timeout=600
    )
    assert done.returncode == 2
    assert "standard input is closed" in flat(done.stderr)
