"""The functions of `flatprop.kernels`, each with a check of its arguments before it.

They take the same arguments, and raise a ValueError before anything is read or changed where
the records of layers and loss describe no network whose parameters `params` could be, where
an array has not the shape that the network and x ask for, where the workspace is too small,
or where an array that is overwritten overlaps one that is read.

Records may be made by hand, damaged, or of another process. Of a function of the user's own
it is checked that its record was made in this process; only where a record says CUSTOM, as
those of C do, is its address trusted.
"""

from flatprop.formulas.optimizers import RULES, SETTINGS
from flatprop.kernels.compile import entry_point, kernel
from flatprop.kernels.embedded import functions
from flatprop.kernels.embedded.argument_types import expect_matrix, overlap
from flatprop.kernels.embedded.faults import (
    OPTIMIZER,
    OUT,
    OVERLAP,
    WEIGHT,
    WORKSPACE,
    X,
    Y,
    of_layers,
    of_loss,
    refuse,
)
from flatprop.kernels.embedded.functions import gradient_workspace_size, workspace_size
from flatprop.kernels.network.records import CROSS_ENTROPY

SLOTS = tuple(rule.slots for rule in RULES)
COUNTS = tuple(len(SETTINGS) + len(rule.optimizer.settings) for rule in RULES)
"""Rows of the state and numbers of settings of every update, by its code."""


@kernel
def _arrays(layers, params, x, workspace, size):
    """A fault of the arrays that every call has."""
    expect_matrix(x, params)
    if x.shape[0] < 1 or x.shape[1] != layers[0].inputs:
        return X
    if workspace.size < size:
        return WORKSPACE
    if overlap(workspace, params) or overlap(workspace, x):
        return OVERLAP
    return 0


@kernel
def _refuse_network(layers, params, x, workspace):
    """What every call but that of `forward` begins with."""
    refuse(of_layers(layers, params))
    size = gradient_workspace_size(layers, x.shape[0])
    refuse(_arrays(layers, params, x, workspace, size))


@kernel
def _targets(layers, objectives, x, y, weight, workspace):
    """A fault of the loss, of y and the weights."""
    fault = of_loss(layers, objectives)
    if fault != 0:
        return fault
    outputs = layers[layers.size - 1].units
    classes = objectives[0].loss == CROSS_ENTROPY and y.shape[1] == 1
    if y.shape[0] != x.shape[0] or (y.shape[1] != outputs and not classes):
        return Y
    if weight is not None:
        if weight.size != x.shape[0]:
            return WEIGHT
        if overlap(workspace, weight):
            return OVERLAP
    return OVERLAP if overlap(workspace, y) else 0


@kernel
def _result(out, rows, columns, params, x, workspace):
    """A fault of a matrix that is overwritten."""
    if out.shape[0] != rows or out.shape[1] != columns:
        return OUT
    return _apart(out, params, x, workspace)


@kernel
def _vector(out, params, x, workspace):
    """A fault of an array like the parameters."""
    return OUT if out.size != params.size else _apart(out, params, x, workspace)


@kernel
def _apart(out, params, x, workspace):
    return OVERLAP if overlap(out, params) or overlap(out, x) or overlap(out, workspace) else 0


@entry_point
def forward(layers, params, x, out, workspace):
    """`kernels.forward`, checked."""
    refuse(of_layers(layers, params))
    rows, outputs = x.shape[0], layers[layers.size - 1].units
    refuse(_arrays(layers, params, x, workspace, workspace_size(layers, rows)))
    refuse(_result(out, rows, outputs, params, x, workspace))
    functions.forward(layers, params, x, out, workspace)


@entry_point
def loss(layers, objectives, params, x, y, weight, workspace):
    """`kernels.loss`, checked."""
    _refuse_network(layers, params, x, workspace)
    refuse(_targets(layers, objectives, x, y, weight, workspace))
    return functions.loss(layers, objectives, params, x, y, weight, workspace)


@entry_point
def loss_and_gradient(layers, objectives, params, x, y, weight, gradient, workspace):
    """`kernels.loss_and_gradient`, checked."""
    _refuse_gradient(layers, objectives, params, x, y, weight, gradient, workspace)
    return functions.loss_and_gradient(
        layers, objectives, params, x, y, weight, gradient, workspace
    )


@kernel
def _refuse_gradient(layers, objectives, params, x, y, weight, gradient, workspace):
    _refuse_network(layers, params, x, workspace)
    refuse(_targets(layers, objectives, x, y, weight, workspace))
    refuse(_vector(gradient, params, x, workspace))
    refuse(OVERLAP if overlap(gradient, y) or overlap(gradient, weight) else 0)


@entry_point
def vjp(layers, params, x, dL_dy, dL_dx, gradient, workspace):
    """`kernels.vjp`, checked."""
    rows = x.shape[0]
    _refuse_network(layers, params, x, workspace)
    outputs = layers[layers.size - 1].units
    refuse(Y if dL_dy.shape[0] != rows or dL_dy.shape[1] != outputs else 0)
    if dL_dx.size > 0:
        refuse(_result(dL_dx, rows, layers[0].inputs, params, x, workspace))
    if gradient.size > 0:
        refuse(_vector(gradient, params, x, workspace))
    shared = overlap(dL_dy, workspace) or overlap(dL_dy, dL_dx) or overlap(dL_dy, gradient)
    refuse(OVERLAP if shared or overlap(dL_dx, gradient) else 0)
    functions.vjp(layers, params, x, dL_dy, dL_dx, gradient, workspace)


@entry_point
def jacobian(layers, params, x, out, workspace):
    """`kernels.jacobian`, checked."""
    _refuse_jacobian(layers, params, x, out, x.shape[1], workspace)
    functions.jacobian(layers, params, x, out, workspace)


@entry_point
def parameter_jacobian(layers, params, x, out, workspace):
    """`kernels.parameter_jacobian`, checked."""
    _refuse_jacobian(layers, params, x, out, params.size, workspace)
    functions.parameter_jacobian(layers, params, x, out, workspace)


@kernel
def _refuse_jacobian(layers, params, x, out, columns, workspace):
    rows = x.shape[0]
    _refuse_network(layers, params, x, workspace)
    outputs = layers[layers.size - 1].units
    refuse(_result(out, rows * outputs, columns, params, x, workspace))


@entry_point
def per_sample_gradients(layers, objectives, params, x, y, out, workspace):
    """`kernels.per_sample_gradients`, checked."""
    rows = x.shape[0]
    _refuse_network(layers, params, x, workspace)
    refuse(_targets(layers, objectives, x, y, None, workspace))
    refuse(_result(out, rows, params.size, params, x, workspace))
    refuse(OVERLAP if overlap(out, y) else 0)
    functions.per_sample_gradients(layers, objectives, params, x, y, out, workspace)


@entry_point
def hessian_vector_product(layers, objectives, params, v, x, y, weight, out, workspace):
    """`kernels.hessian_vector_product`, checked."""
    _refuse_product(layers, objectives, params, v, x, y, weight, out, workspace)
    functions.hessian_vector_product(layers, objectives, params, v, x, y, weight, out, workspace)


@entry_point
def gauss_newton_vector_product(layers, objectives, params, v, x, y, weight, out, workspace):
    """`kernels.gauss_newton_vector_product`, checked."""
    _refuse_product(layers, objectives, params, v, x, y, weight, out, workspace)
    functions.gauss_newton_vector_product(
        layers, objectives, params, v, x, y, weight, out, workspace
    )


@kernel
def _refuse_product(layers, objectives, params, v, x, y, weight, out, workspace):
    _refuse_network(layers, params, x, workspace)
    refuse(_targets(layers, objectives, x, y, weight, workspace))
    refuse(_vector(out, params, x, workspace))
    refuse(OUT if v.size != params.size else 0)
    shared = overlap(v, out) or overlap(v, workspace) or overlap(out, y)
    refuse(OVERLAP if shared or overlap(out, weight) else 0)


@entry_point
def update(optimizer, params, gradient):
    """`kernels.update`, checked."""
    _refuse_optimizer(optimizer, params, gradient)
    functions.update(optimizer, params, gradient)


@kernel
def _refuse_optimizer(optimizer, params, gradient):
    state, code = optimizer.state, optimizer.code
    known = 0 <= code < len(SLOTS)
    fits = known and state.shape[0] == SLOTS[code] and optimizer.settings.size == COUNTS[code]
    fits = fits and (state.shape[0] == 0 or state.shape[1] == params.size)
    refuse(0 if fits else OPTIMIZER)
    refuse(0 if gradient.size == params.size else OUT)
    shared = overlap(gradient, params) or overlap(state, params) or overlap(state, gradient)
    refuse(OVERLAP if shared else 0)


@kernel
def _refuse_step(params, x, y, weight):
    """A step reads x and y while it writes the parameters."""
    refuse(OVERLAP if overlap(params, x) or overlap(params, y) or overlap(params, weight) else 0)


@entry_point
def training_step(layers, objectives, params, x, y, weight, optimizer, gradient, workspace):
    """`kernels.training_step`, checked."""
    _refuse_gradient(layers, objectives, params, x, y, weight, gradient, workspace)
    _refuse_step(params, x, y, weight)
    _refuse_optimizer(optimizer, params, gradient)
    state = optimizer.state
    shared = overlap(state, workspace) or overlap(state, x) or overlap(state, y)
    refuse(OVERLAP if shared or overlap(state, weight) else 0)
    return functions.training_step(
        layers, objectives, params, x, y, weight, optimizer, gradient, workspace
    )


@entry_point
def sgd_step(layers, objectives, params, x, y, weight, learning_rate, workspace):
    """`kernels.sgd_step`, checked."""
    _refuse_network(layers, params, x, workspace)
    refuse(_targets(layers, objectives, x, y, weight, workspace))
    _refuse_step(params, x, y, weight)
    return functions.sgd_step(layers, objectives, params, x, y, weight, learning_rate, workspace)
