"""Parameters to fall back on, kept now and then while they are known to be finite."""

import time

from flatprop.validation.arrays import Array
from flatprop.validation.checks import is_finite

SNAPSHOT_SECONDS = 0.05
"""How old the parameters should be that a divergence falls back on ..."""
SNAPSHOT_SHARE = 0.01
"""... unless keeping them took more than this part of the time."""


class Snapshot:
    """A copy of the parameters, renewed as often as that costs next to nothing."""

    def __init__(self, params: Array) -> None:
        began = time.perf_counter()
        self._params = params.copy()
        self._seconds = time.perf_counter() - began
        self._next = time.perf_counter() + self._interval()

    def keep_in_time(self, params: Array) -> bool:
        """Copy them if it is time; whether they are finite, or were not looked at."""
        began = time.perf_counter()
        if began <= self._next:
            return True
        finite = is_finite(params)
        if finite:
            self._params[:] = params
        now = time.perf_counter()
        self._seconds = now - began
        self._next = now + self._interval()
        return finite

    def fall_back(self, params: Array) -> bool:
        """Give `params` what was kept, where they are not finite; whether that was so."""
        if is_finite(params):
            return False
        params[:] = self._params
        return True

    def _interval(self) -> float:
        return max(SNAPSHOT_SECONDS, self._seconds / SNAPSHOT_SHARE)
