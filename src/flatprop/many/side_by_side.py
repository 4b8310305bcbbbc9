"""Whether members are trained side by side in lanes, or one after the other: decided here only.

| the members | are trained |
| --- | --- |
| have what the kernels over lanes lack (see `obstacle`) | one after the other |
| are small (see `is_small`) | side by side |
| are others | one after the other |
"""

import numpy as np

from flatprop.formulas.optimizer import Optimizer
from flatprop.formulas.schedules import as_schedule
from flatprop.kernels.network.records import DENSE
from flatprop.many.ensemble_task import EnsembleTask

SIMPLE = frozenset(("epochs", "batch_size", "shuffle", "tol", "clip_norm"))
"""The options that the kernels over lanes know."""


def obstacle(task: EnsembleTask) -> str:
    """What the kernels over lanes lack for this training, or ""."""
    model, options = task.model, task.options
    more = {name for name in options.keys() - SIMPLE if options[name] is not None}
    if more - {"derivative_weight"}:
        return ", ".join(sorted(more))
    if not isinstance(task.optimizer, Optimizer):
        return "a solver"
    if any(as_schedule(each.learning_rate).follow() for each in set(task.optimizers)):
        return "a schedule that follows the loss"
    if task.callbacks or task.derivatives is not None or task.own_trainable:
        return "callbacks, derivatives or masks by member"
    if (model.layers["kind"] != DENSE).any() or model.loss_function.has_function:
        return "other layers than dense ones, or a loss that has a function"
    if any(layer.regularisation for layer in model.dense_layers):
        return "regularised layers"
    for samples in (task.samples, task.validation):
        if samples is not None and not isinstance(samples.x, np.ndarray):
            return "samples that are not in memory"
    weight = task.samples.weight
    if weight is not None and not (weight > 0).all():
        return "samples without weight"
    return ""


def is_small(task: EnsembleTask) -> bool:
    """Whether the members are so small that lanes are faster."""
    return bool(task.members >= 2)


def suits(task: EnsembleTask) -> bool:
    """Whether members are trained side by side."""
    return not obstacle(task) and is_small(task)
