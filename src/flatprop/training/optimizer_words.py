"""The optimizer that a user means, written as this library takes it."""

import numpy as np

from flatprop.formulas import schedules
from flatprop.formulas.optimizer import OPTIMIZERS, Optimizer
from flatprop.formulas.optimizers import SGD, Adam, AdamW
from flatprop.solvers import SOLVERS, Solver
from flatprop.validation.as_written import call_of, defaults_of, name_of, settings_of, written


def optimizer_words(optimizer: object, value: object) -> dict[str, str]:
    """What replaces `{value}`, `{rate}` and the other places of an answer in `other_names`.

    Parameters
    ----------
    optimizer
        The argument `optimizer` of the same call; None if there was none.
    value
        The value that was given to the unknown keyword.
    """
    text = written(value)
    kind = _class_of(optimizer)
    if issubclass(kind, Solver):
        none = f"leave it out: {name_of(kind)} has no"
        return {
            "value": text,
            "rate": f"{none} learning rate",
            "schedule": f"{none} learning rate",
            "momentum": f"{none} momentum",
            "decay": f"{none} weight decay",
        }
    settings = settings_of(optimizer)
    is_rate = isinstance(value, int | float | np.number | schedules.Schedule)
    rate = {"learning_rate": text} if is_rate and not isinstance(value, bool) else {}
    schedule = {"learning_rate": "fp.schedules.Cosine(0.01)"}
    if isinstance(value, schedules.Schedule):
        schedule = rate
    momentum = call_of(kind, settings | {"momentum": text})
    if "momentum" not in defaults_of(kind):
        momentum = call_of(SGD, {"momentum": text})
    decay = call_of(AdamW if optimizer is None else kind, settings | {"weight_decay": text})
    return {
        "value": text,
        "rate": f"optimizer={call_of(kind, settings | rate)}",
        "schedule": f"optimizer={call_of(kind, settings | schedule)}",
        "momentum": f"optimizer={momentum}",
        "decay": f"optimizer={decay}",
    }


def _class_of(optimizer: object) -> type:
    """The class of the optimizer or solver that was given; `Adam` if none is recognised."""
    if isinstance(optimizer, str):
        known: dict[str, type] = {**OPTIMIZERS, **SOLVERS}
        return known.get(optimizer.lower(), Adam)
    kind = optimizer if isinstance(optimizer, type) else type(optimizer)
    return kind if issubclass(kind, (Optimizer, Solver)) else Adam
