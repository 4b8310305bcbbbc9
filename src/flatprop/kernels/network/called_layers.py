"""Layers that are not dense: each kind is one function, which kernels call by its address.

So a further kind adds nothing to what the training of dense layers compiles. `layer_call` says
what the function is given, and the table there which operations there are.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from flatprop.kernels.compile import arguments_of, intrinsic, kernel
from flatprop.kernels.loops.addresses import callable_here
from flatprop.kernels.loops.vector_loops import INT64
from flatprop.kernels.network.layer_call import (
    BACKWARD,
    BACKWARD_TANGENT,
    CALL,
    FORWARD,
    FORWARD_TANGENT,
    GRADIENT,
    GRADIENT_TANGENT,
    SAMPLE_GRADIENTS,
)
from flatprop.kernels.network.records import (
    ADDRESS,
    DROPOUT,
    FORK,
    LAYER_NORM,
    LAYERS,
    PARAMS,
    RELU,
    SUM,
)
from flatprop.kernels.network.workspace import Records, array_type, parts_of


@kernel
def record_fault(layers, l, n_params):
    """A fault of what is particular to the record of such a layer; 0 if there is none."""
    layer = layers[l]
    if layer.kind > SUM or layer.kind < 0 or layer.units != layer.inputs or l == layers.size - 1:
        return LAYERS
    size = parameter_rows(layers, l) * float(layer.units)
    if layer.W_start + size > n_params:
        return PARAMS
    if layer.kind == FORK or layer.kind == SUM:
        other = layer.partner
        if other < 0 or other >= layers.size or (other > l) != (layer.kind == FORK):
            return LAYERS
        there = layers[other]
        if there.kind != FORK + SUM - layer.kind or there.partner != l:
            return LAYERS
        if there.units != layer.units:
            return LAYERS
    if layer.kind == DROPOUT and not 0.0 <= layer.rate < 1.0:
        return LAYERS
    return (
        0 if layer.activation < 0 and callable_here(layer.activation, layer.function) else ADDRESS
    )


@kernel
def parameter_rows(layers, l):
    """How many rows of `units` parameters layer l has."""
    return 2 if layers[l].kind == LAYER_NORM else 0


# ---- the operations. They are written as LLVM instructions, as the views of `workspace` are: so
# they take hardly any of the time in which the training of dense layers is compiled.


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
    """An operation that compiled code calls, from what writes its call."""
    names = arguments_of(write)[1:]

    @wraps(write)
    def written(typing_context: Any, *given: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            kinds = dict(zip(names, signature.args, strict=True))
            write(
                LayerCall(context, builder, kinds, dict(zip(names, values, strict=True))), *names
            )
            return context.get_dummy_value()

        return types.void(*given), codegen

    return intrinsic(written)


@operation
def forward(call, layers, l, params, x, out, kept):
    """out ← the outputs of layer l for x.

    Outputs do not stay, but a `FORK` also puts its own into its place in `kept`, for its `SUM`.
    """
    builder, rows = call.builder, call.rows(x)
    forks = builder.icmp_signed("==", call.record("kind"), INT64(FORK))
    fork = builder.select(forks, call.l, call.record("partner"))
    place = builder.mul(call.records[fork, "units_before"], rows)
    partner = builder.gep(call.array(kept).data, [place])
    arrays = {"params": call.parameters(params), "x": call.array(x).data}
    arrays |= {"out": call.array(out).data, "slope": NULL, "partner": partner}
    flag = builder.zext(forks, INT64)
    call.run(FORWARD, rows, flag=flag, **arrays, **call.training(kept))


@operation
def laid_open(call, layers, l, params, x, out, slope, workspace):
    """The same; slope ← ∂out/∂z."""
    rows = call.rows(x)
    inputs, outputs, slopes = (call.array(name).data for name in (x, out, slope))
    _forward(call, rows, params, inputs, outputs, slopes, workspace)


@operation
def forward_with_slope(call, layers, l, params, x, workspace):
    """The outputs of layer l and its slope into their places."""
    rows = call.rows(x)
    inputs = call.inputs(x, workspace, rows)
    out, slope = (call.place(workspace, call.l, matrices, rows) for matrices in (0, 1))
    _forward(call, rows, params, inputs, out, slope, workspace)


def _forward(
    call: LayerCall,
    rows: ir.Value,
    params: str,
    x: ir.Value,
    out: ir.Value,
    slope: ir.Value,
    workspace: str,
) -> None:
    partner = call.place(workspace, call.record("partner"), 0, rows)
    arrays = {"params": call.parameters(params), "x": x, "out": out, "slope": slope}
    call.run(FORWARD, rows, partner=partner, flag=NULL, **arrays, **call.training(workspace))


@operation
def backward(call, layers, l, params, dL_dz, out, workspace):
    """out ← ∂L/∂z of layer l - 1 from layer l's; `out` may be the slope of layer l - 1."""
    builder, rows = call.builder, call.rows(dL_dz)
    a, slope = (call.place(workspace, call.before, matrices, rows) for matrices in (0, 1))
    activation = call.records[call.before, "activation"]
    rectified = builder.icmp_signed("==", activation, INT64(RELU))
    factor = builder.select(rectified, a, slope)  # a relu's a tells its slope
    _backward(call, rows, params, a, dL_dz, out, factor, builder.zext(rectified, INT64), workspace)


@operation
def input_gradient(call, layers, l, params, x, dL_dz, out, workspace):
    """out ← the gradient of the loss with respect to the inputs x of layer l, from its ∂L/∂z."""
    rows, inputs = call.rows(dL_dz), call.array(x).data
    _backward(call, rows, params, inputs, dL_dz, out, NULL, NULL, workspace)


def _backward(
    call: LayerCall,
    rows: ir.Value,
    params: str,
    x: ir.Value,
    dL_dz: str,
    out: str,
    factor: ir.Value,
    rectified: ir.Value,
    workspace: str,
) -> None:
    arrays = {"x": x, "dL_dz": call.array(dL_dz).data, "out": call.array(out).data}
    arrays |= {"params": call.parameters(params), "slope": factor}
    partner = call.place(workspace, call.record("partner"), 1, rows)
    call.run(BACKWARD, rows, partner=partner, flag=rectified, **arrays)


@operation
def gradient(call, layers, l, x, dL_dz, rows, alpha, accumulate, out, start):
    """out[start:] ← alpha times the gradient of layer l, added where `accumulate`.

    No layer has so many rows of parameters that threads would share them: `rows` are all or none.
    """
    builder = call.builder
    with builder.if_then(builder.icmp_signed(">", call.number(rows), NULL)):
        place = builder.gep(call.array(out).data, [call.number(start)])
        arrays = {"x": call.array(x).data, "dL_dz": call.array(dL_dz).data, "out": place}
        numbers = {"alpha": call.number(alpha), "flag": call.number(accumulate)}
        call.run(GRADIENT, call.rows(x), **arrays, **numbers)


@operation
def sample_gradients(call, layers, l, x, dL_dz, out, start, stride):
    """out[start + i · stride:] ← the gradient of layer l from row i alone, in its place."""
    builder = call.builder
    first = builder.add(call.number(start), call.record("W_start"))
    place = builder.gep(call.array(out).data, [first])
    arrays = {"x": call.array(x).data, "dL_dz": call.array(dL_dz).data, "out": place}
    call.run(SAMPLE_GRADIENTS, call.rows(x), stride=call.number(stride), **arrays)


@operation
def forward_with_tangent(call, layers, l, params, v, x, workspace, tangents):
    """As `dense.forward_with_tangent`."""
    rows = call.rows(x)
    out, slope = (call.place(workspace, call.l, matrices, rows) for matrices in (0, 1))
    tangent, bend = (call.place(tangents, call.l, matrices, rows) for matrices in (0, 1))
    partner = call.record("partner")
    arrays = {"params": call.parameters(params), "v": call.parameters(v), "out": out}
    arrays |= {"slope": slope, "tangent": tangent, "bend": bend}
    arrays |= {"partner": call.place(workspace, partner, 0, rows)}
    arrays |= {"partner_tangent": call.place(tangents, partner, 0, rows)}
    _along(call, FORWARD_TANGENT, rows, call.inputs(x, workspace, rows), tangents, arrays)


@operation
def backward_with_tangent(call, layers, l, params, v, rows, workspace, tangents):
    """As `dense.backward_with_tangent`."""
    rows = call.number(rows)
    slope, bend = (call.place(name, call.before, 1, rows) for name in (workspace, tangents))
    dL_dz, tangent = (call.place(name, call.l, 1, rows) for name in (workspace, tangents))
    partner = call.record("partner")
    arrays = {"params": call.parameters(params), "v": call.parameters(v), "out": slope}
    arrays |= {"slope": slope, "bend": bend, "dL_dz": dL_dz, "tangent": tangent}
    arrays |= {"partner": call.place(workspace, partner, 1, rows)}
    arrays |= {"partner_tangent": call.place(tangents, partner, 1, rows)}
    x = call.place(workspace, call.before, 0, rows)
    _along(call, BACKWARD_TANGENT, rows, x, tangents, arrays)


@operation
def gradient_tangent(call, layers, l, x, accumulate, out, workspace, tangents):
    """R{gradient} of layer l into its place in `out`, added where `accumulate`."""
    rows = call.rows(x)
    dL_dz, tangent = (call.place(name, call.l, 1, rows) for name in (workspace, tangents))
    arrays = {"out": call.parameters(out), "dL_dz": dL_dz, "tangent": tangent}
    arrays |= {"flag": call.number(accumulate)}
    _along(call, GRADIENT_TANGENT, rows, call.inputs(x, workspace, rows), tangents, arrays)


def _along(
    call: LayerCall,
    operation: int,
    rows: ir.Value,
    x: ir.Value,
    tangents: str,
    fields: dict[str, ir.Value],
) -> None:
    """An operation along a direction."""
    moving = call.place(tangents, call.before, 0, rows)
    call.run(operation, rows, x=x, x_tangent=moving, **fields)
