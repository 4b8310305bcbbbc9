"""Programs in processes of their own, and the package they import."""

import os
import subprocess
import sys
from pathlib import Path

import flatprop

PACKAGE = Path(flatprop.__file__).parent
TESTS = Path(__file__).resolve().parent.parent
PATH = os.pathsep.join([str(TESTS / "support"), os.environ.get("PYTHONPATH", "")])
"""Where another process finds what lies in `support/`, too."""


def run(*command, input=None, **environment):
    """What a command that succeeds has written; bytes where its input is bytes."""
    done = subprocess.run(
        [str(part) for part in command],
        input=input,
        capture_output=True,
        encoding=None if isinstance(input, bytes) else "utf-8",
        env={**os.environ, **environment},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def python(code, *arguments, **options):
    """What a fresh interpreter writes, to which warnings are errors."""
    return run(sys.executable, "-W", "error", "-c", code, *arguments, **options)


def edit(folder):
    """Another slope of leaky_relu."""
    source = folder / "formulas" / "activations.py"
    text = source.read_text()
    assert "z.like(1.0), 0.01)" in text
    source.write_text(text.replace("z.like(1.0), 0.01)", "z.like(1.0), 0.5)"))


def user(script, environment, *arguments):
    """The output of a user's program, which has a file of its own."""
    return run(sys.executable, script, *arguments, **environment).split()
