"""What a product is made from and where it goes: matrices in memory, and places between them."""

from typing import NamedTuple

from llvmlite import ir

from flatprop.kernels.loops.masks import LaneMask
from flatprop.kernels.loops.vector_loops import INT64
from flatprop.numbers.lanes import Lanes
from flatprop.numbers.numbers import maximum, where

POINTER = ir.IntType(8).as_pointer()
ZERO = INT64(0)


class Strided(NamedTuple):
    """A matrix in memory: its first number, and the bytes between neighbours."""

    builder: ir.IRBuilder
    data: ir.Value
    row: ir.Value
    column: ir.Value

    def at(self, i: ir.Value, j: ir.Value) -> "Strided":
        """What begins at row i, column j."""
        down, right = self.builder.mul(i, self.row), self.builder.mul(j, self.column)
        return self._replace(data=self.builder.gep(self.data, [self.builder.add(down, right)]))

    def or_else(self, chosen: ir.Value, other: "Strided") -> "Strided":
        """Itself where `chosen`, the other one elsewhere."""
        pairs = zip(self[1:], other[1:], strict=True)
        return Strided(self.builder, *(self.builder.select(chosen, *pair) for pair in pairs))

    def contiguous_rows(self, itemsize: int) -> ir.Value:
        """Whether the numbers of a row, of so many bytes, are neighbours."""
        return self.builder.icmp_signed("==", self.column, INT64(itemsize))

    def transposed(self) -> "Strided":
        """The same numbers, rows read as columns."""
        return self._replace(row=self.column, column=self.row)


class Finish(NamedTuple):
    """What becomes of a product A B.

    | `multiplies` | `rectifies` | `bound` | out |
    | --- | --- | --- | --- |
    | 0 | 0 | -∞ | D + alpha A B |
    | 0 | 1 | 0 | relu(D + A B) |
    | 1 | 0 | ∞ | D ⊙ A B |
    | 1 | 1 | 0 | A B where D > 0, elsewhere D: D is the a of a relu, so 0 or NaN there |
    """

    out: Strided
    d: Strided
    alpha: ir.Value
    multiplies: ir.Value
    rectifies: ir.Value
    bound: ir.Value
    """The same number in every lane. A sum is at least the bound. A factor D above it counts
    as 1."""

    def at(self, i: ir.Value, j: ir.Value) -> "Finish":
        """What begins at row i, column j."""
        return self._replace(out=self.out.at(i, j), d=self.d.at(i, j))

    def rectified(self, total: ir.Value) -> ir.Value:
        """A vector of sums, none below the bound."""
        total, bound = (Lanes(self.out.builder, value) for value in (total, self.bound))
        return maximum(total, bound).value

    def factor(self, kept: ir.Value) -> ir.Value:
        """What a vector of D stands for where it multiplies."""
        d, bound = (Lanes(self.out.builder, value) for value in (kept, self.bound))
        return where(d > bound, 1.0, d).value


class RowBlock(NamedTuple):
    """Some rows of A, as tiles read them."""

    a: Strided
    packed: ir.Value
    """Whether they are as `packing.pack_rows` leaves them."""
    by_rows: ir.Value
    """Whether the rows of A are contiguous, packed or not."""
    count: ir.Value


class Panel(NamedTuple):
    """Some columns of B, as tiles read them: in whole vectors."""

    b: Strided
    vectors: int
    mask: LaneMask
    """The columns of the last vector that exist."""
    following: Strided
    """The next panel, where it still lies."""
    fetches: ir.Value
    """Whether that is so far away that it is asked for meanwhile."""


class Sums(NamedTuple):
    """Where sums of products stay that are added up in several blocks: tile by tile."""

    data: ir.Value
    begun: ir.Value
    """Whether they hold the sums of the blocks before."""
    go_on: ir.Value
    """Whether further blocks follow, so that `out` is not written yet."""
    nowhere: ir.Value
    """Room for a row of a tile that does not exist."""
