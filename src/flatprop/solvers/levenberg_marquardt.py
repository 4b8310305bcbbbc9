"""Levenberg-Marquardt: Gauss-Newton steps, damped as far as they have to be."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flatprop import checks
from flatprop.arrays import aligned_empty
from flatprop.formulas.losses import LOSSES
from flatprop.kernels import batches
from flatprop.kernels.derivatives import jacobian_workspace_size
from flatprop.solvers.objective import Objective, Vector
from flatprop.solvers.solver import AfterIteration, DivergedError, Solver, named

if TYPE_CHECKING:
    from flatprop.network import Network

JACOBIAN_NUMBERS = 2**17
"""How many entries of the Jacobian exist at once, 1 MB in float64, or as many as JᵀJ has."""
MOST_PARAMETERS = 10_000
"""JᵀJ and two copies of it take 2.4 GB then, and one step a minute or more."""
MU_LEAST = 1e-20
"""μ stays so large that some trials bring it back: from 0 it could not grow again."""


@named("levenberg_marquardt")
@dataclass(frozen=True)
class LevenbergMarquardt(Solver):
    """Levenberg-Marquardt for sums of squares, with the rules of MATLAB's ``trainlm``.

    With the residuals rᵢₖ = √wᵢ (ŷᵢₖ - yᵢₖ) of all samples and outputs and J = ∂r/∂θ, an
    iteration, which is an epoch, solves

        (JᵀJ + μ I) δ = -Jᵀ r

    for trial steps: if the loss at θ + δ is lower, θ moves there and μ ← μ · mu_dec, otherwise
    μ ← μ · mu_inc and the next trial is shorter and closer to the gradient's direction (Hagan
    & Menhaj 1994, on Marquardt 1963). It is meant for up to a few thousand parameters: with P
    of them and n samples it takes 3 P² numbers of memory, whatever n is, and time as n P² + P³;
    Ctrl-C waits for one solution of the equations.

    The loss must be "mse", "half_mse" or "ssr", which give the same steps; for others there is
    `LBFGS`.

    Parameters
    ----------
    mu
        μ at first.
    mu_dec
        What a step that lowers the loss multiplies μ by, below 1.
    mu_inc
        What one that does not multiplies it by, above 1.
    mu_max
        Converged once μ would be larger: no step lowers the loss any more.
    min_grad
        Converged once the Euclidean norm of ∂L/∂θ, the gradient of the loss as `loss_and_gradient`
        gives it, over the trained parameters, is no larger.
    goal
        Converged once the loss is no larger.

    Notes
    -----
    Names, defaults and the order of the rules are those of MATLAB's ``trainlm``
    (mathworks.com/help/deeplearning/ref/trainlm.html); its ``epochs`` is that of `fit`, its
    ``max_fail`` the `patience`. What differs: inputs and targets are not scaled to [-1, 1]
    first (``mapminmax``), samples are not divided, there are the validation data given to
    `fit`, and μ does not fall below 1e-20. Which rule was met is in `History.message`.

    JᵀJ, Jᵀr and the step are float64. J and r come from the network's kernels in its own
    dtype, so that the loss which trial steps lower is the network's own; with float32 it is
    known to about 1e-7 of its size, at which trial steps fail and "mu_max" ends the training.
    """

    mu: float = 1e-3
    mu_dec: float = 0.1
    mu_inc: float = 10.0
    mu_max: float = 1e10
    min_grad: float = 1e-7
    goal: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mu", "mu_dec", "mu_inc", "mu_max"):
            checks.positive(name, getattr(self, name))
        for name in ("min_grad", "goal"):
            checks.positive(name, getattr(self, name), or_zero=True)
        if not self.mu_dec < 1 < self.mu_inc:
            raise ValueError(
                f"mu_dec must lie below 1 and mu_inc above, got {self.mu_dec!r} and "
                f"{self.mu_inc!r}"
            )
        if self.mu > self.mu_max:
            raise ValueError(f"mu is {self.mu!r}, above mu_max, {self.mu_max!r}")

    def check(self, network: "Network", trained: int) -> None:
        if not network.loss_function.squares:
            names = ", ".join(f'"{name}"' for name, loss in LOSSES.items() if loss.squares)
            raise ValueError(
                f"LevenbergMarquardt needs a sum of squares ({names}), but the network's loss is "
                f'"{network.loss_function.name}"; use optimizer=fp.LBFGS()'
            )
        if trained > MOST_PARAMETERS:
            raise ValueError(
                f"LevenbergMarquardt would have to solve for {trained:,} parameters at once, more "
                f"than {MOST_PARAMETERS:,}; use optimizer=fp.LBFGS(), or train a part of them"
            )

    def minimise(self, objective: Objective, after_iteration: AfterIteration) -> None:
        equations = NormalEquations(objective)
        mu = self.mu
        while True:
            theta, loss = objective.theta, objective.loss()
            equations.form()
            slope = equations.norm_of_gradient()
            if not (math.isfinite(loss + slope) and equations.finite()):
                raise DivergedError("the loss or its Jacobian is not finite")
            rule = self._rule(loss, slope)
            while not rule:
                objective.move_to(theta + equations.step(mu))
                if objective.loss() < loss:
                    mu = max(mu * self.mu_dec, MU_LEAST)
                    break
                mu *= self.mu_inc
                if mu > self.mu_max:
                    objective.move_to(theta)
                    rule = f"mu_max: no step lowers the loss, up to mu = {self.mu_max:g}"
            if after_iteration(loss, rule):
                return

    def _rule(self, loss: float, slope: float) -> str:
        if loss <= self.goal:
            return f"goal: the loss is {loss:.3g}, no more than {self.goal:g}"
        if slope <= self.min_grad:
            return f"min_grad: the gradient's norm is {slope:.3g}, no more than {self.min_grad:g}"
        return ""


class NormalEquations:
    """(JᵀJ + μ I) δ = -Jᵀr at the parameters of the network, in float64."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        net, size = objective.network, objective.theta.size
        # Adding to JᵀJ costs as much as P rows of J do, so that there should be more of them.
        rows = max(JACOBIAN_NUMBERS // net.params.size, size) // net.outputs
        self._rows = min(max(rows, 1), objective.data.rows)
        self._block = min(self._rows, net.block_rows)
        self._jacobian = np.empty(self._rows * net.outputs * net.params.size, net.dtype)
        self._predictions = np.empty(self._rows * net.outputs, net.dtype)
        self._workspace = aligned_empty(
            jacobian_workspace_size(net.layers, self._block), net.dtype
        )
        self._JtJ = np.empty((size, size))
        self._Jtr = np.empty(size)

    def form(self) -> None:
        """Add up JᵀJ and Jᵀr over parts of the samples."""
        self._JtJ[:] = 0
        self._Jtr[:] = 0
        with np.errstate(over="ignore", invalid="ignore"):  # seen in the gradient
            for data in self._objective.parts(self._rows):
                J, r = self._part(data)
                self._JtJ += J.T @ J
                self._Jtr += J.T @ r

    def _part(self, data: batches.Data) -> tuple[Vector, Vector]:
        """J, (rows · outputs, P), and r of some of the samples."""
        net, count = self._objective.network, data.rows * self._objective.network.outputs
        J = self._jacobian[: count * net.params.size]
        batches.parameter_jacobian(net.layers, net.vector, data.x, J, self._block, self._workspace)
        prediction = self._predictions[:count].reshape(data.rows, -1)
        x = data.x.reshape(data.rows, -1)
        batches.predict(net.layers, net.vector, x, prediction, self._block, self._workspace)
        r = prediction.reshape(-1).astype(np.float64) - data.y
        J = J.reshape(count, -1)[:, self._objective.trained].astype(np.float64, copy=False)
        if data.weight.size:
            root = np.repeat(np.sqrt(data.weight, dtype=np.float64), net.outputs)
            r *= root
            J *= root[:, None]
        return J, r

    def finite(self) -> bool:
        """Whether JᵀJ is; its diagonal bounds the rest."""
        return math.isfinite(np.trace(self._JtJ))

    def norm_of_gradient(self) -> float:
        """The Euclidean norm of the gradient of the loss."""
        squares = self._objective.network.loss_function.squares
        return 2 * squares * self._objective.scale * math.sqrt(np.vdot(self._Jtr, self._Jtr))

    def step(self, mu: float) -> Vector:
        """δ; where rounding has left the matrix singular, NaN, which no loss is lower at."""
        # By LU: NumPy has no triangular solver, without which Cholesky's factor takes longer.
        damped = self._JtJ.copy()
        damped.flat[:: len(damped) + 1] += mu
        try:
            return np.asarray(np.linalg.solve(damped, -self._Jtr), np.float64)
        except np.linalg.LinAlgError:
            return np.full_like(self._Jtr, np.nan)
