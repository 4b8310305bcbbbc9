"""Error messages for attributes that a class does not have."""

from abc import ABCMeta
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

_NO_ANSWERS: Mapping[str, str] = MappingProxyType({})
_MISSING = object()


class Answer:
    """A descriptor for an attribute that does not exist; its error says what to write instead.

    If a later class in the order of resolution has an attribute of this name, that attribute
    is found, as if there were no answer.
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
    """A class's attribute of this name that is no `Answer`; only classes behind `after` count."""
    order = cls.__mro__
    if after is not None:
        order = order[order.index(after) + 1 :]
    named = (vars(c)[name] for c in order if name in vars(c))
    return next((found for found in named if not isinstance(found, Answer)), _MISSING)


# A class has only one metaclass. `Answering` derives from the metaclass of protocols, which itself
# derives from that of abstract classes, so that subclasses may be protocols or abstract.
_OfProtocols: Any = type(Protocol)


class Answering(_OfProtocols, ABCMeta):  # type: ignore[misc]
    """The metaclass of classes with an `Answer` for names that they do not have.

    `dir` does not list these names. A `__getattr__` would do the same, but it would make all
    other attributes slower.
    """

    __instancecheck__ = ABCMeta.__instancecheck__  # the one of protocols is only for protocols
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
        # not the one of protocols, which wants all bases of a generic class to be protocols
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
        """Delete an attribute; if it had replaced an answer, the answer comes back."""
        super().__delattr__(name)
        cls._answer_to(name)

    def __dir__(cls) -> Iterable[str]:
        return [name for name in super().__dir__() if not _is_answer(cls, name)]


def _listed(instance: object) -> list[str]:
    """`__dir__` of an object, without the names that only have an answer."""
    own = vars(instance).keys()
    names = object.__dir__(instance)
    return [name for name in names if name in own or not _is_answer(type(instance), name)]


def _is_answer(cls: type, name: str) -> bool:
    """Whether the only thing that a class has under this name is an answer."""
    answers = (isinstance(vars(c).get(name), Answer) for c in cls.__mro__)
    return any(answers) and _found(cls, name) is _MISSING
