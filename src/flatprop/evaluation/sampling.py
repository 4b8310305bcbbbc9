"""Predictions with dropout: each a sample of the networks that dropout averages over."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop.evaluation import calls
from flatprop.kernels.network import entry_points
from flatprop.model.model import Model
from flatprop.samples import in_parts
from flatprop.validation import checks
from flatprop.validation.arrays import Array


def sampled(network: Model, X: ArrayLike, rng: Any) -> Array:
    """As `values.predict` with ``dropout=True``. What is dropped depends on a row's place in X."""
    source = network.rng if rng is None else checks.generator(rng)
    if in_parts.is_large(X, network.dtype):
        rows = in_parts.inputs_of(network, X)
        count, visit = rows.rows, rows.visit
    else:
        x = checks.inputs(X, network.inputs, network.dtype)
        count = len(x)

        def visit(start: int, stop: int, use: Any) -> None:
            use(x[start:stop])

    seed = source.integers(0, 2**64, dtype=np.uint64)
    out = np.empty((count, network.outputs), network.dtype)
    block = calls.block_for(network, count)
    layers, _, params = network._arrays
    for start in range(0, count, block.rows):
        place = out[start : start + block.rows]

        def into(given: Array, start: int = start, place: Array = place) -> None:
            given = np.ascontiguousarray(given, network.dtype)
            entry_points.sample(layers, params, given, place, start, seed, block)

        visit(start, start + len(place), into)
    return out
