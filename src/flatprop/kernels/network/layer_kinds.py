"""The operations on one layer: the one place where kernels tell kinds of layers apart.

All walks and derivatives take them from here. Those of `dense` are compiled into their callers;
all other kinds are called, see `called_layers`. CONTRIBUTING, "To add a kind of layer", says what
a further kind brings. `dense` says what each operation does.
"""

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.elementwise import copy
from flatprop.kernels.network import called_layers, dense, dense_stacks
from flatprop.kernels.network.records import DENSE

# Of the last layer, which is dense.
through_activation = dense.through_activation
through_activation_with_tangent = dense.through_activation_with_tangent


@kernel
def record_fault(layers, l, n_params):
    if layers[l].kind != DENSE:
        return called_layers.record_fault(layers, l, n_params)
    return dense.record_fault(layers, l, n_params)


@kernel
def parameter_rows(layers, l):
    if layers[l].kind != DENSE:
        return called_layers.parameter_rows(layers, l)
    return dense.parameter_rows(layers, l)


@kernel
def forward(layers, l, params, a, z, activates, kept, scratch):
    if layers[l].kind != DENSE:
        called_layers.forward(layers, l, params, a, z, kept)
    else:
        dense.forward(layers, l, params, a, z, activates, scratch)


@kernel
def forward_with_slope(layers, l, params, x, activates, workspace):
    if layers[l].kind != DENSE:
        called_layers.forward_with_slope(layers, l, params, x, workspace)
    else:
        dense.forward_with_slope(layers, l, params, x, activates, workspace)


@kernel
def laid_open(layers, l, params, inputs, z, a, slope, workspace, scratch):
    if layers[l].kind != DENSE:
        called_layers.laid_open(layers, l, params, inputs, z, slope, workspace)
        copy(z, a)
    else:
        dense.laid_open(layers, l, params, inputs, z, a, slope, scratch)


@kernel
def backward(layers, l, params, dL_dz, out, workspace, scratch):
    if layers[l].kind != DENSE:
        called_layers.backward(layers, l, params, dL_dz, out, workspace)
    else:
        dense.backward(layers, l, params, dL_dz, out, workspace, scratch)


@kernel
def input_gradient(layers, l, params, inputs, dL_dz, out, workspace, scratch):
    if layers[l].kind != DENSE:
        called_layers.input_gradient(layers, l, params, inputs, dL_dz, out, workspace)
    else:
        dense.input_gradient(layers, l, params, dL_dz, out, scratch)


@kernel
def gradient(layers, l, a, dL_dz, row, rows, alpha, accumulate, out, start, scratch):
    if layers[l].kind != DENSE:
        called_layers.gradient(layers, l, a, dL_dz, rows, alpha, accumulate, out, start)
    else:
        dense.gradient(layers, l, a, dL_dz, row, rows, alpha, accumulate, out, start, scratch)


@kernel
def sample_gradients(layers, l, a, dL_dz, out, start, stride):
    if layers[l].kind != DENSE:
        called_layers.sample_gradients(layers, l, a, dL_dz, out, start, stride)
    else:
        dense.sample_gradients(layers, l, a, dL_dz, out, start, stride)


@kernel
def forward_with_tangent(layers, l, params, v, x, activates, workspace, tangents, scratch):
    if layers[l].kind != DENSE:
        called_layers.forward_with_tangent(layers, l, params, v, x, workspace, tangents)
    else:
        dense.forward_with_tangent(
            layers, l, params, v, x, activates, workspace, tangents, scratch
        )


@kernel
def backward_with_tangent(layers, l, params, v, dL_dx, term, workspace, tangents, scratch):
    if layers[l].kind != DENSE:
        rows = dL_dx.shape[0]
        called_layers.backward_with_tangent(layers, l, params, v, rows, workspace, tangents)
    else:
        dense.backward_with_tangent(
            layers, l, params, v, dL_dx, term, workspace, tangents, scratch
        )


@kernel
def gradient_tangent(layers, l, x, accumulate, out, workspace, tangents, scratch):
    if layers[l].kind != DENSE:
        called_layers.gradient_tangent(layers, l, x, accumulate, out, workspace, tangents)
    else:
        dense.gradient_tangent(layers, l, x, accumulate, out, workspace, tangents, scratch)


# ---- stacks: see `stacks`

affine_of_inputs, affine_of_stack = dense_stacks.affine_of_inputs, dense_stacks.affine_of_stack
activate_stack, activate_stack_back = (
    dense_stacks.activate_stack,
    dense_stacks.activate_stack_back,
)
stack_back, stack_gradient = dense_stacks.stack_back, dense_stacks.stack_gradient
stack_gradient_of_inputs = dense_stacks.stack_gradient_of_inputs
affine_of_values = dense_stacks.affine_of_values
derivatives_of_stack = dense_stacks.derivatives_of_stack
