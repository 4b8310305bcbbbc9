"""Training by a solver, which sees all samples in every iteration."""

import math
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from flatprop.kernels.batches import Data
from flatprop.network import Network
from flatprop.sklearn.reports import Reports
from flatprop.sklearn.samples import Samples
from flatprop.solvers import LevenbergMarquardt, Solver
from flatprop.solvers.objective import Objective, Vector
from flatprop.solvers.solver import DivergedError


class Penalised(Objective):
    """The loss plus α/2 Σ W² / Σ w over the weights, without the biases."""

    def __init__(self, network: Network, data: Data, alpha: float) -> None:
        super().__init__(network, data, np.array([[0, network.params.size]]))
        self.evaluations = 0
        total = float(data.weight.sum()) if data.weight.size else data.rows
        self.strength = alpha / (total if network.loss_function.divisor(1) else 1.0)
        self.is_weight = np.zeros(network.params.size, bool)
        for record in network.layers:
            self.is_weight[record["weights"] : record["biases"]] = True

    def loss_and_gradient(self) -> tuple[float, Vector]:
        self.evaluations += 1
        loss, gradient = super().loss_and_gradient()
        W = np.where(self.is_weight, self.theta, 0.0)
        return loss + 0.5 * self.strength * float(W @ W), gradient + self.strength * W


def solve(
    estimator: Any,
    net: Network,
    solver: Solver,
    training: Samples,
    held_out: Samples | None,
    reports: Reports,
) -> None:
    """Train until the solver has converged, or until `max_iter` or `max_fun`."""
    solver.check(net, net.params.size)
    data = net.data(training.X, estimator._targets(training.y), training.weight)
    # Least squares would not see the penalty in its residuals.
    alpha = 0.0 if isinstance(solver, LevenbergMarquardt) else float(estimator.alpha)
    objective = Penalised(net, data, alpha)
    offset = float(estimator._loss_offset(training))
    validation = None
    if held_out is not None:
        y = estimator._targets(held_out.y)
        held = net.samples(held_out.X, y, held_out.weight)
        validation = held, net.block(held)
        estimator.validation_loss_curve_ = []
    estimator.loss_curve_ = []
    estimator.n_iter_ = 0
    converged = True
    stopped = False

    def after_iteration(loss: float, rule: str = "") -> bool:
        nonlocal converged, stopped
        estimator.loss_ = loss + offset
        if rule:
            # L-BFGS-B's own words for a line search that found nothing better
            converged = "ABNORMAL" not in rule
            return True
        estimator.n_iter_ += 1
        estimator.loss_curve_.append(estimator.loss_)
        reports.begin_epoch()
        reports.say(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        val_loss = None
        if validation is not None:
            val_loss = net.loss_of(*validation)
            estimator.validation_loss_curve_.append(val_loss)
        stopped = reports.end_epoch(estimator.n_iter_ - 1, estimator.loss_, val_loss, None)
        exhausted = objective.evaluations >= estimator.max_fun
        converged = not (estimator.n_iter_ >= estimator.max_iter or exhausted)
        return stopped or not converged

    try:
        solver.minimise(objective, after_iteration)
    except DivergedError:
        estimator.loss_ = math.nan
        return
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=5)
        return
    estimator.loss_ = objective.loss_and_gradient()[0] + offset
    if not converged and not stopped:
        warnings.warn(
            f"{solver.name} failed to converge after {estimator.n_iter_} iteration(s): increase "
            "the number of iterations (max_iter, max_fun) or scale the data, as in "
            "https://scikit-learn.org/stable/modules/preprocessing.html",
            ConvergenceWarning,
            stacklevel=5,
        )
