"""Matrices small enough to lie in one vector, of sizes known when they are compiled.

Numbers are moved by shuffles with constant masks, so there are no loops and no addresses. To
transpose a matrix is only to count its numbers in another order. LLVM spreads a vector over as
many registers as it takes.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from llvmlite import ir

from flatprop.kernels.loops.vector_loops import INT32
from flatprop.numbers.lanes import Lanes, lane_count
from flatprop.numbers.numbers import fma

Places = Sequence[int | None]


class Matrix(NamedTuple):
    """A matrix, row after row, or column after column where `transposed`."""

    lanes: Lanes
    rows: int
    columns: int
    transposed: bool = False

    @property
    def T(self) -> "Matrix":
        """The same vector, read the other way."""
        return Matrix(self.lanes, self.columns, self.rows, not self.transposed)

    def place(self, row: int, column: int) -> int:
        """The lane of an element."""
        return column * self.rows + row if self.transposed else row * self.columns + column

    def holding(self, lanes: Lanes) -> "Matrix":
        """A matrix of the same shape with other numbers."""
        return self._replace(lanes=lanes)

    def across(
        self, combine: Callable[[Lanes, Lanes], Lanes] = Lanes.__add__, neutral: float = 0.0
    ) -> Lanes:
        """Each row's numbers combined into one, which then stands in all of its columns."""
        by_columns = [self.place(r, c) for c in range(self.columns) for r in range(self.rows)]
        each = fold(take(self.lanes, by_columns), self.columns, combine, neutral)
        return spread(each, self.columns)


def take(lanes: Lanes, places: Places, otherwise: float = 0.0) -> Lanes:
    """The lanes at `places`; the number `otherwise` where a place is None."""
    count = lanes.value.type.count
    if list(places) == list(range(count)):
        return lanes
    numbers = [count if place is None else place for place in places]
    mask = ir.Constant(ir.VectorType(INT32, len(numbers)), numbers)
    constant = lanes.like(otherwise).value
    return Lanes(lanes.builder, lanes.builder.shuffle_vector(lanes.value, constant, mask))


def repeat(lanes: Lanes, times: int) -> Lanes:
    """The whole vector over and over: a row for every row."""
    return take(lanes, list(range(lanes.value.type.count)) * times)


def spread(lanes: Lanes, times: int) -> Lanes:
    """Every lane several times in a row: a column for every column."""
    return take(lanes, [i for i in range(lanes.value.type.count) for _ in range(times)])


def fold(
    lanes: Lanes,
    terms: int,
    combine: Callable[[Lanes, Lanes], Lanes] = Lanes.__add__,
    neutral: float = 0.0,
) -> Lanes:
    """The `terms` equal parts of a vector combined into one part."""
    size = lanes.value.type.count // terms
    while terms > 4:
        half = (terms + 1) // 2
        upper: list[int | None] = list(range(half * size, terms * size))
        upper += [None] * (half * size - len(upper))
        lanes = combine(take(lanes, range(half * size)), take(lanes, upper, neutral))
        terms = half
    # The last four side by side: one shuffle more, but none waits for another.
    parts = [take(lanes, range(t * size, (t + 1) * size)) for t in range(terms)]
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        parts = [combine(one, other) for one, other in pairs] + parts[len(parts) & ~1 :]
    return parts[0]


def product(a: Matrix, b: Matrix, plus: Lanes | None = None) -> Matrix:
    """A B, plus the lanes of a matrix of that shape.

    Where the result leaves lanes of a register empty, they take further terms of the
    sums, which are added up at the end.
    """
    size = a.rows * b.columns
    together = max(1, min(a.columns, lane_count(a.lanes.element) // size))
    total = None
    if plus is not None:
        total = take(plus, [*range(size), *[None] * (size * (together - 1))])
    for first in range(0, a.columns, together):
        left: list[int | None] = []
        right: list[int | None] = []
        for t in range(first, first + together):
            inside = t < a.columns
            for r in range(a.rows):
                left += [a.place(r, t) if inside else None] * b.columns
                right += [b.place(t, c) if inside else None for c in range(b.columns)]
        x, y = take(a.lanes, left), take(b.lanes, right)
        total = x * y if total is None else fma(x, y, total)
    assert total is not None
    return Matrix(fold(total, together), a.rows, b.columns)
