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

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.elementwise import copy, loss_curvature
from flatprop.kernels.loops.softmax import softmax, softmax_backward
from flatprop.kernels.network.backprop import layer_gradient, output_loss
from flatprop.kernels.network.dense import through_activation, through_activation_with_tangent
from flatprop.kernels.network.layer_kinds import (
    backward_with_tangent,
    forward_with_tangent,
    gradient_tangent,
)
from flatprop.kernels.network.records import (
    CROSS_ENTROPY,
    matrix,
    most_units,
)
from flatprop.kernels.network.walks import in_place, walk_back
from flatprop.kernels.network.workspace import outputs_of, rest_of, slope_of


@kernel
def hessian_vector_product(
    layers, loss_record, params, v, x, y, weight, scale, accumulate, out, workspace
):
    """out ← the Hessian of scale · Σ w ℓ times v, added where `accumulate`.

    v and out are laid out as the parameters; other arguments as for
    `backprop.loss_and_gradient`. Overwrites `workspace`, of `curvature_workspace_size`
    numbers.
    """
    rows, last = x.shape[0], layers.size - 1
    tangents = rest_of(layers, rows, workspace)
    _forward_with_tangents(layers, loss_record, params, v, x, workspace, tangents)
    a, tangent = (
        outputs_of(layers, last, rows, workspace),
        outputs_of(layers, last, rows, tangents),
    )
    dL_da, moving, _ = _behind_tangents(layers, rows, layers[last].units, tangents)
    output_loss(loss_record, a, y, weight, scale, dL_da)
    copy(tangent, moving)
    _loss_curvature(loss_record, a, y, weight, scale, moving)
    logits = loss_record.from_logits == 1
    through_activation_with_tangent(layers, last, logits, dL_da, moving, workspace, tangents)
    context = (v, accumulate, out, tangents)
    walk_back(layers, params, x, workspace, _both_in_place, _layer_tangent, context)


@kernel
def gauss_newton_vector_product(
    layers, loss_record, params, v, x, y, weight, scale, accumulate, out, workspace
):
    """out ← Jᵀ H J v of scale · Σ w ℓ, added where `accumulate`.

    Arguments as for `hessian_vector_product`.
    """
    rows, last = x.shape[0], layers.size - 1
    tangents = rest_of(layers, rows, workspace)
    _forward_with_tangents(layers, loss_record, params, v, x, workspace, tangents)
    a, slope = outputs_of(layers, last, rows, workspace), slope_of(layers, last, rows, workspace)
    tangent = outputs_of(layers, last, rows, tangents)
    _loss_curvature(loss_record, a, y, weight, scale, tangent)
    through_activation(layers, last, loss_record.from_logits == 1, a, tangent, slope)
    walk_back(layers, params, x, workspace, in_place, layer_gradient, (1.0, accumulate, out))


@kernel
def _forward_with_tangents(layers, loss_record, params, v, x, workspace, tangents):
    """What `forward_with_tangent` leaves of every layer; of logits z and R{z}."""
    last = layers.size - 1
    scratch = rest_of(layers, x.shape[0], tangents)
    for l in range(layers.size):
        activates = not (l == last and loss_record.from_logits)
        forward_with_tangent(layers, l, params, v, x, activates, workspace, tangents, scratch)


@kernel
def _behind_tangents(layers, rows, columns, tangents):
    """Two matrices (rows, columns), with room for any layer's outputs; and the scratch."""
    both, size = rest_of(layers, rows, tangents), rows * most_units(layers)
    one, other = matrix(both, 0, rows, columns), matrix(both, size, rows, columns)
    return one, other, matrix(both, 2 * size, 1, 1)


@kernel
def _both_in_place(layers, l, params, rows, workspace, context):
    """∂L/∂z and R{∂L/∂z} of layer l - 1 in place, from those of layer l."""
    v, _, _, tangents = context
    dL_dx, term, scratch = _behind_tangents(layers, rows, layers[l].inputs, tangents)
    backward_with_tangent(layers, l, params, v, dL_dx, term, workspace, tangents, scratch)


@kernel
def _layer_tangent(layers, l, params, x, workspace, context):
    """What the Hessian's product takes from layer l."""
    _, accumulate, out, tangents = context
    scratch = rest_of(layers, x.shape[0], tangents)
    gradient_tangent(layers, l, x, accumulate, out, workspace, tangents, scratch)


@kernel
def _loss_curvature(loss_record, prediction, y, weight, scale, tangent):
    """tangent ← its product with the Hessian of scale · Σ w ℓ for the prediction.

    Logits of a cross-entropy are overwritten.
    """
    if loss_record.loss != CROSS_ENTROPY:
        loss_curvature(
            loss_record.loss,
            loss_record.function,
            loss_record.parameter,
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
