"""Stacks of layers that are not dense: the operations of `dense_stacks`, as `called_layers`."""

from numba.core import types

from flatprop.kernels.network.layer_call import BACKWARD_STACK, FORWARD_STACK
from flatprop.kernels.network.written_calls import NULL, operation


@operation
def forward_stack(call, layers, l, params, x, directions, pairs, a, z, bend, partner):
    """a ← the stack behind layer l; `z` and `bend` keep what the way back needs.

    x is the stack before, or has the values alone: then it is the network's, whose derivatives
    are the directions. `partner` is the stack of outputs of the layer's partner.
    """
    height = call.rows(a)
    of_pairs = isinstance(call.kinds[pairs], types.Array)
    arrays = {"params": call.parameters(params), "x": call.array(x).data}
    arrays |= {"out": call.array(a).data, "slope": call.array(z).data}
    arrays |= {"bend": call.array(bend).data, "partner": call.array(partner).data}
    arrays |= {"pairs": call.array(pairs).data if of_pairs else NULL}
    whole = call.builder.icmp_signed("==", call.rows(x), height)
    arrays |= {"directions": call.unless(whole, call.array(directions).data)}
    count = call.rows(directions)
    call.run(FORWARD_STACK, call.rows(bend), height=height, count=count, **arrays)


@operation
def backward_stack(
    call, layers, l, params, dL_da, count, z, bend, before, partner, accumulate, out
):
    """before ← the gradient for the stack before, from that for the stack of outputs.

    The gradient of the parameters goes into its place in `out`, added where `accumulate`. Either
    is left out where its array is empty. `partner` is the gradient for the partner's stack.
    """
    arrays = {"params": call.parameters(params), "dL_dz": call.array(dL_da).data}
    arrays |= {"slope": call.array(z).data, "bend": call.array(bend).data}
    arrays |= {"partner": call.array(partner).data}
    for field, name, data in (
        ("out", before, call.array(before).data),
        ("gradient", out, call.parameters(out)),
    ):
        empty = call.builder.icmp_signed("==", call.array(name).nitems, NULL)
        arrays |= {field: call.unless(empty, data)}
    numbers = {"height": call.rows(dL_da), "count": call.number(count)}
    numbers |= {"flag": call.number(accumulate)}
    call.run(BACKWARD_STACK, call.rows(bend), **numbers, **arrays)
