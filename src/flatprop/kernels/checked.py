"""The functions of `flatprop.kernels`, each with a check of its arguments before it.

They take the same arguments, and raise a ValueError before anything is changed where an
array has not the shape that the network and x ask for, where the workspace is too small,
or where an array that is overwritten overlaps one that is read.
"""

from flatprop.formulas.optimizers import RULES, SETTINGS
from flatprop.kernels import embedded
from flatprop.kernels.contract import expect_matrix, overlap
from flatprop.kernels.embedded import gradient_workspace_size, workspace_size
from flatprop.kernels.jit import entry_point, kernel
from flatprop.kernels.layout import CROSS_ENTROPY

_PARAMS, _X, _Y, _WEIGHT, _OUT, _WORKSPACE, _OVERLAP, _OPTIMIZER = range(1, 9)

SLOTS = tuple(rule.slots for rule in RULES)
COUNTS = tuple(len(SETTINGS) + len(rule.optimizer.settings) for rule in RULES)
"""Rows of the state and numbers of settings of every update, by its code."""


@kernel
def _refuse(fault):
    """Raise what a fault stands for; compiled code takes constant messages only."""
    if fault == _PARAMS:
        raise ValueError("flatprop: layers and params belong to different networks")
    if fault == _X:
        raise ValueError("flatprop: x must be (rows, inputs), with one row at least")
    if fault == _Y:
        raise ValueError(
            "flatprop: y or dL_dy must be (rows, outputs), or y (rows, 1) for class indices"
        )
    if fault == _WEIGHT:
        raise ValueError("flatprop: weight must be (rows,) or None")
    if fault == _OUT:
        raise ValueError(
            "flatprop: v or an array that is overwritten has not the shape that the docstring of "
            "the function in flatprop.kernels says"
        )
    if fault == _OPTIMIZER:
        raise ValueError(
            "flatprop: the optimizer's settings or state do not fit; make it with "
            "fp.Adam(...).start(net.params), or of another class"
        )
    if fault == _WORKSPACE:
        raise ValueError(
            "flatprop: the workspace is smaller than workspace_size(layers, rows) for forward, "
            "gradient_workspace_size(layers, rows) for everything else"
        )
    if fault == _OVERLAP:
        raise ValueError(
            "flatprop: an array that is overwritten overlaps the workspace or one that is read"
        )


@kernel
def _network(layers, params, x, workspace, size):
    """A fault of what every call has."""
    expect_matrix(x, params)
    last = layers[layers.size - 1]
    if params.size != last.biases + last.units:
        return _PARAMS
    if x.shape[0] < 1 or x.shape[1] != layers[0].inputs:
        return _X
    if workspace.size < size:
        return _WORKSPACE
    if overlap(workspace, params) or overlap(workspace, x):
        return _OVERLAP
    return 0


@kernel
def _targets(layers, objectives, x, y, weight, workspace):
    """A fault of y and the weights."""
    outputs = layers[layers.size - 1].units
    classes = objectives[0].loss == CROSS_ENTROPY and y.shape[1] == 1
    if y.shape[0] != x.shape[0] or (y.shape[1] != outputs and not classes):
        return _Y
    if weight is not None:
        if weight.size != x.shape[0]:
            return _WEIGHT
        if overlap(workspace, weight):
            return _OVERLAP
    return _OVERLAP if overlap(workspace, y) else 0


@kernel
def _result(out, rows, columns, params, x, workspace):
    """A fault of a matrix that is overwritten."""
    if out.shape[0] != rows or out.shape[1] != columns:
        return _OUT
    return _apart(out, params, x, workspace)


@kernel
def _vector(out, params, x, workspace):
    """A fault of an array like the parameters."""
    return _OUT if out.size != params.size else _apart(out, params, x, workspace)


@kernel
def _apart(out, params, x, workspace):
    return _OVERLAP if overlap(out, params) or overlap(out, x) or overlap(out, workspace) else 0


@entry_point
def forward(layers, params, x, out, workspace):
    """`kernels.forward`, checked."""
    rows, outputs = x.shape[0], layers[layers.size - 1].units
    _refuse(_network(layers, params, x, workspace, workspace_size(layers, rows)))
    _refuse(_result(out, rows, outputs, params, x, workspace))
    embedded.forward(layers, params, x, out, workspace)


@entry_point
def loss(layers, objectives, params, x, y, weight, workspace):
    """`kernels.loss`, checked."""
    size = gradient_workspace_size(layers, x.shape[0])
    _refuse(_network(layers, params, x, workspace, size))
    _refuse(_targets(layers, objectives, x, y, weight, workspace))
    return embedded.loss(layers, objectives, params, x, y, weight, workspace)


@entry_point
def loss_and_gradient(layers, objectives, params, x, y, weight, gradient, workspace):
    """`kernels.loss_and_gradient`, checked."""
    _refuse_gradient(layers, objectives, params, x, y, weight, gradient, workspace)
    return embedded.loss_and_gradient(
        layers, objectives, params, x, y, weight, gradient, workspace
    )


@kernel
def _refuse_gradient(layers, objectives, params, x, y, weight, gradient, workspace):
    size = gradient_workspace_size(layers, x.shape[0])
    _refuse(_network(layers, params, x, workspace, size))
    _refuse(_targets(layers, objectives, x, y, weight, workspace))
    _refuse(_vector(gradient, params, x, workspace))
    _refuse(_OVERLAP if overlap(gradient, y) or overlap(gradient, weight) else 0)


@entry_point
def vjp(layers, params, x, dL_dy, dL_dx, gradient, workspace):
    """`kernels.vjp`, checked."""
    rows = x.shape[0]
    size = gradient_workspace_size(layers, rows)
    _refuse(_network(layers, params, x, workspace, size))
    outputs = layers[layers.size - 1].units
    _refuse(_Y if dL_dy.shape[0] != rows or dL_dy.shape[1] != outputs else 0)
    if dL_dx.size > 0:
        _refuse(_result(dL_dx, rows, layers[0].inputs, params, x, workspace))
    if gradient.size > 0:
        _refuse(_vector(gradient, params, x, workspace))
    shared = overlap(dL_dy, workspace) or overlap(dL_dy, dL_dx) or overlap(dL_dy, gradient)
    _refuse(_OVERLAP if shared or overlap(dL_dx, gradient) else 0)
    embedded.vjp(layers, params, x, dL_dy, dL_dx, gradient, workspace)


@entry_point
def jacobian(layers, params, x, out, workspace):
    """`kernels.jacobian`, checked."""
    _refuse_jacobian(layers, params, x, out, layers[0].inputs, workspace)
    embedded.jacobian(layers, params, x, out, workspace)


@entry_point
def parameter_jacobian(layers, params, x, out, workspace):
    """`kernels.parameter_jacobian`, checked."""
    _refuse_jacobian(layers, params, x, out, params.size, workspace)
    embedded.parameter_jacobian(layers, params, x, out, workspace)


@kernel
def _refuse_jacobian(layers, params, x, out, columns, workspace):
    rows = x.shape[0]
    _refuse(_network(layers, params, x, workspace, gradient_workspace_size(layers, rows)))
    outputs = layers[layers.size - 1].units
    _refuse(_result(out, rows * outputs, columns, params, x, workspace))


@entry_point
def per_sample_gradients(layers, objectives, params, x, y, out, workspace):
    """`kernels.per_sample_gradients`, checked."""
    rows = x.shape[0]
    _refuse(_network(layers, params, x, workspace, gradient_workspace_size(layers, rows)))
    _refuse(_targets(layers, objectives, x, y, None, workspace))
    _refuse(_result(out, rows, params.size, params, x, workspace))
    _refuse(_OVERLAP if overlap(out, y) else 0)
    embedded.per_sample_gradients(layers, objectives, params, x, y, out, workspace)


@entry_point
def hessian_vector_product(layers, objectives, params, v, x, y, weight, out, workspace):
    """`kernels.hessian_vector_product`, checked."""
    _refuse_product(layers, objectives, params, v, x, y, weight, out, workspace)
    embedded.hessian_vector_product(layers, objectives, params, v, x, y, weight, out, workspace)


@entry_point
def gauss_newton_vector_product(layers, objectives, params, v, x, y, weight, out, workspace):
    """`kernels.gauss_newton_vector_product`, checked."""
    _refuse_product(layers, objectives, params, v, x, y, weight, out, workspace)
    embedded.gauss_newton_vector_product(
        layers, objectives, params, v, x, y, weight, out, workspace
    )


@kernel
def _refuse_product(layers, objectives, params, v, x, y, weight, out, workspace):
    size = gradient_workspace_size(layers, x.shape[0])
    _refuse(_network(layers, params, x, workspace, size))
    _refuse(_targets(layers, objectives, x, y, weight, workspace))
    _refuse(_vector(out, params, x, workspace))
    _refuse(_OUT if v.size != params.size else 0)
    shared = overlap(v, out) or overlap(v, workspace) or overlap(out, y)
    _refuse(_OVERLAP if shared or overlap(out, weight) else 0)


@entry_point
def update(optimizer, params, gradient):
    """`kernels.update`, checked."""
    _refuse_optimizer(optimizer, params, gradient)
    embedded.update(optimizer, params, gradient)


@kernel
def _refuse_optimizer(optimizer, params, gradient):
    state, code = optimizer.state, optimizer.code
    known = 0 <= code < len(SLOTS)
    fits = known and state.shape[0] == SLOTS[code] and optimizer.settings.size == COUNTS[code]
    fits = fits and (state.shape[0] == 0 or state.shape[1] == params.size)
    _refuse(0 if fits else _OPTIMIZER)
    _refuse(0 if gradient.size == params.size else _OUT)
    shared = overlap(gradient, params) or overlap(state, params) or overlap(state, gradient)
    _refuse(_OVERLAP if shared else 0)


@kernel
def _refuse_step(params, x, y, weight):
    """A step reads x and y while it writes the parameters."""
    _refuse(_OVERLAP if overlap(params, x) or overlap(params, y) or overlap(params, weight) else 0)


@entry_point
def training_step(layers, objectives, params, x, y, weight, optimizer, gradient, workspace):
    """`kernels.training_step`, checked."""
    _refuse_gradient(layers, objectives, params, x, y, weight, gradient, workspace)
    _refuse_step(params, x, y, weight)
    _refuse_optimizer(optimizer, params, gradient)
    state = optimizer.state
    shared = overlap(state, workspace) or overlap(state, x) or overlap(state, y)
    _refuse(_OVERLAP if shared or overlap(state, weight) else 0)
    return embedded.training_step(
        layers, objectives, params, x, y, weight, optimizer, gradient, workspace
    )


@entry_point
def sgd_step(layers, objectives, params, x, y, weight, learning_rate, workspace):
    """`kernels.sgd_step`, checked."""
    size = gradient_workspace_size(layers, x.shape[0])
    _refuse(_network(layers, params, x, workspace, size))
    _refuse(_targets(layers, objectives, x, y, weight, workspace))
    _refuse_step(params, x, y, weight)
    return embedded.sgd_step(layers, objectives, params, x, y, weight, learning_rate, workspace)
