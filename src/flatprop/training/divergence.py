"""Why a loss is not finite: what a user is told, and what there is to try.

Looked for once a training has ended by it. Targets and weights that overflow by themselves do
so whatever the parameters are; so they are tried on the same network with all parameters 0.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from flatprop.evaluation import calls
from flatprop.kernels.network import entry_points
from flatprop.validation import checks
from flatprop.validation.arrays import read_only

if TYPE_CHECKING:
    from flatprop.formulas.optimizers import Optimizer
    from flatprop.network import Network

FEW_ROWS = 64
"""How many of the largest inputs, targets and weights are tried."""
LARGE = 1e3
"""Inputs and targets beyond this are named beside steps that went too far."""
POSITIVE = ("exp", "softplus", "sigmoid", "softmax")
"""The activations of which no output is below 0 or, but by rounding, 0."""
RUINED = "a callback left parameters that are not finite"
UNRUINED = "a callback that writes finite numbers into epoch.network.params, or none"


def told(where: str, what: str, cause: str, advice: str) -> str:
    """One message of all this."""
    because = f"; {cause}" if cause else ""
    return (
        f"training diverged {where}: {what}{because}. The last parameters known to be finite were "
        f"kept. Try {advice}."
    )


def cause_in_samples(network: "Network", data: Any, of: str = "") -> tuple[str, str]:
    """What in the samples is too large for any parameters, and what to do; or two empty texts.

    `of` is put behind what is named: " of the validation data". Samples that are not in memory
    are not looked at.
    """
    if not isinstance(data, entry_points.Data):
        return "", ""
    few = _extremes(data)
    one = np.ones((), network.dtype)
    tame = few._replace(y=read_only(np.clip(few.y, -one, one)), weight=few.weight[:0])
    still = network.copy()
    still.params[:] = 0
    alike = few._replace(weight=few.weight[:0])
    dtype = network.dtype
    if not _is_finite(still, tame):
        return "", ""
    if _is_finite(still, few):
        # Not the targets. Weights so large can be borne by the smallest of losses only.
        huge = few.weight.size and float(few.weight.max()) > math.sqrt(np.finfo(dtype).max)
        if not huge or not _is_finite(network, alike):
            return "", ""
    elif not _is_finite(still, alike):
        largest = float(np.abs(few.y).max())
        return (
            f"with targets{of} of up to {largest:.3g} the loss overflows {dtype}, whatever the "
            "parameters are",
            "targets scaled to about 1" + _wider(dtype),
        )
    largest = float(few.weight.max())
    advice = "smaller sample weights"
    if network.loss_function.divisor(1):
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


def of_frozen(
    network: "Network", optimizer: "Optimizer", state: Any, clip_norm: float | None
) -> str:
    """What is told where an optimizer's `state` has overflowed; "" where it is finite.

    An infinite mean of squared gradients makes every later step 0, and it never falls again.
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


def scaled(network: "Network", other: str) -> str:
    """What to try beside another thing, where nothing more is known."""
    return f"{other}, inputs and targets scaled to about 1{_wider(network.dtype)}"


def of_updates(network: "Network", data: Any, updates: int, steps: str) -> tuple[str, str]:
    """The same for the training data after so many updates, with causes beside the samples.

    `steps` is what to try where these have led too far.
    """
    cause, advice = _cause_in_data(network, data)
    if cause:
        return cause, advice
    if updates == 0:
        cause = f"the loss is so at the initial parameters already{_largest_input(data)}"
        return cause, scaled(network, "smaller initial parameters")
    largest = _largest(data)
    if max(largest.values(), default=0.0) > LARGE:
        cause = " and ".join(f"{name} reach {size:.3g}" for name, size in largest.items())
        return cause, f"inputs and targets scaled to about 1, {steps}{_wider(network.dtype)}"
    return "", scaled(network, steps)


def of_validation(
    network: "Network",
    data: Any,
    validation: Any,
    loss: float,
    steps: str,
    name: str = "validation_data",
) -> tuple[str, str]:
    """The same for the loss of the validation data, where that of the training data is `loss`.

    `steps` is what to try where the parameters are the reason; `name` what the data are called.
    """
    told = f"that of the training data is {loss:.4g}"
    cause, advice = cause_in_samples(network, validation, f" of {name}")
    if not cause:
        cause, advice = _cause_in_outputs(network, validation)
    if cause:
        return f"{told}; {cause}", advice
    if not isinstance(data, entry_points.Data) or not isinstance(validation, entry_points.Data):
        return told, f"validation data scaled as the training data are, {steps}"
    here, there = (float(np.abs(d.x).max()) for d in (data, validation))
    told += f"; inputs of the training data reach {here:.3g}, of the validation data {there:.3g}"
    if there > 10 * here:
        return told, "validation data scaled by the same numbers as the training data"
    return told, steps


def _cause_in_data(network: "Network", data: Any) -> tuple[str, str]:
    for look in (cause_in_samples, _cause_in_outputs, _cause_in_inputs):
        cause, advice = look(network, data)
        if cause:
            return cause, advice
    return "", ""


def _cause_in_outputs(network: "Network", data: Any) -> tuple[str, str]:
    """Whether a loss that takes the logarithm of the outputs meets some that are not positive."""
    last = network.dense[-1]
    logarithm = network.loss_function.domain == "non-negative"
    if not logarithm or last.activation in POSITIVE or not isinstance(data, entry_points.Data):
        return "", ""
    with np.errstate(all="ignore"):
        outputs = network.predict(data.x.reshape(data.rows, -1))
    name = network.loss_function.name
    least = "" if not (outputs <= 0).any() else f", and are as low as {float(outputs.min()):.3g}"
    return (
        f'the loss "{name}" takes the logarithm of the outputs, which have to be positive, but '
        f"those of {last.activation!r} need not be{least}".replace("'", '"'),
        f'fp.Dense({network.outputs}, "exp") or fp.Dense({network.outputs}, "softplus") as the '
        "last layer",
    )


def _cause_in_inputs(network: "Network", data: Any) -> tuple[str, str]:
    """The same for inputs that are too large for parameters of a common size."""
    if not isinstance(data, entry_points.Data):
        return "", ""
    sizes = np.abs(data.x.reshape(data.rows, -1)).max(axis=1)
    few = min(FEW_ROWS, data.rows)
    largest = _rows(data, np.argpartition(sizes, data.rows - few)[-few:])
    one = np.ones((), network.dtype)
    common = network.copy()  # where steps went too far, they are not what inputs meet
    np.clip(common.params, -one, one, out=common.params)
    tame = largest._replace(x=read_only(np.clip(largest.x, -one, one)))
    if _is_finite(common, largest) or not _is_finite(common, tame):
        return "", ""
    return (
        f"with inputs of up to {float(sizes.max()):.3g} the loss or its gradient overflows "
        f"{network.dtype}, though no parameter is beyond 1",
        "inputs and targets scaled to about 1" + _wider(network.dtype),
    )


def _extremes(data: entry_points.Data) -> entry_points.Data:
    """The few samples with the largest targets, weights, and products of both."""
    rows = data.rows
    targets = np.abs(data.y.reshape(rows, -1)).max(axis=1).astype(np.float64)
    measures = [targets]
    if data.weight.size:
        weight = data.weight.astype(np.float64)
        measures += [weight, np.log(np.maximum(weight, 1e-300)) + np.log1p(targets)]
    few = min(FEW_ROWS, rows)
    chosen = np.unique(np.concatenate([np.argpartition(m, rows - few)[-few:] for m in measures]))

    return _rows(data, chosen)


def _rows(data: entry_points.Data, chosen: Any) -> entry_points.Data:
    """Some of the samples, a copy."""

    def some(flat: Any) -> Any:
        return read_only(flat.reshape(data.rows, -1)[chosen].reshape(-1)) if flat.size else flat

    return entry_points.Data(some(data.x), some(data.y), some(data.weight), len(chosen))


def _is_finite(network: "Network", data: entry_points.Data) -> bool:
    """Whether loss and gradient are."""
    gradient = np.empty_like(network.params)
    scale = network.scale(data)
    total = calls.loss_and_gradient(network, data, scale, gradient, network.block(data))
    return math.isfinite(total * scale) and bool(np.isfinite(gradient).all())


def _largest_input(data: Any) -> str:
    if not isinstance(data, entry_points.Data):
        return ""
    return f", with inputs of up to {float(np.abs(data.x).max()):.3g}"


def _largest(data: Any) -> dict[str, float]:
    """What inputs and targets reach."""
    if not isinstance(data, entry_points.Data):
        return {}
    given = {"inputs": data.x, "targets": data.y}
    return {name: float(np.abs(values).max()) for name, values in given.items()}


def _wider(dtype: np.dtype[Any]) -> str:
    return ', or dtype="float64"' if dtype == np.float32 else ""
