"""What a file says of columns and target: every field is checked before it is used."""

from collections.abc import Callable
from typing import Any

from flatprop.cli.errors import UserError

LARGEST = 1e308


def checked(saved: Any, what: str, **fields: Callable[[Any], bool]) -> dict[str, Any]:
    """A table in JSON, if it has these fields and each passes its check; UserError if not."""
    if not isinstance(saved, dict) or saved.keys() != fields.keys():
        raise _damaged(f"{what} must have {', '.join(fields)}")
    for name, fits in fields.items():
        if not fits(saved[name]):
            raise _damaged(f"{name} of {what} cannot be what it is")
    return saved


def kind_of(saved: Any, name: str, kinds: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """The field that says which kind of thing this is, and the others."""
    if not isinstance(saved, dict) or saved.get(name) not in kinds:
        raise _damaged(f"{name} must be one of {', '.join(kinds)}")
    rest = {key: value for key, value in saved.items() if key != name}
    return str(saved[name]), rest


def is_text(value: Any) -> bool:
    """Whether this is text that can be written to a file; half of a surrogate pair cannot."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether this is a finite number, of a size that float64 holds."""
    return type(value) in (int, float) and abs(value) <= LARGEST


def is_positive(value: Any) -> bool:
    return is_number(value) and value > 0


def are_different_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_text, value)) and len(set(value)) == len(value)


def are_labels(value: Any) -> bool:
    """Whether these are two or more labels, each written otherwise than the others."""
    if not isinstance(value, list) or len(value) < 2:
        return False
    if not all(is_text(x) or is_flag(x) or is_number(x) for x in value):
        return False
    return len(set(map(str, value))) == len(value)


def _damaged(why: str) -> UserError:
    return UserError(f"the description of the columns in the file is damaged: {why}")
