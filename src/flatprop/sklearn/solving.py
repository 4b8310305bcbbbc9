"""Training by a solver, which sees all samples in every iteration."""

import math
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from flatprop.kernels.network.damping import Iterations
from flatprop.network import Network
from flatprop.samples.in_memory import Data
from flatprop.samples.samples import total_weight
from flatprop.sklearn.fit_data import Task
from flatprop.solvers import LevenbergMarquardt, Solver
from flatprop.solvers.objective import Objective, Vector
from flatprop.solvers.solver import DivergedError
from flatprop.validation.alerts import warn


class Penalised(Objective):
    """The loss plus α/2 Σ W² / Σ w over the weights, without the biases."""

    def __init__(self, network: Network, data: Data, alpha: float) -> None:
        # Each iteration is looked at, so that what the solver notes of it has no reader.
        course = Iterations(np.empty(0), np.zeros(1, np.int64), np.empty(0, network.dtype))
        trained = np.array([[0, network.params.size]])
        super().__init__(network, data, trained, course, attended=True)
        self.evaluations = 0
        self.strength = alpha / (total_weight(data) if network.loss_function.is_mean else 1.0)
        marked = network.copy()
        marked.params[:] = 0
        for W in marked.weights:
            W[:] = 1
        self.is_weight = marked.params > 0

    def loss_and_gradient(self) -> tuple[float, Vector]:
        self.evaluations += 1
        loss, gradient = super().loss_and_gradient()
        W = np.where(self.is_weight, self.theta, 0.0)
        return loss + 0.5 * self.strength * float(W @ W), gradient + self.strength * W


def solve(estimator: Any, task: Task, solver: Solver) -> None:
    """Train until the solver has converged, or until `max_iter` or `max_fun`."""
    e, net, held, course, reports = estimator, task.net, task.held, task.course, task.reports
    # Least squares would not see the penalty in its residuals.
    alpha = 0.0 if isinstance(solver, LevenbergMarquardt) else float(e.alpha)
    objective = Penalised(net, task.data, alpha)
    kept = net.params.copy()
    converged, stopped = True, False

    def after_iteration(loss: float, rule: str = "") -> bool:
        nonlocal converged, stopped
        kept[:] = net._arrays.params
        if rule:
            # L-BFGS-B's own words for a line search that found nothing better
            converged = "ABNORMAL" not in rule
            return True
        reports.begin_epoch()
        val_loss = course.add(loss * e._loss_scale, held, reports)
        stopped = reports.end_epoch(course, val_loss, None)
        converged = course.n_iter_ < e.max_iter and objective.evaluations <= e.max_fun
        return stopped or not converged

    try:
        solver.minimise(objective, after_iteration)
    except DivergedError:
        course.loss_ = math.nan
        return
    except KeyboardInterrupt:
        warn("Training interrupted by user.")
        converged = course._interrupted = True
    finally:
        net._arrays.params[:] = kept  # a step may have been under trial
    course.loss_ = objective.loss_and_gradient()[0] * e._loss_scale
    course.best_loss_ = min([*course.loss_curve_, course.loss_])
    if not converged and not stopped:
        warn(
            f"{solver.name} failed to converge after {course.n_iter_} iteration(s): increase the "
            "number of iterations (max_iter, max_fun) or scale the data, as in "
            "https://scikit-learn.org/stable/modules/preprocessing.html",
            ConvergenceWarning,
        )
