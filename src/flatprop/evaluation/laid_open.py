"""The quantities of one backpropagation, and how they are shown to a reader."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from flatprop.model import html
from flatprop.validation.arrays import Array


class Section(NamedTuple):
    """A step of a backpropagation: what it is, and its quantities."""

    title: str
    quantities: list[tuple[str, str, Any]]
    """Symbol, meaning and value of each."""


@dataclass(frozen=True)
class LayerTrace:
    """One layer's part in a backpropagation of n samples.

    Attributes
    ----------
    x : ndarray
        (n, inputs), what the layer is given.
    W, b : ndarray or None
        (inputs, units) and (units,), its parameters. Of a `LayerNorm` its scale and its shift,
        both (units,); None for a layer without parameters.
    z, a : ndarray
        (n, units): z = x W + b and a = f(z). Of a layer that is not dense, both are its outputs.
    da_dz : ndarray or None
        (n, units), f'(z); None for softmax, whose outputs depend on all z of a row.
    dL_da, dL_dz : ndarray
        (n, units), the gradient of the loss with respect to a and z.
    dL_dW, dL_db : ndarray
        (inputs, units) and (units,): xᵀ ∂L/∂z, and the sum of ∂L/∂z over samples. Those of W
        and b of any other layer.
    """

    activation: str
    x: Array
    W: Any
    b: Any
    z: Array
    a: Array
    da_dz: Array | None
    dL_da: Array
    dL_dz: Array
    dL_dW: Any
    dL_db: Any

    @property
    def is_dense(self) -> bool:
        """Whether it is a dense layer."""
        return self.W is not None and self.W.ndim == 2


FORMULAS = {
    "layer_norm": "γ x̂ + β, x̂ = (x - mean) / √(variance + 1e-5)",
    "residual end": "x + the x of its begin",
}
"""What layers that are not dense compute; the others give x."""


@dataclass(frozen=True)
class Trace:
    """Every quantity of one backpropagation; print it to read it in order.

    Attributes
    ----------
    loss : float
        The loss of these samples.
    layers : list of LayerTrace
        The layers in order.
    y : ndarray
        The targets, (n, targets); for class indices rows of 0 and 1.
    loss_name, definition : str
        Which loss it is, and how its docstring defines it.
    """

    loss: float
    layers: list[LayerTrace]
    y: Array
    loss_name: str
    definition: str

    def forward(self) -> Iterator[Section]:
        """The layers in order, then the loss."""
        for number, layer in enumerate(self.layers, start=1):
            inputs, units = layer.x.shape[1], layer.a.shape[1]
            title = (
                f"layer {number}: {_many(inputs, 'input')} -> {_many(units, 'unit')}, "
                f"{layer.activation}"
            )
            source = "the inputs" if number == 1 else f"a of layer {number - 1}"
            quantities: list[tuple[str, str, Any]] = [("x", source, layer.x)]
            if layer.is_dense:
                quantities += [
                    ("W", "weights", layer.W),
                    ("b", "biases", layer.b),
                    ("z", "x W + b", layer.z),
                    ("a", f"{layer.activation}(z)", layer.a),
                ]
            else:
                if layer.W is not None:
                    quantities += [("γ", "scale", layer.W), ("β", "shift", layer.b)]
                quantities.append(("a", FORMULAS.get(layer.activation, "x"), layer.a))
            yield Section(title, quantities)
        predicted = f"a of layer {len(self.layers)}"
        yield Section(
            f"loss: {self.loss_name}",
            [
                ("ŷ", predicted, self.layers[-1].a),
                ("y", "the targets", self.y),
                ("L", self.definition, np.array(self.loss)),
            ],
        )

    def backward(self) -> Iterator[Section]:
        """The layers from the last to the first."""
        source = "slope of the loss"
        for number in range(len(self.layers), 0, -1):
            layer = self.layers[number - 1]
            quantities: list[tuple[str, str, Any]] = [("∂L/∂a", source, layer.dL_da)]
            if layer.is_dense:
                chain = "a (∂L/∂a - Σ a ∂L/∂a)"
                if layer.da_dz is not None:
                    meaning = f"slope of {layer.activation} at z"
                    quantities.append(("∂a/∂z", meaning, layer.da_dz))
                    chain = "∂L/∂a · ∂a/∂z"
                quantities += [
                    ("∂L/∂z", chain, layer.dL_dz),
                    ("∂L/∂W", "xᵀ ∂L/∂z", layer.dL_dW),
                    ("∂L/∂b", "∂L/∂z, summed over samples", layer.dL_db),
                ]
                source = f"∂L/∂z Wᵀ of layer {number}"
            else:
                if layer.dL_dW is not None:
                    quantities += [
                        ("∂L/∂γ", "x̂ ∂L/∂a, summed over samples", layer.dL_dW),
                        ("∂L/∂β", "∂L/∂a, summed over samples", layer.dL_db),
                    ]
                source = f"∂L/∂x of layer {number}"
            yield Section(f"layer {number}", quantities)

    @property
    def _title(self) -> str:
        return (
            f"One backpropagation: {_many(len(self.layers), 'layer')}, "
            f"{_many(self.y.shape[0], 'sample')}, one row each"
        )

    def __str__(self) -> str:
        lines = [self._title]
        for heading, sections in self._halves():
            lines += ["", heading]
            for section in sections:
                lines += ["", section.title]
                for quantity in section.quantities:
                    lines += _quantity(*quantity)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        units = [self.layers[0].x.shape[1], *(layer.a.shape[1] for layer in self.layers)]
        names = ["inputs", *(layer.activation for layer in self.layers)]
        values = gradients = None
        if self.y.shape[0] == 1:
            values = [self.layers[0].x[0], *(layer.a[0] for layer in self.layers)]
            gradients = [None, *(layer.dL_da[0] for layer in self.layers)]
        halves = [
            (heading, [(step.title, map(_in_text, step.quantities)) for step in sections])
            for heading, sections in self._halves()
        ]
        return html.of_trace(self._title, html.diagram(units, names, values, gradients), halves)

    def _halves(self) -> Iterator[tuple[str, Iterator[Section]]]:
        yield "FORWARD", self.forward()
        yield "BACKWARD, by the chain rule", self.backward()


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _quantity(symbol: str, meaning: str, value: Any) -> list[str]:
    """One quantity, its numbers beside it or below it."""
    text = _text(value)
    label = f"  {symbol:<6}= {meaning}"
    lines = text.split("\n")
    if len(lines) == 1 and len(label) + len(text) < 78:
        return [f"{label:<37} = {text}"]
    label_lines = textwrap.wrap(label, 79, subsequent_indent=" " * 10, drop_whitespace=False)
    return [*map(str.rstrip, label_lines), *(f"      {line}" for line in lines)]


def _in_text(quantity: tuple[str, str, Any]) -> tuple[str, str, str]:
    symbol, meaning, value = quantity
    return symbol, meaning, _text(value)


def _text(value: Any) -> str:
    return np.array2string(
        np.asarray(value), precision=6, suppress_small=True, threshold=60, max_line_width=73
    )
