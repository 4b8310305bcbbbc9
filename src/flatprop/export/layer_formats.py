"""How each kind of layer is written: in a saved file, in C, and in ONNX.

A kind's formats are a module or a class with the functions of `dense_formats`:

| function | what it gives |
| --- | --- |
| `entry(layer)`, `of_entry(l, given, function)` | what a file says of a layer, and the layer |
| `c_constants`, `add_c_functions`, `c_statements` | its part of the C |
| `rounding(network, l, before)` | how far the C may be off |
| `add_to_graph` | its part of the ONNX graph |
"""

from collections.abc import Callable
from typing import Any

from flatprop.export import dense_formats, dropout_formats, layer_norm_formats, residual_formats
from flatprop.export.tensor_file import shown
from flatprop.model.dense_layer import Dense
from flatprop.model.dropout_layer import Dropout
from flatprop.model.layer import Layer
from flatprop.model.layer_normalisation import LayerNorm
from flatprop.model.residual_block import ResidualBegin, ResidualEnd

FORMATS: dict[type[Layer], Any] = {
    Dense: dense_formats,
    LayerNorm: layer_norm_formats,
    Dropout: dropout_formats,
    ResidualBegin: residual_formats.Begin,
    ResidualEnd: residual_formats.End,
}
NAMES = {
    "layer_norm": layer_norm_formats,
    "dropout": dropout_formats,
    "residual_begin": residual_formats.Begin,
    "residual_end": residual_formats.End,
}
"""What a saved file calls the kinds that are not dense: {name: what is said of it}."""


def formats_of(layer: Layer) -> Any:
    """The formats of a layer."""
    return FORMATS[type(layer)]


def entry(layer: Layer) -> Any:
    """What a file says of a layer."""
    return formats_of(layer).entry(layer)


def of_entry(l: int, given: Any, function: Callable[[str], Any]) -> Layer:
    """``layers[l]``, from what a file says; `function` finds the user's own by their names.

    Raises ValueError if it is no `entry`.
    """
    if not isinstance(given, dict):
        return dense_formats.of_entry(l, given, function)
    name = next(iter(given), None)
    if len(given) != 1 or name not in NAMES:
        raise ValueError(f"layers[{l}] is of no known kind: {shown(given)}")
    layer: Layer = NAMES[name].of_entry(l, given[name])  # type: ignore[attr-defined]
    return layer
