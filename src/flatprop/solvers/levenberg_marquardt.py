"""Levenberg-Marquardt: Gauss-Newton steps, damped only as much as they have to be."""

import math
from dataclasses import dataclass

import numpy as np

from flatprop.evaluation import calls
from flatprop.formulas.losses import LOSSES
from flatprop.kernels.network import entry_points
from flatprop.kernels.network.workspace import jacobian_workspace_size
from flatprop.model.model import Model
from flatprop.samples.in_memory import Data
from flatprop.solvers.objective import Objective, Vector
from flatprop.solvers.solver import AfterIteration, DivergedError, Solver, named
from flatprop.validation import checks
from flatprop.validation.arrays import aligned_empty

JACOBIAN_NUMBERS = 2**17
"""How many entries of the Jacobian exist at once: 1 MB in float64. As many as JᵀJ has, if more."""
MOST_PARAMETERS = 10_000
"""With so many, JᵀJ and two copies of it take 2.4 GB, and one step takes a minute or more."""
MU_LEAST = 1e-20
"""μ does not fall below this: from 0 it could not grow again, from here a few trials suffice."""


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
        What a step that does not lower the loss multiplies μ by, above 1.
    mu_max
        Converged once μ would be larger: no step lowers the loss any more.
    min_grad
        Converged once the Euclidean norm of ∂L/∂θ, the gradient of the loss as `loss_and_gradient`
        gives it, over the trained parameters, is no larger.
    goal
        Converged once the loss is no larger.
    relative
        Whether damping and rules adapt to the sizes in the problem, so that the result does not
        depend on the units of the targets; see the notes. In MATLAB they are absolute.
    ftol
        Converged once a step was predicted to lower the loss by no more than this part of it,
        and has lowered it by no more. 0 turns the rule off; 1.5e-8 is usual.
    xtol
        Converged once a step has changed θ by no more than this part of θ, both measured in the
        norm of D. 0 turns the rule off.

    Notes
    -----
    With ``relative=True`` μ multiplies D in place of the identity. D is the largest diagonal of
    JᵀJ so far (Marquardt 1963; Moré 1978). `min_grad` bounds the cosine of the angle between r
    and the columns of J, which is MINPACK's ``gtol``. `goal` is a part of the loss of predicting
    the weighted mean of the targets. `mu_max` bounds μ itself. The first outputs may be out of all
    proportion to the targets: a hundred of the targets' standard deviations away, or spread by
    less than a hundredth of one. If the last layer is linear, the first iteration then changes
    only that layer: the outputs get the mean and the standard deviation of the targets, which may
    raise the loss. Inputs should be of the order of 1 all the same, because of the activations.

    Without ``relative=True`` a rule may be met far from a fit: with targets of 1e-8 every gradient
    is small. If more than a tenth of the targets' variance is left at the end, `History.message`
    says so.

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
    relative: bool = False
    ftol: float = 0.0
    xtol: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mu", "mu_dec", "mu_inc", "mu_max"):
            checks.positive(name, getattr(self, name))
        if not isinstance(self.relative, (bool, np.bool_)):
            raise TypeError(f"relative must be True or False, got {self.relative!r}")
        for name in ("min_grad", "goal", "ftol", "xtol"):
            checks.positive(name, getattr(self, name), or_zero=True)
        if not self.mu_dec < 1 < self.mu_inc:
            raise ValueError(
                f"mu_dec must lie below 1 and mu_inc above, got {self.mu_dec!r} and "
                f"{self.mu_inc!r}"
            )
        if self.mu > self.mu_max:
            raise ValueError(f"mu is {self.mu!r}, above mu_max, {self.mu_max!r}")

    def check(self, network: Model, trained: int) -> None:
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
        equations = NormalEquations(objective, self.relative)
        goal = self.goal * (objective.loss_of_the_mean() if self.relative else 1.0)
        mu, rule, where = self.mu, "", " at the initial parameters"
        if self.relative:
            loss = objective.loss()
            if objective.bring_outputs_to_targets():
                where = ""
                if math.isfinite(loss) and after_iteration(loss):
                    return
        while True:
            theta, loss = objective.theta, objective.loss()
            equations.form()
            slope = equations.norm_of_gradient()
            if not (math.isfinite(loss + slope) and equations.finite()):
                raise DivergedError(f"the loss or its Jacobian is not finite{where}")
            where = ""
            rule = self._rule(loss, goal, equations) or rule
            while not rule:
                step = equations.step(mu)
                objective.move_to(theta + step)
                after = objective.loss()
                if after < loss:
                    mu = max(mu * self.mu_dec, MU_LEAST)
                    break
                mu *= self.mu_inc
                if mu > self.mu_max:
                    objective.move_to(theta)
                    rule = f"mu_max: no step lowers the loss, up to mu = {self.mu_max:g}"
            if after_iteration(loss, rule):
                return
            # The next iteration changes nothing and reports this rule.
            rule = self._rule_of_step(equations, theta, step, loss, after)

    def _rule(self, loss: float, goal: float, equations: "NormalEquations") -> str:
        if loss <= goal:
            return f"goal: the loss is {loss:.3g}, no more than {goal:g}"
        if self.relative:
            slope, name = equations.largest_cosine(loss), "the cosine between r and a column of J"
        else:
            slope, name = equations.norm_of_gradient(), "the gradient's norm"
        if slope <= self.min_grad:
            return f"min_grad: {name} is {slope:.3g}, no more than {self.min_grad:g}"
        return ""

    def _rule_of_step(
        self,
        equations: "NormalEquations",
        theta: Vector,
        step: Vector,
        before: float,
        after: float,
    ) -> str:
        """The rules that look at the step that was just taken from `theta`."""
        if self.ftol > 0:
            fell = (before - after) / before
            if max(fell, equations.predicted_fall(step, before)) <= self.ftol:
                return f"ftol: the loss fell by {fell:.3g} of itself, no more than {self.ftol:g}"
        if self.xtol > 0:
            moved = equations.norm(step) / max(equations.norm(theta), np.finfo(float).tiny)
            if moved <= self.xtol:
                return f"xtol: θ changed by {moved:.3g} of itself, no more than {self.xtol:g}"
        return ""


class NormalEquations:
    """(JᵀJ + μ D) δ = -Jᵀr at the parameters of the network, in float64.

    D is the identity; if `relative`, it is the largest diagonal of JᵀJ so far.
    """

    def __init__(self, objective: Objective, relative: bool) -> None:
        self._objective = objective
        self._relative = relative
        net, size = objective.network, objective.theta.size
        # Adding to JᵀJ costs as much as P rows of J do, so that J should have at least P rows.
        rows = max(JACOBIAN_NUMBERS // net.params.size, size) // net.outputs
        self._rows = min(max(rows, 1), objective.data.rows)
        self._block = min(self._rows, calls.block_rows(net))
        self._jacobian = np.empty(self._rows * net.outputs * net.params.size, net.dtype)
        self._predictions = np.empty(self._rows * net.outputs, net.dtype)
        self._workspace = aligned_empty(
            jacobian_workspace_size(net.layers, self._block), net.dtype
        )
        self._JtJ = np.empty((size, size))
        self._Jtr = np.empty(size)
        self._root_of_D = np.zeros(size) if relative else np.ones(size)

    def form(self) -> None:
        """Add up JᵀJ and Jᵀr over parts of the samples."""
        self._JtJ[:] = 0
        self._Jtr[:] = 0
        with np.errstate(over="ignore", invalid="ignore"):  # an overflow shows in the gradient
            for data in self._objective.parts(self._rows):
                J, r = self._part(data)
                self._JtJ += J.T @ J
                self._Jtr += J.T @ r
        if self._relative:
            np.maximum(self._root_of_D, self._norms_of_columns(), out=self._root_of_D)

    def _part(self, data: Data) -> tuple[Vector, Vector]:
        """J, (rows · outputs, P), and r for some of the samples."""
        net, count = self._objective.network, data.rows * self._objective.network.outputs
        J = self._jacobian[: count * net.params.size].reshape(data.rows, -1)
        x = data.x.reshape(data.rows, -1)
        layers, _, params = net._arrays
        for block in calls.blocks(data.rows, self._block):
            entry_points.parameter_jacobian(layers, params, x[block], J[block], self._workspace)
        prediction = self._predictions[:count].reshape(data.rows, -1)
        entry_points.predict(layers, params, x, prediction, self._block, self._workspace)
        r = prediction.reshape(-1).astype(np.float64) - data.y
        J = J.reshape(count, -1)[:, self._objective.trained].astype(np.float64, copy=False)
        if data.weight.size:
            root = np.repeat(np.sqrt(data.weight, dtype=np.float64), net.outputs)
            r *= root
            J *= root[:, None]
        return J, r

    def finite(self) -> bool:
        """Whether JᵀJ is finite; its diagonal bounds all other entries."""
        with np.errstate(over="ignore"):
            return math.isfinite(np.trace(self._JtJ))

    def norm_of_gradient(self) -> float:
        """The Euclidean norm of the gradient of the loss."""
        with np.errstate(over="ignore", invalid="ignore"):
            norm = math.sqrt(np.vdot(self._Jtr, self._Jtr))
            if math.isinf(norm):  # perhaps only the squares overflow
                largest = np.abs(self._Jtr).max()
                norm = float(largest * np.linalg.norm(self._Jtr / largest))
        squares = self._objective.network.loss_function.squares
        return 2 * squares * self._objective.scale * norm

    def largest_cosine(self, loss: float) -> float:
        """The largest cosine of an angle between r and a column of J."""
        lengths = self._norms_of_columns() * self._norm_of_residuals(loss)
        alive = lengths > 0
        return float(np.max(np.abs(self._Jtr[alive]) / lengths[alive], initial=0.0))

    def predicted_fall(self, step: Vector, loss: float) -> float:
        """By what part of itself the loss would fall if r were linear in θ."""
        fall = -step @ (2 * self._Jtr + self._JtJ @ step)
        return float(fall) / self._norm_of_residuals(loss) ** 2

    def norm(self, vector: Vector) -> float:
        """The length in the norm of D."""
        return float(np.linalg.norm(self._root_of_D * vector))

    def step(self, mu: float) -> Vector:
        """δ; NaN, at which no loss is lower, if rounding has made the matrix singular."""
        # By LU: Cholesky would be faster only with a triangular solver, which NumPy has not.
        damped, right = self._JtJ.copy(), -self._Jtr
        if self._relative:
            # Where D is 0, the gradient is 0, too.
            root = np.where(self._root_of_D > 0, self._root_of_D, 1.0)
            damped /= root
            damped /= root[:, None]
            right /= root
        damped.flat[:: len(damped) + 1] += mu
        try:
            step = np.asarray(np.linalg.solve(damped, right), np.float64)
        except np.linalg.LinAlgError:
            return np.full_like(self._Jtr, np.nan)
        return step / root if self._relative else step

    def _norms_of_columns(self) -> Vector:
        return np.sqrt(np.diag(self._JtJ))

    def _norm_of_residuals(self, loss: float) -> float:
        objective = self._objective
        return math.sqrt(loss / (objective.network.loss_function.squares * objective.scale))
