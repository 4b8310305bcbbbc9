"""Programs in processes of their own, and the package they import."""

import os
import subprocess
import sys
from pathlib import Path

import flatprop

PACKAGE = Path(flatprop.__file__).parent
TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
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
