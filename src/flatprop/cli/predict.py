"""`predict`: a saved network and a table -> predictions."""

import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

import numpy as np

from flatprop.cli import targets
from flatprop.cli.columns import numbers
from flatprop.cli.errors import UserError, user_errors
from flatprop.cli.reading import read_table
from flatprop.cli.tables import Recipe

if TYPE_CHECKING:
    from flatprop import Network


def predict(options: Namespace) -> int:
    """Run `predict`: write CSV to standard output and return the exit code."""
    frame, notices = _predictions(options.network, options.data, options.delimiter)
    for notice in notices:
        print(f"flatprop: note: {notice}", file=sys.stderr)
    if hasattr(sys.stdout, "reconfigure") and not sys.stdout.isatty():
        # A file for other programs, which must not lose letters of the labels.
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    frame.to_csv(sys.stdout, index=False, lineterminator="\n")
    return 0


def predict_table(network: str, table: Any, delimiter: str | None = None) -> Any:
    """Predictions of a saved network for a table.

    Parameters
    ----------
    network
        The file of a network that `train --save`, or `Network.save`, wrote.
    table
        A CSV file, or a data frame, or "digits".
    delimiter
        What stands between two fields of the file; None finds out.

    Returns
    -------
    pandas.DataFrame
        One row per row of the table: the prediction, under the name of the
        target, and for classes the probability of each, as p(class).

    Raises
    ------
    UserError
        If the file is no network, or the table does not fit it.

    Examples
    --------
    >>> from flatprop.cli.predict import predict_table
    >>> predict_table("iris.net", "flowers.csv")  # doctest: +SKIP
    """
    return _predictions(network, table, delimiter)[0]


def _predictions(path: str, table: Any, delimiter: str | None) -> tuple[Any, list[str]]:
    network, recipe = load(path)
    notices: list[str] = []
    if isinstance(table, str) and table == "digits":
        from flatprop.data import digits_table

        table = digits_table()
    elif not hasattr(table, "columns"):
        texts = recipe.texts if recipe else ()
        commas = recipe.commas if recipe else None
        table, notices = read_table(str(table), delimiter, texts, commas)
    X = recipe.encode(table) if recipe else _in_order(table, network)
    with user_errors():
        outputs = network.predict(X)
    if recipe is None:
        return _plain(network, outputs), notices
    return _decoded(recipe.target, network, outputs), notices


def load(path: str) -> tuple["Network", Recipe | None]:
    """The network in a file, and what `train --save` saved of its columns; None without such.

    Raises UserError if it is not the file of a network.
    """
    import flatprop as fp
    from flatprop.export import files

    try:
        network, extra = files.load(fp.Network, path)
    except FileNotFoundError as error:
        raise UserError(f"{error}; NET is a file that `train ... --save NET` wrote") from None
    except ValueError as error:
        raise UserError(
            f"{error}. NET comes before FILE, and is a file that `train ... --save NET` wrote"
        ) from None
    if not isinstance(extra, dict) or "table" not in extra:
        return network, None
    recipe = Recipe.from_json(extra["table"])
    if recipe.width != network.inputs:
        raise UserError(
            f"{path} contradicts itself: its columns make {recipe.width} inputs, but the network "
            f"takes {network.inputs}"
        )
    if network.outputs not in recipe.target.outputs:
        raise UserError(
            f"{path} contradicts itself: the network has {network.outputs} outputs, which are not "
            "those of its target"
        )
    return network, recipe


def _in_order(table: Any, network: "Network") -> Any:
    if table.shape[1] != network.inputs:
        raise UserError(
            f"the table has {table.shape[1]} columns, but the network takes {network.inputs} "
            "inputs; it was saved without column names, so that every column counts, in order"
        )
    columns = [numbers(str(name), table[name]) for name in table.columns]
    for name, column in zip(table.columns, columns, strict=True):
        if np.isnan(column).any():
            row = int(np.isnan(column).argmax()) + 1
            raise UserError(
                f"column {str(name)!r} has no number in row {row}; this network was saved "
                "without a rule for missing ones"
            )
    return np.stack(columns, axis=1)


def _decoded(target: targets.Target, network: "Network", outputs: Any) -> Any:
    import pandas as pd

    # As many digits as the arithmetic has, not those that float64 adds.
    digits = 7 if network.dtype == np.float32 else 15
    if isinstance(target, targets.Quantity):
        return pd.DataFrame({target.name: _rounded(target.decode(outputs), digits)})
    p = target.probabilities(outputs)
    labels = np.array(target.labels, dtype=object)
    chosen = pd.Series(labels[p.argmax(axis=1)]).infer_objects()
    each = [pd.Series(_rounded(p[:, index], digits)) for index in range(len(labels))]
    frame = pd.concat([chosen, *each], axis=1)
    # By position: the name of the target may be that of a probability, too.
    frame.columns = pd.Index([target.name, *(f"p({label})" for label in target.labels)])
    return frame


def _plain(network: "Network", outputs: Any) -> Any:
    import pandas as pd

    if network.dense[-1].activation == "softmax":
        frame = pd.DataFrame(outputs, columns=[f"p({k})" for k in range(network.outputs)])
        frame.insert(0, "class", outputs.argmax(axis=1))
        return frame
    names = ["output"] if network.outputs == 1 else [f"output{k}" for k in range(network.outputs)]
    return pd.DataFrame(outputs, columns=names)


def _rounded(value: Any, digits: int) -> Any:
    return np.array([float(f"{number:.{digits}g}") for number in value])
