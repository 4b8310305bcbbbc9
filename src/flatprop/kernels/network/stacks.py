"""A stack: values of a layer for a block of rows, then their derivatives along directions.

| rows of the stack | what they hold |
| --- | --- |
| the first `rows` | the values |
| so many for each direction | the first derivatives along it |
| so many for each second derivative, if any are wanted | the second derivatives |

A stack is one matrix, so that a layer multiplies all of it with W at once. The workspace holds

| in this order | how many numbers |
| --- | --- |
| of each layer, the stack of a and then that of z, f' where z was | 2 · height · units |
| of each layer, f'' and then f''' | 2 · rows · units |
| one row per direction | directions · units of the largest layer |
| scratch of the matrix products | `scratch_size` |

On the way back the gradient with respect to a stack takes the place of that of a. What only goes
forward keeps two stacks instead of those of all layers, unless a later layer adds what an earlier
one gave. A layer that is not dense keeps what it needs in the places of z and f''.
"""

from typing import Any

from flatprop.kernels.compile import jittable, kernel
from flatprop.kernels.network.records import (
    LINE,
    all_units,
    has_sums,
    matrix,
    most_units,
    rows_of,
    widest,
)
from flatprop.kernels.network.workspace import outputs_of, rest_of, slope_of
from flatprop.kernels.products.matmul import scratch_size

PAIRS_AT_ONCE = 64
"""So many second derivatives of a Hessian go through the network together, at least."""


@jittable
def forward_stacks_size(layers: Any, rows: int, directions: int, seconds: int) -> int:
    """How many numbers the way forward alone needs."""
    height, most = rows * (1 + directions + seconds), most_units(layers)
    kept = 2 * height * (all_units(layers) if has_sums(layers) else most)
    return kept + (2 * rows + directions) * most + scratch_size(height, widest(layers))


@jittable
def stacks_size(layers: Any, rows: int, directions: int, seconds: int) -> int:
    """How many numbers the way forward and back needs."""
    height = rows * (1 + directions + seconds)
    kept = 2 * (height + rows) * all_units(layers) + directions * most_units(layers)
    return kept + scratch_size(height, widest(layers))


@jittable
def pairs_at_once(inputs: int) -> int:
    """How many second derivatives of a Hessian go through the network together."""
    return min(inputs * (inputs + 1) // 2, max(PAIRS_AT_ONCE, inputs))


@jittable
def hessian_workspace_size(layers: Any, rows: int) -> int:
    """How many numbers `input_derivatives.whole_hessian` needs."""
    inputs = int(layers[0]["inputs"])
    pairs = pairs_at_once(inputs)
    # Each pair is two numbers of 64 bits.
    more = LINE // 4 + 4 * pairs + inputs * inputs
    return more + forward_stacks_size(layers, rows, inputs, pairs)


@kernel
def part(stack, rows, number):
    """Rows of a stack: 0 has the values, 1 the derivatives along the first direction."""
    return rows_of(stack, number * rows, (number + 1) * rows)


@kernel
def stacks_of(layers, l, rows, height, workspace):
    """The stacks of a and of z of layer l."""
    a = outputs_of(layers, l, height, workspace)
    return a, slope_of(layers, l, height, workspace)


@kernel
def bends_of(layers, l, rows, height, workspace):
    """f'' and f''' of layer l."""
    bends = rest_of(layers, height, workspace)
    return outputs_of(layers, l, rows, bends), slope_of(layers, l, rows, bends)


@kernel
def behind_stacks(layers, rows, height, directions, columns, workspace):
    """A matrix (directions, columns), and the scratch."""
    rest = rest_of(layers, rows, rest_of(layers, height, workspace))
    scratch = matrix(rest, directions * most_units(layers), 1, 1)
    return matrix(rest, 0, directions, columns), scratch
