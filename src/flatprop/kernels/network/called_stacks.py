"""Stacks of layers that are not dense: the operations of `dense_stacks`, as `called_layers`."""

from numba.core import types

from flatprop.kernels.network.layer_call import BACKWARD_STACK, FORWARD_STACK
from flatprop.kernels.network.written_calls import NULL, operation


@operation
def forward_stack(call, layers, l, params, x, count, pairs, a, z, bend, partner):
    """a ← the stack behind layer l; `z` and `bend` keep what the way back needs.

    `partner` is the stack of outputs of the layer's partner.
    """
    of_pairs = isinstance(call.kinds[pairs], types.Array)
    arrays = {"params": call.parameters(params), "x": call.array(x).data}
    arrays |= {"out": call.array(a).data, "slope": NULL, "z": call.array(z).data}
    arrays |= {"bend": call.array(bend).data, "partner": call.array(partner).data}
    arrays |= {"pairs": call.array(pairs).data if of_pairs else NULL}
    numbers = {"part_rows": call.rows(bend), "count": call.number(count)}
    call.run(FORWARD_STACK, call.rows(a), **numbers, **arrays)


@operation
def backward_stack(
    call, layers, l, params, dL_da, count, z, bend, before, partner, accumulate, out
):
    """before ← the gradient for the stack before, from that for the stack of outputs.

    The gradient of the parameters goes into its place in `out`, added where `accumulate`. Either
    is left out where its array is empty. `partner` is the gradient for the partner's stack.
    """
    arrays = {"params": call.parameters(params), "dL_dz": call.array(dL_da).data}
    arrays |= {"slope": NULL, "z": call.array(z).data, "bend": call.array(bend).data}
    arrays |= {"partner": call.array(partner).data}
    for field, name, data in (
        ("out", before, call.array(before).data),
        ("gradient", out, call.parameters(out)),
    ):
        empty = call.builder.icmp_signed("==", call.array(name).nitems, NULL)
        arrays |= {field: call.unless(empty, data)}
    numbers = {"part_rows": call.rows(bend), "count": call.number(count)}
    numbers |= {"flag": call.number(accumulate)}
    call.run(BACKWARD_STACK, call.rows(dL_da), **numbers, **arrays)
