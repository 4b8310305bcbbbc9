"""What is told before a training and after it."""

import shlex
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from flatprop.cli.terminal import program


def parts(held: NDArray[np.bool_]) -> str:
    """How the rows are divided."""
    if not held.any():
        return "all of them to train on"
    return f"{(~held).sum():,} to train on and {held.sum():,} held back"


def go_on(
    saved: str | None, file: str, data: str, target: str, python: Iterable[str]
) -> list[str]:
    """The next commands, and lines of Python; `target` is the option that names it."""
    call, net, table = program(), shlex.quote(saved or file), shlex.quote(data)
    again = f"saved to {net}" if saved else f"{call} train {table}{target} --save {net}"
    commands = [f"  {again}", f"  {call} predict {net} {table}"]
    return ["", "to go on:", *commands, "", "in Python:", *(f"  {line}" for line in python)]
