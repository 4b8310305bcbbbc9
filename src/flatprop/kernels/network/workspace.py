"""Where the kernels of this folder find their numbers: views into two flat arrays.

`params` holds W and b of one layer after the other. The workspace of a walk over the layers
holds, for a block of rows,

| in this order | how many numbers |
| --- | --- |
| of each layer, its outputs a and then its slope | 2 · rows · units |
| what jacobians and products with curvature need beside these | see the sizes below |
| scratch of the matrix products | `scratch_size` |

The slope of a layer is da/dz on the way forward. On the way back ∂L/∂z takes its place.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types

from flatprop.kernels.compile import intrinsic, jittable, kernel
from flatprop.kernels.loops.vector_loops import INT64
from flatprop.kernels.network.records import (
    LAYER,
    all_units,
    matrix,
    matrix_type,
    most_units,
    view,
    widest,
)
from flatprop.kernels.products.matmul import scratch_size


@jittable
def workspace_size(layers: Any, rows: int) -> int:
    """How many numbers `backprop.forward` needs for so many rows."""
    return 2 * rows * most_units(layers) + scratch_size(rows, widest(layers))


@jittable
def backward_workspace_size(layers: Any, rows: int) -> int:
    """How many numbers a walk forward and back needs for so many rows."""
    return 2 * rows * all_units(layers) + scratch_size(rows, widest(layers))


@jittable
def jacobian_workspace_size(layers: Any, rows: int) -> int:
    """How many numbers `jacobian` and `parameter_jacobian` need for so many rows."""
    return backward_workspace_size(layers, rows) + 2 * rows * widest(layers)


@jittable
def curvature_workspace_size(layers: Any, rows: int) -> int:
    """How many numbers `hessian_vector_product` and its neighbour need for so many rows."""
    more = 2 * rows * (all_units(layers) + most_units(layers))
    return backward_workspace_size(layers, rows) + more


@jittable
def gradient_workspace_size(layers: Any, rows: int) -> int:
    """How many numbers suffice for any embedded function and so many rows."""
    outputs = int(layers[layers.size - 1]["units"])
    most = max(curvature_workspace_size(layers, rows), jacobian_workspace_size(layers, rows))
    return rows * outputs + most


@kernel
def one_of_two(space, l, rows, most, columns):
    """The first of two matrices in `space` for an even l, the second for an odd l; what is behind.

    Each is (rows, columns), and has room for (rows, most).
    """
    size = rows * most
    return matrix(space, (l % 2) * size, rows, columns), matrix(space, 2 * size, 1, 1)


# ---- views of one layer. They are written as LLVM instructions, because every kernel asks for
# some: as kernels they would make the first call of a function half as long again.

FIELDS = list(LAYER.names or ())
ONE = INT64(1)


class Records:
    """The array of layer records: `records[l, "units"]` reads a field."""

    def __init__(self, builder: ir.IRBuilder, array: Any) -> None:
        self.builder = builder
        self.fields = builder.bitcast(array.data, INT64.as_pointer())
        self.last = builder.sub(array.nitems, ONE)

    def __getitem__(self, place: tuple[ir.Value, str]) -> ir.Value:
        l, field = place
        first = self.builder.mul(l, INT64(len(FIELDS)))
        index = self.builder.add(first, INT64(FIELDS.index(field)))
        return self.builder.load(self.builder.gep(self.fields, [index]))

    def start_of(self, l: ir.Value, matrices: int, rows: ir.Value) -> ir.Value:
        """Where in a workspace layer l begins, and so many matrices (rows, units) further on."""
        before = self.builder.mul(self[l, "units_before"], INT64(2))
        further = self.builder.mul(self[l, "units"], INT64(matrices))
        return self.builder.mul(self.builder.add(before, further), rows)


def _view(position: Callable[..., Any], layers: Any, *given: Any) -> Any:
    """The signature and code generator of a view into the last of the arguments `given`.

    From the records and the other arguments `position` gives its start, its rows and its columns.
    """
    array, kind = given[-1], matrix_type(given[-1])

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        records, *numbers, data = arguments
        records = Records(builder, context.make_array(layers)(context, builder, records))
        data = context.make_array(array)(context, builder, data).data
        start, rows, columns = position(records, *numbers)
        return view(context, builder, kind, builder.gep(data, [start]), rows, columns)

    return kind(layers, *[types.intp] * (len(given) - 1), array), codegen


def _of_units(matrices: int) -> Callable[..., Any]:
    """The position of a matrix (rows, units) of layer l, behind so many others."""
    return lambda r, l, rows: (r.start_of(l, matrices, rows), rows, r[l, "units"])


@intrinsic
def weights(typing_context: Any, layers: Any, l: Any, params: Any) -> Any:
    """W of layer l, (inputs, units)."""
    fields = "W_start", "inputs", "units"
    return _view(lambda records, l: (records[l, field] for field in fields), layers, l, params)


@intrinsic
def biases(typing_context: Any, layers: Any, l: Any, params: Any) -> Any:
    """b of layer l, (1, units)."""
    return _view(lambda r, l: (r[l, "b_start"], ONE, r[l, "units"]), layers, l, params)


@intrinsic
def outputs_of(typing_context: Any, layers: Any, l: Any, rows: Any, workspace: Any) -> Any:
    """a of layer l, (rows, units)."""
    return _view(_of_units(0), layers, l, rows, workspace)


@intrinsic
def slope_of(typing_context: Any, layers: Any, l: Any, rows: Any, workspace: Any) -> Any:
    """da/dz of layer l, later its ∂L/∂z, (rows, units)."""
    return _view(_of_units(1), layers, l, rows, workspace)


@intrinsic
def rest_of(typing_context: Any, layers: Any, rows: Any, workspace: Any) -> Any:
    """What is behind the last layer's slope: scratch, unless a derivative keeps more there."""
    return _view(lambda r, rows: (r.start_of(r.last, 2, rows), ONE, ONE), layers, rows, workspace)


@intrinsic
def inputs_of(typing_context: Any, layers: Any, l: Any, x: Any, workspace: Any) -> Any:
    """x of the network for layer 0, a of the layer before for every other; (rows, inputs)."""
    kind = matrix_type(x)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        records, l, *arrays = arguments
        records = Records(builder, context.make_array(layers)(context, builder, records))
        given, space = (
            context.make_array(of)(context, builder, array)
            for of, array in zip((x, workspace), arrays, strict=True)
        )
        rows, inputs = builder.extract_value(given.shape, 0), records[l, "inputs"]
        # The layer before has as many units as this one has inputs.
        units = builder.mul(builder.sub(records[l, "units_before"], inputs), INT64(2))
        before = builder.gep(space.data, [builder.mul(units, rows)])
        first = builder.icmp_signed("==", l, INT64(0))
        data = builder.select(first, given.data, before)
        return view(context, builder, kind, data, rows, inputs)

    return kind(layers, types.intp, x, workspace), codegen
