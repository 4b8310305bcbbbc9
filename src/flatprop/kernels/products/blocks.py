"""How large the parts are that a product is cut into: what is read again is in a cache then."""

from typing import NamedTuple

from flatprop.kernels.processor import Caches, caches
from flatprop.numbers.lanes import REGISTER_BYTES

PANEL = 32
"""Columns of a panel, at most."""
FEW_COLUMNS = 4
"""Up to so many columns `narrow` has its own way."""
A_READERS = 256
"""A is packed where so many columns of B read the copy."""


class Blocks(NamedTuple):
    """The sizes of parts, at most; numbers of float32, see `blocks_of`."""

    depth: int
    """How many products are added up at once: a panel of B stays in the first cache."""
    rows: int
    """How many rows of A are read again for every panel: they stay in the second cache."""
    columns: int
    """How many columns of the result are under way: their sums stay in the third cache."""
    far: int
    """The bytes of a B that no cache near the core holds, which is fetched before it is read."""


def _within(low: int, value: int, high: int, unit: int) -> int:
    return max(low, min(value, high)) // unit * unit


def blocks_for(sizes: Caches) -> Blocks:
    """The blocks for these caches.

    | block | it takes |
    | --- | --- |
    | depth × a vector of B | 5/8 of the first cache |
    | depth × rows of A | two thirds of the second cache |
    | rows × columns of sums | an eighth of the third cache |
    """
    depth = _within(128, sizes.first * 5 // 8 // REGISTER_BYTES, 512, 16)
    rows = _within(48, sizes.second * 2 // 3 // (4 * depth), 768, 48)
    columns = _within(256, sizes.third // 8 // (4 * rows), 1024, 64)
    return Blocks(depth, rows, columns, sizes.second)


BLOCKS = blocks_for(caches())


def blocks_of(itemsize: int) -> Blocks:
    """The blocks for numbers of so many bytes."""
    return BLOCKS._replace(rows=max(BLOCKS.rows * 4 // itemsize, 24))
