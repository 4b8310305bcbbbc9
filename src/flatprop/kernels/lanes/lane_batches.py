"""The samples of a batch for a block of members, and how much they count."""

from flatprop.kernels.compile import kernel
from flatprop.kernels.lanes.lane_data import NO_ORDER, ONE_ORDER, OWN_ORDERS, lane_gather
from flatprop.kernels.loops.elementwise import fill
from flatprop.kernels.loops.minibatch import gather
from flatprop.kernels.network.backprop import scale_of
from flatprop.kernels.network.records import matrix


@kernel
def samples_at(samples, inputs, columns, start, rows, lanes, mode, scratch):
    """x, whether it is the same for all, y and the weights of some rows."""
    x, shared = matrix(scratch.x, 0, rows, inputs * lanes), 0
    if mode == NO_ORDER and samples.own[0] == 1:
        x = matrix(samples.x, start * inputs * lanes, rows, inputs * lanes)
    elif mode == NO_ORDER:
        x, shared = matrix(samples.x, start * inputs, rows, inputs), 1
    elif mode == ONE_ORDER and samples.own[0] == 0:
        x, shared = matrix(scratch.x, 0, rows, inputs), 1
        gather(samples.x, scratch.orders, start, x)
    else:
        _gather(samples.x, scratch, x, lanes, rows, inputs, start, samples.own[0], mode, samples)
    y = matrix(scratch.y, 0, rows, columns * lanes)
    if mode == NO_ORDER and samples.own[1] == 1:
        y = matrix(samples.y, start * columns * lanes, rows, columns * lanes)
    else:
        _gather(samples.y, scratch, y, lanes, rows, columns, start, samples.own[1], mode, samples)
    weight = matrix(scratch.weight, 0, rows, lanes)
    if samples.weight.size > 0:
        own = samples.own[2]
        _gather(samples.weight, scratch, weight, lanes, rows, 1, start, own, mode, samples)
    return x, shared, y, weight


@kernel
def _gather(source, scratch, out, lanes, rows, columns, start, own, mode, samples):
    whole = matrix(source, 0, 1, source.size)
    orders = matrix(scratch.orders, 0, 1, scratch.orders.size)
    lane_gather(whole, orders, out, lanes, rows, columns, start, own, mode, samples.samples)


@kernel
def _sums_of_weights(samples, orders, first, stop, lanes, mode, sums):
    """sums (lanes,) ← Σ w over the rows of a batch."""
    weight, own = samples.weight, samples.own[2]
    for lane in range(lanes):
        total = 0.0
        for place in range(first, stop):
            row = place
            if mode == ONE_ORDER:
                row = orders[place]
            elif mode == OWN_ORDERS:
                row = orders[lane * samples.samples + place]
            total += weight[row * lanes + lane if own == 1 else row]
        sums[lane] = total


@kernel
def scales_of_batch(loss_record, samples, orders, first, stop, lanes, mode, scale, counts):
    """The scale of each member's batch, and how much the batch counts."""
    if samples.weight.size > 0:
        _sums_of_weights(samples, orders, first, stop, lanes, mode, counts)
        for lane in range(lanes):
            scale[lane] = scale_of(loss_record, counts[lane])
            if loss_record.divisor == 0:
                counts[lane] = 1.0
    else:
        total = float(stop - first)
        fill(scale, scale_of(loss_record, total))
        fill(counts, total if loss_record.divisor > 0 else 1.0)
