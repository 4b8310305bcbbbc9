"""Numbers that write C: a formula that is called with them becomes an expression.

A value that a formula uses twice becomes a variable; any other value is written where it is
used, so that the C function reads like the formula. `numbers.translated` writes truth values
as the numbers 1 and 0; here they become conditions again. No `fma` is written: it is slow on
a processor without that instruction, and no formula needs it. The compiler may fuse a
multiplication and an addition by itself.
"""

import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatprop.numbers.numbers import Elementary, Number, where

_PRECEDENCE = {
    **{"?": 1, "||": 2, "&&": 3},
    **dict.fromkeys(("<", "<=", ">", ">="), 4),
    **{"+": 5, "-": 5, "*": 6, "/": 6},
}
_PREFIXED, _CALL = 7, 8
_TRUTHS = ("||", "&&", "<", "<=", ">", ">=", "!")
"""The operations whose result is an int in C."""


class CNumber(Number):
    """An expression of C99.

    Parameters
    ----------
    dtype
        float32 or float64: C's `float` or `double`.
    operation
        An operator, `"?"` for the conditional, `"minus"`, or a function of <math.h>. Without
        operands, the text of a variable or a literal.
    operands
        The operation's operands.
    """

    __slots__ = ("dtype", "operands", "operation")

    def __init__(self, dtype: np.dtype[Any], operation: str, *operands: "CNumber") -> None:
        self.dtype = dtype
        self.operation = operation
        self.operands = operands

    def like(self, number: "CNumber | float") -> "CNumber":
        if isinstance(number, CNumber):
            return number
        return CNumber(self.dtype, literal(number, self.dtype))

    def _arithmetic(self, sign: str, left: "CNumber", right: "CNumber") -> "CNumber":
        if sign == "*" and left._is(1.0):
            return right
        if sign == "*" and left._condition and right._condition:
            return self._truth("&&", left._condition, right._condition)
        if sign == "-" and left._is(1.0) and right._condition:
            return self._truth("!", right._condition)
        return CNumber(self.dtype, sign, left, right)

    def _compare(self, sign: str, other: "CNumber") -> "CNumber | bool":
        if sign == ">" and other._is(0.5) and (self._condition or self._is(1.0)):
            return self._condition or True
        if sign == "==":  # compilers warn of it between floating-point numbers
            low, high = (CNumber(self.dtype, sign, self, other) for sign in ("<=", ">="))
            return CNumber(self.dtype, "&&", low, high)
        return CNumber(self.dtype, sign, self, other)

    def _select(self, mask: "CNumber | bool", yes: "CNumber", no: "CNumber") -> "CNumber":
        if isinstance(mask, bool):
            return yes if mask else no
        if yes._is(1.0) and no._condition:
            return self._truth("||", mask, no._condition)
        return CNumber(self.dtype, "?", mask, yes, no)

    def _is(self, number: float) -> bool:
        return self.operation == literal(number, self.dtype)

    @property
    def _condition(self) -> "CNumber | None":
        """The condition under which this is 1, if it is 0 otherwise; else None."""
        if self.operation == "?" and self.operands[1]._is(1.0) and self.operands[2]._is(0.0):
            return self.operands[0]
        return None

    def _truth(self, sign: str, *conditions: "CNumber") -> "CNumber":
        return where(CNumber(self.dtype, sign, *conditions), self.like(1.0), 0.0)

    def _function(self, name: str, *operands: "CNumber") -> "CNumber":
        if name == "fma":
            a, b, c = operands
            return a * b + c
        return CNumber(self.dtype, function_name(name, self.dtype), *operands)

    def _elementary(self, function: Elementary) -> "CNumber":
        return self._function(function.c_name, self)

    def __neg__(self) -> "CNumber":
        return CNumber(self.dtype, "minus", self)


def c_type(dtype: np.dtype[Any]) -> str:
    """`float` or `double`."""
    return "float" if dtype == np.float32 else "double"


def function_name(name: str, dtype: np.dtype[Any]) -> str:
    """The function of <math.h> for this dtype."""
    return name + "f" * (dtype == np.float32)


def literal(number: float, dtype: np.dtype[Any]) -> str:
    """A number that C reads back exactly: in decimal if that is short, else in hexadecimal."""
    with np.errstate(over="ignore"):  # a large bound for float64 is infinite in float32
        rounded = dtype.type(number)
    if not math.isfinite(rounded):
        # INFINITY and NAN have the type float, and compilers may warn of their promotion
        suffix = "F" * (dtype == np.float32)
        infinite = {math.inf: f"HUGE_VAL{suffix}", -math.inf: f"-HUGE_VAL{suffix}"}
        return infinite.get(float(rounded), f'nan{suffix.lower()}("")')
    text = repr(rounded.item()) if dtype == np.float64 else str(rounded)
    if len(text.lstrip("-")) > 6:
        text = hexadecimal(float(rounded))
    return text + "f" * (dtype == np.float32)


def hexadecimal(number: float) -> str:
    """A finite number in hexadecimal, without superfluous zeros."""
    mantissa, exponent = number.hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{exponent}"


def statements(result: CNumber) -> list[str]:
    """The body of a function that returns `result`."""
    uses: Counter[int] = Counter()
    order: list[CNumber] = []

    def visit(node: CNumber) -> None:
        uses[id(node)] += 1
        if uses[id(node)] == 1:
            for operand in node.operands:
                visit(operand)
            order.append(node)

    visit(result)
    names: dict[int, str] = {}
    lines = []
    for node in order:
        if node.operands and uses[id(node)] > 1:
            text = _written(node, names)[0]
            names[id(node)] = f"t{len(names) + 1}"
            kind = "int" if node.operation in _TRUTHS else c_type(node.dtype)
            lines.append(f"const {kind} {names[id(node)]} = {text};")
    return [*lines, f"return {_written(result, names)[0]};"]


def _written(node: CNumber, names: dict[int, str]) -> tuple[str, int]:
    """The text of an expression, and the precedence of its outermost operator."""
    if id(node) in names:
        return names[id(node)], _CALL
    if not node.operands:
        return node.operation, _PREFIXED if node.operation.startswith("-") else _CALL

    def operand(place: int, least: int) -> str:
        text, binding = _written(node.operands[place], names)
        return text if binding >= least else f"({text})"

    sign = node.operation
    if sign in ("minus", "!"):
        return f"{'-' if sign == 'minus' else sign}{operand(0, _CALL)}", _PREFIXED
    if sign not in _PRECEDENCE:
        return f"{sign}({', '.join(_written(x, names)[0] for x in node.operands)})", _CALL
    binding = _PRECEDENCE[sign]
    if sign == "?":
        return f"{operand(0, 2)} ? {operand(1, 2)} : {operand(2, 2)}", binding
    if sign == "||":  # compilers warn of && in it without brackets
        return f"{operand(0, 4)} {sign} {operand(1, 4)}", binding
    # operators of one precedence are evaluated from the left, as in the formula
    return f"{operand(0, binding)} {sign} {operand(1, binding + 1)}", binding


def constant_array(name: str, matrix: NDArray[Any]) -> str:
    """A constant array; every row begins a line."""
    suffix, in_a_line = ("f", 5) if matrix.dtype == np.float32 else ("", 4)
    lines = []
    for row in matrix.tolist():
        numbers = [hexadecimal(number) + suffix for number in row]
        for start in range(0, len(numbers), in_a_line):
            lines.append("    " + ", ".join(numbers[start : start + in_a_line]) + ",")
    body = "\n".join(lines)
    return f"static const {c_type(matrix.dtype)} {name}[{matrix.size}] = {{\n{body}\n}};\n"
