"""Whether members are trained side by side in lanes, or one after the other: decided here only.

| the members | are trained |
| --- | --- |
| have what the kernels over lanes lack (see `obstacle`) | one after the other |
| are small (see `is_small`) | side by side |
| are others | one after the other |
"""

import numpy as np

from flatprop.evaluation import crew
from flatprop.formulas.optimizer import Optimizer
from flatprop.formulas.schedules import as_schedule
from flatprop.kernels.network.records import DENSE
from flatprop.many.ensemble_task import EnsembleTask
from flatprop.many.lane_sizes import padded, step_of
from flatprop.validation.checks import DEFAULT_BATCH_SIZE, count

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
    different = {id(each): each for each in task.optimizers if isinstance(each, Optimizer)}
    if any(as_schedule(each.learning_rate).follow() for each in different.values()):
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


PER_UNIT, PER_PARAMETER = 0.33, 0.08
"""Nanoseconds that a row takes for each unit and each parameter of a member in lanes, in float32
with AVX-512, where these constants were measured. Other vectors and float64 change both ways of
training alike."""
PER_PARAMETER_ALONE = 0.06
"""The same of a parameter by the kernels for one network, whose products have larger tiles ..."""
PER_STEP_ALONE, PER_ROW_ALONE = 300.0, 12.0
"""... and what each update, and each row of a network of up to `FEW_PARAMETERS`, take beside."""
FEW_PARAMETERS = 64
PER_TRAINING_ALONE = 250_000.0
"""What `Network.fit` takes before its first update."""
PER_NUMBER_GATHERED = 0.7
"""What a number of a sample takes where each member has its own order."""


def is_small(task: EnsembleTask) -> bool:
    """Whether the members are so small that lanes are faster.

    The two times are estimates by the constants above.
    """
    model, options, n = task.model, task.options, task.samples.x.shape[-2]
    given = options.get("batch_size", DEFAULT_BATCH_SIZE)
    rows = n if given is None else min(count("batch_size", given), n)
    steps = options["epochs"] * -(-n // rows)
    units, size = sum(layer.units for layer in model.dense), int(model.params.size)
    width = model.dtype.itemsize / 4
    with crew.using(task.threads):
        threads = crew.size_for(crew.MOST_THREADS)

    lanes = padded(task.members, model.dtype)
    gathered = 0.0
    if rows < n and task.source is None:
        gathered = PER_NUMBER_GATHERED * (model.inputs + model.targets)
    of_lane = rows * (width * (PER_UNIT * units + PER_PARAMETER * size) + gathered)
    in_lanes = lanes * of_lane / min(threads, lanes // step_of(model.dtype))

    of_row = width * (PER_UNIT * units + PER_PARAMETER_ALONE * size)
    of_row += PER_ROW_ALONE if size <= FEW_PARAMETERS else 0.0
    alone = PER_STEP_ALONE + rows * of_row + PER_TRAINING_ALONE / steps
    return bool(in_lanes < alone * task.members / min(threads, task.members))


def suits(task: EnsembleTask) -> bool:
    """Whether members are trained side by side."""
    return not obstacle(task) and is_small(task)
