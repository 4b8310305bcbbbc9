"""Numbers that write C: a formula that is called with them becomes an expression.

A value that a formula uses twice becomes a variable, and so does a part of a long expression.
Any other value is written where it is used, so that the C function reads like the formula.
`numbers.translated` writes truth values as the numbers 1 and 0; here they become conditions
again. No `fma` is written: it is slow on a processor without that instruction, and no formula
needs it. The compiler may fuse a multiplication and an addition by itself.

An elementary function becomes a call of a function in the same file. The body of that function
is the formula of `numbers.elementary`, written by the same numbers.
"""

import math
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flatprop.numbers.numbers import BinaryNumber, Elementary, where

_PRECEDENCE = {
    **{"?": 1, "||": 2, "&&": 3},
    **dict.fromkeys(("<", "<=", ">", ">="), 4),
    **{"<<": 5, ">>": 5},
    **{"+": 6, "-": 6, "*": 7, "/": 7},
}
_PREFIXED, _CALL = 8, 9
_LONG = 76
"""An expression of more characters than these is divided by a variable."""
_TRUTHS = ("||", "&&", "<", "<=", ">", ">=", "!")
"""The operations whose result is an int in C."""


class CNumber(BinaryNumber):
    """An expression of C99.

    Parameters
    ----------
    dtype
        float32 or float64: C's `float` or `double`; uint32 or uint64 for the bits behind them.
    operation
        An operator, `"?"` for the conditional, `"minus"`, a function of <math.h>, an
        `Elementary`, or `BITS` or `NUMBER`. Without operands, the text of a variable or a
        literal.
    operands
        The operation's operands.
    """

    __slots__ = ("dtype", "operands", "operation")

    def __init__(
        self, dtype: np.dtype[Any], operation: "str | Elementary", *operands: "CNumber"
    ) -> None:
        self.dtype = dtype
        self.operation = operation
        self.operands = operands

    @property
    def bits(self) -> int:
        return 8 * self.dtype.itemsize

    def as_integers(self) -> "CBits":
        return CBits(CNumber(np.dtype(f"u{self.dtype.itemsize}"), BITS, self))

    def like(self, number: "CNumber | float") -> "CNumber":
        if isinstance(number, CNumber):
            return number
        return CLiteral(self.dtype, number)

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
        if function.of_c_library:
            return self._function(function.c_name, self)
        return CNumber(self.dtype, function, self)

    def __neg__(self) -> "CNumber":
        return CNumber(self.dtype, "minus", self)


class CLiteral(CNumber):
    """A number that is known."""

    __slots__ = ("number",)

    def __init__(self, dtype: np.dtype[Any], number: float) -> None:
        super().__init__(dtype, literal(number, dtype))
        self.number = number

    def as_integers(self) -> "CBits":
        unsigned = np.dtype(f"u{self.dtype.itemsize}")
        bits = int(np.array(self.number, self.dtype).view(unsigned))
        return CBits(_integer(unsigned, bits))


BITS = "_bits"
"""The function of the file that gives the bits of a number, after the file's name."""
NUMBER = "_number"
"""The function of the file that gives the number of these bits, after the file's name."""


class CBits(NamedTuple):
    """The bits of a number. In C they are unsigned, so that no operation can overflow."""

    value: CNumber

    def _with(self, sign: str, left: CNumber | int, right: CNumber | int) -> "CBits":
        dtype = self.value.dtype
        operands = (x if isinstance(x, CNumber) else _integer(dtype, x) for x in (left, right))
        return CBits(CNumber(dtype, sign, *operands))

    def __sub__(self, other: "CBits") -> "CBits":
        return self._with("-", self.value, other.value)

    def __neg__(self) -> "CBits":
        return self._with("-", 0, self.value)

    def __rshift__(self, places: int) -> "CBits":
        # as a signed number: shifted together with 2^(bits - 1), which makes it positive
        top = 1 << (self.value.bits - 1)
        lifted = self._with("+", self.value, top)
        return self._with("-", self._with(">>", lifted.value, places).value, top >> places)

    def __lshift__(self, places: int) -> "CBits":
        return self._with("<<", self.value, places)

    def plus(self, number: int) -> "CBits":
        return self._with("-" if number < 0 else "+", self.value, abs(number))

    def read_as(self, like: CNumber) -> CNumber:
        return CNumber(like.dtype, NUMBER, self.value)

    def converted(self, like: CNumber) -> CNumber:
        # as the low bits of 1.5 · 2^mantissa: no processor lacks these operations
        magic = like.like(1.5 * 2.0 ** np.finfo(like.dtype).nmant)
        return self._with("+", self.value, magic.as_integers().value).read_as(like) - magic


def _integer(dtype: np.dtype[Any], number: int) -> CNumber:
    return CNumber(dtype, f"{number}u" if number < 1024 else f"{number:#x}u")


_C_TYPES = {"float32": "float", "float64": "double", "uint32": "uint32_t", "uint64": "uint64_t"}


def c_type(dtype: np.dtype[Any]) -> str:
    """`float` or `double`, `uint32_t` or `uint64_t`."""
    return _C_TYPES[dtype.name]


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


def statements(result: CNumber, name: str = "") -> list[str]:
    """The body of a function that returns `result`, in the file of this name."""
    uses: Counter[int] = Counter()
    order: list[CNumber] = []

    def visit(node: CNumber) -> None:
        uses[id(node)] += 1
        if uses[id(node)] == 1:
            for operand in node.operands:
                visit(operand)
            order.append(node)

    visit(result)
    text = _Text(name, {})
    lines = []

    def define(node: CNumber) -> None:
        expression = text.of(node)[0]
        variable = text.variables[id(node)] = f"t{len(text.variables) + 1}"
        kind = "int" if node.operation in _TRUTHS else c_type(node.dtype)
        lines.append(f"const {kind} {variable} = {expression};")

    for node in order:
        parts = list(node.operands)
        while parts and len(text.of(node)[0]) > _LONG:
            longest = max(parts, key=lambda part: len(text.of(part)[0]))
            parts.remove(longest)
            if longest.operands and id(longest) not in text.variables:
                define(longest)
        if node.operands and uses[id(node)] > 1:
            define(node)
    return [*lines, f"return {text.of(result)[0]};"]


def calls(result: CNumber) -> list[Elementary | str]:
    """The functions of the file that an expression calls: an `Elementary`, `BITS`, `NUMBER`."""
    found: dict[Elementary | str, None] = {}
    seen: set[int] = set()

    def visit(node: CNumber) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        for operand in node.operands:
            visit(operand)
        if isinstance(node.operation, Elementary) or node.operation in (BITS, NUMBER):
            found[node.operation] = None

    visit(result)
    return list(found)


class _Text(NamedTuple):
    """How expressions are written in one function."""

    name: str
    """That of the file, with which the names of its functions begin."""
    variables: dict[int, str]
    """The variables that stand for expressions, by the identity of these."""

    def of(self, node: CNumber) -> tuple[str, int]:
        """The text of an expression, and the precedence of its outermost operator."""
        if id(node) in self.variables:
            return self.variables[id(node)], _CALL
        sign = node.operation
        if isinstance(sign, Elementary):
            sign = f"_{sign.__name__}"
        if not node.operands:
            return sign, _PREFIXED if sign.startswith("-") else _CALL

        def operand(place: int, least: int) -> str:
            text, binding = self.of(node.operands[place])
            return text if binding >= least else f"({text})"

        if sign in ("minus", "!"):
            return f"{'-' if sign == 'minus' else sign}{operand(0, _CALL)}", _PREFIXED
        if sign not in _PRECEDENCE:
            function = f"{self.name}{sign}" if sign.startswith("_") else sign
            return f"{function}({', '.join(self.of(x)[0] for x in node.operands)})", _CALL
        binding = _PRECEDENCE[sign]
        if sign == "?":
            return f"{operand(0, 2)} ? {operand(1, 2)} : {operand(2, 2)}", binding
        if sign == "||":  # compilers warn of && in it without brackets
            return f"{operand(0, 4)} {sign} {operand(1, 4)}", binding
        if sign in ("<<", ">>"):  # and of sums in these
            return f"{operand(0, _PREFIXED)} {sign} {operand(1, _PREFIXED)}", binding
        # operators of one precedence are evaluated from the left, as in the formula
        left, right = operand(0, binding), operand(1, binding + 1)
        if sign == "+" and isinstance(node.operands[1], CLiteral) and right.startswith("-"):
            sign, right = "-", right[1:]
        return f"{left} {sign} {right}", binding


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
