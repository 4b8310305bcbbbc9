"""What a user did wrong, said in one sentence or two."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from flatprop.tables.table_columns import listed
from flatprop.validation.checks import nearest

LIBRARIES = ("polars", "skrub", "sklearn", "skops", "fastexcel", "pandas", "scipy")
"""What the extra `tables` installs."""


class UserError(Exception):
    """A mistake in the command or in the data; the message says what to do."""

    status = 2
    """The exit code of the command."""


class TrainingError(UserError):
    """The command was right, but nothing came of it."""

    status = 1


@contextmanager
def user_errors() -> Iterator[None]:
    """What the library refuses within is a mistake of the user."""
    try:
        yield
    except (TypeError, ValueError, FileNotFoundError, IsADirectoryError) as error:
        raise UserError(str(error)) from None


def column_named(name: str, columns: Collection[str], path: str, option: str) -> None:
    """Raise UserError if a table has no such column."""
    if name in columns:
        return
    hint = nearest(name, columns)
    if len(columns) == 1:
        hint = " Is --delimiter right? The table has only one column."
    raise UserError(
        f"{path} has no column {name!r} ({option}).{hint} It has: {listed(columns, 20)}"
    )


def check_writable(option: str, path: str | None, kinds: Collection[str] = ()) -> None:
    """Complain of the name of a file before the work, not after it; not of one of these kinds."""
    if path is None:
        return
    if not path:
        raise UserError(f"{option} needs the name of a file")
    file = Path(path)
    if file.is_dir():
        raise UserError(f"{option} {path} is a folder; name a file in it")
    if file.suffix.lower() in kinds:
        raise UserError(
            f"{option} {path} names a table; the network is another kind of file, such as "
            f"{file.stem}.net"
        )
    if not file.parent.is_dir():
        raise UserError(f"{option} {path}: there is no folder {file.parent}")


@contextmanager
def tables_are_needed() -> Iterator[None]:
    """Say what to install where a library for tables is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in LIBRARIES:
            raise
        raise UserError(
            f"tables need {error.name}, which is not installed: python -m pip install "
            "'flatprop[tables]'"
        ) from None
