"""The command line: `python -m flatprop`.

Everything heavy is imported where it is used, so that help and errors are quick.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence

from flatprop.cli import terminal
from flatprop.cli.errors import UserError, check_writable, tables_are_needed

TABLES = (".csv", ".tsv", ".txt", ".parquet", ".xlsx", ".json")
"""Endings of tables."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments
        The words after the program's name; None takes those it was called with.

    Returns
    -------
    int
        The exit code: 0; 2 for a mistake in the command or the data, told on standard
        error; 130 when interrupted; 1 otherwise.
    """
    try:
        terminal.prepare()
        status = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except UserError as error:
        return _fail(str(error), error.status)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        terminal.abandon_output()
        return 1
    except OSError as error:
        return _fail(str(error), 1)
    except MemoryError:
        return _fail("not enough memory; try fewer rows or columns, or a smaller network", 1)
    return status


def _run(arguments: list[str]) -> int:
    from flatprop.cli.arguments import parse

    try:
        options = parse(arguments)
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    if options.command == "train":
        return _train(options)
    if options.command == "predict":
        from flatprop.cli.predict import predict

        return predict(options)
    from flatprop.worked_examples import dosage, neuron

    print("\n".join({"neuron": neuron.lines, "dosage": dosage.lines}[options.example]()))
    return 0


def _train(options: Namespace) -> int:
    check_writable("--save", options.save, TABLES)
    if options.data == "digits":
        from flatprop.cli.digits import train_digits

        return train_digits(options)
    with tables_are_needed():
        from flatprop.cli.reading import read, take_target

        frame, notes = read(options, [options.target] if options.target else [])
        from flatprop.tables.splits import shorten

        target = take_target(options, frame)
        if options.dtype == "float32":
            shorten(frame)
        # Afterwards, since skrub and scikit-learn take as much memory as a large file.
        from flatprop.cli.table_training import train_table

        return train_table(options, frame, target, notes)


def _fail(message: str, status: int) -> int:
    # Names in files may be of any length, and hold line breaks.
    line = " ".join(message.split("\n"))
    line = f"flatprop: error: {line[:1000]}{'...' * (len(line) > 1000)}"
    print(terminal.wrapped(line), file=sys.stderr)
    return status
