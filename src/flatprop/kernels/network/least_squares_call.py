"""Iterations of Levenberg-Marquardt in one call, with all that they need in one workspace.

The workspace holds, from its first cache line on, float64 numbers and int64, whatever the dtype of
the network; what the network's kernels need lies behind these.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from flatprop.formulas.losses import LOSSES
from flatprop.kernels.compile import jittable, kernel
from flatprop.kernels.loops.elementwise import fill
from flatprop.kernels.loops.minibatch import sum_of_weights
from flatprop.kernels.network.backprop import scale_of
from flatprop.kernels.network.cholesky import panels_size, products_scratch_size
from flatprop.kernels.network.damping import (
    AFTER,
    LOSS,
    N_CURSOR,
    N_NUMBERS,
    N_SETTINGS,
    NO_RULE,
    PHASE,
    RESIDUALS,
    RULE,
    Iterations,
    Measure,
    State,
)
from flatprop.kernels.network.least_squares import NOT_FINITE, iterate
from flatprop.kernels.network.records import LINE, part_at
from flatprop.kernels.network.workspace import Block, jacobian_workspace_size

N_SOLVER = N_SETTINGS + 1
"""The settings, and behind them which rule has ended the iterations."""
NOT_A_NUMBER = -1
"""The rule if the loss or its Jacobian is not finite."""
ENTRIES, LEAST_ROWS = 2**17, 256
"""So many entries of the Jacobian exist at once, 1 MB in float64, and so many rows at least: fewer
would be added to JᵀJ slowly."""
SQUARES = np.array([loss.squares for loss in LOSSES.values()], np.float64)


class GivenRows(NamedTuple):
    """Samples, as `least_squares.iterate` takes them."""

    x: Any
    y: Any
    weight: Any
    rows: int


@jittable
def rows_at_once(parameters: int, outputs: int, rows: int) -> int:
    """Of how many samples the Jacobian exists at once."""
    entries = max(ENTRIES // parameters, LEAST_ROWS)
    return min(max(entries // outputs, 1), rows)


@jittable
def doubles_size(parameters: int, samples: int) -> int:
    """How many numbers of 64 bits an iteration needs, for so many rows of the Jacobian."""
    n = parameters + 1
    few = N_SETTINGS + N_CURSOR + N_NUMBERS + 3 * n
    return few + samples * n + 2 * panels_size(n) + products_scratch_size(samples, n)


@jittable
def solver_workspace_size(layers: Any, rows: int) -> int:
    """How many numbers of either dtype suffice for `solve`."""
    last = layers[layers.size - 1]
    parameters = int(last["b_start"] + last["units"])
    outputs = int(last["units"])
    block = rows_at_once(parameters, outputs, rows)
    samples = block * outputs
    # Twice as many in float32 as there are numbers of 64 bits
    doubles = 2 * doubles_size(parameters, samples) + LINE
    network = jacobian_workspace_size(layers, block) + samples * (parameters + 1) + parameters
    return doubles + network


@kernel
def solve(layers, objectives, params, x, y, weight, solver, iterations, workspace):
    """params ← after up to so many iterations; returns the loss there.

    `solver` holds N_SOLVER numbers and is overwritten; `workspace` `solver_workspace_size`.
    """
    rows, outputs, size = x.shape[0], layers[layers.size - 1].units, params.size
    record, n = objectives[0], size + 1
    at_once = rows_at_once(size, outputs, rows)
    samples, symmetric = at_once * outputs, panels_size(n)
    settings = part_at(workspace, 0, N_SETTINGS, np.float64)
    numbers = part_at(workspace, N_SETTINGS, N_NUMBERS, np.float64)
    at = N_SETTINGS + N_NUMBERS
    cursor = part_at(workspace, at, N_CURSOR, np.int64)
    at += N_CURSOR
    root, scale = part_at(workspace, at, n, np.float64), part_at(workspace, at + n, n, np.float64)
    step = part_at(workspace, at + 2 * n, n, np.float64)
    at += 3 * n
    augmented = part_at(workspace, at, samples * n, np.float64)
    at += samples * n
    normal = part_at(workspace, at, symmetric, np.float64)
    factor = part_at(workspace, at + symmetric, symmetric, np.float64)
    at += 2 * symmetric
    scratch = part_at(workspace, at, products_scratch_size(samples, n), np.float64)
    at = 2 * doubles_size(size, samples)
    base = part_at(workspace, at, size, params)
    jacobian = part_at(workspace, at + size, samples * size, params)
    at += size + samples * size
    ones, rest = (
        part_at(workspace, at, samples, params),
        part_at(workspace, at + samples, 0, params),
    )
    for k in range(N_SETTINGS):
        settings[k] = solver[k]
    for k in range(N_NUMBERS):
        numbers[k] = math.inf
    for k in range(N_CURSOR):
        cursor[k] = 0
    for k in range(n):
        root[k] = 0.0
    fill(ones, 1.0)
    trained = part_at(workspace, 0, 0, np.int64)
    state = State(
        settings,
        cursor,
        numbers,
        trained,
        base,
        jacobian,
        rest,
        root,
        scale,
        step,
        augmented,
        normal,
        factor,
        scratch,
        at_once,
    )
    total = scale_of(record, sum_of_weights(weight, None, 0, rows))
    known = 0 <= record.loss < SQUARES.size  # and not the user's own
    squares = SQUARES[record.loss] if known else 0.0
    measure = Measure(total, squares, 0.0, True)
    done = 0
    cursor[RULE] = NO_RULE
    numbers[AFTER] = math.nan
    network, data = (layers, objectives, params), GivenRows(x, y, weight, rows)
    # One thread needs no scratch apart from the workspace, and no losses of units.
    block, course = Block(at_once, ones, rest, rest, numbers), Iterations(numbers, cursor, base)
    while done < iterations and squares > 0.0 and cursor[RULE] == NO_RULE:
        status = iterate(network, data, block, state, course, measure, math.inf)
        done += 1
        if status == NOT_FINITE:
            cursor[RULE], numbers[AFTER] = NOT_A_NUMBER, numbers[LOSS]
        numbers[LOSS] = numbers[AFTER]
        cursor[PHASE] = RESIDUALS
    for k in range(N_SETTINGS):
        solver[k] = settings[k]
    solver[N_SETTINGS] = cursor[RULE]
    return numbers[AFTER]
