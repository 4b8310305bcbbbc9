"""How layer normalisation is written: in a saved file, in C, and in ONNX."""

from typing import Any

import numpy as np

from flatprop.export.c_functions import FileFunctions
from flatprop.export.onnx_number import Graph
from flatprop.export.tensor_file import shown
from flatprop.kernels.network.normalised_rows import EPSILON
from flatprop.model.layer_normalisation import LayerNorm
from flatprop.model.model import Model
from flatprop.numbers.c_source import c_type, constant_array, function_name, literal
from flatprop.validation.arrays import Array

passes = False


def entry(layer: LayerNorm) -> dict[str, Any]:
    """What a file says of a layer."""
    return {"layer_norm": {}}


def of_entry(l: int, given: Any) -> LayerNorm:
    """``layers[l]``, from what a file says."""
    if given != {}:
        raise ValueError(f"layers[{l}]: a layer_norm has no settings, got {shown(given)}")
    return LayerNorm()


def _parameters(network: Model, l: int) -> tuple[Array, Array]:
    """Scale and shift."""
    scale, shift = network.layer_params(l).reshape(2, -1)
    return scale, shift


def c_constants(network: Model, l: int, name: str) -> str:
    """Scale and shift."""
    number, (scale, shift) = l + 1, _parameters(network, l)
    return (
        f"/* layer {number}: scale and shift of a normalisation */\n"
        + constant_array(f"{name}_scale{number}", scale[None, :])
        + constant_array(f"{name}_shift{number}", shift[None, :])
    )


def add_c_functions(network: Model, l: int, functions: FileFunctions) -> None:
    """Put the function that the layer calls into `functions`."""
    name, dtype = functions.name, network.dtype
    kind, one, root = c_type(dtype), literal(1.0, dtype), function_name("sqrt", dtype)
    text = f"""\
/* (x - mean) / sqrt(variance + {EPSILON:g}) * scale + shift */
static void {name}_layer_norm(const {kind} *scale, const {kind} *shift, size_t units,
    const {kind} *x, {kind} *out)
{{
    {kind} mean = 0, variance = 0, n = 0, r;
    for (size_t j = 0; j < units; j++, n += {one})
        mean += x[j];
    mean /= n;
    for (size_t j = 0; j < units; j++) {{
        out[j] = x[j] - mean;
        variance += out[j] * out[j];
    }}
    r = {one} / {root}(variance / n + {literal(EPSILON, dtype)});
    for (size_t j = 0; j < units; j++)
        out[j] = out[j] * r * scale[j] + shift[j];
}}
"""
    functions.others.setdefault("layer_norm", text)


def c_statements(network: Model, l: int, name: str, x: str, out: str) -> list[str]:
    """The line that computes the array `out` from the array `x`."""
    number = l + 1
    constants = f"{name}_scale{number}, {name}_shift{number}, {network.dense[l].units}"
    return [f"    {name}_layer_norm({constants}, {x}, {out});"]


class NormRounding:
    """One layer as `c_self_test` walks it; see `dense_formats.DenseRounding`.

    The error of the mean reaches the variance in second order only.
    """

    def __init__(self, network: Model, l: int, before: list[Any]) -> None:
        info = np.finfo(network.dtype)
        self.unit, self.least = float(info.eps) / 2, float(info.tiny)
        self.scale, self.shift = (p.astype(np.float64) for p in _parameters(network, l))

    def forward(self, a: Array, error: Array) -> tuple[Array, Array]:
        """The outputs for the inputs `a`, and how far they are off if `a` is by `error`."""
        unit, n = self.unit, a.shape[1]
        mean = a.mean(axis=1, keepdims=True)
        partial = np.abs(np.cumsum(a, axis=1)).sum(axis=1, keepdims=True)
        distance = a - mean
        off = unit * (partial / n + 2 * np.abs(mean)) + unit * np.abs(distance) + self.least
        squares = distance**2
        variance = squares.mean(axis=1, keepdims=True) + EPSILON
        sums = np.cumsum(squares, axis=1).sum(axis=1, keepdims=True)
        of_squares = 2 * np.abs(distance) * off + unit * squares + off**2
        of_variance = (of_squares.sum(axis=1, keepdims=True) + unit * sums) / n
        relative = of_variance / variance / 2 + 6 * unit
        self.r = 1 / np.sqrt(variance)
        self.x = distance * self.r
        out = self.x * self.scale + self.shift
        steps = self.r * off + np.abs(self.x) * (relative + 2 * unit)
        self.added = np.abs(self.scale) * (steps + unit * np.abs(self.x))
        self.added = self.added + unit * np.abs(out) + self.least
        size = np.abs(self.x)
        reach = error + error.mean(axis=1, keepdims=True)
        reach = reach + size * (size * error).mean(axis=1, keepdims=True)
        return out, np.abs(self.scale) * self.r * reach + self.added

    def backward(self, dy_da: Array, bound: Array) -> Array:
        """∂y/∂x from ∂y/∂a; adds to `bound` what the layer adds to y."""
        bound += np.einsum("nku,nu->nk", np.abs(dy_da), self.added)
        g, x = dy_da * self.scale, self.x[:, None]
        along = (g * x).mean(axis=2, keepdims=True)
        dy_dx: Array = self.r[:, None] * (g - g.mean(axis=2, keepdims=True) - x * along)
        return dy_dx


rounding = NormRounding


def add_to_graph(graph: Graph, network: Model, l: int, values: list[str], a: str) -> str:
    """Add what computes the value `a` from the last of the values.

    By operators of opset 11: LayerNormalization came with 17.
    """
    number, (scale, shift), x = l + 1, _parameters(network, l), values[-1]
    named = {"scale": scale, "shift": shift, "epsilon": np.array(EPSILON, network.dtype)}
    scale_name, shift_name, epsilon = (
        graph.add_initializer(f"{name}{number}", array) for name, array in named.items()
    )

    def node(operator: str, inputs: list[str], what: str, **attributes: Any) -> str:
        output = a if what == "a" else f"{what}{number}"
        graph.add_node(operator, inputs, output, f"norm{number}_{what}", **attributes)
        return output

    mean = node("ReduceMean", [x], "mean", axes=[1], keepdims=1)
    distance = node("Sub", [x, mean], "distance")
    squares = node("Mul", [distance, distance], "squares")
    variance = node("ReduceMean", [squares], "variance", axes=[1], keepdims=1)
    root = node("Sqrt", [node("Add", [variance, epsilon], "shifted")], "root")
    normal = node("Div", [distance, root], "normal")
    return node("Add", [node("Mul", [normal, scale_name], "scaled"), shift_name], "a")
