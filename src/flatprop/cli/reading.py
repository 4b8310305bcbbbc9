"""The table that a command names."""

import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from flatprop.cli.errors import UserError, column_named, user_errors
from flatprop.cli.waiting import Now, tell
from flatprop.tables.table_files import read_table

if TYPE_CHECKING:
    import polars as pl

    from flatprop.tables.targets import TableTarget

LARGE = 20_000_000
"""Bytes of a file from which on it takes a while to read, which is told."""

# polars would keep much of the memory that it no longer needs. It looks here once, when it is
# imported.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")


def read(options: Namespace, texts: list[str]) -> tuple["pl.DataFrame", list[str]]:
    """The table that the options name, and what a reader should know of how it was read."""
    file, now = Path(options.data), Now()
    large = file.is_file() and file.stat().st_size > LARGE and not getattr(options, "quiet", False)
    if large:
        tell(f"reading {options.data}, {file.stat().st_size / 1e6:,.0f} MB")
    with user_errors():
        return read_table(
            options.data,
            delimiter=options.delimiter,
            header=not options.no_header,
            texts=texts,
            progress=lambda share: tell(f"read {share:.0%}") if large and now else None,
        )


def take_target(options: Namespace, frame: "pl.DataFrame") -> "TableTarget":
    """What is to be predicted; the frame loses that column, and those to be dropped."""
    from flatprop.tables.targets import learn_target

    if options.target is None:
        names = ", ".join(frame.columns[:20]) + ", ..." * (frame.width > 20)
        raise UserError(
            f"which column is to be predicted? Add --target COLUMN; there are: {names}"
        )
    named: dict[str, str] = {}
    given = {"--target": [options.target], "--drop": options.drop, "--keep": options.keep}
    for option, columns in given.items():
        for name in columns:
            column_named(name, frame.columns, options.data, option)
            if named.setdefault(name, option) != option:
                raise UserError(f"{name!r} is both in {named[name]} and in {option}")
    with user_errors():
        target = learn_target(frame, options.target, options.task)
        if target.task == "regression" and options.loss == "poisson" and target.y.min() < 0:
            raise UserError(
                f"the target {target.name!r} goes down to {target.y.min():g}; --loss poisson "
                "takes counts, which are not negative"
            )
    for name in {options.target, *options.drop}:
        frame.drop_in_place(name)
    rows = target.y.size
    if rows < 10 and options.test_size > 0:
        raise UserError(
            f"{options.data} has only {rows} rows with a target, too few to hold some back; "
            "--test-size 0 trains on all of them"
        )
    return target
