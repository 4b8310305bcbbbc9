"""The terms of a loss that has derivatives in it, each as kernels are told of it."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatprop.evaluation import calls
from flatprop.evaluation.along_inputs import derivatives, stack_rows
from flatprop.kernels.network import derivative_losses as kernels
from flatprop.kernels.network.dense_columns import columns_size
from flatprop.kernels.network.records import DENSE, SOFTMAX
from flatprop.kernels.network.stacks import stacks_size
from flatprop.kernels.network.workspace import backward_workspace_size
from flatprop.kernels.threads.team import SHARED_ROWS
from flatprop.model.model import Model
from flatprop.samples.equation import Equation
from flatprop.samples.in_memory import Data
from flatprop.samples.slope_check import check_slopes
from flatprop.validation import checks
from flatprop.validation.arrays import Array, flat, read_only

CHECKED_POINTS = 5
"""At so many points a user's slopes are compared with differences."""
LINE = 16
"""Parts of the scratch begin at multiples of so many numbers."""


class Term(ABC):
    """One of the terms.

    Attributes
    ----------
    rows, block : int
        How many samples or points there are, and how many a block has at most.
    passes : int
        The cost of a row: see `calls`.
    sizes : tuple of int
        What blocks copy of x, y and dy: see `TERM`.
    workspace_size : int
        How many numbers the walks over the layers need.
    """

    function: Any
    rows: int
    block: int
    passes: int
    sizes: tuple[int, int, int]
    workspace_size: int

    def __init__(self, network: Model) -> None:
        self.network = network

    @abstractmethod
    def rows_of_batch(self, batch_size: int, batches: int) -> int:
        """The most rows of a batch."""

    def describe(self, record: Any) -> None:
        """Write what is the same for all threads."""
        layers, loss_records, params = self.network._arrays
        write_fields(
            record,
            function=kernels.term_address(self.function, self.network.dtype),
            rows=self.rows,
            block_rows=self.block,
            layers=layers,
            n_layers=layers.size,
            loss_record=loss_records,
            params=params,
            n_params=params.size,
        )


class SampleTerm(Term):
    """The loss of the samples alone."""

    function = staticmethod(kernels.of_outputs)

    def __init__(self, network: Model, data: Data) -> None:
        super().__init__(network)
        self.data, self.rows = data, data.rows
        self.passes, self.columns = calls.GRADIENT, data.y.size // data.rows
        self.block = calls.even_block(network, data.rows)
        self.sizes = (
            whole_lines(self.block * network.inputs),
            whole_lines(self.block * self.columns),
            0,
        )
        self.workspace_size = backward_workspace_size(network._arrays.layers, self.block)

    def rows_of_batch(self, batch_size: int, batches: int) -> int:
        return batch_size

    def describe(self, record: Any) -> None:
        super().describe(record)
        x, y, weight, _ = self.data
        fields = {"x": x, "y": y, "columns": self.columns, "sample_weight": weight}
        write_fields(record, **fields, weighted=weight.size > 0)


class SlopeTerm(SampleTerm):
    """The loss of the samples and of their slopes, which come from one stack."""

    function = staticmethod(kernels.of_slopes)

    def __init__(self, network: Model, data: Data, dy: Array, weight: float) -> None:
        super().__init__(network, data)
        inputs, outputs, layers = network.inputs, network.outputs, network._arrays.layers
        self.dy, self.weight = flat(dy), weight
        self.axes = read_only(np.eye(inputs, dtype=network.dtype))
        height = 2 if outputs == 1 else 1 + inputs
        self.passes = calls.GRADIENT * height
        self.block = stack_rows(network, data.rows, 2 * (1 + height))
        some = self.block * inputs, self.block * self.columns, self.block * (outputs + 2) * inputs
        self.sizes = whole_lines(some[0]), whole_lines(some[1]), whole_lines(some[2])
        self.workspace_size = stacks_size(layers, self.block, inputs, 0)

    def describe(self, record: Any) -> None:
        super().describe(record)
        fields = {"n_directions": len(self.axes), "weight": self.weight}
        write_fields(record, dy=self.dy, directions=self.axes, **fields)


class EquationTerm(Term):
    """The residual of an equation at its points."""

    def __init__(
        self, network: Model, equation: Equation, unknowns: NDArray[np.float64], before: int
    ) -> None:
        super().__init__(network)
        along = equation.along(network)
        self.residual = equation.compiled(network)
        if equation.slopes is not None:
            _check_slopes(network, equation)
        self.function = kernels.of_equation
        self.weight, self.before, self.count = equation.weight, before, len(equation.unknowns)
        self.unknowns = unknowns[before:]
        directions = along[list(self.residual.directions)]
        self.directions = read_only(np.ascontiguousarray(directions))
        points = checks.numbers("points", equation.points, network.dtype)
        self.points, self.rows = flat(points), len(points)
        seconds = self.residual.seconds
        height, layers = 1 + len(directions) + seconds, network._arrays.layers
        self.passes = calls.GRADIENT * height
        self.block, size = stack_rows(network, self.rows, 2 * (1 + height)), stacks_size
        if (layers["kind"] == DENSE).all() and layers[-1]["activation"] != SOFTMAX:
            self.function, size = kernels.of_equation_of_dense, columns_size
            if self.block < self.rows:
                self.block = _odd_units(self.block)
        columns = self.block * (network.inputs + height * network.outputs)
        self.sizes = whole_lines(self.block * network.inputs), 0, whole_lines(columns)
        self.workspace_size = size(layers, self.block, len(directions), seconds)

    def rows_of_batch(self, batch_size: int, batches: int) -> int:
        return -(-self.rows // batches)

    def describe(self, record: Any) -> None:
        super().describe(record)
        write_fields(
            record,
            x=self.points,
            directions=self.directions,
            n_directions=len(self.directions),
            seconds=self.residual.seconds,
            residual=self.residual.address,
            unknowns=self.unknowns,
            n_unknowns=self.count,
            unknowns_before=self.before,
            weight=self.weight,
        )


def _odd_units(rows: int) -> int:
    """A few more rows, so that they are no multiple of a large power of two.

    The rows of units would fall on few places of the first cache otherwise.
    """
    units = rows // SHARED_ROWS
    return rows if units == 0 else SHARED_ROWS * (units + 1 - units % 2)


def _check_slopes(network: Model, equation: Equation) -> None:
    """Compare the slopes of an equation with differences at a few of its points."""
    every = np.linspace(0, len(equation.points) - 1, CHECKED_POINTS)
    x = equation.points[np.unique(every.astype(np.int64))]
    u, du, d2u = derivatives(network, x, equation.directions, threads=1)
    if network.outputs == 1:
        u, du, d2u = u[..., 0], du[..., 0], d2u[..., 0]
    check_slopes(equation, x, u, du, d2u)


def write_fields(record: Any, **fields: Any) -> None:
    """Write fields of a record; an array stands for its address."""
    for name, value in fields.items():
        record[name] = value.ctypes.data if isinstance(value, np.ndarray) else value


def whole_lines(size: int) -> int:
    """Room for so many numbers, up to where the next part may begin."""
    return -(-size // LINE) * LINE
