"""Matrices small enough to lie in a vector, of sizes known when they are compiled.

A transposition costs nothing, it is another way to count; a product multiplies as many
terms at once as fill a register. What moves is moved by shuffles with constant masks,
and loops there are none.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from llvmlite import ir

from flatprop.formulas.lanes import Lanes, fma, lane_count
from flatprop.kernels.registers import INT32


class Matrix(NamedTuple):
    """A matrix, by rows unless it is transposed."""

    lanes: Lanes
    rows: int
    columns: int
    transposed: bool = False

    @property
    def T(self) -> "Matrix":
        """The same numbers, read by columns."""
        return Matrix(self.lanes, self.columns, self.rows, not self.transposed)

    def place(self, row: int, column: int) -> int:
        """The lane of an element."""
        return column * self.rows + row if self.transposed else row * self.columns + column

    def with_lanes(self, lanes: Lanes) -> "Matrix":
        """Other numbers in the same places."""
        return self._replace(lanes=lanes)

    def by_columns(self) -> Lanes:
        """The numbers, column after column."""
        return take(
            self.lanes,
            [self.place(r, c) for c in range(self.columns) for r in range(self.rows)],
        )


def take(lanes: Lanes, places: Sequence[int | None], otherwise: float = 0.0) -> Lanes:
    """The lanes at `places`; a constant where there is None."""
    count = lanes.value.type.count
    if list(places) == list(range(count)):
        return lanes
    mask = [count if place is None else place for place in places]
    kind = ir.VectorType(INT32, len(mask))
    constant = lanes.like(otherwise).value
    return Lanes(
        lanes.builder,
        lanes.builder.shuffle_vector(lanes.value, constant, ir.Constant(kind, mask)),
    )


def fold(
    lanes: Lanes,
    terms: int,
    combine: Callable[[Lanes, Lanes], Lanes] = Lanes.__add__,
    neutral: float = 0.0,
) -> Lanes:
    """`terms` equal parts of a vector combined into one, halves first."""
    rest = lanes.value.type.count // terms
    while terms > 1:
        half = (terms + 1) // 2
        upper: list[int | None] = list(range(half * rest, terms * rest))
        upper += [None] * (half * rest - len(upper))
        lanes = combine(take(lanes, range(half * rest)), take(lanes, upper, neutral))
        terms = half
    return lanes


def repeat(row: Lanes, times: int) -> Lanes:
    """A row over and over."""
    return take(row, list(range(row.value.type.count)) * times)


def product(a: Matrix, b: Matrix, plus: Lanes | None = None) -> Matrix:
    """A B by rows, plus the lanes of a matrix of that size."""
    rows, terms, columns = a.rows, a.columns, b.columns
    together = max(1, min(terms, lane_count(a.lanes.element) // (rows * columns)))
    total = plus if together == 1 else None
    for first in range(0, terms, together):
        left: list[int | None] = []
        right: list[int | None] = []
        for t in range(first, first + together):
            for r in range(rows):
                for c in range(columns):
                    left.append(a.place(r, t) if t < terms else None)
                    right.append(b.place(t, c) if t < terms else None)
        x, y = take(a.lanes, left), take(b.lanes, right)
        total = x * y if total is None else fma(x, y, total)
    assert total is not None
    total = fold(total, together)
    if plus is not None and together > 1:
        total = total + plus
    return Matrix(total, rows, columns)
