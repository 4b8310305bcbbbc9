"""Which modules of PyTorch are which layers, and the layers of a module."""

from collections.abc import Iterator
from typing import Any

from flatprop.kernels.network.normalised_rows import EPSILON
from flatprop.model.dense_layer import Dense
from flatprop.model.dropout_layer import Dropout
from flatprop.model.layer import Layer
from flatprop.model.layer_normalisation import LayerNorm
from flatprop.model.residual_block import Residual

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


class Found:
    """The layers of a module, as they are found one after the other.

    Attributes
    ----------
    inputs : int
        How many features the first of them takes.
    units : int or None
        How many numbers the last of them gives; None if any.
    layers : list of Layer
        The layers.
    trained : list of torch.nn.Module
        The modules with parameters.
    """

    def __init__(self, units: int | None = None) -> None:
        self.inputs = 0
        self.units = units
        self.layers: list[Layer] = []
        self.trained: list[Any] = []
        self._open: int | None = None
        """The layer whose activation may still come."""

    @property
    def linears(self) -> bool:
        """Whether there is a dense layer."""
        return any(isinstance(part, Dense) for layer in self.layers for part in layer.parts())

    def look_through(self, module: Any, place: str) -> None:
        """Add the layers of a module."""
        from torch import nn

        for where, part in _parts(module, place):
            if type(part) is nn.Linear:
                self._require(where, part.in_features)
                self._open = len(self.layers)
                self._add(Dense(part.out_features), part.in_features, part.out_features, part)
            elif type(part) is nn.LayerNorm:
                self._normalisation(where, part)
            elif type(part) is nn.Dropout:
                if 0 < part.p < 1:
                    self.layers.append(Dropout(part.p))
            elif type(part) is residual_class():
                inner = Found(self.units)
                for number, one in enumerate(part):
                    inner.look_through(one, f"{where}[{number}]".removeprefix("module"))
                self._open = None
                self._add(Residual(inner.layers), inner.inputs, inner.units, *inner.trained)
            else:
                self._activation(where, part)

    def _add(self, layer: Layer, inputs: int, units: int | None, *trained: Any) -> None:
        self.inputs = self.inputs or inputs
        self.units = units
        self.layers.append(layer)
        self.trained += trained

    def _require(self, place: str, features: int) -> None:
        if self.units not in (None, features):
            raise ValueError(
                f"{place} takes {features} inputs, but the layer before it gives {self.units}"
            )

    def _normalisation(self, place: str, part: Any) -> None:
        if len(part.normalized_shape) > 1 or part.eps != EPSILON or part.weight is None:
            raise ValueError(
                f"{place} is {part!r}, but that of a network is along rows, with eps={EPSILON} "
                "and with scale and shift"
            )
        (features,) = part.normalized_shape
        self._require(place, features)
        self._open = None
        self._add(LayerNorm(), features, features, part)

    def _activation(self, place: str, part: Any) -> None:
        name = _activation(place, part)
        if name == "identity":
            return
        if self._open is None:
            raise ValueError(
                f"{place} is a {type(part).__name__} that does not follow a Linear; a layer is a "
                "Linear and one activation"
            )
        self.layers[self._open] = Dense(self.layers[self._open].units, name)
        self._open = None


def residual_class() -> Any:
    from flatprop.interchange import torch_modules

    return torch_modules.ResidualModule


def class_of(activation: str) -> Any:
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
    if type(module) in (nn.Identity, nn.AlphaDropout):
        return "identity"
    if type(module) is nn.Flatten:
        if (module.start_dim, module.end_dim) == (1, -1):
            return "identity"
        raise ValueError(f"{place} is {module!r}; only Flatten() leaves one row per sample")
    names = [name for name in MODULES if type(module) is class_of(name)]
    if not names:
        hint = "; use Softmax(dim=1)" if kind == "LogSoftmax" else ""
        if isinstance(getattr(module, "module", None), nn.Module):  # DataParallel and the like
            hint = "; pass module.module"
        elif next(module.children(), None) is not None:
            hint = "; build the Network and use load_state_dict(net, module.state_dict())"
        raise ValueError(
            f"{place} is a {kind}, which a network cannot have{hint}. It takes Linear, "
            f"LayerNorm, Dropout and {', '.join(found for found, _ in MODULES.values())}"
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
