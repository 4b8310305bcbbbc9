"""What an optimizer is: its settings, its state, and the update that kernels compile."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flatprop.formulas.schedules import Schedule, as_schedule, check_rate
from flatprop.numbers.lanes import Lanes
from flatprop.validation import checks, other_names
from flatprop.validation.arrays import aligned_empty

Scalars: TypeAlias = Mapping[str, Lanes]
State: TypeAlias = Sequence[Lanes]
Updated: TypeAlias = tuple[Lanes, ...]

SETTINGS = ("step", "learning_rate", "gradient_scale")
"""The first entries of the settings array of every optimizer, as the kernels take it."""
STEP, LEARNING_RATE, GRADIENT_SCALE = range(3)


class OptimizerState(NamedTuple):
    """An optimizer as compiled code takes it; `Optimizer.start` makes it."""

    code: int
    """The place of its update in `RULES`."""
    settings: NDArray[np.float64]
    """The entries of `SETTINGS`, of which `step` counts the updates, then the optimizer's own."""
    state: NDArray[Any]
    """(slots, parameters), in the dtype of the parameters."""


@dataclass(frozen=True)
class Optimizer(ABC):
    """A rule for changing the parameters, and its settings.

    Every optimizer takes a `learning_rate`, a number or a schedule from
    `fp.schedules`, and a `weight_decay` λ, which adds λ θ to the gradient
    (`AdamW` takes lr λ θ off θ instead).
    """

    learning_rate: float | Schedule

    name: ClassVar[str]
    settings: ClassVar[tuple[str, ...]]
    """The settings that `scalars` gets, besides `step`, the number of the update from 1, and
    `learning_rate`, the learning rate of the epoch."""
    variants: ClassVar[tuple[int, ...]]
    """The possible numbers of state arrays. `update` is compiled for each of them, so that a
    setting that is off costs neither memory nor time."""

    divides_by_squares: ClassVar[bool] = False
    """Whether steps are divided by the root of a mean or sum of g²; they are 0 if it overflows."""

    @property
    def slots(self) -> int:
        """How many state arrays these settings need; one of `variants`."""
        return self.variants[0]

    @property
    def linear(self) -> bool:
        """Whether the update is only θ ← θ - lr g: the product that gives g can then make it."""
        return False

    def initial_state(self, learning_rate: Any) -> tuple[Any, ...]:
        """What each state array is filled with before the first update.

        Where parameters have learning rates of their own, `learning_rate` is an array.
        """
        return (0.0,) * self.slots

    def start(
        self,
        params: NDArray[Any],
        learning_rate: float | None = None,
        factors: NDArray[Any] | None = None,
    ) -> OptimizerState:
        """What `flatprop.kernels.update` needs for these parameters, before the first update.

        Parameters
        ----------
        params
            (parameters,), float32 or float64; only its size and dtype count.
        learning_rate
            The learning rate of the first update; None for the optimizer's own.
        factors
            (parameters,): what the learning rate of each parameter is multiplied by; only a
            state that depends on it does so too.

        Returns
        -------
        OptimizerState
            Its arrays are overwritten by every update. A schedule is not followed: write
            the learning rate into ``settings[LEARNING_RATE]``.
        """
        schedule = as_schedule(self.learning_rate)
        rate = float(schedule.rates(1)[0]) if learning_rate is None else learning_rate
        initial = self.initial_state(rate if factors is None else rate * factors)
        state = aligned_empty(len(initial) * params.size, params.dtype)
        state = state.reshape(len(initial), params.size)
        for slot, value in zip(state, initial, strict=True):
            slot[:] = value
        settings = np.array([0.0, rate, 1.0, *self.values()])
        return OptimizerState(rule_code(self), settings, state)

    def values(self) -> tuple[float, ...]:
        """The values of `settings`."""
        return tuple(float(getattr(self, name)) for name in self.settings)

    @staticmethod
    def scalars(s: Scalars) -> Scalars:
        """The numbers that all parameters share in one update: the settings, and more.

        They are computed in float64, whatever the dtype of θ.
        """
        return s

    @staticmethod
    def scaled(s: Scalars, factor: Lanes) -> Scalars:
        """`s` for parameters whose learning rate is multiplied by a factor of their own."""
        return {**s, "learning_rate": s["learning_rate"] * factor}

    @staticmethod
    @abstractmethod
    def update(theta: Lanes, g: Lanes, state: State, s: Scalars) -> Updated:
        """The new θ, then the new state."""

    def __post_init__(self) -> None:
        if not isinstance(self.learning_rate, Schedule):
            check_rate(self.learning_rate)
            object.__setattr__(self, "learning_rate", _plain(self.learning_rate))
        self._check(weight_decay=(0, math.inf))

    def _check(self, **bounds: tuple[float, float]) -> None:
        """Each named setting must be a number in [low, high), or two of them."""
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            pair = isinstance(getattr(type(self), name, None), tuple)  # as the default is
            if pair and not (isinstance(value, tuple | list) and len(value) == 2):
                raise ValueError(f"{name} must be two numbers, got {value!r}")
            for number in value if isinstance(value, tuple | list) else (value,):
                if not checks.is_number(number):
                    raise TypeError(f"{name} must be a number, got {number!r}")
                if not low <= float(number) < high:
                    raise ValueError(f"{name} must lie in [{low:g}, {high:g}), got {number!r}")
            object.__setattr__(self, name, _plain(value))


def _plain(setting: Any) -> Any:
    """A setting without NumPy's types and lists, so that equal settings have the same repr."""
    if isinstance(setting, (tuple, list)):
        return tuple(map(_plain, setting))
    return setting.item() if isinstance(setting, np.generic) else setting


class UpdateRule(NamedTuple):
    """An update, compiled for one number of state arrays."""

    optimizer: type[Optimizer]
    slots: int


OPTIMIZERS: dict[str, type[Optimizer]] = {}
RULES: list[UpdateRule] = []
"""All updates; the place of an update is its code. AdamW uses the update of Adam."""


def named(name: str) -> Callable[[type[Optimizer]], type[Optimizer]]:
    """Enter a class into the table of names that `fit(optimizer=...)` takes, and its updates."""

    def register(optimizer: type[Optimizer]) -> type[Optimizer]:
        optimizer.name = name
        OPTIMIZERS[name] = optimizer
        if "update" in vars(optimizer):
            RULES.extend(UpdateRule(optimizer, slots) for slots in optimizer.variants)
        return other_names.suggesting(other_names.OPTIMIZER)(optimizer)

    return register


def rule_code(optimizer: Optimizer) -> int:
    """The place in `RULES` of the update that `optimizer` uses."""
    owner = next(base for base in type(optimizer).__mro__ if "update" in vars(base))
    return RULES.index(UpdateRule(owner, optimizer.slots))


def check_state(code: int, settings: NDArray[Any], state: NDArray[Any], params: Any) -> None:
    """Raise unless the update with this code can use these arrays for parameters like `params`."""
    if not 0 <= code < len(RULES):
        raise ValueError(f"there is no update of an optimizer with the code {code}")
    rule = RULES[code]
    count = len(SETTINGS) + len(rule.optimizer.settings)
    fits = settings.shape == (count,) and settings.dtype == np.float64
    if not (fits and state.shape == (rule.slots, params.size) and state.dtype == params.dtype):
        raise ValueError(
            f"{count} settings and a state of {params.dtype} with shape "
            f"{(rule.slots, params.size)} are needed by {rule.optimizer.__name__}, but they are "
            f"{settings.shape} and {state.dtype} with shape {state.shape}"
        )
