"""The terms of a loss that has derivatives in it: slopes of the samples, and equations.

| term | what it adds to the loss of a batch |
| --- | --- |
| samples | their usual loss; with dy also `derivative_weight` · mean (∂ŷ/∂x - dy)² |
| each equation | `weight` · mean over its points of Σ r² |

A batch takes its part of each equation's points. Parts of a term are computed independently, each
with a gradient of its own. These are added up in order, so that the result is the same bit for
bit with any number of threads.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flatprop.evaluation import calls, crew
from flatprop.evaluation.along_inputs import stack_rows
from flatprop.kernels.network import derivative_losses as kernels
from flatprop.kernels.network.stacks import stacks_size
from flatprop.kernels.network.workspace import backward_workspace_size
from flatprop.model.model import Model
from flatprop.samples.equation import Equation
from flatprop.samples.in_memory import Data
from flatprop.validation import checks
from flatprop.validation.arrays import Array, aligned_empty, flat, read_only

NO_ORDER = np.empty(0, np.int64)


class _Part(NamedTuple):
    """Some rows of a term."""

    term: int
    first: int
    stop: int
    scales: tuple[float, ...]


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
        self._terms: list[_Samples | _Slopes | _OfEquation] = [
            _Samples(network, data) if dy is None else _Slopes(network, data, dy)
        ]
        start = 0
        for equation in equations:
            stop = start + len(equation.unknowns)
            self._terms.append(_OfEquation(network, equation, slice(start, stop)))
            start = stop
        values = [v for equation in equations for v in equation.unknowns.values()]
        self.unknowns = np.array(values, np.float64)
        self._scratch: dict[tuple[int, int], Any] = {}
        self._alike: dict[tuple[int, int], list[_Part]] = {}
        """The parts of each batch, where no weights of samples make them differ."""

    def publish(self) -> None:
        """Write the unknowns into their equations."""
        values = iter(self.unknowns.tolist())
        for equation in self.equations:
            for name in equation.unknowns:
                equation.unknowns[name] = next(values)

    def orders(self, seed: int, epoch: int, shuffle: bool) -> list[NDArray[np.int64]]:
        """The order of each term's rows in an epoch, which the seed decides."""
        if not shuffle:
            return [NO_ORDER] * len(self._terms)
        rng = np.random.default_rng([seed, epoch])
        return [rng.permutation(term.rows) for term in self._terms]

    def weight_of(self, order: NDArray[np.int64], first: int, stop: int) -> float:
        """Σ w of some samples."""
        weight = self.data.weight
        if not weight.size:
            return float(stop - first)
        some = weight[order[first:stop]] if order.size else weight[first:stop]
        return float(some.sum(dtype=np.float64))

    def loss_and_gradient(
        self,
        orders: Sequence[NDArray[np.int64]],
        batch: int,
        batch_size: int,
        gradient: Array,
        of_unknowns: NDArray[np.float64],
    ) -> float:
        """The loss of a batch; `gradient` and `of_unknowns` are overwritten with its gradient."""
        parts = self._parts(orders, batch, batch_size)
        if len(parts) == 1:
            gradient.fill(0)
            of_unknowns.fill(0)
            return self._compute(0, parts[0], orders, gradient, of_unknowns)
        gradients = np.zeros((len(parts), gradient.size), gradient.dtype)
        slopes = np.zeros((len(parts), self.unknowns.size))

        def compute(worker: int, number: int) -> float:
            results = gradients[number], slopes[number]
            return self._compute(worker, parts[number], orders, *results)

        term = self._terms[parts[-1].term]
        worth = calls.threads_worth(self.network, term.block, term.passes, len(parts))
        losses = crew.each(crew.size_for(worth), compute, range(len(parts)))
        np.copyto(gradient, gradients[0])
        for other in gradients[1:]:
            gradient += other
        of_unknowns[:] = slopes.sum(axis=0)
        return float(sum(losses))

    def _compute(
        self,
        worker: int,
        part: _Part,
        orders: Sequence[NDArray[np.int64]],
        gradient: Array,
        slopes: NDArray[np.float64],
    ) -> float:
        """The loss of a part; its gradient is added to `gradient` and `slopes`."""
        term, total = self._terms[part.term], 0.0
        if (worker, part.term) not in self._scratch:
            step = term.block * calls.blocks_in_time(self.network, term.block, term.passes)
            self._scratch[worker, part.term] = term.scratch(), step
        scratch, step = self._scratch[worker, part.term]
        order = orders[part.term]
        for first in range(part.first, part.stop, step):
            stop = min(first + step, part.stop)
            rows = order, first, stop
            total += term.call(*rows, part.scales, gradient, self.unknowns, slopes, scratch)
        return total

    def _parts(
        self, orders: Sequence[NDArray[np.int64]], batch: int, batch_size: int
    ) -> list[_Part]:
        """What makes up the loss of a batch: whole blocks of each term's rows."""
        if (batch, batch_size) in self._alike:
            return self._alike[batch, batch_size]
        network, parts = self.network, []
        batches = -(-self.rows // batch_size)
        for number, term in enumerate(self._terms):
            if number == 0:
                first, stop = batch * batch_size, min((batch + 1) * batch_size, self.rows)
                total = self.weight_of(orders[0], first, stop)
                if total == 0:
                    continue
                scale = network.loss_function.scale(network.outputs, total)
                share = self.derivative_weight / (total * network.outputs * network.inputs)
                scales: tuple[float, ...] = scale, share
            else:
                first = batch * term.rows // batches
                stop = max((batch + 1) * term.rows // batches, first + 1)
                scales = (term.weight / (stop - first),)
            blocks = -(-(stop - first) // term.block)
            shards = calls.shards_of(network, stop - first, term.block)
            for shard in range(shards):
                start = first + shard * blocks // shards * term.block
                end = min(first + (shard + 1) * blocks // shards * term.block, stop)
                parts.append(_Part(number, start, end, scales))
        parts = parts or [_Part(0, 0, 0, (0.0, 0.0))]
        if not self.data.weight.size:
            self._alike[batch, batch_size] = parts
        return parts


class _Samples:
    """The loss of the samples alone."""

    passes = calls.GRADIENT
    weight = 1.0

    def __init__(self, network: Model, data: Data) -> None:
        self.network, self.data, self.rows = network, data, data.rows
        self.block = calls.even_block(network, data.rows)

    def scratch(self) -> kernels.Scratch:
        network, rows = self.network, self.block
        size = backward_workspace_size(network._arrays.layers, rows)
        return _scratch(network, rows, self.data.y.size // self.data.rows, 0, size)

    def call(
        self,
        order: Any,
        first: int,
        stop: int,
        scales: tuple[float, ...],
        gradient: Array,
        unknowns: Array,
        slopes: Array,
        scratch: Any,
    ) -> float:
        return float(
            kernels.of_outputs(
                self.network._arrays, self.data, order, first, stop, scales[0], gradient, scratch
            )
        )


class _Slopes(_Samples):
    """The loss of the samples and of their slopes, which come from one stack."""

    def __init__(self, network: Model, data: Data, dy: Array) -> None:
        super().__init__(network, data)
        self.dy, self.axes = flat(dy), read_only(np.eye(network.inputs, dtype=network.dtype))
        height = 2 if network.outputs == 1 else 1 + network.inputs
        self.passes = calls.GRADIENT * height
        self.block = stack_rows(network, data.rows, 2 * (1 + height))

    def scratch(self) -> kernels.Scratch:
        network, rows = self.network, self.block
        size = stacks_size(network._arrays.layers, rows, network.inputs, 0)
        columns = self.data.y.size // self.data.rows
        room = (network.outputs + 2) * network.inputs
        return _scratch(network, rows, columns, room, size)

    def call(
        self,
        order: Any,
        first: int,
        stop: int,
        scales: tuple[float, ...],
        gradient: Array,
        unknowns: Array,
        slopes: Array,
        scratch: Any,
    ) -> float:
        given = self.network._arrays, self.data, self.dy, self.axes, order, first, stop
        return float(kernels.of_slopes(*given, *scales, gradient, scratch))


class _OfEquation:
    """The residual of an equation at its points."""

    def __init__(self, network: Model, equation: Equation, unknowns: slice) -> None:
        self.network, self.unknowns, self.weight = network, unknowns, equation.weight
        along = equation.along(network)
        self.residual = equation.compiled(network)
        directions = along[list(self.residual.directions)]
        self.directions = read_only(np.ascontiguousarray(directions))
        points = checks.numbers("points", equation.points, network.dtype)
        self.points, self.rows = flat(points), len(points)
        self.height = 1 + len(directions) + self.residual.seconds
        self.passes = calls.GRADIENT * self.height
        self.block = stack_rows(network, self.rows, 2 * (1 + self.height))

    def scratch(self) -> kernels.Scratch:
        network, rows = self.network, self.block
        seconds = self.residual.seconds
        size = stacks_size(network._arrays.layers, rows, len(self.directions), seconds)
        columns = network.inputs + self.height * network.outputs
        return _scratch(network, rows, 0, columns, size)

    def call(
        self,
        order: Any,
        first: int,
        stop: int,
        scales: tuple[float, ...],
        gradient: Array,
        unknowns: Array,
        slopes: Array,
        scratch: Any,
    ) -> float:
        return float(
            kernels.of_equation(
                self.network._arrays,
                self.points,
                self.directions,
                self.residual.seconds,
                self.residual.address,
                unknowns[self.unknowns],
                order,
                first,
                stop,
                scales[0],
                gradient,
                slopes[self.unknowns],
                scratch,
            )
        )


def _scratch(network: Model, rows: int, columns: int, more: int, size: int) -> kernels.Scratch:
    """Scratch for blocks of so many rows, with so many columns of y and of what is beside it."""
    x, y, dy, workspace = (
        aligned_empty(count, network.dtype)
        for count in (rows * network.inputs, rows * columns, rows * more, size)
    )
    weight = np.ones(rows * network.outputs, network.dtype)
    return kernels.Scratch(rows, x, y, dy, weight, workspace)
