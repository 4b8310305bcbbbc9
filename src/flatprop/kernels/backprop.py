"""Forward pass, loss and backpropagation for one block of rows.

For a layer with inputs x: z = x W + b and a = f(z). Backwards, by the chain rule,

    ∂L/∂z = ∂L/∂a · f'(z)      ∂L/∂W = xᵀ ∂L/∂z
    ∂L/∂x = ∂L/∂z Wᵀ           ∂L/∂b = Σ over rows of ∂L/∂z

and ∂L/∂x is ∂L/∂a of the layer before. Nothing is allocated: the caller owns
every array.
"""

from flatprop.kernels.elementwise import activate, activate_with_slope, loss_with_slope, multiply
from flatprop.kernels.jit import kernel
from flatprop.kernels.layout import CROSS_ENTROPY, SOFTMAX, matrix
from flatprop.kernels.matmul import (
    product,
    product_transposed_left,
    product_transposed_right,
)
from flatprop.kernels.rows import (
    column_sums,
    cross_entropy,
    fill_rows,
    softmax,
    softmax_backward,
)


@kernel
def forward(layers, params, x, out, workspace, logits):
    """out ← the network's outputs for x, or the last z where `logits`.

    x is (rows, inputs) and out (rows, outputs). Overwrites `workspace`, which
    holds 2 · rows · (units of the widest layer).
    """
    rows = x.shape[0]
    half = workspace.size // 2
    last = layers.size - 1
    a = x
    for l in range(layers.size):
        layer = layers[l]
        W = matrix(params, layer.weights, layer.inputs, layer.units)
        b = matrix(params, layer.biases, 1, layer.units)
        z = out if l == last else matrix(workspace, (l % 2) * half, rows, layer.units)
        fill_rows(b, z)
        product(a, W, 1.0, z)
        if l == last and logits:
            break
        if layer.activation == SOFTMAX:
            softmax(z)
        else:
            activate(layer.activation, z)
        a = z


@kernel
def output_loss(objective, prediction, y, weight, scale, slope):
    """Σ w ℓ; slope ← scale · w · ∂ℓ/∂ŷ, or ∂ℓ/∂z where `prediction` is the logits."""
    if objective.loss == CROSS_ENTROPY:
        return cross_entropy(prediction, y, weight, scale, slope)
    return loss_with_slope(
        objective.loss, objective.parameter, scale, prediction, y, weight, slope
    )


@kernel
def loss_and_gradient(layers, objective, params, x, y, weight, scale, beta, gradient, workspace):
    """Σ w ℓ over the rows of x; gradient ← that of scale · Σ w ℓ + beta gradient.

    x is (rows, inputs), y (rows, outputs) or (rows, 1) for class indices, and
    weight (rows, outputs), the same along a row. Overwrites `workspace`, which
    holds 2 · rows · (units of all layers): afterwards every layer's ∂L/∂a, then
    every layer's ∂L/∂z (without the last ∂L/∂a where the loss is computed from
    the logits).
    """
    rows = x.shape[0]
    last = layers.size - 1
    units = layers[last].place + layers[last].units
    second_half = rows * units

    # Forward: a of every layer in the first half, da/dz in the second.
    a = x
    for l in range(layers.size):
        layer = layers[l]
        W = matrix(params, layer.weights, layer.inputs, layer.units)
        b = matrix(params, layer.biases, 1, layer.units)
        z = matrix(workspace, rows * layer.place, rows, layer.units)
        slope = matrix(workspace, second_half + rows * layer.place, rows, layer.units)
        fill_rows(b, z)
        product(a, W, 1.0, z)
        a = z
        if l == last and objective.from_logits:
            break
        if layer.activation == SOFTMAX:
            softmax(z)
        else:
            activate_with_slope(layer.activation, z, slope)

    # The loss: ∂L/∂a in place of a, or, where z has no slope of its own, in place of that.
    whole = objective.from_logits or layer.activation == SOFTMAX
    dL = slope if whole else a
    total = output_loss(objective, a, y, weight, scale, dL)

    # Backward: ∂L/∂a takes the place of a when a has served, ∂L/∂z that of the slope.
    for l in range(last, -1, -1):
        layer = layers[l]
        dL_da = matrix(workspace, rows * layer.place, rows, layer.units)
        dL_dz = matrix(workspace, second_half + rows * layer.place, rows, layer.units)
        if l < last or not objective.from_logits:
            if layer.activation == SOFTMAX:
                softmax_backward(dL_da, dL_dz)  # of which one is still a, the other ∂L/∂a
            else:
                multiply(dL_da, dL_dz)

        dW = matrix(gradient, layer.weights, layer.inputs, layer.units)
        db = matrix(gradient, layer.biases, 1, layer.units)
        a = x if l == 0 else matrix(workspace, rows * layers[l - 1].place, rows, layer.inputs)
        product_transposed_left(a, dL_dz, beta, dW)
        column_sums(dL_dz, beta, db)
        if l > 0:
            W = matrix(params, layer.weights, layer.inputs, layer.units)
            product_transposed_right(dL_dz, W, a)
    return total
