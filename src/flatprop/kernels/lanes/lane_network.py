"""Forward pass, loss and backpropagation of some rows, for a block of members at once.

What `network.backprop` does for one network of dense layers. Scratch is a `LaneScratch`.
"""

from flatprop.formulas.activations import ACTIVATIONS
from flatprop.kernels.compile import kernel
from flatprop.kernels.lanes.lane_losses import (
    lane_cross_entropy,
    lane_loss,
    lane_softmax,
    lane_softmax_backward,
)
from flatprop.kernels.lanes.lane_products import lane_affine, lane_backward, lane_gradient
from flatprop.kernels.loops.elementwise import activate_with_slope, multiply
from flatprop.kernels.network.records import CROSS_ENTROPY, SOFTMAX, matrix

IDENTITY = ACTIVATIONS["identity"].code


@kernel
def _outputs(layers, l, rows, lanes, scratch):
    """a of layer l, in lanes."""
    start = 2 * layers[l].units_before * scratch.rows * lanes
    return matrix(scratch.workspace, start, rows, layers[l].units * lanes)


@kernel
def _slope(layers, l, rows, lanes, scratch):
    """da/dz of layer l, later its ∂L/∂z, in lanes."""
    start = (2 * layers[l].units_before + layers[l].units) * scratch.rows * lanes
    return matrix(scratch.workspace, start, rows, layers[l].units * lanes)


@kernel
def _weights(layers, l, params, lanes):
    return matrix(params, layers[l].W_start * lanes, layers[l].inputs * layers[l].units, lanes)


@kernel
def _biases(layers, l, params, lanes):
    return matrix(params, layers[l].b_start * lanes, layers[l].units, lanes)


@kernel
def forward_lanes(layers, params, x, shared, rows, lanes, scratch, logits):
    """Every layer's a and da/dz into their places; of the last layer only z where `logits`."""
    last = layers.size - 1
    for l in range(layers.size):
        inputs, units, code = layers[l].inputs, layers[l].units, layers[l].activation
        z, W = _outputs(layers, l, rows, lanes, scratch), _weights(layers, l, params, lanes)
        b = _biases(layers, l, params, lanes)
        source, alike = x, shared
        if l > 0:
            source, alike = _outputs(layers, l - 1, rows, lanes, scratch), 0
        lane_affine(source, W, b, z, lanes, rows, inputs, units, alike)
        if l < last or not logits:
            if code == SOFTMAX:
                lane_softmax(z, lanes, rows, units)
            elif l < last or code != IDENTITY:  # whose slope nobody multiplies with
                slope = _slope(layers, l, rows, lanes, scratch)
                activate_with_slope(code, layers[l].function, z, slope)


@kernel
def loss_of_lanes(
    layers, loss_record, scale, y, weight, totals, rows, lanes, scratch, columns, accumulate
):
    """totals ← Σ w ℓ, added if `accumulate`; ∂L/∂z of the last layer into its place."""
    last, logits = layers.size - 1, loss_record.from_logits == 1
    units, code = layers[last].units, layers[last].activation
    a, slope = (
        _outputs(layers, last, rows, lanes, scratch),
        _slope(layers, last, rows, lanes, scratch),
    )
    if loss_record.loss == CROSS_ENTROPY:
        lane_cross_entropy(
            scale, a, y, weight, totals, slope, lanes, rows, units, columns, accumulate
        )
    else:
        direct = logits or code in (SOFTMAX, IDENTITY)
        out = slope if direct else a
        lane_loss(
            loss_record, scale, a, y, weight, totals, out, lanes, rows, units, columns, accumulate
        )
        if not direct:
            multiply(a, slope)
        elif code == SOFTMAX:
            lane_softmax_backward(a, slope, lanes, rows, units)


@kernel
def gradient_of_lanes(layers, params, x, shared, rows, lanes, scratch, accumulate, gradient):
    """The gradient of all layers into its place, added if `accumulate`."""
    for l in range(layers.size - 1, -1, -1):
        inputs, units = layers[l].inputs, layers[l].units
        dL_dz = _slope(layers, l, rows, lanes, scratch)
        dW, db = _weights(layers, l, gradient, lanes), _biases(layers, l, gradient, lanes)
        source, alike = x, shared
        if l > 0:
            source, alike = _outputs(layers, l - 1, rows, lanes, scratch), 0
        lane_gradient(source, dL_dz, dW, db, lanes, rows, inputs, units, alike, accumulate)
        if l > 0:
            W, before = (
                _weights(layers, l, params, lanes),
                _slope(layers, l - 1, rows, lanes, scratch),
            )
            lane_backward(dL_dz, W, before, lanes, rows, inputs, units)
