"""Threads that help with one call: they run the same compiled function, or take some of its parts.

| the work | how | by |
| --- | --- | --- |
| blocks that have nothing to do with each other | threads take the next one, until all are taken | `each` |
| a training, or the gradient of many rows | a team runs one compiled function: `threads.team` | `together` |

The threads are Python's, kept for the next call. Compiled functions run without Python's lock.
"""

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

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


def wanted_threads(threads: object) -> int | None:
    """The argument `threads`, checked."""
    return None if threads is None else checks.count("threads", threads, most=MOST_THREADS)


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
        try:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="flatprop")
            return self._executor.submit(function, *arguments)
        except RuntimeError:  # the interpreter is ending, or the system has no more threads
            return None


_pool = _Pool()


def new_team(size: int, patience: int = PATIENCE) -> team.Team:
    """What a team of up to `size` threads shares."""
    cells = aligned_empty(team.CELLS, np.dtype(np.int64))
    cells[:] = 0
    cells[team.WANTED], cells[team.PATIENCE] = size, patience
    return team.Team(cells, np.zeros(team.MOST_UNITS))


ALONE = new_team(1)
"""The team of a thread that has no helpers."""


def together(
    threads: int | None,
    most: int,
    call: Callable[..., T],
    arguments: Sequence[Any],
    of_helper: Callable[[], Sequence[Any]],
) -> T:
    """`call(*arguments, team, leads)` in this thread, and at once in others with `of_helper()`.

    There are up to `threads` threads, or, where that is None, up to `most` as far as this process
    has as many processors that are not in use. Results must not depend on how many come.
    """
    size = min(most, allowed()) if threads is None else threads
    if size == 1:
        return call(*arguments, ALONE, True)
    with budget.some(size, allowed()) as size:
        if size == 1:
            return call(*arguments, ALONE, True)
        shared = new_team(size, PATIENCE if threads is None else LONG_PATIENCE)
        try:
            for _ in range(size - 1):
                _pool.submit(call, *of_helper(), shared, False)
            return call(*arguments, shared, True)
        finally:
            # If Ctrl-C came before `call`, nobody leads: who has come must leave again.
            if shared.cells[team.SIZE] == 0:
                shared.cells[team.JOINED] = team.CLOSED
                shared.cells[team.SIZE] = team.GIVEN_UP


def each(
    threads: int | None, most: int, call: Callable[[int, Any], T], parts: Sequence[Any]
) -> list[T]:
    """[call(worker, part) for part in parts], where threads take one part after the other.

    `worker` says which of the threads it is, from 0 on; `threads` and `most` are as for `together`.
    """
    size = min(len(parts), min(most, allowed()) if threads is None else threads)
    if size <= 1:
        return [call(0, part) for part in parts]
    results: list[Any] = [None] * len(parts)
    numbers = itertools.count()

    def work(worker: int) -> None:
        while (i := next(numbers)) < len(parts):
            results[i] = call(worker, parts[i])

    with budget.some(size, allowed()) as size:
        helpers = [_pool.submit(work, worker) for worker in range(1, size)]
        try:
            work(0)
        finally:
            next_to_last = [helper for helper in helpers if helper and not helper.cancel()]
            for helper in next_to_last:
                helper.exception()
    for helper in next_to_last:
        helper.result()
    return results
