"""Answers to names that there are not: to keywords of a function, to attributes of an object.

What is answered to which name is in the tables of `other_names`. What is in none of them gets
the nearest of the names that there are.
"""

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from numbers import Number
from typing import Any, ParamSpec, TypeVar

import numpy as np

from flatprop.validation.as_written import written

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")

FEW_NAMES = 6
"""Of a function with no more parameters than this all are told."""


Words = Callable[[object, object], Mapping[str, str]]
"""(the argument `optimizer` or None, a value) → what stands for `{value}` and the like."""


def _value_only(optimizer: object, value: object) -> Mapping[str, str]:
    return {"value": written(value)}


def suggests(
    table: Mapping[str, str], words: Words = _value_only
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: a keyword that a function does not know gets an answer from `table`.

    `words` fills the places that the answers leave open.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        code = inspect.unwrap(function).__code__
        named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        known = frozenset(named)

        @functools.wraps(function)
        def call(*arguments: P.args, **options: P.kwargs) -> R:
            if not options.keys() <= known:
                name = getattr(function, "__name__", "")
                if name == "__init__":
                    name = type(arguments[0]).__name__
                given = dict(zip(named, arguments, strict=False)) | options
                texts = functools.partial(words, given.get("optimizer"))
                raise TypeError(_about_keyword(name, options, named[1:], table, texts))
            return function(*arguments, **options)

        return call

    return decorate


def suggesting(table: Mapping[str, str]) -> Callable[[type[C]], type[C]]:
    """The same decorator for a class, of whose constructor it speaks."""

    def decorate(cls: type[C]) -> type[C]:
        cls.__init__ = suggests(table)(cls.__init__)  # type: ignore[method-assign]
        return cls

    return decorate


def no_member(
    module: str, name: str, members: Iterable[str], table: Mapping[str, str]
) -> AttributeError:
    """The error for something that a module has not."""
    message = f"module {module!r} has no attribute {name!r}"
    if not name.startswith("_"):
        message += _hint(name, table, members)
    return AttributeError(message)


def _about_keyword(
    function: str,
    options: Mapping[str, Any],
    known: tuple[str, ...],
    table: Mapping[str, str],
    words: Callable[[object], Mapping[str, str]],
) -> str:
    name = next(name for name in options if name not in known)
    value = options[name]
    answers = dict(table)
    for other, text in table.items():
        renamed = re.match(r"(\w+)=\{value\}", text)
        if renamed and renamed[1] not in known:
            del answers[other]
    texts = words(value)
    answers = {
        other: "leave it out" if _is_off(other, text, value) else text.format(**texts)
        for other, text in answers.items()
    }
    hint = _hint(name, answers, known)
    if not hint and len(known) <= FEW_NAMES:
        hint = f". It takes {', '.join(known)}" if known else ". It takes none"
    return f"{function}() got an unexpected keyword argument {name!r}{hint}"


_OFF_AT_ZERO = re.compile(
    r"\{(momentum|decay)\}|progress=.*|patience=.*|clip_norm=.*|fit\(clip_norm=.*"
    r"|validation_data=.*|nothing: fit goes on.*"
)
"""Answers to what is off where it is 0."""
_ON = ("use_bias", "bias")
"""What is there unless False is asked for."""


def _is_off(name: str, answer: str, value: object) -> bool:
    """Whether a value asks for what happens anyway: no progress, no early stopping.

    What only has another name here keeps its value: `rng=0`, `batch_size=None`, which has a
    meaning of its own.
    """
    if _OFF_AT_ZERO.fullmatch(answer) and isinstance(value, Number | np.bool_):
        return not value
    if re.fullmatch(r"\w+(=\{value\})?", answer):
        return value is None and "=" in answer and answer != "batch_size={value}"
    return value is None or (isinstance(value, bool | np.bool_) and not value and name not in _ON)


def _hint(name: str, table: Mapping[str, str], known: Iterable[str]) -> str:
    if name in table:
        return _sentence(table[name])
    lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    if near:
        return f". Did you mean {lower[near[0]]!r}?"
    near = difflib.get_close_matches(name.lower(), table, n=1, cutoff=0.8)
    return _sentence(table[near[0]]) if near else ""


def _sentence(answer: str) -> str:
    if answer.startswith("leave it out"):
        return f". L{answer[1:]}"
    return f". Here it is: {answer}"
