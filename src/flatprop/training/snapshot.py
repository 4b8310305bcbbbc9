"""Finite parameters to fall back on after a divergence."""

import time

from flatprop.validation.arrays import Array
from flatprop.validation.checks import is_finite

SNAPSHOT_SECONDS = 0.05
"""After how much time a new copy is made ..."""
SNAPSHOT_SHARE = 0.01
"""... unless copies would then take more than this part of the time."""


class Snapshot:
    """A copy of parameters that were finite, renewed as often as it costs next to nothing.

    `average` is copied and comes back with them, if there is one.
    """

    def __init__(self, params: Array, average: Array | None = None) -> None:
        began = time.perf_counter()
        self._params = params.copy()
        self._averages = [] if average is None else [(average, average.copy())]
        self._seconds = time.perf_counter() - began
        self._next = time.perf_counter() + self._interval()

    def keep_in_time(self, params: Array) -> bool:
        """Copy `params` if it is time; returns False if they were seen not to be finite."""
        began = time.perf_counter()
        if began <= self._next:
            return True
        finite = self._finite(params)
        if finite:
            self._params[:] = params
            for average, kept in self._averages:
                kept[:] = average
        now = time.perf_counter()
        self._seconds = now - began
        self._next = now + self._interval()
        return finite

    def fall_back(self, params: Array) -> bool:
        """Put the copy back into `params` if they are not finite; returns whether it did."""
        if self._finite(params):
            return False
        params[:] = self._params
        for average, kept in self._averages:
            average[:] = kept
        return True

    def _finite(self, params: Array) -> bool:
        return is_finite(params) and all(is_finite(average) for average, _ in self._averages)

    def _interval(self) -> float:
        return max(SNAPSHOT_SECONDS, self._seconds / SNAPSHOT_SHARE)
