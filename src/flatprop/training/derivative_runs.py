"""Training on slopes and equations: `fit` with `derivatives` or `equations`.

Loss and gradient are those of `evaluation.terms`. All else is as in the runs without them.
"""

import math
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatprop.evaluation import calls
from flatprop.evaluation.terms import Terms
from flatprop.formulas.optimizer import GRADIENT_SCALE, LEARNING_RATE, STEP, Optimizer
from flatprop.kernels.network import derivative_losses
from flatprop.kernels.network import training_loop as loop
from flatprop.kernels.network.damping import Iterations
from flatprop.kernels.network.training_records import EPOCH_LOSS, EPOCH_WEIGHT
from flatprop.model.model import Model
from flatprop.samples.in_memory import Data
from flatprop.solvers.objective import Objective, Vector
from flatprop.solvers.solver import Solver
from flatprop.training.callbacks import Checkpoint
from flatprop.training.in_memory_run import InMemoryRun
from flatprop.training.snapshot import Snapshot
from flatprop.training.solver_run import SolverRun
from flatprop.validation import checks
from flatprop.validation.arrays import Array, aligned_empty


class DerivativeStepper:
    """An optimizer at work on `Terms`, in the place of a `Stepper`.

    Attributes
    ----------
    rule : Rule
        The optimizer with its state.
    batch_size : int
        Samples per update.
    shuffle : bool
        Whether samples and points are taken in a new order each epoch.
    unknowns_before : ndarray
        The unknowns before the last update.
    """

    def __init__(
        self,
        terms: Terms,
        optimizer: Optimizer,
        learning_rate: float,
        trainable: NDArray[np.int64],
        clip_norm: float | None,
        batch_size: int | None,
        shuffle: bool,
    ) -> None:
        self.terms = terms
        params = terms.network.params
        timing = loop.AFTER_GRADIENT
        start = optimizer.start(params, learning_rate)
        self.rule = loop.Rule(*start, trainable, clip_norm or 0.0, 0.0, timing)
        self._of_unknowns = optimizer.start(terms.unknowns, learning_rate)
        self._all = np.array([[0, terms.unknowns.size]], np.int64)
        self.unknowns_before = terms.unknowns.copy()
        self.batch_size = terms.rows if batch_size is None else min(batch_size, terms.rows)
        self.shuffle = bool(shuffle) and self.batch_size < terms.rows
        self._gradient = aligned_empty(params.size, params.dtype)
        self._slopes = np.zeros(terms.unknowns.size)
        self._orders: Any = None
        self._is_sum = terms.network._arrays.loss_records[0]["divisor"] == 0
        self._epoch = -1

    def advance(self, plan: loop.Plan, progress: loop.Progress, safe: Snapshot) -> int:
        """Updates for about `calls.SECONDS`; returns why they ended, as `training_loop.train`."""
        began, status = time.perf_counter(), loop.RUNNING
        while status == loop.RUNNING and time.perf_counter() - began < calls.SECONDS:
            status = self._update(plan, *progress)
        self.terms.publish()
        return status if safe.keep_in_time(self.terms.network._arrays.params) else loop.DIVERGED

    def _update(self, plan: loop.Plan, cursor: Any, sums: Any, losses: Any) -> int:
        terms, _settings = self.terms, self.rule.settings
        epoch, row = int(cursor[loop.EPOCH]), int(cursor[loop.ROW])
        if row == 0:
            sums[EPOCH_LOSS] = sums[EPOCH_WEIGHT] = 0.0
        if self._epoch != epoch:
            self._orders, self._epoch = terms.orders(int(plan.seed), epoch, self.shuffle), epoch
        stop = min(row + self.batch_size, terms.rows)
        weight = terms.weight_of(self._orders[0], row, stop)
        if weight > 0 or terms.equations:  # else the batch is passed over
            loss = terms.loss_and_gradient(
                self._orders, row // self.batch_size, self.batch_size, self._gradient, self._slopes
            )
            if not math.isfinite(loss):
                return int(loop.DIVERGED)
            cursor[loop.UPDATES] += 1
            rate = float(plan.rates[min(epoch, plan.rates.size - 1)])
            self._learn(int(cursor[loop.UPDATES]), rate)
            counts = 1.0 if self._is_sum else weight
            sums[EPOCH_WEIGHT] += counts
            if counts > 0:
                share = counts / sums[EPOCH_WEIGHT]
                sums[EPOCH_LOSS] += share * (loss - sums[EPOCH_LOSS])
        cursor[loop.ROW] = stop
        if stop < terms.rows:
            return int(loop.RUNNING)
        losses[epoch] = sums[EPOCH_LOSS]
        cursor[loop.EPOCH], cursor[loop.ROW] = epoch + 1, 0
        if epoch > 0 and abs(losses[epoch] - losses[epoch - 1]) <= plan.tol:
            return int(loop.CONVERGED)
        if epoch + 1 == losses.size:
            return int(loop.FINISHED)
        return int(loop.EPOCH_ENDED if plan.each_epoch else loop.RUNNING)

    def _learn(self, updates: int, rate: float) -> None:
        """One update of parameters and unknowns."""
        terms, (code, settings, state, trainable, clip_norm, *_) = self.terms, self.rule
        settings[STEP], settings[LEARNING_RATE], settings[GRADIENT_SCALE] = updates, rate, 1.0
        params = terms.network._arrays.params
        derivative_losses.update(
            code, settings, params, self._gradient, state, trainable, clip_norm
        )
        if terms.unknowns.size:
            self.unknowns_before[:] = terms.unknowns
            code, own, state = self._of_unknowns
            own[STEP], own[LEARNING_RATE] = updates, rate
            own[GRADIENT_SCALE] = settings[GRADIENT_SCALE]
            derivative_losses.update(
                code, own, terms.unknowns, self._slopes, state, self._all, 0.0
            )


class DerivativeRun(InMemoryRun):
    """One call of `fit` with an `Optimizer` and terms."""

    def __init__(
        self, network: Model, samples: Data, optimizer: Optimizer, *, terms: Terms, **given: Any
    ) -> None:
        self.terms = terms
        self.best_unknowns: Array | None = None
        super().__init__(network, samples, optimizer, **given)
        if terms.unknowns.size:
            resumes = given["resume"] is not None
            if resumes or any(isinstance(one, Checkpoint) for one in self.callbacks):
                raise ValueError(
                    "checkpoints do not hold the unknowns of equations; save the network and the "
                    "unknowns in a callback of your own instead of fp.Checkpoint and resume"
                )

    def _new_stepper(self) -> Any:
        return DerivativeStepper(
            self.terms,
            self.optimizer,
            float(self.rates[0]),
            self.trainable,
            self.clip_norm,
            self.batch_size,
            self.shuffle,
        )

    def _after_epoch(self, measured_at: Array | None) -> str:
        reason = super()._after_epoch(measured_at)
        if self.best_epoch == self.epochs_done - 1:
            before = measured_at is not None
            now = self.stepper.unknowns_before if before else self.terms.unknowns
            self.best_unknowns = now.copy()
        return reason

    def run(self) -> Any:
        try:
            return super().run()
        finally:
            if self.best_unknowns is not None:
                self.terms.unknowns[:] = self.best_unknowns
            self.terms.publish()

    def _settings_of_samples(self) -> dict[str, Any]:
        added = {
            "derivative_weight": self.terms.derivative_weight if self.terms.has_slopes else None,
            "equations": [repr(equation) for equation in self.terms.equations] or None,
        }
        return super()._settings_of_samples() | added


class TermsObjective(Objective):
    """The loss of terms as a function of the trained parameters and the unknowns."""

    terms: Terms

    @property
    def theta(self) -> Vector:
        return np.concatenate([super().theta, self.terms.unknowns])

    def move_to(self, theta: Vector) -> None:
        count = theta.size - self.terms.unknowns.size
        super().move_to(theta[:count])
        self.terms.unknowns[:] = theta[count:]

    def loss(self) -> float:
        return self.loss_and_gradient()[0]

    def _of_samples(self) -> tuple[float, Vector]:
        terms, slopes = self.terms, np.zeros(self.terms.unknowns.size)
        orders = terms.orders(0, 0, False)
        loss = terms.loss_and_gradient(orders, 0, terms.rows, self._gradient, slopes)
        gradient = self._gradient[self.trained].astype(np.float64)
        return loss, np.concatenate([gradient, slopes])


class DerivativeSolverRun(SolverRun):
    """One call of `fit` with a `Solver` and terms."""

    def __init__(
        self, network: Model, samples: Data, solver: Solver, *, terms: Terms, **given: Any
    ) -> None:
        if solver.name != "lbfgs":
            raise ValueError(
                f"{type(solver).__name__} knows no derivatives and no equations; take "
                'optimizer="lbfgs", or an optimizer such as "adam"'
            )
        self.terms = terms
        self.kept_unknowns = terms.unknowns.copy()
        self.best_unknowns: Array | None = None
        super().__init__(network, samples, solver, **given)

    def _new_objective(self, course: Iterations, attended: bool) -> Objective:
        objective = TermsObjective(self.network, self.samples, self.trainable, course, attended)
        objective.terms = self.terms
        return objective

    def _after_iteration(self, loss: float, rule: str = "") -> bool:
        self.kept_unknowns[:] = self.terms.unknowns
        self.terms.publish()
        stops = super()._after_iteration(loss, rule)
        if self.best_epoch == self.epochs_done - 1:
            self.best_unknowns = self.kept_unknowns.copy()
        return stops

    def _keep_finite(self) -> None:
        super()._keep_finite()
        self.terms.unknowns[:] = self.kept_unknowns
        if self.best_unknowns is not None:
            self.terms.unknowns[:] = self.best_unknowns
        self.terms.publish()


def checked_slopes(network: Model, value: Any, rows: int, from_logits: bool) -> Array:
    """dy, (n, outputs, inputs), of the network's dtype."""
    if from_logits:
        raise ValueError(
            f'the loss "{network.loss_function.name}" is computed from the logits, where fit '
            'takes no derivatives; take another loss, such as "mse"'
        )
    dy = checks.numbers("derivatives", value, network.dtype)
    shape = rows, network.outputs, network.inputs
    if dy.shape == (rows, network.inputs) and network.outputs == 1:
        dy = dy.reshape(shape)
    if dy.shape != shape:
        raise ValueError(
            f"derivatives must have shape {shape}, one per sample, but has {dy.shape}"
        )
    return np.ascontiguousarray(dy)
