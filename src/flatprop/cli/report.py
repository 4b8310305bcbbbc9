"""What a trained network is worth on rows it has not seen, and how to go on."""

import shlex
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flatprop.cli import targets
from flatprop.cli.columns import Floats
from flatprop.cli.terminal import program

if TYPE_CHECKING:
    from flatprop import Network
    from flatprop.cli.problems import Problem

MANY_CLASSES = 20
"""With more classes than this, they are not listed one by one."""


def result(
    problem: "Problem", outputs: NDArray[Any], rows: NDArray[np.bool_], where: str, brief: bool
) -> list[str]:
    """Lines that say how good the outputs of the network are for `rows` of the problem.

    `where` is what the rows are called, held-out or training; `brief` asks for the first line.
    """
    target = problem.recipe.target
    if isinstance(target, targets.Classes):
        most = int(np.bincount(problem.y[~problem.held]).argmax())
        guess = target.probabilities(outputs).argmax(axis=1)
        lines = _classification(target, problem.y[rows], guess, most, where)
    else:
        y = problem.y * target.scale + target.mean
        mean = float(y[~problem.held].mean())
        lines = _regression(target, y[rows], target.decode(outputs), mean, where)
    return lines[:1] if brief else lines


def _classification(
    target: targets.Classes, y: NDArray[np.int64], guess: NDArray[np.int64], most: int, where: str
) -> list[str]:
    labels = [str(label) for label in target.labels]
    right = int((y == guess).sum())
    lines = [
        f"{where} accuracy: {_percent(right, y.size)} ({right} of {y.size})",
        f"  always {labels[most]}, the most frequent: {_percent(int((y == most).sum()), y.size)}",
    ]
    if len(labels) <= MANY_CLASSES:
        lines += ["", *_per_class(labels, y, guess)]
    mistakes = [(int((guess[y == i] == j).sum()), i, j) for i in set(y) for j in set(guess) - {i}]
    frequent = sorted(m for m in mistakes if m[0])[:-6:-1]
    if frequent:
        lines += ["", "most frequent mistakes:"]
        lines += [
            f"  {labels[i]} taken for {labels[j]}: {count} of {(y == i).sum()}"
            for count, i, j in sorted(frequent, key=lambda m: (-m[0], m[1:]))
        ]
    return lines


def _per_class(labels: list[str], y: NDArray[np.int64], guess: NDArray[np.int64]) -> list[str]:
    rows = [("class", "rows", "found", "right where said")]
    for index, label in enumerate(labels):
        there, said = int((y == index).sum()), int((guess == index).sum())
        both = int(((y == index) & (guess == index)).sum())
        short = label if len(label) <= 40 else label[:37] + "..."
        rows.append((short, str(there), _percent(both, there), _percent(both, said)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
        for row in rows
    ]


def _regression(
    target: targets.Quantity, y: Floats, value: Floats, mean: float, where: str
) -> list[str]:
    def errors(value: Any) -> tuple[float, float]:
        return float(np.sqrt(np.mean((value - y) ** 2))), float(np.mean(abs(value - y)))

    spread = float(((y - y.mean()) ** 2).sum())
    rmse, mae = errors(value)
    rmse_mean, mae_mean = errors(mean)
    r2 = f"{1 - ((value - y) ** 2).sum() / spread:.3f}" if spread > 0 else "undefined"
    return [
        f"{where} RMSE: {rmse:.4g}, MAE: {mae:.4g}, R²: {r2} ({y.size} rows, {target.name} "
        f"from {y.min():.4g} to {y.max():.4g})",
        f"  always {mean:.4g}, the mean: RMSE {rmse_mean:.4g}, MAE {mae_mean:.4g}",
    ]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def go_on(options: Namespace, problem: "Problem", network: "Network") -> list[str]:
    """The next commands, and lines of Python."""
    data, digits = options.data, options.data == "digits"
    lines = ["to go on:"]
    file = options.save or f"{problem.name}.net"
    if options.save:
        lines.append(f"  saved to {file}")
    else:
        target = "" if digits else f" --target {shlex.quote(options.target)}"
        lines.append(f"  {program()} train {shlex.quote(data)}{target} --save {shlex.quote(file)}")
    lines += [f"  {program()} predict {shlex.quote(file)} {shlex.quote(data)}", "", "in Python:"]
    if digits:
        layers = ", ".join(f'fp.Dense({d.units}, "{d.activation}")' for d in network.dense)
        loss = network.loss_function.name
        lines += [
            "  import flatprop as fp",
            "  from flatprop.data import load_digits",
            "  X, y = load_digits()",
            f"  layers = [{layers}]",
            f'  net = fp.Network(64, layers, "{loss}")',
            "  net.fit(X / 16, y, progress=True)",
        ]
    else:
        lines += [
            "  from flatprop.cli.predict import predict_table",
            f"  predict_table({str(Path(file))!r}, {data!r})  # a pandas.DataFrame",
        ]
    return lines
