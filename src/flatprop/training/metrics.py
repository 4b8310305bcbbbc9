"""Metrics: what a user measures after every epoch, beside the loss."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from flatprop.evaluation.values import predict
from flatprop.model.model import Model
from flatprop.samples.labels import is_zero_or_one, labels_of
from flatprop.samples.samples import Samples
from flatprop.validation import checks
from flatprop.validation.arrays import Array, read_only

Metric: TypeAlias = Callable[[Any, Any], float]

FOR_OUTPUTS = ("y_score", "y_proba", "y_prob", "pred_decision")
"""A function whose second parameter is called so gets the network's outputs, as scikit-learn's
functions of scores and probabilities do ..."""
NAMED_OTHERWISE = ("log_loss", "d2_log_loss_score")
"""... and these, whose second parameter was called y_pred before scikit-learn 1.9."""
READ_AT_ONCE = 8192
"""How many rows are taken at a time of samples that are not in memory."""


class Metrics:
    """The metrics of one training.

    Parameters
    ----------
    network
        The network that is trained.
    functions
        The argument `metrics` of `fit`.
    samples
        What is measured on.
    """

    def __init__(
        self, network: Model, functions: Mapping[str, Metric] | None, samples: Samples
    ) -> None:
        self._network = network
        self._samples = samples
        self._functions = {} if functions is None else _checked(functions)
        self._gets_outputs = {name: _gets_outputs(f) for name, f in self._functions.items()}
        self._y: Array | None = None
        """The targets, once they have been collected."""
        self.rows: list[list[float]] = []
        """The values after each epoch, in the order of `names`."""
        if self and samples.batches_given:
            raise ValueError(
                "metrics need samples that can be gone through after an epoch, but X gives "
                "batches; give validation_data=(X, y), on which they are then measured"
            )

    def __bool__(self) -> bool:
        return bool(self._functions)

    @property
    def names(self) -> list[str]:
        """The names of the metrics."""
        return list(self._functions)

    def measure(self, epoch: int) -> dict[str, float]:
        """The values after this epoch, by name; NaN where an output is not finite."""
        if not self:
            return {}
        y, outputs = self._targets_and_outputs()
        found = self._values(epoch, y, outputs)
        self.rows.append(list(found.values()))
        return found

    def _values(self, epoch: int, y: Array, outputs: Array) -> dict[str, float]:
        """The values for all samples."""
        if np.isfinite(outputs).all():
            y, prediction = _comparable(self._network, y, outputs)
            outputs = _one_dimension_less(outputs)
            return {
                name: self._value(name, epoch, y, outputs if of_outputs else prediction)
                for name, of_outputs in self._gets_outputs.items()
            }
        return dict.fromkeys(self._functions, math.nan)

    def table(self, epochs: int) -> Array:
        """(metrics, epochs), float64; NaN after an epoch that was not measured."""
        table = np.full((len(self._functions), epochs), np.nan)
        known = self.rows[:epochs]
        if known:
            table[:, : len(known)] = np.transpose(known)
        return table

    def _value(self, name: str, epoch: int, y: Array, prediction: Array) -> float:
        try:
            value = self._functions[name](y, prediction)
        except Exception as error:
            error.add_note(
                f"in metrics[{name!r}] after epoch {epoch}, which was called with "
                f"y, {y.dtype} {y.shape}, and the prediction, {prediction.dtype} "
                f"{prediction.shape}; the network keeps what it has learnt so far"
            )
            raise
        if not checks.is_number(value) or np.iscomplexobj(value):
            raise TypeError(
                f"metrics[{name!r}] must return one number, but after epoch {epoch} it returned "
                f"{value!r:.200}"
            )
        return float(value)

    def _targets_and_outputs(self) -> tuple[Array, Array]:
        """Of all samples, (rows, columns) and (rows, outputs)."""
        targets, outputs = [], []
        for part in self._samples.parts(READ_AT_ONCE):
            outputs.append(predict(self._network, part.x.reshape(part.rows, -1)))
            if self._y is None:
                y = part.y.reshape(part.rows, -1)
                targets.append(y if self._samples.in_memory else y.copy())
        if self._y is None:
            self._y = targets[0] if len(targets) == 1 else np.concatenate(targets)
        return self._y, outputs[0] if len(outputs) == 1 else np.concatenate(outputs)


def _comparable(network: Model, y: Array, outputs: Array) -> tuple[Array, Array]:
    """Targets, and what the network says in their place.

    | targets | prediction |
    | --- | --- |
    | class indices | the index of the largest output |
    | rows with one 1 | rows with a 1 at the largest output |
    | 0 and 1, with binary_cross_entropy | 1 where the output is above ½ |
    | anything else | the outputs, or what they predict for the targets: see `Loss.point` |
    """
    domain, labels = network.loss_function.domain, labels_of(network, y)
    if domain == "classes" and labels is not None:
        found = outputs.argmax(axis=1)
        if y.shape[1] == network.outputs:
            several = np.eye(network.outputs, dtype=np.int64)
            return read_only(several[labels]), read_only(several[found])
        return read_only(labels), read_only(found)
    if domain == "fraction" and is_zero_or_one(y):
        y, outputs = y.astype(np.int64), (outputs > 0.5).astype(np.int64)
    predicted = network.loss_function.point(outputs)
    return _one_dimension_less(y), _one_dimension_less(predicted)


def _one_dimension_less(array: Array) -> Array:
    """(rows,) if there is one column."""
    return read_only(array[:, 0] if array.shape[1] == 1 else array)


def _checked(functions: Any) -> dict[str, Metric]:
    if not isinstance(functions, Mapping):
        raise TypeError(
            f"metrics must be a dict from a name to a function of (y, prediction), got "
            f"{functions!r:.200}"
        )
    for name, function in functions.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"metrics must have names, got {name!r}")
        if not callable(function):
            raise TypeError(f"metrics[{name!r}] must be a function, got {function!r:.200}")
        signature = _signature(function)
        try:
            if signature is not None:
                signature.bind(None, None)
        except TypeError:
            raise TypeError(
                f"metrics[{name!r}] must be a function of two arguments, (y, prediction), but its "
                f"arguments are {signature}"
            ) from None
    return dict(functions)


def _signature(function: Metric) -> inspect.Signature | None:
    """The arguments of a function; None if Python does not know them."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _gets_outputs(function: Metric) -> bool:
    """Whether a function takes scores or probabilities, and not what stands in y."""
    signature = _signature(function)
    second = [] if signature is None else list(signature.parameters)[1:2]
    name = getattr(getattr(function, "func", function), "__name__", "")
    return name in NAMED_OTHERWISE or any(one in FOR_OUTPUTS for one in second)
