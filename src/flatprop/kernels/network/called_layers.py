"""Layers that are not dense: each kind is one function, which kernels call by its address.

So a further kind adds nothing to what the training of dense layers compiles. `layer_call` says
what the function is given, and the table there which operations there are.
"""

from llvmlite import ir

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.addresses import callable_here
from flatprop.kernels.loops.vector_loops import INT64
from flatprop.kernels.network.layer_call import (
    BACKWARD,
    BACKWARD_TANGENT,
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
    LAYERS,
    PARAMS,
    RELU,
    SUM,
    adds_earlier,
)
from flatprop.kernels.network.workspace import parameter_rows
from flatprop.kernels.network.written_calls import NULL, LayerCall, operation


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
        if there.units != layer.units or not adds_earlier(layers):
            return LAYERS
    if layer.kind == DROPOUT and not 0.0 <= layer.rate < 1.0:
        return LAYERS
    return (
        0 if layer.activation < 0 and callable_here(layer.activation, layer.function) else ADDRESS
    )


# ---- the operations: see `written_calls`. Each says whether it did anything: for a dense layer it
# does not.


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
def gradient(call, layers, l, x, dL_dz, rows, alpha, accumulate, out, start, workspace):
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
