"""Networks so small that it pays to compile one's sizes into the code."""

from typing import Any, NamedTuple

from flatprop import checks
from flatprop.kernels.layout import OWN
from flatprop.kernels.specialized import functions
from flatprop.kernels.unrolled import Sizes
from flatprop.network import Network

MOST_PARAMETERS = 4096


class Specialized(NamedTuple):
    forward: Any
    loss_and_gradient: Any
    sgd_step: Any
    sgd_steps: Any


def specialize(network: Network, batch_size: int | None = None) -> Specialized:
    objective = network.objectives[0]
    sizes = Sizes(
        bits=8 * network.dtype.itemsize,
        units=(network.inputs, *network.layers["units"].tolist()),
        activations=tuple(network.layers["activation"].tolist()),
        loss=int(objective["loss"]),
        divisor=float(objective["divisor"]),
        from_logits=int(objective["from_logits"]),
        parameter=float(objective["parameter"]),
        rows=0 if batch_size is None else checks.count("batch_size", batch_size),
    )
    return Specialized(*functions(sizes.text()))
