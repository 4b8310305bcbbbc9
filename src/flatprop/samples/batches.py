"""Batches that the user's code makes: a generator, a list, a data loader."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from flatprop.model.model import Model
from flatprop.samples.in_memory import Data, in_memory
from flatprop.validation import checks, frames
from flatprop.validation.arrays import read_only

_NO_BATCH = (
    "there was no batch to train on; if an earlier epoch had some, they can be gone through only "
    "once: pass epochs=1, a list of the batches, or a function that makes a new iterator for "
    "each epoch"
)


class Batches:
    """`Samples` whose every part is one batch, (X, y) or (X, y, sample_weight).

    Parameters
    ----------
    network
        The network that the batches are for.
    given
        An iterable of batches, or a function without arguments that returns one for each epoch.
    epochs
        How often the batches will be gone through.
    """

    rows = 0
    weight = np.empty(0)
    in_memory = False
    batches_given = True

    def __init__(self, network: Model, given: Any, epochs: int) -> None:
        self._network = network
        self._given: Iterable[Any] | Callable[[], Any] = given
        can_give = _is_iterable(given) or callable(given)
        if isinstance(given, (str, bytes, Mapping)) or _is_data(given) or not can_give:
            raise TypeError(
                f"y is missing, and X is a {type(given).__name__}; pass fit(X, y), or in place of "
                "both an iterable of (X, y) batches, or a function that returns one"
            )
        if isinstance(given, (list, tuple)) and not given:
            raise ValueError(_NO_BATCH)
        if epochs > 1 and hasattr(given, "__next__"):
            raise ValueError(
                f"a {type(given).__name__} can be gone through only once, but epochs is {epochs}; "
                "pass epochs=1, a list of the batches, or a function that makes a new iterator "
                "for each epoch"
            )

    def parts(
        self, batch_size: int | None = None, rng: np.random.Generator | None = None
    ) -> Iterator[Data]:
        """Every batch once, in the order in which they come.

        A batch without any weight changes nothing, as among samples in memory.
        """
        number, weighed = -1, False
        for number, batch in enumerate(self._iterator()):
            size = len(batch) if isinstance(batch, (tuple, list)) else None
            if size not in (2, 3):
                raise TypeError(
                    f"batch {number}, counted from 0, must be (X, y) or (X, y, sample_weight), "
                    f"but it is a {type(batch).__name__}" + ("" if size is None else f" of {size}")
                )
            try:
                data = in_memory(self._network, *batch)
                weighed = True
            except checks.NoWeightError:
                data = in_memory(self._network, *batch[:2], by_class=False)
                data = data._replace(weight=read_only(np.zeros(data.rows, self._network.dtype)))
            except (TypeError, ValueError) as error:
                raise type(error)(f"batch {number}, counted from 0: {error}") from None
            yield data
        if number < 0:
            raise ValueError(_NO_BATCH)
        if not weighed:
            raise checks.NoWeightError(
                "every sample_weight of every batch is zero: nothing would be learnt; give some "
                "of the samples a weight"
            )

    def _iterator(self) -> Iterator[Any]:
        given: Any = self._given
        if not _is_iterable(given):
            given = given()
            if not _is_iterable(given):
                raise TypeError(
                    "the function given for the batches must return an iterable of them, but it "
                    f"returned a {type(given).__name__}"
                )
        return iter(given)


def _is_data(given: object) -> bool:
    """Whether this is an X rather than batches, so that y was forgotten."""
    kind = type(given)
    return (
        hasattr(kind, "__array__")
        or hasattr(kind, "__dlpack__")
        or hasattr(kind, "columns")
        or frames.is_sparse(given)
        or (isinstance(given, (list, tuple)) and not all(map(_may_be_batch, given[:1])))
    )


def _may_be_batch(item: object) -> bool:
    """Whether this could be a batch; a row of numbers could not."""
    if not isinstance(item, (list, tuple)):
        return True
    return any(isinstance(part, (list, tuple)) or np.ndim(part) > 0 for part in item)


def _is_iterable(given: object) -> bool:
    return hasattr(given, "__iter__") or hasattr(given, "__getitem__")
