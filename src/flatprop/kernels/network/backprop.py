"""Forward pass, loss and backpropagation for one block of rows.

The chain rule of one layer is written in `dense`; `unrolled_backprop` has all of a network's
on one screen. Nothing is allocated: the caller owns every array.
"""

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.elementwise import loss_with_slope
from flatprop.kernels.loops.softmax import cross_entropy
from flatprop.kernels.network.layer_kinds import forward as forward_layer
from flatprop.kernels.network.layer_kinds import (
    forward_with_slope,
    gradient,
    through_activation,
)
from flatprop.kernels.network.records import (
    CROSS_ENTROPY,
    IDENTITY,
    SOFTMAX,
    adds_earlier,
    matrix,
    most_units,
    rows_of,
)
from flatprop.kernels.network.walks import in_place, walk_back
from flatprop.kernels.network.workspace import (
    inputs_of,
    one_of_two,
    outputs_of,
    parameter_rows,
    rest_of,
    slope_of,
)
from flatprop.kernels.threads.team import end_of_unit, unit_of


@kernel
def forward(layers, params, x, out, workspace, logits):
    """out ← the network's outputs for x, or the last z where `logits`.

    x is (rows, inputs) and out (rows, outputs). Overwrites `workspace`, of
    `workspace_size` numbers. Layers write to two places there by turns. Behind them
    lies what a later layer adds, and then scratch.
    """
    rows, last, most = x.shape[0], layers.size - 1, most_units(layers)
    a, (_, kept) = matrix(x, 0, rows, layers[0].inputs), one_of_two(workspace, 0, rows, most, most)
    scratch = kept
    if adds_earlier(layers):
        scratch = matrix(kept, rows * (layers[last].units_before + layers[last].units), 1, 1)
    for l in range(layers.size):
        z, _ = one_of_two(workspace, l, rows, most, layers[l].units)
        if l == last:
            z = matrix(out, 0, rows, layers[last].units)
        forward_layer(layers, l, params, a, z, not (l == last and logits), kept, scratch)
        a = z


@kernel
def forward_with_slopes(layers, params, x, logits, workspace):
    """Every layer's a and da/dz into their places; of the last, only z where `logits`."""
    last = layers.size - 1
    for l in range(layers.size):
        forward_with_slope(layers, l, params, x, not (l == last and logits), workspace)


@kernel
def scale_of(loss_record, total):
    """What Σ w ℓ is multiplied by to give the loss, where Σ w is `total`.

    | the loss is | the scale |
    | --- | --- |
    | a sum | 1 |
    | a mean | 1 / (Σ w · divisor) |
    | a mean of samples without weight | 0 |
    """
    if loss_record.divisor == 0:
        return 1.0
    return 1.0 / (total * loss_record.divisor) if total > 0 else 0.0


@kernel
def loss_of_rows(loss_record, prediction, y, weight, scale, slope, row, stop):
    """Σ w ℓ over some rows; slope ← scale · w · ∂ℓ/∂ŷ, or ∂ℓ/∂z if `prediction` is the logits."""
    a, target = rows_of(prediction, row, stop), rows_of(y, row, stop)
    w, out = rows_of(weight, row, stop), rows_of(slope, row, stop)
    if loss_record.loss == CROSS_ENTROPY:
        return cross_entropy(a, target, w, scale, out)
    return loss_with_slope(loss_record, scale, a, target, w, out)


@kernel
def output_loss(loss_record, prediction, y, weight, scale, slope):
    """The same over all rows, unit by unit, as the threads of a team would add it up."""
    rows = prediction.shape[0]
    unit, total, row = unit_of(rows), 0.0, 0
    while row < rows:
        stop = end_of_unit(row, rows, unit)
        total += loss_of_rows(loss_record, prediction, y, weight, scale, slope, row, stop)
        row = stop
    return total


@kernel
def sum_of_losses(layers, loss_record, params, x, y, weight, workspace):
    """Σ w ℓ over the rows of x; arguments as for `loss_and_slopes`.

    Overwrites `workspace`, of `workspace_size` numbers and 2 · rows · outputs.
    """
    rows, outputs = x.shape[0], layers[layers.size - 1].units
    prediction, rest = one_of_two(workspace, 0, rows, outputs, outputs)
    slope, _ = one_of_two(workspace, 1, rows, outputs, outputs)
    forward(layers, params, x, prediction, rest, loss_record.from_logits == 1)
    return output_loss(loss_record, prediction, y, weight, 0.0, slope)


@kernel
def loss_and_slopes(layers, loss_record, params, x, y, weight, scale, workspace):
    """Σ w ℓ over the rows of x; on the way back, ∂(scale · Σ w ℓ)/∂z of the last layer.

    x is (rows, inputs), y (rows, outputs) or (rows, 1) for class indices, and
    weight (rows, outputs), the same along a row. Overwrites `workspace` as
    `forward_with_slopes` does, and the last layer's slope with ∂L/∂z.
    """
    forward_with_slopes(layers, params, x, loss_record.from_logits == 1, workspace)
    a, dL_da, slope = places_of_loss(layers, loss_record, x.shape[0], workspace)
    total = output_loss(loss_record, a, y, weight, scale, dL_da)
    through_activation(layers, layers.size - 1, loss_record.from_logits == 1, a, dL_da, slope)
    return total


@kernel
def places_of_loss(layers, loss_record, rows, workspace):
    """The last layer's a, where the loss writes ∂L/∂a, and the layer's slope.

    Softmax and logits have no da/dz, and that of the identity is 1. Then the loss writes its
    gradient straight into the slope's place.
    """
    last = layers.size - 1
    a, slope = outputs_of(layers, last, rows, workspace), slope_of(layers, last, rows, workspace)
    logits = loss_record.from_logits == 1
    code = layers[last].activation
    without = logits or code == SOFTMAX
    dL_da = slope if without or code == IDENTITY else a
    return a, dL_da, slope


@kernel
def loss_and_gradient(
    layers, loss_record, params, x, y, weight, scale, accumulate, out, workspace
):
    """Σ w ℓ over the rows of x; out ← the gradient of scale · Σ w ℓ, added where `accumulate`.

    Arguments as for `loss_and_slopes`; `workspace` holds `backward_workspace_size` numbers.
    """
    total = loss_and_slopes(layers, loss_record, params, x, y, weight, scale, workspace)
    walk_back(layers, params, x, workspace, in_place, layer_gradient, (1.0, accumulate, out))
    return total


@kernel
def layer_gradient(layers, l, params, x, workspace, context):
    """All of the gradient of layer l, into its place; `context` is (alpha, accumulate, out)."""
    alpha, accumulate, out = context
    start, whole = layers[l].W_start, parameter_rows(layers, l)
    a, dL_dz = inputs_of(layers, l, x, workspace), slope_of(layers, l, x.shape[0], workspace)
    scratch = rest_of(layers, x.shape[0], workspace)
    gradient(layers, l, a, dL_dz, 0, whole, alpha, accumulate, out, start, workspace, scratch)
