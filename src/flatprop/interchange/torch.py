"""Networks from and to modules of PyTorch."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from flatprop.formulas.loss import Loss
from flatprop.formulas.losses import LOSSES
from flatprop.interchange.arrays_in import assign
from flatprop.interchange.state_dicts import array_of
from flatprop.model.dense_layer import Dense
from flatprop.model.model import checked_model
from flatprop.network import Network

if TYPE_CHECKING:
    from torch import nn

MODULES: dict[str, tuple[str, dict[str, Any]]] = {
    "identity": ("Identity", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "relu": ("ReLU", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.01}),
    "elu": ("ELU", {"alpha": 1.0}),
    "selu": ("SELU", {}),
    "gelu": ("GELU", {"approximate": "none"}),
    "silu": ("SiLU", {}),
    "mish": ("Mish", {}),
    # from the threshold on it is z: by default from 20, which is off by 2e-9 there
    "softplus": ("Softplus", {"beta": 1.0, "threshold": 40.0}),
    "softsign": ("Softsign", {}),
    "exp": ("Exp", {}),
    "softmax": ("Softmax", {"dim": 1}),
}
"""The class of `torch.nn` (or of `torch_modules`) for each activation, and its settings."""


def to_torch(network: Network) -> "nn.Sequential":
    """The network as a PyTorch module, which computes what `predict` does.

    Parameters
    ----------
    network
        The network.

    Returns
    -------
    torch.nn.Sequential
        Linear and activation modules, with copies of the parameters, of the network's dtype. A
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
        if callable(layer.activation) or layer.activation not in MODULES:
            raise ValueError(
                f"to_torch cannot express the activation {layer.name} of layers[{number}]: "
                f"PyTorch has modules for {', '.join(MODULES)}"
            )
    modules = []
    dtype = getattr(torch, network.dtype.name)
    for layer, W, b in zip(network.dense, network.weights, network.biases, strict=True):
        # skip_init leaves PyTorch's random state as it was
        linear = torch.nn.utils.skip_init(torch.nn.Linear, *W.shape, dtype=dtype)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T.copy()))
            linear.bias.copy_(torch.from_numpy(b.copy()))
        modules += [linear, _class_of(layer.name)(**MODULES[layer.name][1])]
    if network.dense[-1].activation == "identity":
        modules.pop()
    sequential: nn.Sequential = torch.nn.Sequential(*modules)
    return sequential


def from_torch(
    module: "nn.Module",
    loss: str | Loss | Callable[[float, float], tuple[float, float]] = "mse",
    dtype: DTypeLike | None = None,
) -> Network:
    """A network that computes what a PyTorch module does in evaluation.

    Parameters
    ----------
    module
        A Linear, or a Sequential of Linear layers, each followed by an activation or none.
        Sequentials in it are opened. Identity, Dropout, AlphaDropout and Flatten are passed
        over; `predict` takes what Flatten gives, one row per sample. A Linear without bias
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
    linears: list[Any] = []
    names: list[str] = []
    for place, part in _parts(module, ""):
        if type(part) is torch.nn.Linear:
            if linears and part.in_features != linears[-1].out_features:
                raise ValueError(
                    f"{place} takes {part.in_features} inputs, but the layer before it gives "
                    f"{linears[-1].out_features}"
                )
            linears.append(part)
            names.append("identity")  # until its activation is found
            continue
        name = _activation(place, part)
        if name == "identity":
            continue
        if not names or names[-1] != "identity":
            raise ValueError(
                f"{place} is a {type(part).__name__} that does not follow a Linear; a layer is a "
                "Linear and one activation"
            )
        names[-1] = name
    if not linears:
        raise ValueError("the module has no Linear, of which a network is made")
    needed = getattr(LOSSES.get(loss) if isinstance(loss, str) else loss, "activation", None)
    if needed and names[-1] == "identity":
        raise ValueError(
            f"the loss {loss!r} needs a {MODULES[needed][0]} at the end of the module; append it "
            "to one that gives logits: torch.nn.Sequential(module, torch.nn."
            f"{MODULES[needed][0]}({'dim=1' * (needed == 'softmax')}))"
        )
    network = Network(
        linears[0].in_features,
        [Dense(linear.out_features, name) for linear, name in zip(linears, names, strict=True)],
        loss,
        _dtype(linears) if dtype is None else dtype,
    )
    arrays: list[tuple[str, Any]] = []
    for number, linear in enumerate(linears):
        bias = np.zeros(linear.out_features) if linear.bias is None else linear.bias
        for what, value in (("weight", linear.weight), ("bias", bias)):
            name = f"the {what} of Linear {number}"
            arrays.append((name, array_of(name, value)))
    assign(network, arrays, transposed=True)
    return network


# ---- modules


def _dtype(linears: list[Any]) -> np.dtype[Any]:
    tensors = [tensor for linear in linears for tensor in linear.parameters()]
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


def _class_of(activation: str) -> Any:
    from torch import nn

    from flatprop.interchange import torch_modules

    name = MODULES[activation][0]
    return getattr(nn, name, None) or getattr(torch_modules, name)


def _parts(module: Any, place: str) -> Iterator[tuple[str, Any]]:
    """The modules in order, with where each stands, Sequentials opened."""
    from torch import nn

    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for number, part in enumerate(module):  # also the same one again, unlike children()
            yield from _parts(part, f"{place}[{number}]")
    else:
        yield f"module{place}", module


def _activation(place: str, module: Any) -> str:
    """The name of an activation module; "identity" for one that does nothing to rows."""
    from torch import nn

    kind = type(module).__name__
    if type(module) in (nn.Identity, nn.Dropout, nn.AlphaDropout):
        return "identity"
    if type(module) is nn.Flatten:
        if (module.start_dim, module.end_dim) == (1, -1):
            return "identity"
        raise ValueError(f"{place} is {module!r}; only Flatten() leaves one row per sample")
    names = [name for name in MODULES if type(module) is _class_of(name)]
    if not names:
        hint = "; use Softmax(dim=1)" if kind == "LogSoftmax" else ""
        if isinstance(getattr(module, "module", None), nn.Module):  # DataParallel and the like
            hint = "; pass module.module"
        elif next(module.children(), None) is not None:
            hint = "; build the Network and use load_state_dict(net, module.state_dict())"
        raise ValueError(
            f"{place} is a {kind}, which a network cannot have{hint}. It takes Linear and "
            f"{', '.join(found for found, _ in MODULES.values())}"
        )
    for setting, wanted in MODULES[names[0]][1].items():
        value = getattr(module, setting)
        # a Softplus is close enough from the threshold that PyTorch gives it by default
        near = (setting == "threshold" and value >= 20) or (setting == "dim" and value == -1)
        if value != wanted and not near:
            raise ValueError(
                f"{place} is {module!r}, but the activation {names[0]!r} of a network is that "
                f"with {setting}={wanted!r}"
            )
    return names[0]
