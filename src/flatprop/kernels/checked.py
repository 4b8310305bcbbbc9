"""The functions of `flatprop.kernels`, each with a check of its arguments before it.

They take the same arguments. Before anything is read or changed they raise a ValueError if

- the records of layers and loss describe no network, or one with other parameters than `params`,
- an array has another shape than the network and x ask for,
- the workspace is too small, or
- an array that is overwritten overlaps one that is read.

Records may be made by hand, damaged, or of another process. If a record holds the address of a
user's own function, it must have been made in this process. A record from C says CUSTOM instead,
and its address is trusted.
"""

from flatprop.kernels.compile import entry_point
from flatprop.kernels.embedded import faces
from flatprop.kernels.embedded.functions import (
    derivatives_workspace_size as derivatives_workspace_size,
)
from flatprop.kernels.embedded.functions import (
    gradient_workspace_size as gradient_workspace_size,
)
from flatprop.kernels.embedded.functions import (
    hessian_workspace_size as hessian_workspace_size,
)
from flatprop.kernels.embedded.functions import (
    levenberg_marquardt_workspace_size as levenberg_marquardt_workspace_size,
)
from flatprop.kernels.embedded.functions import workspace_size as workspace_size

forward = faces.checked("forward", __name__)
loss = faces.checked("loss", __name__)
loss_and_gradient = faces.checked("loss_and_gradient", __name__)
vjp = faces.checked("vjp", __name__)
jacobian = faces.checked("jacobian", __name__)
parameter_jacobian = faces.checked("parameter_jacobian", __name__)
per_sample_gradients = faces.checked("per_sample_gradients", __name__)
hessian_vector_product = faces.checked("hessian_vector_product", __name__)
gauss_newton_vector_product = faces.checked("gauss_newton_vector_product", __name__)
update = faces.checked("update", __name__)
training_step = faces.checked("training_step", __name__)
sgd_step = faces.checked("sgd_step", __name__)
levenberg_marquardt = faces.checked("levenberg_marquardt", __name__)
derivatives = faces.checked("derivatives", __name__)
hessian = faces.checked("hessian", __name__)
derivatives_vjp = faces.checked("derivatives_vjp", __name__)


@entry_point
def forward_each(layers, params, x, out, workspace):
    """`kernels.forward_each`, checked."""
    if not params.shape[0] == x.shape[0] == out.shape[0]:
        raise ValueError("flatprop: params, x and out must have one row for each member")
    for i in range(params.shape[0]):
        forward(layers, params[i], x[i : i + 1], out[i : i + 1], workspace)
