"""Training by mini-batches: scikit-learn's epochs, stopping rules and learning rates."""

import math
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from flatprop.formulas.optimizers import SGD, Optimizer
from flatprop.formulas.schedules import as_schedule
from flatprop.network import Network
from flatprop.sklearn.reports import Reports
from flatprop.sklearn.samples import Samples
from flatprop.training.trainer import Trainer


def descend(
    estimator: Any,
    net: Network,
    optimizer: Optimizer,
    training: Samples,
    held_out: Samples | None,
    reports: Reports,
    incremental: bool,
) -> None:
    """Train until a rule stops it; once through the samples where `incremental`.

    Sets the estimator's attributes as scikit-learn's does: `loss_`, `loss_curve_`, `n_iter_`,
    `t_`, and those of early stopping.
    """
    trainer = _trainer(estimator, net, optimizer, incremental)
    data = net.samples(training.X, estimator._targets(training.y), training.weight)
    held = None if held_out is None else _HeldOut(estimator, net, held_out)
    rates = _Rates(estimator, optimizer, trainer)
    batch_size = _batch_size(estimator, data.rows)
    best = net.params.copy() if estimator.early_stopping else None
    estimator.n_iter_ = 0
    if held is not None and not hasattr(estimator, "validation_loss_curve_"):
        estimator.validation_loss_curve_ = []
    try:
        for epoch in range(estimator.max_iter):
            reports.begin_epoch()
            rates.begin(epoch)
            rate = trainer.learning_rate
            loss = trainer.go_through(data, batch_size, bool(estimator.shuffle))
            loss += estimator._loss_offset(training)
            estimator.n_iter_ += 1
            estimator.t_ += data.rows
            estimator.loss_ = loss
            estimator.loss_curve_.append(loss)
            reports.say(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
            val_loss = None
            if held is not None:
                val_loss = held.loss()
                estimator.validation_loss_curve_.append(val_loss)
            if best is not None and held is not None:
                score = held.score() if math.isfinite(loss) else math.nan
                estimator.validation_scores_.append(score)
                reports.say(f"Validation score: {score:f}")
                if score > estimator.best_validation_score_:
                    best[:] = net.params
            _count_without_improvement(estimator)
            rates.end(epoch, loss if val_loss is None else val_loss)
            stop = reports.end_epoch(epoch, loss, val_loss, rate)
            if stop or not math.isfinite(loss):
                break
            if estimator._no_improvement_count > estimator.n_iter_no_change:
                if rates.lowered(_reason(estimator), reports):
                    estimator._no_improvement_count = 0
                else:
                    break
            if incremental:
                break
            if estimator.n_iter_ == estimator.max_iter:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached "
                    "and the optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=5,
                )
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=5)
    if best is not None:
        net.params[:] = best


def _trainer(estimator: Any, net: Network, optimizer: Optimizer, incremental: bool) -> Trainer:
    """A new optimizer, or the one that the last `partial_fit` left."""
    left: Trainer | None = getattr(estimator, "_optimizer", None)
    if incremental and left is not None and left.network is net:
        return left
    seed = estimator._random_state.randint(2**31 - 1)
    trainer = Trainer(net, optimizer, penalty=float(estimator.alpha), rng=seed)
    estimator._optimizer = trainer
    return trainer


def _batch_size(estimator: Any, rows: int) -> int:
    if isinstance(estimator.batch_size, str):
        return min(200, rows)
    if estimator.batch_size > rows:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            stacklevel=5,
        )
    return min(int(estimator.batch_size), rows)


def _count_without_improvement(estimator: Any) -> None:
    """Update the count of epochs in a row that were not better by `tol`, and the best."""
    if estimator.early_stopping:
        score, best = estimator.validation_scores_[-1], estimator.best_validation_score_
        worse = score < best + estimator.tol
        if score > best:
            estimator.best_validation_score_ = score
    else:
        worse = estimator.loss_ > estimator.best_loss_ - estimator.tol
        if estimator.loss_ < estimator.best_loss_:
            estimator.best_loss_ = estimator.loss_
    estimator._no_improvement_count = estimator._no_improvement_count + 1 if worse else 0


def _reason(estimator: Any) -> str:
    what = "Validation score" if estimator.early_stopping else "Training loss"
    return (
        f"{what} did not improve more than tol={estimator.tol:f} for "
        f"{estimator.n_iter_no_change:d} consecutive epochs."
    )


class _Rates:
    """The learning rate: as `learning_rate` says for "sgd", else as the optimizer's schedule."""

    def __init__(self, estimator: Any, optimizer: Optimizer, trainer: Trainer) -> None:
        self.estimator = estimator
        self.trainer = trainer
        self.kind = estimator.learning_rate if estimator.solver == "sgd" else "constant"
        schedule = as_schedule(optimizer.learning_rate)
        self.scheduled = isinstance(estimator.solver, Optimizer)
        if self.scheduled:
            self.rates = schedule.rates(estimator.max_iter)
            self.follow = schedule.follow()

    def begin(self, epoch: int) -> None:
        if self.scheduled:
            self.trainer.learning_rate = float(self.rates[epoch])

    def end(self, epoch: int, monitored: float) -> None:
        if self.kind == "invscaling":
            e = self.estimator
            self._change(e.learning_rate_init / (e.t_ + 1) ** e.power_t)
        if self.scheduled and self.follow is not None and epoch + 1 < len(self.rates):
            self.rates[epoch + 1] = self.follow(monitored)

    def lowered(self, reason: str, reports: Reports) -> bool:
        """Whether an adaptive rate was lowered, so that training goes on."""
        if self.kind != "adaptive":
            reports.say(f"{reason} Stopping.")
            return False
        if self.trainer.learning_rate <= 1e-6:
            reports.say(f"{reason} Learning rate too small. Stopping.")
            return False
        self._change(self.trainer.learning_rate / 5)
        reports.say(f"{reason} Setting learning rate to {self.trainer.learning_rate:f}")
        return True

    def _change(self, rate: float) -> None:
        # scikit-learn's velocity has the rates of the past in it, PyTorch's that of the present
        if isinstance(self.trainer.optimizer, SGD):
            self.trainer.state[:] *= self.trainer.learning_rate / rate
        self.trainer.learning_rate = rate


class _HeldOut:
    """A validation set, ready to be measured after every epoch."""

    def __init__(self, estimator: Any, net: Network, samples: Samples) -> None:
        self.estimator = estimator
        self.net = net
        self.samples = samples
        self.data = net.samples(samples.X, estimator._targets(samples.y), samples.weight)
        self.block = net.block(self.data)

    def loss(self) -> float:
        """The loss, without the penalty."""
        return self.net.loss_of(self.data, self.block) + float(
            self.estimator._loss_offset(self.samples)
        )

    def score(self) -> float:
        """Accuracy or R²."""
        with np.errstate(over="ignore", invalid="ignore"):
            outputs = self.net.predict(self.samples.X)
            if not np.isfinite(outputs).all():
                return math.nan
            return float(self.estimator._score(outputs, self.samples))
