"""Forward pass, loss and backpropagation for one block of rows.

For a layer with inputs x: z = x W + b and a = f(z). Backwards, by the chain rule,

    ∂L/∂z = ∂L/∂a · f'(z)      ∂L/∂W = xᵀ ∂L/∂z
    ∂L/∂x = ∂L/∂z Wᵀ           ∂L/∂b = Σ over rows of ∂L/∂z

and ∂L/∂x is ∂L/∂a of the layer before. Nothing is allocated: the caller owns
every array.
"""

from typing import Any

from flatprop.kernels.compile import jittable, kernel
from flatprop.kernels.loops.elementwise import (
    activate,
    activate_with_slope,
    loss_with_slope,
    multiply,
)
from flatprop.kernels.loops.softmax import cross_entropy, fill, softmax, softmax_backward
from flatprop.kernels.network.records import (
    CROSS_ENTROPY,
    RELU,
    SOFTMAX,
    all_units,
    matrix,
    most_units,
    widest,
)
from flatprop.kernels.products.matmul import (
    affine,
    column_sums,
    product_transposed_left,
    product_transposed_right,
    scratch_size,
)


@jittable
def workspace_size(layers: Any, rows: int) -> int:
    """How many numbers `forward` needs for so many rows."""
    return 2 * rows * most_units(layers) + scratch_size(rows, widest(layers))


@jittable
def backward_workspace_size(layers: Any, rows: int) -> int:
    """How many numbers `loss_and_gradient` needs for so many rows."""
    return 2 * rows * all_units(layers) + scratch_size(rows, widest(layers))


@kernel
def forward(layers, params, x, out, workspace, logits):
    """out ← the network's outputs for x, or the last z where `logits`.

    x is (rows, inputs) and out (rows, outputs). Overwrites `workspace`, of
    `workspace_size` numbers.
    """
    rows = x.shape[0]
    widest = 0
    for l in range(layers.size):
        widest = max(widest, layers[l].units)
    scratch = matrix(workspace, 2 * rows * widest, 1, 1)
    last = layers.size - 1
    a = matrix(x, 0, rows, layers[0].inputs)
    final = matrix(out, 0, rows, layers[last].units)
    for l in range(layers.size):
        layer = layers[l]
        W = matrix(params, layer.weights, layer.inputs, layer.units)
        b = matrix(params, layer.biases, 1, layer.units)
        z = final if l == last else matrix(workspace, (l % 2) * rows * widest, rows, layer.units)
        affine(a, W, b, layer.activation == RELU, z, scratch)
        if l == last and logits:
            break
        if layer.activation == SOFTMAX:
            softmax(z)
        elif layer.activation != RELU:
            activate(layer.activation, layer.function, z)
        a = z


@kernel
def output_loss(objective, prediction, y, weight, scale, slope):
    """Σ w ℓ; slope ← scale · w · ∂ℓ/∂ŷ, or ∂ℓ/∂z where `prediction` is the logits."""
    if objective.loss == CROSS_ENTROPY:
        return cross_entropy(prediction, y, weight, scale, slope)
    return loss_by_definition(objective, prediction, y, weight, scale, slope)


@kernel
def loss_by_definition(objective, prediction, y, weight, scale, slope):
    """The same by the formula of the loss, which that of cross-entropy takes from ŷ."""
    return loss_with_slope(
        objective.loss,
        objective.function,
        objective.parameter,
        scale,
        prediction,
        y,
        weight,
        slope,
    )


@kernel
def forward_with_slopes(layers, params, x, logits, workspace):
    """Every layer's a and da/dz into their places; of the last, only z where `logits`.

    Overwrites `workspace`, where every layer has a place for a, followed by one for
    da/dz. A softmax has no slope of its own, and leaves 1 there. A hidden relu leaves nothing
    there: `slope_factor`.
    """
    rows = x.shape[0]
    last = layers.size - 1
    scratch = matrix(workspace, 2 * rows * (layers[last].place + layers[last].units), 1, 1)
    a = matrix(x, 0, rows, layers[0].inputs)
    for l in range(layers.size):
        layer = layers[l]
        W = matrix(params, layer.weights, layer.inputs, layer.units)
        b = matrix(params, layer.biases, 1, layer.units)
        z = matrix(workspace, 2 * rows * layer.place, rows, layer.units)
        slope = matrix(workspace, rows * (2 * layer.place + layer.units), rows, layer.units)
        rectify = l < last and layer.activation == RELU
        affine(a, W, b, rectify, z, scratch)
        a = z
        if rectify or (l == last and logits):
            continue
        if layer.activation == SOFTMAX:
            softmax(z)
            fill(slope, 1.0)
        else:
            activate_with_slope(layer.activation, layer.function, z, slope)


@kernel
def slope_factor(layers, l, rows, workspace):
    """da/dz of hidden layer l, as `product_transposed_right` takes it: of a relu, a itself."""
    layer = layers[l]
    rectified = layer.activation == RELU
    place = rows * (2 * layer.place + (0 if rectified else layer.units))
    return matrix(workspace, place, rows, layer.units), rectified


@kernel
def loss_and_slopes(layers, objective, params, x, y, weight, scale, workspace):
    """Σ w ℓ over the rows of x; on the way back, ∂(scale · Σ w ℓ)/∂z of the last layer.

    x is (rows, inputs), y (rows, outputs) or (rows, 1) for class indices, and
    weight (rows, outputs), the same along a row. Overwrites `workspace` as
    `forward_with_slopes` does; the last layer's slope with ∂L/∂z.
    """
    forward_with_slopes(layers, params, x, objective.from_logits == 1, workspace)
    rows, layer = x.shape[0], layers[layers.size - 1]
    a = matrix(workspace, 2 * rows * layer.place, rows, layer.units)
    slope = matrix(workspace, rows * (2 * layer.place + layer.units), rows, layer.units)
    # ∂L/∂a in place of a, or, where z has no slope of its own, in place of that
    whole = objective.from_logits or layer.activation == SOFTMAX
    total = output_loss(objective, a, y, weight, scale, slope if whole else a)
    if not whole:
        multiply(a, slope)
    elif not objective.from_logits:
        softmax_backward(a, slope)
    return total


@kernel
def propagate(layers, l, params, rows, workspace):
    """∂L/∂z of layer l - 1, in place of its slope, from that of layer l."""
    last = layers[layers.size - 1]
    scratch = matrix(workspace, 2 * rows * (last.place + last.units), 1, 1)
    layer, before = layers[l], layers[l - 1]
    W = matrix(params, layer.weights, layer.inputs, layer.units)
    dL_dz = matrix(workspace, rows * (2 * layer.place + layer.units), rows, layer.units)
    slope = matrix(workspace, rows * (2 * before.place + before.units), rows, before.units)
    da_dz, rectified = slope_factor(layers, l - 1, rows, workspace)
    product_transposed_right(dL_dz, W, da_dz, rectified, slope, scratch)
    if before.activation == SOFTMAX:
        a = matrix(workspace, 2 * rows * before.place, rows, before.units)
        softmax_backward(a, slope)


@kernel
def layer_gradient(layers, l, x, row, rows, alpha, keep, out, place, workspace):
    """out[place:] ← alpha times the gradient of layer l, plus what it held where `keep`.

    Of W and b, which is one more row of it, it takes `rows` from `row` on.
    """
    last = layers[layers.size - 1]
    batch = x.shape[0]
    scratch = matrix(workspace, 2 * batch * (last.place + last.units), 1, 1)
    layer = layers[l]
    a = x if l == 0 else matrix(workspace, 2 * batch * layers[l - 1].place, batch, layer.inputs)
    dL_dz = matrix(workspace, batch * (2 * layer.place + layer.units), batch, layer.units)
    of_W = min(rows, layer.inputs - row)
    if of_W > 0:
        dW = matrix(out, place, of_W, layer.units)
        product_transposed_left(a, dL_dz, row, alpha, keep, dW, scratch)
    if of_W < rows:
        db = matrix(out, place + of_W * layer.units, 1, layer.units)
        column_sums(dL_dz, alpha, keep, db, scratch)


@kernel
def loss_and_gradient(layers, objective, params, x, y, weight, scale, keep, gradient, workspace):
    """Σ w ℓ over the rows of x; gradient ← that of scale · Σ w ℓ, added where `keep`.

    Arguments as for `loss_and_slopes`; `workspace` holds
    `backward_workspace_size` numbers.
    """
    total = loss_and_slopes(layers, objective, params, x, y, weight, scale, workspace)
    for l in range(layers.size - 1, -1, -1):
        layer = layers[l]
        rows = layer.inputs + 1
        layer_gradient(layers, l, x, 0, rows, 1.0, keep, gradient, layer.weights, workspace)
        if l > 0:
            propagate(layers, l, params, x.shape[0], workspace)
    return total
