"""Answers in the place of attributes that a class has not."""

from abc import ABCMeta
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

_NO_ANSWERS: Mapping[str, str] = MappingProxyType({})
_MISSING = object()


class Answer:
    """In the place of an attribute that there is not; says what to write in its place.

    An attribute of that name in a class further along the order of resolution is the attribute,
    as if there were no answer.
    """

    def __init__(self, holder: type, name: str, answer: str) -> None:
        self._holder = holder
        self._name = name
        self._answer = answer

    def __get__(self, instance: object, owner: type) -> Any:
        found = _found(owner, self._name, after=self._holder)
        if found is not _MISSING:
            get = getattr(type(found), "__get__", None)
            return found if get is None else get(found, instance, owner)
        raise AttributeError(
            f"{owner.__name__!r} object has no attribute {self._name!r}. Here it is: "
            f"{self._answer}",
            name=self._name,
            obj=owner if instance is None else instance,
        )


def _found(cls: type, name: str, after: type | None = None) -> object:
    """What a class has of this name, answers apart, from the one after `after` on."""
    order = cls.__mro__
    if after is not None:
        order = order[order.index(after) + 1 :]
    named = (vars(c)[name] for c in order if name in vars(c))
    return next((found for found in named if not isinstance(found, Answer)), _MISSING)


# A class may have one metaclass: this one is that of protocols, which is itself that of abstract
# classes, so that a subclass may be either.
_OfProtocols: Any = type(Protocol)


class Answering(_OfProtocols, ABCMeta):  # type: ignore[misc]
    """The type of a class that answers to names it does not have, and does not list them.

    A `__getattr__` would do the same, but then every attribute that there is takes longer.
    """

    __instancecheck__ = ABCMeta.__instancecheck__  # that of protocols is for protocols
    __subclasscheck__ = ABCMeta.__subclasscheck__

    def __new__(
        cls,
        name: str,
        bases: Any,
        namespace: Any,
        answers: Mapping[str, str] = _NO_ANSWERS,
        **options: Any,
    ) -> Any:
        if answers:
            namespace = {**namespace, "__dir__": _listed}
        # past that of protocols, which wants all bases of a generic class to be protocols
        return ABCMeta.__new__(cls, name, bases, namespace, **options)

    def __init__(
        cls,
        name: str,
        bases: Any,
        namespace: Any,
        answers: Mapping[str, str] = _NO_ANSWERS,
        **_: Any,
    ) -> None:
        super().__init__(name, bases, namespace)
        cls._answers = answers
        for other in answers:
            cls._answer_to(other)

    def _answer_to(cls, name: str) -> None:
        if name in cls._answers and _found(cls, name) is _MISSING:
            setattr(cls, name, Answer(cls, name, cls._answers[name]))

    def __delattr__(cls, name: str) -> None:
        """Of an attribute that somebody had put in the place of an answer, the answer is left."""
        super().__delattr__(name)
        cls._answer_to(name)

    def __dir__(cls) -> Iterable[str]:
        return [name for name in super().__dir__() if not _is_answer(cls, name)]


def _listed(instance: object) -> list[str]:
    """What an object lists itself."""
    own = vars(instance).keys()
    names = object.__dir__(instance)
    return [name for name in names if name in own or not _is_answer(type(instance), name)]


def _is_answer(cls: type, name: str) -> bool:
    """Whether a class has nothing of this name but an answer."""
    answers = (isinstance(vars(c).get(name), Answer) for c in cls.__mro__)
    return any(answers) and _found(cls, name) is _MISSING
