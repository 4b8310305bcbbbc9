"""Training by a solver. Each iteration of the solver is an epoch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from flatprop.kernels.network.damping import Iterations
from flatprop.kernels.network.records import DROPOUT
from flatprop.model.model import Model
from flatprop.samples.in_memory import Data
from flatprop.solvers import LevenbergMarquardt
from flatprop.solvers.objective import Objective
from flatprop.solvers.solver import DivergedError, Solver
from flatprop.training import divergence, seeds
from flatprop.training.callbacks import Checkpoint
from flatprop.training.checkpoints import TrainingState
from flatprop.training.run import Run
from flatprop.validation import checks
from flatprop.validation.arrays import aligned_copy

UNEXPLAINED = 0.1
"""If more than this part of the targets' variance is left, `History.message` says so."""


class SolverRun(Run[Data]):
    """One call of `fit` with a `Solver`."""

    def __init__(
        self,
        network: Model,
        samples: Data,
        solver: Solver,
        *,
        batch_size: int | None,
        shuffle: bool,
        clip_norm: float | None,
        learning_rate_factors: Any,
        ema: float | None,
        rng: Any,
        resume: Any,
        **common: Any,
    ) -> None:
        self.solver = solver
        name = type(solver).__name__
        if clip_norm is not None:
            raise ValueError(
                f"clip_norm has no meaning for {name}, which chooses the length of its steps "
                "itself; leave it out"
            )
        if learning_rate_factors is not None:
            raise ValueError(
                f"learning_rate_factors have no meaning for {name}, which has no learning rate; "
                "leave them out"
            )
        if ema is not None:
            raise ValueError(
                f"ema has no meaning for {name}, whose iterations do not scatter; leave it out"
            )
        if (network.layers["kind"] == DROPOUT).any():
            raise ValueError(
                f"{name} needs the same loss in every iteration, but the network has dropout; "
                'leave it out, or choose an optimizer such as "adam"'
            )
        for refused in ("l1", "max_norm", *(("l2",) if not solver.takes_l2 else ())):
            if any(refused in layer.regularisation for layer in network.dense_layers):
                raise ValueError(
                    f"{name} cannot take {refused} of a layer into account; leave it out, or "
                    'choose an optimizer such as "adam"'
                )
        if resume is not None:
            raise ValueError(
                f"{name} cannot go on from a checkpoint; load the network from it with fp.load "
                "and call its fit"
            )
        source = network.rng if rng is None else checks.generator(rng)
        super().__init__(network, samples, factors=None, **common)
        left_out = batch_size is None or isinstance(batch_size, checks.LeftOut)
        if not left_out and checks.count("batch_size", batch_size) < samples.rows:
            raise ValueError(
                f"{name} takes all {samples.rows} samples at once, but batch_size is "
                f"{batch_size}; leave it out, or choose an optimizer that takes mini-batches, "
                'such as "adam"'
            )
        if any(isinstance(callback, Checkpoint) for callback in self.callbacks):
            raise ValueError(f"fp.Checkpoint: {self._cannot_be_resumed()}")
        solver.check(network, int(np.diff(self.trainable).sum()))

        self.rates = np.empty(0)
        self.losses = np.zeros(self.epochs)  # takes memory only as epochs end
        self.kept = aligned_copy(self.params)
        self.done = aligned_copy(np.zeros(1, np.int64))
        watching = self.validation, self.patience, self.tol
        attended = bool(self.callbacks or self.progress or self.metrics)
        attended = attended or any(w is not None for w in watching)
        course = Iterations(self.losses, self.done, self.kept)
        self.objective = self._new_objective(course, attended)
        self.stopped_by = ""
        if self.split is not None:
            seeds.drawn(source)  # the samples held back are drawn from it

    def _new_objective(self, course: Iterations, attended: bool) -> Objective:
        return Objective(self.network, self.samples, self.trainable, course, attended)

    def _cannot_be_resumed(self) -> str:
        return (
            f"a training by {type(self.solver).__name__} cannot be resumed; to keep the network "
            "of every epoch, pass callbacks=lambda epoch: epoch.network.save(path)"
        )

    @property
    def epochs_done(self) -> int:
        return int(self.done[0])

    def state(self, stopped_by: Sequence[str] = ()) -> TrainingState:
        raise ValueError(self._cannot_be_resumed())

    def _loop(self) -> str:
        try:
            self.solver.minimise(self.objective, self._after_iteration)
        except DivergedError as error:
            self.message = str(error)
            return "diverged"
        finally:
            self._keep_finite()
        return self.stopped_by

    def _keep_finite(self) -> None:
        # The network may have the parameters of a trial step. Those of the last iteration have
        # a finite loss.
        self.params[:] = self.kept

    def _after_iteration(self, loss: float, rule: str = "") -> bool:
        """See `AfterIteration`; where the training has to stop, `stopped_by` says why."""
        measured_at = None
        if self.patience is not None and self.validation is None:
            measured_at = self.kept.copy()
        self.kept[:] = self.params
        self.losses[self.epochs_done] = loss
        self.done[0] += 1
        reason = self._after_epoch(measured_at)
        if checks.is_finite(self.params):  # callbacks may have changed the parameters
            self.kept[:] = self.params
        self._show()
        if reason != "diverged" and rule:
            reason, self.message = "converged", rule
        elif reason == "converged":
            self.message = f"the loss changed by no more than tol = {self.tol:g}"
        elif not reason and self.epochs_done == self.epochs:
            reason = "epochs"
        if reason == "converged":
            self.message += self._far_from_a_fit()
        self.stopped_by = reason
        return bool(reason)

    def _far_from_a_fit(self) -> str:
        """What to say if a rule was met with more than `UNEXPLAINED` of the variance left."""
        left = self.objective.unexplained()
        if not left > UNEXPLAINED:
            return ""
        steps = self._advice_on_steps()
        if isinstance(self.solver, LevenbergMarquardt) and not self.solver.relative:
            steps += ", relative=True"
        advice = divergence.scaled(self.network, steps)
        return (
            f"; this is far from a fit, for {100 * left:.3g} % of the targets' variance is left: "
            f"unless the targets are that noisy, try {advice}"
        )

    def _cause_of_divergence(self) -> tuple[str, str, str, str]:
        why = divergence.of_updates(self.network, self.samples, 1, self._advice_on_steps())
        return f"in epoch {self.epochs_done}", self.message, *why

    def _advice_on_steps(self) -> str:
        return "other initial parameters"
