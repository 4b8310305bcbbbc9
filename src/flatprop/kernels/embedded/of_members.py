"""What compiled code calls for many networks of one architecture at once."""

from flatprop.kernels.compile import entry_point
from flatprop.kernels.embedded import functions


@entry_point
def forward_each(layers, params, x, out, workspace):
    """out (members, outputs) ← the outputs of member i for row i of x (members, inputs), each.

    `params` is (members, parameters), as ``ens.params``. The workspace is that of `forward` for
    one row: ``workspace_size(layers, 1)`` numbers.
    """
    for i in range(params.shape[0]):
        functions.forward(layers, params[i], x[i : i + 1], out[i : i + 1], workspace)
