"""A network for a problem, and its training, as the options say."""

import sys
import warnings
from argparse import Namespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flatprop.cli import targets
from flatprop.cli.arguments import ALL
from flatprop.cli.errors import UserError, user_errors
from flatprop.cli.problems import BATCH, Problem
from flatprop.cli.splits import hold_back

if TYPE_CHECKING:
    from flatprop import History, Network

VALIDATION_SHARE = 0.15
"""How much of the training rows early stopping may look at."""
DECAY_ROWS = 450
"""The weight decay of AdamW is 1 up to so many training rows; the more, the less it needs."""
RATES = {"adam": 5e-3, "adamw": 5e-3, "sgd": 0.05, "rmsprop": 1e-3, "adagrad": 0.02, "rprop": 1e-2}


def build(options: Namespace, problem: Problem) -> "Network":
    """The network of the options, with the last layer that the target needs.

    Raises UserError if there is no such network.
    """
    import flatprop as fp

    loss, outputs, last = _ending(options.loss, problem.recipe.target)
    hidden = problem.hidden if options.hidden is None else options.hidden
    with user_errors():
        layers = [fp.Dense(units, options.activation) for units in hidden]
        layers.append(fp.Dense(outputs, last))
        width = problem.X.shape[1]
        return fp.Network(width, layers, loss, options.dtype, options.seed)


def _ending(loss: str | None, target: targets.Target) -> tuple[str, int, str]:
    """The loss, and the units and the activation of the last layer."""
    from flatprop.formulas.losses import LOSSES
    from flatprop.validation import checks

    if loss is not None:
        with user_errors():
            checks.choice("loss", loss, LOSSES)
    probabilities = ("cross_entropy", "binary_cross_entropy")
    if isinstance(target, targets.Classes):
        loss, classes = loss or "cross_entropy", len(target.labels)
        if loss not in probabilities:
            raise UserError(
                f"--loss {loss} is for regression; classification takes "
                f"{' or '.join(probabilities)}"
            )
        if loss == "cross_entropy":
            return loss, classes, "softmax"
        return loss, 1 if classes == 2 else classes, "sigmoid"
    loss = loss or "mse"
    if loss in probabilities:
        raise UserError(
            f"--loss {loss} is for classification; regression takes mse, mae, huber, ..., or add "
            "--task classification"
        )
    return loss, 1, "exp" if loss == "poisson" else "identity"


def make_optimizer(options: Namespace, rows: int) -> Any:
    """The optimizer of the options; `rows` are those to train on.

    Raises UserError if there is none of that name, or with such settings.
    """
    from flatprop import schedules
    from flatprop.formulas.optimizer import OPTIMIZERS
    from flatprop.validation import checks

    with user_errors():
        name = checks.choice("optimizer", options.optimizer, OPTIMIZERS)
        decay = options.weight_decay
        if decay is None:
            decay = min(1.0, DECAY_ROWS / rows) if name == "adamw" else 0.0
        rate = options.learning_rate or RATES.get(name, 1e-2)
        return OPTIMIZERS[name](schedules.Cosine(rate), weight_decay=decay)  # type: ignore[call-arg]


def fit(
    options: Namespace,
    problem: Problem,
    network: "Network",
    optimizer: Any,
    rng: np.random.Generator,
) -> "History":
    """Train in place. With patience a part of the training rows is kept, to stop by it.

    Raises UserError if the data do not allow it.
    """
    import flatprop as fp

    target = problem.recipe.target
    X, y = problem.X, problem.y
    training = ~problem.held
    patience = problem.patience if options.patience is None else options.patience
    smoothing = options.label_smoothing
    if smoothing is None:
        smoothing = problem.label_smoothing
    validation = None
    if patience:
        groups = y[training] if problem.classes else np.zeros(int(training.sum()))
        kept = np.flatnonzero(training)[hold_back(groups, VALIDATION_SHARE, rng)]
        if not kept.size:
            raise UserError("too few rows to stop early by; --patience 0 does without")
        training[kept] = False
        validation = (X[kept], _as_loss_takes(y[kept], network, target))
    batch = options.batch_size
    if batch is None:
        batch = ALL if options.optimizer == "rprop" else BATCH
    with warnings.catch_warnings(), user_errors():
        warnings.simplefilter("ignore", fp.DivergenceWarning)  # it is told as an error
        return network.fit(
            X[training],
            _as_loss_takes(y[training], network, target, smoothing),
            optimizer=optimizer,
            epochs=options.epochs or problem.epochs,
            batch_size=None if batch == ALL else batch,
            validation_data=validation,
            patience=patience or None,
            progress=sys.stderr.isatty() and not options.quiet,
        )


def _as_loss_takes(
    y: NDArray[Any], network: "Network", target: targets.Target, smoothing: float = 0.0
) -> NDArray[Any]:
    """What the loss is given for classes or values.

    With smoothing s, the targets 0 and 1 are replaced by s / k and 1 - s + s / k, k being
    the number of classes (Szegedy et al. 2016); of sigmoids, by s / 2 and 1 - s / 2.
    """
    if isinstance(target, targets.Quantity):
        return y
    if network.loss_function.name == "cross_entropy" and not smoothing:
        return y
    several = network.outputs > 1
    ones: NDArray[np.float64] = np.eye(network.outputs)[y] if several else y[:, None] * 1.0
    classes = network.outputs if network.loss_function.name == "cross_entropy" else 2
    return ones * (1 - smoothing) + smoothing / classes
