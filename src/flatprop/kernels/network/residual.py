"""The two ends of a residual block, x + f(x): a `FORK` before f, and a `SUM` after it.

| layer | outputs | ∂L/∂x |
| --- | --- | --- |
| `FORK` | x | what f passes back + ∂L/∂z of the `SUM` |
| `SUM` | x + the outputs of the `FORK` | ∂L/∂z |
"""

from flatprop.kernels.loops.elementwise import add, copy
from flatprop.kernels.network.layer_call import (
    BACKWARD,
    BACKWARD_STACK,
    BACKWARD_TANGENT,
    FORWARD,
    FORWARD_STACK,
    FORWARD_TANGENT,
    call_of,
    rows_at,
)
from flatprop.kernels.network.passed_on import pass_on, pass_on_both, pass_on_with_tangent, same


def fork(call, like):
    """What a `FORK` does; see `layer_call`."""
    c = call_of(call)
    if c.operation in (FORWARD, FORWARD_STACK, FORWARD_TANGENT):
        same(c, like)
        if c.operation == FORWARD and c.flag != 0:
            copy(rows_at(c.x, c, like), rows_at(c.partner, c, like))
    elif c.operation in (BACKWARD, BACKWARD_STACK) and c.out != 0:
        pass_on_both(c, like)
    elif c.operation == BACKWARD_TANGENT:
        pass_on_with_tangent(c, like, True)


def residual_sum(call, like):
    """What a `SUM` does; see `layer_call`."""
    c = call_of(call)
    if c.operation in (FORWARD, FORWARD_STACK, FORWARD_TANGENT):
        same(c, like)
        add(rows_at(c.partner, c, like), rows_at(c.out, c, like))
        if c.operation == FORWARD_TANGENT:
            add(rows_at(c.partner_tangent, c, like), rows_at(c.tangent, c, like))
    elif c.operation in (BACKWARD, BACKWARD_STACK) and c.out != 0:
        pass_on(c, like)
    elif c.operation == BACKWARD_TANGENT:
        pass_on_with_tangent(c, like, False)
