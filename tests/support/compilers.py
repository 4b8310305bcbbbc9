"""The C compiler, and how strict it has to be with what flatprop writes."""

import os
import shutil

import pytest

COMPILER = shutil.which("cc") or shutil.which("gcc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler here")
needs_posix_compiler = pytest.mark.skipif(
    COMPILER is None or os.name != "posix", reason="there is no C compiler with pthreads here"
)
WARNINGS = [
    *("-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-Wfloat-equal", "-Wshadow"),
    *("-Wsign-conversion", "-Wundef", "-pedantic", "-Werror"),
]
STRICT = ["-std=c99", *WARNINGS, "-O2"]
