"""Cross-entropy with label smoothing and weights of classes, as a function called by its address.

With weights c of K classes and smoothing ε the targets are t = c ((1 - ε) y + ε / K). For the
index of a class they are divided by the c of that class, since the weight of the sample holds this
factor: see `samples.in_memory`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from flatprop.formulas.losses import CrossEntropy
from flatprop.kernels.loops.function_at import (
    array_of,
    constants,
    element_of,
    is_given,
    loss_at,
)
from flatprop.kernels.loops.masks import splat
from flatprop.kernels.loops.softmax import Logarithms, LogitsRow, exponentials
from flatprop.kernels.loops.vector_loops import (
    DOUBLE,
    INT64,
    Array,
    Register,
    broadcast,
    registers,
    sum_of,
    wide,
)
from flatprop.numbers.lanes import Lanes, lane_count
from flatprop.numbers.numbers import where


def compiled_cross_entropy(loss: CrossEntropy, outputs: int, dtype: np.dtype[Any]) -> int:
    """The address of the function for so many classes."""
    element = element_of(dtype)
    weights = loss.class_weight or (1.0,) * outputs
    rest, share = 1.0 - loss.label_smoothing, loss.label_smoothing / outputs

    def emit(
        builder: ir.IRBuilder, rows: ir.Value, scale: ir.Value, pointers: Any, columns: ir.Value
    ) -> ir.Value:
        z, y, weight, slope, tangent = pointers
        indices = builder.icmp_signed("!=", columns, INT64(outputs))
        table = constants(builder, weights, element)
        inverses = constants(builder, [1.0 / c if c else 0.0 for c in weights], element)
        c = array_of(builder, INT64(outputs), table)

        def row_of(data: ir.Value, i: ir.Value) -> Array:
            place = builder.gep(data, [builder.mul(i, INT64(outputs))])
            return array_of(builder, INT64(outputs), place)

        def with_targets(i: ir.Value, use: Callable[..., None]) -> None:
            """Call `use` with what takes t from a register, and with the arrays that this needs.

            These arrays are in the register from a place k on.
            """
            with builder.if_else(indices) as (one_index, one_per_class):
                with one_index:
                    index, r = _class_of(builder, builder.gep(y, [i]), inverses, outputs)
                    use(partial(_of_index, index, broadcast(r, element), rest, share), c)
                with one_per_class:
                    use(partial(_of_row, rest, share), c, row_of(y, i))

        def factor_of(i: ir.Value) -> tuple[Lanes, Lanes]:
            first = builder.gep(weight, [builder.mul(i, INT64(outputs))])
            w = wide(Lanes(builder, builder.load(first)))
            return w, broadcast(w * Lanes(builder, scale), element)

        mass = cgutils.alloca_once(builder, DOUBLE)

        def add_up(target: Callable[[Register, int], Lanes], *arrays: Array) -> None:
            total = sum_of(c)
            for register in registers(*arrays):
                total.add(wide(register.inside(target(register, 0))))
            builder.store(total.total().value, mass)

        with builder.if_then(is_given(builder, tangent)):
            with cgutils.for_range(builder, rows) as loop:
                with_targets(loop.index, add_up)
                p, moving = row_of(z, loop.index), row_of(tangent, loop.index)
                _, total = exponentials(p, p)
                _, factor = factor_of(loop.index)
                share_of_each = broadcast(1.0 / total, element)
                product = sum_of(p)
                for register in registers(p, moving):
                    product.add(wide(register[0] * share_of_each * register[1]))
                mean = broadcast(product.total(), element)
                factor = factor * broadcast(Lanes(builder, builder.load(mass)), element)
                for register in registers(p, moving):
                    change = register[0] * share_of_each * (register[1] - mean)
                    register.store(change * factor, 1)
            builder.ret(DOUBLE(0.0))

        loss, logarithms = sum_of(c), Logarithms(builder, rows)
        with cgutils.for_range(builder, rows) as loop:
            with_targets(loop.index, add_up)
            logits, p = row_of(z, loop.index), row_of(slope, loop.index)
            shift, total = exponentials(logits, p)
            w, factor = factor_of(loop.index)
            row = LogitsRow(
                logits=logits,
                p=p,
                shift=shift,
                share=broadcast(1.0 / total, element),
                weight=Lanes(builder, splat(builder, w.value, lane_count(element))),
                factor=factor,
            )
            of_targets = Lanes(builder, builder.load(mass))

            def finish(target: Callable[[Register, int], Lanes], *arrays: Array) -> None:
                row.finish(lambda register: target(register, 2), loss, of_targets, *arrays)

            with_targets(loop.index, finish)
            logarithms.add(loop.index, w * of_targets, total)
        return (loss.total() + logarithms.sum.total()).value

    return loss_at(emit, outputs, (1, outputs), dtype)


def _of_index(
    index: ir.Value, inverse: Lanes, rest: float, share: float, register: Register, k: int
) -> Lanes:
    """t where y is the index of a class."""
    one_hot: Lanes = where(register.is_place(index), inverse.like(rest), 0.0)
    return inverse * register[k] * (one_hot + share)


def _of_row(rest: float, share: float, register: Register, k: int) -> Lanes:
    """t where y is a row of probabilities."""
    return register[k] * (register[k + 1] * rest + share)


def _class_of(
    builder: ir.IRBuilder, place: ir.Value, inverses: ir.Value, classes: int
) -> tuple[ir.Value, Lanes]:
    """The index that stands there, and 1 / c of the class; -1 and 0 for what is no class."""
    given = Lanes(builder, builder.load(place))
    known = where(given >= 0.0, where(given < float(classes), given, -1.0), -1.0)
    index = builder.fptosi(known.value, INT64)
    is_class = builder.icmp_signed(">=", index, INT64(0))
    inverse = builder.load(builder.gep(inverses, [builder.select(is_class, index, INT64(0))]))
    chosen = builder.select(is_class, inverse, inverse.type(0.0))
    return index, Lanes(builder, chosen) + (given - given)  # NaN makes the loss NaN
