"""Trainings that threads take one after the other."""

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from flatprop.evaluation import crew
from flatprop.training.history import History
from flatprop.training.progress import progress_bar
from flatprop.validation.alerts import held_back, warn

Warned = list[tuple[str, type[Warning]]]
MOST_TOLD = 3
"""Warnings that differ; further ones are counted."""


def train_each(
    trainings: Sequence[Callable[[], History]],
    threads: int | None,
    progress: bool,
    unit: str,
) -> tuple[list[History | Exception], list[Warned]]:
    """What each training returned or raised, and the warnings of each, which are not yet shown.

    Each has one thread, or several where there are fewer trainings than threads. Ctrl-C ends those
    that run, which keep what they have learnt, and the others do not begin.
    """
    count = len(trainings)
    warned: list[Warned] = [[] for _ in trainings]
    results: list[Any] = [History(stopped_by="interrupted") for _ in trainings]
    end = threading.Event()
    with crew.using(threads):
        size = crew.size_for(crew.MOST_THREADS)
    each = max(1, size // count)
    workers = min(size, count)

    with contextlib.ExitStack() as stack:
        bar = None
        if progress:
            bar = stack.enter_context(progress_bar(count, unit))
        lock = threading.Lock()

        def train(worker: int, i: int) -> None:
            alone = 1 if each == 1 else threads and each
            with held_back() as found, crew.using(alone):
                try:
                    results[i] = trainings[i]()
                    if results[i].stopped_by == "interrupted":
                        end.set()
                except Exception as error:
                    results[i] = error
            warned[i] = found
            if bar is not None:
                with lock:
                    bar.update(1)

        # A Ctrl-C between two trainings, or while this thread waits for the others.
        with contextlib.suppress(KeyboardInterrupt):
            crew.each(workers, train, range(count), end)
    return results, warned


def warn_together(warned: Sequence[Warned], what: str) -> None:
    """Show the warnings of many trainings: each text once, with who else had the like.

    `what` is what they are called: "member" or "network".
    """
    by_kind: dict[type[Warning], dict[str, list[int]]] = {}
    for i, messages in enumerate(warned):
        for message, category in messages:
            by_kind.setdefault(category, {}).setdefault(message, []).append(i)
    for category, texts in by_kind.items():
        affected = sorted({i for numbers in texts.values() for i in numbers})
        told = [f"{_named(what, numbers)}: {text}" for text, numbers in texts.items()]
        more = len(told) - MOST_TOLD
        rest = [f"and {more} more messages, for {_named(what, affected)} in all"] * (more > 0)
        warn("\n".join([*told[:MOST_TOLD], *rest]), category)


def _named(what: str, numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"{what} {numbers[0]}"
    some = ", ".join(map(str, numbers[:5]))
    return f"{what}s {some}{', ...' if len(numbers) > 5 else ''} ({len(numbers)} {what}s)"


class OneAtATime:
    """A callback that threads call in turn, so that the user's function need not care."""

    def __init__(self, callback: Callable[..., object], lock: Any) -> None:
        self._callback, self._lock = callback, lock

    def __call__(self, epoch: Any) -> object:
        with self._lock:
            return self._callback(epoch)
