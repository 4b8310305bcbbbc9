"""The words of the command line and their help."""

import argparse
import math
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from flatprop.cli.errors import UserError
from flatprop.cli.terminal import program, wrapped
from flatprop.validation.checks import nearest

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
  {program} train FILE --target COLUMN --save NET
  {program} predict NET FILE

{program} COMMAND --help tells more.
"""

TRAIN = """\
Trains networks and measures them on rows that were held back.

  train digits                the handwritten digits of the package
  train FILE --target COLUMN  your own table; line 1 names the columns

A table is CSV or the like (also compressed), parquet, Excel or JSON. Tables
need: python -m pip install 'flatprop[tables]'
"""

TRAIN_NOTES = """\
what becomes of the columns of a table:
  numbers     scaled; also those with units, percent, currency or commas; a
              missing one is marked
  dates       become years, months, days and seconds
  few texts   one 0/1 input per text; one that is new later is 0 in all
  many texts  30 numbers that say how they are written
  columns that are empty or constant, that count the rows or only name them
  are left out, which is told

All of it is learnt from the training rows alone, by skrub and scikit-learn,
and saved with the networks as a pipeline of scikit-learn.

The digits:
{citation}
"""

PREDICT = """\
Writes the predictions of a saved network as CSV: one row for each row of
FILE, the prediction first and, where there are classes, the probability of
each.
"""

PREDICT_NOTES = """\
The columns that the network was trained on are found by their names, in
whatever order; others are ignored. `predict NET digits` reads the digits of
the package. A network saved by net.save() in Python knows no names: it takes
all columns, in order, as numbers.

The same in Python:
  from flatprop.tables import load
  model = load("NET")                   # a pipeline of scikit-learn
  model.predict(polars.read_csv("FILE"))
"""

EXPLAIN = """\
Works an example of backpropagation, step by step:

  explain neuron    one sigmoid neuron, one observation, one step
  explain dosage    two hidden nodes, and a bias learnt by gradient descent
"""


TASK = "classification or regression; guessed if left out"
TEST_SIZE = "the share of the rows that is held back to measure on (default 0.2)"
CLASS_WEIGHT = '"balanced", or such as no=1,yes=5: how much the rows of a class count'
HIDDEN = 'units of the hidden layers, such as 64,64; "" for none (default 64,64; digits 128,64)'
LEARNING_RATE = "at the start; it falls to 0 along half a cosine (default 0.005 for adamw)"
PATIENCE = (
    "stop after N epochs without progress on a part of the training rows that is kept for this, "
    "and take the best epoch; 0 for never"
)
LABEL_SMOOTHING = "share of each label that is spread over all classes, against overconfidence"
SEED = "of the split, the first weights and the order of the rows (default 0)"


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
    _add_predict(predict)
    explain = commands.add_parser(
        "explain", help="backpropagation, step by step", description=EXPLAIN
    )
    explain.add_argument(
        "example", metavar="EXAMPLE", type=_one_of("example", EXAMPLES), help="neuron or dosage"
    )
    return parser, {"train": train, "predict": predict, "explain": explain}


def _add_train(train: Parser) -> None:
    some, above, least = _names, _number("above 0", 0, False), _number("0 or above", 0, True)
    train.add_argument("data", metavar="DATA", help="digits, or the file of a table")
    train.add_argument("--target", metavar="COLUMN", help="the column to predict")
    train.add_argument("--save", metavar="NET", help="the file to save the networks to")
    train.add_argument("--quiet", action="store_true", help="print the result and nothing else")
    add = train.add_argument_group("the table").add_argument
    add("--task", type=_one_of("task", ("classification", "regression")), help=TASK)
    add("--drop", metavar="COL,COL", type=some, default=(), help="do without")
    add("--keep", metavar="COL,COL", type=some, default=(), help="use even if they say nothing")
    _add_reading(add)
    add("--test-size", metavar="SHARE", type=_share, default=0.2, help=TEST_SIZE)
    add("--class-weight", metavar="WEIGHTS", type=_class_weight, help=CLASS_WEIGHT)
    add = train.add_argument_group("the networks").add_argument
    add("--hidden", metavar="N,N", type=_hidden, help=HIDDEN)
    add("--activation", help="of the hidden layers (default gelu)")
    add("--loss", help="default cross_entropy for classification, mse for regression")
    add("--dtype", type=_one_of("dtype", ("float32", "float64")), default="float32")
    add = train.add_argument_group("the training").add_argument
    add("--optimizer", help="default adamw")
    add("--learning-rate", metavar="RATE", type=above, help=LEARNING_RATE)
    add("--epochs", metavar="N", type=_whole(1), help="the most that there are")
    add("--batch-size", metavar="N", type=_batch_size, help='rows per update; "all" for all')
    add("--patience", metavar="N", type=_whole(0), help=PATIENCE)
    add("--weight-decay", metavar="RATE", type=least)
    add("--label-smoothing", metavar="SHARE", type=_share, help=LABEL_SMOOTHING)
    add("--seed", metavar="N", type=_whole(0), default=0, help=SEED)


def _add_predict(predict: Parser) -> None:
    add = predict.add_argument
    add("network", metavar="NET", help="the file of a saved network")
    add("data", metavar="FILE", help='a table; "-" reads standard input')
    _add_reading(add)
    add("--keep", metavar="COL,COL", type=_names, default=(), help="write these columns too")
    add("--output", metavar="FILE", help="the file to write to (default: standard output)")


def _add_reading(add: Callable[..., Any]) -> None:
    add("--delimiter", type=_delimiter, help="found out if left out")
    add("--no-header", action="store_true", help="line 1 is data: column_1, column_2, ...")


# ---- types of arguments; what they raise is shown behind the name of the option


def _one_of(what: str, options: Iterable[str]) -> Callable[[str], str]:
    options = tuple(options)

    def one_of(text: str) -> str:
        if text not in options:
            raise ArgumentTypeError(
                f"there is no {what} {text!r}.{nearest(text, options)} "
                f"It is one of: {', '.join(options)}"
            )
        return text

    return one_of


def _whole(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < least:
            raise ArgumentTypeError(f"a whole number of at least {least} is needed, not {text!r}")
        return int(text)

    return whole


def _number(
    bounds: str, least: float, itself: bool, below: float = math.inf
) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (least < value < below or (itself and value == least)):
            raise ArgumentTypeError(f"a number {bounds} is needed, not {text!r}")
        return value

    return number


_share = _number("from 0 to below 1", 0, True, 1)


def _hidden(text: str) -> tuple[int, ...]:
    if text.strip().lower() in ("", "none", "0"):
        return ()
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise ArgumentTypeError(
            f"numbers of units such as 64,64 are needed, or none, not {text!r}"
        )
    return tuple(int(part) for part in parts)


def _batch_size(text: str) -> int:
    return ALL if text == "all" else _whole(1)(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _delimiter(text: str) -> str:
    text = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " "}.get(text, text)
    if len(text) != 1:
        raise ArgumentTypeError(f"one character is needed, or tab, not {text!r}")
    return text


def _class_weight(text: str) -> str | dict[str, float]:
    if text == "balanced":
        return text
    parts = [part.rpartition("=") for part in text.split(",")]
    if not all(label.strip() for label, _, _ in parts):
        raise ArgumentTypeError(
            f"balanced, or weights such as no=1,yes=5 are needed, not {text!r}"
        )
    weight = _number("0 or above", 0, True)
    return {label.strip(): weight(number) for label, _, number in parts}
