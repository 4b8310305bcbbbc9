"""One backpropagation laid open, and the check of a gradient by finite differences."""

import math

import numpy as np
from numpy.typing import ArrayLike

from flatprop.evaluation import calls
from flatprop.evaluation.laid_open import LayerTrace, Trace
from flatprop.evaluation.values import loss_and_gradient, loss_over, scale_of
from flatprop.formulas.loss import OwnFunction
from flatprop.formulas.losses import CrossEntropy
from flatprop.kernels.network import entry_points
from flatprop.kernels.network.traced import Quantities
from flatprop.model.model import Model
from flatprop.numbers.numbers import central_difference
from flatprop.samples.in_memory import in_memory
from flatprop.validation.arrays import Array, aligned_copy, aligned_empty


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
