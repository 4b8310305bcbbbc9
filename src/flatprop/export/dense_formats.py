"""How a dense layer is written: in a saved file, in C, and in ONNX.

The layer is ``network.dense[l]``. For C and ONNX the formula of its activation, z → (a, da/dz),
is called with numbers that write them. With numbers that carry a bound of their rounding error it
says how far the C may be off.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from flatprop.export.c_functions import FileFunctions
from flatprop.export.c_names import c_comment
from flatprop.export.onnx_number import Graph, OnnxNumber, Tape
from flatprop.export.tensor_file import shown, size
from flatprop.formulas.activations import ACTIVATIONS, SELU_ALPHA, SELU_SCALE
from flatprop.model.dense_layer import Dense
from flatprop.model.model import Model
from flatprop.numbers import elementary
from flatprop.numbers.c_source import CNumber, constant_array
from flatprop.numbers.numbers import Number
from flatprop.numbers.rounding import FUNCTION, Precision, Rounded
from flatprop.numbers.translated import CustomFormula, custom_formula
from flatprop.validation.arrays import Array

# ---- saved files: [units, name of the activation], {"own": name} for a function of the user's;
# behind these l1, l2 and max_norm, {name: number}, if there are any


passes = False
"""Whether its outputs are its inputs, so that no array is needed for them."""


def entry(layer: Dense) -> list[Any]:
    """What a file says of a layer."""
    name = {"own": layer.name} if callable(layer.activation) else layer.name
    more = layer.regularisation
    return [layer.units, name, more] if more else [layer.units, name]


def of_entry(l: int, given: Any, function: Callable[[str], Any]) -> Dense:
    """``layers[l]``, from what a file says; `function` finds the user's own by their names.

    Raises ValueError if it is no `entry`.
    """
    if not isinstance(given, list) or len(given) not in (2, 3):
        raise ValueError(f"layers[{l}] must be [units, activation]")
    units, activation = size(f"layers[{l}]", given[0]), given[1]
    more = given[2] if len(given) > 2 else {}
    known = isinstance(more, dict) and more.keys() <= {"l1", "l2", "max_norm"}
    if not known or not all(type(v) in (int, float) and 0 < v < 1e300 for v in more.values()):
        raise ValueError(f"layers[{l}]: {shown(more)} is not of l1, l2 and max_norm")
    if isinstance(activation, dict):
        if activation.keys() != {"own"} or not isinstance(activation["own"], str):
            raise ValueError(f"layers[{l}] has an activation without a name")
        return Dense(units, function(activation["own"]), **more)
    if not isinstance(activation, str):
        raise ValueError(f"layers[{l}]: activation must be a name, got {shown(activation)}")
    return Dense(units, activation, **more)


# ---- the formula of the activation

_WHAT_IS_TRANSLATED = (
    "it may have no loop, and call abs, min and max and of math exp, expm1, log, log1p, sqrt, "
    "pow, copysign, erf, sin, cos, tan, atan, sinh, cosh and tanh"
)


def _formula(writer: str, layer: Dense, l: int) -> CustomFormula:
    """z → (a, da/dz) of the activation of ``layers[l]``, for numbers of any kind.

    Raises ValueError where the user's own function has no such formula; the message begins with
    `writer`, the function that was called.
    """
    if not callable(layer.activation):
        return ACTIVATIONS[layer.activation].formula  # type: ignore[return-value]
    formula, obstacle = custom_formula(layer.activation, 1)
    if obstacle:
        raise ValueError(
            f"{writer} cannot write the activation {layer.name} of layers[{l}]: "
            f"{obstacle}; {_WHAT_IS_TRANSLATED}"
        )
    return formula


def _written(writer: str, layer: Dense, l: int, z: Number) -> Any:
    """a(z) of the activation of ``layers[l]``, in the kind of numbers that z is.

    Raises ValueError, as `_formula` does, where numbers of this kind cannot express it.
    """
    formula = _formula(writer, layer, l)
    try:
        return formula(z)[0]
    except (AttributeError, TypeError, KeyError) as error:
        raise ValueError(
            f'{writer} cannot write "{layer.name}": its formula uses what only the machine\'s own '
            f"numbers have ({error})"
        ) from error


def _dense(network: Model, l: int) -> Dense:
    """The layer."""
    layer = network.dense[l]
    assert isinstance(layer, Dense)
    return layer


# ---- C


def _parameters(network: Model, l: int) -> tuple[Array, Array]:
    """W and b."""
    params, units = network.layer_params(l), network.dense[l].units
    return params[:-units].reshape(-1, units), params[-units:]


def c_constants(network: Model, l: int, name: str) -> str:
    """W and b."""
    W, b, number = *_parameters(network, l), l + 1
    inputs, units = W.shape
    return (
        f"/* layer {number}: W by inputs, {inputs} rows of {units}, then b */\n"
        + constant_array(f"{name}_W{number}", W)
        + constant_array(f"{name}_b{number}", b[None, :])
    )


def add_c_functions(network: Model, l: int, functions: FileFunctions) -> None:
    """Put the functions that the layer calls into `functions`."""
    layer, activation = _dense(network, l), _c_activation(network, l)
    functions.add_dense()
    if activation == "softmax":
        functions.add_softmax()
    elif activation != "identity":
        a = _written("to_c", layer, l, CNumber(network.dtype, "z"))
        whose = f"/* the user's {c_comment(layer.name)} */\n" if callable(layer.activation) else ""
        functions.add(activation, a, whose)


def c_statements(network: Model, l: int, name: str, x: str, out: str) -> list[str]:
    """The lines that compute the array `out` from the array `x`."""
    number, (inputs, units) = l + 1, _parameters(network, l)[0].shape
    lines = [
        f"    {name}_dense({name}_W{number}, {name}_b{number}, {inputs}, {units}, {x}, {out});"
    ]
    activation = _c_activation(network, l)
    if activation == "softmax":
        lines.append(f"    {name}_softmax({out}, {units});")
    elif activation != "identity":
        lines.append(f"    for (size_t j = 0; j < {units}; j++)")
        lines.append(f"        {out}[j] = {name}_{activation}({out}[j]);")
    return lines


def _c_activation(network: Model, l: int) -> str:
    """The name of the layer's activation; "own1", "own2" where it is the user's."""
    given = _dense(network, l).activation
    if not callable(given):
        return given
    own = dict.fromkeys(d.activation for d in network.dense if callable(d.activation))
    return f"own{list(own).index(given) + 1}"


# ---- how far C may be off by rounding

CHANCE = 8
"""A sum of errors of random signs stays within so many of its standard deviations."""


class DenseRounding:
    """One layer as `c_self_test` walks it; arrays are (rows, units) unless said otherwise."""

    def __init__(self, network: Model, l: int, before: list[Any]) -> None:
        layer, info = _dense(network, l), np.finfo(network.dtype)
        self.softmax = layer.activation == "softmax"
        self.formula = None if self.softmax else _formula("to_c", layer, l)
        self.precision = Precision(float(info.eps) / 2, float(info.tiny))
        self.W, self.b = (p.astype(np.float64) for p in _parameters(network, l))

    def forward(self, a: Array, error: Array) -> tuple[Array, Array]:
        """The outputs for the inputs `a`, and how far they are off if `a` is by `error`.

        Only the reach of the next layer's slopes depends on how far they are off.
        """
        W, (unit, least) = self.W, self.precision
        z, sizes = _sums(a, W, self.b)
        # A machine may take subnormal numbers for 0, as operands and as results.
        lost = np.abs(a).sum(axis=1, keepdims=True) + np.abs(W).sum(axis=0) + len(W) + 1
        self.added_to_z = unit * sizes + least * lost
        worst = error @ np.abs(W) + self.added_to_z
        chance = np.sqrt(error**2 @ W**2 + self.added_to_z**2)
        reach = np.fmin(worst, CHANCE * chance)
        if self.formula is None:
            below = z.max(axis=1, keepdims=True) - z
            e = np.exp(-below)
            self.a = out = e / e.sum(axis=1, keepdims=True)
            # the error of e^-below comes from its argument; the quotient has that of the sum, too
            roundings = below + (out * below).sum(axis=1, keepdims=True) + len(W.T) + 2 * FUNCTION
            self.added_to_a = np.where(out > 0, out * unit * roundings, 0) + least
            return out, out * reach + self.added_to_a
        value, slope = self._values(z)
        steepest = np.abs(slope.value)
        for place in (z - reach, z + reach):
            there, slope_there = self._values(place)
            noise = 8 * np.finfo(np.float64).eps * np.abs(value.value)
            step = np.maximum(np.abs(there.value - value.value) - noise, 0)
            secant = np.where(reach > 0, step / reach, 0)
            steepest = np.fmax(steepest, np.fmax(np.abs(slope_there.value), secant))
        self.a, self.added_to_a = value.value, value.error
        self.slope = np.copysign(steepest, slope.value)
        return self.a, steepest * reach + self.added_to_a

    def _values(self, z: Array) -> list[Any]:
        """The activation and its slope with their own errors, of the shape of z."""
        assert self.formula is not None
        nothing = np.zeros(z.shape)
        return [
            Rounded(self.precision, result.value + nothing, result.error + nothing)
            for result in self.formula(Rounded(self.precision, z))
        ]

    def backward(self, dy_da: Array, bound: Array) -> Array:
        """∂y/∂x, (rows, outputs, inputs), from ∂y/∂a; adds to `bound` what the layer adds to y."""
        if self.softmax:
            scaled = dy_da * self.a[:, None]
            dy_dz = scaled - scaled.sum(axis=2, keepdims=True) * self.a[:, None]
        else:
            dy_dz = dy_da * self.slope[:, None]
        bound += np.einsum("nku,nu->nk", np.abs(dy_da), self.added_to_a)
        bound += np.einsum("nku,nu->nk", np.abs(dy_dz), self.added_to_z)
        dy_dx: Array = dy_dz @ self.W.T
        return dy_dx


rounding = DenseRounding


def _sums(a: Array, W: Array, b: Array) -> tuple[Array, Array]:
    """z = b + Σ a W in the order of the C, and what is rounded: |terms| and |partial sums|."""
    z = np.broadcast_to(b, (len(a), len(b))).copy()
    sizes = np.zeros_like(z)
    fours = len(W) - len(W) % 4
    for start, end in [*pairwise(range(0, fours + 1, 4)), *pairwise(range(fours, len(W) + 1))]:
        group = np.zeros_like(z)
        for i in range(start, end):
            term = a[:, i, None] * W[i]
            group += term
            sizes += np.abs(term) + np.abs(group) * (i > start)
        z += group
        sizes += np.abs(z)
    return z, sizes


# ---- ONNX: a Gemm, then the operators of the activation

_Operator = Callable[[OnnxNumber], OnnxNumber]

_OPERATORS: dict[str, _Operator] = {
    "identity": lambda z: z,
    "sigmoid": lambda z: z.apply("Sigmoid"),
    "tanh": lambda z: z.apply("Tanh"),
    "relu": lambda z: z.apply("Relu"),
    # not z Sigmoid(z): onnxruntime's float32 is off by 5e-8, which z = -17 multiplies
    "silu": lambda z: z / (elementary.exp(-z) + 1.0),
    "exp": lambda z: z.apply("Exp"),
    "softmax": lambda z: z.apply("Softmax", axis=1),
}
"""The operators of activations that onnxruntime computes in both dtypes."""

_FLOAT32_OPERATORS: dict[str, _Operator] = {
    **_OPERATORS,
    "leaky_relu": lambda z: z.apply("LeakyRelu", alpha=0.01),
    "elu": lambda z: z.apply("Elu", alpha=1.0),
    "selu": lambda z: z.apply("Selu", alpha=SELU_ALPHA, gamma=SELU_SCALE),
    # these two as PyTorch writes them, which optimisers of graphs look for
    "gelu": lambda z: z * (elementary.erf(z / 2.0**0.5) + 1.0) * 0.5,
    "mish": lambda z: z * z.apply("Softplus").apply("Tanh"),
    "softplus": lambda z: z.apply("Softplus"),
    "softsign": lambda z: z.apply("Softsign"),
}


def add_to_graph(graph: Graph, network: Model, l: int, values: list[str], a: str) -> str:
    """Add what computes the value `a` from the last of the values; the name `a`."""
    layer, number, x = _dense(network, l), l + 1, values[-1]
    parameters = zip("Wb", _parameters(network, l), strict=True)
    W, b = (graph.add_initializer(f"{name}{number}", array) for name, array in parameters)
    tape = Tape(graph.dtype)
    steps = tape.operators(_onnx_activation(layer, l, tape))
    z = f"z{number}" if steps else a  # without steps it is the identity
    graph.add_node("Gemm", [x, W, b], z, f"dense{number}")
    prefix = f"own{number}" if callable(layer.activation) else f"{layer.name}{number}"
    graph.add_formula(steps, {tape.z: z} | dict.fromkeys(steps[-1:], a), prefix)
    return a


def _onnx_activation(layer: Dense, l: int, tape: Tape) -> OnnxNumber:
    """The activation of `tape.z`: the operator of ONNX if it is exact enough, else its formula."""
    z, operators = tape.z, _FLOAT32_OPERATORS if tape.dtype == np.float32 else _OPERATORS
    if layer.activation in operators:
        return operators[layer.activation](z)
    a: OnnxNumber = _written("to_onnx", layer, l, z)
    # a constant activation still has the shape of z
    return a if tape.depends_on_z(a) else z.equals(z).apply("Where", a, a)
