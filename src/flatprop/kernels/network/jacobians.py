"""Derivatives beside the gradient of the loss, for one block of rows.

All begin with `backprop.forward_with_slopes` and walk back through the layers.
`per_sample_gradients` begins with the derivative of the loss, the others with one of the outputs.
Nothing is allocated: the caller owns every array.
"""

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.elementwise import copy, fill
from flatprop.kernels.network.backprop import forward_with_slopes, layer_gradient, loss_and_slopes
from flatprop.kernels.network.layer_kinds import (
    backward,
    input_gradient,
    sample_gradients,
    through_activation,
)
from flatprop.kernels.network.records import adds_earlier, matrix, widest
from flatprop.kernels.network.walks import in_place, walk_back
from flatprop.kernels.network.workspace import (
    inputs_of,
    one_of_two,
    outputs_of,
    parameter_rows,
    rest_of,
    slope_of,
)


@kernel
def vjp(layers, params, x, dL_dy, dL_dx, gradient, workspace):
    """Takes ∂L/∂ŷ back: dL_dx ← ∂L/∂x, and to `gradient` adds ∂L/∂params.

    Either is left out where its array is empty. x is (rows, inputs), dL_dy (rows,
    outputs). Overwrites `workspace`, of `backward_workspace_size` numbers.
    """
    forward_with_slopes(layers, params, x, False, workspace)
    rows, last = x.shape[0], layers.size - 1
    a, slope = outputs_of(layers, last, rows, workspace), slope_of(layers, last, rows, workspace)
    dL_da = matrix(dL_dy, 0, rows, layers[last].units)
    through_activation(layers, last, False, a, dL_da, slope)
    walk_back(layers, params, x, workspace, in_place, _both_gradients, (dL_dx, gradient))


@kernel
def _both_gradients(layers, l, params, x, workspace, context):
    """What `vjp` takes from layer l."""
    dL_dx, gradient = context
    if gradient.size > 0:
        layer_gradient(layers, l, params, x, workspace, (1.0, True, gradient))
    if l == 0 and dL_dx.size > 0:
        rows = x.shape[0]
        dL_dz, out = slope_of(layers, 0, rows, workspace), matrix(dL_dx, 0, rows, layers[0].inputs)
        scratch = rest_of(layers, rows, workspace)
        input_gradient(layers, 0, params, x, dL_dz, out, workspace, scratch)


@kernel
def per_sample_gradients(layers, loss_records, params, x, y, weight, scale, out, workspace):
    """out (rows, parameters) ← each row's own ∂(scale · w ℓ)/∂params.

    Arguments as for `backprop.loss_and_slopes`. Overwrites `workspace`, of
    `backward_workspace_size` numbers.
    """
    loss_and_slopes(layers, loss_records[0], params, x, y, weight, scale, workspace)
    walk_back(layers, params, x, workspace, in_place, _sample_gradients, (out,))


@kernel
def _sample_gradients(layers, l, params, x, workspace, context):
    """What `per_sample_gradients` takes from layer l."""
    (out,) = context
    a, dL_dz = inputs_of(layers, l, x, workspace), slope_of(layers, l, x.shape[0], workspace)
    sample_gradients(layers, l, a, dL_dz, out, 0, _parameters(layers))


@kernel
def jacobian(layers, params, x, first, stop, out, workspace):
    """out (rows, outputs, inputs) ← ∂ŷ/∂x of every row, of outputs first to stop.

    Overwrites `workspace`, of `jacobian_workspace_size` numbers. If `first` is not 0,
    `workspace` must be as the previous call left it, for the outputs before and the same x.
    """
    if first == 0:
        forward_with_slopes(layers, params, x, False, workspace)
    most = widest(layers)
    for k in range(first, stop):
        _begin_with_output(layers, k, x.shape[0], most, workspace)
        context = k, out, most
        walk_back(layers, params, x, workspace, _keep_slopes, _output_by_inputs, context)


@kernel
def _output_by_inputs(layers, l, params, x, workspace, context):
    """What `jacobian` takes from layer l, for output k."""
    k, out, most = context
    if l == 0:
        rows, inputs, outputs = x.shape[0], layers[0].inputs, layers[layers.size - 1].units
        dy_dz = _derivative_of(layers, 0, rows, most, workspace)
        dy_dx, scratch = _alternately(layers, 1, rows, most, inputs, workspace)
        input_gradient(layers, 0, params, x, dy_dz, dy_dx, workspace, scratch)
        for i in range(rows):
            row = matrix(out, (i * outputs + k) * inputs, 1, inputs)
            for j in range(inputs):
                row[0, j] = dy_dx[i, j]


@kernel
def parameter_jacobian(layers, params, x, out, workspace):
    """out (rows, outputs, parameters) ← ∂ŷ/∂params of every row.

    Overwrites `workspace`, of `jacobian_workspace_size` numbers.
    """
    forward_with_slopes(layers, params, x, False, workspace)
    parameter_jacobian_behind(layers, params, x, out, workspace)


@kernel
def parameter_jacobian_behind(layers, params, x, out, workspace):
    """The same, where `forward_with_slopes` has been through `workspace`; outputs stay there."""
    most = widest(layers)
    for k in range(layers[layers.size - 1].units):
        _begin_with_output(layers, k, x.shape[0], most, workspace)
        context = k, out, most
        walk_back(layers, params, x, workspace, _keep_slopes, _output_by_params, context)


@kernel
def _output_by_params(layers, l, params, x, workspace, context):
    """What `parameter_jacobian` takes from layer l, for output k."""
    k, out, most = context
    outputs, size = layers[layers.size - 1].units, _parameters(layers)
    dy_dz = _derivative_of(layers, l, x.shape[0], most, workspace)
    a = inputs_of(layers, l, x, workspace)
    sample_gradients(layers, l, a, dy_dz, out, k * size, outputs * size)


@kernel
def _parameters(layers):
    """How many parameters the network has."""
    last = layers[layers.size - 1]
    return last.W_start + parameter_rows(layers, layers.size - 1) * last.units


# Behind the slopes lie a copy of all that the walk forward left, if the network has sums, then two
# matrices that layers write to by turns, then scratch.
#
# | the network | ∂ŷ/∂z of layer l lies | and the slopes, which the next output needs, |
# | --- | --- | --- |
# | has no sums | in one of the two matrices | stay |
# | has sums: a layer needs ∂ŷ/∂z of a later one | in the place of the slope | are copied back |


@kernel
def _alternately(layers, l, rows, most, columns, workspace):
    """One of the two matrices, (rows, columns), with room for (rows, most); scratch."""
    behind = rest_of(layers, rows, workspace)
    if adds_earlier(layers):
        behind = matrix(behind, _left_forward(layers, rows), 1, 1)
    return one_of_two(behind, l, rows, most, columns)


@kernel
def _left_forward(layers, rows):
    """How many numbers the walk forward leaves: outputs and slopes of all layers."""
    last = layers[layers.size - 1]
    return 2 * rows * (last.units_before + last.units)


@kernel
def _derivative_of(layers, l, rows, most, workspace):
    """The place of ∂ŷ/∂z of layer l."""
    place, _ = _alternately(layers, l, rows, most, layers[l].units, workspace)
    if adds_earlier(layers):
        place = slope_of(layers, l, rows, workspace)
    return place


@kernel
def _begin_with_output(layers, k, rows, most, workspace):
    """∂ŷₖ/∂z of the last layer, where `_keep_slopes` has it."""
    last, units = layers.size - 1, layers[layers.size - 1].units
    if adds_earlier(layers):
        size = _left_forward(layers, rows)
        left, kept = matrix(workspace, 0, 1, size), matrix(workspace, size, 1, size)
        if k == 0:
            copy(left, kept)
        else:
            copy(kept, left)
    dy_da, _ = _alternately(layers, last + 1, rows, most, units, workspace)
    dy_dz = _derivative_of(layers, last, rows, most, workspace)
    fill(dy_da, 0.0)
    for i in range(rows):
        dy_da[i, k] = 1.0
    copy(slope_of(layers, last, rows, workspace), dy_dz)  # the next output needs the slope
    a = outputs_of(layers, last, rows, workspace)
    through_activation(layers, last, False, a, dy_da, dy_dz)


@kernel
def _keep_slopes(layers, l, params, rows, workspace, context):
    """∂ŷ/∂z of layer l - 1 from ∂ŷ/∂z of layer l."""
    _, _, most = context
    dy_dz, _ = _alternately(layers, l, rows, most, layers[l].units, workspace)
    out, scratch = _alternately(layers, l - 1, rows, most, layers[l].inputs, workspace)
    if adds_earlier(layers):
        dy_dz = slope_of(layers, l, rows, workspace)
        out = slope_of(layers, l - 1, rows, workspace)
    backward(layers, l, params, dy_dz, out, workspace, scratch)
