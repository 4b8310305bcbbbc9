"""What all tests have in common; what test modules import lies in `support/`."""

import itertools
import shutil
import signal
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

from flatprop.samples import in_parts
from processes import PACKAGE, TESTS


def pytest_configure() -> None:
    # Started in this folder, Python has it on the path: where scikit-learn is not installed,
    # `import sklearn` would find the tests of the estimators.
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != TESTS]
    # A shell starts what runs in the background with Ctrl-C ignored, and so would everything be
    # that this process starts; some tests interrupt themselves.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def record_property(record_property):
    """Records numbers as Python's own: the process of a test passes no others on to pytest's."""
    return lambda name, number: record_property(name, float(number))


@numba.njit
def allocate(times):
    total = 0.0
    for i in range(times):
        total += np.ones(i + 1).sum()
    return total


@pytest.fixture
def allocations():
    """A function that gives the allocations of Numba's runtime during a call."""

    def during(call, *arguments) -> int:
        before = rtsys.get_allocation_stats().alloc
        call(*arguments)
        return rtsys.get_allocation_stats().alloc - before

    allocate(1)
    _nrt_python.memsys_enable_stats()
    assert during(allocate, 10) == 10  # the counter counts
    yield during
    _nrt_python.memsys_disable_stats()


@pytest.fixture
def copy_of_package(tmp_path):
    """The package where nothing else uses its cache: (environment, folder)."""
    folder = tmp_path / "flatprop"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}, folder


@pytest.fixture
def data():
    """X of four columns, and two targets that `networks.make` can follow."""
    X = np.random.default_rng(0).normal(size=(101, 4))
    return X, np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], axis=1)


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of 32 rows or so, so that a file of a few kilobytes is a large one."""
    monkeypatch.setattr(in_parts, "PART_BYTES", 1000)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """A function that writes an array into a file of its own and maps it."""
    folder, numbers = tmp_path_factory.mktemp("files"), itertools.count()

    def write(array, mode="r"):
        path = folder / f"{next(numbers)}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode=mode)

    return write


@pytest.fixture
def nothing_left():
    """No setting of Matplotlib is changed; figures are the caller's, who closes them."""
    import matplotlib.pyplot

    before = dict(matplotlib.rcParams)
    yield
    matplotlib.pyplot.close("all")
    assert dict(matplotlib.rcParams) == before
