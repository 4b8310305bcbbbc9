"""Outputs with their derivatives with respect to inputs, and gradients of losses of these."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop.evaluation import calls, crew
from flatprop.kernels.network import entry_points
from flatprop.kernels.network.stacks import forward_stacks_size, pairs_at_once, stacks_size
from flatprop.model.model import Model
from flatprop.validation import checks
from flatprop.validation.arrays import Array, aligned_empty, read_only

STACK_BYTES = 384 * 1024
"""What the stacks of a block take at most, so that they stay in the cache of a processor."""
LEAST_ROWS = 16


def derivatives(
    network: Model,
    X: ArrayLike,
    directions: ArrayLike | None = None,
    *,
    threads: int | None = None,
) -> tuple[Array, Array, Array]:
    """The outputs, and their first and second derivatives along directions in the inputs.

    For a direction v, these are du = d/dt ŷ(x + t v) and d2u = d²/dt² ŷ(x + t v) at t = 0. They
    are exact, and go through the layers together with the outputs. Only for an own activation
    that has a loop, second derivatives are approximated by differences.

    Parameters
    ----------
    X
        (n, inputs).
    directions
        (directions, inputs), the same for all rows. None takes the axes: du and d2u are then
        ∂ŷ/∂xⱼ and ∂²ŷ/∂xⱼ².
    threads
        As for `predict`.

    Returns
    -------
    u : ndarray
        (n, outputs).
    du, d2u : ndarray
        (n, directions, outputs).

    Raises
    ------
    TypeError, ValueError
        If X or the directions do not fit the network.
    """
    with crew.using(threads):
        x, along = _checked(network, X, directions)
        rows, count, outputs = len(x), len(along), network.outputs
        u = np.empty((rows, outputs), network.dtype)
        du, d2u = (np.empty((rows * count, outputs), network.dtype) for _ in range(2))
        block = stack_rows(network, rows, 1 + 2 * count)
        layers, _, params = network._arrays
        size = forward_stacks_size(layers, block, count, count)

        def some(_: int, part: slice) -> None:
            of_part = slice(part.start * count, part.stop * count)
            entry_points.input_derivatives(
                layers,
                params,
                read_only(x[part]),
                read_only(along),
                u[part],
                du[of_part],
                d2u[of_part],
                block,
                aligned_empty(size, network.dtype),
            )

        passes = calls.PREDICT * (1 + 2 * count)
        team = crew.size_for(calls.threads_worth(network, block, passes, rows / block))
        crew.each(team, some, calls.shared_out(network, rows, block, passes, team))
    shape = rows, count, outputs
    return u, du.reshape(shape), d2u.reshape(shape)


def derivatives_vjp(
    network: Model,
    X: ArrayLike,
    dL_du: ArrayLike | None,
    dL_ddu: ArrayLike | None,
    dL_dd2u: ArrayLike | None,
    directions: ArrayLike | None = None,
    *,
    threads: int | None = None,
) -> Array:
    """Takes gradients with respect to the results of `derivatives` back to the parameters.

    This is backpropagation for a loss L of outputs and their derivatives, such as the residual of
    a differential equation: Σ (∂(u, du, d2u)/∂params)ᵀ ∂L/∂(u, du, d2u).

    Parameters
    ----------
    X, directions, threads
        As for `derivatives`.
    dL_du
        (n, outputs).
    dL_ddu, dL_dd2u
        (n, directions, outputs). None stands for zeros, for `dL_du` too; without `dL_dd2u` the
        second derivatives are not computed.

    Returns
    -------
    ndarray
        (parameters,), in the order of `params`.

    Raises
    ------
    TypeError, ValueError
        If an array does not fit the network or the others.
    """
    with crew.using(threads):
        x, along = _checked(network, X, directions)
        rows, count, outputs = len(x), len(along), network.outputs
        shapes = (rows, outputs), (rows, count, outputs), (rows, count, outputs)
        given = [
            _slope(name, value, shape, network)
            for name, value, shape in zip(
                ("dL_du", "dL_ddu", "dL_dd2u"), (dL_du, dL_ddu, dL_dd2u), shapes, strict=True
            )
        ]
        seconds = 0 if dL_dd2u is None else count
        height = 1 + count + seconds
        block = stack_rows(network, rows, 2 * (1 + height))
        shards = calls.shards_of(network, rows, block)
        blocks = -(-rows // block)
        layers, _, params = network._arrays
        size = stacks_size(layers, block, count, seconds)
        gradients = np.zeros((shards, network.params.size), network.dtype)
        passes = calls.GRADIENT * height
        step = block * calls.blocks_in_time(network, block, passes)
        empty = np.empty((0, outputs), network.dtype)

        def shard(_: int, number: int) -> None:
            first = number * blocks // shards * block
            stop = min((number + 1) * blocks // shards * block, rows)
            workspace = aligned_empty(size, network.dtype)
            for start in range(first, stop, step):
                part = slice(start, min(start + step, stop))
                of_part = slice(part.start * count, part.stop * count)
                entry_points.input_derivatives_vjp(
                    layers,
                    params,
                    read_only(x[part]),
                    read_only(along),
                    read_only(given[0][part]),
                    read_only(given[1][of_part]),
                    read_only(given[2][of_part] if seconds else empty),
                    True,
                    gradients[number],
                    block,
                    workspace,
                )

        team = crew.size_for(calls.threads_worth(network, block, passes, blocks))
        crew.each(team, shard, range(shards))
    gradient: Array = gradients[0]
    for other in gradients[1:]:
        gradient += other
    return gradient


def hessian(network: Model, X: ArrayLike, *, threads: int | None = None) -> Array:
    """The second derivatives of the outputs with respect to all pairs of inputs.

    Parameters
    ----------
    X, threads
        As for `derivatives`.

    Returns
    -------
    ndarray
        ∂²ŷₖ/∂xᵢ∂xⱼ, (n, outputs, inputs, inputs).

    Raises
    ------
    TypeError, ValueError
        If X does not fit the network.
    """
    with crew.using(threads):
        x, axes = _checked(network, X, None)
        rows, inputs = len(x), network.inputs
        out = np.empty((rows, network.outputs * inputs * inputs), network.dtype)
        pairs = np.stack(np.triu_indices(inputs), axis=1)
        # All first derivatives go along with each part of the second ones.
        most = pairs_at_once(inputs)
        some_pairs = calls.blocks(len(pairs), most)
        block = stack_rows(network, rows, 1 + inputs + most)
        layers, _, params = network._arrays
        size = forward_stacks_size(layers, block, inputs, most)

        def some(_: int, part: slice) -> None:
            workspace = aligned_empty(size, network.dtype)
            for wanted in some_pairs:
                entry_points.hessian(
                    layers,
                    params,
                    read_only(x[part]),
                    read_only(axes),
                    read_only(pairs[wanted]),
                    out[part],
                    workspace,
                )

        passes = calls.PREDICT * (1 + inputs + len(pairs))
        team = crew.size_for(calls.threads_worth(network, block, passes, rows / block))
        crew.each(team, some, calls.blocks(rows, block))
    return out.reshape(rows, network.outputs, inputs, inputs)


def _checked(network: Model, X: ArrayLike, directions: ArrayLike | None) -> tuple[Array, Array]:
    """X and the directions as arrays of the network's dtype."""
    x = checks.inputs(X, network.inputs, network.dtype)
    if directions is None:
        return x, np.eye(network.inputs, dtype=network.dtype)
    along = checks.numbers("directions", directions, network.dtype)
    if along.ndim != 2 or along.shape[1] != network.inputs or not len(along):
        raise ValueError(
            f"directions must have a row per direction and {network.inputs} columns, one per "
            f"input, but their shape is {along.shape}"
        )
    return x, along


def _slope(name: str, value: Any, shape: tuple[int, ...], network: Model) -> Array:
    """A gradient with respect to a result of `derivatives`, (rows, outputs)."""
    if value is None:
        return np.zeros((int(np.prod(shape[:-1])), shape[-1]), network.dtype)
    array = checks.numbers(name, value, network.dtype)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, but it has {array.shape}")
    flat: Array = array.reshape(-1, shape[-1])
    return flat


def stack_rows(network: Model, rows: int, height: int) -> int:
    """The rows of a block whose stacks have so many rows for each of them."""
    numbers = height * sum(layer.units for layer in network.dense)
    most = max(1, STACK_BYTES // (numbers * network.dtype.itemsize))
    return min(rows, calls.whole_units(most) if most >= LEAST_ROWS else most)
