"""Inputs that vary too little, compared with their size, for the dtype of the network.

A layer computes x W + b in the network's dtype. In this dtype numbers of the size of x lie
eps · |x| apart, and the products with W likewise. Raw timestamps are about 1.7e9, and there
float32 numbers lie 128 apart: an hour of seconds has 28 values, whatever W is. b would have to
take off the common part, but b is rounded in the same way.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from flatprop.samples.in_memory import Data
from flatprop.samples.samples import Samples
from flatprop.validation import frames
from flatprop.validation.alerts import ResolutionWarning, warn
from flatprop.validation.arrays import Array

VALUES = 500
"""A user is warned of a column if fewer values than this fit between its least and largest."""
GAP = 16
"""No warning if all values of a column lie so many spacings apart, as codes and flags do."""
CONSTANT = 1e-12
"""A column of floats that varies by no more than this part of its size counts as constant."""
COMPARED_IN_PYTHON = 32
"""Up to so many numbers Python compares faster than NumPy, whose every operation takes a
microsecond."""
SAMPLE = 256
"""How many rows are looked at first; after them few columns are left to look at."""


class Watch:
    """The columns of X that have not yet shown that they vary enough, as rows come by."""

    def __init__(self, inputs: int, dtype: np.dtype[Any]) -> None:
        self._eps = float(np.finfo(dtype).eps)
        self.columns = np.arange(inputs)
        self.low = np.full(inputs, np.inf)
        self.high = np.full(inputs, -np.inf)

    def see(self, x: Array) -> None:
        """Take note of rows, (rows, inputs)."""
        if not self.columns.size:
            return
        some = x if self.columns.size == x.shape[1] else x[:, self.columns]
        self.low = np.minimum(self.low, some.min(axis=0))
        self.high = np.maximum(self.high, some.max(axis=0))
        # A wide column stays wide: its range grows at least as fast as its size.
        narrow = is_narrow(self.low, self.high, self._eps)
        self.columns, self.low, self.high = (
            array[narrow] for array in (self.columns, self.low, self.high)
        )


def is_narrow(low: Array, high: Array, eps: float) -> Any:
    """Whether too few values fit between the least and the largest of each column."""
    with np.errstate(over="ignore"):
        return high - low < VALUES * eps * np.maximum(np.abs(low), np.abs(high))


def look_at(X: Any, data: Any, inputs: int, dtype: np.dtype[Any], names: Any = None) -> None:
    """Warn of columns that vary too little; X is what the user gave, `data` its converted form."""
    if not data.in_memory:
        return
    x = data.x.reshape(data.rows, inputs)
    if _are_far_apart(x[0], x[-1], float(np.finfo(dtype).eps)):
        return  # as they nearly always are
    watch = Watch(inputs, dtype)
    watch.see(x[:: max(1, data.rows // SAMPLE)])
    if watch.columns.size:
        watch.see(x)
        warn_of(watch, dtype, X, names, x)


def _are_far_apart(one: Array, other: Array, eps: float) -> bool:
    """Whether two rows differ enough in every column."""
    if one.size > COMPARED_IN_PYTHON:
        return not is_narrow(np.minimum(one, other), np.maximum(one, other), eps).any()
    pairs = zip(one.tolist(), other.tolist(), strict=True)
    return all(abs(a - b) >= VALUES * eps * max(abs(a), abs(b)) for a, b in pairs)


def warn_of(
    watch: Watch, dtype: np.dtype[Any], X: Any = None, names: Any = None, x: Array | None = None
) -> None:
    """Warn of the columns that are left in `watch`.

    A column is passed over if its numbers are sound as the user gave them. If X cannot be
    looked at, `x`, the inputs in the network's dtype, are looked at instead.
    """
    eps = float(np.finfo(dtype).eps)
    told = []
    for column, low, high in zip(watch.columns, watch.low, watch.high, strict=True):
        name, given = _as_given(X, int(column), names)
        if given is None and x is not None:
            given = x[:, column]
        if given is not None and given.size:
            if _is_sound(given, eps):
                continue
            low, high = given.min().item(), given.max().item()
        if low < high:
            told.append((name, low, high))
    if not told:
        return
    name, low, high = told[0]
    spacing = eps * max(abs(low), abs(high))
    digits = 10 if f"{low:.10g}" != f"{high:.10g}" else 17
    more = f", and {len(told) - 1} more columns likewise" if len(told) > 1 else ""
    wider = ', or take dtype="float64"' if dtype == np.float32 else ""
    warn(
        f"{name} of X ranges from {low:.{digits}g} to {high:.{digits}g}, where {dtype} numbers "
        f"lie about {spacing:.2g} apart{more}: a layer can hardly tell its values apart any finer "
        "than that, whatever the weights are. Subtract the mean and divide by the standard "
        f"deviation first, in float64{wider}.",
        ResolutionWarning,
    )


def _is_sound(given: Array, eps: float) -> bool:
    """Whether the numbers that were given are constant, or all far enough from each other.

    Numbers that differ only by the rounding of float64 count as constant: standardised, they
    would be nothing but rounding errors.
    """
    low, high = given.min().item(), given.max().item()
    size = max(abs(low), abs(high))
    if high - low <= (CONSTANT * size if given.dtype.kind == "f" else 0):
        return True
    return bool(np.diff(np.unique(given)).min() > GAP * eps * size)


def _as_given(X: Any, column: int, names: Sequence[Any] | None) -> tuple[str, Array | None]:
    """The name of a column, and its numbers before conversion, or None if X has none."""
    pairs = frames.columns(X)
    if pairs is not None:
        name, values = pairs[column]
        array = np.asarray(values)
        numbers = array if array.dtype.kind in "iuf" else np.asarray(values, np.float64)
        return f"column {name!r}", numbers
    name = f"column {column}" if names is None else f"column {names[column]!r}"
    if not isinstance(X, (np.ndarray, list, tuple)):
        return name, None
    array = np.asarray(X)
    if array.dtype.kind not in "iufb":
        return name, None
    return name, array if array.ndim == 1 else array[:, column]


class Watched:
    """Samples whose parts a `Watch` sees as they come by."""

    def __init__(self, source: Samples, watch: Watch) -> None:
        self._source = source
        self._watch = watch
        self.rows, self.weight = source.rows, source.weight
        self.in_memory, self.batches_given = source.in_memory, source.batches_given

    def parts(
        self, batch_size: int | None, rng: np.random.Generator | None = None
    ) -> Iterator[Data]:
        """The parts of the samples."""
        for part in self._source.parts(batch_size, rng):
            self._watch.see(part.x.reshape(part.rows, -1))
            yield part
