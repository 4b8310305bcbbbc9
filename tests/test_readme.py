"""Every block of Python in the README runs, in order, in one session."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parent.parent / "README.md"


def test_python_blocks(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    session: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        exec(compile(block, README.name, "exec"), session)
    printed = capsys.readouterr().out
    assert "stopped by" in printed
    assert session["net"].predict([[0.5]])[0, 0] == pytest.approx(np.sin(0.5), abs=0.1)
    assert session["result"].fun < 0.02
    assert np.isfinite(session["state"]).all()


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
