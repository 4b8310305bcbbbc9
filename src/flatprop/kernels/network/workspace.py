"""Where the kernels of this folder find their numbers: views into two flat arrays.

`params` holds W and b of one layer after the other. The workspace of a walk over the layers
holds, for a block of rows,

| in this order | how many numbers |
| --- | --- |
| of each layer, its outputs a and then its slope | 2 · rows · units |
| what jacobians and products with curvature need beside these | see the sizes below |
| scratch of the matrix products | `scratch_size` |

The slope of a layer is da/dz on the way forward. On the way back ∂L/∂z takes its place.

A thread of a team has a share of a block in place of a workspace, a `DenseShare` or a `Share`. The
same views then show its rows only, and scratch of its own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types

from flatprop.kernels.compile import intrinsic, jittable, kernel
from flatprop.kernels.loops.vector_loops import INT64
from flatprop.kernels.network.records import (
    DENSE,
    LAYER,
    PARAMETER_ROWS,
    all_units,
    has_sums,
    matrix,
    matrix_type,
    most_units,
    view,
    widest,
)
from flatprop.kernels.products.matmul import scratch_size


class Block(NamedTuple):
    """Scratch for one block of rows, owned by the caller."""

    rows: int
    """How many rows it has room for."""
    weight: Any
    """(rows · outputs,), filled with ones where every sample counts alike."""
    workspace: Any
    """`backward_workspace_size` numbers, and 2 · rows · outputs."""
    scratch: Any
    """The part of `workspace` behind the layers; that of another thread is an array of its own."""
    unit_losses: Any
    """(MOST_UNITS,) float64: Σ w ℓ of each unit of the rows, see `threads.team`."""


class DenseShare(NamedTuple):
    """Some rows of a block, whose numbers lie in one workspace with those of the other rows.

    All layers are dense: where a kernel takes a share of this type, nothing of other kinds is
    compiled into it.
    """

    workspace: Any
    """Of the whole block; what is behind the last layer's slope is not used."""
    scratch: Any
    """`scratch_size` numbers of this thread's own."""
    block_rows: int
    """How many rows the block has."""
    first: int
    """The first of these rows."""


class Share(NamedTuple):
    """The same for any kind of layers."""

    workspace: Any
    scratch: Any
    block_rows: int
    first: int
    place: int
    """The place in its batch of the first of these rows."""
    update: int
    """Which update these rows are for; -1: for none, and nothing is dropped."""
    seed: Any
    """uint64; with the three above it decides what `dropout` drops."""


@jittable
def workspace_size(layers: Any, rows: int) -> int:
    """How many numbers `backprop.forward` needs for so many rows."""
    kept = all_units(layers) if has_sums(layers) else 0
    return rows * (2 * most_units(layers) + kept) + scratch_size(rows, widest(layers))


@jittable
def backward_workspace_size(layers: Any, rows: int) -> int:
    """How many numbers a walk forward and back needs for so many rows; `forward` needs no more."""
    units = all_units(layers)
    if has_sums(layers):
        units += most_units(layers)
    return 2 * rows * units + scratch_size(rows, widest(layers))


@jittable
def jacobian_workspace_size(layers: Any, rows: int) -> int:
    """How many numbers `jacobian` and `parameter_jacobian` need for so many rows."""
    copied = all_units(layers) if has_sums(layers) else 0
    return backward_workspace_size(layers, rows) + 2 * rows * (widest(layers) + copied)


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

    def start_of(self, l: ir.Value, matrices: int, rows: ir.Value, share: Any = ()) -> ir.Value:
        """Where in a workspace layer l begins, and so many matrices (rows, units) further on.

        Of a `share`, given by its block_rows and first, where its rows begin.
        """
        block_rows, *first = share or (rows,)
        before = self.builder.mul(self[l, "units_before"], INT64(2))
        further = self.builder.mul(self[l, "units"], INT64(matrices))
        start = self.builder.mul(self.builder.add(before, further), block_rows)
        for row in first:
            start = self.builder.add(start, self.builder.mul(row, self[l, "units"]))
        return start


def _view(position: Callable[..., Any], layers: Any, *given: Any) -> Any:
    """The signature and code generator of a view into the last of the arguments `given`.

    From the records, the share if there is one, and the other arguments, `position` gives its
    start, its rows and its columns.
    """
    array = array_type(given[-1])
    kind = matrix_type(array)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        records, *numbers, space = arguments
        records = Records(builder, context.make_array(layers)(context, builder, records))
        space, _, *share = parts_of(builder, given[-1], space)
        data = context.make_array(array)(context, builder, space).data
        start, rows, columns = position(records, share, *numbers)
        return view(context, builder, kind, builder.gep(data, [start]), rows, columns)

    return kind(layers, *[types.intp] * (len(given) - 1), given[-1]), codegen


def array_type(kind: Any) -> Any:
    """The type of the array that a view looks into: of a workspace, also that of a share."""
    return kind.types[0] if isinstance(kind, types.NamedTuple) else kind


def parts_of(builder: ir.IRBuilder, kind: Any, value: ir.Value) -> list[Any]:
    """A workspace and, of a share, also its scratch, its block_rows and its first row."""
    if isinstance(kind, types.NamedTuple):
        return list(cgutils.unpack_tuple(builder, value))[:4]
    return [value, None]


def _of_units(matrices: int) -> Callable[..., Any]:
    """The position of a matrix (rows, units) of layer l, behind so many others."""
    return lambda r, share, l, rows: (r.start_of(l, matrices, rows, share), rows, r[l, "units"])


@intrinsic
def parameter_rows(typing_context: Any, layers: Any, l: Any) -> Any:
    """How many rows of `units` parameters layer l has; of a dense one those of W, and b."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, l = arguments
        records = Records(builder, context.make_array(layers)(context, builder, array))
        of_dense = builder.add(records[l, "inputs"], ONE)
        known = {kind: INT64(rows) for kind, rows in PARAMETER_ROWS.items()} | {DENSE: of_dense}
        rows = INT64(0)
        for kind, its_rows in known.items():
            matches = builder.icmp_signed("==", records[l, "kind"], INT64(kind))
            rows = builder.select(matches, its_rows, rows)
        return rows

    return types.int64(layers, types.intp), codegen


@intrinsic
def weights(typing_context: Any, layers: Any, l: Any, params: Any) -> Any:
    """W of layer l, (inputs, units)."""
    fields = "W_start", "inputs", "units"
    return _view(lambda records, _, l: (records[l, field] for field in fields), layers, l, params)


@intrinsic
def biases(typing_context: Any, layers: Any, l: Any, params: Any) -> Any:
    """b of layer l, (1, units)."""
    return _view(lambda r, _, l: (r[l, "b_start"], ONE, r[l, "units"]), layers, l, params)


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
    if not isinstance(workspace, types.NamedTuple):
        return _view(
            lambda r, _, rows: (r.start_of(r.last, 2, rows), ONE, ONE), layers, rows, workspace
        )
    kind = matrix_type(workspace.types[1])

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, scratch, *_ = parts_of(builder, workspace, arguments[-1])
        data = context.make_array(workspace.types[1])(context, builder, scratch).data
        return view(context, builder, kind, data, ONE, ONE)

    return kind(layers, types.intp, workspace), codegen


@intrinsic
def inputs_of(typing_context: Any, layers: Any, l: Any, x: Any, workspace: Any) -> Any:
    """x of the network for layer 0, a of the layer before for every other; (rows, inputs)."""
    kind = matrix_type(x)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        records, l, given, space = arguments
        records = Records(builder, context.make_array(layers)(context, builder, records))
        space, _, *share = parts_of(builder, workspace, space)
        given, space = (
            context.make_array(of)(context, builder, array)
            for of, array in ((x, given), (array_type(workspace), space))
        )
        rows, inputs = builder.extract_value(given.shape, 0), records[l, "inputs"]
        block_rows, *first = share or (rows,)
        # The layer before has as many units as this one has inputs.
        units = builder.mul(builder.sub(records[l, "units_before"], inputs), INT64(2))
        start = builder.mul(units, block_rows)
        for row in first:
            start = builder.add(start, builder.mul(row, inputs))
        at_first = builder.icmp_signed("==", l, INT64(0))
        data = builder.select(at_first, given.data, builder.gep(space.data, [start]))
        return view(context, builder, kind, data, rows, inputs)

    return kind(layers, types.intp, x, workspace), codegen
