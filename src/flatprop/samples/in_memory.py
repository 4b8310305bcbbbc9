"""Samples that are in memory as a whole."""

from typing import Any

from flatprop.kernels.network.entry_points import Data
from flatprop.model.model import Model
from flatprop.validation import checks
from flatprop.validation.arrays import flat


def in_memory(model: Model, X: Any, y: Any, sample_weight: Any = None) -> Data:
    """Samples and targets, contiguous and of the network's dtype."""
    x = checks.inputs(X, model.inputs, model.dtype)
    rows = x.shape[0]
    target = checks.targets(y, rows, model.outputs, model.loss_function.domain, model.dtype)
    weight = checks.sample_weights(sample_weight, rows, model.dtype)
    return Data(flat(x), flat(target), flat(weight), rows)
