"""The operations on one layer: the one place where kernels tell kinds of layers apart.

All walks and derivatives take them from here. Every layer is dense today, so they are those of
`dense`. CONTRIBUTING, "To add a kind of layer", says what a further kind brings.
"""

from flatprop.kernels.network import dense

record_fault, parameter_rows = dense.record_fault, dense.parameter_rows
forward, forward_with_slope, laid_open = dense.forward, dense.forward_with_slope, dense.laid_open
backward, input_gradient = dense.backward, dense.input_gradient
through_activation = dense.through_activation
through_activation_with_tangent = dense.through_activation_with_tangent
gradient, sample_gradients = dense.gradient, dense.sample_gradients
forward_with_tangent, gradient_tangent = dense.forward_with_tangent, dense.gradient_tangent
backward_with_tangent = dense.backward_with_tangent
