"""Which optimizer or solver a caller means."""

from flatprop.formulas.optimizer import OPTIMIZERS, Optimizer
from flatprop.solvers import SOLVERS, Solver
from flatprop.validation import checks


def optimizer_or_solver(given: object) -> Optimizer | Solver:
    """The object that was given, or a new one with defaults if a name was given."""
    if isinstance(given, (Optimizer, Solver)):
        return given
    if isinstance(given, type) and issubclass(given, (Optimizer, Solver)):
        raise TypeError(f"optimizer is a class; write fp.{given.__name__}(...)")
    known: dict[str, type[Optimizer] | type[Solver]] = {**OPTIMIZERS, **SOLVERS}
    return known[checks.choice("optimizer", given, known)]()  # type: ignore[call-arg]


def optimizer_only(given: object) -> Optimizer:
    """`optimizer_or_solver` for data that come a part at a time: a solver is refused."""
    chosen = optimizer_or_solver(given)
    if isinstance(chosen, Solver):
        raise ValueError(
            f"{type(chosen).__name__} needs all samples at once, in one Network.fit with arrays "
            "in memory (np.array(X) reads a file into one, X.toarray() a sparse matrix); for data "
            'that come a part at a time take an optimizer such as "adam"'
        )
    return chosen
