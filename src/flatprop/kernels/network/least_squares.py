"""The iterations of Levenberg-Marquardt: residuals, Jacobian, normal equations, trial steps.

Python calls `advance` again and again with a bounded number of operations, so that a signal or a
callback waits for one call at most. Everything that a later call needs is in the arrays of
`State`. One iteration goes through these phases:

| phase | what it computes | parts, between which a call may end |
| --- | --- | --- |
| MEASURE | the loss at θ | blocks of rows |
| RESIDUALS | J and r of some rows | one |
| PRODUCTS | their part of [J r]ᵀ[J r]; back to RESIDUALS for the next rows | panels |
| RULES | whether a rule ends the training | one |
| FACTOR | U of JᵀJ + μ D = UᵀU | tiles |
| STEP | δ, and θ + δ into the network | one |
| TRIAL | the loss there; back to FACTOR with a larger μ unless it is lower | blocks of rows |

Where nobody looks at the network between two iterations, MEASURE is left out: the loss is that
of the last trial.
"""

import math

from flatprop.kernels.compile import entry_point, kernel
from flatprop.kernels.loops.elementwise import copy
from flatprop.kernels.loops.minibatch import weights_per_output
from flatprop.kernels.network import backprop, jacobians
from flatprop.kernels.network.cholesky import (
    EDGE,
    columns_of,
    factor_tile,
    gram_panel,
    solve_upwards,
    tiles_of,
)
from flatprop.kernels.network.damping import (
    AFTER,
    COLUMN_PANEL,
    FACTOR,
    FELL,
    LOSS,
    MEASURE,
    MU,
    MU_DEC,
    MU_LEAST,
    NO_RULE,
    PHASE,
    PRODUCTS,
    RESIDUALS,
    ROW,
    ROW_PANEL,
    RULE,
    RULES,
    STEP,
    TOTAL,
    TRIAL,
    damp_more,
    look_at_rules,
    try_step,
)
from flatprop.kernels.network.records import matrix
from flatprop.kernels.network.workspace import outputs_of, slope_of

# Why `advance` returned.
RUNNING, ITERATION, NOT_FINITE = range(3)


@kernel
def iterate(network, data, block, state, course, measure, budget):
    """Go on for about `budget` operations; returns why it ends.

    | what is returned | what the caller does |
    | --- | --- |
    | RUNNING | calls again |
    | NOT_FINITE | gives up: the loss or its Jacobian is not finite at θ |
    | ITERATION | takes note of an iteration, and calls again unless it was the last |
    """
    layers, loss_records, params = network
    cursor, numbers, settings = state.cursor, state.numbers, state.settings
    n, outputs = state.root.size, layers[layers.size - 1].units
    operations = budget
    while operations > 0.0:
        phase, first, failed = cursor[PHASE], cursor[ROW], False
        tries = phase == TRIAL
        measures = tries or phase == MEASURE
        rows = min(block.rows if measures else state.block_rows, data.rows - first)
        if measures or phase == RESIDUALS:
            x = matrix(data.x, first * layers[0].inputs, rows, layers[0].inputs)
            operations -= rows * measure.pass_cost + 2e4
            backprop.forward_with_slopes(layers, params, x, False, state.workspace)
        if phase == RESIDUALS:
            operations -= rows * outputs * (3 * measure.pass_cost)
            if first == 0:
                copy(params, state.base)
            _residuals_and_jacobian(layers, params, x, data, first, state)
            cursor[PHASE] = PRODUCTS
        elif measures:
            if _add_losses(layers, loss_records, data, x, block, state):
                loss = numbers[TOTAL] * measure.scale
                failed = phase == TRIAL and not loss < numbers[LOSS]
                if not failed:
                    cursor[PHASE] = RESIDUALS
                    if phase == TRIAL:
                        numbers[FELL] = (numbers[LOSS] - loss) / numbers[LOSS]
                        settings[MU] = max(settings[MU] * settings[MU_DEC], MU_LEAST)
                        done = course.done[0]
                        if measure.attended or done + 1 == course.losses.size:
                            numbers[AFTER] = loss
                            cursor[PHASE] = MEASURE
                            return ITERATION
                        copy(params, course.kept)
                        course.losses[done] = numbers[LOSS]
                        course.done[0] = done + 1
                    numbers[LOSS] = loss
        elif phase == PRODUCTS:
            j, samples = cursor[COLUMN_PANEL], rows * outputs
            operations -= 2.0 * min(EDGE, n) * samples * min((j + 1) * EDGE, n)
            gram_panel(state.augmented, samples, n, j, first > 0, state.normal, state.scratch)
            cursor[COLUMN_PANEL] = j + 1
            if j + 1 == tiles_of(n):
                cursor[COLUMN_PANEL] = 0
                cursor[ROW] = first + rows
                cursor[PHASE] = RESIDUALS
                if cursor[ROW] == data.rows:
                    cursor[ROW] = 0
                    cursor[PHASE] = RULES
        elif phase == RULES:
            operations -= 10.0 * n
            if not look_at_rules(state, measure):
                return NOT_FINITE
            if cursor[RULE] != NO_RULE:
                numbers[AFTER] = numbers[LOSS]
                return ITERATION
            cursor[PHASE] = FACTOR
        elif phase == FACTOR:
            i, j = cursor[ROW_PANEL], cursor[COLUMN_PANEL]
            edge = float(min(EDGE, n))
            operations -= 2.0 * edge * edge * edge * (i + 1)
            cursor[ROW_PANEL], cursor[COLUMN_PANEL] = i + 1, j
            if i == j:
                cursor[ROW_PANEL], cursor[COLUMN_PANEL] = 0, j + 1
            regular = factor_tile(
                state.normal, state.scale, settings[MU], n, i, j, state.factor, state.scratch
            )
            failed = not regular
            if regular and i == j and j + 1 == tiles_of(n):
                cursor[ROW_PANEL] = cursor[COLUMN_PANEL] = 0
                cursor[PHASE] = STEP
        else:
            operations -= 1.0 * n * n
            solve_upwards(state.factor, n, state.step)
            cursor[PHASE] = TRIAL
            failed = not try_step(params, state)
        if failed and damp_more(params, state):
            return ITERATION
    return RUNNING


advance = entry_point(iterate.py_func)


@kernel
def _add_losses(layers, loss_records, data, x, block, state):
    """Add Σ w ℓ of these rows to TOTAL; whether they were the last."""
    cursor, numbers, last = state.cursor, state.numbers, layers.size - 1
    first, rows, outputs = cursor[ROW], x.shape[0], layers[last].units
    if first == 0:
        numbers[TOTAL] = 0.0
    weight = matrix(block.weight, 0, rows, outputs)
    weights_per_output(data.weight, None, first, weight)
    a, slope = (
        outputs_of(layers, last, rows, state.workspace),
        slope_of(layers, last, rows, state.workspace),
    )
    y = matrix(data.y, first * outputs, rows, outputs)
    numbers[TOTAL] += backprop.output_loss(loss_records[0], a, y, weight, 0.0, slope)
    ended = first + rows == data.rows
    cursor[ROW] = 0 if ended else first + rows
    return ended


@kernel
def _residuals_and_jacobian(layers, params, x, data, first, state):
    """√w (ŷ - y) and its derivatives for some rows, as panels of [J r].

    `forward_with_slopes` has been through the workspace.
    """
    last, rows, outputs = layers.size - 1, x.shape[0], layers[layers.size - 1].units
    jacobians.parameter_jacobian_behind(layers, params, x, state.jacobian, state.workspace)
    samples, n = rows * outputs, state.root.size
    J = matrix(state.jacobian, 0, samples, params.size)
    prediction = matrix(outputs_of(layers, last, rows, state.workspace), 0, samples, 1)
    y = matrix(data.y, first * outputs, samples, 1)
    for j in range(tiles_of(n)):
        out = columns_of(state.augmented, samples, n, j)
        _fill_panel(J, prediction, y, data.weight, first, outputs, state.trained, j * EDGE, n, out)


@kernel
def _fill_panel(J, prediction, y, weight, first, outputs, trained, left, n, out):
    """A panel of [J r], of the columns from `left` on; the weights are those from `first` on."""
    columns = min(out.shape[1], n - 1 - left)
    for s in range(out.shape[0]):
        if trained.size == 0:
            for c in range(columns):
                out[s, c] = J[s, left + c]
        else:
            for c in range(columns):
                out[s, c] = J[s, trained[left + c]]
        if columns < out.shape[1]:
            out[s, columns] = float(prediction[s, 0]) - float(y[s, 0])
        if weight.size > 0:
            root = math.sqrt(float(weight[first + s // outputs]))
            for c in range(out.shape[1]):
                out[s, c] *= root
