"""Frames and other containers of numbers, as arrays; errors name the column.

pandas, polars, pyarrow, SciPy, PyTorch and Dask are not imported: an object is recognised by its
methods.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def is_sparse(value: object) -> bool:
    """Whether this is a sparse matrix or array of SciPy's kind."""
    return hasattr(value, "toarray") and hasattr(value, "nnz")


def is_in_blocks(value: object) -> bool:
    """Whether this is an array, a frame or a series of Dask's."""
    kind = type(value)
    return hasattr(kind, "__dask_graph__") and hasattr(kind, "partitions")


def dense(matrix: Any) -> Array:
    """The array of a sparse matrix. Its indices are checked first, for SciPy trusts them."""
    if hasattr(matrix, "check_format"):
        matrix.check_format(full_check=True)
    array: Array = matrix.toarray()
    return array


def as_array(what: str, value: Any, dtype: np.dtype[Any]) -> tuple[Array, list[Any] | None]:
    """A value as an array, and the names of its columns if it is a frame.

    A frame with columns of several types becomes an array of `dtype`, never one of objects.
    """
    if is_in_blocks(value):
        value = value.compute()
    named = columns(value)
    if named is None:
        return _plain(what, value), None
    names = [name for name, _ in named]
    if _is_one_block(value):
        return np.asarray(value), names
    out = np.empty((len(value), len(named)), dtype)
    for place, (name, column) in enumerate(named):
        array = np.asarray(column)
        if array.dtype.kind == "O":
            array = from_objects(what, array, place, name)
        refuse_other_kinds(what, array.dtype, name)
        with np.errstate(over="ignore"):  # `checks.finite` raises later, with the place
            out[:, place] = array
    return out, names


def columns(value: Any) -> list[tuple[Any, Any]] | None:
    """Names and columns of a frame; None for anything else."""
    # The class is asked: to look at the columns of a lazy frame itself would compute its types.
    kind = type(value)
    named: Iterable[tuple[Any, Any]]
    if hasattr(kind, "iter_columns"):  # polars
        named = ((column.name, column) for column in value.iter_columns())
    elif hasattr(kind, "itercolumns"):  # pyarrow
        named = zip(value.column_names, value.itercolumns(), strict=True)
    elif hasattr(kind, "columns") and hasattr(kind, "dtypes") and hasattr(kind, "items"):  # pandas
        named = value.items()
    else:
        return None
    return list(named)


def _is_one_block(frame: Any) -> bool:
    """Whether NumPy has one type for all columns of a frame."""
    types = getattr(frame, "dtypes", ())  # pyarrow's tables have none
    kinds = {t.kind if isinstance(t, np.dtype) else "O" for t in types}
    return kinds == {"b"} or (bool(kinds) and kinds <= {"i", "u", "f"})


def _plain(what: str, value: Any) -> Array:
    if is_sparse(value):
        try:
            value = dense(value)
        except ValueError as error:
            raise ValueError(f"{what} is no sound sparse matrix: {error}") from None
    elif hasattr(value, "filled") and value.dtype.names is None and np.any(value.mask):
        raise ValueError(
            f"{what} is a masked array with {np.sum(value.mask)} masked values; fill them first, "
            f"as {what}.filled(0) does, or leave their rows out"
        )
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{what} cannot be made into an array of numbers: {error}") from None
    if array.dtype.kind != "O":
        return array
    if array.ndim == 0 and not hasattr(value, "__float__"):
        raise TypeError(f"{what} must be an array of numbers, got {_described(value)}")
    return from_objects(what, array)


def _described(value: object) -> str:
    kind = type(value).__name__
    if hasattr(type(value), "collect"):
        return f"a {kind}; call its collect() first"
    if hasattr(type(value), "__next__"):
        return f"a {kind}; a stream of (X, y) batches is for fit, with y left out"
    return f"a {kind}"


def from_objects(
    what: str, array: Array, column: int | None = None, name: object = None
) -> NDArray[np.float64]:
    """Python objects as float64; an error has the place, and the column of a frame."""
    for number, item in enumerate(array.flat):
        if type(item) is float or type(item) is int:
            continue
        place = np.unravel_index(number, array.shape)
        where = ", ".join(map(str, place if column is None else (*place, column)))
        of_column = "" if column is None else f" in column {name!r}"
        if type(item).__name__ in ("NAType", "NaTType") or (item is None and column is not None):
            raise ValueError(
                f"{what}[{where}]{of_column} is missing ({item}); remove or replace it first"
            )
        try:
            if isinstance(item, (str, bytes)):
                raise TypeError
            if item is not None:
                float(item)
        except OverflowError:
            pass
        except (TypeError, ValueError):
            raise TypeError(
                f"{what} must hold numbers, but {what}[{where}]{of_column} is {item!r}; "
                "turn text, categories and dates into numbers first"
            ) from None
    try:
        return array.astype(np.float64)
    except OverflowError:
        raise ValueError(f"{what} holds a number that is too large for float64") from None


def refuse_other_kinds(what: str, dtype: np.dtype[Any], name: object = None) -> None:
    """Raise unless these are real numbers or booleans."""
    where = what if name is None else f"column {name!r} of {what}"
    if dtype.kind == "c":
        raise TypeError(f"{where} is complex; pass its real part or its parts as two columns")
    if dtype.kind not in "biuf":
        raise TypeError(
            f"{where} must hold numbers, got dtype {dtype}; turn text or dates into numbers first"
        )
