"""What is to be learnt: the digits or a table, as numbers, and the defaults that suit it."""

from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatprop.cli import commas, targets
from flatprop.cli.columns import Numeric
from flatprop.cli.errors import UserError, listed
from flatprop.cli.reading import column_named, read_table
from flatprop.cli.splits import hold_back
from flatprop.cli.tables import Recipe, describe, learn_columns

BATCH = 32
"""Rows per update, unless the user says otherwise."""
UPDATES = 3000
"""So many updates a small table gets at least, as far as 1,000 epochs give them."""
VALIDATION_ROWS = 100
"""Fewer training rows than this are all needed to train on: there is no early stopping."""


@dataclass
class Problem:
    """What is to be learnt, as numbers."""

    name: str
    recipe: Recipe
    X: NDArray[np.float64]
    y: NDArray[Any]
    held: NDArray[np.bool_]
    hidden: tuple[int, ...]
    epochs: int
    patience: int
    label_smoothing: float = 0.0
    lines: list[str] = field(default_factory=list)

    @property
    def classes(self) -> bool:
        """Whether it is a classification."""
        return isinstance(self.recipe.target, targets.Classes)


def problem(options: Namespace, rng: np.random.Generator) -> Problem:
    """What `train` was asked to learn.

    Raises UserError if the table cannot be read, or there is nothing to learn from it.
    """
    return _digits(options, rng) if options.data == "digits" else _table(options, rng)


def _digits(options: Namespace, rng: np.random.Generator) -> Problem:
    from flatprop.data import CITATION, PIXELS, load_digits

    useless = [name for name in ("target", "task", "drop", "delimiter") if getattr(options, name)]
    if useless:
        raise UserError(
            f"--{useless[0]} is for a table of your own; the digits need none "
            "(a file of that name is ./digits)"
        )
    X, y = load_digits()
    held = hold_back(y, options.test_size, rng)
    means = X[~held].mean(axis=0)
    # One scale for all pixels: those that are hardly ever inked stay small.
    columns = tuple(
        Numeric(name, float(mean), 8.0, float(mean))
        for name, mean in zip(PIXELS, means, strict=True)
    )
    lines = [
        f"data: {y.size:,} handwritten digits of 8 × 8 pixels, {_parts(held)}",
        f"from: {CITATION}",
    ]
    recipe = Recipe(columns, targets.Classes("digit", tuple(range(10))))
    return Problem("digits", recipe, (X - means) / 8, y, held, (128, 64), 60, 0, 0.1, lines)


def _table(options: Namespace, rng: np.random.Generator) -> Problem:
    path = options.data
    if options.target is None:
        frame, _ = read_table(path, options.delimiter)
        names = ", ".join(map(str, frame.columns[:20])) + ", ..." * (frame.shape[1] > 20)
        raise UserError(
            f"which column is to be predicted? Add --target COLUMN; there are: {names}"
        )
    frame, notices = read_table(path, options.delimiter, [options.target])
    kinds: dict[str, commas.Style] = frame.attrs["commas"]
    column_named(options.target, frame.columns, path, "--target")
    for name in options.drop:
        column_named(name, frame.columns, path, "--drop")
    if options.target in options.drop:
        raise UserError(f"{options.target!r} is both the --target and in --drop")
    known = frame[options.target].notna()
    if not known.all():
        missing = int((~known).sum())
        notices.append(f"{missing} row{'s' * (missing > 1)} without a target left out")
        frame = frame[known].reset_index(drop=True)
    _check_rows(len(frame), options)
    texts = frame[options.target]
    style = commas.style(texts, "decimal" in kinds.values())
    task, guess = options.task, ""
    if task is None:
        task, why = targets.guess_task(texts, style)
        other = "regression" if task == "classification" else "classification"
        doubt = "" if targets.as_numbers(texts) is None else f"; if that is wrong, --task {other}"
        guess = f" (guessed, since {why}{doubt})"
    target: targets.Target
    if task == "classification":
        target = targets.learn_classes(options.target, texts)
        y: NDArray[Any] = target.encode(texts)
        labels = [f"classes: {listed(map(str, target.labels))}"]
        held = hold_back(y, options.test_size, rng)
    else:
        value = _quantities(options.target, texts, style)
        if style:
            notices.append(commas.notice(f"the target {options.target!r}", texts, style))
        if options.loss == "poisson" and value.min() < 0:
            raise UserError(
                f"the target {options.target!r} goes down to {value.min():g}; --loss poisson "
                "takes counts, which are not negative"
            )
        held = hold_back(np.zeros(value.size), options.test_size, rng)
        target = targets.learn_quantity(options.target, value, ~held, options.loss != "poisson")
        y = target.encode(value)
        labels = []
    frame = frame.drop(columns=[options.target, *options.drop])
    columns, more = learn_columns(frame, ~held, kinds)
    recipe = Recipe(columns, target)
    lines = [
        f"data: {path}, {len(frame):,} rows, {_parts(held)}",
        f"target: {options.target}, {task}{guess}",
        *labels,
        *describe(columns),
        *(f"note: {notice}" for notice in notices + more),
    ]
    X = recipe.encode(frame)
    rows = int((~held).sum())
    epochs = min(max(100, UPDATES * BATCH // rows), 1000)
    patience = 20 if rows >= VALIDATION_ROWS else 0
    return Problem(Path(path).stem, recipe, X, y, held, (64, 64), epochs, patience, lines=lines)


def _parts(held: NDArray[np.bool_]) -> str:
    if not held.any():
        return "all of them to train on"
    return f"{(~held).sum():,} to train on and {held.sum():,} held back"


def _check_rows(rows: int, options: Namespace) -> None:
    if rows < 2:
        raise UserError(f"{options.data} has {rows} row with a target; at least 2 are needed")
    if rows < 10 and options.test_size > 0:
        raise UserError(
            f"{options.data} has only {rows} rows with a target, too few to hold some back; "
            "--test-size 0 trains on all of them"
        )


def _quantities(name: str, texts: Any, style: commas.Style) -> NDArray[np.float64]:
    value = targets.as_numbers(texts, style)
    if value is None:
        raise UserError(
            f"the target {name!r} holds text, such as {str(texts.iloc[0])!r}: that is a "
            "--task classification"
        )
    if not np.isfinite(value).all():
        raise UserError(f"the target {name!r} holds an infinite number; remove its row")
    return value
