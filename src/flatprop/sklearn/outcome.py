"""What is said of a training that has ended with something in it that is not finite."""

import math
from typing import Any

from flatprop.formulas.optimizer import Optimizer
from flatprop.sklearn.fit_data import Task
from flatprop.solvers import LevenbergMarquardt, Solver
from flatprop.training import divergence
from flatprop.validation.alerts import DivergenceWarning, warn

NON_FINITE = "Solver produced non-finite parameter weights"
"""What scikit-learn says where nothing was learnt, too."""


def look_at(estimator: Any, task: Task, optimizer: Optimizer | Solver) -> None:
    """Raise where nothing was learnt; warn where something was.

    | what is not finite | one score is finite | no score is | there are no scores |
    | --- | --- | --- | --- |
    | the loss, or parameters that a callback left | warn | raise | raise |
    | the loss of the validation set | warn | raise | warn |
    | none of these, but the scores | | raise | |
    | what the optimizer remembers | warn | | warn |
    """
    course = task.course
    trainer = None if isinstance(optimizer, Solver) else course._optimizer
    scores = course.validation_scores_ if trainer is not None and estimator.early_stopping else []
    scored = any(map(math.isfinite, scores))
    unscored = bool(scores) and not scored
    # Interrupted in its first epoch, a training has no loss.
    finite = math.isfinite(course.loss_ or 0.0) and not task.reports.ruined
    steps = f"a smaller learning_rate_init (it was {estimator.learning_rate_init:g})"
    if isinstance(optimizer, LevenbergMarquardt):  # which has no penalty
        steps = "other initial weights (random_state)"
    elif trainer is None:
        steps = "more regularisation (alpha)"
    kept = ""
    if finite:
        what, cause, advice = _in_validation(task, unscored, steps)
    else:
        updates = 1 if trainer is None else trainer.updates
        what, cause, advice = _in_training(task, scored, updates, steps)
        if scored:
            kept = (
                " The weights with the best validation score so far, "
                f"{course.best_validation_score_:g}, were kept."
            )
    if not what:
        if trainer is not None and (frozen := trainer.frozen()):
            warn(_in_words_of_estimators(frozen), DivergenceWarning)
        return
    message = f"{what}{f'; {cause}' if cause else ''}.{kept} Try {advice}."
    message = _in_words_of_estimators(message)
    if unscored or not (finite or scored):
        raise ValueError(message)
    warn(message, DivergenceWarning)


def _in_training(task: Task, scored: bool, updates: int, steps: str) -> tuple[str, str, str]:
    """What is not finite, its cause if that is known, and what to try."""
    if task.reports.ruined:
        return divergence.RUINED[0].upper() + divergence.RUINED[1:], "", divergence.UNRUINED
    what = (
        f"The training diverged in iteration {task.course.n_iter_}: its loss is not finite"
        if scored
        else f"{NON_FINITE}. The input data may contain large values and need to be preprocessed"
    )
    return what, *divergence.of_updates(task.net, task.data, updates, steps)


def _in_validation(task: Task, unscored: bool, steps: str) -> tuple[str, str, str]:
    """The same; empty texts where all that there is is finite."""
    course, held = task.course, task.held
    if held is None or not course.validation_loss_curve_:
        return "", "", ""
    loss = course.validation_loss_curve_[-1]
    what = "No validation score was finite" if unscored else ""
    if not math.isfinite(loss):
        what = f"{what}{'. ' * unscored}The loss of the validation set is not finite"
        return what, *divergence.of_validation(
            task.net, task.data, held.data, course.loss_, steps, "the validation set"
        )
    cause = f"the loss of the validation set is {loss:.3g}, too large for its sums"
    return what, cause, "validation data scaled by the same numbers as the training data"


def _in_words_of_estimators(message: str) -> str:
    message = message.replace(", clip_norm=1.0", "")  # which they do not have
    return message.replace('dtype="float64"', "X in float64")
