"""Values and objects as a reader has to write them, for messages that say what to write."""

import dataclasses
from typing import Any

import numpy as np


def written(value: object) -> str:
    """A value as it is written, if that is short."""
    ours = type(value).__module__.startswith("flatprop.")
    if ours and dataclasses.is_dataclass(value):
        return call_of(type(value), settings_of(value))
    if isinstance(value, np.generic):
        value = value.item()
    text = repr(value)
    return text if len(text) <= 40 else "..."


def settings_of(given: object) -> dict[str, str]:
    """What an object was made with, beside the defaults."""
    if isinstance(given, type) or not dataclasses.is_dataclass(given):
        return {}
    values = {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}
    defaults = defaults_of(type(given))
    return {name: written(v) for name, v in values.items() if v != defaults[name]}


def defaults_of(kind: Any) -> dict[str, Any]:
    """The settings of a class, and what they are where they are left out."""
    return {field.name: field.default for field in dataclasses.fields(kind)}


def call_of(kind: Any, settings: dict[str, str]) -> str:
    """An object as it is made: a learning rate first, without its name."""
    given = [f"{name}={text}" for name, text in settings.items() if name != "learning_rate"]
    usual = defaults_of(kind).get("learning_rate")
    if usual is not None:
        if usual is dataclasses.MISSING or kind.__name__ == "SGD":
            usual = 0.01
        given.insert(0, settings.get("learning_rate", repr(usual)))
    return f"{name_of(kind)}({', '.join(given)})"


def name_of(kind: type) -> str:
    """As it is written: with `fp.` where it is one of this package's."""
    module = kind.__module__.split(".")
    if module[0] != "flatprop":
        return kind.__name__
    return f"fp.{'schedules.' * (module[-1] == 'schedules')}{kind.__name__}"
