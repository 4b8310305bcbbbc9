"""Training on slopes and equations: `fit` with `derivatives` or `equations`.

Loss and gradient are those of `evaluation.terms`. All else is as in the runs without them.
"""

from typing import Any

import numpy as np

from flatprop.evaluation.terms import Terms
from flatprop.formulas.optimizer import Optimizer
from flatprop.kernels.network import training_loop as loop
from flatprop.kernels.network.damping import Iterations
from flatprop.kernels.network.training_records import Special
from flatprop.model.model import Model
from flatprop.samples.in_memory import Data
from flatprop.solvers.objective import Objective, Vector
from flatprop.solvers.solver import Solver
from flatprop.training.callbacks import Checkpoint
from flatprop.training.in_memory_run import InMemoryRun
from flatprop.training.snapshot import Snapshot
from flatprop.training.solver_run import SolverRun
from flatprop.training.stepper import Stepper
from flatprop.validation import checks
from flatprop.validation.arrays import Array


class TermStepper(Stepper):
    """An optimizer at work on `Terms`.

    Attributes
    ----------
    unknowns_before : ndarray
        The unknowns before the last update.
    """

    def __init__(self, terms: Terms, optimizer: Optimizer, rate: float, **given: Any) -> None:
        super().__init__(terms.network, optimizer, rate, **given)
        self.terms = terms
        self._of_unknowns = optimizer.start(terms.unknowns, rate)
        self._finite = terms.unknowns.copy()

    def advance(self, plan: loop.Plan, progress: loop.Progress, safe: Snapshot) -> int:
        status, unknowns = super().advance(plan, progress, safe), self.terms.unknowns
        if np.isfinite(unknowns).all():
            self._finite[:] = unknowns
        else:
            unknowns[:] = self._finite
        self.terms.publish()
        return status

    def _allocate(self) -> None:
        super()._allocate()
        buffers, unknowns = self.buffers, self.terms.unknowns
        batches = self.terms.batches(self.batch_size, buffers.order)
        if unknowns.size:
            code, own, state = self._of_unknowns
            batches.train_unknowns(code, self.rule.settings, own, state)
        self.batches, self.unknowns_before = batches, batches.before
        self.buffers = buffers._replace(
            gradient=batches.gradient,
            shards=batches.shards,
            losses=batches.losses,
            block=buffers.block._replace(
                rows=self.batch_size, weight=batches.ones, workspace=batches.scratch
            ),
        )
        self.special = self._special(batches)

    def _buffers_of_helper(
        self, number: int, buffers: loop.Buffers, special: Any
    ) -> tuple[loop.Buffers, Special]:
        helper = self.batches.of_helper(number)
        return buffers, special._replace(batch=helper.batch, records=helper.records)

    def _update_timing(self, block_rows: int) -> int:
        return loop.AFTER_GRADIENT

    def _threads_worth(self, blocks: int) -> int:
        return self.batches.threads_worth(blocks)

    def _blocks_in_time(self) -> int:
        return self.batches.in_time

    def _blocks_left(self, plan: loop.Plan, progress: loop.Progress) -> int:
        epochs = progress.losses.size - int(progress.cursor[loop.EPOCH])
        batches = -(-self.data.rows // plan.batch_size)
        return int(min(self._blocks, epochs * batches * self.buffers.losses.size))


class DerivativeRun(InMemoryRun):
    """One call of `fit` with an `Optimizer` and terms."""

    ends_need_python = True  # the unknowns of the best epoch are kept, too

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
        stepper = self._stepper_of(TermStepper, self.terms)
        stepper.take(self.samples, self.batch_size, self.shuffle)
        return stepper

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
        loss, gradient, slopes = self.terms.loss_and_gradient()
        return loss, np.concatenate([gradient[self.trained].astype(np.float64), slopes])


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
