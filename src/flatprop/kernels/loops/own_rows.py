"""The user's own loss of a whole row, as a function that kernels call by address.

The user's function is compiled for float64. It is given buffers: what it is to read is copied
there for every row. So the network's numbers may be of float32, and no row sees what another has
left.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.np.numpy_support import carray

from flatprop.formulas.custom_check import check_row, row_signature
from flatprop.formulas.row_losses import Row
from flatprop.kernels.loops.function_at import is_given, loss_at
from flatprop.kernels.loops.vector_loops import DOUBLE, INT64, wide
from flatprop.numbers.lanes import Lanes
from flatprop.numbers.numbers import maximum, where

POINTER = ir.IntType(8).as_pointer()
ON_STACK = 1024
"""How many numbers all buffers may have together on the stack."""
WIDTH = 2.0**-10
"""The step of differences of slopes, for predictions about 1."""
DIFFERENCES = ((1.0, 8.0), (-1.0, -8.0), (2.0, -1.0), (-2.0, 1.0))
"""Steps, and the factors of the slopes there: 12 h times the derivative (Fornberg 1988)."""


def own_row_address(loss: Row, outputs: int, dtype: np.dtype[Any]) -> int:
    """The address of a loss of rows for so many outputs, checked and made once.

    As with other functions of the user, recompiled code gets a new address.
    """
    function: Any = loss.function
    key = function, outputs, loss.targets, dtype
    code = function.overloads.get(row_signature())
    if key not in _addresses or _addresses[key][0] is not code:
        check_row(function, outputs, loss.targets)
        function.compile(row_signature())
        code = function.overloads[row_signature()]
        _addresses[key] = code, _compiled(function, outputs, loss.targets, dtype)
    return _addresses[key][1]


_addresses: dict[Any, tuple[Any, int]] = {}
"""By function and sizes: its code, and the address of what was made of it."""


def _compiled(function: Any, outputs: int, targets: int, dtype: np.dtype[Any]) -> int:
    shim = _on_pointers(function, outputs, targets)

    def emit(
        builder: ir.IRBuilder, rows: ir.Value, scale: ir.Value, pointers: Any, _: ir.Value
    ) -> ir.Value:
        prediction, y, weight, slope, tangent = pointers
        sizes = outputs, targets, *[outputs] * 4
        with _buffers(builder, sizes) as (p, t, s, v, moved, change):
            call = _Call(builder, shim.fndesc.llvm_func_name, t, s, outputs)
            total = cgutils.alloca_once_value(builder, DOUBLE(0.0))
            with cgutils.for_range(builder, rows) as loop:
                row = builder.mul(loop.index, INT64(outputs))
                first = builder.mul(loop.index, INT64(targets))
                w = wide(Lanes(builder, builder.load(builder.gep(weight, [row]))))
                factor = w * Lanes(builder, scale)
                _read(builder, prediction, row, outputs, p)
                _read(builder, y, first, targets, t)
                with builder.if_then(is_given(builder, tangent), likely=False):
                    _read(builder, tangent, row, outputs, v)
                    _differentiate(call, p, v, moved, change)
                    _write(builder, v, factor, tangent, row, outputs)
                product = w * call(p)
                builder.store((Lanes(builder, builder.load(total)) + product).value, total)
                with builder.if_then(is_given(builder, slope)):
                    _write(builder, s, factor, slope, row, outputs)
            return builder.load(total)

    return loss_at(emit, outputs, (targets,), dtype, shim.library)


def _on_pointers(function: Any, outputs: int, targets: int) -> Any:
    """The function, compiled to take pointers and to write its value through one."""

    def call(prediction: Any, y: Any, slope: Any, value: Any) -> None:
        value[0] = function(
            carray(prediction, (outputs,)),
            carray(y, (targets,)),
            carray(slope, (outputs,)),
        )

    options: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy"}
    shim = numba.njit(types.void(*ARGUMENTS), **options)(call)
    return shim.overloads[ARGUMENTS]


_POINTER_KIND: Any = types.CPointer
ARGUMENTS = (_POINTER_KIND(types.float64),) * 4


class _Call:
    """Calls the user's function, which writes to the slopes; NaN where it raises."""

    def __init__(self, builder: ir.IRBuilder, name: str, y: Any, slope: Any, outputs: int) -> None:
        self.convention = cpu_target.target_context.call_conv
        kind = self.convention.get_function_type(types.void, ARGUMENTS)
        self.function = ir.Function(builder.module, kind, name)
        self.builder, self.y, self.slope, self.outputs = builder, y, slope, outputs
        self.value = cgutils.alloca_once(builder, DOUBLE)

    def __call__(self, prediction: ir.Value) -> Lanes:
        builder, nan = self.builder, DOUBLE(math.nan)
        builder.store(nan, self.value)
        for place in _places(builder, self.outputs):
            builder.store(nan, builder.gep(self.slope, [place]))
        given = prediction, self.y, self.slope, self.value
        self.convention.call_function(builder, self.function, types.void, ARGUMENTS, given)
        return Lanes(builder, builder.load(self.value))


def _differentiate(call: _Call, p: Any, v: Any, moved: Any, change: Any) -> None:
    """v ← how fast the slopes at p change along v, by differences of the fourth order."""
    builder, count = call.builder, call.outputs

    def number(buffer: Any, place: Any) -> Lanes:
        return Lanes(builder, builder.load(builder.gep(buffer, [place])))

    sizes = []
    for buffer in (p, v):
        largest = cgutils.alloca_once(builder, DOUBLE)
        builder.store(DOUBLE(0.0), largest)
        for place in _places(builder, count):
            size = maximum(abs(number(buffer, place)), Lanes(builder, builder.load(largest)))
            builder.store(size.value, largest)
        sizes.append(Lanes(builder, builder.load(largest)))
    h = (sizes[0] + 1.0) * WIDTH / where(sizes[1] > 0.0, sizes[1], 1.0)
    for place in _places(builder, count):
        builder.store(DOUBLE(0.0), builder.gep(change, [place]))
    for step, factor in DIFFERENCES:
        for place in _places(builder, count):
            there = number(p, place) + h * step * number(v, place)
            builder.store(there.value, builder.gep(moved, [place]))
        call(moved)
        for place in _places(builder, count):
            total = number(change, place) + number(call.slope, place) * factor
            builder.store(total.value, builder.gep(change, [place]))
    for place in _places(builder, count):
        quotient = number(change, place) / (12.0 * h)
        builder.store(quotient.value, builder.gep(v, [place]))


def _places(builder: ir.IRBuilder, count: int) -> Iterator[ir.Value]:
    with cgutils.for_range(builder, INT64(count)) as loop:
        yield loop.index


def _read(builder: ir.IRBuilder, source: Any, first: Any, count: int, out: Any) -> None:
    """out ← the numbers of a row, in float64."""
    for place in _places(builder, count):
        number = builder.load(builder.gep(source, [builder.add(first, place)]))
        builder.store(wide(Lanes(builder, number)).value, builder.gep(out, [place]))


def _write(
    builder: ir.IRBuilder, source: Any, factor: Lanes, out: Any, first: Any, count: int
) -> None:
    """The numbers of a row of `out` ← factor times those of `source`."""
    element = out.type.pointee
    for place in _places(builder, count):
        number = (factor * Lanes(builder, builder.load(builder.gep(source, [place])))).value
        if element != DOUBLE:
            number = builder.fptrunc(number, element)
        builder.store(number, builder.gep(out, [builder.add(first, place)]))


@contextmanager
def _buffers(builder: ir.IRBuilder, sizes: Sequence[int]) -> Iterator[list[ir.Value]]:
    """Room for so many float64 each: on the stack if they are few."""
    count = sum(sizes)
    pointer = DOUBLE.as_pointer()
    if count <= ON_STACK:
        start = builder.bitcast(cgutils.alloca_once(builder, ir.ArrayType(DOUBLE, count)), pointer)
    else:
        allocate = ir.Function(builder.module, ir.FunctionType(POINTER, [INT64]), "malloc")
        start = builder.bitcast(builder.call(allocate, [INT64(8 * count)]), pointer)
    places = [0, *accumulate(sizes)][:-1]
    yield [builder.gep(start, [INT64(place)]) for place in places]
    if count > ON_STACK:
        release = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), [POINTER]), "free")
        builder.call(release, [builder.bitcast(start, POINTER)])
