"""What is wrong with a call of a function of `checked`: a number, and the error of each.

The records of layers and of the loss are checked here.
"""

from math import inf

from flatprop.formulas.activations import ACTIVATIONS
from flatprop.formulas.losses import LOSSES
from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.addresses import callable_here
from flatprop.kernels.network.records import SOFTMAX

PARAMS, X, Y, WEIGHT, OUT, WORKSPACE, OVERLAP, OPTIMIZER = range(1, 9)
LAYERS, ACTIVATION, OBJECTIVE, ADDRESS = range(9, 13)

N_ACTIVATIONS, N_LOSSES = len(ACTIVATIONS), len(LOSSES)
NEEDED = tuple(
    -1 if loss.activation is None else ACTIVATIONS[loss.activation].code
    for loss in LOSSES.values()
)
"""The activation of the last layer from whose z every loss is computed, -1 for none."""


@kernel
def refuse(fault):
    """Raise what a fault stands for; compiled code takes constant messages only."""
    if fault == 0:
        return
    if fault == LAYERS:
        raise ValueError(
            "flatprop: the records of layers describe no network: they lie in `params` one after "
            "the other, and a layer has as many inputs as the one before has units"
        )
    if fault == ACTIVATION:
        raise ValueError(
            "flatprop: a record of layers has an unknown activation, a softmax before the last "
            "layer, or a function beside the code of a formula"
        )
    if fault == OBJECTIVE:
        raise ValueError(
            "flatprop: objectives must be one record of a known loss that suits the activation of "
            "the last layer"
        )
    if fault == ADDRESS:
        raise ValueError(
            "flatprop: a record of a function of your own was made in another process, or holds "
            "no address; send the network instead, and take net.layers and net.objectives there"
        )
    if fault == PARAMS:
        raise ValueError("flatprop: layers and params belong to different networks")
    if fault == X:
        raise ValueError("flatprop: x must be (rows, inputs), with one row at least")
    if fault == Y:
        raise ValueError(
            "flatprop: y or dL_dy must be (rows, outputs), or y (rows, 1) for class indices"
        )
    if fault == WEIGHT:
        raise ValueError("flatprop: weight must be (rows,) or None")
    if fault == OUT:
        raise ValueError(
            "flatprop: v or an array that is overwritten has not the shape that the docstring of "
            "the function in flatprop.kernels says"
        )
    if fault == OPTIMIZER:
        raise ValueError(
            "flatprop: the optimizer's settings or state do not fit; make it with "
            "fp.Adam(...).start(net.params), or of another class"
        )
    if fault == WORKSPACE:
        raise ValueError(
            "flatprop: the workspace is smaller than workspace_size(layers, rows) for forward, "
            "gradient_workspace_size(layers, rows) for everything else"
        )
    if fault == OVERLAP:
        raise ValueError(
            "flatprop: an array that is overwritten overlaps the workspace or one that is read"
        )


@kernel
def of_layers(layers, params):
    """A fault of the records of the layers, or of their parameters."""
    if layers.size < 1:
        return LAYERS
    inputs, start, place = layers[0].inputs, 0, 0
    for l in range(layers.size):
        layer = layers[l]
        if layer.inputs != inputs or inputs < 1 or layer.units < 1:
            return LAYERS
        if layer.W_start != start or layer.units_before != place:
            return LAYERS
        # In float64, which does not overflow; below 2**53 it is exact.
        if start + (float(inputs) + 1.0) * float(layer.units) > params.size:
            return PARAMS
        biases = start + inputs * layer.units
        if layer.b_start != biases:
            return LAYERS
        code = layer.activation
        if code < 0:
            if not callable_here(code, layer.function):
                return ADDRESS
        elif code >= N_ACTIVATIONS or layer.function != 0:
            return ACTIVATION
        if code == SOFTMAX and l < layers.size - 1:
            return ACTIVATION
        inputs, start, place = layer.units, biases + layer.units, place + layer.units
    return 0 if start == params.size else PARAMS


@kernel
def of_loss(layers, objectives):
    """A fault of the record of the loss."""
    if objectives.size != 1:
        return OBJECTIVE
    loss_record = objectives[0]
    code, logits = loss_record.loss, loss_record.from_logits
    if not 0.0 <= loss_record.divisor < inf:
        return OBJECTIVE
    if code < 0:
        if not callable_here(code, loss_record.function):
            return ADDRESS
        return 0 if logits == 0 else OBJECTIVE
    if code >= N_LOSSES or loss_record.function != 0:
        return OBJECTIVE
    needed = NEEDED[code]
    if needed < 0:
        return 0 if logits == 0 else OBJECTIVE
    fits = logits == 1 and layers[layers.size - 1].activation == needed
    return 0 if fits else OBJECTIVE
