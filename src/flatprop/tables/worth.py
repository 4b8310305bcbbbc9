"""What predictions are worth on rows that were not trained on, told in lines."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

MANY_CLASSES = 20
"""With more classes than this, they are not listed one by one."""
RARE = 0.2
"""Where a class has less than this share of the rows, accuracy alone says little."""
SHORT = 28
"""Longer labels are cut in tables."""


def classes(y: NDArray[Any], guess: NDArray[Any], trained: NDArray[Any], where: str) -> list[str]:
    """Lines that say how often a guess is right, the first of them by itself.

    Parameters
    ----------
    y, guess
        (rows,), the labels, and those that were predicted.
    trained
        The labels of the rows that were trained on.
    where
        What the rows are called, held-out or training.
    """
    right = int((y == guess).sum())
    most = Counter(trained.tolist()).most_common(1)[0][0]
    lines = [
        f"{where} accuracy: {_percent(right, y.size)} ({right} of {y.size})",
        f"  always {most}, the most frequent: {_percent(int((y == most).sum()), y.size)}",
    ]
    mistakes = Counter(pair for pair in zip(y.tolist(), guess.tolist(), strict=True))
    frequent = [(count, pair) for pair, count in mistakes.items() if pair[0] != pair[1]]
    if frequent:
        lines += ["", "most frequent mistakes:"]
        for count, (label, other) in sorted(frequent, key=lambda m: (-m[0], str(m[1])))[:5]:
            lines.append(f"  {label} taken for {other}: {count} of {(y == label).sum()}")
    return lines


def probabilities(y: NDArray[Any], p: NDArray[Any], labels: NDArray[Any]) -> list[str]:
    """Lines on probabilities (rows, classes): by class, and AUC where accuracy says little."""
    from sklearn.metrics import classification_report, log_loss, roc_auc_score

    lines = []
    counts = np.array([(y == label).sum() for label in labels])
    if counts.all():  # otherwise they are not defined
        lines.append(f"  log loss: {log_loss(y, p, labels=labels):.4f}")
        if len(labels) == 2:
            lines[-1] += f", AUC: {roc_auc_score(y == labels[1], p[:, 1]):.4f}"
        elif counts.min() < RARE * counts.mean():
            auc = roc_auc_score(y, p, multi_class="ovr", labels=labels)
            lines[-1] += f", AUC (mean of one class against the rest): {auc:.4f}"
    if len(labels) <= MANY_CLASSES:
        names = [
            text if len(text) <= SHORT else text[: SHORT - 3] + "..." for text in map(str, labels)
        ]
        places = np.searchsorted(labels, y)
        table = classification_report(
            places, p.argmax(axis=1), labels=range(len(labels)), target_names=names,
            digits=3, zero_division=0.0,
        )  # fmt: skip
        lines += ["", *(line for line in table.split("\n") if line.strip())]
    return lines


def numbers(
    name: str, y: NDArray[Any], value: NDArray[Any], trained: NDArray[Any], where: str
) -> list[str]:
    """Lines that say how far predicted numbers are off, the first of them by itself."""
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    def errors(value: Any) -> str:
        rmse, mae = root_mean_squared_error(y, value), mean_absolute_error(y, value)
        return f"RMSE: {rmse:.4g}, MAE: {mae:.4g}"

    r2 = f"{r2_score(y, value):.3f}" if y.min() < y.max() else "undefined"
    mean = float(trained.mean())
    return [
        f"{where} {errors(value)}, R²: {r2} ({y.size:,} rows, {name} from {y.min():.4g} to "
        f"{y.max():.4g})",
        f"  always {mean:.4g}, the mean: {errors(np.full(y.shape, mean))}",
    ]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
