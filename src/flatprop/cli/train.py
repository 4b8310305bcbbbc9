"""`train`: the digits, or a table; the networks are measured, reported and saved."""

from argparse import Namespace

from flatprop.cli.errors import check_writable, tables_are_needed

TABLES = (".csv", ".tsv", ".txt", ".parquet", ".xlsx", ".json")
"""Endings of tables."""


def train(options: Namespace) -> int:
    """Run `train`, print what came of it, and return the exit code."""
    check_writable("--save", options.save, TABLES)
    if options.data == "digits":
        from flatprop.cli.digits import train_digits

        return train_digits(options)
    with tables_are_needed():
        from flatprop.cli.reading import read, take_target

        frame, notes = read(options, [options.target] if options.target else [])
        target = take_target(options, frame)
        # Afterwards, since skrub and scikit-learn take as much memory as a large file.
        from flatprop.cli.table_training import train_table

        return train_table(options, frame, target, notes)
