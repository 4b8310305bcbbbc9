"""What an epoch ends with and needs no Python: a validation loss, and the best parameters so far.

`training_loop.train` calls this by address, so that only a training that needs it compiles it. The
loss is measured by `entry_points.sum_of_losses` as it is compiled for Python, by its address, too.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.registry import cpu_target

from flatprop.kernels.compile import c_address, intrinsic
from flatprop.kernels.loops.by_address import called
from flatprop.kernels.loops.vector_loops import INT64
from flatprop.kernels.network import entry_points
from flatprop.kernels.network.records import array_at

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


@intrinsic
def _call_with_words(typing_context: Any, function: Any, arguments: Any) -> Any:
    """Call a function with so many words; both are addresses."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        function, arguments = values
        kind = ir.FunctionType(ir.IntType(32), [INT64] * WORDS)
        words = builder.inttoptr(arguments, INT64.as_pointer())
        given = [builder.load(builder.gep(words, [INT64(i)])) for i in range(WORDS)]
        builder.call(builder.inttoptr(function, kind.as_pointer()), given)
        return context.get_dummy_value()

    return types.none(function, arguments), codegen


def end_of_epoch(record, epoch, loss):
    """What `at_epoch_end` calls."""
    end = array_at(record, EPOCH_END, 1)[0]
    if end.blocks > 0:
        _call_with_words(end.function, end.arguments)
        losses, loss = array_at(end.losses, np.float64, 0), 0.0
        for i in range(end.blocks):
            loss += losses[i]
        loss *= end.scale
        if not math.isfinite(loss):
            return 1
    lower = loss < end.best_loss
    if not lower and epoch - end.best_epoch >= end.patience:
        return 1
    measured_at = array_at(end.measured_at, np.int32, 0)
    if lower:
        end.best_loss, end.best_epoch = loss, epoch
        best = array_at(end.best, np.int32, 0)
        for i in range(end.words):
            best[i] = measured_at[i]
    if end.measured_at != end.params:
        params = array_at(end.params, np.int32, 0)
        for i in range(end.words):
            measured_at[i] = params[i]
    if end.blocks > 0:
        array_at(end.val_losses, np.float64, 0)[epoch] = loss
    end.done = epoch + 1
    return 0


def epoch_end_address() -> int:
    """The address of `end_of_epoch`."""
    return c_address(end_of_epoch, types.int64, (types.int64, types.int64, types.float64))


@called(types.int64, epoch=types.int64, loss=types.float64)
def at_epoch_end(typing_context: Any, address: Any, record: Any, epoch: Any, loss: Any) -> Any:
    """Bring the `EPOCH_END` record at an address up to date; returns 0.

    It returns 1, and leaves the record as it was, where Python has to see to the end of the epoch.
    `loss` is that of the training.
    """
