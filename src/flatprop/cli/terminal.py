"""The terminal: what it can show, and how the program was called."""

import codecs
import io
import os
import sys
import textwrap
from pathlib import Path
from typing import TextIO

COLUMNS = 79
PLAIN = {
    "∂": "d", "·": "*", "×": "x", "−": "-", "←": "<-", "→": "->", "Σ": "sum", "σ": "sigma",
    "┌": "+", "┐": "+", "└": "+", "┘": "+", "├": "+", "┤": "+",
    "½": "1/2", "ŷ": "yhat", "ᵀ": "^T", "²": "^2", "⁻": "^-", "—": "-", "…": "...", "√": "sqrt",
    "α": "alpha", "≥": ">=", "≤": "<=", "é": "e", "│": "|", "─": "-", "▶": ">",
    "₁": "1", "₂": "2", "₃": "3", "₄": "4", "’": "'",
}  # fmt: skip
"""What stands for a character where the terminal's encoding has none."""


def prepare() -> None:
    """Let no closed stream, and no character that the encoding lacks, stop the output."""
    codecs.register_error("flatprop.plain", _plain)
    # A stream that was closed from the start is None; what is written to it is lost.
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="flatprop.plain")


def _nowhere() -> TextIO:
    return open(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8", closefd=False)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in lost), error.end


def wrapped(line: str) -> str:
    """A line for a reader, broken where it is too long and indented from there on."""
    return textwrap.fill(line, COLUMNS, subsequent_indent="    ", break_on_hyphens=False)


def program() -> str:
    """How the user called this: the console script, or the module."""
    return "flatprop" if Path(sys.argv[0]).stem == "flatprop" else "python -m flatprop"


def abandon_output() -> None:
    """After a broken pipe: keep the interpreter from flushing into it as it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
