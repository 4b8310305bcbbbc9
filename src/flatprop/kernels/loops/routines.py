"""How a loop becomes a function that compiled code calls, written in LLVM once for each module."""

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError

from flatprop.kernels.compile import arguments_of, intrinsic
from flatprop.kernels.loops.masks import MaskedMoves
from flatprop.kernels.loops.vector_loops import DOUBLE, INT64, Array


class Record(NamedTuple):
    """A record as LLVM sees it, whose fields have 64 bits."""

    builder: ir.IRBuilder
    kind: types.Record
    data: ir.Value

    def field(self, name: str) -> ir.Value:
        """The number in a field."""
        number = DOUBLE if self.kind.typeof(name) == types.float64 else INT64
        fields = self.builder.bitcast(self.data, number.as_pointer())
        place = INT64(self.kind.offset(name) // 8)
        return self.builder.load(self.builder.gep(fields, [place]))


def routine(
    result: types.Type = types.void, **numbers: types.Type
) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: let compiled code call the function that a Python function writes.

    The Python function gets a builder and the arguments: arrays as `Array`, records as `Record`,
    numbers of the types in `numbers`. `result` is the type of what it returns.
    """

    def decorate(emit: Callable[..., Any]) -> Any:
        names = arguments_of(emit)[1:]

        @wraps(emit)
        def written(typing_context: Any, *given: Any) -> Any:
            kinds = zip(names, given, strict=True)
            return compiled(emit, result, *(numbers.get(name, kind) for name, kind in kinds))

        return intrinsic(written)

    return decorate


def compiled(emit: Callable[..., Any], result: types.Type, *arguments: types.Type) -> Any:
    """The signature and code generator that an intrinsic returns; see `routine`.

    `emit` gets a builder and the arguments, arrays as `Array`. What it returns, if anything, is
    the result. It writes a function of its own, once for every module, however often the
    intrinsic is called there.
    """
    for kind in arguments:
        if isinstance(kind, types.Array) and kind.layout != "C":
            raise TypingError(f"expected a C-contiguous array, got {kind}")

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kinds_and_values = zip(signature.args, values, strict=True)
        operands = [_operand(context, builder, *pair) for pair in kinds_and_values]
        kinds = ".".join(
            f"{kind.dtype}.{kind.ndim}" if isinstance(kind, types.Array) else str(kind)
            for kind in signature.args
        )
        name = f"flatprop.{emit.__qualname__.split('.')[0]}.{kinds}"
        returned = ir.VoidType() if result == types.void else context.get_value_type(result)
        outcome = subroutine(builder, name, emit, returned, operands)
        return context.get_dummy_value() if result == types.void else outcome

    return result(*arguments), codegen


def subroutine(
    builder: ir.IRBuilder,
    name: str,
    emit: Callable[..., Any],
    result: ir.Type,
    operands: Sequence[Any],
) -> ir.Value:
    """Call the function that `emit` writes, unless the module has it already."""
    passed = [value for operand in operands for value in _parts(operand)]
    function = builder.module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(result, [value.type for value in passed])
        function = ir.Function(builder.module, kind, name)
        function.linkage = "internal"
        # Compiled once: LLVM would copy it into every caller and for every constant that
        # it is called with, and unroll its loops, which is slower to compile, not to run.
        for attribute in ("noduplicate", "noinline", "optsize"):
            function.attributes.add(attribute)
        inner = ir.IRBuilder(function.append_basic_block("entry"))
        given = iter(function.args)
        outcome = emit(inner, *(_rebuilt(operand, inner, given) for operand in operands))
        if outcome is None:
            inner.ret_void()
        else:
            inner.ret(outcome)
    return builder.call(function, passed)


def _parts(operand: Any) -> list[ir.Value]:
    if isinstance(operand, Array):
        return [operand.data, operand.count, *operand.shape]
    return [operand.data if isinstance(operand, Record) else operand]


def _rebuilt(operand: Any, builder: ir.IRBuilder, given: Iterator[ir.Value]) -> Any:
    if isinstance(operand, Record):
        return operand._replace(builder=builder, data=next(given))
    if not isinstance(operand, Array):
        return next(given)
    data, count = next(given), next(given)
    shape = tuple(next(given) for _ in operand.shape)
    return operand._replace(builder=builder, data=data, count=count, shape=shape)


def _operand(context: Any, builder: ir.IRBuilder, kind: Any, value: ir.Value) -> Any:
    """An argument as a routine gets it."""
    if isinstance(kind, types.Record):
        return Record(builder, kind, value)
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, builder, value)
    shape = tuple(cgutils.unpack_tuple(builder, array.shape, kind.ndim))
    element = context.get_data_type(kind.dtype)
    _, _, features = context.codegen().magic_tuple()
    masks = MaskedMoves.of(features)
    return Array(builder, element, array.data, array.nitems, shape, masks)
