"""The walk back over the layers, through which all derivatives go.

The way forward is a loop of one statement, which stands where it is needed.
"""

from flatprop.kernels.compile import kernel
from flatprop.kernels.network.layer_kinds import backward
from flatprop.kernels.network.workspace import rest_of, slope_of


@kernel
def walk_back(layers, params, x, workspace, pass_on, at_layer, context):
    """From the last layer to the first: `pass_on` ∂L/∂z to the layer before, then `at_layer`.

    The layer before comes first, because `at_layer` may change W, which `pass_on` reads.
    """
    for l in range(layers.size - 1, -1, -1):
        if l > 0:
            pass_on(layers, l, params, x.shape[0], workspace, context)
        at_layer(layers, l, params, x, workspace, context)


@kernel
def in_place(layers, l, params, rows, workspace, context):
    """∂L/∂z of layer l - 1, in the place of its slope, from ∂L/∂z of layer l."""
    dL_dz, before = slope_of(layers, l, rows, workspace), slope_of(layers, l - 1, rows, workspace)
    backward(layers, l, params, dL_dz, before, workspace, rest_of(layers, rows, workspace))
