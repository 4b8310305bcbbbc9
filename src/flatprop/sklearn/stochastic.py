"""Training by mini-batches: scikit-learn's epochs, stopping rules and learning rates."""

import math
from collections.abc import Iterable
from typing import Any

from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from flatprop.formulas.optimizer import Optimizer
from flatprop.formulas.optimizers import SGD
from flatprop.formulas.schedules import as_schedule
from flatprop.sklearn.course import Course
from flatprop.sklearn.fit_data import Task
from flatprop.sklearn.reports import Reports
from flatprop.training.trainer import Trainer
from flatprop.validation.alerts import warn


def descend(estimator: Any, task: Task, optimizer: Optimizer, incremental: bool) -> None:
    """Train until a rule stops it; once through the samples where `incremental`."""
    data, course = task.data, task.course
    trainer = _trainer(estimator, task, optimizer, incremental)
    batch_size, shuffle = _batch_size(estimator, data.rows), bool(estimator.shuffle)
    epochs = _Epochs(estimator, task, _Rates(estimator, course, optimizer, trainer))
    # A schedule counts epochs: a stream has had one for each of its calls.
    offset = len(course.loss_curve_) if incremental else 0
    try:
        while course.n_iter_ < estimator.max_iter:
            first = course.n_iter_
            stop = first + epochs.ahead()
            epochs.begin(first + offset)
            if incremental or not data.in_memory:
                loss = trainer.go_through(data, batch_size, shuffle, by_rows=True)
                losses: Iterable[float] = (loss,)
            else:
                losses = trainer.epochs(data, first, stop, batch_size, shuffle, by_rows=True)
            if any(epochs.ends_with(loss) for loss in losses) or incremental:
                break
        else:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and "
                "the optimization hasn't converged yet.",
                ConvergenceWarning,
            )
    except KeyboardInterrupt:
        warn("Training interrupted by user.")
        course._interrupted = True
    finally:
        if epochs.best is not None:
            task.net._arrays.params[:] = epochs.best
        if not incremental:
            trainer.release()


class _Epochs:
    """What happens after each epoch, and whether that ends the training."""

    def __init__(self, estimator: Any, task: Task, rates: "_Rates") -> None:
        self.estimator, self.task, self.rates = estimator, task, rates
        self.best = task.net.params.copy() if task.held and estimator.early_stopping else None
        """The parameters with the best score."""

    def ahead(self) -> int:
        """How many epochs can follow each other before anything has to be decided.

        Without improvement training ends after more than `n_iter_no_change` epochs.
        """
        e, course = self.estimator, self.task.course
        if self.task.held is not None or self.task.reports.each_epoch or self.rates.change:
            return 1
        patience = e.n_iter_no_change + 1 - course._no_improvement_count
        return int(max(1, min(patience, e.max_iter - course.n_iter_)))

    def begin(self, epoch: int) -> None:
        """An epoch, or several, are about to begin."""
        self.rates.begin(epoch)
        self.task.reports.begin_epoch()

    def ends_with(self, loss: float) -> bool:
        """Take note of an epoch with this loss; whether the training ends with it."""
        e, task, course, reports = self.estimator, self.task, self.task.course, self.task.reports
        rate = self.rates.trainer.learning_rate
        loss *= e._loss_scale
        course.t_ += task.data.rows
        val_loss = course.add(loss, task.held, reports)
        if self.best is None or task.held is None:
            course.compare(None, e.tol)
        else:
            score = task.held.score(val_loss) if math.isfinite(loss) else math.nan
            reports.say(f"Validation score: {score:f}")
            if course.compare(score, e.tol):
                self.best[:] = task.net._arrays.params
        self.rates.end(course.n_iter_ - 1, loss if val_loss is None else val_loss)
        if reports.end_epoch(course, val_loss, rate) or not math.isfinite(loss):
            return True
        if course._no_improvement_count > e.n_iter_no_change:
            if not self.rates.lowered(_reason(e), reports):
                return True
            course._no_improvement_count = 0
        return False


def _trainer(estimator: Any, task: Task, optimizer: Optimizer, incremental: bool) -> Trainer:
    """A new optimizer, or the one that the last `partial_fit` left."""
    left = task.course._optimizer
    if incremental and left is not None and left.network is task.net:
        left.penalty = float(estimator.alpha)
        return left
    random = task.random or check_random_state(estimator.random_state)
    seed = random.randint(2**31 - 1)
    trainer = Trainer(task.net, optimizer, penalty=float(estimator.alpha), rng=seed)
    task.course._optimizer = trainer
    return trainer


def _batch_size(estimator: Any, rows: int) -> int:
    if isinstance(estimator.batch_size, str):
        return min(200, rows)
    if estimator.batch_size > rows:
        warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
    return min(int(estimator.batch_size), rows)


def _reason(estimator: Any) -> str:
    what = "Validation score" if estimator.early_stopping else "Training loss"
    return (
        f"{what} did not improve more than tol={estimator.tol:f} for "
        f"{estimator.n_iter_no_change:d} consecutive epochs."
    )


class _Rates:
    """The learning rate: as `learning_rate` says for "sgd", else as the optimizer's schedule."""

    def __init__(
        self, estimator: Any, course: Course, optimizer: Optimizer, trainer: Trainer
    ) -> None:
        self.estimator, self.course, self.trainer = estimator, course, trainer
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
            self._change(e.learning_rate_init / (self.course.t_ + 1) ** e.power_t)
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
