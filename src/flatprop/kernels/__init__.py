"""Compiled functions over flat arrays; nothing here knows the floors above.

What is listed here is made to be called from your own `@njit` code; `embedded` says
what holds for all of it. `checked` has the same functions with checks.
"""

from flatprop.formulas.optimizers import LEARNING_RATE, OptimizerState
from flatprop.kernels import checked
from flatprop.kernels.embedded import (
    forward,
    gauss_newton_vector_product,
    gradient_workspace_size,
    hessian_vector_product,
    jacobian,
    loss,
    loss_and_gradient,
    parameter_jacobian,
    per_sample_gradients,
    sgd_step,
    training_step,
    update,
    vjp,
    workspace_size,
)

__all__ = [
    "LEARNING_RATE",
    "OptimizerState",
    "checked",
    "forward",
    "gauss_newton_vector_product",
    "gradient_workspace_size",
    "hessian_vector_product",
    "jacobian",
    "loss",
    "loss_and_gradient",
    "parameter_jacobian",
    "per_sample_gradients",
    "sgd_step",
    "training_step",
    "update",
    "vjp",
    "workspace_size",
]
