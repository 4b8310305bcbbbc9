"""`train`: from a table to a network that is measured, reported and saved."""

import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flatprop.cli import fitting, problems, report
from flatprop.cli.errors import UserError
from flatprop.cli.tables import Recipe
from flatprop.cli.terminal import wrapped

if TYPE_CHECKING:
    from flatprop import History, Network


def train(options: Namespace) -> int:
    """Run `train`, print what came of it, and return the exit code."""
    _check_save(options.save)
    # The split has a generator of its own, so that it is the same for another network.
    rng = np.random.default_rng(options.seed)
    problem = problems.problem(options, rng)
    network = fitting.build(options, problem)
    optimizer = fitting.make_optimizer(options, int((~problem.held).sum()))
    if not options.quiet:
        lines = [*problem.lines, f"network: {network!r}"]
        print("\n".join(map(wrapped, lines)), end="\n\n", flush=True)
    began = time.perf_counter()
    history = fitting.fit(options, problem, network, optimizer, rng)
    seconds = time.perf_counter() - began
    if history.stopped_by == "diverged":
        print(f"flatprop: error: {_diverged(history, options)}", file=sys.stderr)
        return 1
    interrupted = history.stopped_by == "interrupted"
    if interrupted and history.epochs == 0:
        raise KeyboardInterrupt
    if options.save:
        _save(network, options.save, problem.recipe)
    if interrupted or not options.quiet:
        print(wrapped(_course(history, seconds)))
    rows = problem.held if problem.held.any() else ~problem.held
    where = "held-out" if problem.held.any() else "training"
    outputs = network.predict(problem.X[rows])
    print("\n".join(report.result(problem, outputs, rows, where, options.quiet)))
    if not options.quiet:
        print("\n".join(["", *report.go_on(options, problem, network)]))
    return 130 if interrupted else 0


# ---- what is told


def _diverged(history: "History", options: Namespace) -> str:
    wider = ", or --dtype float64" if options.dtype == "float32" else ""
    return (
        f"the training diverged in epoch {history.epochs}: the loss is no longer finite; "
        f"try a smaller --learning-rate{wider}. Nothing was saved."
    )


def _course(history: "History", seconds: float) -> str:
    """How the training went, in one line."""
    epochs = f"{history.epochs} epoch{'s' * (history.epochs != 1)}"
    line = f"trained {epochs} in {seconds:.1f} s"
    if history.stopped_by == "interrupted":
        line = f"interrupted after {epochs}, {seconds:.1f} s"
    if history.stopped_by == "patience":
        line += ", until nothing more was gained"
    if history.best_epoch is not None:
        line += f"; the parameters are those of epoch {history.best_epoch + 1}"
    return f"{line}; training loss {history.loss[0]:.4g} -> {history.loss[-1]:.4g}"


# ---- the file


def _check_save(path: str | None) -> None:
    """Complain before the training, not after it."""
    if path is None:
        return
    if not path:
        raise UserError("--save needs the name of a file")
    if Path(path).is_dir():
        raise UserError(f"--save {path} is a folder; name a file in it")
    if Path(path).suffix.lower() in (".csv", ".tsv", ".txt"):
        raise UserError(
            f"--save {path} names a table; the network is another kind of file, such as "
            f"{Path(path).stem}.net"
        )
    folder = Path(path).parent
    if not folder.is_dir():
        raise UserError(f"--save {path}: there is no folder {folder}")


def _save(network: "Network", path: str, recipe: Recipe) -> None:
    from flatprop.export import files

    try:
        files.save(network, path, extra={"table": recipe.to_json()})
    except ValueError as error:  # thousands of columns of many words
        raise UserError(f"--save {path}: {error}") from None
