"""Samples: whether they are taken whole, in parts or as batches is decided here.

Whatever a user passes becomes `Samples`, checked, or to be checked as they are read:

| what is given | what it becomes | its parts |
| --- | --- | --- |
| arrays, frames and the like | `Data`, as kernels take it | itself, alone |
| a large file, a large sparse matrix | `Parts` | some rows at a time, in one buffer |
| an iterable of (X, y), or what returns one | `Batches` | its batches |
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from flatprop.kernels.network.entry_points import Data
from flatprop.model.model import Model
from flatprop.samples.batches import Batches
from flatprop.samples.in_memory import in_memory
from flatprop.samples.in_parts import Parts, is_large
from flatprop.validation.arrays import Array


class Samples(Protocol):
    """Samples and their targets."""

    @property
    def rows(self) -> int:
        """How many samples there are; 0 where only going through them tells."""

    @property
    def weight(self) -> Array:
        """(rows,), or empty where every sample counts alike, or where only the parts say."""

    @property
    def in_memory(self) -> bool:
        """Whether all of them are one `Data`."""

    @property
    def batches_given(self) -> bool:
        """Whether every part is one batch, as somebody else made it."""

    def parts(
        self, batch_size: int | None, rng: np.random.Generator | None = None
    ) -> Iterator[Data]:
        """All samples once; each part may overwrite the one before.

        Parameters
        ----------
        batch_size
            Samples per update: every part but the last is a multiple of it.
        rng
            Of the order of the rows; None leaves them in theirs. Rows in memory keep it anyway:
            the training loop shuffles within a part.
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
    """What a user gave, as samples.

    Parameters
    ----------
    network
        Which they are for.
    X, y, sample_weight
        As for `Network.fit`.
    whole
        Whether all of them are needed at once: large ones are then taken into memory, too.
    epochs
        How often they will be gone through, where X may give batches, y being left out.
    """
    if y is None and epochs:
        batches = Batches(network, X, epochs)
        if sample_weight is not None:
            raise ValueError(
                "sample_weight has no meaning beside batches; give it in each of them, as "
                "(X, y, sample_weight)"
            )
        return batches
    if not whole and (is_large(X, network.dtype) or is_large(y, network.dtype)):
        return Parts(network, X, y, sample_weight)
    return in_memory(network, X, y, sample_weight)
