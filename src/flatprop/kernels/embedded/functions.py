"""The functions that other compiled code calls: for a block of rows, allocating nothing.

The contract of all of them:

`layers`, `objectives`, `params`
    `net.layers`, `net.objectives` and `net.params`. Another architecture or another
    parameter vector compiles nothing anew.
`x`, `y` and other arrays
    C-contiguous and of the dtype of the parameters; what is not overwritten may be
    read-only. x is (rows, inputs), y (rows, `net.targets`), or (rows, 1) for class indices.
    A class index outside the classes adds nothing to the loss.
`weight`
    (rows,), or None where every sample counts alike. If the loss has a `class_weight` and y has
    class indices, the weight of a sample is to be multiplied by that of its class: `Network.fit`
    does so, these functions do not.
`workspace`
    Flat and of the dtype of the parameters: `workspace_size` numbers for `forward`,
    `gradient_workspace_size` for everything else; `levenberg_marquardt`, `hessian`, and
    `derivatives` with `derivatives_vjp`, have sizes of their own. It is overwritten, and what it
    holds between two calls does not matter. Threads need one each, and share what is only read.

The first line of a docstring says what is overwritten (←) or added to (+=). Such an array must
overlap neither the workspace nor an array that is read. Only a step both reads and writes
`params`.

Types and dimensions are checked as the caller is compiled. Sizes are not checked at all: a
wrong one reads or writes beyond an array, as in C. `flatprop.kernels.checked` has the same
functions with a check before each. None of them raises, holds a lock or needs Python.
"""

from typing import Any

from numba.core import types

from flatprop.formulas.optimizer import STEP
from flatprop.kernels.compile import kernel
from flatprop.kernels.embedded.faces import embedded, size
from flatprop.kernels.embedded.roles import read, written
from flatprop.kernels.loops import elementwise, updates
from flatprop.kernels.loops.minibatch import sum_of_weights, weights_per_output
from flatprop.kernels.network import (
    backprop,
    curvature,
    input_derivatives,
    jacobians,
    least_squares_call,
    stacks,
)
from flatprop.kernels.network import workspace as workspaces
from flatprop.kernels.network.records import matrix
from flatprop.kernels.network.walks import in_place, walk_back


@size
def workspace_size(layers: Any, rows: int) -> int:
    """How many numbers `forward` needs for so many rows."""
    return workspaces.workspace_size(layers, rows)


@size
def gradient_workspace_size(layers: Any, rows: int) -> int:
    """How many numbers suffice for any function here and so many rows."""
    return workspaces.gradient_workspace_size(layers, rows)


@embedded(types.void, out=written("rows", "outputs"), workspace=written("workspace_size"))
def forward(layers, params, x, out, workspace):
    """out (rows, outputs) ← the outputs for x."""
    backprop.forward(layers, params, x, out, workspace, False)


@embedded(types.float64)
def loss(layers, objectives, params, x, y, weight, workspace):
    """The loss, as `Network.loss`."""
    loss_record = objectives[0]
    weights, scale, rest = _prepare(layers, loss_record, x.shape[0], weight, workspace)
    return scale * backprop.sum_of_losses(layers, loss_record, params, x, y, weights, rest)


@embedded(types.float64)
def loss_and_gradient(layers, objectives, params, x, y, weight, gradient, workspace):
    """gradient (parameters,) ← ∂L/∂params; returns L."""
    return _loss_and_gradient(layers, objectives[0], params, x, y, weight, gradient, workspace)


@kernel
def _loss_and_gradient(layers, loss_record, params, x, y, weight, gradient, workspace):
    weights, scale, rest = _prepare(layers, loss_record, x.shape[0], weight, workspace)
    total = backprop.loss_and_gradient(
        layers, loss_record, params, x, y, weights, scale, False, gradient, rest
    )
    return total * scale


@embedded(
    types.void,
    dL_dx=written("rows", "inputs", absent="empty"),
    gradient=written("params.size", absent="empty"),
)
def vjp(layers, params, x, dL_dy, dL_dx, gradient, workspace):
    """dL_dx (rows, inputs) ← ∂L/∂x, gradient (parameters,) += ∂L/∂params, from dL_dy = ∂L/∂ŷ.

    dL_dy is (rows, outputs). Either result is left out where its array is empty.
    """
    jacobians.vjp(layers, params, x, dL_dy, dL_dx, gradient, workspace)


@embedded(types.void, out=written("rows * outputs", "inputs"))
def jacobian(layers, params, x, out, workspace):
    """out (rows · outputs, inputs) ← ∂ŷ/∂x: the rows of one sample after another."""
    outputs = layers[layers.size - 1].units
    jacobians.jacobian(layers, params, x, 0, outputs, out, workspace)


@embedded(types.void, out=written("rows * outputs", "params.size"))
def parameter_jacobian(layers, params, x, out, workspace):
    """out (rows · outputs, parameters) ← ∂ŷ/∂params: the rows of one sample after another."""
    jacobians.parameter_jacobian(layers, params, x, out, workspace)


@embedded(types.void, out=written("rows", "params.size"))
def per_sample_gradients(layers, objectives, params, x, y, out, workspace):
    """out (rows, parameters) ← the gradient of each sample's own loss."""
    weights, _, rest = _prepare(layers, objectives[0], x.shape[0], matrix(x, 0, 0, 0), workspace)
    scale = backprop.scale_of(objectives[0], 1.0)
    jacobians.per_sample_gradients(layers, objectives, params, x, y, weights, scale, out, rest)


@embedded(types.void, out=written("params.size"))
def hessian_vector_product(layers, objectives, params, v, x, y, weight, out, workspace):
    """out (parameters,) ← the Hessian of the loss times v (parameters,)."""
    weights, scale, rest = _prepare(layers, objectives[0], x.shape[0], weight, workspace)
    curvature.hessian_vector_product(
        layers, objectives, params, v, x, y, weights, scale, False, out, rest
    )


@embedded(types.void, out=written("params.size"))
def gauss_newton_vector_product(layers, objectives, params, v, x, y, weight, out, workspace):
    """out (parameters,) ← the Gauss-Newton matrix of the loss times v (parameters,)."""
    weights, scale, rest = _prepare(layers, objectives[0], x.shape[0], weight, workspace)
    curvature.gauss_newton_vector_product(
        layers, objectives, params, v, x, y, weights, scale, False, out, rest
    )


@embedded(types.void, params=written("params.size"), gradient=read("params.size"))
def update(optimizer, params, gradient):
    """params ← one update by `optimizer`, an `OptimizerState`, whose arrays change too.

    The learning rate is ``optimizer.settings[LEARNING_RATE]``.
    """
    _update(optimizer, params, gradient)


@kernel
def _update(optimizer, params, gradient):
    settings, state = optimizer.settings, optimizer.state
    settings[STEP] += 1.0
    updates.update(optimizer.code, settings, params, gradient, state)


@embedded(types.float64, params=written("params.size"))
def training_step(layers, objectives, params, x, y, weight, optimizer, gradient, workspace):
    """params, gradient, optimizer ← after one step on all rows; the loss before it."""
    value = _loss_and_gradient(layers, objectives[0], params, x, y, weight, gradient, workspace)
    _update(optimizer, params, gradient)
    return value


@embedded(types.float64, params=written("params.size"))
def sgd_step(layers, objectives, params, x, y, weight, learning_rate, workspace):
    """params ← params - learning_rate · ∂L/∂params, all rows at once; the loss before it.

    The gradient is never stored: the product that gives it takes it off.
    """
    loss_record = objectives[0]
    weights, scale, rest = _prepare(layers, loss_record, x.shape[0], weight, workspace)
    total = backprop.loss_and_slopes(layers, loss_record, params, x, y, weights, scale, rest)
    context = (-learning_rate, True, params)
    walk_back(layers, params, x, rest, in_place, backprop.layer_gradient, context)
    return total * scale


@size
def levenberg_marquardt_workspace_size(layers: Any, rows: int) -> int:
    """How many numbers `levenberg_marquardt` needs for so many rows."""
    return least_squares_call.solver_workspace_size(layers, rows)


@embedded(
    types.float64,
    params=written("params.size"),
    solver=written(str(least_squares_call.N_SOLVER)),
    workspace=written("levenberg_marquardt_workspace_size"),
)
def levenberg_marquardt(layers, objectives, params, x, y, weight, solver, iterations, workspace):
    """params, solver ← after up to so many iterations of Levenberg-Marquardt; the loss there.

    `solver` is what ``fp.LevenbergMarquardt(...).start(net.params)`` gives. Its first number is
    the damping μ, from which a later call goes on. Its last number says which rule has ended the
    iterations: 0 none, 1 goal, 2 min_grad, 3 mu_max, 4 ftol, 5 xtol; -1 if the loss or its
    Jacobian is not finite. NaN is returned, and nothing is changed, for a loss without squares and
    for no iteration.
    """
    return least_squares_call.solve(
        layers, objectives, params, x, y, weight, solver, iterations, workspace
    )


@size
def derivatives_workspace_size(layers: Any, rows: int, n_directions: int) -> int:
    """How many numbers `derivatives` and `derivatives_vjp` need for so many of these."""
    return stacks.stacks_size(layers, rows, n_directions, n_directions)


@embedded(
    types.void,
    u=written("rows", "outputs"),
    du=written("rows * n_directions", "outputs"),
    d2u=written("rows * n_directions", "outputs", absent="empty"),
    workspace=written("derivatives_workspace_size"),
)
def derivatives(layers, params, x, directions, u, du, d2u, workspace):
    """u (rows, outputs) ← the outputs; du, d2u ← their derivatives along each of the directions.

    directions is (directions, inputs). du, the first, and d2u, the second derivatives, are
    (rows · directions, outputs): the directions of one row after another. The second ones are left
    out where `d2u` is empty.
    """
    input_derivatives.derivatives(layers, params, x, directions, u, du, d2u, workspace)


@embedded(
    types.void,
    dL_du=read("rows", "outputs"),
    dL_ddu=read("rows * n_directions", "outputs"),
    dL_dd2u=read("rows * n_directions", "outputs", absent="empty"),
    workspace=written("derivatives_workspace_size"),
)
def derivatives_vjp(layers, params, x, directions, dL_du, dL_ddu, dL_dd2u, gradient, workspace):
    """gradient (parameters,) += ∂L/∂params, from ∂L/∂(u, du, d2u).

    The arrays are laid out as those of `derivatives`. The second derivatives are left out where
    `dL_dd2u` is empty.
    """
    input_derivatives.derivatives_vjp(
        layers, params, x, directions, dL_du, dL_ddu, dL_dd2u, True, gradient, workspace
    )


@size
def hessian_workspace_size(layers: Any, rows: int) -> int:
    """How many numbers `hessian` needs for so many rows."""
    return stacks.hessian_workspace_size(layers, rows)


@embedded(
    types.void,
    out=written("rows * outputs", "inputs * inputs"),
    workspace=written("hessian_workspace_size"),
)
def hessian(layers, params, x, out, workspace):
    """out (rows · outputs, inputs · inputs) ← ∂²ŷ/∂x²: the matrices of a sample one by one."""
    input_derivatives.whole_hessian(layers, params, x, out, workspace)


@kernel
def _prepare(layers, loss_record, rows, weight, workspace):
    """Weights once per output, what Σ w ℓ is multiplied by, and the rest of the workspace."""
    outputs = layers[layers.size - 1].units
    weight_per_output = matrix(workspace, 0, rows, outputs)
    if weight.size > 0:
        weights_per_output(weight, None, 0, weight_per_output)
    else:
        elementwise.fill(weight_per_output, 1.0)
    scale = backprop.scale_of(loss_record, sum_of_weights(weight, None, 0, rows))
    return weight_per_output, scale, matrix(workspace, rows * outputs, 1, 1)
