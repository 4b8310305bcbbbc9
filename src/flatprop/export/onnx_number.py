"""Numbers that write ONNX: a formula called with them is remembered as operators.

Every operator that is used has kernels for float32 and float64 in the processor's provider of
onnxruntime; what has none there, or is not an operator at all, is put together from others.
Truth values that are written as the numbers 1 and 0, as in `numbers.translated`, become
conditions again.
"""

import math
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from flatprop.numbers import elementary
from flatprop.numbers.lanes import horner
from flatprop.numbers.numbers import Elementary, Number, copysign, fma, minimum, sqrt, where
from flatprop.validation.arrays import Array

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

_ARITHMETIC = {"+": "Add", "-": "Sub", "*": "Mul", "/": "Div"}
_COMPARISONS = {"<": "Less", ">": "Greater", "==": "Equal"}
_OPERATORS = {
    **{"fabs": "Abs", "sqrt": "Sqrt", "pow": "Pow"},
    **{"exp": "Exp", "log": "Log", "tanh": "Tanh", "sin": "Sin"},
}
_FLOAT32_OPERATORS = {
    **_OPERATORS,
    **{"erf": "Erf", "cos": "Cos", "tan": "Tan", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh"},
}


class Tape(dict[Hashable, "OnnxNumber"]):
    """Every number of a formula in the order in which they arose, equal ones once."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.z = OnnxNumber(self, "", ())
        """What the formula is given."""

    def operators(self, result: "OnnxNumber") -> list["OnnxNumber"]:
        """The numbers that `result` is computed from, and itself, in order."""
        needed = self._needed(result)
        return [number for number in self.values() if number in needed]

    def depends_on_z(self, result: "OnnxNumber") -> bool:
        """Whether `result` is computed from what the formula is given."""
        return self.z in self._needed(result)

    def _needed(self, result: "OnnxNumber") -> set["OnnxNumber"]:
        needed = {result}
        for number in reversed(self.values()):
            if number in needed:
                needed.update(number.operands)
        return needed


class Graph:
    """Nodes and initializers, as they are added."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._constants: dict[bytes, str] = {}

    def add_node(
        self, operator: str, inputs: list[str], output: str, name: str, **attributes: Any
    ) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], name, **attributes))

    def add_formula(self, steps: list["OnnxNumber"], names: dict[Any, str], prefix: str) -> None:
        """Nodes for the steps of a formula; `names` has its argument and its last step."""
        for step in steps:
            if step.constant is not None:
                names[step] = self._constant(step.constant)
                continue
            node = f"{prefix}_{step.operator}_{len(self.nodes)}"
            inputs = [names[operand] for operand in step.operands]
            output = names.setdefault(step, node)
            self.add_node(step.operator, inputs, output, node, **step.attributes)

    def add_initializer(self, name: str, array: Array) -> str:
        """Add a tensor of fixed values; its name."""
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def _constant(self, value: Any) -> str:
        """The name of an initializer that holds one number."""
        name = self._constants.get(value.tobytes())
        if name is None:
            name = f"constant_{len(self._constants) + 1}"
            self._constants[value.tobytes()] = self.add_initializer(name, np.array(value))
        return name


class OnnxNumber(Number):
    """The output of an operator of ONNX, or a constant, or the formula's argument.

    Parameters
    ----------
    tape
        Where it is remembered.
    operator
        Its name; "" for the argument and for constants.
    operands
        What it is applied to.
    attributes
        Its attributes.
    constant
        The value of a constant, of the dtype of the tape.
    """

    __slots__ = ("attributes", "constant", "operands", "operator", "tape")

    def __init__(
        self,
        tape: Tape,
        operator: str,
        operands: tuple["OnnxNumber", ...],
        attributes: dict[str, Any] | None = None,
        constant: Any = None,
    ) -> None:
        self.tape = tape
        self.operator = operator
        self.operands = operands
        self.attributes = attributes or {}
        self.constant = constant

    def apply(self, operator: str, *others: "OnnxNumber", **attributes: float) -> "OnnxNumber":
        """An operator of ONNX, of this number and others."""
        operands = (self, *others)
        number = OnnxNumber(self.tape, operator, operands, attributes)
        return self.tape.setdefault((operator, operands, *attributes.items()), number)

    def like(self, number: "OnnxNumber | float") -> "OnnxNumber":
        if isinstance(number, OnnxNumber):
            return number
        with np.errstate(over="ignore"):  # a bound of float64 is infinite here
            constant = self.tape.dtype.type(number)
        made = OnnxNumber(self.tape, "", (), constant=constant)
        return self.tape.setdefault(constant.tobytes(), made)  # -0 is not 0

    def _arithmetic(self, sign: str, left: "OnnxNumber", right: "OnnxNumber") -> "OnnxNumber":
        if sign == "*" and left._is(1.0):
            return right
        if sign == "*" and left._condition and right._condition:
            return self._truth(left._condition.apply("And", right._condition))
        if sign == "-" and left._is(1.0) and right._condition:
            return self._truth(right._condition.apply("Not"))
        return left.apply(_ARITHMETIC[sign], right)

    def _compare(self, sign: str, other: "OnnxNumber") -> "OnnxNumber | bool":
        if sign == ">" and other._is(0.5) and (self._condition or self._is(1.0)):
            return self._condition or True
        if sign in _COMPARISONS:
            return self.apply(_COMPARISONS[sign], other)
        less_or_greater = self.apply(_COMPARISONS[sign[0]], other)
        return less_or_greater.apply("Or", self.apply("Equal", other))

    def _select(
        self, mask: "OnnxNumber | bool", yes: "OnnxNumber", no: "OnnxNumber"
    ) -> "OnnxNumber":
        if isinstance(mask, bool):
            return yes if mask else no
        if yes._is(1.0) and no._condition:
            return self._truth(mask.apply("Or", no._condition))
        return mask.apply("Where", yes, no)

    def _is(self, number: float) -> bool:
        return self.constant is not None and float(self.constant) == number

    @property
    def _condition(self) -> "OnnxNumber | None":
        """Where this is 1, if it is 0 everywhere else."""
        if self.operator == "Where" and self.operands[1]._is(1.0) and self.operands[2]._is(0.0):
            return self.operands[0]
        return None

    def _truth(self, condition: "OnnxNumber") -> "OnnxNumber":
        return condition.apply("Where", self.like(1.0), self.like(0.0))

    def _function(self, name: str, *operands: "OnnxNumber") -> "OnnxNumber":
        float32 = self.tape.dtype == np.float32
        operators = _FLOAT32_OPERATORS if float32 else _OPERATORS
        if name in operators:
            return operands[0].apply(operators[name], *operands[1:])
        composed: OnnxNumber = _COMPOSED[name](*operands)
        return composed

    def _elementary(self, function: Elementary) -> "OnnxNumber":
        assert function.c_name is not None
        return self._function(function.c_name, self)

    def __neg__(self) -> "OnnxNumber":
        return self.apply("Neg")


# ---- what is no operator, or has no kernel for float64


def _copysign(magnitude: OnnxNumber, sign: OnnxNumber) -> OnnxNumber:
    # 1 / -0 is -∞
    negative = (sign < 0.0).apply("Or", 1.0 / sign < 0.0)
    size: OnnxNumber = abs(magnitude)
    return where(negative, -size, size)


def _expm1(x: OnnxNumber) -> OnnxNumber:
    # e^x - 1 = tanh(x / 2) (e^x + 1), which does not cancel
    return elementary.tanh(0.5 * x) * (elementary.exp(x) + 1.0)


def _log1p(x: OnnxNumber) -> OnnxNumber:
    # what 1 + x has been rounded by, times the slope of log; NaN where x is -1 or infinite
    u = x + 1.0
    value = elementary.log(u)
    corrected = value + (x - (u - 1.0)) / u
    return where(corrected.equals(corrected), corrected, value)


def _erf(x: OnnxNumber) -> OnnxNumber:
    """As `elementary.erf` in float64, with the exponential of the runtime."""
    size: OnnxNumber = abs(x)
    inner = fma(x, horner(x * x, elementary.ERF[1]), x)
    q = horner(minimum(size, 5.93), elementary.LOG_ERFC[1])
    outer = 1.0 - elementary.exp(-q)
    return where(size < 1.0, inner, where(x < 0.0, -outer, outer))


def _cos(x: OnnxNumber) -> OnnxNumber:
    half = x._function("sin", 0.5 * x)
    return 1.0 - 2.0 * half * half


def _tan(x: OnnxNumber) -> OnnxNumber:
    return x._function("sin", x) / _cos(x)


def _cosh(x: OnnxNumber) -> OnnxNumber:
    # (e^|x| + e^-|x|) / 2; by e^|x|/2, which does not overflow before cosh does
    size: OnnxNumber = abs(x)
    half = elementary.exp(0.5 * size)
    return 0.5 * half * half + 0.5 / half / half


def _sinh(x: OnnxNumber) -> OnnxNumber:
    return elementary.tanh(0.5 * x) * (_cosh(x) + 1.0)


def _atan(x: OnnxNumber) -> OnnxNumber:
    """By the half angle, atan t = 2 atan(t / (1 + √(1 + t²))), and Taylor's series."""
    size: OnnxNumber = abs(x)
    t = where(size > 1.0, 1.0 / size, size)
    for _ in range(3):
        t = t / (sqrt(t * t + 1.0) + 1.0)
    # t < 0.0985: the next term is 2e-18 of the sum
    series = horner(t * t, tuple((-1) ** k / (2 * k + 1) for k in range(8)))
    angle = 8.0 * t * series
    return copysign(where(size > 1.0, math.pi / 2 - angle, angle), x)


_COMPOSED: dict[str, Any] = {
    "fma": lambda a, b, c: a * b + c,
    "copysign": _copysign,
    "expm1": _expm1,
    "log1p": _log1p,
    "erf": _erf,
    "cos": _cos,
    "tan": _tan,
    "atan": _atan,
    "sinh": _sinh,
    "cosh": _cosh,
}
