"""Where the kernels of this folder find their numbers: views into two flat arrays.

`params` holds W and b of one layer after the other. The workspace of a walk over the layers
holds, for a block of rows,

| in this order | how many numbers |
| --- | --- |
| of each layer, its outputs a and then its slope | 2 · rows · units |
| scratch of the matrix products | `scratch_size` |
| what some derivatives need beside these | `beside` |

The slope of a layer is da/dz on the way forward. On the way back ∂L/∂z takes its place.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

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


@kernel
def beside(layers, rows, workspace):
    """What lies behind the scratch."""
    return matrix(workspace, backward_workspace_size(layers, rows), 1, 1)


@kernel
def inputs_of(layers, l, x, workspace):
    """x of the network for layer 0, a of the layer before for every other; (rows, inputs)."""
    rows = x.shape[0]
    before = matrix(x, 0, rows, layers[0].inputs)
    return before if l == 0 else outputs_of(layers, l - 1, rows, workspace)


# ---- views of one layer. They are written as LLVM instructions, because every kernel asks for
# some: as kernels they would make the first call of a function half as long again.


class Size(NamedTuple):
    """A whole number that compiled code computes."""

    builder: ir.IRBuilder
    value: ir.Value

    def plus(self, other: "Size") -> "Size":
        return self._replace(value=self.builder.add(self.value, other.value))

    def times(self, other: "Size | int") -> "Size":
        factor = self.value.type(other) if isinstance(other, int) else other.value
        return self._replace(value=self.builder.mul(self.value, factor))


class Record:
    """The record of a layer: its fields are read where they are asked for."""

    def __init__(self, layers: "Records", l: ir.Value) -> None:
        self.builder = builder = layers.builder
        first = builder.bitcast(layers.data, ir.IntType(8).as_pointer())
        self.start = builder.gep(first, [builder.mul(l, INT64(LAYER.itemsize))])

    def __getitem__(self, field: str) -> Size:
        place = self.builder.gep(self.start, [INT64(LAYER.fields[field][1])])
        pointer = self.builder.bitcast(place, INT64.as_pointer())
        return Size(self.builder, self.builder.load(pointer))


class Records(NamedTuple):
    """The array of layer records."""

    builder: ir.IRBuilder
    data: ir.Value
    count: ir.Value

    def __getitem__(self, l: Size) -> Record:  # type: ignore[override]
        return Record(self, l.value)

    @property
    def last(self) -> Record:
        return Record(self, self.builder.sub(self.count, INT64(1)))


Place: TypeAlias = tuple[Size, Size | int, Size | int]
"""Where a view starts, its rows and its columns."""


def _view(place: Callable[..., Place], layers: Any, *given: Any) -> Any:
    """The signature and code generator of a view, which `place` finds from the records and
    all of `given` but the last, the array that is looked into.
    """
    *numbers, array = given

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, *sizes, data = arguments
        records = context.make_array(layers)(context, builder, first)
        found = place(
            Records(builder, records.data, records.nitems),
            *(Size(builder, size) for size in sizes),
        )
        values = [INT64(size) if isinstance(size, int) else size.value for size in found]
        return view(context, builder, array, data, *values)

    return matrix_type(array)(layers, *[types.intp] * len(numbers), array), codegen


@intrinsic
def weights(typing_context: Any, layers: Any, l: Any, params: Any) -> Any:
    """W of layer l, (inputs, units)."""

    def place(layers: Records, l: Size) -> Place:
        return layers[l]["weights"], layers[l]["inputs"], layers[l]["units"]

    return _view(place, layers, l, params)


@intrinsic
def biases(typing_context: Any, layers: Any, l: Any, params: Any) -> Any:
    """b of layer l, (1, units)."""

    def place(layers: Records, l: Size) -> Place:
        return layers[l]["biases"], 1, layers[l]["units"]

    return _view(place, layers, l, params)


@intrinsic
def outputs_of(typing_context: Any, layers: Any, l: Any, rows: Any, workspace: Any) -> Any:
    """a of layer l, (rows, units)."""

    def place(layers: Records, l: Size, rows: Size) -> Place:
        return layers[l]["place"].times(2).times(rows), rows, layers[l]["units"]

    return _view(place, layers, l, rows, workspace)


@intrinsic
def slope_of(typing_context: Any, layers: Any, l: Any, rows: Any, workspace: Any) -> Any:
    """da/dz of layer l, later its ∂L/∂z, (rows, units)."""

    def place(layers: Records, l: Size, rows: Size) -> Place:
        units = layers[l]["units"]
        return layers[l]["place"].times(2).plus(units).times(rows), rows, units

    return _view(place, layers, l, rows, workspace)


@intrinsic
def scratch_of(typing_context: Any, layers: Any, rows: Any, workspace: Any) -> Any:
    """The scratch of the matrix products, behind the last layer's slope."""

    def place(layers: Records, rows: Size) -> Place:
        units = layers.last["place"].plus(layers.last["units"])
        return units.times(2).times(rows), 1, 1

    return _view(place, layers, rows, workspace)
