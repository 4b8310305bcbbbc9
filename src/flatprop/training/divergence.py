"""Why a loss is not finite: what a user is told, and what the user can try.

The cause is looked for after the training has diverged. Some targets and weights are so large
that the loss overflows with any parameters. To find them, a copy of the network with all
parameters 0 is tried.
"""

import math
import time
from typing import Any

import numpy as np

from flatprop.evaluation import calls
from flatprop.evaluation.values import predict, scale_of, sum_and_gradient
from flatprop.formulas.optimizer import Optimizer
from flatprop.model.model import Model
from flatprop.samples.in_memory import Data
from flatprop.samples.samples import Samples
from flatprop.validation import checks
from flatprop.validation.arrays import read_only

ROWS_TRIED = 64
"""How many of the largest inputs, targets and weights are tried."""
LARGE = 1e3
"""If steps went too far, inputs and targets that are larger than this are named, too."""
POSITIVE = ("exp", "softplus", "sigmoid", "softmax")
"""The activations whose outputs are above 0, or 0 only by rounding."""
LOOK_SHARE = 0.02
"""The largest part of the time that looking for overflow in an optimizer's state may take."""
RUINED = "a callback left parameters that are not finite"
UNRUINED = "a callback that writes finite numbers into epoch.network.params, or none"


def told(where: str, what: str, cause: str, advice: str) -> str:
    """The whole message: where the training diverged, in what, why, and what to try."""
    because = f"; {cause}" if cause else ""
    return (
        f"training diverged {where}: {what}{because}. The last parameters known to be finite were "
        f"kept. Try {advice}."
    )


def _cause_in_samples(network: Model, data: Data, of: str = "") -> tuple[str, str]:
    """What in the samples is too large for any parameters, and what to do; or two empty texts.

    `of` says which samples these are, as in " of the validation data".
    """
    extremes = _extremes(data)
    unweighted = extremes._replace(weight=extremes.weight[:0])
    dtype = network.dtype
    one = np.ones((), dtype)
    harmless = unweighted._replace(y=read_only(np.clip(extremes.y, -one, one)))
    zero = network.copy()
    zero.params[:] = 0
    if not _is_finite(zero, harmless):
        return "", ""
    if _is_finite(zero, extremes):
        # Not the targets. Weights so large are a cause unless the loss is very small.
        weight = extremes.weight
        huge = weight.size and float(weight.max()) > math.sqrt(np.finfo(dtype).max)
        if not huge or not _is_finite(network, unweighted):
            return "", ""
    elif not _is_finite(zero, unweighted):
        largest = float(np.abs(extremes.y).max())
        return (
            f"with targets{of} of up to {largest:.3g} the loss overflows {dtype}, whatever the "
            "parameters are",
            "targets scaled to about 1" + _wider(dtype),
        )
    largest = float(extremes.weight.max())
    advice = "smaller sample weights"
    if network.loss_function.is_mean:
        advice = "sample_weight / sample_weight.mean(), for only their proportions count"
    return (
        f"with sample weights{of} of up to {largest:.3g} the loss overflows {dtype}, whatever the "
        "parameters are",
        advice + _wider(dtype),
    )


def smaller_steps(rate: float | None, clip_norm: float | None) -> str:
    """What to try where an optimizer's steps have led too far."""
    steps = f"a smaller learning rate (it was {rate:g})"
    return steps if clip_norm is not None else f"{steps}, clip_norm=1.0"


def of_frozen(network: Model, optimizer: Optimizer, state: Any, clip_norm: float | None) -> str:
    """What a user is told if an optimizer's `state` has overflowed; "" if the state is finite.

    A mean of squared gradients that is infinite stays so, and makes every later step 0.
    """
    if not optimizer.divides_by_squares or checks.is_finite(state):
        return ""
    count = int((~np.isfinite(state)).any(axis=0).sum())
    dtype = network.dtype
    clipping = "" if clip_norm is not None else ", clip_norm=1.0"
    return (
        f"the optimizer's mean of squared gradients has overflowed {dtype}: the gradient no "
        f"longer moves {count} of {network.params.size} parameters. Try inputs and targets scaled "
        f"to about 1{clipping}{_wider(dtype)}."
    )


class FrozenWatch:
    """Looks for an overflow of an optimizer's state now and then, and tells of it once."""

    def __init__(self) -> None:
        self._told = False
        self._next_look = 0.0

    def message(self, network: Model, optimizer: Optimizer, state: Any, clip_norm: float) -> str:
        """`of_frozen`, or "" if it was told already or `LOOK_SHARE` does not allow to look."""
        if self._told or (began := time.perf_counter()) < self._next_look:
            return ""
        message = of_frozen(network, optimizer, state, clip_norm or None)
        now = time.perf_counter()
        self._told, self._next_look = bool(message), now + (now - began) / LOOK_SHARE
        return message

    def __getstate__(self) -> dict[str, Any]:
        # The clock of another process may be far ahead.
        return self.__dict__ | {"_next_look": 0.0}


def scaled(network: Model, other: str) -> str:
    """What to try if no cause is known: `other`, and the usual scaling."""
    return f"{other}, inputs and targets scaled to about 1{_wider(network.dtype)}"


def of_updates(network: Model, samples: Samples, updates: int, steps: str) -> tuple[str, str]:
    """Cause and advice for a loss of the training data that is not finite after `updates`.

    `steps` is what to try if the optimizer's steps have led too far. Only samples in memory are
    looked at.
    """
    largest: dict[str, float] = {}
    if isinstance(samples, Data):
        for look in (_cause_in_samples, _cause_in_outputs, _cause_in_inputs):
            cause, advice = look(network, samples)
            if cause:
                return cause, advice
        largest = _largest(samples)
    if updates == 0:
        inputs = f", with inputs of up to {largest['inputs']:.3g}" if largest else ""
        cause = f"the loss is so at the initial parameters already{inputs}"
        return cause, scaled(network, "smaller initial parameters")
    if max(largest.values(), default=0.0) > LARGE:
        cause = " and ".join(f"{name} reach {size:.3g}" for name, size in largest.items())
        return cause, f"inputs and targets scaled to about 1, {steps}{_wider(network.dtype)}"
    return "", scaled(network, steps)


def of_validation(
    network: Model,
    samples: Samples,
    validation: Samples,
    loss: float,
    steps: str,
    name: str = "validation_data",
) -> tuple[str, str]:
    """Cause and advice if only the loss of the validation data is not finite.

    `loss` is the loss of the training data, `steps` what to try if the parameters are the
    cause, and `name` what the validation data are called.
    """
    facts = f"that of the training data is {loss:.4g}"
    if isinstance(validation, Data):
        cause, advice = _cause_in_samples(network, validation, f" of {name}")
        if not cause:
            cause, advice = _cause_in_outputs(network, validation)
        if cause:
            return f"{facts}; {cause}", advice
    if not (isinstance(samples, Data) and isinstance(validation, Data)):
        return facts, f"validation data scaled as the training data are, {steps}"
    here, there = (_largest(data)["inputs"] for data in (samples, validation))
    facts += f"; inputs of the training data reach {here:.3g}, of the validation data {there:.3g}"
    if there > 10 * here:
        return facts, "validation data scaled by the same numbers as the training data"
    return facts, steps


def _cause_in_outputs(network: Model, data: Data) -> tuple[str, str]:
    """Cause and advice if the loss takes logarithms of outputs that may not be positive."""
    last = network.dense[-1]
    logarithm = network.loss_function.domain == "non-negative"
    if not logarithm or last.activation in POSITIVE:
        return "", ""
    with np.errstate(all="ignore"):
        outputs = predict(network, data.x.reshape(data.rows, -1))
    name = network.loss_function.name
    least = "" if not (outputs <= 0).any() else f", and are as low as {float(outputs.min()):.3g}"
    return (
        f'the loss "{name}" takes the logarithm of the outputs, which have to be positive, but '
        f"those of {last.activation!r} need not be{least}".replace("'", '"'),
        f'fp.Dense({network.outputs}, "exp") or fp.Dense({network.outputs}, "softplus") as the '
        "last layer",
    )


def _cause_in_inputs(network: Model, data: Data) -> tuple[str, str]:
    """Cause and advice if inputs are too large for parameters of a common size."""
    sizes = np.abs(data.x.reshape(data.rows, -1)).max(axis=1)
    few = min(ROWS_TRIED, data.rows)
    largest = _rows(data, np.argpartition(sizes, data.rows - few)[-few:])
    one = np.ones((), network.dtype)
    small = network.copy()  # large parameters are a fault of the steps, not of the inputs
    np.clip(small.params, -one, one, out=small.params)
    harmless = largest._replace(x=read_only(np.clip(largest.x, -one, one)))
    if _is_finite(small, largest) or not _is_finite(small, harmless):
        return "", ""
    return (
        f"with inputs of up to {float(sizes.max()):.3g} the loss or its gradient overflows "
        f"{network.dtype}, though no parameter is beyond 1",
        "inputs and targets scaled to about 1" + _wider(network.dtype),
    )


def _extremes(data: Data) -> Data:
    """The few samples with the largest targets, weights, and products of both."""
    rows = data.rows
    targets = np.abs(data.y.reshape(rows, -1)).max(axis=1).astype(np.float64)
    measures = [targets]
    if data.weight.size:
        weight = data.weight.astype(np.float64)
        measures += [weight, np.log(np.maximum(weight, 1e-300)) + np.log1p(targets)]
    few = min(ROWS_TRIED, rows)
    chosen = np.unique(np.concatenate([np.argpartition(m, rows - few)[-few:] for m in measures]))
    return _rows(data, chosen)


def _rows(data: Data, chosen: Any) -> Data:
    """Some of the samples, a copy."""

    def some(flat: Any) -> Any:
        return read_only(flat.reshape(data.rows, -1)[chosen].reshape(-1)) if flat.size else flat

    return Data(some(data.x), some(data.y), some(data.weight), len(chosen))


def _is_finite(network: Model, data: Data) -> bool:
    """Whether loss and gradient are finite."""
    gradient = np.empty_like(network.params)
    scale = scale_of(network, data)
    block = calls.block_for(network, data.rows)
    total = sum_and_gradient(network, data, scale, gradient, block)
    return math.isfinite(total * scale) and bool(np.isfinite(gradient).all())


def _largest(data: Data) -> dict[str, float]:
    """The largest absolute value of the inputs, and of the targets."""
    given = {"inputs": data.x, "targets": data.y}
    return {name: float(np.abs(values).max()) for name, values in given.items()}


def _wider(dtype: np.dtype[Any]) -> str:
    return ', or dtype="float64"' if dtype == np.float32 else ""
