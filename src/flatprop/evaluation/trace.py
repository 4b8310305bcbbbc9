"""One backpropagation laid open, and the check of a gradient by finite differences."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop.evaluation import calls
from flatprop.evaluation.values import loss_and_gradient, loss_over, scale_of
from flatprop.formulas.loss import OwnFunction
from flatprop.formulas.losses import CrossEntropy
from flatprop.kernels.network import entry_points
from flatprop.kernels.network.traced import Quantities
from flatprop.model.model import Model
from flatprop.numbers.numbers import central_difference
from flatprop.samples.in_memory import in_memory
from flatprop.validation.arrays import Array, aligned_copy, aligned_empty


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

    def __str__(self) -> str:
        samples = self.y.shape[0]
        lines = [
            f"One backpropagation: {_many(len(self.layers), 'layer')}, "
            f"{_many(samples, 'sample')}, one row each",
            "",
            "FORWARD",
        ]
        for number, layer in enumerate(self.layers, start=1):
            inputs, units = layer.x.shape[1], layer.a.shape[1]
            source = "the inputs" if number == 1 else f"a of layer {number - 1}"
            lines += [
                "",
                f"layer {number}: {_many(inputs, 'input')} -> "
                f"{_many(units, 'unit')}, {layer.activation}",
                *_quantity("x", source, layer.x),
            ]
            if layer.is_dense:
                lines += [
                    *_quantity("W", "weights", layer.W),
                    *_quantity("b", "biases", layer.b),
                    *_quantity("z", "x W + b", layer.z),
                    *_quantity("a", f"{layer.activation}(z)", layer.a),
                ]
            else:
                if layer.W is not None:
                    lines += _quantity("γ", "scale", layer.W) + _quantity("β", "shift", layer.b)
                lines += _quantity("a", FORMULAS.get(layer.activation, "x"), layer.a)
        lines += [
            "",
            f"loss: {self.loss_name}",
            *_quantity("ŷ", f"a of layer {len(self.layers)}", self.layers[-1].a),
            *_quantity("y", "the targets", self.y),
            *_quantity("L", self.definition, np.array(self.loss)),
            "",
            "BACKWARD, by the chain rule",
        ]
        for number in range(len(self.layers), 0, -1):
            layer = self.layers[number - 1]
            last = number == len(self.layers)
            source = "slope of the loss"
            if not last:
                behind = self.layers[number]
                source = f"∂L/∂z Wᵀ of layer {number + 1}"
                if not behind.is_dense:
                    source = f"∂L/∂x of layer {number + 1}"
            slope, chain = [], "a (∂L/∂a - Σ a ∂L/∂a)"
            if not layer.is_dense:
                lines += ["", f"layer {number}", *_quantity("∂L/∂a", source, layer.dL_da)]
                if layer.dL_dW is not None:
                    lines += _quantity("∂L/∂γ", "x̂ ∂L/∂a, summed over samples", layer.dL_dW)
                    lines += _quantity("∂L/∂β", "∂L/∂a, summed over samples", layer.dL_db)
                continue
            if layer.da_dz is not None:
                slope = _quantity("∂a/∂z", f"slope of {layer.activation} at z", layer.da_dz)
                chain = "∂L/∂a · ∂a/∂z"
            lines += [
                "",
                f"layer {number}",
                *_quantity("∂L/∂a", source, layer.dL_da),
                *slope,
                *_quantity("∂L/∂z", chain, layer.dL_dz),
                *_quantity("∂L/∂W", "xᵀ ∂L/∂z", layer.dL_dW),
                *_quantity("∂L/∂b", "∂L/∂z, summed over samples", layer.dL_db),
            ]
        return "\n".join(lines)


def trace(network: Model, X: ArrayLike, y: ArrayLike) -> Trace:
    """Every quantity of one backpropagation.

    Parameters
    ----------
    network
        The network.
    X, y
        As for `Network.loss`.

    Returns
    -------
    Trace
        The loss, and for every layer z, a, ∂L/∂a, ∂L/∂z, ∂L/∂W and ∂L/∂b.

    Raises
    ------
    TypeError, ValueError
        As for `Network.loss`.
    """
    data = in_memory(network, X, y)
    rows, units = data.rows, [layer.units for layer in network.dense]
    kept = Quantities(*np.empty((len(Quantities._fields), rows * sum(units)), network.dtype))
    gradient, scale = aligned_empty(network.params.size, network.dtype), scale_of(network, data)
    block, total = calls.block_for(network, rows), 0.0
    for part in calls.in_time(network, rows, block.rows, calls.GRADIENT):
        total = entry_points.trace(
            *network._arrays, data, part.start, part.stop, total, scale, gradient, block, kept
        )

    target = data.y.reshape(rows, -1).copy()  # writable, as the one-hot rows below
    if network.loss_function.domain == "classes" and np.ndim(y) == 1:
        target = np.eye(network.outputs, dtype=network.dtype)[target[:, 0].astype(int)]
    layers: list[LayerTrace] = []
    x, end = data.x.reshape(rows, -1), 0
    pairs, slopes = iter(network.parameter_pairs()), iter(network.parameter_pairs(gradient))
    for layer, inputs in zip(network.dense, network.layers["inputs"], strict=True):
        here = slice(end, end := end + rows * layer.units)
        z, a, da_dz, dL_da, dL_dz = (q[here].reshape(rows, -1) for q in kept)
        slope = None if layer.activation == "softmax" else da_dz
        W = b = dW = db = None
        if layer.n_params(int(inputs)):
            W, b = (parameter.copy() for parameter in next(pairs))
            dW, db = next(slopes)
        layers.append(LayerTrace(layer.name, x, W, b, z, a, slope, dL_da, dL_dz, dW, db))
        x = a
    layers[-1].dL_da[:] = _slope_of_loss(network, a, target, scale)
    function = network.loss_function
    source = function.function if isinstance(function, OwnFunction) else type(function)
    definition = " ".join((source.__doc__ or "").split("\n\n")[0].split()).rstrip(".")
    definition = definition or function.name
    return Trace(total * scale, layers, target, function.name, definition)


def _slope_of_loss(network: Model, prediction: Array, y: Array, scale: float) -> Array:
    """∂L/∂ŷ, from the definition of the loss also where training starts from the logits."""
    function = network.loss_function
    if isinstance(function, CrossEntropy) and function.has_function:
        y = function.smoothed(y)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(y > 0, -y / prediction, 0) * scale, prediction.dtype)
    if function.name == "binary_cross_entropy":
        with np.errstate(divide="ignore", invalid="ignore"):
            ones = np.where(y > 0, -y / prediction, 0)
            zeros = np.where(y < 1, (1 - y) / (1 - prediction), 0)
        return np.asarray((ones + zeros) * scale, prediction.dtype)
    slope = np.empty_like(prediction)
    entry_points.slope_of_loss(
        network.objectives, scale, prediction, y, np.ones_like(prediction), slope
    )
    return slope


def check_gradients(
    network: Model, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Compare `loss_and_gradient` with central finite differences.

    Every parameter is moved by ±h and ±2h, and the derivative taken as
    (8 (L(+h) - L(-h)) - (L(+2h) - L(-2h))) / 12h (Fornberg 1988), in float64
    whatever the dtype of the network.

    Parameters
    ----------
    network
        The network; it is not changed.
    X, y, sample_weight
        As for `Network.loss`.

    Returns
    -------
    float
        The largest relative error, |g - d| / max(|g|, |d|, s), where s is a
        thousandth of the largest |g|: differences cannot resolve less. Where a
        kink of relu, mae or the like lies within the step, the smaller of two
        steps counts. NaN where the loss or a gradient is not finite.

    Raises
    ------
    TypeError, ValueError
        As for `Network.loss`.
    """
    _, gradient = loss_and_gradient(network, X, y, sample_weight)
    params = aligned_copy(network.params.astype(np.float64))
    double = Model.with_params(
        network.inputs, network.dense, network.loss_function, "float64", None, params
    )
    given = np.asarray(X, network.dtype), np.asarray(y, network.dtype)
    data = in_memory(double, *given, sample_weight)
    block = calls.block_for(double, data.rows)

    exact = gradient.astype(np.float64)
    floor = max(1e-3 * float(np.abs(exact).max()), 1e-300)
    worst = 0.0
    for place, slope in enumerate(exact):
        middle = float(params[place])

        def loss_at(value: float, place: int = place) -> float:
            params[place] = value
            return loss_over(double, data, block)

        errors = []
        for step in (1e-3, 1e-5):
            difference = central_difference(loss_at, middle, step * max(1.0, abs(middle)))
            scale = max(abs(slope), abs(difference), floor)
            errors.append(abs(slope - difference) / scale)
        params[place] = middle
        if not math.isfinite(min(errors)):
            return math.nan
        worst = max(worst, min(errors))
    return worst


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _quantity(symbol: str, meaning: str, value: Any) -> list[str]:
    """One quantity, its numbers beside it or below it."""
    text = np.array2string(
        np.asarray(value), precision=6, suppress_small=True, threshold=60, max_line_width=76
    )
    label = f"  {symbol:<6}= {meaning}"
    lines = text.split("\n")
    if len(lines) == 1 and len(label) + len(text) < 78:
        return [f"{label:<37} = {text}"]
    return [label, *(f"      {line}" for line in lines)]
