"""Dask collections as blocks of rows: one is computed while another is at work.

Dask is imported where somebody passes such a collection, and nowhere else.
"""

import contextvars
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Self

import numpy as np

from flatprop.validation import checks


class DaskBlock(NamedTuple):
    """Rows `start` to `stop` of some collections."""

    start: int
    stop: int
    values: tuple[Any, ...]

    def rows(self, start: int, stop: int) -> Any:
        """Rows start to stop of the first of them."""
        values = getattr(self.values[0], "iloc", self.values[0])
        return values[start - self.start : stop - self.start]


class DaskBlocks:
    """Dask arrays or frames whose blocks of rows go together.

    Those of one place are computed together, so that what they have in common is computed once.
    If Dask does not know how many rows there are, all blocks are computed once to count them.
    """

    def __init__(self, X: Any, y: Any = None) -> None:
        self.collections = [X]
        self.lengths = _known_lengths(X) or _counted(X)
        if y is None:
            return
        known = _known_lengths(y)
        checks.one_per_sample((sum(known), *y.shape[1:]) if known else (self.rows,), self.rows)
        if known and hasattr(y, "rechunk"):
            y = y.rechunk({0: self.lengths})
        elif (lengths := known or _counted(y)) != self.lengths:
            raise ValueError(
                f"X has blocks of {_told(self.lengths)} rows, but y of {_told(lengths)}; they "
                "need the same ones, as y.repartition or X.rechunk makes them"
            )
        self.collections.append(y)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(self.lengths)

    def only(self, number: int) -> Self:
        """The blocks of one of the collections."""
        one = type(self).__new__(type(self))
        one.collections, one.lengths = [self.collections[number]], self.lengths
        return one

    def in_turn(self, rng: np.random.Generator | None = None) -> Iterator[DaskBlock]:
        """Every block that has rows, once, in order or shuffled."""
        import dask

        starts = np.cumsum([0, *self.lengths]).tolist()
        count = len(self.lengths)
        order = range(count) if rng is None else rng.permutation(count).tolist()
        numbers = [k for k in order if self.lengths[k]]
        thread = ThreadPoolExecutor(1, thread_name_prefix="flatprop-dask")

        def begin(k: int) -> Any:
            parts = [collection.partitions[k] for collection in self.collections]
            # The context says which scheduler the user has chosen.
            return thread.submit(contextvars.copy_context().run, dask.compute, *parts)

        try:
            waiting = iter([begin(k) for k in numbers[:1]])
            for k, following in zip(numbers, [*numbers[1:], None], strict=True):
                values = next(waiting).result()
                waiting = iter([] if following is None else [begin(following)])
                if len(values[0]) != self.lengths[k]:
                    raise ValueError(
                        f"block {k} has {len(values[0])} rows now, but {self.lengths[k]} before: "
                        "a Dask collection must be the same whenever it is computed"
                    )
                yield DaskBlock(starts[k], starts[k + 1], values)
        finally:
            thread.shutdown(wait=False, cancel_futures=True)


def like_a_row(collection: Any) -> Any:
    """A row of the same width, which any loss could have as a target."""
    columns = collection.shape[1:]
    return np.full((1, *columns), 1 / columns[0] if columns else 0.0)


def _known_lengths(collection: Any) -> tuple[int, ...]:
    """How many rows each block has; () if Dask does not know."""
    lengths = getattr(collection, "chunks", ((np.nan,),))[0]
    return () if np.isnan(lengths).any() else tuple(map(int, lengths))


def _counted(collection: Any) -> tuple[int, ...]:
    """The same, after computing all of them."""
    import dask

    count = collection.numblocks[0] if hasattr(collection, "numblocks") else collection.npartitions
    blocks = [collection.partitions[k] for k in range(count)]
    return tuple(dask.compute(*map(dask.delayed(len), blocks)))


def _told(lengths: Sequence[int]) -> str:
    return ", ".join(map(str, lengths[:5])) + (", ..." if len(lengths) > 5 else "")
