"""The operations on one layer: the one place where kernels tell kinds of layers apart.

All walks and derivatives take them from here. Those of `dense` are compiled into their callers;
all other kinds are called, see `called_layers`. CONTRIBUTING, "To add a kind of layer", says what
a further kind brings. `dense` says what each operation does.
"""

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.elementwise import copy
from flatprop.kernels.network import called_layers, called_stacks, dense, dense_stacks
from flatprop.kernels.network.records import DENSE, matrix, rows_of
from flatprop.kernels.network.stacks import bends_of, part
from flatprop.kernels.network.workspace import outputs_of

# Of the last layer, which is dense.
through_activation = dense.through_activation
through_activation_with_tangent = dense.through_activation_with_tangent


@kernel
def record_fault(layers, l, n_params):
    if layers[l].kind != DENSE:
        return called_layers.record_fault(layers, l, n_params)
    return dense.record_fault(layers, l, n_params)


@kernel
def forward(layers, l, params, a, z, activates, kept, scratch):
    if not called_layers.forward(layers, l, params, a, z, kept):
        dense.forward(layers, l, params, a, z, activates, scratch)


@kernel
def forward_with_slope(layers, l, params, x, activates, workspace):
    if not called_layers.forward_with_slope(layers, l, params, x, workspace):
        dense.forward_with_slope(layers, l, params, x, activates, workspace)


@kernel
def laid_open(layers, l, params, inputs, z, a, slope, workspace, scratch):
    if called_layers.laid_open(layers, l, params, inputs, z, slope, workspace):
        copy(z, a)
    else:
        dense.laid_open(layers, l, params, inputs, z, a, slope, scratch)


@kernel
def backward(layers, l, params, dL_dz, out, workspace, scratch):
    if not called_layers.backward(layers, l, params, dL_dz, out, workspace):
        dense.backward(layers, l, params, dL_dz, out, workspace, scratch)


@kernel
def input_gradient(layers, l, params, inputs, dL_dz, out, workspace, scratch):
    if not called_layers.input_gradient(layers, l, params, inputs, dL_dz, out, workspace):
        dense.input_gradient(layers, l, params, dL_dz, out, scratch)


@kernel
def gradient(layers, l, a, dL_dz, row, rows, alpha, accumulate, out, start, workspace, scratch):
    if not called_layers.gradient(
        layers, l, a, dL_dz, rows, alpha, accumulate, out, start, workspace
    ):
        dense.gradient(layers, l, a, dL_dz, row, rows, alpha, accumulate, out, start, scratch)


@kernel
def sample_gradients(layers, l, a, dL_dz, out, start, stride):
    if not called_layers.sample_gradients(layers, l, a, dL_dz, out, start, stride):
        dense.sample_gradients(layers, l, a, dL_dz, out, start, stride)


@kernel
def forward_with_tangent(layers, l, params, v, x, activates, workspace, tangents, scratch):
    if not called_layers.forward_with_tangent(layers, l, params, v, x, workspace, tangents):
        dense.forward_with_tangent(
            layers, l, params, v, x, activates, workspace, tangents, scratch
        )


@kernel
def backward_with_tangent(layers, l, params, v, dL_dx, term, workspace, tangents, scratch):
    rows = dL_dx.shape[0]
    if not called_layers.backward_with_tangent(layers, l, params, v, rows, workspace, tangents):
        dense.backward_with_tangent(
            layers, l, params, v, dL_dx, term, workspace, tangents, scratch
        )


@kernel
def gradient_tangent(layers, l, x, accumulate, out, workspace, tangents, scratch):
    if not called_layers.gradient_tangent(layers, l, x, accumulate, out, workspace, tangents):
        dense.gradient_tangent(layers, l, x, accumulate, out, workspace, tangents, scratch)


# ---- stacks: see `stacks`


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
    workspace,
):
    if layers[l].kind != DENSE:
        partner = outputs_of(layers, layers[l].partner, a.shape[0], workspace)
        count = directions.shape[0]
        if l == 0:
            dense_stacks.stack_of_inputs(before, directions, z)
            before = z
        called_stacks.forward_stack(
            layers, l, params, before, count, pairs, a, z, bends[0], partner
        )
    else:
        dense_stacks.forward_stack(
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
        )


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
    workspace,
):
    if layers[l].kind != DENSE:
        partner = outputs_of(layers, layers[l].partner, gradient.shape[0], workspace)
        count, there = directions.shape[0], rows_of(before, 0, before.shape[0] if l > 0 else 0)
        called_stacks.backward_stack(
            layers, l, params, gradient, count, z, bends[0], there, partner, accumulate, out
        )
    else:
        dense_stacks.backward_stack(
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
        )


# ---- stacks of values and one derivative, along a direction of each row's own


@kernel
def values_with_curvature(layers, l, params, before, a, z, bends, scratch, workspace):
    rows = before.shape[0]
    values, slope = part(a, rows, 0), part(z, rows, 0)
    if layers[l].kind != DENSE:
        partner = outputs_of(layers, layers[l].partner, 2 * rows, workspace)
        called_stacks.forward_stack(
            layers, l, params, before, 0, 0, values, slope, bends[0], partner
        )
    else:
        dense_stacks.values_with_curvature(
            layers, l, params, before, values, slope, bends[0], scratch
        )


@kernel
def slopes_back(layers, l, params, z, bends, before, scratch, workspace):
    rows, du_da = before.shape[0], bends[1]
    slope = part(z, rows, 0)
    if layers[l].kind != DENSE:
        partner = bends_of(layers, layers[l].partner, rows, 2 * rows, workspace)[1]
        nothing = rows_of(before, 0, 0)
        called_stacks.backward_stack(
            layers, l, params, du_da, 0, slope, bends[0], before, partner, False, nothing
        )
    else:
        dense_stacks.slopes_back(layers, l, params, slope, bends[0], du_da, before, scratch)


@kernel
def derivative_along(layers, l, params, before, rows, a, z, bends, scratch, workspace):
    if layers[l].kind != DENSE:
        partner = outputs_of(layers, layers[l].partner, 2 * rows, workspace)
        called_stacks.forward_stack(layers, l, params, before, 1, 0, a, z, bends[0], partner)
    else:
        slope, bent = part(z, rows, 0), bends[0]
        dense_stacks.derivative_along(layers, l, params, before, rows, a, slope, bent, scratch)


@kernel
def backward_along(
    layers, l, params, before, rows, a, z, bends, accumulate, out, scratch, workspace
):
    if layers[l].kind != DENSE:
        copy(bends[1], part(a, rows, 1))
        partner = outputs_of(layers, layers[l].partner, 2 * rows, workspace)
        there = rows_of(before, 0, 2 * rows if l > 0 else 0)
        called_stacks.backward_stack(
            layers, l, params, a, 1, z, bends[0], there, partner, accumulate, out
        )
    else:
        slope, gradient = part(z, rows, 0), matrix(bends[0], 0, 2 * rows, layers[l].units)
        dense_stacks.backward_along(
            layers, l, params, before, rows, a, slope, gradient, accumulate, out, scratch
        )
