"""One backpropagation that keeps every quantity, for a reader: see `evaluation.trace`."""

from typing import Any, NamedTuple

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.elementwise import copy
from flatprop.kernels.network.backprop import layer_gradient, loss_and_slopes
from flatprop.kernels.network.layer_kinds import input_gradient, laid_open
from flatprop.kernels.network.records import matrix
from flatprop.kernels.network.walks import in_place, walk_back
from flatprop.kernels.network.workspace import inputs_of, rest_of, slope_of


class Quantities(NamedTuple):
    """Flat arrays of (rows, units) for each layer, one layer after the other."""

    z: Any
    a: Any
    da_dz: Any
    dL_da: Any
    """Not of the last layer, where it comes from the loss alone."""
    dL_dz: Any


@kernel
def trace(
    layers, loss_record, params, x, y, weight, scale, accumulate, gradient, kept, window, workspace
):
    """As `backprop.loss_and_gradient`; also writes the quantities of these rows to `kept`.

    `window` says how many rows `kept` is for, and which of them is the first here.
    """
    total = loss_and_slopes(layers, loss_record, params, x, y, weight, scale, workspace)
    context = kept, window, accumulate, gradient
    walk_back(layers, params, x, workspace, in_place, _keep, context)
    return total


@kernel
def _keep(layers, l, params, x, workspace, context):
    """What `trace` takes from layer l."""
    kept, window, accumulate, gradient = context
    rows, scratch = x.shape[0], rest_of(layers, x.shape[0], workspace)
    z, a = _rows(kept.z, layers, l, window, rows), _rows(kept.a, layers, l, window, rows)
    slope = _rows(kept.da_dz, layers, l, window, rows)
    inputs = inputs_of(layers, l, x, workspace)
    laid_open(layers, l, params, inputs, z, a, slope, workspace, scratch)
    dL_dz = slope_of(layers, l, rows, workspace)
    copy(dL_dz, _rows(kept.dL_dz, layers, l, window, rows))
    if l > 0:
        before = _rows(kept.dL_da, layers, l - 1, window, rows)
        input_gradient(layers, l, params, inputs, dL_dz, before, workspace, scratch)
    layer_gradient(layers, l, params, x, workspace, (1.0, accumulate, gradient))


@kernel
def _rows(quantity, layers, l, window, rows):
    """The rows of one block in a quantity of layer l."""
    all_rows, first = window
    start = all_rows * layers[l].units_before + first * layers[l].units
    return matrix(quantity, start, rows, layers[l].units)
