"""Samples: this file decides whether they are taken whole, in parts or as batches.

Whatever a user passes becomes `Samples`:

| what is given | what it becomes | its parts | when it is checked |
| --- | --- | --- | --- |
| arrays, frames and the like | `Data`, as kernels take it | one: all samples | at once |
| a large file or sparse matrix | `Parts` | some rows at a time, in one buffer | as it is read |
| a large Dask collection | `InBlocks` | the same | as it is computed |
| an iterable of (X, y), or a function | `Batches` | the batches | as they come |

A function that needs all samples at once, such as a gradient, calls `in_memory` itself: it takes
large ones into memory, too.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from flatprop.model.model import Model
from flatprop.samples.batches import Batches
from flatprop.samples.in_blocks import InBlocks
from flatprop.samples.in_memory import Data, in_memory
from flatprop.samples.in_parts import Parts, is_large
from flatprop.validation import frames
from flatprop.validation.arrays import Array


class Samples(Protocol):
    """Samples and their targets."""

    @property
    def rows(self) -> int:
        """How many samples there are; 0 if nobody knows before going through them."""

    @property
    def weight(self) -> Array:
        """(rows,); empty if every sample counts alike, or if only the parts have weights."""

    @property
    def in_memory(self) -> bool:
        """Whether the samples are one `Data`."""

    @property
    def batches_given(self) -> bool:
        """Whether every part is one batch that the user's code made."""

    def parts(
        self, batch_size: int | None, rng: np.random.Generator | None = None
    ) -> Iterator[Data]:
        """All samples once; each part may overwrite the one before.

        Parameters
        ----------
        batch_size
            Samples per update: the rows of every part but the last are a multiple of it.
        rng
            It draws the order of the rows; None leaves the rows in order. Samples in memory stay
            in order in any case, for the training loop shuffles within a part.
        """


def samples_of(
    network: Model,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    whole: bool = False,
    epochs: int = 0,
) -> Data | Parts | Batches:
    """The samples that a user gave.

    Parameters
    ----------
    network
        The network that the samples are for.
    X, y, sample_weight
        As for `Network.fit`.
    whole
        Whether all samples are needed at once: even large ones are then taken into memory.
    epochs
        How often the samples will be gone through; 0 if X must not be an iterable of batches.
    """
    if y is None and epochs:
        batches = Batches(network, X, epochs)
        if sample_weight is not None:
            raise ValueError(
                "sample_weight has no meaning with batches; give it in each batch, as "
                "(X, y, sample_weight)"
            )
        return batches
    if not whole and frames.is_in_blocks(X) and is_large(X, network.dtype):
        return InBlocks(network, X, y, sample_weight)
    if frames.is_in_blocks(y):
        y = y.compute()
    if not whole and (is_large(X, network.dtype) or is_large(y, network.dtype)):
        return Parts(network, X, y, sample_weight)
    return in_memory(network, X, y, sample_weight)


def total_weight(samples: Samples) -> float:
    """Σ w, in float64; how many samples there are, where all count alike."""
    weight = samples.weight
    return float(weight.sum(dtype=np.float64)) if weight.size else float(samples.rows)
