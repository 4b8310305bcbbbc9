"""The optimizer that somebody means, written as it has to be given here."""

import dataclasses
from typing import Any

import numpy as np


def optimizer_words(optimizer: object, value: object) -> dict[str, str]:
    """What stands in answers for `{value}`, and for `{rate}` and the like.

    Parameters
    ----------
    optimizer
        What was given beside it; None where nothing was.
    value
        What the setting was to be.
    """
    written = _written(value)
    # imported here: those modules decorate their classes with what this text goes into
    from flatprop.formulas import schedules
    from flatprop.formulas.optimizers import SGD, AdamW
    from flatprop.solvers import Solver

    kind = _class_of(optimizer)
    if issubclass(kind, Solver):
        none = f"leave it out: {_name_of(kind)} has no"
        return {
            "value": written,
            "rate": f"{none} learning rate",
            "schedule": f"{none} learning rate",
            "momentum": f"{none} momentum",
            "decay": f"{none} weight decay",
        }
    settings = _settings_of(optimizer)
    is_rate = isinstance(value, int | float | np.number | schedules.Schedule)
    rate = {"learning_rate": written} if is_rate and not isinstance(value, bool) else {}
    schedule = {"learning_rate": "fp.schedules.Cosine(0.01)"}
    if isinstance(value, schedules.Schedule):
        schedule = rate
    momentum = _call(kind, settings | {"momentum": written})
    if "momentum" not in _defaults(kind):
        momentum = _call(SGD, {"momentum": written})
    decay = _call(AdamW if optimizer is None else kind, settings | {"weight_decay": written})
    return {
        "value": written,
        "rate": f"optimizer={_call(kind, settings | rate)}",
        "schedule": f"optimizer={_call(kind, settings | schedule)}",
        "momentum": f"optimizer={momentum}",
        "decay": f"optimizer={decay}",
    }


def _class_of(optimizer: object) -> type:
    """That of an object, or the class or the name that was given; else the default's."""
    from flatprop.formulas.optimizers import OPTIMIZERS, Adam, Optimizer
    from flatprop.solvers import SOLVERS, Solver

    if isinstance(optimizer, str):
        known: dict[str, type] = {**OPTIMIZERS, **SOLVERS}
        return known.get(optimizer.lower(), Adam)
    kind = optimizer if isinstance(optimizer, type) else type(optimizer)
    return kind if issubclass(kind, (Optimizer, Solver)) else Adam


def _settings_of(given: object) -> dict[str, str]:
    """What an object was made with, beside the defaults."""
    if isinstance(given, type) or not dataclasses.is_dataclass(given):
        return {}
    values = {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}
    defaults = _defaults(type(given))
    return {name: _written(v) for name, v in values.items() if v != defaults[name]}


def _defaults(kind: Any) -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(kind)}


def _call(kind: Any, settings: dict[str, str]) -> str:
    """An optimizer as it is written: the rate first, without its name."""
    usual = _defaults(kind)["learning_rate"]
    if usual is dataclasses.MISSING or kind.__name__ == "SGD":
        usual = 0.01
    rate = settings.get("learning_rate", repr(usual))
    others = [f"{name}={text}" for name, text in settings.items() if name != "learning_rate"]
    return f"{_name_of(kind)}({', '.join([rate, *others])})"


def _name_of(kind: type) -> str:
    """As it is written: with `fp.` where it is one of this package's."""
    module = kind.__module__.split(".")
    if module[0] != "flatprop":
        return kind.__name__
    return f"fp.{'schedules.' * (module[-1] == 'schedules')}{kind.__name__}"


def _written(value: object) -> str:
    from flatprop.formulas.schedules import Schedule

    if isinstance(value, Schedule):
        return _call(type(value), _settings_of(value))
    if isinstance(value, np.generic):
        value = value.item()
    text = repr(value)
    return text if len(text) <= 40 else "..."
