"""`train digits`: the handwritten digits of the package, which need nothing but flatprop."""

import time
import warnings
from argparse import Namespace
from typing import TYPE_CHECKING, Any

import numpy as np

from flatprop.cli import report
from flatprop.cli.arguments import ALL
from flatprop.cli.errors import TrainingError, UserError, user_errors
from flatprop.cli.terminal import wrapped
from flatprop.cli.waiting import shown
from flatprop.tables import worth

if TYPE_CHECKING:
    from flatprop import Network
    from flatprop.formulas.optimizer import Optimizer

HIDDEN, EPOCHS, BATCH, SMOOTHING = (128, 64), 60, 32, 0.1
RATE, DECAY = 5e-3, 0.3
OF_TABLES = ("target", "task", "drop", "keep", "delimiter", "no_header", "class_weight")
"""Options that the digits have no use for."""


def train_digits(options: Namespace) -> int:
    """Train, print what came of it, and return the exit code."""
    from flatprop.data import CITATION, load_digits

    for name in OF_TABLES:
        if getattr(options, name):
            raise UserError(
                f"--{name.replace('_', '-')} is for a table of your own; the digits need none "
                "(a file of that name is ./digits)"
            )
    if options.loss not in (None, "cross_entropy"):
        raise UserError(f"--loss {options.loss} is for a table of your own, not for the digits")
    X, y = load_digits()
    held = _held_back(y, options.test_size, np.random.default_rng(options.seed))
    network, optimizer = _network(options)
    if not options.quiet:
        lines = [
            f"data: {y.size:,} handwritten digits of 8 × 8 pixels, {report.parts(held)}",
            f"from: {CITATION}",
            f"network: {network!r}",
        ]
        print("\n".join(map(wrapped, lines)), end="\n\n", flush=True)
    began = time.perf_counter()
    # All pixels by one scale: those that are hardly ever inked stay small.
    means = X[~held].mean(axis=0)
    batch = options.batch_size
    epochs = options.epochs or EPOCHS
    with warnings.catch_warnings(), user_errors(), shown(epochs, options.quiet) as callbacks:
        warnings.simplefilter("ignore")  # a divergence is told as an error
        history = network.fit(
            (X[~held] - means) / 8,
            y[~held],
            optimizer=optimizer,
            epochs=epochs,
            batch_size=None if batch == ALL else batch or BATCH,
            validation_split=0.15 if options.patience else None,
            patience=options.patience or None,
            callbacks=callbacks,
        )
    seconds = time.perf_counter() - began
    if history.stopped_by == "diverged":
        raise TrainingError(
            f"the training diverged in epoch {history.epochs}: the loss is no longer finite; try "
            "a smaller --learning-rate. Nothing was saved."
        )
    interrupted = history.stopped_by == "interrupted"
    if interrupted and history.epochs == 0:
        raise KeyboardInterrupt
    _take_raw_pixels(network, means)
    if options.save:
        network.save(options.save)
    if interrupted or not options.quiet:
        epochs = f"{history.epochs} epoch{'s' * (history.epochs != 1)}"
        how = "interrupted after" if interrupted else "trained"
        print(wrapped(f"{how} {epochs} in {seconds:.1f} s; training loss {history.loss[-1]:.4g}"))
    rows, where = (held, "held-out") if held.any() else (~held, "training")
    guess = network.predict(X[rows]).argmax(axis=1)
    lines = worth.classes(y[rows], guess, y[~held], where)
    layers = ", ".join(f'fp.Dense({d.units}, "{d.activation}")' for d in network.dense)
    python = [
        "import flatprop as fp",
        "from flatprop.data import load_digits",
        "X, y = load_digits()",
        f"layers = [{layers}]",
        'net = fp.Network(64, layers, "cross_entropy")',
        "net.fit(X / 16, y, progress=True)",
    ]
    more = report.go_on(options.save, "digits.net", "digits", "", python)
    print("\n".join(lines[:1] if options.quiet else lines + more))
    return 130 if interrupted else 0


def _held_back(y: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Every so-many-th of the rows in order of their digit, and at random within a digit."""
    order = np.lexsort((rng.random(y.size), y))
    held = np.zeros(y.size, bool)
    held[order[np.diff(np.ceil(np.arange(y.size + 1) * share)) > 0]] = True
    return held


def _network(options: Namespace) -> tuple["Network", "Optimizer"]:
    import flatprop as fp
    from flatprop.formulas.optimizer import OPTIMIZERS
    from flatprop.validation import checks

    with user_errors():
        hidden = HIDDEN if options.hidden is None else options.hidden
        layers = [fp.Dense(units, options.activation or "gelu") for units in hidden]
        smoothing = SMOOTHING if options.label_smoothing is None else options.label_smoothing
        loss = fp.losses.CrossEntropy(label_smoothing=smoothing)
        layers.append(fp.Dense(10, "softmax"))
        network = fp.Network(64, layers, loss, options.dtype, options.seed)
        name = checks.choice("optimizer", options.optimizer or "adamw", OPTIMIZERS)
        decay = options.weight_decay
        if decay is None:
            decay = DECAY if name == "adamw" else 0.0
        kind: Any = OPTIMIZERS[name]
        rate = options.learning_rate or (RATE if name == "adamw" else kind().learning_rate)
        return network, kind(fp.schedules.Cosine(rate), weight_decay=decay)


def _take_raw_pixels(network: "Network", means: np.ndarray) -> None:
    """Put the scale of the pixels into the first layer."""
    network.weights[0][:] /= 8
    network.biases[0][:] -= means @ network.weights[0]
