"""Answers in the place of attributes that a class has not."""

import functools
from abc import ABCMeta
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

_NO_ANSWERS: Mapping[str, str] = MappingProxyType({})


class Answer:
    """In the place of an attribute that there is not; says what to write in its place."""

    def __init__(self, name: str, answer: str) -> None:
        self._name = name
        self._answer = answer

    def __get__(self, instance: object, owner: type) -> Any:
        raise AttributeError(
            f"{owner.__name__!r} object has no attribute {self._name!r}. Here it is: "
            f"{self._answer}",
            name=self._name,
            obj=owner if instance is None else instance,
        )


class Answering(ABCMeta):
    """The type of a class that answers to names it does not have, and does not list them.

    A `__getattr__` would do the same, but then every attribute that there is takes longer. It is
    an `ABCMeta`, so that a subclass may be abstract.
    """

    def __new__(
        cls, name: str, bases: Any, namespace: Any, answers: Mapping[str, str] = _NO_ANSWERS
    ) -> Any:
        foreign = {other: Answer(other, answers[other]) for other in answers.keys() - namespace}
        namespace.update(foreign)
        if foreign:
            namespace["__dir__"] = functools.partialmethod(_names_without, frozenset(foreign))
        return super().__new__(cls, name, bases, namespace)

    def __init__(cls, name: str, bases: Any, namespace: Any, **options: Any) -> None:
        super().__init__(name, bases, namespace)

    def __dir__(cls) -> Iterable[str]:
        listed = super().__dir__()
        return [name for name in listed if not isinstance(_found(cls, name), Answer)]


def _names_without(instance: object, answers: frozenset[str]) -> set[str]:
    """What an object lists itself."""
    return (set(object.__dir__(instance)) - answers) | vars(instance).keys()


def _found(cls: type, name: str) -> object:
    return next((vars(c)[name] for c in cls.__mro__ if name in vars(c)), None)
