"""The dense layer for stacks: values and derivatives along directions in the inputs.

Derivatives of z = x W + b along a direction are those of x times W. `chain_rule` has what the
activation does to them. Nothing is allocated.
"""

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.chain_rule import (
    derivative_bent,
    first_derivative,
    first_derivative_back,
    gradient_bent,
    second_derivative,
    second_derivative_back,
    slope_back,
)
from flatprop.kernels.loops.elementwise import (
    activate_with_curvature,
    copy,
    fill,
    multiply,
    repeat_rows,
)
from flatprop.kernels.loops.softmax import softmax
from flatprop.kernels.network.records import IDENTITY, SOFTMAX, rows_of
from flatprop.kernels.network.stacks import part
from flatprop.kernels.network.workspace import biases, weights
from flatprop.kernels.products.matmul import (
    affine,
    column_sums,
    product,
    product_transposed_left,
    times_transposed,
)


@kernel
def stack_of_inputs(x, directions, stack):
    """stack ← x, the directions for each row, and 0 for the second derivatives."""
    rows, count = x.shape[0], directions.shape[0]
    copy(x, part(stack, rows, 0))
    repeat_rows(directions, rows_of(stack, rows, rows * (1 + count)))
    fill(rows_of(stack, rows * (1 + count), stack.shape[0]), 0.0)


@kernel
def forward_stack(
    layers,
    l,
    params,
    before,
    directions,
    pair,
    pairs,
    a,
    z,
    slope,
    bends,
    activate,
    moved,
    scratch,
):
    """a ← the stack behind layer l, from that of the layer before; of layer 0, from x.

    `z`, `slope` and `bends` keep what the way back needs: see `activate_stack`. `moved` is
    scratch, (directions, units).
    """
    if l == 0:
        affine_of_inputs(layers, params, before, directions, moved, a, z, scratch)
    else:
        affine_of_stack(layers, l, params, before, slope.shape[0], a, z, scratch)
    count = directions.shape[0]
    activate_stack(layers, l, count, pair, pairs, a, z, slope, bends, activate)


@kernel
def backward_stack(
    layers,
    l,
    params,
    before,
    directions,
    gradient,
    z,
    slope,
    bends,
    accumulate,
    out,
    moved,
    scratch,
):
    """before ← the gradient for the stack of the layer before, from that for the stack of layer l.

    The gradient of W and b goes into its place in `out`, added where `accumulate`. Of layer 0,
    `before` is x and stays. Overwrites `gradient`.
    """
    activate_stack_back(layers, l, directions.shape[0], z, slope, bends, gradient)
    if l == 0:
        stack_gradient_of_inputs(
            layers, before, directions, gradient, moved, accumulate, out, scratch
        )
    else:
        stack_gradient(layers, l, before, slope.shape[0], gradient, accumulate, out, scratch)
        stack_back(layers, l, params, gradient, before, scratch)


@kernel
def affine_of_inputs(layers, params, x, directions, moved, a, z, scratch):
    """x W + b into the values of `a`, and its derivatives into the other rows of `z`.

    The first derivatives of x are the directions, the second ones are 0. `moved` is scratch,
    (directions, units).
    """
    W, rows, count = weights(layers, 0, params), x.shape[0], directions.shape[0]
    affine(x, W, biases(layers, 0, params), False, part(a, rows, 0), scratch)
    product(directions, W, moved, scratch)
    repeat_rows(moved, rows_of(z, rows, rows * (1 + count)))
    fill(rows_of(z, rows * (1 + count), z.shape[0]), 0.0)


@kernel
def affine_of_values(layers, l, params, before, z, scratch):
    """z ← x W + b, without derivatives."""
    affine(before, weights(layers, l, params), biases(layers, l, params), False, z, scratch)


@kernel
def derivatives_of_stack(layers, l, params, before, rows, z, scratch):
    """The derivatives of x W into their rows of z."""
    height, W = before.shape[0], weights(layers, l, params)
    product(rows_of(before, rows, height), W, rows_of(z, rows, height), scratch)


@kernel
def affine_of_stack(layers, l, params, before, rows, a, z, scratch):
    """Values and derivatives, from the stack of the layer before, as `affine_of_inputs`."""
    affine_of_values(layers, l, params, part(before, rows, 0), part(a, rows, 0), scratch)
    derivatives_of_stack(layers, l, params, before, rows, z, scratch)


@kernel
def activate_stack(layers, l, count, pair, pairs, a, z, slope, bends, activate):
    """a ← the activation of values and derivatives; the values of z lie in `a` before.

    There are `count` directions, and `pair` gives the two of each second derivative. `activate`
    makes the values, f' in `slope` and f'', or also f''', in the two `bends`; it is told how many
    second derivatives there are. `a` may be the array z if `slope` lies apart.

    A softmax has its values in the place of f' afterwards, and in z what `_center` leaves there.
    """
    layer, rows, parts = layers[l], slope.shape[0], a.shape[0] // slope.shape[0]
    values = part(a, rows, 0)
    if layer.activation == SOFTMAX:
        softmax(values)
        copy(values, slope)
        _center(slope, count, pair, pairs, z)
        for number in range(1, parts):
            first_derivative(slope, part(z, rows, number), part(a, rows, number))
    else:
        curvature, third = bends
        activate(layer, values, slope, curvature, third, parts - 1 - count)
        for number in range(1 + count, parts):
            i, j = pair(pairs, number - 1 - count)
            one, other = part(z, rows, 1 + i), part(z, rows, 1 + j)
            d2z, d2a = part(z, rows, number), part(a, rows, number)
            second_derivative(slope, curvature, one, other, d2z, d2a)
        for number in range(1, 1 + count):
            first_derivative(slope, part(z, rows, number), part(a, rows, number))


@kernel
def activate_stack_back(layers, l, count, z, slope, bends, gradient):
    """gradient ← that with respect to z, from that with respect to a: a stack, in place.

    Second derivatives are those along the first directions, as many as the stack has room for.
    """
    rows = slope.shape[0]
    seconds = gradient.shape[0] // rows - 1 - count
    if layers[l].activation == SOFTMAX:
        _softmax_back(slope, count, z, gradient)
    else:
        curvature, third = bends
        of_z = part(gradient, rows, 0)
        multiply(slope, of_z)
        for k in range(1, 1 + count):
            dz, of_da = part(z, rows, k), part(gradient, rows, k)
            if k <= seconds:
                d2z, of_d2a = part(z, rows, count + k), part(gradient, rows, count + k)
                second_derivative_back(slope, curvature, third, dz, d2z, of_da, of_d2a, of_z)
            else:
                first_derivative_back(slope, curvature, dz, of_da, of_z)


@kernel
def stack_back(layers, l, params, gradient, before, scratch):
    """before ← the gradient with respect to the inputs of layer l, a stack, from that of z."""
    times_transposed(gradient, weights(layers, l, params), before, scratch)


@kernel
def stack_gradient(layers, l, before, rows, gradient, accumulate, out, scratch):
    """The gradient of W and b into their places in `out`, added where `accumulate`."""
    product_transposed_left(before, gradient, 0, 1.0, accumulate, weights(layers, l, out), scratch)
    of_values = part(gradient, rows, 0)
    column_sums(of_values, 1.0, accumulate, biases(layers, l, out), scratch)


@kernel
def stack_gradient_of_inputs(layers, x, directions, gradient, moved, accumulate, out, scratch):
    """The same for the first layer, whose stack `affine_of_inputs` made."""
    rows, dW = x.shape[0], weights(layers, 0, out)
    of_values = part(gradient, rows, 0)
    product_transposed_left(x, of_values, 0, 1.0, accumulate, dW, scratch)
    column_sums(of_values, 1.0, accumulate, biases(layers, 0, out), scratch)
    for k in range(directions.shape[0]):
        sums = rows_of(moved, k, k + 1)
        column_sums(part(gradient, rows, 1 + k), 1.0, False, sums, scratch)
    product_transposed_left(directions, moved, 0, 1.0, True, dW, scratch)


# ---- one direction for each row: see `slopes_of_one`


@kernel
def values_with_curvature(layers, l, params, before, a, slope, curvature, scratch):
    """a, slope and curvature ← f(z), f' and f''."""
    affine_of_values(layers, l, params, before, a, scratch)
    layer = layers[l]
    activate_with_curvature(layer.activation, layer.function, a, slope, curvature)


@kernel
def slopes_back(layers, l, params, slope, curvature, du_da, before, scratch):
    """before ← ∂u/∂a of the layer before, from that of layer l, in whose place is ∂u/∂z then.

    In the place of f'' is f'' ∂u/∂a.
    """
    slope_back(slope, curvature, du_da)
    times_transposed(du_da, weights(layers, l, params), before, scratch)


@kernel
def derivative_along(layers, l, params, before, rows, a, slope, bent, scratch):
    """ȧ into its place behind the values, and f'' ∂u/∂a ż into the place of f'' ∂u/∂a.

    The last layer's ȧ is not needed, and its ż only if its f'' is not 0.
    """
    if l < layers.size - 1 or layers[l].activation != IDENTITY:
        derivatives_of_stack(layers, l, params, before, rows, a, scratch)
        derivative_bent(slope, bent, part(a, rows, 1))


@kernel
def backward_along(layers, l, params, before, rows, a, slope, gradient, accumulate, out, scratch):
    """before ← the gradient for the values alone; out ← that of W and b, as `backward_stack`.

    The gradient for the values lies in their place in `a`. `gradient` is a stack: behind what
    `derivative_along` has left is ∂u/∂z.
    """
    of_z = part(gradient, rows, 0)
    gradient_bent(slope, part(a, rows, 0), of_z)
    stack_gradient(layers, l, before, rows, gradient, accumulate, out, scratch)
    if l > 0:
        stack_back(layers, l, params, of_z, part(before, rows, 0), scratch)


# ---- softmax, whose outputs depend on all of z. With ⟨·⟩ for the sum of a times something over a
# row, and y = ż - ⟨ż⟩,
#
#     ȧ = a y      ä = a q,  q = p - ⟨p⟩,  p = y₁ y₂ + z̈
#
# On the way back, with g, g₁ and g₂ for the gradients with respect to a, ȧ and ä, and
# h = g₂ - ⟨g₂⟩,
#
#     ∂L/∂z̈ = a h      ∂L/∂y = a g₁ + 2 a h y      ∂L/∂ż = ∂L/∂y - a Σ ∂L/∂y
#     ∂L/∂z = a (s - ⟨s⟩),  s = g + Σ over directions of (g₁ - Σ ∂L/∂y) y + h q


@kernel
def _center(a, count, pair, pairs, z):
    """y and q in the place of ż and z̈."""
    rows, units = a.shape
    for number in range(1, z.shape[0] // rows):
        i, j = pair(pairs, max(number - 1 - count, 0))
        one, other, here = rows * (1 + i), rows * (1 + j), rows * number
        for row in range(rows):
            mean = 0.0
            for u in range(units):
                if number > count:
                    z[here + row, u] += z[one + row, u] * z[other + row, u]
                mean += a[row, u] * z[here + row, u]
            for u in range(units):
                z[here + row, u] -= mean


@kernel
def _softmax_back(a, count, z, gradient):
    """What `activate_stack_back` does for a softmax."""
    rows, units = a.shape
    seconds = gradient.shape[0] // rows - 1 - count
    for row in range(rows):
        for k in range(1, 1 + count):
            with_second = k <= seconds
            first, second = rows * k + row, rows * (count + k) + row
            mean = total = 0.0
            if with_second:
                for u in range(units):
                    mean += a[row, u] * gradient[second, u]
            for u in range(units):
                share, y, g = a[row, u], z[first, u], gradient[first, u]
                gradient[row, u] += g * y
                gradient[first, u] = share * g
                if with_second:
                    h = gradient[second, u] - mean
                    gradient[row, u] += h * z[second, u]
                    gradient[first, u] += 2.0 * share * h * y
                    gradient[second, u] = share * h
                total += gradient[first, u]
            for u in range(units):
                gradient[row, u] -= total * z[first, u]
                gradient[first, u] -= total * a[row, u]
        mean = 0.0
        for u in range(units):
            mean += a[row, u] * gradient[row, u]
        for u in range(units):
            gradient[row, u] = a[row, u] * (gradient[row, u] - mean)
