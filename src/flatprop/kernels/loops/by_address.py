"""Calls of C functions by address: what few programs need is compiled apart, when it is needed."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from llvmlite import ir
from numba.core import types

from flatprop.kernels.compile import arguments_of, intrinsic


def called(
    result: types.Type = types.void, **numbers: types.Type
) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: let compiled code call a C function by its address, the first argument.

    The decorated function is not run; it only names the arguments, after `typing_context`. For an
    array the C function gets two arguments: a pointer to its numbers, and how long its first axis
    is. Numbers have the types in `numbers`. `result` is the type of what the C function returns.
    """

    def decorate(named: Callable[..., Any]) -> Any:
        names = arguments_of(named)[1:]

        @wraps(named)
        def written(typing_context: Any, *given: Any) -> Any:
            kinds = zip(names, given, strict=True)
            _, *rest = (numbers.get(name, kind) for name, kind in kinds)
            return result(types.int64, *rest), _call

        return intrinsic(written)

    return decorate


def _call(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """The code generator of every such call."""
    values: list[ir.Value] = []
    for kind, value in zip(signature.args[1:], arguments[1:], strict=True):
        if isinstance(kind, types.Array):
            array = context.make_array(kind)(context, builder, value)
            values += array.data, builder.extract_value(array.shape, 0)
        else:
            values.append(value)
    void = signature.return_type == types.void
    result = ir.VoidType() if void else context.get_value_type(signature.return_type)
    function = ir.FunctionType(result, [value.type for value in values])
    returned = builder.call(builder.inttoptr(arguments[0], function.as_pointer()), values)
    return context.get_dummy_value() if void else returned
