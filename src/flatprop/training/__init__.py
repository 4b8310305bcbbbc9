"""`fit`: which kind of training an optimizer asks for.

An `Optimizer` is a formula in the compiled loop (`descent`); a `Solver` is called with the
whole of the data (`solving`). What the two have in common is in `base`.
"""

from typing import TYPE_CHECKING, Any

from flatprop import checks
from flatprop.formulas.optimizers import OPTIMIZERS, Optimizer
from flatprop.history import History
from flatprop.solvers import SOLVERS, Solver
from flatprop.training.base import DivergenceWarning, Training
from flatprop.training.descent import Descent
from flatprop.training.solving import Solving

if TYPE_CHECKING:
    from flatprop.network import Network

__all__ = ["DivergenceWarning", "Training", "fit"]


def fit(network: "Network", X: Any, y: Any, *, optimizer: Any, **options: Any) -> History:
    """Train `network` in place; see `Network.fit`."""
    chosen = _checked_optimizer(optimizer)
    if isinstance(chosen, Solver):
        return Solving(network, X, y, solver=chosen, **options).run()
    return Descent(network, X, y, optimizer=chosen, **options).run()


def _checked_optimizer(optimizer: object) -> Optimizer | Solver:
    if isinstance(optimizer, (Optimizer, Solver)):
        return optimizer
    if isinstance(optimizer, type) and issubclass(optimizer, (Optimizer, Solver)):
        raise TypeError(f"optimizer is a class; write fp.{optimizer.__name__}(...)")
    known: dict[str, type[Optimizer] | type[Solver]] = {**OPTIMIZERS, **SOLVERS}
    return known[checks.choice("optimizer", optimizer, known)]()  # type: ignore[call-arg]
