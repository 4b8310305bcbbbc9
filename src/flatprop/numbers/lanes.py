"""Numbers side by side in one SIMD register, with Python's operators.

A formula of this package is plain Python arithmetic. Called with `Lanes`, it does not compute.
It writes the LLVM instructions that compute it, for one number or for a register full of
numbers, in float32 or float64. This has four consequences:

- One source serves both dtypes and every loop.
- No loop depends on what the compiler's vectoriser recognises.
- An element's result never depends on its neighbours or on its place in the array.
- Numba's type inference never sees the formulas, so that the first compilation is short.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from llvmlite import ir

from flatprop.numbers.numbers import B, BinaryNumber, Bits, Elementary, N, fma

REGISTER_BYTES = 64
"""Bytes of a vector: one AVX-512 register. For AVX2 LLVM splits it into two registers, for NEON
into four, which then works like an unrolled loop."""

_INSTRUCTIONS = {"+": "fadd", "-": "fsub", "*": "fmul", "/": "fdiv"}
_BITS: dict[type[ir.Type], int] = {ir.FloatType: 32, ir.DoubleType: 64}
_MANTISSA = {32: 23, 64: 52}
_BIAS = {32: 127, 64: 1023}


def lane_count(element: ir.Type) -> int:
    """How many numbers of the LLVM type `element` fill one vector."""
    return REGISTER_BYTES * 8 // _BITS[type(element)]


class Mask(NamedTuple):
    """The outcome of a comparison, one truth value per lane."""

    builder: ir.IRBuilder
    value: ir.Value


class Integers(NamedTuple):
    """The bits of float lanes, read as signed integers of the same width."""

    builder: ir.IRBuilder
    value: ir.Value

    def _constant(self, number: int) -> ir.Constant:
        return _splat_constant(self.value.type, number)

    def __sub__(self, other: "Integers") -> "Integers":
        return Integers(self.builder, self.builder.sub(self.value, other.value))

    def __neg__(self) -> "Integers":
        return Integers(self.builder, self.builder.neg(self.value))

    def __rshift__(self, places: int) -> "Integers":
        return Integers(self.builder, self.builder.ashr(self.value, self._constant(places)))

    def __lshift__(self, places: int) -> "Integers":
        return Integers(self.builder, self.builder.shl(self.value, self._constant(places)))

    def plus(self, number: int) -> "Integers":
        """Add one Python integer to every lane."""
        return Integers(self.builder, self.builder.add(self.value, self._constant(number)))

    def read_as(self, like: "Lanes") -> "Lanes":
        """The numbers that have these bits."""
        return Lanes(self.builder, self.builder.bitcast(self.value, like.value.type))

    def converted(self, like: "Lanes") -> "Lanes":
        """The integers as numbers."""
        return Lanes(self.builder, self.builder.sitofp(self.value, like.value.type))


class Lanes(BinaryNumber):
    """Floating-point numbers side by side, or a single one.

    Parameters
    ----------
    builder
        Where the instructions go.
    value
        The LLVM value: a float, a double, or a vector of them.
    """

    __slots__ = ("builder", "value")

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder = builder
        self.value = value

    # ---- what kind of number this is

    @property
    def element(self) -> ir.Type:
        """The LLVM type of one lane."""
        kind = self.value.type
        return kind.element if isinstance(kind, ir.VectorType) else kind

    @property
    def bits(self) -> int:
        """The width of one lane: 32 or 64."""
        return _BITS[type(self.element)]

    def like(self, number: "Lanes | float") -> "Lanes":
        """`number` in every lane, in this dtype."""
        if isinstance(number, Lanes):
            return number
        return Lanes(self.builder, _splat_constant(self.value.type, float(number)))

    # ---- arithmetic

    def _arithmetic(self, sign: str, left: "Lanes", right: "Lanes") -> "Lanes":
        instruction = getattr(self.builder, _INSTRUCTIONS[sign])
        left, right = _as_wide(left, right), _as_wide(right, left)
        return Lanes(self.builder, instruction(left.value, right.value))

    def _compare(self, sign: str, other: "Lanes") -> Mask:
        return Mask(self.builder, self.builder.fcmp_ordered(sign, self.value, other.value))

    def _select(self, mask: Mask, yes: "Lanes", no: "Lanes") -> "Lanes":
        yes, no = _as_wide(yes, no), _as_wide(no, yes)
        return Lanes(mask.builder, mask.builder.select(mask.value, yes.value, no.value))

    def _function(self, name: str, *operands: "Lanes") -> "Lanes":
        return _intrinsic(name, *operands)

    def _elementary(self, function: Elementary) -> "Lanes":
        result: Lanes = function.body(self)
        return result

    def __neg__(self) -> "Lanes":
        return Lanes(self.builder, self.builder.fneg(self.value))

    # ---- the bits behind the number

    def as_integers(self) -> Integers:
        """The bit pattern of every lane."""
        return Integers(
            self.builder, self.builder.bitcast(self.value, _shaped(self, ir.IntType(self.bits)))
        )


def horner(x: N, coefficients: Sequence[float]) -> N:
    """The polynomial Σ cᵢ xⁱ, by Horner's rule."""
    result = x.like(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = fma(result, x, coefficient)
    return result


def horner_in_pairs(x: N, square: N, coefficients: Sequence[float]) -> N:
    """The same in half the time: two coefficients make one, and x² takes the place of x."""
    pairs = [
        fma(x, high, low) for low, high in zip(coefficients[::2], coefficients[1::2], strict=False)
    ]
    last = x.like(coefficients[-1]) if len(coefficients) % 2 else pairs.pop()
    for pair in reversed(pairs):
        last = fma(last, square, pair)
    return last


# ---- powers of two, made by writing the exponent field


def nearest_integer(x: B, factor: float) -> tuple[B, Bits]:
    """The nearest integer to `factor` x, below 2²² in size, as a number and as an integer.

    Adding 1.5 · 2^mantissa pushes the fraction out of the mantissa and leaves
    the integer in its low bits. Unlike a conversion it is defined for NaN.
    """
    magic = x.like(1.5 * 2.0 ** _MANTISSA[x.bits])
    shifted = fma(x, factor, magic)
    return shifted - magic, shifted.as_integers() - magic.as_integers()


def half_of_power(x: B, factor: float) -> tuple[B, B]:
    """An integer k with `factor` x between k - 1/4 and k + 3/4, and 2^(k - 1); for x >= 0.

    As in `nearest_integer`, but the lowest bit stands for 1/2 and is dropped, so that a remainder
    is rarely negative. The bias of exponents is added along with the rest.
    """
    digits, bias = _MANTISSA[x.bits], _BIAS[x.bits]
    magic = x.like(1.5 * 2.0 ** (digits - 1) + (bias - 1))
    whole = fma(x, factor, magic).as_integers() >> 1
    return (whole << 1).read_as(x) - magic, (whole << digits).read_as(x)


def power_of_two(k: Bits, like: B) -> B:
    """2^k for exponents of normal numbers: the bits of k + bias, in their field."""
    result: B = (k.plus(_BIAS[like.bits]) << _MANTISSA[like.bits]).read_as(like)
    return result


def scale_by_power_of_two(x: B, k: Bits) -> B:
    """x · 2^k over the whole range: in two steps, so that a result below the
    normal numbers is rounded once and one above them becomes infinite.
    """
    half = k >> 1
    return x * power_of_two(half, x) * power_of_two(k - half, x)


def exponent(x: B, lowest: float) -> Bits:
    """The k that brings x · 2^-k into [lowest, 2 · lowest), for positive normal x."""
    k: Bits = (x.as_integers() - x.like(lowest).as_integers()) >> _MANTISSA[x.bits]
    return k


# ---- LLVM's own names and shapes


def _shaped(model: Lanes, element: ir.Type) -> ir.Type:
    kind = model.value.type
    return ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element


def _as_wide(number: Lanes, other: Lanes) -> Lanes:
    """A single number in every lane, if `other` is a register of numbers."""
    kind = other.value.type
    if not isinstance(kind, ir.VectorType) or isinstance(number.value.type, ir.VectorType):
        return number
    lane, order = ir.IntType(32), ir.VectorType(ir.IntType(32), kind.count)
    builder = number.builder
    first = builder.insert_element(ir.Constant(kind, None), number.value, lane(0))
    return Lanes(builder, builder.shuffle_vector(first, first, ir.Constant(order, None)))


def _splat_constant(kind: ir.Type, number: float) -> ir.Constant:
    if not isinstance(kind, ir.VectorType):
        return ir.Constant(kind, _rounded(kind, number))
    return ir.Constant(kind, [_rounded(kind.element, number)] * kind.count)


def _rounded(element: ir.Type, number: float) -> float:
    if not isinstance(element, ir.FloatType):
        return number
    with np.errstate(over="ignore"):  # a large bound for float64 is infinite in float32
        return float(np.float32(number))


def _intrinsic(name: str, *operands: Lanes) -> Lanes:
    first = operands[0]
    kind = first.value.type
    count = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
    signature = ir.FunctionType(kind, [kind] * len(operands))
    symbol = f"llvm.{name}.{count}f{first.bits}"
    module = first.builder.module
    function = module.globals.get(symbol) or ir.Function(module, signature, symbol)
    return Lanes(first.builder, first.builder.call(function, [x.value for x in operands]))
