"""`fit`: which kind of training an optimizer asks for.

An `Optimizer` is a formula in the compiled loop, on samples in memory (`descent`) or as they
come (`streaming`), which have in common what is in `updating`; a `Solver` is called with the
whole of the data (`solving`). What all have in common is in `base`.
"""

from typing import TYPE_CHECKING, Any

from flatprop.samples.in_parts import is_large
from flatprop.solvers import Solver
from flatprop.training.choice import optimizer_only, optimizer_or_solver
from flatprop.training.history import History
from flatprop.training.in_memory_run import Descent
from flatprop.training.run import Training
from flatprop.training.solver_run import Solving
from flatprop.training.streamed_run import Streaming
from flatprop.training.trainer import Trainer
from flatprop.validation.alerts import DivergenceWarning

if TYPE_CHECKING:
    from flatprop.network import Network

__all__ = ["DivergenceWarning", "Trainer", "Training", "fit"]


def fit(network: "Network", X: Any, y: Any, *, optimizer: Any, **options: Any) -> History:
    """Train `network` in place; see `Network.fit`."""
    if y is None:
        return Streaming(network, X, y, optimizer=optimizer_only(optimizer), **options).run()
    chosen = optimizer_or_solver(optimizer)
    if isinstance(chosen, Solver):
        return Solving(network, X, y, solver=chosen, **options).run()
    # All samples in every update have to be in memory, however large they are.
    by_parts = options["batch_size"] is not None and (
        is_large(X, network.dtype) or is_large(y, network.dtype)
    )
    kind = Streaming if by_parts else Descent
    return kind(network, X, y, optimizer=chosen, **options).run()
