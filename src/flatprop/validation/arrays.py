"""Aligned arrays, read-only views for the kernels, and views of the parameters by layer."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatprop.validation import checks

Array: TypeAlias = NDArray[Any]


class Views(Sequence[Array]):
    """Writable views into `params`, one per layer; assigning to one copies into it."""

    def __init__(self, name: str, views: list[Array]) -> None:
        self._name = name
        self._views = views

    def __getitem__(self, layer: Any) -> Any:
        return self._views[layer]

    def __setitem__(self, layer: int, value: ArrayLike) -> None:
        if not isinstance(layer, int):
            raise TypeError(f"assign {self._name} one layer at a time, {self._name}[0] = ...")
        view = self._views[layer]
        array = checks.numbers(f"{self._name}[{layer}]", value, view.dtype)
        if array.shape != view.shape:
            raise ValueError(
                f"{self._name}[{layer}] has shape {view.shape}, but the value has {array.shape}"
            )
        view[:] = array

    def require_writable(self, of: str = "") -> None:
        """Raise if one of the views is marked read-only."""
        for layer, view in enumerate(self._views):
            checks.writable(f"{of}{self._name}[{layer}]", view)

    def __len__(self) -> int:
        return len(self._views)

    def __iter__(self) -> Iterator[Array]:
        return iter(self._views)

    def __repr__(self) -> str:
        return repr(self._views)


def aligned_empty(size: int, dtype: np.dtype[Any]) -> Array:
    """A flat array that begins at a cache line, so that no register is filled from two lines."""
    line = 64
    raw = np.empty(size * dtype.itemsize + line, np.uint8)
    start = -raw.ctypes.data % line
    return raw[start : start + size * dtype.itemsize].view(dtype)


def aligned_copy(array: Array) -> Array:
    """A writable, C-contiguous copy of any array, aligned as `aligned_empty`."""
    copy = aligned_empty(array.size, array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def read_only(array: Array) -> Array:
    """A read-only view, so that kernels are compiled for one type, whatever the user passed in."""
    view = array.view()
    view.setflags(write=False)
    return view


def flat(array: Array) -> Array:
    """A read-only, one-dimensional view of a C-contiguous array."""
    return read_only(array.reshape(-1))
