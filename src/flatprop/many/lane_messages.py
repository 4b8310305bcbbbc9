"""What is told of members that were trained side by side: their history, and warnings."""

from collections.abc import Mapping, Sequence

import numpy as np

from flatprop.formulas.optimizer import Optimizer
from flatprop.many.ensemble_history import EnsembleHistory
from flatprop.many.ensemble_task import EnsembleTask
from flatprop.many.shared_out import warn_together
from flatprop.samples.in_memory import in_memory
from flatprop.training import divergence, resolution
from flatprop.validation.alerts import DivergenceWarning
from flatprop.validation.arrays import Array

MOST_EXPLAINED = 10
"""For so many members a cause is looked for, which takes longer than some trainings."""


def look_at_columns(task: EnsembleTask) -> None:
    """Warn of columns of X that vary too little, in the samples of the first member with such."""
    model, samples = task.model, task.samples
    first = 0
    if samples.own[0]:
        with np.errstate(over="ignore"):
            low, high = samples.x.min(axis=1), samples.x.max(axis=1)
        narrow = resolution.is_narrow(low, high, float(np.finfo(model.dtype).eps)).any(axis=1)
        first = int(np.argmax(narrow))
    data = in_memory(model, *samples.of(first), by_class=False)
    given = np.asarray(task.given)[first] if samples.own[0] else task.given
    resolution.look_at(given, data, model.inputs, model.dtype)


def told_of(
    task: EnsembleTask,
    history: EnsembleHistory,
    updates: Sequence[int],
    clip_norm: float | None,
    states: Mapping[int, Array],
) -> tuple[str, ...]:
    """The message for each member that diverged or no longer moves; warns of them, too.

    `updates` says how many each member has had, `states` has those optimizer's states that are not
    finite.
    """
    found = [""] * task.members
    explained = 0
    for i in range(task.members):
        if history.stopped_by[i] == "diverged":
            found[i] = _of_divergence(task, history, i, updates[i], clip_norm, explained)
            explained += 1
        elif i in states:
            optimizer, network = task.optimizers[i], task.ensemble[i]
            if isinstance(optimizer, Optimizer):
                found[i] = divergence.of_frozen(network, optimizer, states[i], clip_norm)
    warn_together([[(text, DivergenceWarning)] if text else [] for text in found], "member")
    return tuple(found)


def _of_divergence(
    task: EnsembleTask,
    history: EnsembleHistory,
    i: int,
    updates: int,
    clip_norm: float | None,
    explained: int,
) -> str:
    own, network = history[i], task.ensemble[i]
    epoch = own.epochs
    rate = history.learning_rate[min(epoch, history.epochs - 1), i] if history.epochs else np.nan
    steps = divergence.smaller_steps(float(rate), clip_norm)
    data = in_memory(network, *task.samples.of(i))
    if task.validation is not None and len(own.val_loss) and not np.isfinite(own.val_loss[-1]):
        validation = in_memory(network, *task.validation.of(i))
        why = divergence.of_validation(network, data, validation, float(own.loss[-1]), steps)
        what = "the loss of the validation data is not finite"
        return divergence.told(f"in epoch {epoch - 1}", what, *why)
    why = "", divergence.scaled(network, steps)
    if explained < MOST_EXPLAINED:
        why = divergence.of_updates(network, data, updates, steps)
    where = f"in epoch {epoch}, after {updates} updates"
    return divergence.told(where, "the loss is not finite", *why)
