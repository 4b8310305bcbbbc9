"""The table that a command names."""

import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from flatprop.cli.errors import user_errors
from flatprop.cli.waiting import tell
from flatprop.tables.table_files import read_table

if TYPE_CHECKING:
    import polars as pl

LARGE = 20_000_000
"""Bytes of a file from which on it takes a while to read, which is told."""

# polars would keep much of the memory that it no longer needs. It looks here once, when it is
# imported.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")


def read(options: Namespace, texts: list[str]) -> tuple["pl.DataFrame", list[str]]:
    """The table that the options name, and what a reader should know of how it was read."""
    file = Path(options.data)
    if file.is_file() and file.stat().st_size > LARGE and not getattr(options, "quiet", False):
        tell(f"reading {options.data}, {file.stat().st_size / 1e6:,.0f} MB")
    with user_errors():
        return read_table(
            options.data, delimiter=options.delimiter, header=not options.no_header, texts=texts
        )
