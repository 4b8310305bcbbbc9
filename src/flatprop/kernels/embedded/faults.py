"""What is wrong with a call of a function of `checked`: a number, and the error of each.

`find` is compiled once, as a C function that all of them call. The roles of their arguments tell
it what each array should be.
"""

from math import inf
from typing import Any

import numpy as np
from numba.core import cgutils, types

from flatprop.formulas.activations import ACTIVATIONS
from flatprop.formulas.losses import LOSSES
from flatprop.formulas.optimizer import RULES, SETTINGS
from flatprop.kernels.compile import entry_point, intrinsic, kernel
from flatprop.kernels.embedded import pointers
from flatprop.kernels.embedded.pointers import is_null, layers_of, loss_records_of
from flatprop.kernels.embedded.roles import SIZES
from flatprop.kernels.loops.addresses import callable_here
from flatprop.kernels.network.layer_kinds import record_fault
from flatprop.kernels.network.least_squares_call import N_SOLVER, solver_workspace_size
from flatprop.kernels.network.records import (
    ACTIVATION,
    ADDRESS,
    CROSS_ENTROPY,
    LAYERS,
    PARAMS,
    SOFTMAX,
    array_at,
)
from flatprop.kernels.network.stacks import hessian_workspace_size, stacks_size
from flatprop.kernels.network.workspace import (
    gradient_workspace_size,
    parameter_rows,
    workspace_size,
)

X, Y, WEIGHT, OUT, WORKSPACE, OVERLAP, OPTIMIZER = range(2, 9)
LOSS, DIRECTIONS = 11, 13  # `records` has the faults of layer records

OF_ARRAYS = {"x": X, "y": Y, "dL_dy": Y, "weight": WEIGHT, "workspace": WORKSPACE}
OF_ARRAYS |= {"settings": OPTIMIZER, "state": OPTIMIZER, "directions": DIRECTIONS}
N_DIRECTIONS = SIZES.index("n_directions")
"""The fault of an array of another size than its role says; `OUT` for the others."""

ARGUMENT = np.dtype(
    [(name, np.int64) for name in ("start", "end", "rows", "columns", "row_length")]
    + [(name, np.int64) for name in ("column_length", "fault", "written", "optional")]
)
"""What `find` is told of an array.

| field | what it holds |
| --- | --- |
| `start`, `end` | the addresses of its memory |
| `rows`, `columns` | its shape; one column if it is flat |
| `row_length`, `column_length` | which of `SIZES` the rows and the columns should be |
| `fault` | the fault if they are not |
| `written` | whether the function writes to it |
| `optional` | whether it may be empty |
"""

SLOTS = tuple(rule.slots for rule in RULES)
N_SETTINGS = tuple(len(SETTINGS) + len(rule.optimizer.settings) for rule in RULES)
"""For each update: how many rows its state has, and how many settings it takes."""
N_LOSSES = len(LOSSES)
NEEDED = tuple(
    -1 if loss.activation is None else ACTIVATIONS[loss.activation].code
    for loss in LOSSES.values()
)
"""For each loss: the activation that the last layer must have, or -1 if any will do."""


@entry_point
def refuse(fault):
    """Raise what a fault stands for; compiled code takes constant messages only."""
    if fault == 0:
        return
    if fault == LAYERS:
        raise ValueError(
            "flatprop: the records of layers describe no network: they lie in `params` one after "
            "the other, and a layer has as many inputs as the one before has units"
        )
    if fault == ACTIVATION:
        raise ValueError(
            "flatprop: a record of layers has an unknown activation, a softmax before the last "
            "layer, or a function beside the code of a formula"
        )
    if fault == LOSS:
        raise ValueError(
            "flatprop: objectives must be one record of a known loss that suits the activation of "
            "the last layer"
        )
    if fault == ADDRESS:
        raise ValueError(
            "flatprop: a record of a function of your own, or of a loss over the whole row of "
            "outputs, was made in another process, or holds no address; send the network instead, "
            "and take net.layers and net.objectives there"
        )
    if fault == PARAMS:
        raise ValueError("flatprop: layers and params belong to different networks")
    if fault == X:
        raise ValueError("flatprop: x must be (rows, inputs), with one row at least")
    if fault == Y:
        raise ValueError(
            "flatprop: y or dL_dy must be (rows, outputs), or y (rows, 1) for class indices, or "
            "(rows, targets) for a loss over the whole row of outputs"
        )
    if fault == WEIGHT:
        raise ValueError("flatprop: weight must be (rows,) or None")
    if fault == OUT:
        raise ValueError(
            "flatprop: v or an array that is overwritten has not the shape that the docstring of "
            "the function in flatprop.kernels says"
        )
    if fault == OPTIMIZER:
        raise ValueError(
            "flatprop: the optimizer's settings or state do not fit; make it with "
            "fp.Adam(...).start(net.params), or of another class"
        )
    if fault == DIRECTIONS:
        raise ValueError(
            "flatprop: directions must be (directions, inputs), with one row at least"
        )
    if fault == WORKSPACE:
        raise ValueError(
            "flatprop: the workspace is smaller than workspace_size(layers, rows) for forward, "
            "levenberg_marquardt_workspace_size(layers, rows) for levenberg_marquardt, "
            "derivatives_workspace_size(layers, rows, directions) for derivatives and "
            "derivatives_vjp, hessian_workspace_size(layers, rows) for hessian, "
            "gradient_workspace_size(layers, rows) for everything else"
        )
    if fault == OVERLAP:
        raise ValueError(
            "flatprop: an array that is overwritten overlaps the workspace or one that is read"
        )


@intrinsic
def _item(typing_context: Any, numbers: Any, place: Any) -> Any:
    """numbers[place] of a tuple. Numba's own could raise, and so would need Python."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers = cgutils.alloca_once_value(builder, arguments[0])
        return builder.load(cgutils.gep_inbounds(builder, numbers, 0, arguments[1]))

    return types.int64(numbers, place), codegen


@kernel
def _of_layers(layers, n_params):
    """A fault of the records of the layers, or of their parameters."""
    if layers.size < 1:
        return LAYERS
    inputs, start, place = layers[0].inputs, 0, 0
    for l in range(layers.size):
        layer = layers[l]
        if layer.inputs != inputs or inputs < 1 or layer.units < 1:
            return LAYERS
        if layer.W_start != start or layer.units_before != place:
            return LAYERS
        fault = record_fault(layers, l, n_params)
        if fault != 0:
            return fault
        start += parameter_rows(layers, l) * layer.units
        inputs, place = layer.units, place + layer.units
    return 0 if start == n_params else PARAMS


@kernel
def _of_loss(layers, loss_record):
    """A fault of the record of the loss."""
    code, logits = loss_record.loss, loss_record.from_logits
    if not 0.0 <= loss_record.divisor < inf:
        return LOSS
    last = layers[layers.size - 1]
    if loss_record.targets < 0:
        return LOSS
    if code < 0:
        if not callable_here(code, loss_record.function):
            return ADDRESS
        return 0 if logits == 0 or (logits == 1 and last.activation == SOFTMAX) else LOSS
    if loss_record.targets > 0 and loss_record.targets != last.units:
        return LOSS
    if code >= N_LOSSES or loss_record.function != 0:
        return LOSS
    needed = _item(NEEDED, code)
    if needed < 0:
        return 0 if logits == 0 else LOSS
    fits = logits == 1 and last.activation == needed
    return 0 if fits else LOSS


FIND_TYPES = types.int64, (types.voidptr, types.int64, types.voidptr, types.voidptr, types.int64)


def find(network, n_loss_records, optimizer, arguments, count):
    """The first fault of a call, 0 if there is none.

    | a function takes no | which `find` sees by |
    | --- | --- |
    | loss | `n_loss_records` = -1 |
    | layers | `network` has -1 layers |
    | optimizer | `optimizer` = NULL |
    """
    record = array_at(network, pointers.NETWORK, 1)[0]
    layers, loss_record, n = layers_of(network), loss_records_of(network)[0], record.n_params
    given = array_at(arguments, ARGUMENT, count)
    rows = inputs = outputs = targets = directions = 1
    forward_size = any_size = solver_size = stacked_size = bent_size = settings = slots = 0
    for i in range(count):
        if given[i].fault == X:
            rows = given[i].rows
        if given[i].row_length == N_DIRECTIONS:
            directions = given[i].rows
    if record.n_layers >= 0:
        fault = _of_layers(layers, n)
        if fault != 0 or rows < 1:
            return fault if fault != 0 else X
        if directions < 1:
            return DIRECTIONS
        inputs, outputs = layers[0].inputs, layers[layers.size - 1].units
        forward_size = workspace_size(layers, rows)
        any_size = gradient_workspace_size(layers, rows)
        solver_size = solver_workspace_size(layers, rows)
        stacked_size = stacks_size(layers, rows, directions, directions)
        bent_size = hessian_workspace_size(layers, rows)
    classes = False
    if n_loss_records >= 0:
        fault = _of_loss(layers, loss_record) if n_loss_records == 1 else LOSS
        if fault != 0:
            return fault
        # An own loss of logits is a cross-entropy, too; see `_of_loss`.
        code = loss_record.loss
        classes = code == CROSS_ENTROPY or (code < 0 and loss_record.from_logits == 1)
        targets = loss_record.targets if loss_record.targets > 0 else outputs
    if not is_null(optimizer):
        code = array_at(optimizer, pointers.OPTIMIZER, 1)[0].code
        if not 0 <= code < len(SLOTS):
            return OPTIMIZER
        settings, slots = _item(N_SETTINGS, code), _item(SLOTS, code)
    of_network = 1, rows, inputs, outputs, targets, n, rows * outputs
    of_solver = settings, slots, N_SOLVER, solver_size
    along = directions, rows * directions, stacked_size
    sizes = (*of_network, forward_size, any_size, *of_solver, *along, inputs * inputs, bent_size)
    for i in range(count):
        one = given[i]
        wanted = _item(sizes, one.row_length)
        fits = one.rows == wanted or (one.fault == WORKSPACE and one.rows > wanted)
        # The state of an optimizer that has none may have any columns.
        if wanted > 0 and not (classes and one.fault == Y and one.columns == 1):
            fits = fits and one.columns == _item(sizes, one.column_length)
        if not fits and not (one.optional and one.start == one.end):
            return one.fault
        for j in range(i):
            other = given[j]
            shared = max(one.start, other.start) < min(one.end, other.end)
            if shared and (one.written or other.written):
                return OVERLAP
    return 0
