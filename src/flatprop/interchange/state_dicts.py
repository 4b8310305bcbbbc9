"""Parameters under PyTorch's names, from and to mappings; PyTorch is not needed.

A layer is a Linear and the module of its activation, so that layer l has number 2 l in an
`nn.Sequential`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from flatprop.interchange.arrays_in import assign
from flatprop.model.dense_layer import Dense
from flatprop.model.dropout_layer import Dropout
from flatprop.model.model import checked_model
from flatprop.model.residual_block import ResidualBegin, ResidualEnd
from flatprop.network import Network
from flatprop.validation.arrays import Array


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
    checked_model("state_dict", network)
    arrays: dict[str, Array] = {}
    pairs = iter(network.parameter_pairs())
    before, number = [], 0  # of the blocks around a layer, and of its module in the innermost
    for layer in network.dense:
        if isinstance(layer, ResidualBegin):
            before.append(number)
            number = 0
        elif isinstance(layer, ResidualEnd):
            number = before.pop() + 1
        elif isinstance(layer, Dropout):
            number += 1
        else:
            name = ".".join(map(str, [*before, number]))
            weight, bias = next(pairs)
            arrays[f"{name}.weight"] = np.array(weight.T, order="C")
            arrays[f"{name}.bias"] = bias.copy()
            number += 2 if isinstance(layer, Dense) else 1
    return arrays


def load_state_dict(
    network: Network, mapping: Mapping[str, Any], layers: Sequence[str] | None = None
) -> None:
    """Copy the parameters of a PyTorch model of Linear and LayerNorm layers into a network.

    Activations and loss remain those of the network.

    Parameters
    ----------
    network
        The network; unchanged if anything does not fit.
    mapping
        What `state_dict()` of a module gives, or arrays under such names: ".weight"
        (units, inputs) and ".bias" (units,) for every layer, whatever stands before these.
        Converted to the network's dtype.
    layers
        What stands before ".weight" in the names, first layer first. None orders layers whose
        names differ in numbers only ("net.0", "net.2") by these numbers; other layers must
        have shapes that allow one order only.

    Raises
    ------
    TypeError, ValueError
        If the mapping has other entries, more layers or fewer, other shapes, or holds anything
        but finite numbers; if `layers` is needed, or does not name the layers of the mapping.
    """
    checked_model("load_state_dict", network)
    if not isinstance(mapping, Mapping):
        raise TypeError(
            f"load_state_dict takes a mapping of names to arrays, got {type(mapping).__name__}; "
            "of a module, pass module.state_dict()"
        )
    found: dict[str, None] = {}
    for key in mapping:
        prefix, _, kind = str(key).rpartition(".")
        if kind not in ("weight", "bias"):
            raise ValueError(
                f"the mapping holds {key!r}, which a Linear layer does not have; only .weight "
                "and .bias have a counterpart"
            )
        found[prefix] = None
    pairs = network.parameter_pairs()
    if len(found) != len(pairs):
        raise ValueError(
            f"the mapping holds {len(found)} layers ({', '.join(found)}), but the network has "
            f"{len(pairs)}: {network!r}"
        )
    names = [name for layer in found for name in _parameters(layer)]
    missing = [name for name in names if name not in mapping]
    if missing:
        raise ValueError(
            f"the mapping lacks {', '.join(missing)}; for layers without bias add zeros"
        )
    arrays = {name: array_of(name, mapping[name]) for name in names}
    if layers is None:
        layers = _in_order(network, arrays, list(found))
    elif isinstance(layers, str) or sorted(layers) != sorted(found):
        raise ValueError(f"layers must name {', '.join(found)} in their order, got {layers!r}")
    ordered = [name for layer in layers for name in _parameters(layer)]
    assign(network, ((name, arrays[name]) for name in ordered), transposed=True)


def _parameters(layer: str) -> tuple[str, str]:
    """The names of its weight and bias."""
    before = f"{layer}." if layer else ""
    return f"{before}weight", f"{before}bias"


def _in_order(network: Network, arrays: Mapping[str, Any], layers: list[str]) -> list[str]:
    """Layers by the numbers in their names; where other words differ too, as shapes fit."""
    if all(re.fullmatch(r"\d+(\.\d+)*", layer) for layer in layers):
        return sorted(layers, key=lambda layer: [int(part) for part in layer.split(".")])
    by_words: dict[str, list[str]] = {}
    for layer in layers:
        by_words.setdefault(re.sub(r"\d+", "#", layer), []).append(layer)
    groups = [
        sorted(group, key=lambda layer: [int(part) for part in re.findall(r"\d+", layer)])
        for group in by_words.values()
    ]
    if len(groups) == 1:
        return groups[0]
    shapes = {layer: np.shape(arrays[_parameters(layer)[0]]) for layer in layers}
    wanted = [weight.T.shape for weight, _ in network.parameter_pairs()]
    if sorted(shapes.values()) != sorted(wanted):
        return layers  # `assign` says what does not fit
    orders = list(islice(_fitting(groups, shapes, wanted), 2))
    if len(orders) > 1:
        raise ValueError(
            f"which of the layers {', '.join(layers)} comes first is not clear: neither numbers "
            "in their names nor their shapes tell; name them from the first to the last, "
            f"load_state_dict(net, mapping, layers={layers})"
        )
    return orders[0] if orders else layers


def _fitting(
    groups: list[list[str]], shapes: Mapping[str, tuple[int, ...]], wanted: list[tuple[int, ...]]
) -> Iterator[list[str]]:
    """Orders of all layers, each group in its own, in which the shapes are those wanted."""
    if not wanted:
        yield []
        return
    for place, group in enumerate(groups):
        if group and shapes[group[0]] == wanted[0]:
            rest = [*groups[:place], group[1:], *groups[place + 1 :]]
            for order in _fitting(rest, shapes, wanted[1:]):
                yield [group[0], *order]


def array_of(name: str, value: Any) -> Any:
    """A tensor as an array; NumPy has no bfloat16, and float64 holds every other real kind."""
    if not hasattr(value, "detach"):
        return value
    if type(value).__name__.startswith("Uninitialized") or value.is_meta:
        raise ValueError(
            f"{name} has no values yet: it is on the device meta, or of a lazy module; load "
            "them, or run the module once"
        )
    if value.is_complex():
        raise TypeError(f"{name} holds complex numbers; a network has real parameters")
    return value.detach().cpu().double().numpy()
