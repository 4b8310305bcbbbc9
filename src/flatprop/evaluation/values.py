"""What a network computes: its outputs, its loss, and the gradient of the loss."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop.evaluation import calls, crew
from flatprop.kernels.network import entry_points
from flatprop.kernels.network.workspace import Block, workspace_size
from flatprop.model.model import Model
from flatprop.samples import in_parts
from flatprop.samples.in_memory import Data, in_memory
from flatprop.samples.samples import Samples, samples_of, total_weight
from flatprop.validation import checks, other_names
from flatprop.validation.arrays import Array, aligned_empty, read_only

SURELY_SMALL = 2**16
"""An array of no more numbers is no large file, so that `predict` need not ask."""
BLOCKS_AT_ONCE = 16
"""How many blocks of rows a thread takes to measure a loss."""
FEW_ROWS = 32
"""So many rows are one block and one call, whatever the network."""


def predict(
    network: Model,
    X: ArrayLike,
    *,
    dropout: bool = False,
    rng: int | np.random.Generator | None = None,
    threads: int | None = None,
) -> Array:
    """The outputs after the last activation.

    Parameters
    ----------
    X
        (n, inputs); or (n,) for a network with one input. Anything that NumPy makes an
        array of numbers of; a frame of pandas, polars or pyarrow, whose columns go by
        position and not by name; or a sparse matrix of SciPy's. A memory-mapped file of
        more than 32 MB is read a part at a time and may be larger than memory; so is a
        sparse matrix or a Dask array that would take more than 32 MB as an array. So are
        Dask's frames.
    dropout
        Whether `Dropout` layers drop, as they do while a network is trained. Each call then gives
        another sample, whose spread over many calls says how uncertain the outputs are (Gal &
        Ghahramani 2016). One thread computes it.
    rng
        A seed or a generator for `dropout`; None takes the network's generator.
    threads
        How many threads compute. None takes as many processors as the work pays for, among those
        that this process may use and that no other call of flatprop uses just now. The result is
        the same bit for bit whatever it is.

    Returns
    -------
    ndarray
        (n, outputs), of the network's dtype.

    Raises
    ------
    TypeError, ValueError
        If X does not fit the network, is empty, or holds NaN or infinity.
    """
    if dropout:
        from flatprop.evaluation.sampling import sampled

        crew.check_threads(threads)
        return sampled(network, X, rng)
    if threads is not None:
        with crew.using(threads):
            return predict(network, X)
    surely_small = type(X) is np.ndarray and X.size <= SURELY_SMALL
    if not surely_small and in_parts.is_large(X, network.dtype):
        return _predict_in_parts(network, X)
    # The kernel looks for NaN and infinity itself, while the rows are in the cache.
    x = checks.inputs(X, network.inputs, network.dtype, look_for_nan=False)
    rows = x.shape[0]
    out = np.empty((rows, network.outputs), network.dtype)
    layers, _, params = network._arrays
    given = read_only(x)
    if rows <= FEW_ROWS:
        size = network._row_workspace if rows == 1 else workspace_size(layers, rows)
        workspace = np.empty(size, network.dtype)
        finite = entry_points.predict(layers, params, given, out, rows, workspace)
    else:
        block = calls.predicted_rows(network, rows)
        size = workspace_size(layers, block)

        def predict_some(_: int, some: slice) -> bool:
            workspace = np.empty(size, network.dtype)
            finite: bool = entry_points.predict(
                layers, params, given[some], out[some], block, workspace
            )
            return finite

        worth = calls.threads_worth(network, block, calls.PREDICT, rows / block)
        threads = crew.size_for(worth)
        parts = calls.shared_out(network, rows, block, calls.PREDICT, threads)
        finite = all(crew.each(threads, predict_some, parts))
    if not finite:
        checks.finite("X", x)
    return out


def _predict_in_parts(network: Model, X: object) -> Array:
    x = in_parts.inputs_of(network, X)
    out = np.empty((x.rows, network.outputs), network.dtype)
    # Whole blocks, so that the result is the same bit for bit as with an array.
    block = calls.block_rows(network)
    width = x.columns * network.dtype.itemsize
    size = block * max(1, in_parts.PART_BYTES // in_parts.SEGMENTS // (block * width))
    for start in range(0, x.rows, size):
        place = out[start : start + size]
        x.visit(start, start + len(place), partial(_predict_into, network, place))
    return out


def _predict_into(network: Model, out: Array, rows: Array) -> None:
    # With very many inputs a block is large itself. It is copied, for `predict` would send a view
    # of the file back here.
    out[...] = predict(network, np.array(rows) if in_parts.is_large(rows, network.dtype) else rows)


@other_names.suggests(other_names.MEASURE)
def loss(
    network: Model,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    threads: int | None = None,
) -> float:
    """The loss.

    Parameters
    ----------
    X
        (n, inputs); see `predict`.
    y
        (n, targets), see `Network.targets`; or (n,) for one target. For "cross_entropy"
        class indices (n,) or a row of probabilities per sample. y may be of any kind that X
        may be.
    sample_weight
        (n,): a mean becomes Σ wᵢ ℓᵢ / Σ wᵢ, a sum Σ wᵢ ℓᵢ.
    threads
        As for `predict`.

    Returns
    -------
    float
        The loss as `loss_function` defines it.

    Raises
    ------
    TypeError, ValueError
        If the data do not fit the network or each other.
    """
    with crew.using(threads):
        samples = samples_of(network, X, y, sample_weight)
        return loss_over(network, samples, calls.block_for(network, samples.rows))


@other_names.suggests(other_names.MEASURE)
def loss_and_gradient(
    network: Model,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    threads: int | None = None,
) -> tuple[float, Array]:
    """The loss and its gradient with respect to the parameters.

    Parameters
    ----------
    X, y, sample_weight, threads
        As for `loss`.

    Returns
    -------
    loss : float
        The loss.
    gradient : ndarray
        In the order and the dtype of `params`.

    Raises
    ------
    TypeError, ValueError
        As for `loss`.
    """
    data = in_memory(network, X, y, sample_weight)
    gradient = aligned_empty(network.params.size, network.dtype)
    scale = scale_of(network, data)
    block = calls.block_for(network, data.rows)
    with crew.using(threads):
        total = sum_and_gradient(network, data, scale, gradient, block)
    return total * scale, gradient


def sum_and_gradient(
    network: Model,
    data: Data,
    scale: float,
    gradient: Array,
    block: Block,
) -> float:
    """Σ w ℓ over all samples; `gradient` is overwritten with the gradient of scale · Σ w ℓ."""
    shards = calls.shards_of(network, data.rows, block.rows)
    each = gradient if shards == 1 else aligned_empty(shards * gradient.size, gradient.dtype)
    losses = np.zeros(-(-data.rows // block.rows))
    worth = calls.threads_worth(network, block.rows, calls.GRADIENT, losses.size, shards)
    size = crew.size_for(worth)

    for part in calls.in_time(network, data.rows, block.rows, calls.GRADIENT):
        given = *network._arrays, data, part.start, part.stop, scale, shards

        def of_helper(given: tuple[Any, ...] = given) -> tuple[Any, ...]:
            own = losses.copy() if shards == 1 else losses
            return *given, own, each, calls.of_helper(block, shared=shards == 1)

        function = entry_points.loss_and_gradient
        crew.together(size, function, (*given, losses, each, block), of_helper)
    if shards > 1:
        first, *others = each.reshape(shards, -1)
        gradient[:] = first
        for other in others:
            gradient += other
    return in_order(losses)


def in_order(losses: Array) -> float:
    """Their sum, one after the other: the same bit for bit in parts, and with many threads."""
    return float(np.cumsum(losses)[-1])


def loss_over(network: Model, samples: Samples, block: Block) -> float:
    """The loss over all samples; `block` is the scratch of `calls.block_for`."""
    return sum_over(network, samples, block) * scale_of(network, samples)


def sum_over(network: Model, samples: Samples, block: Block) -> float:
    """Σ w ℓ over all samples, as for `loss_over`."""
    step = BLOCKS_AT_ONCE * block.rows
    scratch, losses = {0: block}, [np.zeros(1)]

    for data in samples.parts(step):
        steps = calls.blocks(data.rows, step)
        worth = calls.threads_worth(network, block.rows, calls.PREDICT, data.rows / block.rows)

        def losses_of(worker: int, some: slice, data: Data = data) -> Array:
            own = scratch.get(worker) or scratch.setdefault(worker, calls.of_helper(block))
            rows = some.stop - some.start
            found = np.empty(-(-rows // block.rows))
            for part in calls.in_time(network, rows, block.rows, calls.PREDICT, some.start):
                first, end = part.start - some.start, part.stop - some.start
                place = found[first // block.rows : -(-end // block.rows)]
                entry_points.sum_of_losses(
                    *network._arrays, data, part.start, part.stop, place, own
                )
            return found

        losses += crew.each(crew.size_for(worth), losses_of, steps)
    return in_order(np.concatenate(losses))


def scale_of(network: Model, samples: Samples) -> float:
    """The factor that makes Σ w ℓ over these samples their loss."""
    return network.loss_function.scale(network.outputs, total_weight(samples))
