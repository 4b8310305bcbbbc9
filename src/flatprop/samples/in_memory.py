"""Samples that are taken into memory as a whole."""

from typing import Any

from flatprop.kernels.network.entry_points import Data
from flatprop.model.model import Model
from flatprop.validation import checks
from flatprop.validation.arrays import flat


def in_memory(network: Model, X: Any, y: Any, sample_weight: Any = None) -> Data:
    """Samples, targets and weights: checked, contiguous and of the network's dtype."""
    x = checks.inputs(X, network.inputs, network.dtype)
    rows = x.shape[0]
    target = checks.targets(y, rows, network.outputs, network.loss_function.domain, network.dtype)
    weight = checks.sample_weights(sample_weight, rows, network.dtype)
    return Data(flat(x), flat(target), flat(weight), rows)
