"""`train FILE`: from a table to a pipeline of scikit-learn that is measured and saved."""

import shlex
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from flatprop.cli import report
from flatprop.cli.arguments import ALL
from flatprop.cli.errors import TrainingError, UserError, user_errors
from flatprop.cli.terminal import wrapped
from flatprop.cli.waiting import shown, tell
from flatprop.formulas.activations import ACTIVATIONS
from flatprop.formulas.losses import LOSSES
from flatprop.formulas.optimizer import OPTIMIZERS
from flatprop.tables import table_model, worth
from flatprop.tables.splits import divided, held_back
from flatprop.tables.table_columns import listed
from flatprop.tables.targets import TableTarget, class_weights
from flatprop.validation import checks

OF_CLASSES = ("cross_entropy", "binary_cross_entropy")
"""The losses of a classification."""
LARGE = 2_000_000
"""From so many values on it takes a while to make inputs of them, which is told."""


def train_table(
    options: Namespace, frame: pl.DataFrame, target: TableTarget, notes: list[str]
) -> int:
    """Train, print what came of it, and return the exit code.

    `notes` are what is to be told of how the table was read. The frame is taken apart: nobody
    else holds what it held.
    """
    with user_errors():
        held = held_back(target, options.test_size, options.seed)
    y, y_held = target.y[~held], target.y[held]
    kept, rest = divided(frame, target.known, held)
    with user_errors():
        model = table_model.make(
            target.task, y.size, keep=options.keep, **_overrides(options, target, y.size)
        )
        if y.size * kept[0].width > LARGE and not options.quiet:
            tell(f"encoding {y.size:,} rows of {kept[0].width} columns")
        table_model.fit_inputs(model, pl.concat(kept, rechunk=False), y, options.seed)
        features = table_model.inputs(model[:-1], kept)
    if not options.quiet:
        guess = f" ({target.guess})" if target.guess else ""
        lines = [f"data: {options.data}, {held.size:,} rows, {report.parts(held)}"]
        lines += [f"target: {target.name}, {target.task}{guess}"]
        if target.task == "classification":
            lines += [f"classes: {listed(map(str, np.unique(target.y)))}"]
        lines += table_model.describe(model)
        notes += [*target.notes, *table_model.notes(model)]
        lines += [f"note: {note}" for note in notes]
        print("\n".join(map(wrapped, lines)), end="\n\n", flush=True)
    seconds, interrupted = _fit(options, model, features, y)
    if options.save:
        with user_errors():
            table_model.save(model, options.save, target.name)
    if interrupted or not options.quiet:
        line = f"{'interrupted after' if interrupted else 'trained in'} {seconds:.1f} s: "
        print(wrapped(line + table_model.networks(model)))
    where = "held-out"
    if held.any():
        features = table_model.inputs(model[:-1], rest)
    else:
        y_held, where = y, "training"
    lines = list(map(wrapped, _worth(model, features, y_held, y, where, target)))
    file = f"{Path(options.data).stem}.net"
    python = [
        "from flatprop.tables import load",
        f"model = load({options.save or file!r})  # a pipeline of scikit-learn",
        "model.predict(frame)  # a data frame of polars or pandas",
    ]
    column = f" --target {shlex.quote(options.target)}"
    more = report.go_on(options.save, file, options.data, column, python)
    print("\n".join(lines[:1] if options.quiet else lines + more))
    return 130 if interrupted else 0


def _overrides(options: Namespace, target: TableTarget, rows: int) -> dict[str, Any]:
    """What replaces the defaults of the recipe."""
    names = (
        "hidden activation loss optimizer learning_rate epochs patience weight_decay "
        "label_smoothing dtype"
    )
    given = {name: getattr(options, name) for name in names.split()}
    with user_errors():
        tables = ("loss", [*LOSSES]), ("optimizer", [*OPTIMIZERS]), ("activation", [*ACTIVATIONS])
        for name, known in tables:
            if given[name] is not None:
                checks.choice(name, given[name], known)
    task = "classification" if given["loss"] in OF_CLASSES else "regression"
    if given["loss"] is not None and task != target.task:
        raise UserError(f"--loss {given['loss']} is for {task}; this is a {target.task}")
    given["batch_size"] = rows if options.batch_size == ALL else options.batch_size
    with user_errors():
        given["class_weight"] = class_weights(options.class_weight, target)
    return given | {"random_state": options.seed}


def _fit(
    options: Namespace, model: Pipeline, features: NDArray[Any], y: NDArray[Any]
) -> tuple[float, bool]:
    """Train the networks: the seconds that it took, and whether Ctrl-C ended it."""
    began = time.perf_counter()
    with shown(table_model.epochs(model), options.quiet) as callbacks:
        try:
            interrupted = table_model.fit_networks(model, features, y, callbacks)
        except table_model.NothingLearntError as error:
            wider = ", or --dtype float64" if options.dtype == "float32" else ""
            raise TrainingError(
                f"{error}; try a smaller --learning-rate{wider}. Nothing was saved."
            ) from None
        except (TypeError, ValueError) as error:
            raise UserError(str(error)) from None
    return time.perf_counter() - began, interrupted


def _worth(
    model: Pipeline, features: Any, y: Any, trained: Any, where: str, target: TableTarget
) -> list[str]:
    if target.task == "regression":
        return worth.numbers(target.name, y, model[-1].predict(features), trained, where)
    p = model[-1].predict_proba(features)
    labels = model.classes_
    lines = worth.classes(y, labels[p.argmax(axis=1)], trained, where)
    return lines[:2] + worth.probabilities(y, p, labels) + lines[2:]
