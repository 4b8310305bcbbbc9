"""The words of the command line and their help."""

import argparse
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from flatprop.cli.errors import UserError, nearest
from flatprop.cli.terminal import program, wrapped

COMMANDS = ("train", "predict", "explain")
EXAMPLES = ("neuron", "dosage")
ALL = 0
"""The batch size that stands for all rows."""

ABOUT = """\
Trains small dense neural networks on tables, predicts with them, and explains
backpropagation step by step.
"""

FIRST_STEPS = """\
to begin with:
  {program} explain neuron       one neuron, one step, every number
  {program} explain dosage       a network that learns one bias
  {program} train digits         handwritten digits, in a second
  {program} train FILE.csv --target COLUMN --save NET
  {program} predict NET FILE.csv

{program} COMMAND --help tells more.
"""

TRAIN = """\
Trains a network and measures it on rows that were held back.

  train digits                    the handwritten digits of the package
  train FILE.csv --target COLUMN  your own table; line 1 names the columns
"""

TRAIN_NOTES = """\
what becomes of the columns of a table:
  numbers     scaled to mean 0 and standard deviation 1; a missing one becomes
              the median, and a further 0/1 input says that it was missing
  text, True/False
              one 0/1 input per value; missing or new values are 0 in all
  dates, empty and constant columns, texts that differ in nearly every row, and
  columns that only count the rows are left out, which is told

All of it is learnt from the training rows alone, and saved with the network.

The digits:
{citation}
"""

TRAIN_HELP = {
    "--target": "the column to predict",
    "--save": "the file to save the network to",
    "--task": "classification or regression; guessed from the target if left out",
    "--drop": "do without",
    "--delimiter": "found out if left out",
    "--test-size": "the share of the rows that is held back to measure on (default 0.2)",
    "--hidden": 'units of the hidden layers, such as 64,64; "" for none (default 64,64; digits '
    "128,64)",
    "--activation": "of the hidden layers (default gelu)",
    "--loss": "default cross_entropy for classification, mse for regression",
    "--dtype": None,
    "--optimizer": "default adamw",
    "--learning-rate": "at the start; it falls to 0 along half a cosine (default 0.005 for adam "
    "and adamw)",
    "--epochs": "default 100, for small tables up to 1000; digits 60",
    "--batch-size": 'rows per update (default 32); "all" for one update per epoch',
    "--patience": "stop after N epochs without progress on a part of the training rows that is "
    "kept for this, and take the best epoch; 0 for never (default 20 for tables that have the "
    "rows for it; digits 0)",
    "--weight-decay": "default with adamw 1 for up to 450 training rows and less for more, else 0",
    "--label-smoothing": "share of each label that is spread over all classes, against "
    "overconfidence (default 0; digits 0.1)",
    "--seed": "of the split, the first weights and the order of the rows (default 0)",
}
"""What the help says of the options of `train`, in the order in which it lists them."""

PREDICT = """\
Writes the predictions of a saved network to standard output, as CSV: one row
for each row of FILE, the prediction first and, where there are classes, the
probability of each.
"""

PREDICT_NOTES = """\
The columns that the network was trained on are found by their names, in
whatever order; others are ignored. A network of the digits takes p0 to p63,
the pixels row by row from 0 to 16; `predict NET digits` reads those that come
with the package. A network saved by net.save() in Python knows no names: it
takes all columns, in order, as numbers.

The same in Python:
  from flatprop.cli.predict import predict_table
  predict_table("NET", "FILE.csv")        # a pandas.DataFrame
"""

EXPLAIN = """\
Works an example of backpropagation, step by step:

  explain neuron    one sigmoid neuron, one observation, one step
  explain dosage    two hidden nodes, and a bias learnt by gradient descent
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and are raised."""

    def __init__(self, **settings: Any) -> None:
        shape = argparse.RawDescriptionHelpFormatter
        super().__init__(**settings, formatter_class=shape, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def parse(arguments: list[str]) -> argparse.Namespace:
    """What the user asked for.

    Raises UserError if it cannot be understood.
    """
    parser, commands = _parser()
    command = next((word for word in arguments if not word.startswith("-")), None)
    if command is None and not arguments:
        parser.print_help()
        raise SystemExit(0)
    if command is not None and command not in COMMANDS:
        raise UserError(
            f"there is no command {command!r}.{nearest(command, COMMANDS)} "
            f"Commands: {', '.join(COMMANDS)}; see {program()} --help"
        )
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = commands[options.command]._option_string_actions
        word = unknown[0].split("=")[0]
        what = "option" if word.startswith("-") else "further argument"
        raise UserError(
            f"{options.command} takes no {what} {word!r}.{nearest(word, known)} "
            f"See {program()} {options.command} --help"
        )
    return options


def _parser() -> tuple[Parser, dict[str, Parser]]:
    import flatprop
    from flatprop.data import CITATION

    name = program()
    parser = Parser(prog=name, description=ABOUT, epilog=FIRST_STEPS.format(program=name))
    parser.add_argument("--version", action="version", version=f"flatprop {flatprop.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    notes = TRAIN_NOTES.format(citation=wrapped(CITATION))
    train = commands.add_parser(
        "train", help="train on a table, or on the digits", description=TRAIN, epilog=notes
    )
    _add_train(train)
    predict = commands.add_parser(
        "predict", help="predictions of a saved network", description=PREDICT, epilog=PREDICT_NOTES
    )
    predict.add_argument("network", metavar="NET", help="the file of a saved network")
    predict.add_argument("data", metavar="FILE", help='a CSV file; "-" reads standard input')
    predict.add_argument("--delimiter", type=_delimiter, help="found out if left out")
    explain = commands.add_parser(
        "explain", help="backpropagation, step by step", description=EXPLAIN
    )
    explain.add_argument(
        "example", metavar="EXAMPLE", type=_one_of("example", EXAMPLES), help="neuron or dosage"
    )
    return parser, {"train": train, "predict": predict, "explain": explain}


def _add_train(train: Parser) -> None:
    def option(group: Any, name: str, metavar: str | None, read: Any, default: Any = None) -> None:
        help = TRAIN_HELP[name]
        group.add_argument(name, metavar=metavar, type=read, default=default, help=help)

    train.add_argument("data", metavar="DATA", help="digits, or a CSV file")
    option(train, "--target", "COLUMN", str)
    option(train, "--save", "NET", str)
    table = train.add_argument_group("the table")
    option(table, "--task", None, _one_of("task", ("classification", "regression")))
    option(table, "--drop", "COL,COL", _names, ())
    option(table, "--delimiter", None, _delimiter)
    option(table, "--test-size", "SHARE", _share, 0.2)
    network = train.add_argument_group("the network")
    option(network, "--hidden", "N,N", _hidden)
    option(network, "--activation", None, str, "gelu")
    option(network, "--loss", None, str)
    option(network, "--dtype", None, _one_of("dtype", ("float32", "float64")), "float32")
    training = train.add_argument_group("the training")
    option(training, "--optimizer", None, str, "adamw")
    option(training, "--learning-rate", "RATE", _number("above 0", lambda value: value > 0))
    option(training, "--epochs", "N", _whole(1))
    option(training, "--batch-size", "N", _batch_size)
    option(training, "--patience", "N", _whole(0))
    option(training, "--weight-decay", "RATE", _number("0 or above", lambda value: value >= 0))
    option(training, "--label-smoothing", "SHARE", _share)
    option(training, "--seed", "N", _whole(0), 0)
    train.add_argument("--quiet", action="store_true", help="print the result and nothing else")


# ---- types of arguments; what they raise is shown behind the name of the option


def _refused(message: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(message)


def _one_of(what: str, options: Iterable[str]) -> Callable[[str], str]:
    options = tuple(options)

    def one_of(text: str) -> str:
        if text not in options:
            raise _refused(
                f"there is no {what} {text!r}.{nearest(text, options)} "
                f"It is one of: {', '.join(options)}"
            )
        return text

    return one_of


def _whole(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < least:
            raise _refused(f"a whole number of at least {least} is needed, not {text!r}")
        return int(text)

    return whole


def _number(bounds: str, fits: Callable[[float], bool]) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not fits(value) or value == float("inf"):
            raise _refused(f"a number {bounds} is needed, not {text!r}")
        return value

    return number


_share = _number("from 0 to below 1", lambda value: 0 <= value < 1)


def _hidden(text: str) -> tuple[int, ...]:
    if text.strip().lower() in ("", "none", "0"):
        return ()
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise _refused(f"numbers of units such as 64,64 are needed, or none, not {text!r}")
    return tuple(int(part) for part in parts)


def _batch_size(text: str) -> int:
    return ALL if text == "all" else _whole(1)(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _delimiter(text: str) -> str:
    text = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " "}.get(text, text)
    if len(text) != 1:
        raise _refused(f"one character is needed, or tab, not {text!r}")
    return text
