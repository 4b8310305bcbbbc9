"""The loop around the formula of a `RowLoss`: registers are full of rows, not of outputs.

Outputs that belong together lie apart in memory, so a tile of them is sorted into buffers first:
one buffer for each argument of the formula. The formula then takes whole registers from the
buffers, and its slopes are sorted back.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from flatprop.formulas.row_losses import RowLoss
from flatprop.kernels.loops.function_at import (
    array_of,
    constants,
    element_of,
    is_given,
    loss_at,
)
from flatprop.kernels.loops.vector_loops import (
    DOUBLE,
    INT64,
    Register,
    broadcast,
    registers,
    sum_of,
    wide,
)
from flatprop.numbers.duals import Dual
from flatprop.numbers.lanes import Lanes

TILE = 256
"""How many groups of outputs are in the buffers at once."""


def compiled_row_loss(loss: RowLoss, outputs: int, dtype: np.dtype[Any]) -> int:
    """The address of the function for rows of so many outputs."""
    together, targets = loss.together, loss.target_count(outputs)
    element = element_of(dtype)
    sizes = _Sizes(outputs, targets, outputs // together)

    def emit(
        builder: ir.IRBuilder, rows: ir.Value, scale: ir.Value, pointers: Any, _: ir.Value
    ) -> ir.Value:
        prediction, y, weight, slope, tangent = pointers
        factor = broadcast(Lanes(builder, scale), element)
        names = "y", "w", *(f"{kind}{i}" for kind in "pst" for i in range(together))
        buffers = {name: _buffer(builder, element) for name in names}
        buffers["q"] = buffers["y"]  # of a formula without a parameter, which does not look at it
        if loss.parameters:
            buffers["q"] = _buffer(builder, element)
            parameters = constants(builder, loss.parameters, element)
        given = [(prediction, buffers[f"p{i}"], i) for i in range(together)]
        changed = [(tangent, buffers[f"t{i}"], i) for i in range(together)]
        slopes = [(slope, buffers[f"s{i}"], i) for i in range(together)]

        def read(places: "_Places") -> None:
            for source, buffer, i in given:
                places.copy(source, places.output(i), buffer)
            places.copy(y, places.target, buffers["y"])
            places.copy(weight, places.row, buffers["w"])
            if loss.parameters:
                places.copy(parameters, places.group, buffers["q"])

        def loop(count: ir.Value, *written: str) -> Iterator[tuple[Register, list[Lanes]]]:
            arrays = [*(f"p{i}" for i in range(together)), "y", "q", "w", *written]
            views = (array_of(builder, count, buffers[name]) for name in arrays)
            only = len(written) if written[:1] != ("t0",) else 0
            for register in registers(*views, written_only=only):
                yield register, [register[i] for i in range(together + 3)]

        with builder.if_then(is_given(builder, tangent)):
            for start, count in _tiles(builder, rows, sizes):
                for places in _each(builder, start, count, sizes):
                    read(places)
                    for source, buffer, i in changed:
                        places.copy(source, places.output(i), buffer)
                moving = [f"t{i}" for i in range(together)]
                for register, (*p, target, q, w) in loop(count, *moving):
                    at = len(p) + 3
                    duals = [Dual(x, register[at + i]) for i, x in enumerate(p)]
                    _, *changes = loss.formula(duals, Dual(target), Dual(q))
                    for i, change in enumerate(changes):
                        register.store(change.tangent * (w * factor), at + i)
                for places in _each(builder, start, count, sizes):
                    for out, buffer, i in changed:
                        places.copy_back(buffer, out, places.output(i))
            builder.ret(DOUBLE(0.0))

        total = sum_of(array_of(builder, rows, prediction))
        for start, count in _tiles(builder, rows, sizes):
            for places in _each(builder, start, count, sizes):
                read(places)
            for register, (*p, target, q, w) in loop(count, *(f"s{i}" for i in range(together))):
                value, *derivatives = loss.formula(p, target, q)
                total.add(wide(register.inside(w * value)))
                for i, derivative in enumerate(derivatives):
                    register.store(derivative * (w * factor), len(p) + 3 + i)
            with builder.if_then(is_given(builder, slope)):
                for places in _each(builder, start, count, sizes):
                    for out, buffer, i in slopes:
                        places.copy_back(buffer, out, places.output(i))
        return total.total().value

    return loss_at(emit, outputs, (targets,), dtype)


class _Sizes(NamedTuple):
    """The columns of the arrays, and how many groups of outputs a row has."""

    outputs: int
    targets: int
    groups: int


class _Places(NamedTuple):
    """Where one group of outputs stands in the arrays, and where in the buffers."""

    builder: ir.IRBuilder
    sizes: _Sizes
    here: ir.Value
    row: ir.Value
    """Where its row begins among the outputs."""
    group: ir.Value
    target: ir.Value

    def output(self, i: int) -> ir.Value:
        place = self.builder.add(self.row, self.group)
        return self.builder.add(place, INT64(i * self.sizes.groups))

    def copy(self, source: ir.Value, place: ir.Value, buffer: ir.Value) -> None:
        number = self.builder.load(self.builder.gep(source, [place]))
        self.builder.store(number, self.builder.gep(buffer, [self.here]))

    def copy_back(self, buffer: ir.Value, out: ir.Value, place: ir.Value) -> None:
        number = self.builder.load(self.builder.gep(buffer, [self.here]))
        self.builder.store(number, self.builder.gep(out, [place]))


def _tiles(
    builder: ir.IRBuilder, rows: ir.Value, sizes: _Sizes
) -> Iterator[tuple[ir.Value, ir.Value]]:
    """A loop over the tiles: the first group of each, and how many it has."""
    count, tile = builder.mul(rows, INT64(sizes.groups)), INT64(TILE)
    with cgutils.for_range_slice(builder, INT64(0), count, tile, INT64) as (start, _):
        left = builder.sub(count, start)
        yield start, builder.select(builder.icmp_signed("<", left, tile), left, tile)


def _each(
    builder: ir.IRBuilder, start: ir.Value, count: ir.Value, sizes: _Sizes
) -> Iterator[_Places]:
    """A loop over the groups of a tile."""
    with cgutils.for_range(builder, count) as loop:
        groups = INT64(sizes.groups)
        number = builder.add(start, loop.index)
        row, group = builder.udiv(number, groups), builder.urem(number, groups)
        target = builder.mul(row, INT64(sizes.targets))
        if sizes.targets == sizes.groups:
            target = builder.add(target, group)
        first = builder.mul(row, INT64(sizes.outputs))
        yield _Places(builder, sizes, loop.index, first, group, target)


def _buffer(builder: ir.IRBuilder, element: ir.Type) -> ir.Value:
    """Room for a number of each group of a tile, on the stack."""
    place = cgutils.alloca_once(builder, ir.ArrayType(element, TILE))
    place.align = 64
    return builder.bitcast(place, element.as_pointer())
