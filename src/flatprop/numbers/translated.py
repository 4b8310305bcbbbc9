"""Formulas made from the user's own compiled functions.

Numba turns the user's scalar function into LLVM instructions for one float64. Each instruction
has a counterpart among the operators of a formula. The formula carries the instructions out
with these operators, on any kind of number, such as a register of float32. Both sides of a
branch are computed, and the result of the right side is selected. Where the function would
raise, the result is NaN.

This covers functions that LLVM can make free of loops. Any other function is called for one
number of a register after the other.
"""

from collections.abc import Callable, Mapping
from functools import partial
from math import nan
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types

from flatprop.numbers import elementary
from flatprop.numbers.lanes import Lanes
from flatprop.numbers.numbers import Elementary, Number, copysign, fma, power, sqrt, where

CustomFormula = Callable[..., tuple[Any, ...]]

DOUBLE, INT32 = ir.DoubleType(), ir.IntType(32)

_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "fadd": lambda x, y: x + y,
    "fsub": lambda x, y: x - y,
    "fmul": lambda x, y: x * y,
    "fdiv": lambda x, y: x / y,
    "fneg": lambda x: -x,
    "freeze": lambda x: x,
    # Truth values are the numbers 1 and 0.
    "and": lambda x, y: x * y,
    "or": lambda x, y: where(x > 0.5, 1.0, y),
    "xor": lambda x, y: abs(x - y),
    "uitofp": lambda x: x,
    "select": lambda mask, yes, no: where(mask > 0.5, yes, no),
}
_ORDERED: dict[str, Callable[..., Any]] = {
    "olt": lambda x, y: x < y,
    "ole": lambda x, y: x <= y,
    "ogt": lambda x, y: x > y,
    "oge": lambda x, y: x >= y,
    "oeq": lambda x, y: x.equals(y),
}
_NEGATED = {"uge": "olt", "ugt": "ole", "ule": "ogt", "ult": "oge", "une": "oeq"}
"""Comparisons that are true for NaN, each with its opposite."""


def _library(name: str, derivative: Callable[[Any, Any], Any]) -> Elementary:
    """A function that the C library computes for one number after the other."""
    return Elementary(lambda x: x._function(name, x), derivative, name, of_c_library=True)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": elementary.exp,
    "expm1": elementary.expm1,
    "log": elementary.log,
    "log1p": elementary.log1p,
    "tanh": elementary.tanh,
    "erf": elementary.erf,
    "fabs": abs,
    "sqrt": sqrt,
    "copysign": copysign,
    "fma": fma,
    "fmuladd": fma,
    "pow": power,
    "sin": _library("sin", lambda x, value: _FUNCTIONS["cos"](x)),
    "cos": _library("cos", lambda x, value: -_FUNCTIONS["sin"](x)),
    "tan": _library("tan", lambda x, value: value * value + 1.0),
    "atan": _library("atan", lambda x, value: 1.0 / (x * x + 1.0)),
    "sinh": _library("sinh", lambda x, value: _FUNCTIONS["cosh"](x)),
    "cosh": _library("cosh", lambda x, value: _FUNCTIONS["sinh"](x)),
    "maxnum": lambda x, y: where(x.equals(x), where(x < y, y, x), y),
    "minnum": lambda x, y: where(x.equals(x), where(x > y, y, x), y),
}


class UntranslatableError(Exception):
    """The function has a loop, memory or a call that formulas lack; the text says which."""


def custom_formula(function: Any, arguments: int) -> tuple[CustomFormula, str]:
    """The formula of a function that returns two numbers, and why it could not be translated.

    If the reason is "", the formula takes every kind of number; otherwise it takes only `Lanes`
    and calls the function.
    """
    scalar = _scalar(function, arguments)
    try:
        return formula_of(scalar, arguments, 2), ""
    except UntranslatableError as error:
        return calls_of(scalar, 2), str(error)


def formula_of(compiled: Any, arguments: int, results: int) -> CustomFormula:
    """The formula of a function that Numba has compiled, of so many float64 arguments.

    The function writes its results through pointers, which follow the other arguments. Raises an
    `UntranslatableError` where there is no formula.
    """
    formula = partial(_translation, *_code(compiled), results=results)
    _try(formula, arguments)
    return formula


def calls_of(compiled: Any, results: int) -> CustomFormula:
    """A formula that takes only `Lanes` and calls the function, for one that has no other."""
    name = compiled.fndesc.llvm_func_name
    return partial(_calls, compiled.library.get_pointer_to_function(name), results=results)


def used_arguments(compiled: Any, arguments: int) -> list[bool]:
    """Which of its arguments the instructions of a function read; numbers of tuples count singly.

    A function that it calls may read all that it is given.
    """
    module, name = _code(compiled)
    code = module.get_function(name)
    read = {str(o) for block in code.blocks for i in block.instructions for o in i.operands}
    return [str(argument) in read for argument in list(code.arguments)[2 : 2 + arguments]]


def _code(compiled: Any) -> tuple[Any, str]:
    """A module, and the name of the function in it."""
    module = llvm.parse_assembly(compiled.library.get_llvm_str())
    return module, compiled.fndesc.llvm_func_name


def _try(formula: CustomFormula, arguments: int) -> None:
    """Carry a formula out, nowhere."""
    kind = ir.FunctionType(ir.VoidType(), [DOUBLE] * arguments)
    nowhere = ir.Function(ir.Module(), kind, "nowhere")
    builder = ir.IRBuilder(nowhere.append_basic_block())
    formula(*(Lanes(builder, argument) for argument in nowhere.args))


def _scalar(function: Any, arguments: int) -> Any:
    """The function, compiled to write its two results through pointers."""

    def one(z, a, slope):  # type: ignore[no-untyped-def]
        a[0], slope[0] = function(z)

    def two(prediction, y, value, slope):  # type: ignore[no-untyped-def]
        value[0], slope[0] = function(prediction, y)

    places = [types.CPointer(types.float64)] * 2  # type: ignore[no-untyped-call]
    signature = types.void(*[types.float64] * arguments, *places)
    options: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy"}
    shim = numba.njit(signature, **options)(one if arguments == 1 else two)
    return shim.overloads[signature.args]


def _translation(module: Any, name: str, *arguments: Number, results: int) -> tuple[Any, ...]:
    """Carry the instructions of a function out on `arguments`."""
    code, model = module.get_function(name), arguments[0]
    # The arguments in LLVM: places of Numba's result and exception, ours, places of the results
    names = [str(argument) for argument in code.arguments]
    values: dict[str, Any] = dict(zip(names[2:], arguments, strict=False))
    written: dict[str, Any] = {name: model.like(nan) for name in names[-results:]}
    taken = {block.name: model.like(0.0) for block in code.blocks}
    edges: dict[tuple[str, str], Any] = {}

    def operand(value: Any) -> Any:
        if str(value) in values:
            return values[str(value)]
        if value.value_kind.name in ("constant_fp", "constant_int"):
            return model.like(float(value.get_constant_value()))
        raise UntranslatableError(f"it uses what is no number, {value}")

    for block in _in_order(code):
        reached = taken[block.name] if edges else model.like(1.0)
        for instruction in block.instructions:
            opcode, operands = instruction.opcode, list(instruction.operands)
            if opcode == "br":
                # operands of a conditional branch: the condition, else, then
                then = operand(operands[0]) if len(operands) == 3 else None
                targets = [(operands[-1], then)]
                if then is not None:
                    targets.append((operands[1], 1.0 - then))
                for target, condition in targets:
                    edge = reached if condition is None else reached * condition
                    edges[block.name, target.name] = edge
                    taken[target.name] = where(edge > 0.5, 1.0, taken[target.name])
            elif opcode == "store":
                place = str(operands[1])
                if place in written:
                    written[place] = where(reached > 0.5, operand(operands[0]), written[place])
            elif opcode == "phi" and str(instruction.type) in ("double", "i1"):
                sources = [b.name for b in instruction.incoming_blocks]
                chosen = operand(operands[0])
                for source, value in zip(sources[1:], operands[1:], strict=True):
                    here = edges[source, block.name]
                    chosen = where(here > 0.5, operand(value), chosen)
                values[str(instruction)] = chosen
            elif opcode not in ("ret", "phi"):
                values[str(instruction)] = _result(instruction, operands, operand)
    return tuple(written.values())


def _result(instruction: Any, operands: list[Any], operand: Callable[[Any], Any]) -> Any:
    """What one instruction computes."""
    opcode, text = instruction.opcode, str(instruction)
    if opcode == "call":
        *given, called = operands
        name = called.name.removeprefix("llvm.").split(".f64")[0]
        if name not in _FUNCTIONS:
            raise UntranslatableError(f"it calls {name}")
        return _FUNCTIONS[name](*map(operand, given))
    numbers = [operand(value) for value in operands]
    if opcode == "fcmp":
        x, y = numbers
        predicate = next(word for word in text.split() if word in _PREDICATES)
        return _PREDICATES[predicate](x, y)
    if opcode not in _ARITHMETIC or (opcode == "uitofp" and " i1 " not in text):
        raise UntranslatableError(f"it needs the instruction {opcode}")
    return _ARITHMETIC[opcode](*numbers)


def _truth(comparison: Callable[..., Any], yes: float, x: Any, y: Any) -> Any:
    return where(comparison(x, y), x.like(yes), 1.0 - yes)


def _both_are_numbers(x: Any, y: Any) -> Any:
    return _PREDICATES["oeq"](x, x) * _PREDICATES["oeq"](y, y)


_PREDICATES: Mapping[str, Callable[[Any, Any], Any]] = {
    **{name: partial(_truth, comparison, 1.0) for name, comparison in _ORDERED.items()},
    **{name: partial(_truth, _ORDERED[other], 0.0) for name, other in _NEGATED.items()},
    "one": lambda x, y: abs(x.like(1.0) * _PREDICATES["olt"](x, y) + _PREDICATES["ogt"](x, y)),
    "ueq": lambda x, y: 1.0 - _PREDICATES["one"](x, y),
    "ord": _both_are_numbers,
    "uno": lambda x, y: 1.0 - _both_are_numbers(x, y),
}


def _in_order(code: Any) -> list[Any]:
    """The blocks of a function, each after all blocks that lead to it."""
    blocks = {block.name: block for block in code.blocks}
    order: list[Any] = []
    state: dict[str, str] = {}

    def visit(name: str) -> None:
        if state.get(name) == "open":
            raise UntranslatableError("it has a loop")
        if name in state:
            return
        state[name] = "open"
        *_, last = blocks[name].instructions
        if last.opcode not in ("br", "ret", "unreachable"):
            raise UntranslatableError(f"it needs the instruction {last.opcode}")
        for target in last.operands:
            if target.value_kind.name == "basic_block":
                visit(target.name)
        state[name] = "closed"
        order.insert(0, blocks[name])

    visit(next(iter(code.blocks)).name)
    return order


def _calls(address: int, *arguments: Lanes, results: int) -> tuple[Lanes, ...]:
    """Call the compiled function for one number of a register after the other."""
    builder = arguments[0].builder
    place = ir.PointerType(DOUBLE)
    pointer = ir.PointerType(ir.IntType(8))
    numbers = [*[DOUBLE] * len(arguments), *[place] * results]
    kind = ir.FunctionType(INT32, [pointer, pointer, *numbers])
    function = builder.inttoptr(ir.IntType(64)(address), kind.as_pointer())
    with builder.goto_entry_block():
        result, exception = builder.alloca(pointer), builder.alloca(pointer)
        places = [builder.alloca(DOUBLE) for _ in range(results)]
    unused = [builder.bitcast(slot, pointer) for slot in (result, exception)]
    vector = arguments[0].value.type
    outcomes = [ir.Constant(vector, ir.Undefined) for _ in places]
    for lane in range(vector.count):
        index = INT32(lane)
        scalars = [builder.extract_element(x.value, index) for x in arguments]
        if vector.element != DOUBLE:
            scalars = [builder.fpext(scalar, DOUBLE) for scalar in scalars]
        for slot in places:
            builder.store(DOUBLE(nan), slot)
        builder.call(function, [*unused, *scalars, *places])
        for number, slot in enumerate(places):
            scalar = builder.load(slot)
            if vector.element != DOUBLE:
                scalar = builder.fptrunc(scalar, vector.element)
            outcomes[number] = builder.insert_element(outcomes[number], scalar, index)
    return tuple(Lanes(builder, outcome) for outcome in outcomes)
