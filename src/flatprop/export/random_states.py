"""The state of a random generator as JSON holds it, and back.

NumPy takes any state that is given to it. With a wrong one its generators read memory that is
not theirs, or never come to an end. So every field of a state from a file is checked.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Check = Callable[[Any], bool]


def _whole(most: int, odd: bool = False) -> Check:
    """A whole number from 0 to `most`; True and 1.0 are none."""
    return lambda value: type(value) is int and 0 <= value <= most and not (odd and value % 2 == 0)


def _several(count: int, bits: int, any_set: bool = False) -> Check:
    """So many whole numbers of so many bits; with `any_set` not all of them are 0."""
    one = _whole(2**bits - 1)
    return lambda value: (
        isinstance(value, list)
        and len(value) == count
        and all(map(one, value))
        and (any(value) or not any_set)
    )


_HALF = {"has_uint32": _whole(1), "uinteger": _whole(2**32 - 1)}
"""What is left of a draw of 64 bits, half of which was used."""
# An even increment, or a state of zeros, would repeat itself early or be 0 for ever.
_PCG = {"state": {"state": _whole(2**128 - 1), "inc": _whole(2**128 - 1, odd=True)}, **_HALF}

STATES: dict[str, dict[str, Any]] = {
    "PCG64": _PCG,
    "PCG64DXSM": _PCG,
    "MT19937": {"state": {"key": _several(624, 32, any_set=True), "pos": _whole(624)}},
    "Philox": {
        "state": {"counter": _several(4, 64), "key": _several(2, 64)},
        "buffer": _several(4, 64),
        "buffer_pos": _whole(4),
        **_HALF,
    },
    "SFC64": {"state": {"state": _several(4, 64)}, **_HALF},
}
"""The bit generators of NumPy, and what each field of their states may be."""


def plain_state(generator: np.random.Generator) -> dict[str, Any] | None:
    """The state as JSON can hold it; None if the bit generator is not one of NumPy's."""
    bits = generator.bit_generator
    if type(bits).__name__ not in STATES or not type(bits).__module__.startswith("numpy."):
        return None
    state: dict[str, Any] = _plain(bits.state)
    try:
        checked_generator(state)
    except ValueError:  # set by hand to what would not be read again
        return None
    return state


def checked_generator(state: Any) -> np.random.Generator:
    """A generator in a state that `plain_state` gave; None gives one with fresh entropy.

    Raises
    ------
    ValueError
        If it is no such state.
    """
    if state is None:
        return np.random.default_rng()
    name = state.get("bit_generator") if isinstance(state, dict) else None
    if not isinstance(name, str) or name not in STATES:
        raise ValueError(f"the random state must be one of {', '.join(STATES)}")
    rest = {key: value for key, value in state.items() if key != "bit_generator"}
    _check(name, rest, STATES[name])
    bits = getattr(np.random, name)(0)
    bits.state = state
    return np.random.Generator(bits)


def _check(what: str, given: Any, fields: Mapping[str, Any]) -> None:
    if not isinstance(given, dict) or given.keys() != fields.keys():
        raise ValueError(f"the random state of {what} must have {', '.join(fields)}")
    for name, expected in fields.items():
        if isinstance(expected, Mapping):
            _check(f"{what}: {name}", given[name], expected)
        elif not expected(given[name]):
            raise ValueError(f"the random state of {what} has an impossible {name!r}")


def _plain(state: Any) -> Any:
    if isinstance(state, Mapping):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, np.ndarray):
        return state.tolist()
    return state.item() if isinstance(state, np.generic) else state
