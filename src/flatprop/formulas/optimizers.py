"""Optimizers: each class has its settings and one in-place update of θ from the gradient g.

To add an optimizer, write its class here. `update` is the formula for one parameter and its
state. `scalars` is computed once per update: the numbers that are the same for all parameters.
Formulas and defaults are PyTorch's (`torch.optim`).
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from flatprop.formulas.optimizer import Optimizer, Scalars, State, Updated, named
from flatprop.formulas.optimizer import OptimizerState as OptimizerState  # for pickles of 0.1
from flatprop.formulas.schedules import Schedule
from flatprop.numbers.elementary import root_of_squares
from flatprop.numbers.lanes import Lanes
from flatprop.numbers.numbers import copysign, maximum, minimum, power, sqrt, where


@named("sgd")
@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent, θ ← θ - lr g, with momentum where asked for.

    With momentum μ and dampening τ: b ← μ b + (1 - τ) g (b ← g at first), and
    θ ← θ - lr b, or θ - lr (g + μ b) with Nesterov's.

    Parameters
    ----------
    learning_rate
        A number or a schedule.
    momentum
        μ.
    nesterov
        Whether to look ahead (Sutskever et al. 2013); needs momentum.
    weight_decay
        λ, added to the gradient as λ θ.
    dampening
        τ.
    """

    learning_rate: float | Schedule = 1e-3
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    dampening: float = 0.0

    settings = ("weight_decay", "momentum", "dampening", "nesterov")
    variants = (0, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(momentum=(0, math.inf), dampening=(0, math.inf))
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError("nesterov needs a momentum above 0 and no dampening")

    @property
    def slots(self) -> int:
        return int(self.momentum != 0)

    @property
    def linear(self) -> bool:
        return self.momentum == 0 and self.weight_decay == 0

    @staticmethod
    def scalars(s: Scalars) -> Scalars:
        first = s["step"] <= 1.0
        return {
            **s,
            "fresh": where(first, s["step"].like(1.0), 1.0 - s["dampening"]),
            "beyond": where(s["nesterov"] > 0.0, s["momentum"], 1.0),
        }

    @staticmethod
    def update(theta: Lanes, g: Lanes, state: State, s: Scalars) -> Updated:
        g = g + s["weight_decay"] * theta
        if not state:
            return (theta - s["learning_rate"] * g,)
        b = s["momentum"] * state[0] + s["fresh"] * g
        return theta - s["learning_rate"] * (s["nesterov"] * g + s["beyond"] * b), b


@named("adam")
@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015): steps scaled by running moments of the gradient.

    m ← β₁ m + (1 - β₁) g, v ← β₂ v + (1 - β₂) g²,
    θ ← θ - lr m̂ / (√v̂ + eps), with m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ).

    Parameters
    ----------
    learning_rate
        A number or a schedule.
    betas
        β₁ and β₂, the memory of the two moments.
    eps
        Keeps the divisor away from 0.
    weight_decay
        λ, added to the gradient as λ θ.
    amsgrad
        Whether v̂ is taken from the largest v so far (Reddi et al. 2018).
    """

    learning_rate: float | Schedule = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False

    settings = ("weight_decay", "beta1", "beta2", "eps", "decoupled")
    variants = (2, 3)
    divides_by_squares = True
    decoupled: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(betas=(0, 1), eps=(0, math.inf))

    beta1 = property(lambda self: self.betas[0])
    beta2 = property(lambda self: self.betas[1])

    @property
    def slots(self) -> int:
        return 3 if self.amsgrad else 2

    @staticmethod
    def scalars(s: Scalars) -> Scalars:
        correction1 = 1.0 - power(s["beta1"], s["step"])
        correction2 = 1.0 - power(s["beta2"], s["step"])
        decoupled = s["decoupled"] > 0.0
        decay = s["weight_decay"]
        return {
            "decay": where(decoupled, 0.0, decay),
            "shrink": where(decoupled, 1.0 - s["learning_rate"] * decay, 1.0),
            "shrunk": where(decoupled, s["learning_rate"] * decay, 0.0),
            "fresh1": 1.0 - s["beta1"],
            "beta2": s["beta2"],
            "fresh2": 1.0 - s["beta2"],
            "rate": s["learning_rate"] / correction1,
            "root": 1.0 / sqrt(correction2),
            "eps": s["eps"],
        }

    @staticmethod
    def scaled(s: Scalars, factor: Lanes) -> Scalars:
        return {**s, "rate": s["rate"] * factor, "shrink": 1.0 - s["shrunk"] * factor}

    @staticmethod
    def update(theta: Lanes, g: Lanes, state: State, s: Scalars) -> Updated:
        m, v, *largest = state
        g = g + s["decay"] * theta
        m = m + s["fresh1"] * (g - m)
        v = s["beta2"] * v + s["fresh2"] * (g * g)
        largest = [maximum(top, v) for top in largest]
        divisor = root_of_squares(largest[0] if largest else v) * s["root"] + s["eps"]
        return s["shrink"] * theta - s["rate"] * (m / divisor), m, v, *largest


@named("adamw")
@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): θ ← θ - lr λ θ first.

    Parameters
    ----------
    learning_rate, betas, eps, amsgrad
        As for `Adam`.
    weight_decay
        λ.
    """

    weight_decay: float = 1e-2

    decoupled: ClassVar[bool] = True


@named("rmsprop")
@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton 2012): steps scaled by the root mean square of g.

    v ← α v + (1 - α) g², θ ← θ - lr g / (√v + eps).

    Parameters
    ----------
    learning_rate
        A number or a schedule.
    alpha
        α, the memory of the mean square.
    eps
        Keeps the divisor away from 0.
    weight_decay
        λ, added to the gradient as λ θ.
    momentum
        μ: with it b ← μ b + g / (√v + eps) and θ ← θ - lr b.
    centered
        Whether the square of the running mean of g is taken off v (Graves 2013).
    """

    learning_rate: float | Schedule = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False

    settings = ("weight_decay", "alpha", "eps", "momentum", "centered")
    variants = (1, 3)
    divides_by_squares = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(alpha=(0, 1), eps=(0, math.inf), momentum=(0, math.inf))

    @property
    def slots(self) -> int:
        return 3 if self.momentum or self.centered else 1

    @staticmethod
    def scalars(s: Scalars) -> Scalars:
        return {**s, "fresh": 1.0 - s["alpha"]}

    @staticmethod
    def update(theta: Lanes, g: Lanes, state: State, s: Scalars) -> Updated:
        g = g + s["weight_decay"] * theta
        v = s["alpha"] * state[0] + s["fresh"] * (g * g)
        if len(state) == 1:
            return theta - s["learning_rate"] * (g / (root_of_squares(v) + s["eps"])), v
        mean = state[1] + s["fresh"] * (g - state[1])
        spread = v - s["centered"] * (mean * mean)
        b = s["momentum"] * state[2] + g / (sqrt(spread) + s["eps"])
        return theta - s["learning_rate"] * b, v, mean, b


@named("adagrad")
@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011): steps scaled by the sum of all g² so far.

    v ← v + g², θ ← θ - lr / (1 + (t - 1) lr_decay) · g / (√v + eps).

    Parameters
    ----------
    learning_rate
        A number or a schedule.
    lr_decay
        How fast the rate falls with the number of updates t.
    weight_decay
        λ, added to the gradient as λ θ.
    initial_accumulator_value
        v before the first update.
    eps
        Keeps the divisor away from 0.
    """

    learning_rate: float | Schedule = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10

    settings = ("weight_decay", "lr_decay", "eps")
    variants = (1,)
    divides_by_squares = True

    def __post_init__(self) -> None:
        super().__post_init__()
        limits = (0, math.inf)
        self._check(lr_decay=limits, initial_accumulator_value=limits, eps=limits)

    def initial_state(self, learning_rate: Any) -> tuple[Any, ...]:
        return (float(self.initial_accumulator_value),)

    @staticmethod
    def scalars(s: Scalars) -> Scalars:
        return {**s, "rate": s["learning_rate"] / (1.0 + (s["step"] - 1.0) * s["lr_decay"])}

    @staticmethod
    def scaled(s: Scalars, factor: Lanes) -> Scalars:
        return {**s, "rate": s["rate"] * factor}

    @staticmethod
    def update(theta: Lanes, g: Lanes, state: State, s: Scalars) -> Updated:
        g = g + s["weight_decay"] * theta
        v = state[0] + g * g
        return theta - s["rate"] * (g / (root_of_squares(v) + s["eps"])), v


@named("rprop")
@dataclass(frozen=True)
class Rprop(Optimizer):
    """Resilient backpropagation (Riedmiller & Braun 1993): only the sign of g counts.

    A parameter's step grows by η⁺ while its g keeps its sign and shrinks by η⁻
    when it changes, in which case the parameter rests. For full batches.

    Parameters
    ----------
    learning_rate
        The first step of every parameter; of a schedule, its first rate.
    etas
        η⁻ and η⁺.
    step_sizes
        The smallest and the largest step.
    weight_decay
        λ, added to the gradient as λ θ.
    """

    learning_rate: float | Schedule = 1e-2
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)
    weight_decay: float = 0.0

    settings = ("weight_decay", "eta_minus", "eta_plus", "smallest", "largest")
    variants = (2,)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(etas=(0, math.inf), step_sizes=(0, math.inf))
        if not self.etas[0] < 1 < self.etas[1]:
            raise ValueError(f"etas must be one below and one above 1, got {self.etas!r}")
        if self.step_sizes[0] > self.step_sizes[1]:
            raise ValueError(f"step_sizes must be the smaller, then the larger; {self.step_sizes}")

    eta_minus = property(lambda self: self.etas[0])
    eta_plus = property(lambda self: self.etas[1])
    smallest = property(lambda self: self.step_sizes[0])
    largest = property(lambda self: self.step_sizes[1])

    def initial_state(self, learning_rate: Any) -> tuple[Any, ...]:
        return (0.0, learning_rate)

    @staticmethod
    def scaled(s: Scalars, factor: Lanes) -> Scalars:
        return s  # the steps were so from the start

    @staticmethod
    def update(theta: Lanes, g: Lanes, state: State, s: Scalars) -> Updated:
        before, step = state
        g = g + s["weight_decay"] * theta
        agreement = g * before
        factor = where(agreement > 0.0, s["eta_plus"], 1.0)
        factor = where(agreement < 0.0, s["eta_minus"], factor)
        step = minimum(maximum(step * factor, s["smallest"]), s["largest"])
        g = where(agreement < 0.0, 0.0, g)
        moved = theta - where(abs(g) > 0.0, copysign(step, g), 0.0)
        return moved, g, step
