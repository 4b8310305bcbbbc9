"""Layers that are not dense: each kind is one function, which kernels call by its address.

So a further kind adds nothing to what the training of dense layers compiles. The function gets a
pointer to the numbers of `CALL`, with those that its operation needs; the others are not set. Its
matrices are (rows, units), and layers that are not dense have as many inputs as units.

| `operation` | what it does |
| --- | --- |
| FORWARD | out ← the outputs for x, slope ← ∂out/∂z, where slope is not NULL |
| BACKWARD | out ← ∂L/∂x times factor, which may be `out`; see `backward` |
| GRADIENT | out ← alpha times the gradient of the parameters |
| SAMPLE_GRADIENTS | the same of each row i alone, at out[i · stride] |
| FORWARD_TANGENT | out, slope, out_tangent and bend, as `dense.forward_with_tangent` |
| BACKWARD_TANGENT | slope and bend of the layer before, as `dense.backward_with_tangent` |
| GRADIENT_TANGENT | out ← R{gradient} |

What a layer passes back is ∂L/∂z, as in `dense`. A `DROPOUT` has z = x, and the factors of its
mask as its slope. Of any other kind z is the outputs, and the slope 1.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from flatprop.kernels.compile import c_address, intrinsic, kernel
from flatprop.kernels.loops.addresses import callable_here
from flatprop.kernels.loops.integers import larger
from flatprop.kernels.loops.vector_loops import INT64
from flatprop.kernels.network.records import (
    ADDRESS,
    DROPOUT,
    FORK,
    LAYER_NORM,
    LAYERS,
    PARAMS,
    RELU,
    SUM,
    array_at,
    matrix,
)
from flatprop.kernels.network.workspace import inputs_of, outputs_of, slope_of, training_of

(
    FORWARD,
    BACKWARD,
    GRADIENT,
    SAMPLE_GRADIENTS,
    FORWARD_TANGENT,
    BACKWARD_TANGENT,
    GRADIENT_TANGENT,
) = range(7)

CALL = np.dtype(
    [(name, np.int64) for name in ("operation", "l", "units", "rows")]
    + [(name, np.int64) for name in ("params", "x", "out", "slope", "partner")]
    + [("place", np.int64), ("update", np.int64), ("seed", np.uint64), ("rate", np.float64)]
    + [("dL_dz", np.int64), ("flag", np.int64), ("stride", np.int64), ("alpha", np.float64)]
    + [(name, np.int64) for name in ("v", "x_tangent", "tangent", "bend", "partner_tangent")]
)
"""What a layer's function is given; arrays by their addresses.

| field | what it holds |
| --- | --- |
| `l`, `units`, `rows` | which layer it is (x of the first has no tangent), and the shape of its matrices |
| `params`, `v` | the layer's parameters, and the direction in their place |
| `partner` | for FORWARD, outputs of its partner; for BACKWARD, its ∂L/∂z |
| `place`, `update`, `seed`, `rate` | those of `Share`, and the record's rate |
| `slope` | for BACKWARD, what ∂L/∂x is multiplied by; NULL: by 1 |
| `flag` | see the table below |
| `stride` | between the gradients of two samples |
| `tangent` | R{out} or R{∂L/∂z} of the layer |
| `bend` | as `dense`: of this layer, for BACKWARD_TANGENT of the layer before |

| `flag` of | says whether |
| --- | --- |
| BACKWARD | `slope` is a of a relu instead, which tells its slope |
| GRADIENT, GRADIENT_TANGENT | to add to `out` |
"""


def layer_address(function: Callable[..., None], dtype: np.dtype[Any]) -> int:
    """The address of the function of a kind, `(call, like)`, for numbers of `dtype`."""
    like = types.CPointer(types.float32 if dtype == np.float32 else types.float64)
    return c_address(function, types.void, (types.voidptr, like))


@intrinsic
def _call(typing_context: Any, function: Any, fields: Any) -> Any:
    """Call the function of a layer with the first fields of a `CALL`, in one or more tuples."""
    kinds = [kind for some in fields for kind in some]

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, tuples = arguments
        tuples = cgutils.unpack_tuple(builder, tuples)
        values = [value for some in tuples for value in cgutils.unpack_tuple(builder, some)]
        place = cgutils.alloca_once(builder, INT64, len(CALL))
        for i, (kind, value) in enumerate(zip(kinds, values, strict=True)):
            if isinstance(kind, types.Array):
                value = context.make_array(kind)(context, builder, value).data
                value = builder.ptrtoint(value, INT64)
            elif isinstance(kind, types.Float):
                value = builder.bitcast(value, INT64)
            else:
                value = context.cast(builder, value, kind, types.int64)
            builder.store(value, builder.gep(place, [INT64(i)]))
        pointer = ir.IntType(8).as_pointer()
        signature = ir.FunctionType(ir.VoidType(), [pointer, pointer])
        called = builder.inttoptr(address, signature.as_pointer())
        builder.call(called, [builder.bitcast(place, pointer), pointer(None)])
        return context.get_dummy_value()

    return types.void(types.int64, fields), codegen


@kernel
def call_of(call):
    """The `CALL` that a layer's function is given."""
    return array_at(call, CALL, 1)[0]


@kernel
def rows_at(address, call, like):
    """A matrix (rows, units)."""
    return matrix(array_at(address, like, call.rows * call.units), 0, call.rows, call.units)


@kernel
def row_at(address, index, call, like):
    """Row `index` of units, as a matrix of one row."""
    return matrix(array_at(address, like, call.units), index * call.units, 1, call.units)


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
    return 0 if layer.activation < 0 and callable_here(layer.activation, layer.function) else ADDRESS


@kernel
def parameter_rows(layers, l):
    """How many rows of `units` parameters layer l has."""
    return 2 if layers[l].kind == LAYER_NORM else 0


@kernel
def _params_of(layers, l, params):
    return matrix(params, layers[l].W_start, 1, layers[l].units)


@kernel
def forward(layers, l, params, x, out, slope, workspace):
    """out ← the outputs of layer l for x; slope ← ∂out/∂z, unless it is 0 instead of a matrix."""
    layer, rows = layers[l], x.shape[0]
    place, update, seed = training_of(workspace)
    partner = outputs_of(layers, layer.partner, rows, workspace)
    parameters = _params_of(layers, l, params)
    numbers = FORWARD, l, layer.units, rows
    arrays = parameters, x, out, slope, partner
    _call(layer.function, (numbers, arrays, (place, update, seed, layer.rate)))


@kernel
def forward_with_slope(layers, l, params, x, workspace):
    """The outputs of layer l and its slope into their places."""
    rows = x.shape[0]
    inputs = inputs_of(layers, l, x, workspace)
    out, slope = outputs_of(layers, l, rows, workspace), slope_of(layers, l, rows, workspace)
    forward(layers, l, params, inputs, out, slope, workspace)


@kernel
def _backward(layers, l, params, x, dL_dz, out, factor, rectified, workspace):
    layer, rows = layers[l], dL_dz.shape[0]
    partner = slope_of(layers, layer.partner, rows, workspace)
    parameters = _params_of(layers, l, params)
    numbers = BACKWARD, l, layer.units, rows
    arrays = parameters, x, out, factor, partner
    _call(layer.function, (numbers, arrays, (0, -1, 0, layer.rate, dL_dz, rectified)))


@kernel
def backward(layers, l, params, dL_dz, out, workspace):
    """out ← ∂L/∂z of layer l - 1 from layer l's; `out` may be the slope of layer l - 1."""
    rows, rectified = dL_dz.shape[0], layers[l - 1].activation == RELU
    a, slope = outputs_of(layers, l - 1, rows, workspace), slope_of(layers, l - 1, rows, workspace)
    factor = a if rectified else slope
    _backward(layers, l, params, a, dL_dz, out, factor, rectified, workspace)


@kernel
def input_gradient(layers, l, params, x, dL_dz, out, workspace):
    """out ← the gradient of the loss with respect to the inputs x of layer l, from its ∂L/∂z."""
    _backward(layers, l, params, x, dL_dz, out, 0, False, workspace)


@kernel
def gradient(layers, l, x, dL_dz, rows, alpha, accumulate, out, start):
    """out[start:] ← alpha times the gradient of layer l, added where `accumulate`.

    No layer has so many rows of parameters that threads would share them: `rows` are all or none.
    """
    layer = layers[l]
    if rows > 0:
        place = matrix(out, start, rows, layer.units)
        numbers = GRADIENT, l, layer.units, x.shape[0]
        more = 0, -1, 0, 0.0, dL_dz, accumulate, 0, alpha
        _call(layer.function, (numbers, (0, x, place, 0, 0), more))


@kernel
def sample_gradients(layers, l, x, dL_dz, out, start, stride):
    """out[start + i · stride:] ← the gradient of layer l from row i alone, in its place."""
    layer = layers[l]
    place = matrix(out, start + layer.W_start, 1, layer.units)
    numbers = SAMPLE_GRADIENTS, l, layer.units, x.shape[0]
    more = 0, -1, 0, 0.0, dL_dz, False, stride
    _call(layer.function, (numbers, (0, x, place, 0, 0), more))


@kernel
def forward_with_tangent(layers, l, params, v, x, workspace, tangents):
    """As `dense.forward_with_tangent`."""
    layer, rows = layers[l], x.shape[0]
    before = inputs_of(layers, l, x, workspace)
    out, slope = outputs_of(layers, l, rows, workspace), slope_of(layers, l, rows, workspace)
    tangent, bend = outputs_of(layers, l, rows, tangents), slope_of(layers, l, rows, tangents)
    partner = outputs_of(layers, layer.partner, rows, workspace)
    moving = outputs_of(layers, layer.partner, rows, tangents)
    parameters, direction = _params_of(layers, l, params), _params_of(layers, l, v)
    # x does not depend on the parameters: it has no tangent, and this address is not used
    before_tangent = outputs_of(layers, larger(l - 1, 0), rows, tangents)
    numbers = FORWARD_TANGENT, l, layer.units, rows
    arrays = parameters, before, out, slope, partner
    more = 0, -1, 0, layer.rate, 0, False, 0, 0.0, direction, before_tangent, tangent, bend, moving
    _call(layer.function, (numbers, arrays, more))


@kernel
def backward_with_tangent(layers, l, params, v, rows, workspace, tangents):
    """As `dense.backward_with_tangent`."""
    layer = layers[l]
    x, moving = outputs_of(layers, l - 1, rows, workspace), outputs_of(layers, l - 1, rows, tangents)
    slope, bend = slope_of(layers, l - 1, rows, workspace), slope_of(layers, l - 1, rows, tangents)
    dL_dz, tangent = slope_of(layers, l, rows, workspace), slope_of(layers, l, rows, tangents)
    partner = slope_of(layers, layer.partner, rows, workspace)
    partner_tangent = slope_of(layers, layer.partner, rows, tangents)
    parameters, direction = _params_of(layers, l, params), _params_of(layers, l, v)
    numbers = BACKWARD_TANGENT, l, layer.units, rows
    arrays = parameters, x, slope, slope, partner
    directions = direction, moving, tangent, bend, partner_tangent
    _call(layer.function, (numbers, arrays, (0, -1, 0, layer.rate, dL_dz, True, 0, 0.0), directions))


@kernel
def gradient_tangent(layers, l, x, accumulate, out, workspace, tangents):
    """R{gradient} of layer l into its place in `out`, added where `accumulate`."""
    layer, rows = layers[l], x.shape[0]
    before = inputs_of(layers, l, x, workspace)
    dL_dz, tangent = slope_of(layers, l, rows, workspace), slope_of(layers, l, rows, tangents)
    moving = outputs_of(layers, larger(l - 1, 0), rows, tangents)
    place = _params_of(layers, l, out)
    numbers = GRADIENT_TANGENT, l, layer.units, rows
    more = 0, -1, 0, 0.0, dL_dz, accumulate, 0, 0.0, 0, moving, tangent, 0, 0
    _call(layer.function, (numbers, (0, before, place, 0, 0), more))
