"""The terms of a loss that has derivatives in it: slopes of the samples, and equations.

`term_records` says what they add to the loss, and how a batch goes through their blocks.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatprop.evaluation import crew
from flatprop.evaluation.batches_of_terms import TermBatches
from flatprop.evaluation.kinds_of_terms import EquationTerm, SampleTerm, SlopeTerm, Term
from flatprop.kernels.network.term_batches import gradient_of_all
from flatprop.model.model import Model
from flatprop.samples.equation import Equation
from flatprop.samples.in_memory import Data
from flatprop.validation.arrays import Array


class Terms:
    """The loss of samples, their slopes and equations, for one network.

    Attributes
    ----------
    rows : int
        How many samples there are.
    unknowns : ndarray
        Those of all equations, float64; `publish` tells the equations.
    """

    def __init__(
        self,
        network: Model,
        data: Data,
        dy: Array | None,
        derivative_weight: float,
        equations: Sequence[Equation],
    ) -> None:
        self.network, self.data, self.rows = network, data, data.rows
        self.derivative_weight, self.equations = derivative_weight, equations
        self.has_slopes = dy is not None
        values = [v for equation in equations for v in equation.unknowns.values()]
        self.unknowns = np.array(values, np.float64)
        samples = SampleTerm(network, data)
        if dy is not None:
            samples = SlopeTerm(network, data, dy, derivative_weight)
        self.terms: list[Term] = [samples]
        before = 0
        for equation in equations:
            self.terms.append(EquationTerm(network, equation, self.unknowns, before))
            before += len(equation.unknowns)
        self._all: TermBatches | None = None

    def publish(self) -> None:
        """Write the unknowns into their equations."""
        values = iter(self.unknowns.tolist())
        for equation in self.equations:
            for name in equation.unknowns:
                equation.unknowns[name] = next(values)

    def batches(self, batch_size: int, order: NDArray[np.int64]) -> TermBatches:
        """What kernels take to go through batches; `order` is that of the samples, or empty."""
        return TermBatches(self.network, self.terms, self.unknowns, batch_size, order)

    def loss_and_gradient(self) -> tuple[float, Array, NDArray[np.float64]]:
        """The loss of all samples and points, its gradient and that of the unknowns."""
        network, weight = self.network, self.data.weight
        if self._all is None:
            self._all = self.batches(self.rows, np.empty(0, np.int64))
        batches, most = self._all, self._all.in_time
        total = float(weight.sum(dtype=np.float64)) if weight.size else float(self.rows)
        scale, blocks = network.loss_function.scale(network.outputs, total), 0
        size = crew.size_for(batches.threads_worth(min(most, batches.losses.size)))
        while blocks == 0:
            arguments = _arguments(batches, (self.rows, scale, total, most))
            blocks, _ = crew.together(size, gradient_of_all, next(arguments), arguments.__next__)
        shards = min(blocks, batches.shards)
        gradient = batches.gradient.reshape(batches.shards, -1)
        for other in gradient[1:shards]:
            gradient[0] += other
        slopes = batches.slopes[:shards].sum(axis=0)
        return float(batches.losses[:blocks].sum()), gradient[0], slopes


def _arguments(batches: TermBatches, rest: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """What `gradient_of_all` is given in each thread of a team, the leader first."""
    yield batches.address, batches.batch, *rest
    for number in count():
        yield batches.address, batches.of_helper(number).batch, *rest
