"""The command line as a user meets it."""

import csv
import io
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import flatprop as fp
from commands import flat, refused
from flatprop.cli import main
from flatprop.data import load_digits


def run(*arguments, **options):
    """One command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "flatprop", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        **options,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for what is saved."""
    return tmp_path_factory.mktemp("cli")


MEANWHILE = re.compile(
    r"^(compiling, once per computer: this takes some seconds"
    r"|epoch (?P<epoch>\d+) of \d+, \d+ s, loss \S+)\n",
    re.M,
)
"""What a training writes to standard error while a user waits; how often, is for the machine."""


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
    assert MEANWHILE.sub("", digits.stderr) == ""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", ["1", *(pytest.param(s, marks=pytest.mark.slow) for s in "23")])
def test_digits_whatever_the_seed(capsys, seed, dtype):
    assert main(["train", "digits", "--quiet", "--seed", seed, "--dtype", dtype]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert held_out(out) >= 97


def test_digits_are_predicted(digits, folder):
    done = run("predict", "digits.net", "digits", cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert rows[0] == ["class", *(f"p({k})" for k in range(10))]
    X, y = load_digits()
    found = np.array(rows[1:], np.float64)
    assert (found[:, 0] == y).mean() > 0.98
    p = fp.load(folder / "digits.net").predict(X)  # it takes the pixels as they are
    np.testing.assert_allclose(found[:, 1:], p, rtol=1e-5, atol=1e-7)


def test_no_hidden_layer_and_the_same_again(capsys):
    outputs = []
    for _ in range(2):
        command = ["train", "digits", "--hidden", "", "--epochs", "5", "--patience", "3"]
        assert main(command) == 0
        outputs.append(re.sub(r"[\d.]+ s\b", "", capsys.readouterr().out))
    assert "Network(64 -> 10 softmax" in outputs[0]
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    "options",
    [
        "--optimizer sgd --learning-rate 0.1 --weight-decay 0.001 --activation tanh",
        "--optimizer rprop --batch-size all --test-size 0 --epochs 30",
        "--optimizer adam --label-smoothing 0 --batch-size 64 --seed 7",
    ],
)
def test_options(capsys, options):
    assert main(["train", "digits", "--quiet", *options.split()]) == 0
    out = capsys.readouterr().out
    accuracy = re.fullmatch(r"(held-out|training) accuracy: ([\d.]+) % .*\n", out)
    assert float(accuracy[2]) > 90


def test_divergence_is_told_and_nothing_saved(capsys, tmp_path):
    path = tmp_path / "d.net"
    command = f"train digits --optimizer sgd --learning-rate 1e9 --save {path}"
    assert main(command.split()) == 1
    assert "smaller --learning-rate" in flat(capsys.readouterr().err)
    assert not path.exists()


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
    "train digits --target digit": "for a table of your own",
    "train digits --no-header": "--no-header is for a table of your own",
    "train digits --loss mse": "not for the digits",
    "train digits --class-weight a": "such as no=1,yes=5",
    "train digits --class-weight =1": "such as no=1,yes=5",
    "train digits --class-weight a=-1": "0 or above",
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
    "predict": "required: NET, FILE",
    "predict plain.net": "required: FILE",
    "predict nothing.net digits": "no such file",
    "predict nothing.net digits --output .": "is a folder",
    "predict nothing.net digits --output nowhere/x.csv": "no folder nowhere",
    "explain": "required: EXAMPLE",
    "explain nueron": "Did you mean 'neuron'?",
    "explain neuron dosage": "no further argument 'dosage'",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_told_with_what_to_do(folder, capsys, monkeypatch, command):
    monkeypatch.chdir(folder)
    assert MISTAKES[command] in refused(command, capsys)


def test_tables_say_what_to_install(tmp_path):
    (tmp_path / "x.csv").write_text("x,y\n1,2\n")
    code = (
        "import sys\n"
        "sys.modules['polars'] = None\n"
        "from flatprop.cli import main\n"
        "sys.exit(main(['train', 'x.csv', '--target', 'y']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "python -m pip install 'flatprop[tables]'" in flat(done.stderr)


def test_a_mistake_ends_the_process_with_2():
    done = run("trian")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("flatprop: error: there is no command 'trian'")


# ---- the terminal


def test_help(capsys):
    assert main([]) == 0
    assert "explain neuron" in capsys.readouterr().out
    for command in ("train", "predict", "explain"):
        assert main([command, "--help"]) == 0
        out = capsys.readouterr().out
        assert "EXAMPLE" in out or command != "explain"
        assert max(map(len, out.split("\n"))) <= 79
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
    assert process.wait(600) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


def shell(script, *arguments):
    """One command in a process of its own, with its streams and signals set by a shell."""
    command = [sys.executable, "-m", "flatprop", *map(str, arguments)]
    return subprocess.run(
        ["sh", "-c", script, "sh", *command], capture_output=True, encoding="utf-8", timeout=600
    )


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and signals of POSIX")
@pytest.mark.parametrize(
    ("script", "arguments", "status", "err"),
    [
        ('"$@" >&-', ["train", "digits", "--epochs", "1"], 0, ""),
        ('"$@" >&- 2>&-', ["explain", "neuron"], 0, ""),
        ('"$@" 2>&-', ["trian"], 2, ""),
        ("trap '' INT; \"$@\"", ["train", "digits", "--epochs", "1", "--quiet"], 0, ""),
    ],
)
def test_closed_streams_and_ignored_signals(script, arguments, status, err):
    done = shell(script, *arguments)
    assert done.returncode == status, done.stderr
    assert MEANWHILE.sub("", done.stderr) == err


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
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=600
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "flatprop: error: interrupted\n"


# Catches SIGINT also where the tests run in the background of a shell, which ignores it. Has a
# line on standard error for each epoch.
INTERRUPTIBLE = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from flatprop.cli import waiting; waiting.EVERY = 0.0; "
    "runpy.run_module('flatprop', run_name='__main__', alter_sys=True)"
)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and signals of POSIX")
def test_interruption_reports_and_saves(folder, digits):
    # After `digits`, whose process has compiled the kernels.
    command = ["train", "digits", "--epochs", "50000", "--save", "i.net"]
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=folder,
    ) as process:
        err = ""
        for line in iter(process.stderr.readline, ""):
            err += line
            told = MEANWHILE.fullmatch(line)
            if told and int(told["epoch"] or 0) >= 20:
                break
        process.send_signal(signal.SIGINT)
        err += process.stderr.read()
        out = process.stdout.read()
    assert process.returncode == 130, err
    assert MEANWHILE.sub("", err) == ""
    assert "interrupted after" in out
    assert held_out(out) > 90
    assert fp.load(folder / "i.net").inputs == 64
