"""How dropout is written: it vanishes, but for saved files."""

from typing import Any

from flatprop.export.tensor_file import shown
from flatprop.model.dropout_layer import Dropout
from flatprop.model.model import Model
from flatprop.validation.arrays import Array


def entry(layer: Dropout) -> dict[str, Any]:
    """What a file says of a layer."""
    return {"dropout": layer.rate}


def of_entry(l: int, given: Any) -> Dropout:
    """``layers[l]``, from what a file says."""
    if type(given) not in (int, float) or not 0 <= given < 1:
        raise ValueError(f"layers[{l}]: the rate must be from 0 to below 1, got {shown(given)}")
    return Dropout(given)


def c_constants(network: Model, l: int, name: str) -> str:
    """It has none."""
    return ""


def add_c_functions(network: Model, l: int, functions: Any) -> None:
    """It has none."""


def c_statements(network: Model, l: int, name: str, x: str, out: str) -> list[str]:
    """None: see `passes`."""
    return []


passes = True
"""Whether its outputs are its inputs, so that no array is needed for them."""


class NoRounding:
    """It adds no error; see `dense_formats.DenseRounding`."""

    def __init__(self, network: Model, l: int, before: list[Any]) -> None:
        pass

    def forward(self, a: Array, error: Array) -> tuple[Array, Array]:
        """The inputs."""
        return a, error

    def backward(self, dy_da: Array, bound: Array) -> Array:
        """The same derivative."""
        return dy_da


rounding = NoRounding


def add_to_graph(graph: Any, network: Model, l: int, values: list[str], a: str) -> str:
    """The value of its inputs."""
    return values[-1]
