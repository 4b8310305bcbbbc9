"""Which rows each rank has of each batch, and an optimizer at work on them.

A batch takes the same part of the rows of each rank. After k batches of B samples, out of N
samples on all ranks, a rank with n rows has gone through ⌊min(k B, N) n / N⌋ of them.
"""

import numpy as np
from numpy.typing import NDArray

from flatprop.kernels.network import training_loop as loop
from flatprop.kernels.network.rank_sums import MESSAGE, RankedBatches
from flatprop.kernels.network.records import DROPOUT
from flatprop.samples.in_memory import Data
from flatprop.training.ranks import Ranks
from flatprop.training.snapshot import Snapshot
from flatprop.training.stepper import Stepper
from flatprop.validation.arrays import Array

Rows = NDArray[np.int64]


def bounds_of(rows: int, of_all: int, batch_size: int) -> Rows:
    """(batches + 1,): where the batches begin among `rows` of the `of_all` samples."""
    batches = -(-of_all // batch_size)
    done = np.minimum(np.arange(batches + 1, dtype=np.int64) * batch_size, of_all)
    return done * rows // of_all


def rows_before(rows: list[int], of_all: int, batch_size: int) -> Rows:
    """(batches,): how many rows of each batch are those of ranks with so many rows."""
    counts = np.zeros(-(-of_all // batch_size), np.int64)
    for one, ranks in zip(*np.unique(np.array(rows, np.int64), return_counts=True), strict=True):
        counts += ranks * np.diff(bounds_of(int(one), of_all, batch_size))
    return counts


def weights_of(weight: Array, bounds: Rows) -> NDArray[np.float64]:
    """(batches,): Σ w of this process's rows in each batch, the rows being in order."""
    if not weight.size:
        return np.diff(bounds).astype(np.float64)
    padded = np.append(weight.astype(np.float64), 0.0)  # a batch may begin behind the last row
    sums = np.add.reduceat(padded, bounds[:-1])
    return np.where(np.diff(bounds) > 0, sums, 0.0)


class RankStepper(Stepper):
    """An optimizer at work on the rows of one rank."""

    _message = MESSAGE

    def share(
        self,
        data: Data,
        rows: list[int],
        batch_size: int,
        shuffle: bool,
        weighted: bool,
        ranks: Ranks,
    ) -> None:
        """Make ready for this rank's samples; all ranks call this.

        `rows` says how many samples each rank has, and `weighted` whether some rank has weights.
        """
        of_all = sum(rows)
        bounds = bounds_of(data.rows, of_all, batch_size)
        shuffle = shuffle and bounds.size > 2
        weights = weights_of(data.weight, bounds)
        ranks.add_into(weights)
        places = np.zeros(weights.size, np.int64)
        if (self.network.layers["kind"] == DROPOUT).any():
            places = rows_before(rows[: ranks.rank], of_all, batch_size)
        call, adder = ranks.adder(self.network.dtype)
        call_for_weights, adder_of_weights = ranks.adder(weights.dtype)
        self.ranked = RankedBatches(
            bounds=bounds,
            places=places,
            weights=weights,
            weights_change=shuffle and weighted,
            asked=ranks.asked,
            call=call,
            call_for_weights=call_for_weights,
            adder=adder,
            adder_of_weights=adder_of_weights,
        )
        self.data, self.shuffle = data, shuffle
        self.batch_size = int(np.diff(bounds).max())
        self._allocate()
        self._blocks = self._blocks_in_time()

    @property
    def batches(self) -> int:
        """How many batches an epoch has."""
        return int(self.ranked.weights.size)

    def _update_timing(self, block_rows: int) -> int:
        return loop.AFTER_GRADIENT

    def _blocks_left(self, plan: loop.Plan, progress: loop.Progress) -> int:
        epochs = progress.losses.size - int(progress.cursor[loop.EPOCH])
        of_batch = -(-self.batch_size // self.buffers.block.rows)
        return int(min(self._blocks, epochs * self.batches * of_batch))

    def _unless_diverged(self, status: int, safe: Snapshot) -> int:
        # This rank may look before the others do. All ranks see at the end of the epoch, or in the
        # next loss, that the parameters are not finite.
        safe.keep_in_time(self.model.params)
        return status
