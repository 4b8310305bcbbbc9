"""How the operations of `called_layers` are written: as LLVM instructions.

So they take hardly any of the time in which the training of dense layers is compiled. The views of
`workspace` are written like that, too.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from flatprop.kernels.compile import arguments_of, intrinsic
from flatprop.kernels.loops.vector_loops import INT64
from flatprop.kernels.network.layer_call import CALL
from flatprop.kernels.network.records import DENSE
from flatprop.kernels.network.workspace import DenseShare, Records, array_type, parts_of


class LayerCall:
    """The call of one layer's function: arguments of an operation, and the fields of a `CALL`."""

    def __init__(self, context: Any, builder: ir.IRBuilder, kinds: Any, values: Any) -> None:
        self.context, self.builder = context, builder
        self.kinds, self.values = kinds, values
        layers = context.make_array(kinds["layers"])(context, builder, values["layers"])
        self.records = Records(builder, layers)
        self.l: ir.Value = values["l"]

    def record(self, field: str) -> ir.Value:
        """A field of the layer's record."""
        return self.records[self.l, field]

    def array(self, name: str) -> Any:
        """An argument that is an array."""
        kind = self.kinds[name]
        return self.context.make_array(kind)(self.context, self.builder, self.values[name])

    def rows(self, name: str) -> ir.Value:
        """How many rows a matrix has."""
        rows: ir.Value = self.builder.extract_value(self.array(name).shape, 0)
        return rows

    def number(self, name: str) -> Any:
        """An argument that is a number, as it is stored."""
        kind, value = self.kinds[name], self.values[name]
        if isinstance(kind, types.Float):
            return self.builder.bitcast(value, INT64)
        return self.context.cast(self.builder, value, kind, types.int64)

    def parameters(self, name: str) -> ir.Value:
        """The layer's place in an array laid out as the parameters."""
        return self.builder.gep(self.array(name).data, [self.record("W_start")])

    def place(self, workspace: str, l: ir.Value, matrices: int, rows: ir.Value) -> ir.Value:
        """Where a layer's outputs lie in a workspace; its slope, behind one of its matrices."""
        space, share = self._share(workspace)
        start = self.records.start_of(l, matrices, rows, share)
        array = self.context.make_array(array_type(self.kinds[workspace]))
        return self.builder.gep(array(self.context, self.builder, space).data, [start])

    def inputs(self, x: str, workspace: str, rows: ir.Value) -> ir.Value:
        """x of the network for layer 0, and the outputs of the layer before for any other."""
        before = self.place(workspace, self.before, 0, rows)
        return self.builder.select(self.at_first, self.array(x).data, before)

    @property
    def at_first(self) -> ir.Value:
        """Whether the layer is the first."""
        return self.builder.icmp_signed("==", self.l, INT64(0))

    @property
    def before(self) -> ir.Value:
        """The layer before; 0 for layer 0."""
        less = self.builder.sub(self.l, INT64(1))
        return self.builder.select(self.at_first, INT64(0), less)

    def unless(self, condition: ir.Value, pointer: ir.Value) -> ir.Value:
        """A pointer, or NULL where the condition holds."""
        return self.builder.select(condition, pointer.type(None), pointer)

    def training(self, workspace: str) -> dict[str, ir.Value]:
        """What `dropout` needs to know."""
        kind = self.kinds[workspace]
        if not isinstance(kind, types.NamedTuple):
            return {"update": INT64(-1)}
        values = cgutils.unpack_tuple(self.builder, self.values[workspace])
        parts = dict(zip(kind.fields, values, strict=True))
        return {name: parts[name] for name in ("place", "update", "seed")}

    def _share(self, name: str) -> tuple[ir.Value, list[ir.Value]]:
        space, _, *share = parts_of(self.builder, self.kinds[name], self.values[name])
        return space, share

    def run(self, operation: int, rows: ir.Value, **fields: ir.Value) -> None:
        """Call the function of the layer."""
        builder, pointer = self.builder, ir.IntType(8).as_pointer()
        fields |= {"operation": INT64(operation), "l": self.l, "rows": rows}
        fields |= {"units": self.record("units"), "rate": self.record("rate")}
        names = list(CALL.names or ())
        place = cgutils.alloca_once(builder, INT64, len(names))
        for name, value in fields.items():
            if isinstance(value.type, ir.PointerType):
                value = builder.ptrtoint(value, INT64)
            builder.store(value, builder.gep(place, [INT64(names.index(name))]))
        kind = ir.FunctionType(ir.VoidType(), [pointer, pointer])
        function = builder.inttoptr(self.record("function"), kind.as_pointer())
        builder.call(function, [builder.bitcast(place, pointer), pointer(None)])


NULL = INT64(0)


def operation(write: Callable[..., None]) -> Any:
    """An operation that compiled code calls, from what writes the call of a layer's function.

    It does nothing for a dense layer. It returns whether the layer is of another kind.
    """
    names = arguments_of(write)[1:]

    @wraps(write)
    def written(typing_context: Any, *given: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            kinds = dict(zip(names, signature.args, strict=True))
            if _dense_only(kinds.get("workspace")):
                return context.get_constant(types.boolean, False)
            call = LayerCall(context, builder, kinds, dict(zip(names, values, strict=True)))
            called = builder.icmp_signed("!=", call.record("kind"), INT64(DENSE))
            with builder.if_then(called, likely=False):
                write(call, *names)
            return called

        return types.boolean(*given), codegen

    return intrinsic(written)


def _dense_only(workspace: Any) -> bool:
    """Whether a workspace has this type only where all layers are dense."""
    return isinstance(workspace, types.NamedTuple) and workspace.instance_class is DenseShare
