"""What a solver is: settings, and a loop that makes an `Objective` small."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Protocol

from flatprop.model.model import Model
from flatprop.solvers.objective import Objective
from flatprop.validation import other_names


class DivergedError(ArithmeticError):
    """The loss is not finite, and the solver cannot go on; the text says where this happened."""


class AfterIteration(Protocol):
    """A solver calls this after every iteration, when the network has the new parameters."""

    def __call__(self, loss: float, rule: str = "") -> bool:
        """Take note of an iteration that began at `loss`; returns whether the solver must stop.

        `rule` is the solver's own reason to end the training with this iteration. Such an
        iteration changes no parameters, so that `loss` is the loss at the end, too.
        """


class Solver(ABC):
    """A method that `fit(optimizer=...)` takes and that sees all samples in every iteration.

    Its settings are fields of a frozen dataclass, so that its repr shows them.
    """

    name: ClassVar[str]
    takes_l2: ClassVar[bool] = False
    """Whether the terms l2 Σ W² of layers count."""

    @abstractmethod
    def check(self, network: Model, trained: int) -> None:
        """Raise if this solver cannot train `trained` parameters of `network`; say what can."""

    @abstractmethod
    def minimise(self, objective: Objective, after_iteration: AfterIteration) -> None:
        """Make the loss small, until `after_iteration` returns True.

        Raises
        ------
        DivergedError
            If the loss is not finite at a place where the solver needs it.
        """


SOLVERS: dict[str, type[Solver]] = {}


def named(name: str) -> Callable[[type[Solver]], type[Solver]]:
    """Enter a class into the table of names that `fit(optimizer=...)` takes."""

    def register(solver: type[Solver]) -> type[Solver]:
        solver.name = name
        SOLVERS[name] = solver
        return other_names.suggesting(other_names.SOLVERS.get(name, {}))(solver)

    return register
