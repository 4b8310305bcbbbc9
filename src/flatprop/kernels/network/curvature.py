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
from flatprop.kernels.network.layer_kinds import (
    backward_with_tangent,
    forward_with_tangent,
    gradient_tangent,
    through_activation,
    through_activation_with_tangent,
)
from flatprop.kernels.network.records import CROSS_ENTROPY, most_units
from flatprop.kernels.network.walks import in_place, walk_back
from flatprop.kernels.network.workspace import one_of_two, outputs_of, rest_of, slope_of


@kernel
def hessian_vector_product(
    layers, loss_records, params, v, x, y, weight, scale, accumulate, out, workspace
):
    """out ← the Hessian of scale · Σ w ℓ times v, added where `accumulate`.

    v and out are laid out as the parameters; other arguments as for
    `backprop.loss_and_gradient`. Overwrites `workspace`, of `curvature_workspace_size`
    numbers.
    """
    loss_record, rows, last = loss_records[0], x.shape[0], layers.size - 1
    logits = loss_record.from_logits == 1
    a, tangent, tangents = _forward_with_tangents(layers, params, v, x, logits, workspace)
    most = most_units(layers)
    dL_da, moving, _ = _behind_tangents(layers, rows, most, layers[last].units, tangents)
    output_loss(loss_record, a, y, weight, scale, dL_da)
    copy(tangent, moving)
    _loss_curvature(loss_record, a, y, weight, scale, moving)
    through_activation_with_tangent(layers, last, logits, dL_da, moving, workspace, tangents)
    context = v, accumulate, out, tangents, most
    walk_back(layers, params, x, workspace, _both_in_place, _layer_tangent, context)


@kernel
def gauss_newton_vector_product(
    layers, loss_records, params, v, x, y, weight, scale, accumulate, out, workspace
):
    """out ← Jᵀ H J v of scale · Σ w ℓ, added where `accumulate`.

    Arguments as for `hessian_vector_product`.
    """
    loss_record, last = loss_records[0], layers.size - 1
    logits = loss_record.from_logits == 1
    a, tangent, _ = _forward_with_tangents(layers, params, v, x, logits, workspace)
    _loss_curvature(loss_record, a, y, weight, scale, tangent)
    slope = slope_of(layers, last, x.shape[0], workspace)
    through_activation(layers, last, logits, a, tangent, slope)
    walk_back(layers, params, x, workspace, in_place, layer_gradient, (1.0, accumulate, out))


@kernel
def _forward_with_tangents(layers, params, v, x, logits, workspace):
    """a and R{a} of the last layer, z and R{z} if these are `logits`; where the tangents lie.

    Every layer has then what `forward_with_tangent` leaves.
    """
    rows, last = x.shape[0], layers.size - 1
    tangents = rest_of(layers, rows, workspace)
    scratch = rest_of(layers, rows, tangents)
    for l in range(layers.size):
        activates = not (l == last and logits)
        forward_with_tangent(layers, l, params, v, x, activates, workspace, tangents, scratch)
    a, tangent = (
        outputs_of(layers, last, rows, workspace),
        outputs_of(layers, last, rows, tangents),
    )
    return a, tangent, tangents


@kernel
def _behind_tangents(layers, rows, most, columns, tangents):
    """Two matrices (rows, columns), with room for (rows, most); and the scratch."""
    behind = rest_of(layers, rows, tangents)
    one, scratch = one_of_two(behind, 0, rows, most, columns)
    other, _ = one_of_two(behind, 1, rows, most, columns)
    return one, other, scratch


@kernel
def _both_in_place(layers, l, params, rows, workspace, context):
    """∂L/∂z and R{∂L/∂z} of layer l - 1 in place, from those of layer l."""
    v, _, _, tangents, most = context
    dL_dx, term, scratch = _behind_tangents(layers, rows, most, layers[l].inputs, tangents)
    backward_with_tangent(layers, l, params, v, dL_dx, term, workspace, tangents, scratch)


@kernel
def _layer_tangent(layers, l, params, x, workspace, context):
    """What the Hessian's product takes from layer l."""
    _, accumulate, out, tangents, _ = context
    scratch = rest_of(layers, x.shape[0], tangents)
    gradient_tangent(layers, l, x, accumulate, out, workspace, tangents, scratch)


@kernel
def _loss_curvature(loss_record, prediction, y, weight, scale, tangent):
    """tangent ← its product with the Hessian of scale · Σ w ℓ for the prediction.

    Logits of a cross-entropy are overwritten.
    """
    if loss_record.loss != CROSS_ENTROPY:
        loss_curvature(loss_record, scale, prediction, y, weight, tangent)
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
