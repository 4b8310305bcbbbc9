"""What layer normalisation needs of one row: x̂ = r (x - m), r = 1 / √(s² + ε).

Sums are in float64.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from llvmlite import ir

from flatprop.kernels.loops.vector_loops import (
    Array,
    Register,
    broadcast,
    registers,
    sum_of,
    wide,
)
from flatprop.numbers.lanes import Lanes
from flatprop.numbers.numbers import sqrt

EPSILON = 1e-5
"""PyTorch's default."""


class RowStatistics(NamedTuple):
    """What is known of a row of x."""

    n: Lanes
    """How many numbers it has, in float64."""
    mean: Lanes
    r: Lanes
    exact_r: Lanes
    """r as one number, in float64."""

    def normalised(self, x: Lanes) -> Lanes:
        """x̂"""
        result: Lanes = (x - self.mean) * self.r
        return result


def statistics_of(row: Array) -> RowStatistics:
    n, (m,) = length_of(row), means((row,), lambda register: register[0])
    mean = broadcast(m, row.element)
    squares = sum_of(row)
    for register in registers(row):
        distance = wide(register.inside(register[0] - mean))
        squares.add(distance * distance)
    r = 1.0 / sqrt(squares.total() / n + EPSILON)
    return RowStatistics(n, mean, broadcast(r, row.element), r)


def means(rows: Sequence[Array], *terms: Callable[[Register], Lanes]) -> list[Lanes]:
    """The means of expressions of some rows, as numbers in float64."""
    totals = [sum_of(rows[0]) for _ in terms]
    for register in registers(*rows):
        for total, term in zip(totals, terms, strict=True):
            total.add(wide(register.inside(term(register))))
    n = length_of(rows[0])
    return [total.total() / n for total in totals]


def length_of(row: Array) -> Lanes:
    """How many numbers a row has, in float64."""
    return Lanes(row.builder, row.builder.sitofp(row.count, ir.DoubleType()))
