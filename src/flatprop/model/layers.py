"""The description of a network, its layers and its loss: checked, and as kernels read it."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from flatprop.formulas.loss import Loss
from flatprop.formulas.losses import LOSSES, LOSSES_BY_NAME, Own
from flatprop.kernels.loops.addresses import here
from flatprop.kernels.network.records import LAYER, LOSS_RECORD, SUM
from flatprop.model.layer import Layer
from flatprop.validation import checks, other_names
from flatprop.validation.arrays import Array


def checked_layers(layers: Sequence[Layer], inputs: int) -> tuple[Layer, ...]:
    """The layers of a network, with those of blocks in their places, for so many inputs."""
    if isinstance(layers, Layer):
        raise TypeError("layers must be a list; write [fp.Dense(...)]")
    try:
        given = tuple(layers)
    except TypeError:
        raise TypeError(f"layers must be a list of fp.Dense, got {layers!r}") from None
    if not given:
        raise ValueError("layers is empty; a network needs at least one, such as [fp.Dense(1)]")
    for l, layer in enumerate(given):
        if not isinstance(layer, Layer):
            raise TypeError(
                f"layers[{l}] must be a fp.Dense, or another layer of flatprop, got {layer!r}"
            )
    placed: list[Layer] = []
    for layer in given:
        for part in layer.parts():
            placed.append(part.placed(placed[-1].units if placed else inputs))
    for l, part in enumerate(placed):
        part.check_place(l, placed)
    return tuple(placed)


def checked_loss(given: Any, last: Any) -> Loss:
    loss: Loss
    if isinstance(given, type) and issubclass(given, Loss):
        loss = given()
    elif isinstance(given, Loss):
        loss = given
    elif callable(given):
        loss = Own(given)
    else:
        if isinstance(given, str) and given in other_names.LOSS:
            raise ValueError(f"unknown loss {given!r}; write {other_names.LOSS[given]}")
        loss = LOSSES_BY_NAME[checks.choice("loss", given, LOSSES_BY_NAME)]()
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


def starts_in_params(inputs: int, dense: Sequence[Layer]) -> list[int]:
    """Where the parameters of each layer begin in `params`, and how many there are in all."""
    widths = inputs, *(layer.units for layer in dense)
    sizes = (layer.n_params(width) for layer, width in zip(dense, widths, strict=False))
    return [0, *accumulate(sizes)]


def layer_records(inputs: int, dense: Sequence[Layer], dtype: np.dtype[Any]) -> tuple[Array, int]:
    """The records of the layers for the kernels, and the number of parameters."""
    records, starts = np.zeros(len(dense), LAYER), starts_in_params(inputs, dense)
    units_before = 0
    for l, layer in enumerate(dense):
        if starts[l + 1] > 2**48:
            raise ValueError(f"layers[{l}] would take the network to {starts[l + 1]:,} parameters")
        records[l] = layer.record(inputs, starts[l], units_before, dtype, l)
        inputs, units_before = layer.units, units_before + layer.units
    sums = np.flatnonzero(records["kind"] == SUM)
    records[-1]["partner"] = sums.max(initial=0)
    return frozen(records), starts[-1]


def loss_records(loss: Loss, outputs: int, dtype: np.dtype[Any]) -> Array:
    """The record of the loss for the kernels."""
    code, function = here(), 0
    if loss.has_function:
        from flatprop.kernels.loops.loss_functions import function_of

        function = function_of(loss, outputs, dtype)
    else:
        code = list(LOSSES).index(loss.name)
    record = np.zeros(1, LOSS_RECORD)
    logits, targets = loss.activation is not None, loss.target_count(outputs)
    record[0] = code, loss.divisor(outputs), logits, loss.parameter, function, targets
    return frozen(record)


def frozen(records: Array) -> Array:
    """A copy that nobody can make writable: kernels trust the places in the records."""
    return np.frombuffer(records.tobytes(), records.dtype)


def chain(dense: Sequence[Layer]) -> str:
    """The layers in one line: 8 tanh -> x + [8 relu -> 8 identity] -> 1 identity."""
    text = " -> ".join(layer.title for layer in dense)
    return text.replace("[ -> ", "[").replace(" -> ]", "]")


class Summary(str):
    """A text that an interactive session shows without quotes and escapes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def summary(dense: Sequence[Layer], records: Array, loss: Loss, dtype: np.dtype[Any]) -> Summary:
    """A table of the layers."""
    rows = [("layer", "inputs", "units", "activation", "parameters", "in params")]
    starts = starts_in_params(int(records[0]["inputs"]), dense)
    for number, (layer, record) in enumerate(zip(dense, records, strict=True), start=1):
        start, stop = starts[number - 1 : number + 1]
        shape = f"{record['inputs']:,}", f"{layer.units:,}"
        place = f"{stop - start:,}", f"[{start}:{stop}]"
        rows.append((str(number), *shape, layer.name, *place))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.rjust, row, widths)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines.append(
        f"{stop:,} parameters, {stop * dtype.itemsize:,} bytes, {dtype.name}; "
        f"loss {loss.name}: {loss.reduction}"
    )
    return Summary("\n".join(lines))
