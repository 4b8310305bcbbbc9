"""What an epoch ends with and needs no Python: a validation loss, and the best parameters so far.

`training_loop.train` calls this by address. It is written as LLVM instructions, so that it takes
next to no time to compile. The loss is measured by `entry_points.sum_of_losses` as it is compiled
for Python, which is called by its address, too.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from flatprop.kernels.loops.by_address import called
from flatprop.kernels.loops.function_at import compiled_at
from flatprop.kernels.loops.vector_loops import DOUBLE, INT32, INT64
from flatprop.kernels.network import entry_points

EPOCH_END = np.dtype(
    [(name, np.int64) for name in ("function", "arguments", "losses", "blocks", "val_losses")]
    + [(name, np.int64) for name in ("params", "measured_at", "best", "words")]
    + [(name, np.int64) for name in ("patience", "best_epoch", "done")]
    + [("scale", np.float64), ("best_loss", np.float64)]
)
"""What `at_epoch_end` reads and writes; arrays by their addresses.

| field | what it holds |
| --- | --- |
| `function`, `arguments` | `sum_of_losses`, and the `machine_words` that it takes |
| `losses`, `blocks` | float64, Σ w ℓ of each block of validation data; without them 0 blocks |
| `scale` | what their sum is multiplied by |
| `val_losses` | float64, the validation loss of each epoch |
| `params` | the parameters |
| `measured_at` | the parameters at which the monitored loss was measured: `params`, or those at \
  the end of the epoch before |
| `best`, `best_epoch`, `best_loss` | parameters, number and loss of the best epoch so far |
| `words` | how many int32 numbers the parameters take |
| `patience` | so many epochs without a new lowest loss are not passed over |
| `done` | how many epochs there are up to the last one whose end was here |
"""
ARRAYS, NUMBERS = 11, 4
"""What `sum_of_losses` takes."""
WORDS_OF_ARRAY = 7
WORDS = 2 + ARRAYS * WORDS_OF_ARRAY + NUMBERS


def machine_words(value: Any) -> Iterator[int]:
    """A number, an array or a tuple of these as compiled functions of Numba pass it on."""
    if isinstance(value, tuple):
        for part in value:
            yield from machine_words(part)
    elif isinstance(value, np.ndarray):
        size, itemsize = value.size, value.itemsize
        yield from (0, 0, size, itemsize, value.ctypes.data, size, itemsize)
    else:
        yield value


def compiled_sum_of_losses(dtype: np.dtype[Any]) -> int:
    """The address of `sum_of_losses` for parameters of this dtype.

    0 if it has not been called yet, or if Numba passes its arguments in another way.
    """
    if dtype not in _compiled:
        for kinds, result in entry_points.sum_of_losses.overloads.items():
            if str(kinds[2].dtype) == dtype.name:
                convention = cpu_target.target_context.call_conv
                fits = len(convention.get_function_type(types.none, kinds).args) == WORDS
                address = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
                _compiled[dtype] = address if fits else 0
    return _compiled.get(dtype, 0)


_compiled: dict[np.dtype[Any], int] = {}


class _Record:
    """An `EPOCH_END` at an address: `record[name]` reads a field."""

    def __init__(self, builder: ir.IRBuilder, address: ir.Value) -> None:
        self.builder, self.address = builder, address

    def place(self, name: str) -> ir.Value:
        """A pointer to a field."""
        number = DOUBLE if EPOCH_END[name] == np.float64 else INT64
        fields = self.builder.inttoptr(self.address, number.as_pointer())
        return self.builder.gep(fields, [INT64(list(EPOCH_END.fields or ()).index(name))])

    def __getitem__(self, name: str) -> ir.Value:
        return self.builder.load(self.place(name))

    def __setitem__(self, name: str, value: ir.Value) -> None:
        self.builder.store(value, self.place(name))

    def item(self, name: str, index: ir.Value, number: ir.Type = DOUBLE) -> ir.Value:
        """A pointer to a number of an array."""
        array = self.builder.inttoptr(self[name], number.as_pointer())
        return self.builder.gep(array, [index])

    def copy(self, *names: str) -> None:
        """Copy the parameters from one array to another."""
        source, target = (self.item(name, INT64(0), INT32) for name in names)
        cgutils.raw_memcpy(self.builder, target, source, self["words"], INT64(4))

    def call(self) -> None:
        """Call `function`."""
        kind = ir.FunctionType(INT32, [INT64] * WORDS)
        words = [self.builder.load(self.item("arguments", INT64(i), INT64)) for i in range(WORDS)]
        self.builder.call(self.builder.inttoptr(self["function"], kind.as_pointer()), words)


def _emit(builder: ir.IRBuilder, address: ir.Value, epoch: ir.Value, loss: ir.Value) -> None:
    """Write what `at_epoch_end` calls."""
    record = _Record(builder, address)
    validated = builder.icmp_signed(">", record["blocks"], INT64(0))
    monitored = cgutils.alloca_once_value(builder, loss)
    with builder.if_then(validated):
        record.call()
        total = cgutils.alloca_once_value(builder, DOUBLE(0.0))
        with cgutils.for_range(builder, record["blocks"]) as loop:
            of_block = builder.load(record.item("losses", loop.index))
            builder.store(builder.fadd(builder.load(total), of_block), total)
        builder.store(builder.fmul(builder.load(total), record["scale"]), monitored)
    loss = builder.load(monitored)
    lower = builder.fcmp_ordered("<", loss, record["best_loss"])
    waited = builder.sub(epoch, record["best_epoch"])
    tired = builder.icmp_signed(">=", waited, record["patience"])
    # The difference is NaN if the loss is infinite or NaN.
    wrong = builder.fcmp_unordered("uno", builder.fsub(loss, loss), DOUBLE(0.0))
    with builder.if_then(builder.or_(wrong, builder.and_(tired, builder.not_(lower)))):
        builder.ret(INT64(1))

    with builder.if_then(lower):
        record["best_loss"], record["best_epoch"] = loss, epoch
        record.copy("measured_at", "best")
    with builder.if_then(builder.icmp_signed("!=", record["measured_at"], record["params"])):
        record.copy("params", "measured_at")
    with builder.if_then(validated):
        builder.store(loss, record.item("val_losses", epoch))
    record["done"] = builder.add(epoch, INT64(1))
    builder.ret(INT64(0))


@global_compiler_lock
@cache
def epoch_end_address() -> int:
    """The address of what `at_epoch_end` calls."""
    return compiled_at(_emit, ir.FunctionType(INT64, [INT64, INT64, DOUBLE]), plain=True)


@called(types.int64, epoch=types.int64, loss=types.float64)
def at_epoch_end(typing_context: Any, address: Any, record: Any, epoch: Any, loss: Any) -> Any:
    """Bring the `EPOCH_END` record at an address up to date; returns 0, the loop's `RUNNING`.

    It returns 1, the loop's `EPOCH_ENDED`, and leaves the record as it was, where Python has to
    see to the end of the epoch: where `patience` is at its end, or the loss is not finite. `loss`
    is that of the training. The function is the one of `epoch_end_address`.
    """
