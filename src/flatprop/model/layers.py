"""The description of a network, its layers and its loss: checked, and as kernels read it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from flatprop.formulas import custom_check
from flatprop.formulas.activations import ACTIVATIONS
from flatprop.formulas.losses import LOSSES, Loss, Own
from flatprop.kernels.loops.addresses import here
from flatprop.kernels.network.records import LAYER, LOSS_RECORD
from flatprop.validation import checks, other_names
from flatprop.validation.arrays import Array


@other_names.suggesting(other_names.DENSE)
@dataclass(frozen=True)
class Dense:
    """One fully connected layer: a = f(x W + b).

    Parameters
    ----------
    units
        How many outputs it has.
    activation
        The name of f: "identity", "sigmoid", "tanh", "relu", "leaky_relu",
        "elu", "selu", "gelu", "silu", "mish", "softplus", "softsign", "exp", or,
        in the last layer, "softmax". Or your own: a scalar function compiled by
        ``@numba.njit`` that takes z and returns (a, da/dz). Its arithmetic is carried
        over from float64 to the network's dtype; where it would raise, the result is
        NaN. It is tried at points from -4 to 4, none of them a whole number. Weights
        before it start as for tanh. After ``activation.recompile()`` new networks and
        copies use the new code; existing networks keep the old code.

    Raises
    ------
    TypeError, ValueError
        If `units` is not a positive whole number or the name is unknown; if your own
        function does not return two numbers, is not finite somewhere from -4 to 4, or
        its slope is not that of its values there.
    """

    units: int
    activation: "str | Callable[[float], tuple[float, float]]" = "identity"

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", checks.count("units", self.units))
        if callable(self.activation):
            custom_check.checked_activation(self.activation)
        else:
            checks.choice("activation", self.activation, ACTIVATIONS)

    @property
    def name(self) -> str:
        """The name of the activation."""
        given = self.activation
        return given if isinstance(given, str) else str(given.__name__)

    @property
    def initialisation(self) -> str:
        """How W starts: "he", "glorot" or "lecun"."""
        custom = callable(self.activation)
        return "glorot" if custom else ACTIVATIONS[self.name].initialisation

    def kernel_codes(self, dtype: np.dtype[Any]) -> tuple[int, int]:
        """The code of the activation, and the address of a custom one or 0."""
        if not callable(self.activation):
            return ACTIVATIONS[self.name].code, 0
        from flatprop.kernels.loops.custom import activation_address

        return here(), activation_address(self.activation, dtype)


def checked_layers(layers: Sequence[Dense]) -> tuple[Dense, ...]:
    if isinstance(layers, Dense):
        raise TypeError("layers must be a list; write [fp.Dense(...)]")
    try:
        dense = tuple(layers)
    except TypeError:
        raise TypeError(f"layers must be a list of fp.Dense, got {layers!r}") from None
    if not dense:
        raise ValueError("layers is empty; a network needs at least one, such as [fp.Dense(1)]")
    for place, layer in enumerate(dense):
        if not isinstance(layer, Dense):
            raise TypeError(f"layers[{place}] must be a fp.Dense, got {layer!r}")
        if layer.activation == "softmax" and place < len(dense) - 1:
            raise ValueError(
                f"layers[{place}] is a softmax, which only the last layer can be; "
                'hidden layers take "relu", "tanh", ...'
            )
    return dense


def checked_loss(given: Any, last: Dense) -> Loss:
    loss: Loss
    if isinstance(given, type) and issubclass(given, Loss):
        loss = given()
    elif isinstance(given, Loss):
        loss = given
    elif callable(given):
        loss = Own(given)
    else:
        loss = LOSSES[checks.choice("loss", given, LOSSES)]()
    if loss.activation is not None and last.activation != loss.activation:
        raise ValueError(
            f'the loss "{loss.name}" needs a last layer with "{loss.activation}", but it has '
            f'"{last.activation}"; write fp.Dense({last.units}, "{loss.activation}")'
        )
    return loss


def checked_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise TypeError(f'dtype must be "float32" or "float64", got {dtype!r}') from None
    if dtype is None or kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f'dtype must be "float32" or "float64", got {dtype!r}')
    return kind


def layer_records(inputs: int, dense: Sequence[Dense], dtype: np.dtype[Any]) -> tuple[Array, int]:
    """The records of the layers for the kernels, and the number of parameters."""
    records = np.zeros(len(dense), LAYER)
    offset = units_before = 0
    for number, layer in enumerate(dense):
        biases = offset + inputs * layer.units
        code, function = layer.kernel_codes(dtype)
        records[number] = (inputs, layer.units, offset, biases, code, units_before, function)
        offset = biases + layer.units
        if offset > 2**48:
            raise ValueError(f"layers[{number}] would take the network to {offset:,} parameters")
        units_before += layer.units
        inputs = layer.units
    return frozen(records), offset


def objective_record(loss: Loss, outputs: int, dtype: np.dtype[Any]) -> Array:
    """The record of the loss for the kernels."""
    code, function = here(), 0
    if isinstance(loss, Own):
        from flatprop.kernels.loops.custom import loss_address

        function = loss_address(loss.function, dtype)
    else:
        code = list(LOSSES).index(loss.name)
    record = np.zeros(1, LOSS_RECORD)
    record[0] = (
        code,
        loss.divisor(outputs),
        loss.activation is not None,
        loss.parameter,
        function,
    )
    return frozen(record)


def frozen(records: Array) -> Array:
    """A copy that nobody can make writable: kernels trust the places in the records."""
    return np.frombuffer(records.tobytes(), records.dtype)


class Summary(str):
    """A text that an interactive session shows without quotes and escapes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def summary(dense: Sequence[Dense], records: Array, loss: Loss, dtype: np.dtype[Any]) -> Summary:
    """A table of the layers."""
    rows = [("layer", "inputs", "units", "activation", "parameters", "in params")]
    for number, (layer, record) in enumerate(zip(dense, records, strict=True), start=1):
        start, stop = int(record["W_start"]), int(record["b_start"]) + layer.units
        rows.append(
            (
                str(number),
                f"{record['inputs']:,}",
                f"{layer.units:,}",
                layer.name,
                f"{stop - start:,}",
                f"[{start}:{stop}]",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.rjust, row, widths)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines.append(
        f"{stop:,} parameters, {stop * dtype.itemsize:,} bytes, {dtype.name}; "
        f"loss {loss.name}: {loss.reduction}"
    )
    return Summary("\n".join(lines))
