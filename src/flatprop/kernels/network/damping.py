"""Damped steps of least squares: their settings, what they keep, and the rules that end them.

`least_squares` makes the iterations. Here is what each of them decides over the P trained
parameters: how θ is scaled, whether a rule ends the training, and what becomes of a trial step.
"""

import math
from typing import Any, NamedTuple

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.elementwise import copy
from flatprop.kernels.network.cholesky import EDGE, panel

# What an iteration does, in this order; see `least_squares`
MEASURE, RESIDUALS, PRODUCTS, RULES, FACTOR, STEP, TRIAL = range(7)

# The rules that end a training
NO_RULE, GOAL, MIN_GRAD, MU_MAX_REACHED, FTOL, XTOL = range(6)

# The places of State.settings ...
MU, MU_DEC, MU_INC, MU_MAX, MIN_GRADIENT, GOAL_LOSS, F_TOL, X_TOL, SCALED, RELATIVE = range(10)
N_SETTINGS = 10
# ... of State.cursor ...
PHASE, ROW, COLUMN_PANEL, ROW_PANEL, RULE = range(5)
N_CURSOR = 5
# ... and of State.numbers: the loss at θ and after the step, sums of losses, Σ r²; of the last
# step how long it was, by what part of itself the loss fell, and what was predicted of that
LOSS, AFTER, TOTAL, SQUARES, MOVED, FELL, PREDICTED, RULE_VALUE = range(8)
N_NUMBERS = 8

TINY = 2.2250738585072014e-308
MU_LEAST = 1e-20
"""μ does not fall below this: from 0 it could not grow again, from here a few trials suffice."""


class State(NamedTuple):
    """Settings, and what an iteration needs; overwritten. P parameters are trained, n = P + 1."""

    settings: Any
    """(N_SETTINGS,) float64; MU is the current μ, GOAL_LOSS is absolute."""
    cursor: Any
    """(N_CURSOR,) int64."""
    numbers: Any
    """(N_NUMBERS,) float64."""
    trained: Any
    """(P,) int64, the places of the trained parameters; empty where all are."""
    base: Any
    """θ at which the iteration began, all of the parameters."""
    jacobian: Any
    """(block rows · outputs · all parameters,), of the network's dtype."""
    workspace: Any
    """`workspace.jacobian_workspace_size` numbers for so many rows."""
    root: Any
    """(n,) float64, the square roots of D, zero where D is; √D measures lengths."""
    scale: Any
    """(n,) float64, 1/√D, or 1 where D is zero; 1 for r."""
    step: Any
    """(n,) float64, δ and a 1."""
    augmented: Any
    """(block rows · outputs · n,) float64: [J r] as panels, see `cholesky.columns_of`."""
    normal: Any
    """(`cholesky.panels_size` of n,) float64: [J r]ᵀ[J r]."""
    factor: Any
    """The same for U."""
    scratch: Any
    """float64, for the products."""
    block_rows: int


class Iterations(NamedTuple):
    """What a training has reached; overwritten."""

    losses: Any
    """(epochs,) float64."""
    done: Any
    """(1,) int64: how many epochs are finished."""
    kept: Any
    """The parameters after the last of them."""


class Measure(NamedTuple):
    """How the loss is made of squares, and how long it takes."""

    scale: float
    """The loss is `scale` · Σ w ℓ."""
    squares: float
    """ℓ is `squares` · (ŷ - y)², summed over the outputs."""
    pass_cost: float
    """How many operations a row takes on its way through the network."""
    attended: bool
    """Whether to return after each iteration."""


@kernel
def _entry(state, row, column):
    """An entry of [J r]ᵀ[J r], above its diagonal."""
    n, j = state.root.size, column // EDGE
    return panel(state.normal, n, j, row, 1)[0, column - j * EDGE]


@kernel
def look_at_rules(state, measure):
    """Renew √D, and note whether a rule ends the training; whether all numbers are finite."""
    cursor, numbers, settings = state.cursor, state.numbers, state.settings
    last = state.root.size - 1
    loss, numbers[SQUARES] = numbers[LOSS], numbers[LOSS] / (measure.squares * measure.scale)
    length = math.sqrt(numbers[SQUARES])
    trace = largest = cosine = 0.0
    for k in range(last):
        squares, slope = _entry(state, k, k), abs(_entry(state, k, last))
        trace += squares
        norm = math.sqrt(squares)
        if slope > largest or math.isnan(slope):
            largest = slope
        if norm * length > 0.0:
            cosine = max(cosine, slope / (norm * length))
        state.root[k] = max(state.root[k], norm) if settings[SCALED] != 0.0 else 1.0
        state.scale[k] = 1.0 / state.root[k] if state.root[k] > 0.0 else 1.0
    state.root[last] = 0.0
    state.scale[last] = 1.0
    total = 0.0  # of squares that do not overflow
    if 0.0 < largest < math.inf:
        for k in range(last):
            part = _entry(state, k, last) / largest
            total += part * part
    gradient = 2.0 * measure.squares * measure.scale * (largest * math.sqrt(total))
    if not math.isfinite(loss + gradient + trace):
        return False
    slope = cosine if settings[RELATIVE] != 0.0 else gradient
    rule, value = NO_RULE, 0.0
    if loss <= settings[GOAL_LOSS]:
        rule, value = GOAL, loss
    elif slope <= settings[MIN_GRADIENT]:
        rule, value = MIN_GRAD, slope
    elif max(numbers[FELL], numbers[PREDICTED]) <= settings[F_TOL]:
        rule, value = FTOL, numbers[FELL]
    elif numbers[MOVED] <= settings[X_TOL]:
        rule, value = XTOL, numbers[MOVED]
    cursor[RULE] = rule
    numbers[RULE_VALUE] = value
    return True


@kernel
def try_step(params, state):
    """params ← θ + δ, rounded to their dtype; whether all are finite.

    Also takes note of how long δ is and of what the loss would fall by if r were linear in θ,
    which in terms of Σ r² is -δᵀJᵀr + μ δᵀD δ.
    """
    numbers, last, mu = state.numbers, state.root.size - 1, state.settings[MU]
    finite = True
    fall = moved = size = 0.0
    for k in range(last):
        place = state.trained[k] if state.trained.size > 0 else k
        root, scaled, before = state.root[k], state.step[k], float(state.base[place])
        step = scaled * state.scale[k]
        params[place] = before + step
        finite = finite and math.isfinite(params[place])
        state.step[k] = step
        fall += mu * scaled * scaled - step * _entry(state, k, last)
        moved += (root * step) * (root * step)
        size += (root * before) * (root * before)
    numbers[PREDICTED] = fall / numbers[SQUARES]
    numbers[MOVED] = math.sqrt(moved) / max(math.sqrt(size), TINY)
    return finite


@kernel
def damp_more(params, state):
    """Back to θ and to FACTOR with a larger μ; whether there is none, which is the end."""
    cursor, numbers, settings = state.cursor, state.numbers, state.settings
    cursor[ROW_PANEL] = cursor[COLUMN_PANEL] = 0
    cursor[PHASE] = FACTOR
    settings[MU] *= settings[MU_INC]
    if settings[MU] <= settings[MU_MAX]:
        return False
    copy(state.base, params)
    cursor[RULE] = MU_MAX_REACHED
    numbers[AFTER] = numbers[LOSS]
    return True
