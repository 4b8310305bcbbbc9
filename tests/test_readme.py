"""Every block of Python in the README and on the page on embedding runs, in order."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def run_blocks(page, folder, session):
    """Each from a file of its own, as Numba's cache asks for."""
    for number, block in enumerate(blocks(page, "python")):
        path = folder / f"block_{number}.py"
        path.write_text(block, encoding="utf-8")
        exec(compile(block, path, "exec"), session)
    return session


def test_python_blocks(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert len(blocks(README, "python")) >= 3
    session = run_blocks(README, tmp_path, {})
    printed = capsys.readouterr().out
    assert "stopped by" in printed
    assert session["net"].predict([[0.5]])[0, 0] == pytest.approx(np.sin(0.5), abs=0.1)
    assert session["result"].fun < 0.02
    assert np.isfinite(session["state"]).all()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_page_on_embedding(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "embedding.md"
    (source,) = blocks(page, "c")
    assert source == (ROOT / "tests" / "c" / "example.c").read_text(encoding="utf-8")
    session = run_blocks(page, tmp_path, {"C_SOURCE": source})
    assert np.isfinite(session["state"]).all()
    assert session["loss"] < 0.01
    assert session["status"] == 0
    assert session["net"].loss(session["X"], session["y"]) < session["before"] / 2
    assert session["history"].loss[-1] < 1e-6
    assert (tmp_path / "policy.c").exists()
    np.testing.assert_array_equal(session["again"].params, session["wavy"].params)


def test_the_worked_example_is_what_the_command_prints():
    command = [sys.executable, "-m", "flatprop", "explain", "neuron"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    printed = subprocess.run(command, capture_output=True, check=True, env=environment)
    lines = printed.stdout.decode().splitlines()
    shown = re.search(r"```\n(1\. Forward.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    assert set(shown[1].splitlines()) <= set(lines)


def test_the_two_commands():
    text = README.read_text(encoding="utf-8")
    assert "\npython -m pip install . && python -m flatprop train digits\n" in text
    assert "\npython -m pip install '.[test]' && python -m pytest\n" in text
