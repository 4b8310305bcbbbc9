"""Compiled functions over flat arrays; nothing here knows the floors above.

What is listed here is made to be called from your own `@njit` code. `embedded.functions` says
what holds for all of it. `checked` has the same functions with checks.
"""

from importlib import import_module
from typing import Any

from flatprop.formulas.optimizer import LEARNING_RATE, OptimizerState
from flatprop.kernels.embedded.functions import (
    derivatives,
    derivatives_vjp,
    derivatives_workspace_size,
    forward,
    gauss_newton_vector_product,
    gradient_workspace_size,
    hessian,
    hessian_vector_product,
    hessian_workspace_size,
    jacobian,
    levenberg_marquardt,
    levenberg_marquardt_workspace_size,
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
from flatprop.kernels.embedded.of_members import forward_each


def __getattr__(name: str) -> Any:
    if name != "checked":  # which few programs need, and none when it starts
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("flatprop.kernels.checked")


__all__ = [
    "LEARNING_RATE",
    "OptimizerState",
    "checked",
    "derivatives",
    "derivatives_vjp",
    "derivatives_workspace_size",
    "forward",
    "forward_each",
    "gauss_newton_vector_product",
    "gradient_workspace_size",
    "hessian",
    "hessian_vector_product",
    "hessian_workspace_size",
    "jacobian",
    "levenberg_marquardt",
    "levenberg_marquardt_workspace_size",
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
