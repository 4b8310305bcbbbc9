"""Levenberg-Marquardt: Gauss-Newton steps, damped only as much as they have to be."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from flatprop.evaluation import calls, crew
from flatprop.formulas.losses import LOSSES
from flatprop.kernels.network import cholesky, damping, least_squares
from flatprop.kernels.network.least_squares_call import rows_at_once
from flatprop.kernels.network.workspace import jacobian_workspace_size
from flatprop.model.model import Model
from flatprop.solvers.objective import Objective, Vector
from flatprop.solvers.solver import AfterIteration, DivergedError, Solver, named
from flatprop.validation import checks
from flatprop.validation.arrays import Array, aligned_empty

MOST_PARAMETERS = 10_000
"""With so many, JᵀJ and its factor take 0.8 GB, and one factorisation ten seconds."""


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
    of them and n samples it takes P² numbers of memory, whatever n is, and time as n P² + P³/3.
    The iterations are compiled and leave Python's threads alone.

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
    scaling
        What μ multiplies: "levenberg", the identity, as MATLAB; or "more", the diagonal matrix D,
        which ``relative=True`` takes in any case. See the notes.

    Notes
    -----
    With ``scaling="more"`` a trial step solves (JᵀJ + μ D) δ = -Jᵀ r, where Dⱼⱼ is the largest
    that (JᵀJ)ⱼⱼ has been so far. The diagonal is Marquardt's (1963). That D never falls is Moré's
    rule (1978), as in MINPACK; the names are GSL's. Steps are then short in parameters that move
    the residuals much and long in others, whatever the units of inputs and parameters. This can
    leave plateaus on which the identity spends hundreds of iterations: of NIST's regressions,
    Eckerle4 takes 26 from its far start where the identity takes 224. From good starts neither is
    faster in general.

    With ``relative=True`` `min_grad` bounds the cosine of the angle between r and the columns of
    J, which is MINPACK's ``gtol``. `goal` is a part of the loss of predicting the weighted mean of
    the targets. `mu_max` bounds μ itself. The first outputs may be out of all proportion to the
    targets: a hundred of the targets' standard deviations away, or spread by less than a hundredth
    of one. If the last layer is linear, the first iteration then changes only that layer: the
    outputs get the mean and the standard deviation of the targets, which may raise the loss.
    Inputs should be of the order of 1 all the same, because of the activations.

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
    scaling: str = "levenberg"

    def __post_init__(self) -> None:
        for name in ("mu", "mu_dec", "mu_inc", "mu_max"):
            checks.positive(name, getattr(self, name))
        if not isinstance(self.relative, (bool, np.bool_)):
            raise TypeError(f"relative must be True or False, got {self.relative!r}")
        for name in ("min_grad", "goal", "ftol", "xtol"):
            checks.positive(name, getattr(self, name), or_zero=True)
        checks.choice("scaling", self.scaling, ("levenberg", "more"))
        if not self.mu_dec < 1 < self.mu_inc:
            raise ValueError(
                f"mu_dec must lie below 1 and mu_inc above, got {self.mu_dec!r} and "
                f"{self.mu_inc!r}"
            )
        if self.mu > self.mu_max:
            raise ValueError(f"mu is {self.mu!r}, above mu_max, {self.mu_max!r}")

    def start(self, params: ArrayLike) -> Array:
        """What `flatprop.kernels.levenberg_marquardt` takes as `solver`.

        Parameters
        ----------
        params
            The parameters of the network, whose dtype counts.

        Returns
        -------
        ndarray
            The settings, from mu on, and a last number for the rule that ends the iterations.

        Raises
        ------
        ValueError
            If `relative`, which first has to look at the targets.
        """
        if self.relative:
            raise ValueError(
                "relative=True looks at the targets first, which only fit does; take "
                'scaling="more", ftol and xtol'
            )
        settings = np.asarray([*self._settings(self.goal), 0.0])
        return settings.astype(np.asarray(params).dtype)

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
        goal = self.goal * (objective.loss_of_the_mean() if self.relative else 1.0)
        course, where = objective.course, " at the initial parameters"
        if self.relative:
            loss = objective.loss()
            if objective.bring_outputs_to_targets():
                where = ""
                if math.isfinite(loss) and after_iteration(loss):
                    return
        state = _state(objective, self._settings(goal))
        call = _call(objective, state)
        while True:
            status = call()
            if status == least_squares.NOT_FINITE:
                where = "" if course.done[0] else where
                raise DivergedError(f"the loss or its Jacobian is not finite{where}")
            if status == least_squares.ITERATION and after_iteration(
                float(state.numbers[damping.LOSS]), self._rule(state, goal)
            ):
                return

    def _settings(self, goal: float) -> Vector:
        """What the kernel takes; `goal` is absolute."""
        settings = self.mu, self.mu_dec, self.mu_inc, self.mu_max, self.min_grad, goal
        scaled = self.relative or self.scaling == "more"
        return np.array([*settings, self.ftol, self.xtol, scaled, self.relative], np.float64)

    def _rule(self, state: damping.State, goal: float) -> str:
        """What `History.message` says of the rule that ends the training, "" if it goes on."""
        rule, value = state.cursor[damping.RULE], state.numbers[damping.RULE_VALUE]
        if rule == damping.NO_RULE:
            return ""
        slope = (
            "the cosine between r and a column of J" if self.relative else "the gradient's norm"
        )
        least = "no more than"
        return {
            damping.GOAL: f"goal: the loss is {value:.3g}, {least} {goal:g}",
            damping.MIN_GRAD: f"min_grad: {slope} is {value:.3g}, {least} {self.min_grad:g}",
            damping.MU_MAX_REACHED: f"mu_max: no step lowers the loss, up to mu = {self.mu_max:g}",
            damping.FTOL: f"ftol: the loss fell by {value:.3g} of itself, {least} {self.ftol:g}",
            damping.XTOL: f"xtol: θ changed by {value:.3g} of itself, {least} {self.xtol:g}",
        }[int(rule)]


def _state(objective: Objective, settings: Vector) -> damping.State:
    """What the kernel needs besides the network and the samples."""
    net = objective.network
    size, outputs, dtype = net.params.size, net.outputs, net.dtype
    trained = np.arange(size)[objective.trained]
    n = trained.size + 1
    rows = rows_at_once(size, outputs, min(calls.block_rows(net), objective.data.rows))
    most = max(rows, objective.block.rows)
    samples, symmetric = rows * outputs, cholesky.panels_size(n)
    scratch_size = cholesky.products_scratch_size(samples, n)
    of_vectors = damping.N_SETTINGS, damping.N_CURSOR, damping.N_NUMBERS, n, n, n
    few, cursor, numbers, root, scale, step, augmented, normal, factor, scratch = _apart(
        *of_vectors, samples * n, symmetric, symmetric, scratch_size
    )
    few[:], cursor[:], numbers[:], root[:] = settings, 0.0, np.inf, 0.0
    return damping.State(
        few,
        cursor.view(np.int64),
        numbers,
        np.arange(0) if trained.size == size else trained,
        aligned_empty(size, dtype),
        aligned_empty(samples * size, dtype),
        aligned_empty(jacobian_workspace_size(net._arrays.layers, most), dtype),
        root,
        scale,
        step,
        augmented,
        normal,
        factor,
        scratch,
        rows,
    )


def _apart(*sizes: int) -> list[Vector]:
    """Arrays of these sizes, none of which shares a cache line with what another thread writes."""
    starts = np.cumsum([0, *(-(-size // 16) * 16 for size in sizes)]).tolist()
    numbers = aligned_empty(starts[-1], np.dtype(np.float64))
    return [numbers[start : start + size] for start, size in zip(starts, sizes, strict=False)]


def _call(objective: Objective, state: damping.State) -> Callable[[], int]:
    """A function that goes on with the iterations for about `calls.SECONDS`."""
    net, data, course = objective.network, objective.data, objective.course
    squares = net.loss_function.squares
    cost = calls.pass_cost(net)
    measure = damping.Measure(objective.scale, float(squares), cost, objective.attended)
    budget = calls.PER_SECOND * calls.SECONDS  # which is sure to end in time

    def call() -> int:
        nonlocal budget
        crew.end_if_asked()
        began = time.perf_counter()
        status: int = least_squares.advance(
            net._arrays, data, objective.block, state, course, measure, budget
        )
        if status == least_squares.RUNNING:
            ratio = calls.SECONDS / max(time.perf_counter() - began, 1e-9)
            budget = max(budget * min(ratio, 16.0), 1.0)  # more than none, to get on
        return status

    return call
