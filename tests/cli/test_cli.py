"""The command line as a user meets it."""

import io
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

import flatprop as fp
from flatprop.cli import main
from flatprop.cli.predict import predict_table
from flatprop.data import digits_table


def run(*arguments, **options):
    """One command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "flatprop", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        **options,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with tables, right ones and wrong ones."""
    path = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    n = 240
    a, b = rng.normal(10, 3, (2, n))
    town = rng.choice(["Saint-Étienne", "Paris, centre", 'the "old" town'], n)
    label = np.where(a + 3 * (town == "Paris, centre") > 11, "yes, sure", "no")
    flowers = pd.DataFrame({"id": range(1, n + 1), "a": a, "b": b, "town": town, "label": label})
    flowers.loc[rng.random(n) < 0.1, "b"] = np.nan
    flowers.loc[rng.random(n) < 0.05, "town"] = np.nan
    flowers.loc[:2, "label"] = np.nan
    flowers.to_csv(path / "flowers.csv", index=False)
    x = np.linspace(-2, 2, 200)
    pd.DataFrame({"x": x, "y": 1000 + 50 * x**2}).to_csv(path / "curve.csv", index=False)
    wrong = {
        "empty.csv": "",
        "names.csv": "a,b\n",
        "short.csv": "a,b\n1,2\n2,4\n3,1\n",
        "one.csv": "a,b\n1,2\n",
        "ragged.csv": "a,b\n1,2\n1,2,3\n",
        "wide.csv": "a,b\n1,2,3\n4,5,6\n",
        "unnamed.csv": "1,2\n" * 20,
        "same.csv": "a,b\n" + "".join(f"{i},x\n" for i in range(20)),
        "constant.csv": "a,b\n" + "".join(f"k,{i % 2}\n" for i in range(20)),
        "binary.csv": "a\0b",
        "text.csv": "x\nhello\n",
    }
    for name, text in wrong.items():
        (path / name).write_text(text)
    fp.Network(2, [fp.Dense(2, "softmax")], "cross_entropy", rng=0).save(path / "plain.net")
    fp.Network(1, [fp.Dense(1)], rng=0).save(path / "one.net")
    return path


# ---- train digits


@pytest.fixture(scope="module")
def digits(folder):
    return run("train", "digits", "--save", "digits.net", cwd=folder)


def held_out(text):
    return float(re.search(r"held-out accuracy: ([\d.]+) %", text)[1])


def test_digits(digits):
    assert digits.returncode == 0, digits.stderr
    assert held_out(digits.stdout) >= 97
    told = " ".join(digits.stdout.split())  # lines are broken
    for part in (
        "1,797 handwritten digits",
        "360 held back",
        "CC BY 4.0",
        "Network(64 -> ",
        "taken for",
        "predict digits.net digits",
    ):
        assert part in told
    assert digits.stderr == ""
    assert max(map(len, digits.stdout.split("\n"))) <= 90


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", ["1", *(pytest.param(s, marks=pytest.mark.slow) for s in "23")])
def test_digits_whatever_the_seed(capsys, seed, dtype):
    assert main(["train", "digits", "--quiet", "--seed", seed, "--dtype", dtype]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert held_out(out) >= 97


def test_digits_are_predicted_from_a_table(digits, folder):
    predicted = predict_table(str(folder / "digits.net"), "digits")
    table = digits_table()
    assert (predicted["digit"] == table["digit"]).mean() > 0.98
    shuffled = table[table.columns[::-1]]
    pd.testing.assert_frame_equal(predict_table(str(folder / "digits.net"), shuffled), predicted)


# ---- train and predict with tables


def test_labels_there_and_back(folder):
    trained = run("train", "flowers.csv", "--target", "label", "--save", "f.net", cwd=folder)
    assert trained.returncode == 0, trained.stderr
    assert held_out(trained.stdout) > 85
    for part in (
        "always yes, sure, the most frequent:",
        "classification (guessed, since it is text)",
        "3 rows without a target left out",
        "column 'id' left out: it only counts the rows",
        "missing numbers are replaced by the median and marked, in: b",
        "python -m flatprop predict f.net flowers.csv",
    ):
        assert part in trained.stdout

    predicted = run("predict", "f.net", "flowers.csv", cwd=folder)
    assert predicted.returncode == 0, predicted.stderr
    table = pd.read_csv(io.StringIO(predicted.stdout))
    assert list(table.columns) == ["label", "p(no)", "p(yes, sure)"]
    truth = pd.read_csv(folder / "flowers.csv")
    assert len(table) == len(truth)
    assert (table["label"] == truth["label"])[3:].mean() > 0.9
    np.testing.assert_allclose(table.iloc[:, 1:].sum(axis=1), 1, rtol=1e-5)

    # By name, in whatever order, with others beside, with words never seen.
    other = truth[["town", "b", "a"]].assign(more=1)
    pd.testing.assert_frame_equal(predict_table(str(folder / "f.net"), other), table)
    strange = other.assign(town="elsewhere")
    assert len(predict_table(str(folder / "f.net"), strange)) == len(truth)


def test_regression_in_the_units_of_the_target(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["train", "curve.csv", "--target", "y", "--save", "c.net"]) == 0
    out = capsys.readouterr().out
    rmse, r2 = map(float, re.search(r"RMSE: ([\d.]+), .*R²: ([\d.]+)", out).groups())
    assert rmse < 6
    assert r2 > 0.99
    assert "the mean: RMSE" in out
    assert main(["predict", "c.net", "curve.csv"]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    truth = pd.read_csv("curve.csv")
    assert list(table.columns) == ["y"]
    assert np.sqrt(((table["y"] - truth["y"]) ** 2).mean()) < 6


@pytest.mark.parametrize(
    "options",
    [
        "--loss binary_cross_entropy --optimizer adam --hidden 8 --activation tanh",
        "--test-size 0 --patience 0 --epochs 20 --label-smoothing 0.1",
        "--drop town,b --dtype float64 --batch-size all --optimizer rprop",
        "--optimizer sgd --learning-rate 0.1 --weight-decay 0.001 --seed 7 --delimiter ,",
    ],
)
def test_options(folder, capsys, options):
    path = str(folder / "flowers.csv")
    assert main(["train", path, "--target", "label", "--quiet", *options.split()]) == 0
    accuracy = re.fullmatch(
        r"(held-out|training) accuracy: ([\d.]+) % .*\n", capsys.readouterr().out
    )
    assert float(accuracy[2]) > 75


@pytest.mark.parametrize("loss", ["poisson", "mae", "huber"])
def test_losses_of_a_regression(folder, capsys, loss):
    path = str(folder / "curve.csv")
    assert main(["train", path, "--target", "y", "--quiet", "--loss", loss]) == 0
    assert float(re.search(r"R²: ([-\d.]+)", capsys.readouterr().out)[1]) > 0.9


def test_no_hidden_layer_and_the_same_again(folder, capsys):
    path = str(folder / "flowers.csv")
    outputs = []
    for _ in range(2):
        assert main(["train", path, "--target", "label", "--hidden", ""]) == 0
        outputs.append(re.sub(r"[\d.]+ s\b", "", capsys.readouterr().out))
    assert "-> 2 softmax" in outputs[0]
    assert outputs[0] == outputs[1]


def test_numbers_as_labels_come_back(tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_text("x;k\n" + "".join(f"{i % 4},5;{1 + (i % 4 > 1)}0\n" for i in range(60)))
    net = str(tmp_path / "t.net")
    assert main(["train", str(path), "--target", "k", "--save", net]) == 0
    assert "2 different whole numbers; if that is wrong, --task regression" in " ".join(
        capsys.readouterr().out.split()
    )
    assert predict_table(net, pd.DataFrame({"x": [0.5, 3.5]}))["k"].tolist() == [10, 20]


def test_a_network_saved_in_python_takes_the_columns_in_order(folder, capsys):
    net = fp.load(folder / "plain.net")
    assert main(["predict", str(folder / "plain.net"), str(folder / "short.csv")]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    p = net.predict([[1, 2], [2, 4], [3, 1]])
    assert table["class"].tolist() == p.argmax(axis=1).tolist()
    np.testing.assert_allclose(table[["p(0)", "p(1)"]], p, rtol=1e-5)


# ---- explain


def test_neuron(capsys):
    assert main(["explain", "neuron"]) == 0
    out = capsys.readouterr().out
    for figure in (
        "0.350000",
        "0.586618",
        "0.085443",
        "-0.413382",
        "0.242497",
        "-0.100244",
        "-0.050122",
        "0.305012",
        "0.210024",
    ):
        assert figure in out
    assert "went down" in out
    assert max(map(len, out.split("\n"))) <= 79


def test_dosage(capsys):
    assert main(["explain", "dosage"]) == 0
    out = capsys.readouterr().out
    for figure in ("-15.655108", "about -15.7", "1.565511", "about 1.57", "b₃ = 2.609185"):
        assert figure in out
    assert "BACKWARD, by the chain rule" in out
    assert re.search(r"1 +1\.565511 +3\.267828 +-6\.262043 +0\.626204\n", out)
    assert max(map(len, out.split("\n"))) <= 79


@pytest.mark.parametrize("example", ["neuron", "dosage"])
def test_its_lines_of_python_run(capsys, example):
    main(["explain", example])
    code = capsys.readouterr().out.split("The same in Python:\n")[1]
    exec(re.sub("^    ", "", code, flags=re.MULTILINE), {})
    assert {"neuron": "0.586618", "dosage": "[2.60918466]"}[example] in capsys.readouterr().out


# ---- mistakes


MISTAKES = {
    "trian digits": "no command 'trian'. Did you mean 'train'?",
    "--hidden 3": "no command '3'",
    "train": "required: DATA",
    "train digit": "Did you mean 'digits'?",
    "train nothing.csv --target a": "no such file: nothing.csv",
    "train nowhere/nothing.csv --target a": "no folder nowhere",
    "train . --target a": "is a folder",
    "train flowers.csv": "Add --target COLUMN; there are: id, a, b, town, label",
    "train flowers.csv --target lable": "Did you mean 'label'?",
    "train flowers.csv --target label --drop twon": "Did you mean 'town'?",
    "train flowers.csv --target label --drop label": "both the --target and in --drop",
    "train curve.csv --target y --drop x": "no column is left",
    "train flowers.csv --target label --delimiter ;": "Is --delimiter right?",
    "train flowers.csv --target label --delimiter ;;": "one character",
    "train empty.csv --target a": "is empty",
    "train names.csv --target a": "no rows",
    "train short.csv --target b": "--test-size 0",
    "train one.csv --target b": "at least 2",
    "train ragged.csv --target b": "Expected 2 fields in line 3, saw 3",
    "train wide.csv --target b": "more fields than",
    "train unnamed.csv --target a": "line of column names",
    "train same.csv --target b": "'x' in every row",
    "train constant.csv --target b": "'k' throughout",
    "train binary.csv --target b": "not a text file",
    "train curve.csv --target y --task classification": "too many for classes",
    "train flowers.csv --target label --task regression": "holds text, such as",
    "train flowers.csv --target label --task regresion": "Did you mean 'regression'?",
    "train flowers.csv --target label --loss mse": "is for regression",
    "train curve.csv --target y --loss cross_entropy": "is for classification",
    "train curve.csv --target y --loss mes": "Did you mean 'mse'?",
    "train curve.csv --target x --loss poisson": "not negative",
    "train digits --target digit": "for a table of your own",
    "train digits --hidden 64,x": "such as 64,64",
    "train digits --hidden -1": "such as 64,64",
    "train digits --hiden 64": "Did you mean '--hidden'?",
    "train digits --activation rleu": "Did you mean 'relu'?",
    "train digits --activation softmax": "only the last layer",
    "train digits --optimizer adm": "Did you mean 'adam'?",
    "train digits --epochs 0": "at least 1",
    "train digits --epochs many": "at least 1",
    "train digits --batch-size none": "at least 1",
    "train digits --seed -1": "at least 0",
    "train digits --test-size 1": "from 0 to below 1",
    "train digits --learning-rate 0": "above 0",
    "train digits --weight-decay -1": "0 or above",
    "train digits --dtype float16": "one of: float32, float64",
    "train digits --save nowhere/x.net": "no folder nowhere",
    "train digits --save .": "is a folder",
    "train digits --save x.csv": "such as x.net",
    "predict": "required: NET, FILE",
    "predict plain.net": "required: FILE",
    "predict nothing.net short.csv": "no such file",
    "predict short.csv plain.net": "NET comes before FILE",
    "predict plain.net nothing.csv": "no such file",
    "predict plain.net flowers.csv": "has 5 columns, but the network takes 2 inputs",
    "predict one.net text.csv": "row 1 has 'hello'",
    "explain": "required: EXAMPLE",
    "explain nueron": "Did you mean 'neuron'?",
    "explain neuron dosage": "no further argument 'dosage'",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_do(folder, capsys, monkeypatch, command):
    monkeypatch.chdir(folder)
    assert main(command.split(" ")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("flatprop: error: ")
    assert err.count("\n") == 1
    assert MISTAKES[command] in err


@pytest.mark.parametrize(
    ("rows", "notice"),
    [
        (["950,{}", '"1,234",{}'], "thousands separator: 1,234 is 1234"),
        (["1,234;{},5", "950;{},25"], "decimal comma: 1,234 is 1.234"),
    ],
)
def test_how_commas_of_the_target_were_read_is_told(tmp_path, capsys, rows, notice):
    path = tmp_path / "pay.csv"
    header = "pay;years" if ";" in rows[0] else "pay,years"
    lines = [header, *(rows[i % 2].format(i) for i in range(40))]
    path.write_text("\n".join(lines))
    command = ["train", str(path), "--target", "pay", "--task", "regression", "--epochs", "2"]
    assert main(command) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"the comma in the target 'pay' was read as a {notice}" in out


def test_missing_columns_are_named(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["train", "flowers.csv", "--target", "label", "--quiet", "--save", "m.net"]) == 0
    assert main(["predict", "m.net", "curve.csv"]) == 2
    assert "columns that the network was trained on: a, b, town" in capsys.readouterr().err


def test_divergence_is_told_and_nothing_saved(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    command = "train curve.csv --target y --optimizer sgd --learning-rate 1e9 --save d.net"
    assert main(command.split()) == 1
    assert "smaller --learning-rate" in capsys.readouterr().err
    assert not (folder / "d.net").exists()


def test_a_mistake_ends_the_process_with_2():
    done = run("trian")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


# ---- the terminal


def test_help(capsys):
    assert main([]) == 0
    assert "explain neuron" in capsys.readouterr().out
    for command in ("train", "predict", "explain"):
        assert main([command, "--help"]) == 0
        assert "EXAMPLE" in capsys.readouterr().out or command != "explain"
    assert main(["train", "--help"]) == 0
    assert "CC BY 4.0" in " ".join(capsys.readouterr().out.split())
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"flatprop {fp.__version__}\n"


def test_a_terminal_without_greek():
    done = run("explain", "neuron", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "dL/dW = x * dL/dz" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and signals of POSIX")
def test_a_reader_that_stops_reading():
    process = subprocess.Popen(
        [sys.executable, "-m", "flatprop", "explain", "dosage"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


def shell(script, *arguments):
    """One command in a process of its own, with its streams and signals set by a shell."""
    command = [sys.executable, "-m", "flatprop", *map(str, arguments)]
    return subprocess.run(
        ["sh", "-c", script, "sh", *command], capture_output=True, encoding="utf-8", timeout=120
    )


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and signals of POSIX")
@pytest.mark.parametrize(
    ("script", "arguments", "status", "err"),
    [
        ('"$@" >&-', ["train", "digits", "--epochs", "1"], 0, ""),
        ('"$@" >&- 2>&-', ["explain", "neuron"], 0, ""),
        ('"$@" 2>&-', ["trian"], 2, ""),
        ('"$@" <&-', ["train", "-", "--target", "a"], 2, "standard input is closed"),
        ("trap '' INT; \"$@\"", ["train", "digits", "--epochs", "1", "--quiet"], 0, ""),
    ],
)
def test_closed_streams_and_ignored_signals(script, arguments, status, err):
    done = shell(script, *arguments)
    assert done.returncode == status, done.stderr
    assert err in done.stderr
    assert done.stderr.count("\n") == bool(err)


def test_interruption_before_main_is_reached():
    # Python names the module __main__ only after the package itself has been imported.
    code = (
        "import runpy, sys, flatprop\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'flatprop.cli':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "runpy.run_module('flatprop', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "flatprop: error: interrupted\n"


# Catches SIGINT also where the tests run in the background of a shell, which ignores it.
INTERRUPTIBLE = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.executable, [sys.executable, '-m', 'flatprop', *sys.argv[1:]])"
)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and signals of POSIX")
def test_interruption_reports_and_saves(folder, digits):
    # After `digits`, whose process has compiled the kernels: the training begins at once.
    command = ["train", "digits", "--epochs", "50000", "--save", "i.net"]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=folder,
    )
    assert any(line.startswith("network:") for line in iter(process.stdout.readline, ""))
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == ""
    assert "interrupted after" in out
    assert held_out(out) > 90
    assert fp.load(folder / "i.net").inputs == 64
