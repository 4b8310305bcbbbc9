"""What a user passes in, made into what the kernels take, or a clear error.

Every function returns a new or the same array and changes nothing. An error
says what was wrong and what to do.
"""

import difflib
import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def choice(what: str, name: object, options: Iterable[str]) -> str:
    """`name`, if it is one of `options`."""
    options = list(options)
    if not isinstance(name, str):
        raise TypeError(f"{what} must be one of {', '.join(options)}; got {name!r}")
    if name not in options:
        near = difflib.get_close_matches(name.lower(), options, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown {what} {name!r}.{hint} Known: {', '.join(options)}")
    return name


def count(what: str, value: object, least: int = 1) -> int:
    """A whole number that is large enough."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{what} must be a whole number, got {value!r}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{what} must be a whole number, got {value!r}") from None
    if number < least:
        raise ValueError(f"{what} must be at least {least}, got {number}")
    return number


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


def generator(rng: Any) -> np.random.Generator:
    """A generator from a seed, or the one given (SPEC 7)."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng must be None, a seed (an integer not below 0) or a numpy.random.Generator, "
            f"got {rng!r}"
        ) from None


def numbers(what: str, value: object, dtype: np.dtype[Any]) -> Array:
    """A C-contiguous array of `dtype` without NaN or infinity."""
    if value is None:
        raise TypeError(f"{what} is None; an array of numbers is needed")
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise TypeError(f"{what} is a sparse matrix; pass {what}.toarray()")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{what} cannot be made into an array of numbers: {error}") from None
    if array.dtype.kind == "O":
        array = _from_objects(what, array)
    if array.dtype.kind == "c":
        raise TypeError(f"{what} is complex; pass its real part or its parts as two columns")
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{what} must hold numbers, got dtype {array.dtype}; "
            "turn text or dates into numbers first"
        )
    if array.size == 0:
        raise ValueError(f"{what} is empty: its shape is {array.shape}")
    with np.errstate(over="ignore"):  # told below, with the place
        converted = np.ascontiguousarray(array, dtype=dtype)
    if array.ndim == 0:
        converted = converted.reshape(())  # ascontiguousarray makes a scalar one-dimensional
    finite(what, converted, array)
    return converted


def _from_objects(what: str, array: Array) -> Array:
    try:
        return array.astype(np.float64)
    except OverflowError:
        raise ValueError(f"{what} holds a number that is too large for float64") from None
    except (TypeError, ValueError):
        for place, item in np.ndenumerate(array):
            try:
                float(item)
            except (TypeError, ValueError):
                where = ", ".join(map(str, place))
                raise TypeError(
                    f"{what} must hold numbers, but {what}[{where}] is {item!r}"
                ) from None
        raise


def finite(what: str, array: Array, original: Array | None = None) -> None:
    """Raise if there is a NaN or an infinity in a C-contiguous array."""
    flat = array.reshape(-1)
    # One fast pass; an overflow of the square only costs the slower second look.
    if math.isfinite(np.vdot(flat, flat)):
        return
    bad = ~np.isfinite(array)
    if not bad.any():
        return
    place = tuple(int(i) for i in np.argwhere(bad)[0])
    where = f"{what}[{', '.join(map(str, place))}]" if place else what
    if original is not None and np.isfinite(np.asarray(original, dtype=np.float64)[place]):
        raise ValueError(
            f"{where} is {original[place]!r}, too large for {array.dtype}; "
            'scale the data or use dtype="float64"'
        )
    many = int(bad.sum())
    more = f" ({many} such values)" if many > 1 else ""
    raise ValueError(f"{where} is {array[place]}{more}; remove or replace it first")


def inputs(value: object, columns: int, dtype: np.dtype[Any], look_for_nan: bool = True) -> Array:
    """X as (rows, columns); where NaN and infinity are not looked for here, the caller does."""
    if type(value) is np.ndarray and value.dtype == dtype:
        shape = value.shape
        if len(shape) == 2 and shape[1] == columns and shape[0] and value.flags.c_contiguous:
            if look_for_nan:
                finite("X", value)
            return value
    array = numbers("X", value, dtype)
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


def targets(value: object, rows: int, outputs: int, domain: str, dtype: np.dtype[Any]) -> Array:
    """y as (rows, outputs), or as (rows, 1) class indices where `domain` is "classes"."""
    array = numbers("y", value, dtype)
    if array.ndim == 0 or array.shape[0] != rows:
        raise ValueError(
            f"X has {rows} rows, but y has shape {array.shape}; they need one row per sample"
        )
    if domain == "classes" and array.ndim == 1:
        return _class_indices(array, outputs)
    if array.ndim == 1 and outputs == 1:
        array = array.reshape(-1, 1)
    if array.shape != (rows, outputs):
        expected = f"({rows}, {outputs})" + (f" or ({rows},)" if outputs == 1 else "")
        if domain == "classes":
            expected = f"({rows},) class indices or ({rows}, {outputs}) probabilities"
        raise ValueError(f"y must have shape {expected}, but it has {array.shape}")
    if domain == "classes":
        _rows_of_probabilities(array)
    if domain == "fraction":
        _within(array, 0, 1, "binary_cross_entropy takes y from 0 to 1")
    if domain == "non-negative":
        _within(array, 0, math.inf, "poisson takes counts, which are not negative")
    return array


def _class_indices(array: Array, classes: int) -> Array:
    whole = array == np.floor(array)
    if not whole.all():
        place = int(np.argmin(whole))
        raise ValueError(f"y[{place}] is {array[place]}, not a class index (a whole number)")
    outside = (array < 0) | (array >= classes)
    if outside.any():
        place = int(np.argmax(outside))
        hint = " Do the classes start at 1? Subtract 1." if array.min() == 1 else ""
        raise ValueError(
            f"y[{place}] is class {int(array[place])}, but the last layer has {classes} units, "
            f"for classes 0 to {classes - 1}.{hint}"
        )
    return array.reshape(-1, 1)


def _rows_of_probabilities(array: Array) -> None:
    _within(array, 0, math.inf, "rows of class probabilities are not negative")
    sums = array.sum(axis=1)
    off = ~np.isclose(sums, 1, atol=1e-3)
    if off.any():
        place = int(np.argmax(off))
        raise ValueError(
            f"row {place} of y adds up to {sums[place]:g}; class probabilities add up to 1"
        )


def _within(array: Array, low: float, high: float, why: str) -> None:
    outside = (array < low) | (array > high)
    if outside.any():
        place = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(f"y[{', '.join(map(str, place))}] is {array[place]}; {why}")


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
    if not array.any():
        raise ValueError("every sample_weight is zero: nothing would be learnt")
    return array


def trainable_ranges(value: object, size: int) -> NDArray[np.int64]:
    """Where runs of trained parameters begin and end, (ranges, 2)."""
    if value is None:
        return np.array([[0, size]], np.int64)
    mask = np.asarray(value)
    if mask.dtype != np.bool_:
        raise TypeError(
            f"trainable must be a boolean mask over net.params, got dtype {mask.dtype}; "
            "make one with numpy.zeros(net.params.size, bool)"
        )
    if mask.shape != (size,):
        raise ValueError(f"trainable must have shape ({size},), as net.params, not {mask.shape}")
    if not mask.any():
        raise ValueError("trainable is False everywhere: nothing would be trained")
    edges = np.diff(np.concatenate(([False], mask, [False])).astype(np.int8))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)
