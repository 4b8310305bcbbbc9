"""Values and objects as text, for messages that tell the user what to write."""

import dataclasses
from typing import Any

import numpy as np


def written(value: object) -> str:
    """A value as it is written in code; "..." if that is long."""
    ours = type(value).__module__.startswith("flatprop.")
    if ours and dataclasses.is_dataclass(value):
        return call_of(type(value), settings_of(value))
    if isinstance(value, np.generic):
        value = value.item()
    text = repr(value)
    return text if len(text) <= 40 else "..."


def settings_of(given: object) -> dict[str, str]:
    """The settings of an object that differ from the defaults, as text."""
    if isinstance(given, type) or not dataclasses.is_dataclass(given):
        return {}
    values = {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}
    defaults = defaults_of(type(given))
    return {name: written(v) for name, v in values.items() if v != defaults[name]}


def defaults_of(kind: Any) -> dict[str, Any]:
    """The settings of a class and their defaults."""
    return {field.name: field.default for field in dataclasses.fields(kind)}


def call_of(kind: Any, settings: dict[str, str]) -> str:
    """The call that makes an object; a learning rate comes first, without its name."""
    given = [f"{name}={text}" for name, text in settings.items() if name != "learning_rate"]
    usual = defaults_of(kind).get("learning_rate")
    if usual is not None:
        if usual is dataclasses.MISSING or kind.__name__ == "SGD":
            usual = 0.01
        given.insert(0, settings.get("learning_rate", repr(usual)))
    return f"{name_of(kind)}({', '.join(given)})"


def name_of(kind: type) -> str:
    """The name of a class as it is written in code, with `fp.` if it is of this package."""
    module = kind.__module__.split(".")
    if module[0] != "flatprop":
        return kind.__name__
    return f"fp.{'schedules.' * (module[-1] == 'schedules')}{kind.__name__}"
