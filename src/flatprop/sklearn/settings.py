"""What the parameters of the estimators mean: layers, loss, optimizer, batches; all checked."""

import math
from typing import Any, NoReturn

import numpy as np

from flatprop.formulas.loss import OVER_SAMPLES, Loss
from flatprop.formulas.losses import LOSSES, LOSSES_BY_NAME, Poisson
from flatprop.formulas.optimizer import OPTIMIZERS, Optimizer
from flatprop.formulas.optimizers import SGD, Adam
from flatprop.model.dense_layer import Dense
from flatprop.solvers import LBFGS, SOLVERS, Solver
from flatprop.training.callbacks import Checkpoint, checked_callbacks
from flatprop.validation import checks

LIKE_SCIKIT_LEARN = ("identity", "logistic", "tanh", "relu")
"""The hidden activations whose initial weights are drawn as scikit-learn does."""


class PoissonDeviance(Poisson):
    """Poisson's loss summed over the outputs, as scikit-learn has it."""

    reduction = OVER_SAMPLES


def hidden_layers(estimator: Any) -> list[Dense]:
    """The hidden layers, with their activations."""
    sizes = estimator.hidden_layer_sizes
    sizes = [sizes] if np.ndim(sizes) == 0 else list(sizes)
    if any(isinstance(size, (int, float, np.number)) and size <= 0 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    sizes = [checks.count("hidden_layer_sizes", size) for size in sizes]
    given = estimator.activation
    several = isinstance(given, (list, tuple, np.ndarray))
    activations = list(given) if several else [given] * len(sizes)
    if len(activations) != len(sizes):
        raise ValueError(
            f"activation names {len(activations)} activations for {len(sizes)} hidden layers; "
            "give one for all or one for each"
        )
    return [Dense(n, sigmoid(a)) for n, a in zip(sizes, activations, strict=True)]


def sigmoid(activation: Any) -> Any:
    """An activation by flatprop's name: scikit-learn calls the sigmoid logistic."""
    return "sigmoid" if activation == "logistic" else activation


def initial_weights(layers: list[Dense], inputs: int, random: np.random.RandomState) -> list[Any]:
    """(W, b) of every layer as scikit-learn draws them, or None where the activation is none of
    its four.

    Uniform with bound sqrt(6 / (inputs + units)), or sqrt(2 / ...) before a logistic
    (Glorot & Bengio 2010); the last layer as the one before it.
    """
    drawn: list[Any] = []
    for number, layer in enumerate(layers):
        before = layers[min(number, max(len(layers) - 2, 0))]
        name = "logistic" if before.activation == "sigmoid" else before.activation
        if len(layers) > 1 and name not in LIKE_SCIKIT_LEARN:
            drawn.append(None)
        else:
            bound = math.sqrt((2 if name == "logistic" else 6) / (inputs + layer.units))
            W = random.uniform(-bound, bound, (inputs, layer.units))
            drawn.append((W, random.uniform(-bound, bound, layer.units)))
        inputs = layer.units
    return drawn


ALIASES: dict[str, type[Loss]] = {
    "squared_error": LOSSES["half_mse"],
    "absolute_error": LOSSES["mae"],
    "poisson": PoissonDeviance,
}


def loss(given: Any) -> Any:
    """A loss as `Network` takes it; scikit-learn's names mean what they mean there."""
    if isinstance(given, str) and given in ALIASES:
        return ALIASES[given]()
    if isinstance(given, str):
        return LOSSES_BY_NAME[checks.choice("loss", given, [*ALIASES, *LOSSES_BY_NAME])]()
    return given


def optimizer(estimator: Any) -> Optimizer | Solver:
    """The optimizer or solver that `solver` means, with the parameters that belong to it."""
    given = estimator.solver
    rate = checks.positive("learning_rate_init", estimator.learning_rate_init)
    if isinstance(given, (Optimizer, Solver)):
        return given
    if isinstance(given, type) and issubclass(given, (Optimizer, Solver)):
        raise TypeError(f"solver is a class; write fp.{given.__name__}(...)")
    name = checks.choice("solver", given, [*OPTIMIZERS, *SOLVERS])
    if name == "sgd":
        momentum = checks.positive("momentum", estimator.momentum, or_zero=True)
        if momentum > 1:
            raise ValueError(f"momentum must lie in [0, 1], got {momentum:g}")
        return SGD(rate, momentum, nesterov=bool(estimator.nesterovs_momentum) and momentum > 0)
    if name == "adam":
        betas = estimator.beta_1, estimator.beta_2
        return Adam(rate, betas=betas, eps=checks.positive("epsilon", estimator.epsilon))
    if name in OPTIMIZERS:
        return OPTIMIZERS[name](rate)
    if name == "lbfgs":
        return LBFGS(gtol=checks.positive("tol", estimator.tol, or_zero=True))
    return SOLVERS[name]()


def is_stochastic(estimator: Any) -> bool:
    """Whether `solver` goes by mini-batches."""
    solver = estimator.solver
    return isinstance(solver, Optimizer) or (isinstance(solver, str) and solver in OPTIMIZERS)


def refuse_checkpoint() -> NoReturn:
    """Raise, and say what to do in place of a checkpoint."""
    raise ValueError(
        "checkpoints are for Network.fit; pickle the estimator, which keeps its optimizer, and go "
        "on with warm_start or partial_fit"
    )


def check_truth(name: str, value: Any) -> None:
    """Raise unless the value of a parameter is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def check_the_rest(estimator: Any) -> None:
    """Check the callbacks, and the parameters that are only numbers or names."""
    if any(isinstance(c, Checkpoint) for c in checked_callbacks(estimator.callbacks)):
        refuse_checkpoint()
    for name in ("shuffle", "warm_start", "nesterovs_momentum"):
        check_truth(name, getattr(estimator, name))
    if not (isinstance(estimator.early_stopping, str) and estimator.early_stopping == "loss"):
        check_truth("early_stopping", estimator.early_stopping)
    if not isinstance(estimator.verbose, (bool, np.bool_)):
        checks.count("verbose", estimator.verbose, least=0)
    for name in ("alpha", "power_t", "tol"):
        checks.positive(name, getattr(estimator, name), or_zero=True)
    for name in ("max_iter", "max_fun"):
        checks.count(name, getattr(estimator, name))
    if estimator.n_iter_no_change != math.inf:
        checks.count("n_iter_no_change", estimator.n_iter_no_change)
    if not (isinstance(estimator.batch_size, str) and estimator.batch_size == "auto"):
        checks.count("batch_size", estimator.batch_size)
    fraction = checks.positive("validation_fraction", estimator.validation_fraction, or_zero=True)
    if fraction >= 1:
        raise ValueError(f"validation_fraction must lie in [0, 1), got {fraction:g}")
    smoothing = getattr(estimator, "label_smoothing", 0.0)  # which regressors do not have
    if checks.positive("label_smoothing", smoothing, or_zero=True) >= 1:
        raise ValueError(f"label_smoothing must lie in [0, 1), got {smoothing:g}")
    schedules = ("constant", "invscaling", "adaptive")
    checks.choice("learning_rate", estimator.learning_rate, schedules)
