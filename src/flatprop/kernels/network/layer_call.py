"""What the function of a layer that is not dense is given.

Each kind of such layers is one function `(call, like)`. `call` points to the numbers of `CALL`,
with those that its operation needs; the others are not set. `like` is a pointer of the type of the
numbers, and leads nowhere. Matrices are (rows, units): layers that are not dense have as many
inputs as units.

| `operation` | what it does |
| --- | --- |
| FORWARD | out ← the outputs for x, slope ← ∂out/∂z, where slope is not NULL |
| BACKWARD | out ← ∂L/∂x times factor, which may be `out`; see `backward` |
| GRADIENT | out ← alpha times the gradient of the parameters |
| SAMPLE_GRADIENTS | the same of each row i alone, at out[i · stride] |
| FORWARD_TANGENT | out, slope, out_tangent and bend, as `dense.forward_with_tangent` |
| BACKWARD_TANGENT | slope and bend of the layer before, as `dense.backward_with_tangent` |
| GRADIENT_TANGENT | out ← R{gradient} |
| FORWARD_STACK | out ← the stack of outputs for the stack x |
| BACKWARD_STACK | out ← the gradient for the stack x, from that for the stack of outputs in \
  dL_dz; gradient ← that of the parameters |

What a layer passes back is ∂L/∂z, as in `dense`. A `DROPOUT` has z = x, and the factors of its
mask as its slope. Of any other kind z is the outputs, and the slope 1.

`stacks` says what a stack is. A kind of layer that is linear, and treats each row alike, does the
same with a stack as with its values; there a `DROPOUT` passes on what it is given. Other kinds may
keep what BACKWARD_STACK needs in the places of z and f''. x or `out` of FORWARD_STACK may be z.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core import types

from flatprop.kernels.compile import c_address, kernel
from flatprop.kernels.network.records import array_at, matrix

(
    FORWARD,
    BACKWARD,
    GRADIENT,
    SAMPLE_GRADIENTS,
    FORWARD_TANGENT,
    BACKWARD_TANGENT,
    GRADIENT_TANGENT,
    FORWARD_STACK,
    BACKWARD_STACK,
) = range(9)

CALL = np.dtype(
    [(name, np.int64) for name in ("operation", "l", "units", "rows")]
    + [(name, np.int64) for name in ("params", "x", "out", "slope", "partner")]
    + [("place", np.int64), ("update", np.int64), ("seed", np.uint64), ("rate", np.float64)]
    + [("dL_dz", np.int64), ("flag", np.int64), ("stride", np.int64), ("alpha", np.float64)]
    + [(name, np.int64) for name in ("v", "x_tangent", "tangent", "bend", "partner_tangent")]
    + [(name, np.int64) for name in ("part_rows", "count", "pairs", "z", "gradient")]
)
"""What a layer's function is given; arrays by their addresses.

| field | what it holds |
| --- | --- |
| `l`, `units`, `rows` | which layer it is (x of layer 0 has no tangent), and a matrix's shape |
| `params`, `v` | the layer's parameters, and the direction in their place |
| `partner` | for FORWARD, outputs of its partner; for BACKWARD, its ∂L/∂z; the same of stacks |
| `place`, `update`, `seed`, `rate` | those of `Share`, and the record's rate |
| `slope` | for BACKWARD, what ∂L/∂x is multiplied by; NULL: by 1 |
| `flag` | see the table below |
| `stride` | between the gradients of two samples |
| `tangent` | R{out} or R{∂L/∂z} of the layer |
| `bend` | as `dense`: of this layer, for BACKWARD_TANGENT of the layer before |
| `rows`, `part_rows` | of stacks: the rows of the whole stack, and of one part |
| `slope` | of stacks: NULL |
| `z`, `bend` | of stacks: the places of z and f'', (rows, units) and (part_rows, units) |
| `count` | along how many directions there are first derivatives |
| `pairs` | int64, the two directions of each second derivative; NULL: m and m of the m-th |
| `out`, `gradient` | of BACKWARD_STACK, NULL where that is not wanted |

| `flag` of | says whether |
| --- | --- |
| FORWARD | a `FORK` puts its outputs into the place of `partner` too |
| BACKWARD | `slope` is a of a relu instead, which tells its slope |
| GRADIENT, GRADIENT_TANGENT | to add to `out` |
| BACKWARD_STACK | to add to `gradient` |
"""


def layer_address(function: Callable[..., None], dtype: np.dtype[Any]) -> int:
    """The address of the function of a kind, `(call, like)`, for numbers of `dtype`."""
    like = types.CPointer(types.float32 if dtype == np.float32 else types.float64)
    return c_address(function, types.void, (types.voidptr, like))


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
