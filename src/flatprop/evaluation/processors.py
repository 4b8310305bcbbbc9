"""How many processors this process may use, and how many of them its calls use just now."""

import contextlib
import math
import multiprocessing
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial
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

if hasattr(os, "register_at_fork"):  # a child may be in a pool
    os.register_at_fork(after_in_child=partial(_remembered.update, until=-math.inf))


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


class Grant:
    """Processors that a call uses; none any more when `threads` is 0, or when it is forgotten."""

    def __init__(self, threads: int) -> None:
        self.threads = threads


class Budget:
    """Shares the processors out among the calls of this process that run at the same time.

    Nothing is counted up and down, which a Ctrl-C in between would bring out of step.
    """

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            # The calls of the parent's other threads do not go on in a child.
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._grants: weakref.WeakSet[Grant] = weakref.WeakSet()

    @contextlib.contextmanager
    def some(self, wanted: int, most: int) -> Iterator[int]:
        """As many of the `wanted` as others of the `most` leave, at least one, for a time."""
        with self._lock:
            used = sum(grant.threads for grant in self._grants)
            grant = Grant(wanted if used == 0 else max(1, min(wanted, most - used)))
            self._grants.add(grant)
        try:
            yield grant.threads
        finally:
            grant.threads = 0


budget = Budget()
