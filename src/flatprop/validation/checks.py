"""Checks of what a user passes in: each returns what the kernels take, or raises a clear error.

No function changes its arguments. It returns the same array if that is as the kernels need it,
and a new one otherwise. An error says what was wrong and what to do.
"""

import difflib
import math
import operator
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatprop.validation import frames

Array = NDArray[Any]


class LeftOut(int):
    """A default number. Its type shows that the caller gave nothing, not even the same number."""


DEFAULT_BATCH_SIZE = LeftOut(32)
"""The default of `Network.fit`: some runs refuse a batch size, but not this default."""


def nearest(name: str, options: Iterable[str], cutoff: float = 0.6) -> str:
    """The question " Did you mean ...?" where one of `options` is close to `name`, else ""."""
    by_lower = {option.lower(): option for option in options}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return f" Did you mean {by_lower[found[0]]!r}?" if found else ""


def choice(what: str, name: object, options: Iterable[str]) -> str:
    """`name`, if it is one of `options`."""
    options = list(options)
    if not isinstance(name, str):
        raise TypeError(f"{what} must be one of {', '.join(options)}; got {name!r}")
    if name not in options:
        name = name[:60]  # names from files may be of any length
        hint = nearest(name, options, cutoff=0.4)
        raise ValueError(f"unknown {what} {name!r}.{hint} Known: {', '.join(options)}")
    return name


def count(what: str, value: object, least: int = 1, most: int = 2**53) -> int:
    """A whole number that is large enough, and no larger than floating point can count."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{what} must be a whole number, got {value!r}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{what} must be a whole number, got {value!r}") from None
    if number < least:
        raise ValueError(f"{what} must be at least {least}, got {number}")
    if number > most:
        raise ValueError(f"{what} must be no more than {most}, got {number}")
    return number


def file_name(what: str, value: Any) -> str:
    """The name of a file as text; a whole number, which `open` would take, is no name."""
    try:
        return os.fsdecode(value)
    except TypeError:
        raise TypeError(f"{what} must be the name of a file, got {value!r}") from None


def is_number(value: object) -> bool:
    """Whether `value` is one number, and not text that looks like one."""
    return hasattr(value, "__float__") and not isinstance(value, str) and np.ndim(value) == 0  # type: ignore[arg-type]


def positive(what: str, value: object, or_zero: bool = False) -> float:
    """A positive, finite number."""
    if not is_number(value):
        raise TypeError(f"{what} must be a number, got {value!r}")
    number = float(value)  # type: ignore[arg-type]
    if not (math.isfinite(number) and (number > 0 or (or_zero and number == 0))):
        wanted = "finite and not negative" if or_zero else "positive and finite"
        raise ValueError(f"{what} must be {wanted}, got {value!r}")
    return number


def fraction(what: str, value: object) -> float:
    """A number between 0 and 1, which are excluded."""
    number = positive(what, value, or_zero=True)
    if not 0 < number < 1:
        raise ValueError(f"{what} must lie between 0 and 1, got {value!r}")
    return number


def generator(rng: Any) -> np.random.Generator:
    """A generator made from a seed, or the generator that was given (SPEC 7)."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng must be None, a seed (an integer not below 0) or a numpy.random.Generator, "
            f"got {rng!r}"
        ) from None


def numbers(what: str, value: Any, dtype: np.dtype[Any], first: int = 0) -> Array:
    """A C-contiguous array of `dtype` without NaN or infinity.

    `first` is the number of the first row, if `value` is a part of something larger.
    """
    plain = type(value) is np.ndarray and value.dtype == dtype
    if plain and value.size and value.ndim and value.flags.c_contiguous and value.flags.aligned:
        array: Array = value
        finite(what, array, first=first)
        return array
    if value is None:
        raise TypeError(f"{what} is None; an array of numbers is needed")
    array, names = frames.as_array(what, value, dtype)
    frames.refuse_other_kinds(what, array.dtype)
    if array.size == 0:
        raise ValueError(f"{what} is empty: its shape is {array.shape}")
    with np.errstate(over="ignore"):  # `finite` raises below, with the place
        converted = np.ascontiguousarray(array, dtype=dtype)
    if not converted.flags.aligned:  # ascontiguousarray does not care for alignment
        converted = converted.copy()
    if array.ndim == 0:
        converted = converted.reshape(())  # ascontiguousarray makes a scalar one-dimensional
    finite(what, converted, array, first, names)
    return converted


SMALL = 10_000
"""For a product of no more numbers BLAS uses one thread. For more numbers it may wake other
threads, which takes milliseconds on a busy machine."""
CHUNK = 2**18
"""How many numbers are looked at together, so that the boolean array stays in the cache."""


def is_finite(array: Array) -> bool:
    """Whether there is neither NaN nor infinity in a C-contiguous array."""
    if array.size <= SMALL:
        # The squares are fast. If they overflow, the slower second look decides.
        return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())
    flat = array.reshape(-1)
    return all(np.isfinite(flat[i : i + CHUNK]).all() for i in range(0, flat.size, CHUNK))


def finite(
    what: str,
    array: Array,
    original: Array | None = None,
    first: int = 0,
    names: Sequence[Any] | None = None,
) -> None:
    """Raise if there is a NaN or an infinity in a C-contiguous array.

    `original` is what the array was converted from, `first` is as in `numbers`, and `names`
    are the names of the columns.
    """
    if is_finite(array):
        return
    bad = ~np.isfinite(array)
    place = tuple(int(i) for i in np.argwhere(bad)[0])
    where = _where(what, place, first)
    of_column = "" if names is None else f" in column {names[place[-1]]!r}"
    with np.errstate(over="ignore"):  # some numbers are too large for float64, too
        wide = np.inf if original is None else np.asarray(original, dtype=np.float64)[place]
    if original is not None and np.isfinite(wide):
        raise ValueError(
            f"{where}{of_column} is {original[place]!r}, too large for {array.dtype}; "
            'scale the data or use dtype="float64"'
        )
    many = int(bad.sum())
    more = f" ({many} such values)" if many > 1 else ""
    raise ValueError(f"{where}{of_column} is {array[place]}{more}; remove or replace it first")


def writable(what: str, array: Array) -> None:
    """Raise if an array that is about to be changed is marked read-only."""
    if not array.flags.writeable:
        raise ValueError(
            f"{what} is read-only, but would be changed; allow it with "
            f"{what}.flags.writeable = True"
        )


def _where(what: str, place: tuple[int, ...], first: int) -> str:
    if not place:
        return what
    return f"{what}[{', '.join(map(str, (place[0] + first, *place[1:])))}]"


def inputs(
    value: object, columns: int, dtype: np.dtype[Any], look_for_nan: bool = True, first: int = 0
) -> Array:
    """X as (rows, columns); with look_for_nan=False the caller looks for NaN and infinity."""
    if type(value) is np.ndarray and value.dtype == dtype:
        shape = value.shape
        flags = value.flags
        plain = flags.c_contiguous and flags.aligned
        if plain and len(shape) == 2 and shape[1] == columns and shape[0]:
            if look_for_nan:
                finite("X", value, first=first)
            return value
    array = numbers("X", value, dtype, first)
    if array.ndim == 1 and columns == 1:
        array = array.reshape(-1, 1)
    if array.ndim != 2:
        hint = " For one sample pass X[None, :]." if array.shape == (columns,) else ""
        raise ValueError(
            f"X must have two dimensions, (rows, {columns}), but its shape is {array.shape}.{hint}"
        )
    if array.shape[1] != columns:
        hint = " Is it transposed?" if array.shape[0] == columns else ""
        raise ValueError(
            f"X has {array.shape[1]} columns, but the network takes {columns} inputs.{hint}"
        )
    return array


def targets(
    value: object, rows: int, outputs: int, domain: str, dtype: np.dtype[Any], first: int = 0
) -> Array:
    """y as (rows, outputs); if `domain` is "classes", perhaps as (rows, 1) class indices."""
    array = numbers("y", value, dtype, first)
    one_per_sample(array.shape, rows)
    if domain == "classes" and array.ndim == 1:
        return _class_indices(array, outputs, first)
    if array.ndim == 1 and outputs == 1:
        array = array.reshape(-1, 1)
    if array.shape != (rows, outputs):
        expected = f"({rows}, {outputs})" + (f" or ({rows},)" if outputs == 1 else "")
        if domain == "classes":
            expected = f"({rows},) class indices or ({rows}, {outputs}) probabilities"
        raise ValueError(f"y must have shape {expected}, but it has {array.shape}")
    if domain == "classes":
        _rows_of_probabilities(array, first)
    if domain == "fraction":
        _within(array, 0, 1, "binary_cross_entropy takes y from 0 to 1", first)
    if domain == "non-negative":
        _within(array, 0, math.inf, "poisson takes counts, which are not negative", first)
    return array


def one_per_sample(shape: tuple[int, ...], rows: int) -> None:
    """Raise unless y, whose shape this is, has as many rows as X."""
    if not shape or shape[0] != rows:
        raise ValueError(
            f"X has {rows} rows, but y has shape {shape}; they need one row per sample"
        )


def _class_indices(array: Array, classes: int, first: int) -> Array:
    whole = array == np.floor(array)
    if not whole.all():
        place = int(np.argmin(whole))
        raise ValueError(
            f"y[{place + first}] is {array[place]}, not a class index (a whole number)"
        )
    outside = (array < 0) | (array >= classes)
    if outside.any():
        place = int(np.argmax(outside))
        hint = " Do the classes start at 1? Subtract 1." if array.min() == 1 else ""
        raise ValueError(
            f"y[{place + first}] is class {int(array[place])}, but the last layer has {classes} "
            f"units, for classes 0 to {classes - 1}.{hint}"
        )
    return array.reshape(-1, 1)


def _rows_of_probabilities(array: Array, first: int) -> None:
    _within(array, 0, math.inf, "rows of class probabilities are not negative", first)
    sums = array.sum(axis=1)
    off = ~np.isclose(sums, 1, atol=1e-3)
    if off.any():
        place = int(np.argmax(off))
        raise ValueError(
            f"row {place + first} of y adds up to {sums[place]:g}; class probabilities add up to 1"
        )


def _within(array: Array, low: float, high: float, why: str, first: int) -> None:
    outside = (array < low) | (array > high)
    if outside.any():
        place = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(f"{_where('y', place, first)} is {array[place]}; {why}")


class NoWeightError(ValueError):
    """The weights of all samples are 0."""


def sample_weights(value: object, rows: int, dtype: np.dtype[Any]) -> Array:
    """(rows,), or empty for None."""
    if value is None:
        return np.empty(0, dtype)
    array = numbers("sample_weight", value, dtype)
    if array.shape != (rows,):
        raise ValueError(
            f"sample_weight must have shape ({rows},), one per sample, but it has {array.shape}"
        )
    if (array < 0).any():
        place = int(np.argmax(array < 0))
        raise ValueError(f"sample_weight[{place}] is {array[place]}; weights are not negative")
    with np.errstate(over="ignore"):  # an overflow raises below
        total = float(array.sum(dtype=np.float64))
    if total == 0 and np.any(np.asarray(value)):
        raise ValueError(
            f"every sample_weight is so small that it is 0 in {dtype}; divide them by their mean"
        )
    if total == 0:
        raise NoWeightError("every sample_weight is zero: nothing would be learnt or measured")
    # A mean is divided by the sum of the weights, in the network's dtype.
    if not (math.isfinite(total) and 1 / total < float(np.finfo(dtype).max)):
        raise ValueError(
            f"the sample_weight add up to {total:g}, which {dtype} has no room for; divide them "
            "by their mean"
        )
    return array
