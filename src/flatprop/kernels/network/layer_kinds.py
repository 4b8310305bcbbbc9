"""The operations on one layer: the one place where kernels tell kinds of layers apart.

All walks and derivatives take them from here. Every layer is dense today, so they are those of
`dense`. CONTRIBUTING, "To add a kind of layer", says what a further kind brings.
"""

from flatprop.kernels.network import dense, dense_stacks

record_fault, parameter_rows = dense.record_fault, dense.parameter_rows
forward, forward_with_slope, laid_open = dense.forward, dense.forward_with_slope, dense.laid_open
backward, input_gradient = dense.backward, dense.input_gradient
through_activation = dense.through_activation
through_activation_with_tangent = dense.through_activation_with_tangent
gradient, sample_gradients = dense.gradient, dense.sample_gradients
forward_with_tangent, gradient_tangent = dense.forward_with_tangent, dense.gradient_tangent
backward_with_tangent = dense.backward_with_tangent

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
