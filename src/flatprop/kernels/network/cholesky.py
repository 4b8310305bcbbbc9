"""AᵀA and the Cholesky factor of a symmetric matrix, in float64, of our own products.

A symmetric matrix (n, n) is stored as panels of `EDGE` columns, each with its rows down to the
tile on the diagonal, one panel after the other:

    | 0 1 3 |      tile (i, j) has up to EDGE rows and columns
    |   2 4 |      panel j is a contiguous matrix: the tiles (0, j), (1, j), ... (j, j)
    |     5 |

So what lies above a tile is a contiguous matrix too, which the products take. The factor U of
S = UᵀU lies in the same way; below its diagonal are numbers without meaning. U is computed tile by
tile, each from the tiles above it (left-looking). A caller may stop between any two tiles.
"""

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types

from flatprop.kernels.compile import intrinsic, jittable, kernel
from flatprop.kernels.loops.vector_loops import INT64
from flatprop.kernels.network.records import matrix_type, view
from flatprop.kernels.products.matmul import product_transposed_left, scratch_size

EDGE = 64
"""Rows and columns of a tile."""
STRIP = 8
"""So many rows of a tile are solved for by loops; products take care of the rows above them."""


@jittable
def tiles_of(n: int) -> int:
    """How many panels an (n, n) matrix has."""
    return (n + EDGE - 1) // EDGE


@jittable
def panels_size(n: int) -> int:
    """How many numbers the panels of an (n, n) matrix take."""
    edge = min(n, EDGE)
    return tiles_of(n) * (tiles_of(n) + 1) // 2 * edge * edge


@jittable
def products_scratch_size(rows: int, n: int) -> int:
    """Scratch of the functions here, for an A of (rows, n)."""
    return scratch_size(max(rows, n), min(n, EDGE))


# ---- views


def _view(position: Callable[..., Any], array: Any, *numbers: Any) -> Any:
    """The signature and code generator of a view into `array`.

    From a builder and the numbers `position` gives its start, its rows and its columns.
    """
    kind = matrix_type(array)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start, rows, columns = position(builder, *arguments[1:])
        data = context.make_array(array)(context, builder, arguments[0]).data
        return view(context, builder, kind, builder.gep(data, [start]), rows, columns)

    return kind(array, *[types.intp] * len(numbers)), codegen


def _width(builder: ir.IRBuilder, n: ir.Value, left: ir.Value) -> ir.Value:
    """How many columns the panel has that begins with column `left`."""
    rest = builder.sub(n, left)
    full = builder.icmp_signed("<", INT64(EDGE), rest)
    return builder.select(full, INT64(EDGE), rest)


@intrinsic
def panel(typing_context: Any, matrices: Any, n: Any, j: Any, first: Any, rows: Any) -> Any:
    """Some rows of panel j, from row `first` on."""

    def position(b: ir.IRBuilder, n: ir.Value, j: ir.Value, first: ir.Value, rows: Any) -> Any:
        columns = _width(b, n, b.mul(j, INT64(EDGE)))
        tiles = b.sdiv(b.mul(j, b.add(j, INT64(1))), INT64(2))
        start = b.add(b.mul(tiles, INT64(EDGE * EDGE)), b.mul(first, columns))
        return start, rows, columns

    return _view(position, matrices, n, j, first, rows)


@intrinsic
def columns_of(typing_context: Any, a: Any, rows: Any, n: Any, j: Any) -> Any:
    """Panel j of A, (rows, n), whose panels all have the same rows."""

    def position(b: ir.IRBuilder, rows: ir.Value, n: ir.Value, j: ir.Value) -> Any:
        left = b.mul(j, INT64(EDGE))
        return b.mul(left, rows), rows, _width(b, n, left)

    return _view(position, a, rows, n, j)


# ---- what is done with them


@kernel
def gram_panel(a, rows, n, j, accumulate, out, scratch):
    """Panel j of `out` ← that of AᵀA, added to what it held where `accumulate`."""
    right = columns_of(a, rows, n, j)
    for i in range(j + 1):
        here = panel(out, n, j, i * EDGE, min(EDGE, n - i * EDGE))
        left = columns_of(a, rows, n, i)
        product_transposed_left(left, right, 0, 1.0, accumulate, here, scratch)


@kernel
def factor_tile(symmetric, scale, mu, n, i, j, factor, scratch):
    """Tile (i, j) of the factor U of D S D + μ I, where D is the diagonal matrix of `scale`.

    All tiles (k, l) with l < j, or l = j and k < i, must be there. The last row of U is left out.
    Returns whether all pivots are positive.
    """
    above, rows = i * EDGE, min(EDGE, n - i * EDGE)
    out, triangle = panel(factor, n, j, above, rows), panel(factor, n, i, above, rows)
    _scale_tile(panel(symmetric, n, j, above, rows), scale, mu, above, j * EDGE, out)
    pivots = min(rows, n - 1 - above) if i == j else 0
    for first in range(-STRIP, rows, STRIP):
        # Off the whole tile goes the product of the tiles above it. Then, off each strip, goes
        # that of the strips above it.
        whole = first < 0
        start, known = max(first, 0), above if whole else first
        count, known_from = (rows, 0) if whole else (min(STRIP, rows - first), above)
        if known > 0:
            ours, others = (
                panel(factor, n, j, known_from, known),
                panel(factor, n, i, known_from, known),
            )
            here = panel(factor, n, j, above + start, count)
            product_transposed_left(others, ours, start, -1.0, True, here, scratch)
        if not whole and not _solve_strip(triangle, out, first, count, pivots):
            return False
    return True


@kernel
def _scale_tile(given, scale, mu, above, left, out):
    """A tile of D S D + μ I."""
    for a in range(out.shape[0]):
        of_row = scale[above + a]
        for c in range(out.shape[1]):
            out[a, c] = given[a, c] * (of_row * scale[left + c])
        if above == left:
            out[a, a] += mu


@kernel
def _solve_strip(triangle, out, first, count, pivots):
    """Some rows of a tile of U, where what the rows above give is off already.

    `triangle` is the tile on the diagonal in the same rows. It is `out` itself where there are
    `pivots`; whether they are positive is returned.
    """
    for a in range(first, first + count):
        start = a if pivots > 0 else 0
        for b in range(first, a):
            factor = triangle[b, a]
            for c in range(start, out.shape[1]):
                out[a, c] -= factor * out[b, c]
        if pivots > 0:
            if a == pivots:  # the last row of the matrix
                return True
            if not 0.0 < out[a, a] < math.inf:
                return False
            inverse = 1.0 / math.sqrt(out[a, a])
        else:
            inverse = 1.0 / triangle[a, a]
        for c in range(start, out.shape[1]):
            out[a, c] *= inverse
    return True


@kernel
def solve_upwards(factor, n, solution):
    """`solution` ← x with xₙ₋₁ = 1 and U x = 0 but for the last row.

    Where UᵀU = [JᵀJ Jᵀr; rᵀJ rᵀr], this is -(JᵀJ)⁻¹ Jᵀr and a 1.
    """
    for a in range(n - 1):
        solution[a] = 0.0
    solution[n - 1] = 1.0
    for j in range(tiles_of(n) - 1, -1, -1):
        _solve_panel(panel(factor, n, j, 0, min((j + 1) * EDGE, n)), j * EDGE, solution)


@kernel
def _solve_panel(columns, left, solution):
    """The part of the solution in the rows of a panel's triangle, and what it gives above."""
    width, end = columns.shape[1], solution.size - 1
    for a in range(min(left + width, end) - 1, left - 1, -1):
        total = solution[a]
        for c in range(a + 1 - left, width):
            total -= columns[a, c] * solution[left + c]
        solution[a] = total / columns[a, a - left]
    for a in range(left):
        total = solution[a]
        for c in range(width):
            total -= columns[a, c] * solution[left + c]
        solution[a] = total
