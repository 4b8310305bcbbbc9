"""How many processors this process may use, and how many of them its calls use just now."""

import contextlib
import math
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONTROL_GROUP = Path("/sys/fs/cgroup")
LOOK_AGAIN = 1.0
"""Seconds for which what the system says is remembered."""


def allowed() -> int:
    """How many processors a call may use by default: the least of

    - those that the system lets this process use: its affinity and its control group's quota,
    - OMP_NUM_THREADS,
    - what `threadpoolctl` allows to the libraries that it knows, if somebody has imported it,
    - 1 in a process of a pool (`multiprocessing`, `concurrent.futures`, joblib), unless
      OMP_NUM_THREADS says otherwise: the other processes of the pool take the other processors.
    """
    now = time.monotonic()
    if now > _remembered["until"]:
        _remembered.update(until=now + LOOK_AGAIN, processors=_of_system())
    return max(1, min(int(_remembered["processors"]), _of_libraries()))


_remembered: dict[str, Any] = {"until": -math.inf, "processors": 1}


def _of_system() -> int:
    count = _affinity()
    named = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if named.isdigit() and int(named) > 0:
        count = min(count, int(named))
    elif multiprocessing.parent_process() is not None:
        count = 1
    return min(count, _quota())


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota() -> int:
    """How many processors' time the control group of this process has, rounded up; Linux only."""
    for quota, period in (
        ("cpu.max", ""),
        ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),
    ):
        with contextlib.suppress(OSError, ValueError):
            numbers = (CONTROL_GROUP / quota).read_text().split()
            if period:
                numbers += (CONTROL_GROUP / period).read_text().split()
            granted, per = (float(number) for number in numbers)  # "max" is no number
            if granted > 0:
                return max(1, math.ceil(granted / per))
    return sys.maxsize


def _of_libraries() -> int:
    module = sys.modules.get("threadpoolctl")
    if module is None:
        return sys.maxsize
    if "controller" not in _remembered:
        _remembered["controller"] = module.ThreadpoolController()
    libraries = _remembered["controller"].lib_controllers
    return max((library.num_threads or 1 for library in libraries), default=sys.maxsize)


class Budget:
    """Shares the processors out among the calls of this process that run at the same time."""

    def __init__(self) -> None:
        self.forget()
        if hasattr(os, "register_at_fork"):
            # The calls of the parent's other threads do not go on in a child.
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Begin anew, as if no call were at work."""
        self._lock = threading.Lock()
        self._used = 0

    @contextlib.contextmanager
    def some(self, wanted: int, most: int) -> Iterator[int]:
        """As many of the `wanted` as others of the `most` leave, at least one, for a time."""
        with self._lock:
            alone = self._used == 0
            granted = wanted if alone else max(1, min(wanted, most - self._used))
            self._used += granted
        try:
            yield granted
        finally:
            with self._lock:
                self._used -= granted


budget = Budget()
