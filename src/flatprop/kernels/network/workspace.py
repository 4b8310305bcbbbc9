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

from flatprop.kernels.compile import intrinsic, jittable
from flatprop.kernels.loops.vector_loops import INT64
from flatprop.kernels.network.records import (
    LAYER,
    all_units,
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


# ---- views of one layer. They are written as LLVM instructions, because every kernel asks for
# some: as kernels they would make the first call of a function half as long again.


FIELDS = list(LAYER.names or ())


class Record:
    """The record of layer l, whose fields are read where they are asked for."""

    def __init__(self, builder: ir.IRBuilder, layers: ir.Value, l: ir.Value) -> None:
        self.builder = builder
        self.fields = builder.bitcast(layers, INT64.as_pointer())
        self.first = builder.mul(l, INT64(len(FIELDS)))

    def __getitem__(self, field: str) -> ir.Value:
        place = self.builder.add(self.first, INT64(FIELDS.index(field)))
        return self.builder.load(self.builder.gep(self.fields, [place]))

    def of_block(self, rows: ir.Value, own: int) -> ir.Value:
        """Where in a workspace what is behind all layers before begins, and behind `own`
        matrices (rows, units) of this one.
        """
        builder = self.builder
        units = builder.mul(self["place"], INT64(2))
        units = builder.add(units, builder.mul(self["units"], INT64(own)))
        return builder.mul(units, rows)


def _view(layers: Any, array: Any, counts: int, place: Callable[..., Any]) -> Any:
    """The signature and code generator of a view into `array`, the last argument.

    From the builder, the records and the `counts` arguments between, `place` gives its start, its
    rows and its columns.
    """
    kind = matrix_type(array)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        records, *given, data = arguments
        records = context.make_array(layers)(context, builder, records)
        data = context.make_array(array)(context, builder, data).data
        start, rows, columns = place(builder, records, *given)
        return view(context, builder, kind, builder.gep(data, [start]), rows, columns)

    return kind(layers, *[types.intp] * counts, array), codegen


@intrinsic
def weights(typing_context: Any, layers: Any, l: Any, params: Any) -> Any:
    """W of layer l, (inputs, units)."""

    def place(builder: Any, layers: Any, l: Any) -> Any:
        layer = Record(builder, layers.data, l)
        return layer["weights"], layer["inputs"], layer["units"]

    return _view(layers, params, 1, place)


@intrinsic
def biases(typing_context: Any, layers: Any, l: Any, params: Any) -> Any:
    """b of layer l, (1, units)."""

    def place(builder: Any, layers: Any, l: Any) -> Any:
        layer = Record(builder, layers.data, l)
        return layer["biases"], INT64(1), layer["units"]

    return _view(layers, params, 1, place)


@intrinsic
def outputs_of(typing_context: Any, layers: Any, l: Any, rows: Any, workspace: Any) -> Any:
    """a of layer l, (rows, units)."""

    def place(builder: Any, layers: Any, l: Any, rows: Any) -> Any:
        layer = Record(builder, layers.data, l)
        return layer.of_block(rows, 0), rows, layer["units"]

    return _view(layers, workspace, 2, place)


@intrinsic
def slope_of(typing_context: Any, layers: Any, l: Any, rows: Any, workspace: Any) -> Any:
    """da/dz of layer l, later its ∂L/∂z, (rows, units)."""

    def place(builder: Any, layers: Any, l: Any, rows: Any) -> Any:
        layer = Record(builder, layers.data, l)
        return layer.of_block(rows, 1), rows, layer["units"]

    return _view(layers, workspace, 2, place)


@intrinsic
def rest_of(typing_context: Any, layers: Any, rows: Any, workspace: Any) -> Any:
    """What is behind the last layer's slope: scratch, unless a derivative has more to keep."""

    def place(builder: Any, layers: Any, rows: Any) -> Any:
        last = Record(builder, layers.data, builder.sub(layers.nitems, INT64(1)))
        return last.of_block(rows, 2), INT64(1), INT64(1)

    return _view(layers, workspace, 1, place)


@intrinsic
def inputs_of(typing_context: Any, layers: Any, l: Any, x: Any, workspace: Any) -> Any:
    """x of the network for layer 0, a of the layer before for every other; (rows, inputs)."""
    kind = matrix_type(x)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        records, l, given, space = arguments
        records = context.make_array(layers)(context, builder, records)
        given = context.make_array(x)(context, builder, given)
        space = context.make_array(workspace)(context, builder, space)
        layer, rows = Record(builder, records.data, l), builder.extract_value(given.shape, 0)
        before = builder.sub(layer["place"], layer["inputs"])  # units before the layer before
        start = builder.mul(builder.mul(before, INT64(2)), rows)
        first = builder.icmp_signed("==", l, INT64(0))
        data = builder.select(first, given.data, builder.gep(space.data, [start]))
        return view(context, builder, kind, data, rows, layer["inputs"])

    return kind(layers, types.intp, x, workspace), codegen
