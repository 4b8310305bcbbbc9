"""How the two ends of a residual block are written: in a saved file, in C, and in ONNX."""

from typing import Any

import numpy as np

from flatprop.export.tensor_file import size
from flatprop.model.model import Model
from flatprop.model.residual_block import ResidualBegin, ResidualEnd
from flatprop.validation.arrays import Array


class BeginRounding:
    """It adds no error; see `dense_formats.DenseRounding`."""

    def __init__(self, network: Model, l: int, before: list[Any]) -> None:
        self.passed_on: Any = 0.0

    def forward(self, a: Array, error: Array) -> tuple[Array, Array]:
        """The inputs, which the end of the block adds."""
        self.a, self.error = a, error
        return a, error

    def backward(self, dy_da: Array, bound: Array) -> Array:
        """∂y/∂x by both ways."""
        total: Array = dy_da + self.passed_on
        return total


class SumRounding:
    """The error of a sum; see `dense_formats.DenseRounding`."""

    def __init__(self, network: Model, l: int, before: list[Any]) -> None:
        self.begin = before[_begin(network, l)]
        self.unit = float(np.finfo(network.dtype).eps) / 2

    def forward(self, a: Array, error: Array) -> tuple[Array, Array]:
        """The outputs, and how far they are off if `a` is by `error`."""
        total = a + self.begin.a
        self.added = self.unit * np.abs(total)
        return total, error + self.begin.error + self.added

    def backward(self, dy_da: Array, bound: Array) -> Array:
        """The same derivative, for both terms."""
        bound += np.einsum("nku,nu->nk", np.abs(dy_da), self.added)
        self.begin.passed_on = dy_da
        return dy_da


class Begin:
    """The begin of a block: its inputs are kept in an array of their own."""

    passes = True
    rounding = BeginRounding

    @staticmethod
    def entry(layer: ResidualBegin) -> dict[str, Any]:
        """What a file says of a layer."""
        return {"residual_begin": layer.count}

    @staticmethod
    def of_entry(l: int, given: Any) -> ResidualBegin:
        """``layers[l]``, from what a file says."""
        return ResidualBegin(size(f"layers[{l}]", given))

    @staticmethod
    def c_constants(network: Model, l: int, name: str) -> str:
        """It has none."""
        return ""

    @staticmethod
    def add_c_functions(network: Model, l: int, functions: Any) -> None:
        """It has none."""

    @staticmethod
    def c_statements(network: Model, l: int, name: str, x: str, out: str) -> list[str]:
        """The lines that keep the array `x`."""
        kept, units = f"kept{l + 1}", network.dense[l].units
        return [f"    for (size_t j = 0; j < {units}; j++)", f"        {kept}[j] = {x}[j];"]

    @staticmethod
    def add_to_graph(graph: Any, network: Model, l: int, values: list[str], a: str) -> str:
        """The value of its inputs."""
        return values[-1]


class End:
    """The end of a block: the inputs of the block are added."""

    passes = False
    rounding = SumRounding

    @staticmethod
    def entry(layer: ResidualEnd) -> dict[str, Any]:
        """What a file says of a layer."""
        return {"residual_end": layer.count}

    @staticmethod
    def of_entry(l: int, given: Any) -> ResidualEnd:
        """``layers[l]``, from what a file says."""
        return ResidualEnd(size(f"layers[{l}]", given))

    @staticmethod
    def c_constants(network: Model, l: int, name: str) -> str:
        """It has none."""
        return ""

    @staticmethod
    def add_c_functions(network: Model, l: int, functions: Any) -> None:
        """It has none."""

    @staticmethod
    def c_statements(network: Model, l: int, name: str, x: str, out: str) -> list[str]:
        """The lines that compute the array `out` from the array `x`."""
        kept, units = f"kept{_begin(network, l) + 1}", network.dense[l].units
        total = f"        {out}[j] = {x}[j] + {kept}[j];"
        return [f"    for (size_t j = 0; j < {units}; j++)", total]

    @staticmethod
    def add_to_graph(graph: Any, network: Model, l: int, values: list[str], a: str) -> str:
        """Add what computes the value `a` from the last of the values."""
        graph.add_node("Add", [values[-1], values[_begin(network, l) + 1]], a, f"residual{l + 1}")
        return a


def _begin(network: Model, l: int) -> int:
    """The layer at which the block begins."""
    return int(network.layers[l]["partner"])
