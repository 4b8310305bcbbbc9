"""What all tests have in common; what test modules import lies in `support/`."""

import shutil
import signal

import numba
import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

from processes import PACKAGE


def pytest_configure() -> None:
    # A shell starts what runs in the background with Ctrl-C ignored, and so would everything be
    # that this process starts; some tests interrupt themselves.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
