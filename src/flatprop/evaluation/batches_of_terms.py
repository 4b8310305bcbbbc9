"""What kernels take to go through batches of a loss with terms."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatprop.evaluation import calls
from flatprop.evaluation.kinds_of_terms import LINE, Term, write_fields
from flatprop.kernels.network.term_batches import batches_address
from flatprop.kernels.network.term_records import BATCH, TERM
from flatprop.model.model import Model
from flatprop.validation.arrays import Array, aligned_empty


class TermBatches:
    """What kernels take to go through batches of terms, for one thread.

    Attributes
    ----------
    batch, records : ndarray of int64
        A `BATCH`, and the `TERM` records to which it refers.
    shards : int
        How many gradients a batch has, which are added up.
    gradient, losses, slopes, before : ndarray
        What the fields `gradient`, `losses`, `slopes` and `unknowns_before` of the batch are.
    """

    def __init__(
        self,
        network: Model,
        terms: Sequence[Term],
        unknowns: NDArray[np.float64],
        batch_size: int,
        order: NDArray[np.int64],
    ) -> None:
        self.network, self.terms = network, terms
        batches = -(-terms[0].rows // batch_size)
        self.orders = [order]
        for term in terms[1:]:
            self.orders.append(np.empty(term.rows if order.size else 0, np.int64))
        rows = [(term, term.rows_of_batch(batch_size, batches)) for term in terms]
        self.shards = max(calls.shards_of(network, n, term.block) for term, n in rows)
        self.gradient = aligned_empty(self.shards * network.params.size, network.dtype)
        self.losses = np.zeros(sum(-(-n // term.block) for term, n in rows))
        self.slopes = np.zeros((self.shards, unknowns.size))
        self.before = unknowns.copy()
        self._helpers: list[TermBatches] = []
        self.address = batches_address()
        self.batch = np.zeros(BATCH.itemsize // 8, np.int64)
        self._set(
            count=len(terms),
            batch_size=batch_size,
            batches=batches,
            with_points=len(terms) > 1,
            shards=self.shards,
            gradient=self.gradient,
            gradient_bytes=network.params.nbytes,
            losses=self.losses,
            unknowns=unknowns,
            n_unknowns=unknowns.size,
            unknowns_before=self.before,
            slopes=self.slopes,
        )
        self._take_scratch()

    def _set(self, **fields: Any) -> None:
        write_fields(self.batch.view(BATCH)[0], **fields)

    def _take_scratch(self) -> None:
        """Records and scratch for one more thread; terms come one after another, and share it."""
        terms = self.terms
        size = max(LINE + sum(term.sizes[:3]) + term.workspace_size for term in terms)
        self.scratch = aligned_empty(size, self.network.dtype)
        self.ones = np.ones(terms[0].block * self.network.outputs, self.network.dtype)
        records = np.zeros(len(terms), TERM)
        for record, term, order in zip(records, terms, self.orders, strict=True):
            term.describe(record)
            x_size, y_size, dy_size = term.sizes
            record["order"], record["shuffled"] = order.ctypes.data, order.size > 0
            record["ones"], record["scratch"] = self.ones.ctypes.data, self.scratch.ctypes.data
            record["x_size"], record["y_size"], record["dy_size"] = x_size, y_size, dy_size
        self.records = records.view(np.int64)
        self._set(terms=self.records)

    def train_unknowns(self, code: int, settings: Array, own: Array, state: Array) -> None:
        """Let the unknowns be trained, too: see `term_records`."""
        self._kept = own, state, np.array([[0, self.before.size]], np.int64)
        self._set(
            code=code,
            settings=settings,
            own_settings=own,
            n_settings=own.size,
            state=state,
            ranges=self._kept[2],
        )

    def of_helper(self, number: int) -> "TermBatches":
        """The same for another thread of the team, as it stands now.

        It is kept for the next call. Who has helped with the last one no longer needs it then.
        """
        if number == len(self._helpers):
            other = object.__new__(TermBatches)
            other.__dict__.update(self.__dict__)
            other.batch = self.batch.copy()
            other._take_scratch()
            self._helpers.append(other)
        helper = self._helpers[number]
        helper.batch[:] = self.batch
        helper._set(terms=helper.records)
        return helper

    def threads_worth(self, blocks: int) -> int:
        """How many threads pay for a call that goes through so many blocks."""
        if self.shards == 1:
            return 1
        term = self.terms[-1]
        return calls.threads_worth(self.network, term.block, term.passes, blocks, self.shards)

    @property
    def in_time(self) -> int:
        """How many blocks are sure to end in time."""
        return min(calls.blocks_in_time(self.network, t.block, t.passes) for t in self.terms)
