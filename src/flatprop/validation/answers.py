"""Error messages for unknown keywords of a function and unknown members of a module.

The tables of `other_names` have an answer for each name that users of other libraries may try.
For any other name the message suggests the most similar name that exists.
"""

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from numbers import Number
from typing import Any, ParamSpec, TypeVar

import numpy as np

from flatprop.validation import checks
from flatprop.validation.as_written import written

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")

ALL_ARE_TOLD = 6
"""For a function with no more parameters than this, the message lists all of them."""


Words = Callable[[object, object], Mapping[str, str]]
"""(the argument `optimizer` or None, a value) → what replaces `{value}` and other places."""


def _value_only(optimizer: object, value: object) -> Mapping[str, str]:
    return {"value": written(value)}


def suggests(
    table: Mapping[str, str], words: Words = _value_only, also: Iterable[str] = ()
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: if the function gets an unknown keyword, the error has the answer of `table`.

    `words` gives what replaces the places in braces in an answer. `also` are keywords that the
    function passes on.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        code = inspect.unwrap(function).__code__
        named = *code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], *sorted(also)
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
    """`suggests` as a decorator for a class: it holds for the keywords of the constructor."""

    def decorate(cls: type[C]) -> type[C]:
        cls.__init__ = suggests(table)(cls.__init__)  # type: ignore[method-assign]
        return cls

    return decorate


def no_member(
    module: str, name: str, members: Iterable[str], table: Mapping[str, str]
) -> AttributeError:
    """The error for an attribute that a module does not have."""
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
    if not hint and len(known) <= ALL_ARE_TOLD:
        hint = f". It takes {', '.join(known)}" if known else ". It takes none"
    return f"{function}() got an unexpected keyword argument {name!r}{hint}"


_OFF_AT_ZERO = re.compile(
    r"\{(momentum|decay)\}|progress=.*|patience=.*|clip_norm=.*|fit\(clip_norm=.*"
    r"|validation_(data|split)=.*|nothing: fit goes on.*"
)
"""Answers for settings that are off at 0."""
_ON = ("use_bias", "bias")
"""Settings that this library always has on, so that False asks for something else."""


def _is_off(name: str, answer: str, value: object) -> bool:
    """Whether a value asks for what happens anyway, such as no progress bar.

    A setting that only has another name here is not off at 0: `rng=0` is a seed. None turns
    it off, except that `batch_size=None` has a meaning.
    """
    if _OFF_AT_ZERO.fullmatch(answer) and isinstance(value, Number | np.bool_):
        return not value
    if re.fullmatch(r"\w+(=\{value\})?", answer):
        return value is None and "=" in answer and answer != "batch_size={value}"
    return value is None or (isinstance(value, bool | np.bool_) and not value and name not in _ON)


def _hint(name: str, table: Mapping[str, str], known: Iterable[str]) -> str:
    if name in table:
        return _sentence(table[name])
    if hint := checks.nearest(name, known):
        return f".{hint}"
    near = difflib.get_close_matches(name.lower(), table, n=1, cutoff=0.8)
    return _sentence(table[near[0]]) if near else ""


def _sentence(answer: str) -> str:
    if answer.startswith("leave it out"):
        return f". L{answer[1:]}"
    return f". Here it is: {answer}"
