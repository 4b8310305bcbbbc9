"""L-BFGS, by SciPy."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from flatprop.model.model import Model
from flatprop.solvers.objective import Objective, Vector
from flatprop.solvers.solver import AfterIteration, DivergedError, Solver, named
from flatprop.validation import checks


@named("lbfgs")
@dataclass(frozen=True)
class LBFGS(Solver):
    """Limited-memory BFGS: SciPy's ``minimize(method="L-BFGS-B")`` on the flat vector.

    A quasi-Newton method for any loss. Every iteration is a line search along -H ∂L/∂θ. H
    approximates the inverse Hessian and is made from the last `maxcor` changes of θ and of
    the gradient (Byrd, Lu, Nocedal & Zhu 1995; Morales & Nocedal 2011). An iteration is an
    epoch. It takes one evaluation of loss and gradient over all samples, sometimes more.

    Needs SciPy: ``pip install 'flatprop[solvers]'``. Names and defaults are SciPy's.

    Parameters
    ----------
    maxcor
        How many changes H is made from; it takes 2 · maxcor vectors of memory.
    ftol
        Converged once (fₖ - fₖ₊₁) / max(abs(fₖ), abs(fₖ₊₁), 1) <= ftol, f being the loss.
    gtol
        Converged once no component of the gradient is larger than this.
    maxls
        The most evaluations in one line search.

    Notes
    -----
    SciPy computes in float64. With a float32 network θ is rounded to float32 for every
    evaluation, and loss and gradient have errors of about 1e-7 of their size. An `ftol` or
    `gtol` below that is not met; a line search that finds no lower loss ends the training
    instead ("ABNORMAL" in `History.message`). For more digits take ``dtype="float64"``.

    If a callback changes parameters, the next iteration overwrites them.
    """

    takes_l2 = True
    maxcor: int = 10
    ftol: float = 2.220446049250313e-09
    gtol: float = 1e-5
    maxls: int = 20

    def __post_init__(self) -> None:
        checks.count("maxcor", self.maxcor)
        checks.count("maxls", self.maxls)
        checks.positive("ftol", self.ftol, or_zero=True)
        checks.positive("gtol", self.gtol, or_zero=True)

    def check(self, network: Model, trained: int) -> None:
        if find_spec("scipy") is None:
            raise ImportError("LBFGS needs SciPy: pip install 'flatprop[solvers]'")

    def minimise(self, objective: Objective, after_iteration: AfterIteration) -> None:
        from scipy.optimize import minimize

        loss = np.nan  # the loss at which the current iteration began
        stopped = False

        def evaluate(theta: Vector) -> tuple[float, Vector]:
            nonlocal loss
            objective.move_to(theta)
            value, gradient = objective.loss_and_gradient()
            if not (np.isfinite(value) and np.isfinite(gradient).all()):
                where = "at the initial parameters" if np.isnan(loss) else "in a line search"
                raise DivergedError(f"the loss or its gradient is not finite {where}")
            if np.isnan(loss):
                loss = value
            return value, gradient

        def callback(intermediate_result: Any) -> None:
            nonlocal loss, stopped
            began_at, loss = loss, float(intermediate_result.fun)
            objective.move_to(intermediate_result.x)
            stopped = after_iteration(began_at)
            if stopped:
                raise StopIteration

        options = {name: getattr(self, name) for name in ("maxcor", "ftol", "gtol", "maxls")}
        unlimited = np.iinfo(np.int32).max  # `after_iteration` counts the iterations
        result = minimize(
            evaluate,
            objective.theta,
            jac=True,
            method="L-BFGS-B",
            callback=callback,
            options={**options, "maxiter": unlimited, "maxfun": unlimited},
        )
        if not stopped:
            # Not result.fun: after a failed line search that is the loss of the last trial.
            objective.move_to(result.x)
            after_iteration(loss, f"SciPy's L-BFGS-B: {result.message}")
