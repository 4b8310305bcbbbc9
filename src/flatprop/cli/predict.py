"""`predict`: a saved network and a table -> predictions."""

import csv
import sys
import zipfile
from argparse import Namespace
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from flatprop.cli.errors import (
    UserError,
    check_writable,
    column_named,
    tables_are_needed,
    user_errors,
)
from flatprop.cli.terminal import wrapped
from flatprop.cli.waiting import tell

if TYPE_CHECKING:
    from flatprop import Network

Columns = dict[str, Sequence[Any]]


def predict(options: Namespace) -> int:
    """Run `predict`, write the predictions and return the exit code."""
    check_writable("--output", options.output)
    with tables_are_needed():
        if zipfile.is_zipfile(options.network):
            columns, notes = _by_table(options)
        else:
            columns, notes = _by_network(options)
    for note in notes:
        tell(wrapped(f"flatprop: note: {note}"))
    _write(columns, options.output)
    return 0


def _by_table(options: Namespace) -> tuple[Columns, list[str]]:
    """By a pipeline that `train FILE` saved."""
    from flatprop.cli.reading import read
    from flatprop.tables import table_model

    with user_errors():
        model = table_model.load(options.network)
    frame, notes = read(options, list(model["numbers"].words_))
    kept = _kept(options, frame)
    try:
        predicted, more = table_model.predicted(model, frame)
    except ValueError as error:
        raise UserError(str(error)) from None
    except Exception as error:  # whatever a file that lies makes the libraries do
        raise UserError(f"{options.network} does not fit this table: {error}") from None
    return predicted.to_dict(as_series=False) | kept, notes + more


def _by_network(options: Namespace) -> tuple[Columns, list[str]]:
    """By a network that was saved without names of columns: all count, in order."""
    network = _load(options.network)
    kept: Columns = {}
    notes: list[str] = []
    if options.data == "digits":
        from flatprop.data import load_digits

        X = load_digits()[0]
    else:
        from flatprop.cli.reading import read
        from flatprop.tables.plain_inputs import in_order

        frame, notes = read(options, [])
        kept = _kept(options, frame)
        with user_errors():
            X = in_order(frame.drop(list(kept)), network.inputs)
    with user_errors():
        outputs = network.predict(X)
    digits = 7 if network.dtype == np.float32 else 15
    columns: Columns = {}
    if network.dense[-1].activation == "softmax":
        columns["class"] = outputs.argmax(axis=1).tolist()
    for k, column in enumerate(outputs.T):
        name = f"p({k})" if columns else f"output{k}" if network.outputs > 1 else "output"
        columns[name] = [float(f"{number:.{digits}g}") for number in column]
    return columns | kept, notes


def _load(path: str) -> "Network":
    import flatprop as fp

    try:
        network = fp.load(path)
    except FileNotFoundError as error:
        raise UserError(f"{error}; NET is a file that `train ... --save NET` wrote") from None
    except ValueError as error:
        raise UserError(
            f"{error}. NET comes before FILE, and is a file that `train ... --save NET` wrote"
        ) from None
    if isinstance(network, fp.Ensemble):
        raise UserError(
            f"{path} holds an ensemble that was saved in Python; predict with it there"
        )
    return network


def _kept(options: Namespace, frame: Any) -> Columns:
    for name in options.keep:
        column_named(name, frame.columns, options.data, "--keep")
    kept: Columns = frame.select(options.keep).to_dict(as_series=False)
    return kept


def _write(columns: Columns, path: str | None) -> None:
    """Write to a file, parquet by its ending and CSV otherwise, or to standard output."""
    if path is not None and path.endswith(".parquet"):
        with tables_are_needed():
            import polars

            polars.DataFrame(columns).write_parquet(path)
        return
    with ExitStack() as stack:
        stream: Any = sys.stdout
        if path is not None:
            stream = stack.enter_context(open(path, "w", encoding="utf-8", newline=""))
        elif hasattr(stream, "reconfigure") and not stream.isatty():
            # For other programs: no letter of a label may be lost.
            stream.reconfigure(encoding="utf-8", newline="\n")
        rows: Iterable[Any] = zip(*columns.values(), strict=True)
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
