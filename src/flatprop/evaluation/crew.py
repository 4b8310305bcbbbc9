"""The threads of Python's that help with one call.

| the work | how | by |
| --- | --- | --- |
| parts that do not need each other | each thread takes the next part | `each` |
| a training, a gradient | a `team` runs one compiled function | `together` |

The threads are kept for the next call. Compiled functions run without Python's lock. Those threads
that are in one compiled function at the same time are a team.
"""

import contextlib
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from flatprop.evaluation.processors import allowed, budget
from flatprop.kernels.threads import team
from flatprop.validation import checks
from flatprop.validation.arrays import aligned_empty

PATIENCE = 3000
"""How often a leader looks for its helpers before it goes on without them: about a millisecond."""
LONG_PATIENCE = 100 * PATIENCE
"""The same where the user has said how many threads there are to be."""
MOST_THREADS = 256

T = TypeVar("T")


class _Asked(threading.local):
    threads: int | None = None
    most: int = MOST_THREADS
    end: threading.Event | None = None


_asked = _Asked()


def check_threads(threads: object) -> int | None:
    """The argument `threads`; raises a TypeError or a ValueError where it is no such number."""
    return None if threads is None else checks.count("threads", threads, most=MOST_THREADS)


@contextlib.contextmanager
def using(threads: object) -> Iterator[None]:
    """Let the calls of this thread have so many threads; None leaves it as it is."""
    before = _asked.threads
    _asked.threads = before if threads is None else check_threads(threads)
    try:
        yield
    finally:
        _asked.threads = before


@contextlib.contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Let the calls of this thread choose for themselves no more threads than this."""
    before, _asked.most = _asked.most, threads
    try:
        yield
    finally:
        _asked.most = before


@contextlib.contextmanager
def ending_with(end: threading.Event) -> Iterator[None]:
    """Let `end_if_asked` ask whether `end` is set, in this thread."""
    before, _asked.end = _asked.end, end
    try:
        yield
    finally:
        _asked.end = before


def end_if_asked() -> None:
    """Raise a KeyboardInterrupt if one of the threads that share out work has had a Ctrl-C.

    Only the main thread gets that of the system. Long calls ask between two of their parts.
    """
    if _asked.end is not None and _asked.end.is_set():
        raise KeyboardInterrupt


def size_for(most: int) -> int:
    """How many threads a call has for which up to `most` pay: as many as were asked for, or else
    as this process has processors.
    """
    if _asked.threads is not None:
        return _asked.threads
    return most if most == 1 else min(most, allowed(), _asked.most)


class _Pool:
    """The threads; a forked child makes its own."""

    def __init__(self) -> None:
        self.forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        self._executor: ThreadPoolExecutor | None = None

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any] | None":
        """Start a function in another thread; None where no thread can be had any more."""
        future: Future[Any] = Future()
        try:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="flatprop")
            self._executor.submit(_run, future, function, *arguments)
        except RuntimeError:  # the interpreter is ending, or the system has no more threads
            # Then the executor keeps the call, and gives it to the next thread that is idle.
            return None if future.cancel() else future
        return future


def _run(future: "Future[Any]", function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function for a future, unless that was cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function(*arguments))
    except BaseException as error:
        future.set_exception(error)
        del future  # which the error would keep, and the future keeps the error


_pool = _Pool()


def new_team(size: int, patience: int = PATIENCE) -> NDArray[np.int64]:
    """The cells of a team of up to `size` threads."""
    cells = aligned_empty(team.CELLS, np.dtype(np.int64))
    cells[:] = 0
    cells[team.WANTED], cells[team.PATIENCE] = size, patience
    return cells


ALONE = new_team(1)
"""The team of a thread that has no helpers."""


def together(
    size: int,
    call: Callable[..., T],
    arguments: Sequence[Any],
    of_helper: Callable[[], Sequence[Any]],
) -> tuple[T, int]:
    """`call(*arguments, cells, leads)` in this thread, and at once in others with `of_helper()`.

    Up to `size` threads make a team, fewer if other calls of this process have the processors.
    Returns what the call in this thread returned, and how many threads there were. Results must
    not depend on that.
    """
    if size == 1:
        return call(*arguments, ALONE, True), 1
    with budget.some(size, allowed()) as size:
        if size == 1:
            return call(*arguments, ALONE, True), 1
        cells = new_team(size, PATIENCE if _asked.threads is None else LONG_PATIENCE)
        try:
            helpers = [_pool.submit(call, *of_helper(), cells, False) for _ in range(size - 1)]
            cells[team.WANTED] = 1 + sum(helper is not None for helper in helpers)
            return call(*arguments, cells, True), max(1, int(cells[team.SIZE]))
        finally:
            # If Ctrl-C came before the call, nobody leads: who has come must leave again.
            if cells[team.SIZE] == 0:
                cells[team.SIZE] = team.GIVEN_UP


def each(
    size: int,
    call: Callable[[int, Any], T],
    parts: Sequence[Any],
    end: threading.Event | None = None,
) -> list[T]:
    """[call(worker, part) for part in parts], where threads take one part after the other.

    `worker`, from 0 on and below `size`, says which of the threads it is. If one of them raises,
    or `call` sets `end`, nobody begins another part, and `end_if_asked` raises in all of them.
    A part that nobody took leaves None.
    """
    size, end = min(size, len(parts)), end or threading.Event()
    results: list[Any] = [None] * len(parts)
    numbers = itertools.count()

    def work(worker: int) -> None:
        try:
            with ending_with(end):
                while not end.is_set() and (i := next(numbers)) < len(parts):
                    results[i] = call(worker, parts[i])
        except BaseException:
            end.set()
            raise

    if size <= 1:
        work(0)
        return results

    with budget.some(size, allowed()) as size:
        helpers: list[Future[Any] | None] = []
        at_work: list[Future[Any]] = []
        try:
            for worker in range(1, size):
                helpers.append(_pool.submit(work, worker))
            work(0)
            at_work = _not_cancelled(helpers)
            wait(at_work)
        except BaseException:  # also a Ctrl-C while this thread waits
            end.set()
            at_work = _not_cancelled(helpers)
            wait(at_work)
            raise
    for helper in at_work:
        helper.result()
    return results


def _not_cancelled(helpers: Sequence["Future[Any] | None"]) -> list["Future[Any]"]:
    """Those of the calls that have begun; the others never will."""
    return [helper for helper in helpers if helper and not helper.cancel()]


class Pace:
    """Whether several threads are faster than one, seen from how long blocks of a training take.

    A neighbour may have taken the processors, or the work may be too small for them.
    """

    FIRST, LATER = 3, 40
    """Which measurement tries the way that seems slower, and how many later the next one does."""
    SOON = 10
    """The same while one thread seems faster."""
    TRIAL = 0.2
    """How long a call for a trial is, as a part of an ordinary call."""
    LEAST = 0.005
    """Seconds of a measurement."""
    MARGIN = 1.05
    """How many times as long several threads may take before one takes their place."""

    def __init__(self) -> None:
        self._measured, self._next_trial = 0, self.FIRST
        self._seconds_per_row = {"several": 0.0, "one": math.inf}
        self._size, self._seconds, self._rows = 0, 0.0, 0
        self._on_trial = False

    def next_size(self, size: int, blocks: float = math.inf) -> tuple[int, float]:
        """How many of `size` threads the next call has, and the part of its usual length.

        Usually it goes through so many `blocks`. Of few blocks a trial would be no short one, and
        so comes later.
        """
        self._on_trial = False
        if size == 1 or _asked.threads is not None:
            return size, 1.0
        several = self._seconds_per_row["several"] <= self.MARGIN * self._seconds_per_row["one"]
        due = self._next_trial * max(1.0, 1.0 / (self.TRIAL * blocks))
        self._on_trial = self._measured >= due
        return size if several != self._on_trial else 1, self.TRIAL if self._on_trial else 1.0

    def note(self, size: int, seconds: float, rows: int) -> None:
        """Take note of how long so many rows took with so many threads."""
        if size != self._size:
            self._size, self._seconds, self._rows = size, 0.0, 0
        self._seconds, self._rows = self._seconds + seconds, self._rows + rows
        if self._seconds < self.LEAST or not self._rows:
            return
        which = "one" if size == 1 else "several"
        self._seconds_per_row[which] = self._seconds / self._rows
        self._seconds, self._rows = 0.0, 0
        if self._on_trial:
            self._next_trial += self.SOON if which == "several" else self.LATER
        self._measured += 1
