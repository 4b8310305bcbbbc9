"""How the functions with a loss share out their workspace."""

from typing import Any

from flatprop.kernels.compile import jittable, kernel
from flatprop.kernels.loops.minibatch import weights_per_output
from flatprop.kernels.network import curvature, jacobians
from flatprop.kernels.network.records import matrix


@jittable
def gradient_workspace_size(layers: Any, rows: int) -> int:
    """How many numbers suffice for any embedded function and so many rows."""
    outputs = int(layers[layers.size - 1]["units"])
    most = max(
        curvature.curvature_workspace_size(layers, rows),
        jacobians.jacobian_workspace_size(layers, rows),
    )
    return rows * outputs + most


@kernel
def prepare(layers, objective, rows, weight, workspace):
    """Weights once per output, what Σ w ℓ is multiplied by, and the rest of the workspace."""
    outputs = layers[layers.size - 1].units
    weight_per_output = matrix(workspace, 0, rows, outputs)
    total = weights_per_output(weight, weight_per_output)
    scale = 1.0
    if objective.divisor > 0:
        scale = 1.0 / (total * objective.divisor) if total > 0 else 0.0
    return weight_per_output, scale, matrix(workspace, rows * outputs, 1, 1)
