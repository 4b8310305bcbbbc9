"""Training by mini-batches: scikit-learn's epochs, stopping rules and learning rates."""

import math
from collections.abc import Iterable
from typing import Any

from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from flatprop.formulas.optimizer import Optimizer
from flatprop.formulas.optimizers import SGD
from flatprop.formulas.schedules import as_schedule
from flatprop.sklearn.fit_data import Task
from flatprop.sklearn.reports import Reports
from flatprop.training.trainer import Trainer
from flatprop.validation.alerts import warn


def descend(estimator: Any, task: Task, optimizer: Optimizer, incremental: bool) -> None:
    """Train until a rule stops it; once through the samples where `incremental`.

    Sets the estimator's attributes as scikit-learn's does: `loss_`, `loss_curve_`, `n_iter_`,
    `t_`, and those of early stopping.
    """
    data = task.data
    trainer = _trainer(estimator, task, optimizer, incremental)
    batch_size, shuffle = _batch_size(estimator, data.rows), bool(estimator.shuffle)
    course = _Course(estimator, task, _Rates(estimator, optimizer, trainer))
    # A schedule is one of epochs, of which a stream has as many as there were calls.
    offset = len(estimator.loss_curve_) if incremental else 0
    estimator.n_iter_ = 0
    try:
        while estimator.n_iter_ < estimator.max_iter:
            first = estimator.n_iter_
            stop = first + course.epochs_ahead()
            course.begin(first + offset)
            if incremental or not data.in_memory:
                losses: Iterable[float] = (trainer.go_through(data, batch_size, shuffle),)
            else:
                losses = trainer.epochs(data, first, stop, batch_size, shuffle)
            if any(course.ends(loss) for loss in losses) or incremental:
                break
        else:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and "
                "the optimization hasn't converged yet.",
                ConvergenceWarning,
            )
    except KeyboardInterrupt:
        warn("Training interrupted by user.")
    finally:
        if course.best is not None:
            task.net._arrays.params[:] = course.best
        if not incremental:
            trainer.release()


class _Course:
    """What happens after each epoch, and whether that ends the training."""

    def __init__(self, estimator: Any, task: Task, rates: "_Rates") -> None:
        self.estimator, self.net, self.rates = estimator, task.net, rates
        self.held, self.reports, self.rows = task.held, task.reports, task.data.rows
        self.best = task.net.params.copy() if task.held and estimator.early_stopping else None
        e = estimator  # parameters may have changed since the last fit
        if e.early_stopping and e.validation_scores_ is None:
            e.validation_scores_, e.best_validation_score_ = [], -math.inf
        if not e.early_stopping and e.best_loss_ is None:
            e.best_loss_ = math.inf
        if task.held is not None and not hasattr(e, "validation_loss_curve_"):
            e.validation_loss_curve_ = []

    def epochs_ahead(self) -> int:
        """How many epochs are sure to follow before anybody has to be asked.

        Without improvement training ends after more than `n_iter_no_change` of them.
        """
        e = self.estimator
        if self.held is not None or self.reports.each_epoch or self.rates.change:
            return 1
        patience = e.n_iter_no_change + 1 - e._no_improvement_count
        return int(max(1, min(patience, e.max_iter - e.n_iter_)))

    def begin(self, epoch: int) -> None:
        """An epoch, or several, are about to begin."""
        self.rates.begin(epoch)
        self.reports.begin_epoch()

    def ends(self, loss: float) -> bool:
        """Take note of an epoch with this loss; whether the training ends with it."""
        e, held, reports = self.estimator, self.held, self.reports
        epoch, rate = e.n_iter_, self.rates.trainer.learning_rate
        loss *= e._loss_scale
        e.n_iter_ += 1
        e.t_ += self.rows
        e.loss_ = loss
        e.loss_curve_.append(loss)
        reports.say(f"Iteration {e.n_iter_}, loss = {loss:.8f}")
        val_loss = None
        if held is not None:
            val_loss = held.loss()
            e.validation_loss_curve_.append(val_loss)
        if self.best is not None and held is not None:
            score = held.score() if math.isfinite(loss) else math.nan
            e.validation_scores_.append(score)
            reports.say(f"Validation score: {score:f}")
            if score > e.best_validation_score_:
                self.best[:] = self.net._arrays.params
        _count_without_improvement(e)
        self.rates.end(epoch, loss if val_loss is None else val_loss)
        if reports.end_epoch(epoch, loss, val_loss, rate) or not math.isfinite(loss):
            return True
        if e._no_improvement_count > e.n_iter_no_change:
            if not self.rates.lowered(_reason(e), reports):
                return True
            e._no_improvement_count = 0
        return False


def _trainer(estimator: Any, task: Task, optimizer: Optimizer, incremental: bool) -> Trainer:
    """A new optimizer, or the one that the last `partial_fit` left."""
    left: Trainer | None = getattr(estimator, "_optimizer", None)
    if incremental and left is not None and left.network is task.net:
        left.penalty = float(estimator.alpha)
        return left
    random = task.random or check_random_state(estimator.random_state)
    seed = random.randint(2**31 - 1)
    trainer = Trainer(task.net, optimizer, penalty=float(estimator.alpha), rng=seed)
    trainer._by_rows = True
    estimator._optimizer = trainer
    return trainer


def _batch_size(estimator: Any, rows: int) -> int:
    if isinstance(estimator.batch_size, str):
        return min(200, rows)
    if estimator.batch_size > rows:
        warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
    return min(int(estimator.batch_size), rows)


def _count_without_improvement(estimator: Any) -> None:
    """Update the count of epochs in a row that were not better by `tol`, and the best."""
    if estimator.early_stopping:
        score, best = estimator.validation_scores_[-1], estimator.best_validation_score_
        worse = not score >= best + estimator.tol  # a score that is NaN is
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
        self.rates = schedule.rates(estimator.max_iter)  # one, where it is constant
        self.follow = schedule.follow()
        self.scheduled = isinstance(estimator.solver, Optimizer) and self.rates.size > 1
        self.change = self.scheduled or self.kind == "invscaling"

    def begin(self, epoch: int) -> None:
        if self.scheduled:
            self.trainer.learning_rate = float(self.rates[min(epoch, self.rates.size - 1)])

    def end(self, epoch: int, monitored: float) -> None:
        if self.kind == "invscaling":
            e = self.estimator
            self._change(e.learning_rate_init / (e.t_ + 1) ** e.power_t)
        if self.follow is not None and epoch + 1 < self.rates.size:
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
