"""`train`: the digits, or a table; the networks are measured, reported and saved."""

from argparse import Namespace
from pathlib import Path

from flatprop.cli.errors import UserError, tables_are_needed


def train(options: Namespace) -> int:
    """Run `train`, print what came of it, and return the exit code."""
    _check_save(options.save)
    if options.data == "digits":
        from flatprop.cli.digits import train_digits

        return train_digits(options)
    with tables_are_needed():
        from flatprop.cli.reading import read

        frame, notes = read(options, [options.target] if options.target else [])
        # Afterwards, since skrub and scikit-learn take as much memory as a large file.
        from flatprop.cli.table_training import train_table

        return train_table(options, frame, notes)


def _check_save(path: str | None) -> None:
    """Complain before the training, not after it."""
    if path is None:
        return
    if not path:
        raise UserError("--save needs the name of a file")
    file = Path(path)
    if file.is_dir():
        raise UserError(f"--save {path} is a folder; name a file in it")
    if file.suffix.lower() in (".csv", ".tsv", ".txt", ".parquet", ".xlsx", ".json"):
        raise UserError(
            f"--save {path} names a table; the network is another kind of file, such as "
            f"{file.stem}.net"
        )
    if not file.parent.is_dir():
        raise UserError(f"--save {path}: there is no folder {file.parent}")
