"""Parameters under PyTorch's names, from and to mappings; PyTorch is not needed.

A layer is a Linear and the module of its activation, so that layer l has number 2 l in an
`nn.Sequential`.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from flatprop.arrays import Array
from flatprop.interchange.parameters import assign
from flatprop.network import Network


def state_dict(network: Network) -> dict[str, Array]:
    """The parameters as those of an `nn.Sequential` of Linear and activation modules.

    Parameters
    ----------
    network
        The network.

    Returns
    -------
    dict of str to ndarray
        Copies of the network's dtype: "0.weight" (units, inputs), "0.bias" (units,),
        "2.weight", ..., as `to_torch(network).state_dict()` has them.
    """
    arrays = {}
    for number, (W, b) in enumerate(zip(network.weights, network.biases, strict=True)):
        arrays[f"{2 * number}.weight"] = np.array(W.T, order="C")
        arrays[f"{2 * number}.bias"] = b.copy()
    return arrays


def load_state_dict(network: Network, mapping: Mapping[str, Any]) -> None:
    """Copy the parameters of a PyTorch model of Linear layers into a network.

    Activations and loss remain those of the network.

    Parameters
    ----------
    network
        The network; unchanged if anything does not fit.
    mapping
        What `state_dict()` of a module gives, or arrays under such names: ".weight"
        (units, inputs) and ".bias" (units,) for every layer, whatever stands before these.
        Layers are taken by the numbers in their names where these differ in nothing else
        ("net.0", "net.2"), otherwise in the order of the mapping. Converted to the network's
        dtype.

    Raises
    ------
    TypeError, ValueError
        If the mapping has other entries, more layers or fewer, other shapes, or holds anything
        but finite numbers.
    """
    if not isinstance(mapping, Mapping):
        raise TypeError(
            f"load_state_dict takes a mapping of names to arrays, got {type(mapping).__name__}; "
            "of a module, pass module.state_dict()"
        )
    layers: dict[str, None] = {}
    for key in mapping:
        prefix, found, kind = str(key).rpartition(".")
        if kind not in ("weight", "bias"):
            raise ValueError(
                f"the mapping holds {key!r}, which a Linear layer does not have; only .weight "
                "and .bias have a counterpart"
            )
        layers[prefix + found] = None
    if len(layers) != len(network.dense):
        raise ValueError(
            f"the mapping holds {len(layers)} layers ({', '.join(layers)}), but the network has "
            f"{len(network.dense)}: {network!r}"
        )
    names = [layer + kind for layer in _in_order(list(layers)) for kind in ("weight", "bias")]
    missing = [name for name in names if name not in mapping]
    if missing:
        raise ValueError(
            f"the mapping lacks {', '.join(missing)}; for layers without bias add zeros"
        )
    assign(network, ((name, array_of(mapping[name])) for name in names), transposed=True)


def _in_order(layers: list[str]) -> list[str]:
    """Layers by the numbers in their names, where the names differ in nothing else."""
    if len({re.sub(r"\d+", "#", layer) for layer in layers}) > 1:
        return layers
    return sorted(layers, key=lambda layer: [int(part) for part in re.findall(r"\d+", layer)])


def array_of(value: Any) -> Any:
    """A tensor as an array; NumPy has no bfloat16, and float64 holds every other kind."""
    return value.detach().cpu().double().numpy() if hasattr(value, "detach") else value
