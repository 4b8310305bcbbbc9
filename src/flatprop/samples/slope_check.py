"""Whether the slopes of an equation that a user gives are those of its residual."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from flatprop.samples.equation import Equation
from flatprop.validation.arrays import Array

STEP = 1e-5
"""The step of differences, for numbers about 1."""
TOLERANCE = 1e-3


def check_slopes(equation: Equation, x: Array, u: Array, du: Array, d2u: Array) -> None:
    """Raise a ValueError if the slopes of an equation are others than differences at these points.

    u, du and d2u are as of `Network.derivatives`; those of one output have no axis for it. A point
    where the differences to either side do not agree, as at a kink, does not count.
    """
    unknowns, shapes = equation.unknowns, [np.shape(part[0]) for part in (u, du, d2u)]
    for point, *parts in zip(x.astype(np.float64), u, du, d2u, strict=True):
        numbers = np.concatenate([np.ravel(part).astype(np.float64) for part in parts])
        numbers = np.concatenate([numbers, list(unknowns.values())])
        given = _numbers(equation.slopes(*_arguments(point, numbers, shapes)))
        for i, own in enumerate(given.reshape(-1, numbers.size).T):
            left, right = _differences(equation, point, numbers, shapes, i)
            mean = (left + right) / 2
            most = TOLERANCE * (np.abs(mean).max() + np.abs(own).max()) + 1e-7
            smooth = np.abs(left - right).max() <= most
            if smooth and not np.abs(own - mean).max() <= most:
                raise ValueError(
                    f"the slopes {equation.slopes.__name__} are not those of the residual "
                    f"{equation.residual.__name__}: at the point {point.tolist()} the derivative "
                    f"with respect to {_word(i, shapes, list(unknowns))} is {_listed(mean)} by "
                    f"differences, and {_listed(own)} by the slopes"
                )


def _differences(
    equation: Equation,
    point: Array,
    numbers: Array,
    shapes: Sequence[tuple[int, ...]],
    i: int,
) -> tuple[Array, Array]:
    """The slopes of the residuals along a number, to its left and to its right."""
    step = np.zeros_like(numbers)
    step[i] = STEP * (1 + abs(numbers[i]))
    before, here, after = (
        _numbers(equation.residual(*_arguments(point, numbers + sign * step, shapes)))
        for sign in (-1, 0, 1)
    )
    return (here - before) / step[i], (after - here) / step[i]


def _arguments(point: Array, numbers: Array, shapes: Sequence[tuple[int, ...]]) -> tuple[Any, ...]:
    """What a residual is called with, from u, du, d2u and the unknowns as numbers."""
    start, parts = 0, []
    for shape in shapes:
        size = int(np.prod(shape))
        parts.append(_tuples(numbers[start : start + size].reshape(shape).tolist()))
        start += size
    return tuple(point.tolist()), *parts, *numbers[start:].tolist()


def _tuples(value: Any) -> Any:
    """Nested lists as tuples; what has one number only, as of one output, is the number."""
    if not isinstance(value, list):
        return value
    return tuple(map(_tuples, value))


def _numbers(value: Any) -> Array:
    """All numbers in nested tuples, in their order."""
    if not isinstance(value, tuple):
        return np.array([float(value)])
    return np.concatenate([_numbers(part) for part in value])


def _word(i: int, shapes: Sequence[tuple[int, ...]], unknowns: Sequence[str]) -> str:
    """How a user would write the i-th of these numbers."""
    for name, shape in zip(("u", "du", "d2u"), shapes, strict=True):
        size = int(np.prod(shape))
        if i < size:
            places = np.unravel_index(i, shape) if shape else ()
            return name + "".join(f"[{place}]" for place in places)
        i -= size
    return unknowns[i]


def _listed(values: Array) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
