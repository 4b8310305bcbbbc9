"""What a solver is: settings, and a loop of its own over an `Objective`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Protocol

from flatprop.model.model import Model
from flatprop.solvers.objective import Objective
from flatprop.validation import other_names


class DivergedError(ArithmeticError):
    """The loss is no longer finite, and the solver knows no way back; its text says where."""


class AfterIteration(Protocol):
    """What a solver calls after every iteration, with the network at the new parameters."""

    def __call__(self, loss: float, rule: str = "") -> bool:
        """Take note of an iteration that began at `loss`; whether the solver has to stop.

        `rule` is the solver's own reason for ending with this one. Such an iteration changes
        nothing: the loss is that of the parameters it leaves.
        """


class Solver(ABC):
    """A method that `fit(optimizer=...)` takes and that sees all samples in every iteration.

    Settings are fields of a frozen dataclass, so that they show in its repr.
    """

    name: ClassVar[str]

    @abstractmethod
    def check(self, network: Model, trained: int) -> None:
        """Raise if this solver cannot train so many parameters of `network`, and say what can."""

    @abstractmethod
    def minimise(self, objective: Objective, after_iteration: AfterIteration) -> None:
        """Make the loss small, until `after_iteration` returns True.

        Raises
        ------
        DivergedError
            If the loss is not finite where it has to be.
        """


SOLVERS: dict[str, type[Solver]] = {}


def named(name: str) -> Callable[[type[Solver]], type[Solver]]:
    """Enter a class into the table of names that `fit(optimizer=...)` takes."""

    def register(solver: type[Solver]) -> type[Solver]:
        solver.name = name
        SOLVERS[name] = solver
        return other_names.suggesting(other_names.SOLVERS.get(name, {}))(solver)

    return register
