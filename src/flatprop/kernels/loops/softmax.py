"""Softmax and cross-entropy, row by row.

Softmax shifts every exponent by the largest logit of its row, so nothing
overflows; cross-entropy is computed from the logits.
"""

from collections.abc import Callable
from functools import partial
from math import inf
from typing import NamedTuple

from llvmlite import ir
from numba.core import cgutils, types

from flatprop.kernels.loops.masks import splat
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import (
    DOUBLE,
    INT64,
    Array,
    Fold,
    Register,
    broadcast,
    largest_of,
    registers,
    rows_of,
    sum_of,
    wide,
)
from flatprop.numbers import elementary
from flatprop.numbers.lanes import Lanes, lane_count
from flatprop.numbers.numbers import where


@routine()
def softmax(builder: ir.IRBuilder, z: Array) -> None:
    """z ← e^z / Σ e^z over each row."""
    for i in rows_of(z):
        row = z.row(i)
        _, total = exponentials(row, row)
        scale = broadcast(1.0 / total, z.element)
        for register in registers(row):
            register.store(register[0] * scale, 0)


@routine()
def softmax_backward(builder: ir.IRBuilder, a: Array, delta: Array) -> None:
    """delta ← a (delta - Σ a delta): from ∂L/∂a to ∂L/∂z."""
    for i in rows_of(a):
        rows = a.row(i), delta.row(i)
        product = sum_of(a)
        for register in registers(*rows):
            product.add(wide(register[0] * register[1]))
        mean = broadcast(product.total(), a.element)
        for register in registers(*rows):
            register.store(register[0] * (register[1] - mean), 1)


@routine(types.float64, scale=types.float64)
def cross_entropy(
    builder: ir.IRBuilder, z: Array, y: Array, weight: Array, scale: ir.Value, slope: Array
) -> ir.Value:
    """Σ w ℓ from the logits z; slope ← scale · w · ∂ℓ/∂z.

    ℓ = Σₖ yₖ (log Σ e^z - zₖ) and ∂ℓ/∂z = softmax(z) Σₖ yₖ - y. y has one column
    of class indices or one column per unit. `weight` is (rows, units), the same
    along a row. z and slope are two arrays.
    """
    units = z.shape[1]
    indices = builder.icmp_signed("!=", y.shape[1], units)
    loss, logarithms = sum_of(z), Logarithms(builder, z.shape[0])
    for i in rows_of(z):
        logits, p = z.row(i), slope.row(i)
        shift, total = exponentials(logits, p)
        w = wide(weight.scalar(builder.mul(i, units)))
        row = LogitsRow(
            logits=logits,
            p=p,
            shift=shift,
            share=broadcast(1.0 / total, z.element),
            weight=Lanes(builder, splat(builder, w.value, lane_count(z.element))),
            factor=broadcast(w * Lanes(builder, scale), z.element),
        )
        mass = cgutils.alloca_once(builder, DOUBLE)
        with builder.if_else(indices) as (one_index, one_per_unit):
            with one_index:
                # What is no class counts as none; NaN makes the loss NaN.
                index = y.scalar(i)
                end = Lanes(builder, builder.sitofp(units, z.element))
                known = where(index >= 0.0, where(index < end, index, -1.0), -1.0)
                one_hot = partial(_one_hot, builder.fptosi(known.value, INT64))
                count = where(known < 0.0, index.like(0.0), 1.0)
                builder.store(wide(count + (index - index)).value, mass)
                row.finish(one_hot, loss, wide(count))
            with one_per_unit:
                sum_of_y = sum_of(z)
                for register in registers(y.row(i)):
                    sum_of_y.add(wide(register[0]))
                builder.store(sum_of_y.total().value, mass)
                row.finish(_third, loss, sum_of_y.total(), y.row(i))
        logarithms.add(i, w * Lanes(builder, builder.load(mass)), total)
    return (loss.total() + logarithms.sum.total()).value


class LogitsRow(NamedTuple):
    """One sample's cross-entropy, whose exponentials and their sum are known."""

    logits: Array
    p: Array
    """e^(z - shift); overwritten with the slope."""
    shift: Lanes
    share: Lanes
    """1 / Σ e^(z - shift)."""
    weight: Lanes
    factor: Lanes
    """scale · w."""

    def finish(
        self, target: Callable[[Register], Lanes], loss: Fold, mass: Lanes, *y: Array
    ) -> None:
        """p ← the slope; `loss` += -w Σ y (z - shift), the part of w ℓ that needs no logarithm.

        `target` takes y from a register, `mass` is Σ y.
        """
        scale = broadcast(mass, self.p.element) * self.share
        for register in registers(self.p, self.logits, *y):
            y_here = target(register)
            part = where(y_here > 0.0, y_here * (self.shift - register[1]), 0.0)
            loss.add(self.weight * wide(part))
            register.store(self.factor * (scale * register[0] - y_here), 0)


class Logarithms:
    """Σ w log t over rows, for a register full of rows at a time.

    That takes no longer than a single logarithm.
    """

    def __init__(self, builder: ir.IRBuilder, rows: ir.Value) -> None:
        self.builder, self.lanes = builder, lane_count(DOUBLE)
        self.last = builder.sub(rows, INT64(1))
        self.none = ir.Constant(ir.VectorType(DOUBLE, self.lanes), None)
        nothing = Lanes(builder, self.none)
        self.t = cgutils.alloca_once_value(builder, nothing.like(1.0).value)
        self.w = cgutils.alloca_once_value(builder, self.none)
        self.sum = Fold(nothing, lambda one, other: one + other)

    def add(self, i: ir.Value, w: Lanes, t: Lanes) -> None:
        """Note w and t of row i; once a register is full of them, add its w log t."""
        builder = self.builder
        lane = builder.and_(i, INT64(self.lanes - 1))
        for place, number in ((self.w, w), (self.t, t)):
            first = builder.bitcast(place, DOUBLE.as_pointer())
            builder.store(number.value, builder.gep(first, [lane]))
        full = builder.icmp_signed("==", lane, INT64(self.lanes - 1))
        with builder.if_then(builder.or_(full, builder.icmp_signed("==", i, self.last))):
            w, t = (Lanes(builder, builder.load(place)) for place in (self.w, self.t))
            self.sum.add(w * elementary.log(t))
            builder.store(self.none, self.w)


def _one_hot(k: ir.Value, register: Register) -> Lanes:
    return where(register.is_place(k), register[0].like(1.0), 0.0)


def _third(register: Register) -> Lanes:
    return register[2]


def exponentials(z: Array, out: Array) -> tuple[Lanes, Lanes]:
    """out ← e^(z - shift), shift the largest z; that, and the sum of out in float64."""
    largest = largest_of(z)
    for register in registers(z):
        largest.add(register.inside(register[0], -inf))
    shift = broadcast(largest.total(), z.element)
    total = sum_of(z)
    for register in registers(z, out, written_only=1):
        e = elementary.exp_of_negative(register[0] - shift)
        total.add(wide(register.inside(e)))
        register.store(e, 1)
    return shift, total.total()
