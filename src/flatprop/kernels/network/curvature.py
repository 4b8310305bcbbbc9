"""Products of second derivatives with a vector v over the parameters, for one block of rows.

With R{·} for the derivative along v (Pearlmutter 1994), V and c for v's parts in the places
of W and b:

    R{z} = R{x} W + x V + c           R{a} = f' R{z}
    R{∂L/∂z} = f' R{∂L/∂a} + f'' R{z} ∂L/∂a
    R{∂L/∂x} = R{∂L/∂z} Wᵀ + ∂L/∂z Vᵀ
    R{∂L/∂W} = R{x}ᵀ ∂L/∂z + xᵀ R{∂L/∂z}

and R{∂L/∂params} is the Hessian times v. The Gauss-Newton product leaves out what comes
from f'' and V on the way back: it is Jᵀ H J v, with J the Jacobian of the outputs (of the
logits, where the loss is computed from them) and H the Hessian of the loss with respect
to them (Schraudolph 2002).
"""

from typing import Any

from flatprop.kernels.compile import jittable, kernel
from flatprop.kernels.loops.elementwise import (
    activate_with_curvature,
    add,
    copy,
    loss_curvature,
    multiply,
)
from flatprop.kernels.loops.softmax import fill, softmax, softmax_backward
from flatprop.kernels.network.backprop import (
    backward_workspace_size,
    layer_gradient,
    output_loss,
    propagate,
)
from flatprop.kernels.network.records import CROSS_ENTROPY, SOFTMAX, all_units, matrix, most_units
from flatprop.kernels.products.matmul import (
    add_product,
    affine,
    column_sums,
    product_transposed_left,
    times_transposed,
)


@jittable
def curvature_workspace_size(layers: Any, rows: int) -> int:
    """How many numbers `hessian_vector_product` and its neighbour need for so many rows."""
    more = 2 * rows * (all_units(layers) + most_units(layers))
    return backward_workspace_size(layers, rows) + more


@kernel
def _places(layers, l, rows, workspace):
    """A layer's a, its slope (later ∂L/∂z), R{a} and f'' R{z} (later R{∂L/∂z})."""
    layer, last = layers[l], layers[layers.size - 1]
    size = rows * layer.units
    here = 2 * rows * layer.place
    there = here + 2 * rows * (last.place + last.units)
    return (
        matrix(workspace, here, rows, layer.units),
        matrix(workspace, here + size, rows, layer.units),
        matrix(workspace, there, rows, layer.units),
        matrix(workspace, there + size, rows, layer.units),
    )


@kernel
def _beyond(layers, number, rows, columns, workspace):
    """One of two matrices behind the places of the layers; the scratch behind them."""
    begin, size = 4 * rows * all_units(layers), rows * most_units(layers)
    scratch = matrix(workspace, begin + 2 * size, 1, 1)
    return matrix(workspace, begin + number * size, rows, columns), scratch


@kernel
def _forward(layers, objective, params, v, x, workspace):
    """a, slope, R{a} and f'' R{z} of every layer; of logits, z and R{z} in place of a and R{a}."""
    rows, last = x.shape[0], layers.size - 1
    before = matrix(x, 0, rows, layers[0].inputs)
    moving = before  # never read at the first layer: R{x} is 0
    for l in range(layers.size):
        layer = layers[l]
        a, slope, change, bend = _places(layers, l, rows, workspace)
        _, scratch = _beyond(layers, 0, rows, 1, workspace)
        W = matrix(params, layer.weights, layer.inputs, layer.units)
        b = matrix(params, layer.biases, 1, layer.units)
        V = matrix(v, layer.weights, layer.inputs, layer.units)
        c = matrix(v, layer.biases, 1, layer.units)
        affine(before, W, b, False, a, scratch)
        affine(before, V, c, False, change, scratch)
        if l > 0:
            add_product(moving, W, change, scratch)
        before, moving = a, change
        if l == last and objective.from_logits:
            break
        if layer.activation == SOFTMAX:
            softmax(a)
            softmax_backward(a, change)
        else:
            activate_with_curvature(layer.activation, layer.function, a, slope, bend)
            multiply(change, bend)
            multiply(slope, change)


@kernel
def _loss_curvature(objective, prediction, y, weight, scale, tangent):
    """tangent ← its product with the Hessian of scale · Σ w ℓ for the prediction.

    Logits of a cross-entropy are overwritten.
    """
    if objective.loss != CROSS_ENTROPY:
        loss_curvature(
            objective.loss,
            objective.function,
            objective.parameter,
            scale,
            prediction,
            y,
            weight,
            tangent,
        )
        return
    # ∂L/∂z = scale w (m p - y), with p = softmax(z) and m = Σ y, 1 for an index of a class
    softmax(prediction)
    softmax_backward(prediction, tangent)
    for i in range(prediction.shape[0]):
        units = prediction.shape[1]
        mass = 0.0
        if y.shape[1] != units:
            mass = 1.0 if 0 <= y[i, 0] < units else 0.0
        else:
            for k in range(units):
                mass += y[i, k]
        for k in range(units):
            tangent[i, k] *= scale * weight[i, k] * mass


@kernel
def hessian_vector_product(
    layers, objective, params, v, x, y, weight, scale, keep, out, workspace
):
    """out ← the Hessian of scale · Σ w ℓ times v, added where `keep`; Σ w ℓ.

    v and out are laid out as the parameters; other arguments as for
    `backprop.loss_and_gradient`. Overwrites `workspace`, of `curvature_workspace_size`
    numbers.
    """
    rows, last = x.shape[0], layers.size - 1
    output = layers[last]
    _forward(layers, objective, params, v, x, workspace)
    a, slope, change, bend = _places(layers, last, rows, workspace)
    dL_da, scratch = _beyond(layers, 0, rows, output.units, workspace)
    total = output_loss(objective, a, y, weight, scale, dL_da)
    moving, _ = _beyond(layers, 1, rows, output.units, workspace)
    copy(change, moving)
    _loss_curvature(objective, a, y, weight, scale, moving)
    if objective.from_logits:
        copy(dL_da, slope)
        copy(moving, bend)
    elif output.activation == SOFTMAX:
        for i in range(rows):
            _softmax_bend(a, change, dL_da, moving, i)
        copy(dL_da, slope)
        copy(moving, bend)
    else:
        multiply(dL_da, bend)
        multiply(slope, moving)
        add(moving, bend)
        multiply(dL_da, slope)

    for l in range(last, -1, -1):
        layer = layers[l]
        _, dL_dz, _, moving = _places(layers, l, rows, workspace)
        dW = matrix(out, layer.weights, layer.inputs, layer.units)
        db = matrix(out, layer.biases, 1, layer.units)
        if l == 0:
            x0 = matrix(x, 0, rows, layer.inputs)
            product_transposed_left(x0, moving, 0, 1.0, keep, dW, scratch)
        else:
            a, slope, change, bend = _places(layers, l - 1, rows, workspace)
            product_transposed_left(a, moving, 0, 1.0, keep, dW, scratch)
            product_transposed_left(change, dL_dz, 0, 1.0, True, dW, scratch)
        column_sums(moving, 1.0, keep, db, scratch)
        if l > 0:
            W = matrix(params, layer.weights, layer.inputs, layer.units)
            V = matrix(v, layer.weights, layer.inputs, layer.units)
            dL_dx, scratch = _beyond(layers, 0, rows, layer.inputs, workspace)
            times_transposed(dL_dz, W, dL_dx, scratch)
            multiply(dL_dx, bend)
            for_change, scratch = _beyond(layers, 1, rows, layer.inputs, workspace)
            times_transposed(moving, W, for_change, scratch)
            multiply(slope, for_change)
            add(for_change, bend)
            times_transposed(dL_dz, V, for_change, scratch)
            multiply(slope, for_change)
            add(for_change, bend)
            multiply(dL_dx, slope)
    return total


@kernel
def _softmax_bend(a, change, dL_da, moving, i):
    """R{∂L/∂z} in place of R{∂L/∂a}, ∂L/∂z in place of ∂L/∂a, for row i.

    ∂L/∂z = a (∂L/∂a - s) with s = Σ a ∂L/∂a.
    """
    s = moved = 0.0
    for k in range(a.shape[1]):
        s += a[i, k] * dL_da[i, k]
        moved += change[i, k] * dL_da[i, k] + a[i, k] * moving[i, k]
    for k in range(a.shape[1]):
        moving[i, k] = change[i, k] * (dL_da[i, k] - s) + a[i, k] * (moving[i, k] - moved)
        dL_da[i, k] = a[i, k] * (dL_da[i, k] - s)


@kernel
def gauss_newton_vector_product(
    layers, objective, params, v, x, y, weight, scale, keep, out, workspace
):
    """out ← Jᵀ H J v of scale · Σ w ℓ, added where `keep`; arguments as for the Hessian's."""
    rows, last = x.shape[0], layers.size - 1
    output = layers[last]
    _forward(layers, objective, params, v, x, workspace)
    a, slope, change, _ = _places(layers, last, rows, workspace)
    _loss_curvature(objective, a, y, weight, scale, change)
    if objective.from_logits or output.activation == SOFTMAX:
        fill(slope, 1.0)
    multiply(change, slope)
    if output.activation == SOFTMAX and not objective.from_logits:
        softmax_backward(a, slope)
    for l in range(last, -1, -1):
        layer = layers[l]
        layer_gradient(layers, l, x, 0, layer.inputs + 1, 1.0, keep, out, layer.weights, workspace)
        if l > 0:
            propagate(layers, l, params, rows, workspace)
