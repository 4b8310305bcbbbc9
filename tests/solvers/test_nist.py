"""Certified values: nonlinear regressions of NIST that are networks in disguise.

The problems are of the Statistical Reference Datasets of the National Institute of Standards
and Technology, https://www.itl.nist.gov/div898/strd/, whose files lie in `data/nist` as NIST
publishes them. Each model is written as a network with one input; what the model has no
parameter for is frozen.
"""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numba import njit

import flatprop as fp
from processes import TESTS

DIGITS = 6
FOLDER = TESTS / "data" / "nist"


class Dataset(NamedTuple):
    """One file of NIST's."""

    starts: np.ndarray
    """(2, parameters): the far start and the near one."""
    certified: np.ndarray
    residuals: float
    """The certified residual sum of squares."""
    x: np.ndarray
    y: np.ndarray


def read(name):
    text = (FOLDER / f"{name}.dat").read_text()
    lines = [[], *text.splitlines()]  # which NIST counts from 1

    def between(what):
        first, last = re.search(rf"{what} +\(lines +(\d+) to +(\d+)\)", text).groups()
        return lines[int(first) : int(last) + 1]

    table = [line.split("=")[1].split() for line in between("Certified Values") if "=" in line]
    table = np.array([row for row in table if len(row) == 4], float)
    y, x = np.loadtxt(between("Data"), unpack=True)
    residuals = float(re.search(r"Residual Sum of Squares: +(\S+)", text)[1])
    return Dataset(table[:, :2].T, table[:, 2], residuals, x, y)


class Frozen(float):
    """A number in the flat vector that the model has no parameter for."""


O = Frozen(0)


class Problem(NamedTuple):
    """A model as a network."""

    formula: str
    layers: list[tuple[int, Any]]
    """Units and activation of each."""
    params: Callable[..., list[float]]
    """From the model's parameters to the flat vector: per layer W, then b."""
    parameters: Callable[..., list[float]]
    """And back, from all of the flat vector."""
    x: Callable[[np.ndarray], np.ndarray] = np.asarray
    """What becomes of x first."""


# Activations of one's own, z -> (a, da/dz). Where a model is not defined for z < 0, as an
# activation has to be, it goes on along its tangent.


@njit
def misra1b(z):
    if z < 0:
        return z, 1.0
    q = 1 / (1 + z / 2)
    return 1 - q * q, q * q * q


@njit
def misra1c(z):
    if z < 0:
        return z, 1.0
    q = 1 / math.sqrt(1 + 2 * z)
    return 1 - q, q * q * q


@njit
def gaussian(z):
    a = math.exp(-z * z / 2)
    return a, -z * a


@njit
def sine(z):
    return math.sin(z), math.cos(z)


@njit
def logarithm(z):
    if z < 1:
        return z - 1, 1.0
    return math.log(z), 1 / z


@njit
def reciprocal(z):
    if z < 1:
        return 2 - z, -1.0
    return 1 / z, -1 / (z * z)


def waves(b1, b2, b3, b4, b5, b6, b7, b8, b9):
    """b cos ωx + c sin ωx is hypot(b, c) sin(ωx + atan2(b, c))."""
    pairs = (b2, b3), (b5, b6), (b8, b9)
    return [
        Frozen(2 * np.pi / 12),
        2 * np.pi / b4,
        2 * np.pi / b7,
        *(math.atan2(b, c) for b, c in pairs),
        *(math.hypot(b, c) for b, c in pairs),
        b1,
    ]


def periods(_, v, w, p, q, r, a, b, c, d):
    return [
        d,
        a * math.sin(p),
        a * math.cos(p),
        2 * np.pi / v,
        b * math.sin(q),
        b * math.cos(q),
        2 * np.pi / w,
        c * math.sin(r),
        c * math.cos(r),
    ]


ONE = (1, "identity")
EXPONENTIALS = Problem(
    "b1 exp(-b2 x) + b3 exp(-b4 x) + b5 exp(-b6 x)",
    [(3, "exp"), ONE],
    lambda b1, b2, b3, b4, b5, b6: [-b2, -b4, -b6, O, O, O, b1, b3, b5, O],
    lambda u, v, w, _1, _2, _3, r, s, t, _4: [r, -u, s, -v, t, -w],
)
SATURATION = Problem(
    "b1 (1 - exp(-b2 x))",
    [(1, "elu"), ONE],  # exp(z) - 1 for z < 0
    lambda b1, b2: [-b2, O, -b1, O],
    lambda u, _1, r, _2: [-r, -u],
)
PROBLEMS = {
    "Bennett5": Problem(
        "b1 (b2 + x)^(-1 / b3)",
        [(1, logarithm), (1, "exp"), ONE],
        lambda b1, b2, b3: [Frozen(1), b2, -1 / b3, O, b1, O],
        lambda _1, v, w, _2, r, _3: [r, v, -1 / w],
    ),
    "BoxBOD": SATURATION,
    "DanWood": Problem(
        "b1 x^b2",
        [(1, "exp"), ONE],
        lambda b1, b2: [b2, O, b1, O],
        lambda u, _1, r, _2: [r, u],
        np.log,
    ),
    "ENSO": Problem(
        "b1 + b2 cos(2πx/12) + b3 sin(2πx/12) + b5 cos(2πx/b4) + b6 sin(2πx/b4) "
        "+ b8 cos(2πx/b7) + b9 sin(2πx/b7)",
        [(3, sine), ONE],
        waves,
        periods,
    ),
    "Eckerle4": Problem(
        "b1 / b2 exp(-((x - b3) / b2)^2 / 2)",
        [(1, gaussian), ONE],
        lambda b1, b2, b3: [1 / b2, -b3 / b2, b1 / b2, O],
        lambda u, v, r, _: [r / u, 1 / u, -v / u],
    ),
    "Lanczos1": EXPONENTIALS,
    "Lanczos3": EXPONENTIALS,
    "MGH10": Problem(
        "b1 exp(b2 / (x + b3))",
        [(1, reciprocal), (1, "exp"), ONE],
        lambda b1, b2, b3: [Frozen(1), b3, b2, O, b1, O],
        lambda _1, v, w, _2, r, _3: [r, w, v],
    ),
    "MGH17": Problem(
        "b1 + b2 exp(-b4 x) + b3 exp(-b5 x)",
        [(2, "exp"), ONE],
        lambda b1, b2, b3, b4, b5: [-b4, -b5, O, O, b2, b3, b1],
        lambda u, v, _1, _2, r, s, t: [t, r, s, -u, -v],
    ),
    "Misra1a": SATURATION,
    "Misra1b": Problem(
        "b1 (1 - (1 + b2 x / 2)^-2)",
        [(1, misra1b), ONE],
        lambda b1, b2: [b2, O, b1, O],
        lambda u, _1, r, _2: [r, u],
    ),
    "Misra1c": Problem(
        "b1 (1 - (1 + 2 b2 x)^-0.5)",
        [(1, misra1c), ONE],
        lambda b1, b2: [b2, O, b1, O],
        lambda u, _1, r, _2: [r, u],
    ),
    "Misra1d": Problem(
        "b1 b2 x / (1 + b2 x)",
        [(1, "softsign"), ONE],
        lambda b1, b2: [b2, O, b1, O],
        lambda u, _1, r, _2: [r, u],
    ),
    "Rat42": Problem(
        "b1 / (1 + exp(b2 - b3 x))",
        [(1, "sigmoid"), ONE],
        lambda b1, b2, b3: [b3, -b2, b1, O],
        lambda u, v, r, _: [r, -v, u],
    ),
    "Rat43": Problem(
        "b1 / (1 + exp(b2 - b3 x))^(1 / b4)",
        [(1, "softplus"), (1, "exp"), ONE],
        lambda b1, b2, b3, b4: [-b3, b2, -1 / b4, O, b1, O],
        lambda u, v, w, _1, r, _2: [r, v, -u, -1 / w],
    ),
}

FAR, NEAR = 0, 1


def fitted(name, start, solver):
    """The History and how many digits of each parameter are right."""
    problem, data = PROBLEMS[name], read(name)
    layers = [fp.Dense(units, activation) for units, activation in problem.layers]
    net = fp.Network(1, layers, "ssr", "float64")
    params = problem.params(*data.starts[start])
    net.params = params
    x = problem.x(data.x)[:, None]
    trained = [not isinstance(p, Frozen) for p in params]
    history = net.fit(x, data.y, optimizer=solver, epochs=5000, trainable=trained)
    error = np.abs(np.array(problem.parameters(*net.params)) / data.certified - 1)
    return history, -np.log10(error + 1e-16)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_certified_parameters_have_the_certified_residuals(name):
    problem, data = PROBLEMS[name], read(name)
    layers = [fp.Dense(units, activation) for units, activation in problem.layers]
    net = fp.Network(1, layers, "ssr", "float64")
    net.params = problem.params(*data.certified)
    residuals = net.loss(problem.x(data.x)[:, None], data.y)
    # Lanczos1 has residuals at the rounding of its data.
    assert residuals == pytest.approx(data.residuals, rel=1e-8, abs=1e-20)
    assert problem.parameters(*net.params) == pytest.approx(data.certified, rel=1e-14)


# From their far starts these cross flat country for hundreds of iterations, or do not get out.
FLAT = {"Eckerle4", "MGH10", "MGH17"}
CASES = [(name, start) for name in PROBLEMS for start in (FAR, NEAR)]
CASES = [(name, start) for name, start in CASES if start == NEAR or name not in FLAT]


@pytest.mark.parametrize(("name", "start"), CASES)
def test_certified_parameters(name, start):
    """Until no step lowers the loss: some are at 1e-7 of the gradient before they are right."""
    history, digits = fitted(name, start, fp.LevenbergMarquardt(min_grad=0))
    assert history.stopped_by == "converged"
    assert digits.min() > DIGITS


DEFAULTS = [case for case in CASES if case[0] != "Lanczos3"]


@pytest.mark.parametrize(("name", "start"), DEFAULTS)
def test_certified_parameters_with_the_defaults(name, start):
    history, digits = fitted(name, start, fp.LevenbergMarquardt())
    assert history.stopped_by == "converged"
    assert digits.min() > DIGITS
    assert history.loss[-1] == pytest.approx(read(name).residuals, rel=1e-8, abs=1e-15)


SCALED = [*CASES, ("Eckerle4", FAR), ("MGH17", FAR)]
SCALED.remove(("BoxBOD", FAR))


@pytest.mark.parametrize(("name", "start"), SCALED)
def test_certified_parameters_with_the_diagonal(name, start):
    """Over flat country, too. BoxBOD's far start leads where no step helps."""
    history, digits = fitted(name, start, fp.LevenbergMarquardt(min_grad=0, scaling="more"))
    assert history.stopped_by == "converged"
    assert digits.min() > DIGITS
