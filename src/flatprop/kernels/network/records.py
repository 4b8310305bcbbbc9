"""The network as data: what a layer record holds, and views into flat arrays.

Kernels take a network as an array of these records, so that one compiled kernel
per dtype serves every architecture. The records have the memory layout of a C
struct of 64-bit integers.
"""

from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.core.imputils import lower_constant
from numba.extending import overload
from numba.np.numpy_support import from_dtype

from flatprop.formulas.activations import ACTIVATIONS
from flatprop.formulas.losses import LOSSES
from flatprop.kernels.cache import keep_out_of_caches, mark
from flatprop.kernels.compile import intrinsic, jittable, kernel
from flatprop.kernels.loops.vector_loops import INT64

LAYER = np.dtype(
    [
        ("inputs", np.int64),
        ("units", np.int64),
        ("W_start", np.int64),
        ("b_start", np.int64),
        ("activation", np.int64),
        ("units_before", np.int64),
        ("function", np.int64),
        ("kind", np.int64),
        ("partner", np.int64),
        ("rate", np.float64),
    ]
)
"""One layer. C keeps the names of version 0.1.

| field | in `flatprop_layer` | what it holds |
| --- | --- | --- |
| `inputs`, `units` | the same | the shape of W |
| `W_start` | `weights` | where W, (inputs, units) row-major, begins in `params` |
| `b_start` | `biases` | where b, (units,), begins in `params` |
| `activation` | the same | the code of `formulas.activations`; < 0: see `function` |
| `units_before` | `place` | how many units the layers before have |
| `function` | the same | the address of the user's own activation, or of what a layer that is not
  dense does; 0: none |
| `kind` | the same | `DENSE`, or another of the kinds below |
| `partner` | the same | of a `SUM` the `FORK` where its block begins, and the other way round; of
  the last layer, the last `SUM` of the network; 0: none |
| `rate` | the same | of a `DROPOUT` the part of its units that are dropped |

Layers that are not dense have as many units as inputs. Their parameters are rows of so many
numbers, from `W_start` on.
"""

DENSE, LAYER_NORM, DROPOUT, FORK, SUM = range(5)
"""Kinds of layers. A residual block is a `FORK`, the layers of the block, and a `SUM`."""

PARAMETER_ROWS = {LAYER_NORM: 2}
"""How many rows of `units` parameters a layer that is not dense has; of other kinds, none."""

LOSS_RECORD = np.dtype(
    [
        ("loss", np.int64),  # the code of formulas.losses.LOSSES; < 0: `function`
        ("divisor", np.float64),  # how often a sample's weight counts in a mean; 0: a sum
        ("from_logits", np.int64),  # 1: computed from z of the last layer, not from a
        ("parameter", np.float64),  # Huber's delta, the quantile's q
        ("function", np.int64),  # the address of a loss that has a function of its own; 0: none
        ("targets", np.int64),  # how many columns y has; 0: as many as there are outputs
    ]
)
"""The loss, `flatprop_objective` in C; an array of one record."""


class NetworkArrays(NamedTuple):
    """A network as the kernels take it; a training overwrites `params`."""

    layers: Any
    """One `LAYER` per layer."""
    loss_records: Any
    """One `LOSS_RECORD`."""
    params: Any


N_ACTIVATIONS = len(ACTIVATIONS)
IDENTITY, RELU, SOFTMAX = (ACTIVATIONS[name].code for name in ("identity", "relu", "softmax"))
LINE = 64
"""Bytes of a line of the cache."""
PARAMS, LAYERS, ACTIVATION, ADDRESS = 1, 9, 10, 12
"""What can be wrong with a layer record: `embedded.faults` has the messages, and more faults."""
CROSS_ENTROPY = list(LOSSES).index("cross_entropy")


def all_units(layers: Any) -> int:
    """How many units the layers have together."""
    return int(layers["units"].sum())


def most_units(layers: Any) -> int:
    """How many units the largest layer has."""
    return int(layers["units"].max())


def widest(layers: Any) -> int:
    """The largest number of inputs or units of a layer."""
    return max(int(layers["inputs"].max()), most_units(layers))


@jittable
def has_sums(layers: Any) -> bool:
    """Whether a layer adds the outputs of an earlier layer, which therefore have to stay."""
    return bool(layers[layers.size - 1]["partner"] != 0)


adds_earlier = kernel(has_sums)
"""`has_sums`, for kernels: compiled into them."""


# The same for compiled code, in which columns of records have no such methods. A user may
# compile them into a function of his own, which then bears the mark that entry points bear.


@intrinsic
def marked(typing_context: Any) -> Any:
    """Mark the function into which this is compiled: see `cache.mark`."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        mark(context.environment)
        return context.get_dummy_value()

    return types.void(), codegen


@overload(all_units)
def _all_units(layers):
    def compiled(layers):
        marked()
        last = layers[layers.size - 1]
        return last.units_before + last.units

    return compiled


@overload(most_units)
def _most_units(layers):
    def compiled(layers):
        marked()
        most = 0
        for l in range(layers.size):
            most = max(most, layers[l].units)
        return most

    return compiled


@overload(widest)
def _widest(layers):
    return lambda layers: max(layers[0].inputs, most_units(layers))


# Numba freezes global arrays into what it compiles. From a cache, such a function would go on
# with the network of the process that compiled it.


def _freeze(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    keep_out_of_caches(context, builder)
    return context.make_constant_array(builder, kind, array)


for _record, _aligned in product((LAYER, LOSS_RECORD), (True, False)):
    lower_constant(types.Array(from_dtype(_record), 1, "C", readonly=True, aligned=_aligned))(
        _freeze
    )


@intrinsic
def matrix(typing_context: Any, flat: Any, start: Any, rows: Any, columns: Any) -> Any:
    """A (rows, columns) view into a contiguous array, from element `start` on.

    It holds no reference: the array must outlive it. Its type is writable even
    where the array's is not, so that both can be bound to one name; a kernel
    writes only to what its docstring says.
    """
    kind = matrix_type(flat)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, start, rows, columns = arguments
        source = context.make_array(flat)(context, builder, array)
        return view(context, builder, kind, builder.gep(source.data, [start]), rows, columns)

    return kind(flat, types.intp, types.intp, types.intp), codegen


def matrix_type(flat: Any) -> Any:
    """The type of what `matrix` makes of an array of type `flat`."""
    if flat.layout != "C":
        raise TypingError(f"flatprop expected a C-contiguous array, got {flat}")
    return types.Array(flat.dtype, 2, "C")


def view(context: Any, builder: Any, kind: Any, data: Any, rows: Any, columns: Any) -> Any:
    """A matrix of type `kind` that begins at `data`."""
    made = context.make_array(kind)(context, builder)
    size = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    itemsize = context.get_constant(types.intp, size)
    context.populate_array(
        made,
        data=data,
        shape=cgutils.pack_array(builder, [rows, columns]),
        strides=cgutils.pack_array(builder, [builder.mul(columns, itemsize), itemsize]),
        itemsize=itemsize,
        meminfo=None,
    )
    return made._getvalue()


@intrinsic
def array_at(typing_context: Any, address: Any, like: Any, size: Any) -> Any:
    """A flat array over the memory at `address`, a pointer or an int64.

    `like` is its dtype, or a pointer to such elements.
    """
    kind = types.Array(like.dtype, 1, "C")

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place, _, size = arguments
        pointer = context.get_data_type(kind.dtype).as_pointer()
        number = isinstance(signature.args[0], types.Integer)
        data = (builder.inttoptr if number else builder.bitcast)(place, pointer)
        itemsize = context.get_constant(
            types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype))
        )
        array = context.make_array(kind)(context, builder)
        context.populate_array(
            array,
            data=data,
            shape=cgutils.pack_array(builder, [size]),
            strides=cgutils.pack_array(builder, [itemsize]),
            itemsize=itemsize,
            meminfo=None,
        )
        return array._getvalue()

    return kind(address, like, types.intp), codegen


@intrinsic
def part_at(typing_context: Any, array: Any, start: Any, size: Any, like: Any) -> Any:
    """`size` numbers from number `start` on, counted from the first cache line of `array`.

    `like` is their dtype, or an array of it.
    """
    kind = types.Array(like.dtype, 1, "C")

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given, start, size, _ = arguments
        address = builder.ptrtoint(context.make_array(array)(context, builder, given).data, INT64)
        line = builder.and_(builder.add(address, INT64(LINE - 1)), INT64(-LINE))
        pointer = context.get_data_type(kind.dtype).as_pointer()
        itemsize = INT64(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        made = context.make_array(kind)(context, builder)
        context.populate_array(
            made,
            data=builder.gep(builder.inttoptr(line, pointer), [start]),
            shape=cgutils.pack_array(builder, [size]),
            strides=cgutils.pack_array(builder, [itemsize]),
            itemsize=itemsize,
            meminfo=None,
        )
        return made._getvalue()

    return kind(array, types.intp, types.intp, like), codegen


@intrinsic
def rows_of(typing_context: Any, x: Any, start: Any, stop: Any) -> Any:
    """Rows of a matrix, as `matrix`."""
    kind = matrix_type(x)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_value, start, stop = arguments
        source = context.make_array(x)(context, builder, x_value)
        columns = builder.extract_value(source.shape, 1)
        data = builder.gep(source.data, [builder.mul(start, columns)])
        return view(context, builder, kind, data, builder.sub(stop, start), columns)

    return kind(x, types.intp, types.intp), codegen
