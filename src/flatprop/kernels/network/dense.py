"""The dense layer, a = f(z) with z = x W + b, and its derivatives.

By the chain rule, from ∂L/∂z of the layer,

    ∂L/∂W = xᵀ ∂L/∂z      ∂L/∂b = Σ over rows of ∂L/∂z      ∂L/∂x = ∂L/∂z Wᵀ

x is a of the layer before, so ∂L/∂z of the layer before is ∂L/∂x · f'(z) with its own f and z.
Nothing is allocated: the caller owns every array.
"""

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.addresses import callable_here
from flatprop.kernels.loops.elementwise import (
    activate,
    activate_with_curvature,
    activate_with_slope,
    add,
    copy,
    multiply,
)
from flatprop.kernels.loops.integers import smaller
from flatprop.kernels.loops.softmax import softmax, softmax_backward
from flatprop.kernels.network.records import (
    ACTIVATION,
    ADDRESS,
    IDENTITY,
    LAYERS,
    N_ACTIVATIONS,
    PARAMS,
    RELU,
    SOFTMAX,
    matrix,
)
from flatprop.kernels.network.workspace import (
    biases,
    inputs_of,
    outputs_of,
    rest_of,
    slope_of,
    weights,
)
from flatprop.kernels.products.matmul import (
    add_product,
    affine,
    column_sums,
    outer_products,
    product_transposed_left,
    product_transposed_right,
    times_transposed,
)


@kernel
def record_fault(layers, l, n_params):
    """A fault of what is particular to the record of a dense layer; 0 if there is none."""
    layer = layers[l]
    # In float64, which does not overflow; below 2**53 it is exact.
    if layer.W_start + (float(layer.inputs) + 1.0) * float(layer.units) > n_params:
        return PARAMS
    if layer.b_start != layer.W_start + layer.inputs * layer.units:
        return LAYERS
    code = layer.activation
    if code < 0:
        return 0 if callable_here(code, layer.function) else ADDRESS
    known = code < N_ACTIVATIONS and layer.function == 0
    return 0 if known and (code != SOFTMAX or l == layers.size - 1) else ACTIVATION


@kernel
def forward(layers, l, params, a, z, activates, scratch):
    """z ← the outputs of layer l for its inputs a; x W + b alone unless `activates`."""
    layer, W, b = layers[l], weights(layers, l, params), biases(layers, l, params)
    affine(a, W, b, layer.activation == RELU, z, scratch)
    if activates:
        if layer.activation == SOFTMAX:
            softmax(z)
        elif layer.activation != RELU and layer.activation != IDENTITY:
            activate(layer.activation, layer.function, z)


@kernel
def forward_with_slope(layers, l, params, x, activates, workspace):
    """a and da/dz of layer l into their places; only z, in the place of a, unless `activates`.

    | activation | in the place of da/dz |
    | --- | --- |
    | softmax, whose outputs depend on all of z | what was there |
    | relu of a hidden layer: `backward` reads a instead | what was there |
    | identity of the last layer: see `through_activation` | what was there |
    | any other | da/dz |
    """
    layer, rows = layers[l], x.shape[0]
    a, scratch = inputs_of(layers, l, x, workspace), rest_of(layers, rows, workspace)
    z = outputs_of(layers, l, rows, workspace)
    last, code = l == layers.size - 1, layer.activation
    rectify = not last and code == RELU
    affine(a, weights(layers, l, params), biases(layers, l, params), rectify, z, scratch)
    if activates and not rectify and not (last and code == IDENTITY):
        slope = slope_of(layers, l, rows, workspace)
        if code == SOFTMAX:
            softmax(z)
        else:
            activate_with_slope(code, layer.function, z, slope)


@kernel
def laid_open(layers, l, params, inputs, z, a, slope, scratch):
    """z, a and da/dz of layer l for these inputs; a softmax has no slope, and writes none."""
    layer = layers[l]
    affine(inputs, weights(layers, l, params), biases(layers, l, params), False, z, scratch)
    copy(z, a)
    if layer.activation == SOFTMAX:
        softmax(a)
    else:
        activate_with_slope(layer.activation, layer.function, a, slope)


@kernel
def through_activation(layers, l, logits, a, dL_da, slope):
    """slope ← ∂L/∂z of layer l from its ∂L/∂a, where da/dz was.

    | the layer | ∂L/∂z | what `dL_da` may overlap |
    | --- | --- | --- |
    | gives `logits`, or has no activation | ∂L/∂a, for a is z | `slope` |
    | is a softmax | a (∂L/∂a - Σ a ∂L/∂a) | `slope` |
    | is any other | da/dz · ∂L/∂a | a |
    """
    code = layers[l].activation
    if not logits and code != SOFTMAX and code != IDENTITY:
        multiply(dL_da, slope)
    else:
        copy(dL_da, slope)
        if not logits and code == SOFTMAX:
            softmax_backward(a, slope)


@kernel
def backward(layers, l, params, dL_dz, out, workspace, scratch):
    """out ← ∂L/∂z of layer l - 1 from layer l's; `out` may be the slope of layer l - 1."""
    rows, rectified = dL_dz.shape[0], layers[l - 1].activation == RELU
    a, slope = outputs_of(layers, l - 1, rows, workspace), slope_of(layers, l - 1, rows, workspace)
    factor = a if rectified else slope  # a relu's a tells its slope
    product_transposed_right(dL_dz, weights(layers, l, params), factor, rectified, out, scratch)


@kernel
def input_gradient(layers, l, params, dL_dz, out, scratch):
    """out ← the gradient of the loss with respect to the inputs of layer l, from its ∂L/∂z."""
    times_transposed(dL_dz, weights(layers, l, params), out, scratch)


@kernel
def gradient(layers, l, a, dL_dz, row, rows, alpha, accumulate, out, start, scratch):
    """out[start:] ← alpha times `rows` rows of the gradient of layer l, from row `row` on.

    The gradient has a row for each row of W, and ∂L/∂b as one more. It is added to what is in
    `out` where `accumulate`. The inputs of the layer are a.
    """
    layer = layers[l]
    rows_of_W = smaller(rows, layer.inputs - row)
    if rows_of_W > 0:
        dW = matrix(out, start, rows_of_W, layer.units)
        product_transposed_left(a, dL_dz, row, alpha, accumulate, dW, scratch)
    if rows_of_W < rows:
        db = matrix(out, start + rows_of_W * layer.units, 1, layer.units)
        column_sums(dL_dz, alpha, accumulate, db, scratch)


@kernel
def sample_gradients(layers, l, a, dL_dz, out, start, stride):
    """out[start + i · stride:] ← the gradient of layer l from row i alone, in its place."""
    outer_products(a, dL_dz, out, start + layers[l].W_start, stride)


# ---- the same along a direction v of the parameters: see `curvature`. `tangents` has the layout
# of `workspace`:
#
# | place | in `workspace` | in `tangents` |
# | --- | --- | --- |
# | outputs | a | R{a} |
# | slope, on the way forward | da/dz | f'' R{z} |
# | slope, on the way back | ∂L/∂z | R{∂L/∂z} |


@kernel
def forward_with_tangent(layers, l, params, v, x, activates, workspace, tangents, scratch):
    """a, slope, R{a} and f'' R{z} of layer l; z and R{z} for a and R{a} unless `activates`."""
    layer, rows = layers[l], x.shape[0]
    before, W = inputs_of(layers, l, x, workspace), weights(layers, l, params)
    a, tangent = outputs_of(layers, l, rows, workspace), outputs_of(layers, l, rows, tangents)
    affine(before, W, biases(layers, l, params), False, a, scratch)
    affine(before, weights(layers, l, v), biases(layers, l, v), False, tangent, scratch)
    if l > 0:  # x does not depend on the parameters
        add_product(outputs_of(layers, l - 1, rows, tangents), W, tangent, scratch)
    if activates:
        if layer.activation == SOFTMAX:
            softmax(a)
            softmax_backward(a, tangent)
        else:
            slope, bend = slope_of(layers, l, rows, workspace), slope_of(layers, l, rows, tangents)
            activate_with_curvature(layer.activation, layer.function, a, slope, bend)
            multiply(tangent, bend)
            multiply(slope, tangent)


@kernel
def backward_with_tangent(layers, l, params, v, dL_dx, term, workspace, tangents, scratch):
    """∂L/∂z and R{∂L/∂z} of layer l - 1, in place, from the same two of layer l.

    Overwrites dL_dx and `term`, which are (rows, inputs).
    """
    rows, W = dL_dx.shape[0], weights(layers, l, params)
    slope = slope_of(layers, l - 1, rows, workspace)
    bend = slope_of(layers, l - 1, rows, tangents)
    dL_dz = slope_of(layers, l, rows, workspace)
    times_transposed(dL_dz, W, dL_dx, scratch)
    multiply(dL_dx, bend)
    times_transposed(slope_of(layers, l, rows, tangents), W, term, scratch)
    multiply(slope, term)
    add(term, bend)
    times_transposed(dL_dz, weights(layers, l, v), term, scratch)
    multiply(slope, term)
    add(term, bend)
    multiply(dL_dx, slope)


@kernel
def through_activation_with_tangent(layers, l, logits, dL_da, moving, workspace, tangents):
    """∂L/∂z and R{∂L/∂z} of layer l into their places, from ∂L/∂a and R{∂L/∂a} = `moving`.

    Overwrites `dL_da` and `moving`. Cases are those of `through_activation`, but that the identity
    is as any other.
    """
    rows = dL_da.shape[0]
    slope, bend = slope_of(layers, l, rows, workspace), slope_of(layers, l, rows, tangents)
    if logits or layers[l].activation == SOFTMAX:
        if not logits:
            a, change = (
                outputs_of(layers, l, rows, workspace),
                outputs_of(layers, l, rows, tangents),
            )
            _softmax_bend(a, change, dL_da, moving)
        copy(dL_da, slope)
        copy(moving, bend)
    else:
        multiply(dL_da, bend)
        multiply(slope, moving)
        add(moving, bend)
        multiply(dL_da, slope)


@kernel
def _softmax_bend(a, change, dL_da, moving):
    """R{∂L/∂z} in place of R{∂L/∂a}, ∂L/∂z in place of ∂L/∂a; R{a} is `change`.

    ∂L/∂z = a (∂L/∂a - s) with s = Σ a ∂L/∂a over a row.
    """
    for i in range(a.shape[0]):
        s = moved = 0.0
        for k in range(a.shape[1]):
            s += a[i, k] * dL_da[i, k]
            moved += change[i, k] * dL_da[i, k] + a[i, k] * moving[i, k]
        for k in range(a.shape[1]):
            moving[i, k] = change[i, k] * (dL_da[i, k] - s) + a[i, k] * (moving[i, k] - moved)
            dL_da[i, k] = a[i, k] * (dL_da[i, k] - s)


@kernel
def gradient_tangent(layers, l, x, accumulate, out, workspace, tangents, scratch):
    """R{∂L/∂W} and R{∂L/∂b} of layer l into their places in `out`, added where `accumulate`."""
    rows, layer = x.shape[0], layers[l]
    a, moving = inputs_of(layers, l, x, workspace), slope_of(layers, l, rows, tangents)
    whole = layer.inputs + 1
    gradient(layers, l, a, moving, 0, whole, 1.0, accumulate, out, layer.W_start, scratch)
    if l > 0:
        tangent = outputs_of(layers, l - 1, rows, tangents)
        dL_dz, dW = slope_of(layers, l, rows, workspace), weights(layers, l, out)
        product_transposed_left(tangent, dL_dz, 0, 1.0, True, dW, scratch)
