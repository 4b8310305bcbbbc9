"""Members that are trained one after the other, each by `Network.fit`, over threads."""

from copy import deepcopy
from functools import partial

from flatprop.many.ensemble_history import EnsembleHistory
from flatprop.many.ensemble_task import EnsembleTask
from flatprop.many.member_samples import naming_member
from flatprop.many.shared_out import train_each, warn_together
from flatprop.training import fit as training
from flatprop.training import seeds
from flatprop.training.history import History


def train(task: EnsembleTask) -> EnsembleHistory:
    """Train each member."""
    trainings = [partial(_train, task, i) for i in range(task.members)]
    results, warned = train_each(trainings, task.threads, task.progress, "member")
    errors = [error for error in results if isinstance(error, Exception)]
    if task.source is not None:
        seeds.drawn(task.source)
    if errors:
        raise errors[0]
    histories = [history for history in results if isinstance(history, History)]
    warn_together(warned, "member")
    return EnsembleHistory.of(histories)


def _train(task: EnsembleTask, i: int) -> History:
    X, y, weight = task.samples.of(i)
    each = task.options | {"optimizer": task.optimizers[i], "callbacks": task.called}
    if task.validation is not None:
        data = task.validation.of(i)
        each["validation_data"] = data[: 2 if data[2] is None else 3]
    if task.patience is not None:
        each["patience"] = task.patience[i]
    if task.derivatives is not None:
        each["derivatives"] = task.derivatives[i] if task.own_derivatives else task.derivatives
    each["trainable"] = task.trainable[i] if task.own_trainable else task.trainable
    rng = None if task.source is None else deepcopy(task.source)
    with naming_member(i):
        return training.fit(task.ensemble[i], X, y, sample_weight=weight, rng=rng, **each)
