"""Dropout (Srivastava et al. 2014): some units are 0, and the others larger for it.

    out = x m,  m = 0 with the probability `rate`, and else 1 / (1 - rate)

Which units are 0 follows from a counter: the seed, the number of the update, the layer, the place
of the row in its batch, and the unit. So it does not depend on blocks and threads, nor on where a
training was interrupted. Outside of a training, out = x.

The counter is mixed as in SplitMix64 (Steele et al. 2014), once for each of its parts, so that no
two of them give sequences that overlap. A unit is 0 where the high 32 bits of the result are below
2³² · rate: `rate` is met to 2⁻³².
"""

import numpy as np

from flatprop.kernels.compile import kernel
from flatprop.kernels.network.layer_call import (
    BACKWARD,
    BACKWARD_STACK,
    BACKWARD_TANGENT,
    FORWARD,
    FORWARD_STACK,
    FORWARD_TANGENT,
    call_of,
)
from flatprop.kernels.network.passed_on import pass_on, pass_on_with_tangent, same
from flatprop.kernels.network.records import array_at


def dropout(call, like):
    """What a `DROPOUT` does; see `layer_call`."""
    c = call_of(call)
    if c.operation == FORWARD and c.update >= 0:
        _drop(c, like)
    elif c.operation in (FORWARD, FORWARD_STACK, FORWARD_TANGENT):
        same(c, like)
    elif c.operation in (BACKWARD, BACKWARD_STACK) and c.out != 0:
        pass_on(c, like)
    elif c.operation == BACKWARD_TANGENT:
        pass_on_with_tangent(c, like, False)


@kernel
def _drop(c, like):
    """The outputs, and the mask as their slope."""
    n = c.rows * c.units
    x, out, slope = (
        array_at(c.x, like, n),
        array_at(c.out, like, n),
        array_at(c.slope, like, n),
    )
    factor = 1.0 / (1.0 - c.rate)
    threshold = np.uint64(c.rate * 4294967296.0)
    stream = mixed(c.seed ^ mixed(np.uint64(c.update)))
    stream = mixed(stream ^ mixed(np.uint64(c.l)))
    for i in range(c.rows):
        of_row = mixed(stream ^ mixed(np.uint64(c.place + i)))
        first = i * c.units
        for j in range(c.units):
            draw = mixed(of_row + np.uint64(j)) >> np.uint64(32)
            slope[first + j] = factor if draw >= threshold else 0.0
            out[first + j] = x[first + j] * slope[first + j]


@kernel
def mixed(counter):
    """64 random-looking bits for a counter, a uint64."""
    z = (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
