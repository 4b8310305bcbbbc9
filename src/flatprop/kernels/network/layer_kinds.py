"""The operations on one layer: the one place where kinds of layers are told apart.

All walks and derivatives take them from here. Every layer is dense today, so they are those
of `dense`. A further kind, such as dropout, comes in with

1. a column `kind` in `records.LAYER`,
2. a file beside `dense` that has these operations for the new kind,
3. a function here for each operation, with one branch: ``if layers[l].kind == DENSE: ...``.

An operation that a kind needs nothing for, such as the gradient of a layer without parameters,
has no branch.
"""

from flatprop.kernels.network.dense import (
    backward,
    backward_with_tangent,
    forward,
    forward_with_slope,
    forward_with_tangent,
    gradient,
    gradient_tangent,
    input_gradient,
    laid_open,
    sample_gradients,
)

__all__ = [
    "backward",
    "backward_with_tangent",
    "forward",
    "forward_with_slope",
    "forward_with_tangent",
    "gradient",
    "gradient_tangent",
    "input_gradient",
    "laid_open",
    "sample_gradients",
]
