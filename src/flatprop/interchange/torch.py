"""Networks from and to modules of PyTorch."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from flatprop.formulas.loss import Loss
from flatprop.formulas.losses import LOSSES
from flatprop.interchange.arrays_in import assign
from flatprop.interchange.state_dicts import array_of
from flatprop.interchange.torch_layers import MODULES, Found, class_of, residual_class
from flatprop.kernels.network.normalised_rows import EPSILON
from flatprop.model.dense_layer import Dense
from flatprop.model.dropout_layer import Dropout
from flatprop.model.layer import Layer
from flatprop.model.layer_normalisation import LayerNorm
from flatprop.model.model import checked_model
from flatprop.model.residual_block import ResidualBegin, ResidualEnd
from flatprop.network import Network
from flatprop.validation.arrays import Array

if TYPE_CHECKING:
    from torch import nn


def to_torch(network: Network) -> "nn.Sequential":
    """The network as a PyTorch module, which computes what `predict` does.

    Parameters
    ----------
    network
        The network.

    Returns
    -------
    torch.nn.Sequential
        Linear and activation modules, LayerNorm, Dropout, and for a residual block a Sequential
        that adds its inputs; with copies of the parameters, of the network's dtype. A
        hidden layer without activation has an Identity; a last one has nothing. The loss is
        left to PyTorch: of a softmax or sigmoid last layer its losses mostly take the logits.

    Raises
    ------
    ImportError
        If PyTorch is missing: ``pip install 'flatprop[torch]'``.
    ValueError
        If an activation is your own function.
    """
    checked_model("to_torch", network)
    torch = _imported("to_torch")
    for number, layer in enumerate(network.dense):
        dense = isinstance(layer, Dense)
        if dense and (callable(layer.activation) or layer.activation not in MODULES):
            raise ValueError(
                f"to_torch cannot express the activation {layer.name} of layers[{number}]: "
                f"PyTorch has modules for {', '.join(MODULES)}"
            )
    blocks: list[list[Any]] = [[]]
    pairs = iter(network.parameter_pairs())
    for layer in network.dense:
        if isinstance(layer, ResidualBegin):
            blocks.append([])
        elif isinstance(layer, ResidualEnd):
            block = residual_class()(*blocks.pop())
            blocks[-1].append(block)
        elif isinstance(layer, Dropout):
            blocks[-1].append(torch.nn.Dropout(layer.rate))
        else:
            blocks[-1] += _with_parameters(layer, *next(pairs))
    (modules,) = blocks
    if network.dense[-1].activation == "identity":
        modules.pop()
    sequential: nn.Sequential = torch.nn.Sequential(*modules)
    return sequential


def _with_parameters(layer: Layer, weight: Array, bias: Array) -> list[Any]:
    """The modules of a layer that has parameters."""
    import torch

    dtype = getattr(torch, weight.dtype.name)
    if isinstance(layer, LayerNorm):
        module, more = torch.nn.LayerNorm(layer.units, eps=EPSILON, dtype=dtype), []
    else:
        # skip_init leaves PyTorch's random state as it was
        module = torch.nn.utils.skip_init(torch.nn.Linear, *weight.shape, dtype=dtype)
        more = [class_of(layer.name)(**MODULES[layer.name][1])]
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(weight.T.copy()))
        module.bias.copy_(torch.from_numpy(bias.copy()))
    return [module, *more]


def from_torch(
    module: "nn.Module",
    loss: str | Loss | Callable[[float, float], tuple[float, float]] = "mse",
    dtype: DTypeLike | None = None,
) -> Network:
    """A network that computes what a PyTorch module does in evaluation.

    Parameters
    ----------
    module
        A Linear, or a Sequential of Linear layers, each followed by an activation or none, with
        LayerNorm and Dropout between them, and residual blocks of `to_torch`.
        Sequentials in it are opened. Identity, AlphaDropout and Flatten are passed over, and so
        is a Dropout behind the last Linear; `predict` takes what Flatten gives, one row per
        sample. A Dropout before the activation of its layer comes behind it. A Linear without bias
        becomes a layer whose biases are 0. `fit` would train these, unless `trainable` leaves
        them out.
    loss
        As for `Network`. "cross_entropy" needs a Softmax at the end of the module,
        "binary_cross_entropy" a Sigmoid: append it to a module that gives logits.
    dtype
        "float32" or "float64"; None takes the module's.

    Returns
    -------
    Network
        With copies of the parameters.

    Raises
    ------
    ImportError
        If PyTorch is missing.
    TypeError, ValueError
        If a module, or a setting of one, has no counterpart, such as a LeakyReLU with another
        slope than 0.01, an ELU with another alpha than 1, or the approximate GELU; if sizes do
        not fit each other, or a parameter is NaN or infinite.
    """
    torch = _imported("from_torch")
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"from_torch takes a torch.nn.Sequential, got {type(module).__name__}")
    found = Found()
    found.look_through(module, "")
    if not found.linears:
        raise ValueError("the module has no Linear, of which a network is made")
    needed = getattr(LOSSES.get(loss) if isinstance(loss, str) else loss, "activation", None)
    while isinstance(found.layers[-1], Dropout):  # which changes nothing but a training
        found.layers.pop()
    if needed and found.layers[-1].activation == "identity":
        raise ValueError(
            f"the loss {loss!r} needs a {MODULES[needed][0]} at the end of the module; append it "
            "to one that gives logits: torch.nn.Sequential(module, torch.nn."
            f"{MODULES[needed][0]}({'dim=1' * (needed == 'softmax')}))"
        )
    network = Network(
        found.inputs, found.layers, loss, _dtype(found.trained) if dtype is None else dtype
    )
    arrays: list[tuple[str, Any]] = []
    for number, part in enumerate(found.trained):
        units = len(part.weight)
        bias = np.zeros(units) if part.bias is None else part.bias
        for what, value in (("weight", part.weight), ("bias", bias)):
            name = f"the {what} of {type(part).__name__} {number}"
            arrays.append((name, array_of(name, value)))
    assign(network, arrays, transposed=True)
    return network


def _dtype(modules: list[Any]) -> np.dtype[Any]:
    tensors = [tensor for module in modules for tensor in module.parameters()]
    kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors})
    if len(kinds) > 1 or kinds[0] not in ("float32", "float64"):
        raise ValueError(
            f'the module\'s parameters are {" and ".join(kinds)}; pass dtype="float32" or '
            'dtype="float64"'
        )
    return np.dtype(kinds[0])


def _imported(what: str) -> Any:
    try:
        import torch
    except ImportError:
        raise ImportError(f"{what} needs PyTorch: pip install 'flatprop[torch]'") from None
    return torch
