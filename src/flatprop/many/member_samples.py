"""Samples of the members of an ensemble: the same for all, or some for each."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flatprop.model.model import Model
from flatprop.samples.in_memory import in_memory
from flatprop.samples.in_parts import is_large
from flatprop.training import seeds
from flatprop.validation import checks, frames

Rows = NDArray[np.int64]


class MemberSamples(NamedTuple):
    """What `fit` and `loss` of each member get.

    An array that belongs to all members has no axis of members.
    """

    x: Any
    y: Any
    weight: Any
    """None where every sample counts alike."""
    own: tuple[bool, bool, bool]
    """Which of the three each member has for itself."""
    rows: Rows | None = None
    """(members, n): the rows that a bootstrap has drawn for each member."""

    def of(self, i: int) -> tuple[Any, Any, Any]:
        """X, y and sample_weight of member i."""
        given = self.x, self.y, self.weight
        chosen = [one[i] if own else one for one, own in zip(given, self.own, strict=True)]
        if self.rows is not None:
            chosen = [None if one is None else one[self.rows[i]] for one in chosen]
        return chosen[0], chosen[1], chosen[2]

    @property
    def shared(self) -> bool:
        """Whether all members have the same samples with the same weights."""
        return not any(self.own) and self.rows is None


def member_samples(
    model: Model, members: int, X: Any, y: Any, sample_weight: Any = None
) -> MemberSamples:
    """The samples that a user gave, checked; arrays have the dtype of the networks.

    What is too large for memory stays as it is, and is checked as it is read.
    """
    X, y = (one.compute() if frames.is_in_blocks(one) else one for one in (X, y))
    if is_large(X, model.dtype) or is_large(y, model.dtype):
        return MemberSamples(X, y, sample_weight, (False, False, False))
    x = own_or_shared("X", X, members, model, own=_dimensions("X", X) == 3)
    own_x, n = x.ndim == 3, x.shape[-2]
    target = _targets(model, members, y, n)
    own_y = _has_own_targets(target, members, n, model)
    weight = None
    if sample_weight is not None:
        weight = checks.numbers("sample_weight", sample_weight, model.dtype)
        if weight.ndim == 2 and weight.shape != (members, n):
            raise ValueError(
                f"sample_weight must have shape ({n},), or ({members}, {n}) for a row of each "
                f"member, but it has {weight.shape}"
            )
    samples = MemberSamples(
        x, target, weight, (own_x, own_y, weight is not None and weight.ndim == 2)
    )
    _check(model, samples, members)
    return samples


def _check(model: Model, samples: MemberSamples, members: int) -> None:
    """Raise as `in_memory` would for the samples of each member."""
    if not any(samples.own):
        in_memory(model, *samples.of(0), by_class=False)
        return
    n = samples.x.shape[-2]
    # All members at once, as if they were one with very many samples ...
    _, y, weight = (
        one if one is None or not own else one.reshape(members * n, *one.shape[2:])
        for one, own in zip((samples.x, samples.y, samples.weight), samples.own, strict=True)
    )
    _, all_of_y, all_of_weight = samples.own
    try:
        loss = model.loss_function
        rows = members * n if all_of_y else n
        checks.targets(y, rows, model.targets, loss.domain, model.dtype)
        if all_of_weight:
            checks.sample_weights(weight, members * n, model.dtype)
            fine = bool((samples.weight.sum(axis=1, dtype=np.float64) > 1e-30).all())
        else:
            checks.sample_weights(weight, n, model.dtype)
            fine = True
    except (TypeError, ValueError):
        fine = False
    if not fine:  # ... and one after the other to say what is wrong with whom
        for i in range(members):
            with naming_member(i):
                in_memory(model, *samples.of(i), by_class=False)


def own_or_shared(what: str, value: Any, members: int, model: Model, own: bool) -> Any:
    """X as (n, inputs), or (members, n, inputs) where each member has its `own`."""
    if not own:
        return checks.inputs(value, model.inputs, model.dtype)
    array = checks.numbers(what, value, model.dtype)
    if array.shape[0] != members or array.shape[2] != model.inputs:
        raise ValueError(
            f"{what} must have shape (n, {model.inputs}) for all members, or "
            f"({members}, n, {model.inputs}) for each of them, but it has {array.shape}"
        )
    return array


def _targets(model: Model, members: int, y: Any, n: int) -> Any:
    _dimensions("y", y)
    array = checks.numbers("y", y, model.dtype)
    if array.ndim == 0 or (array.shape[0] != n and array.shape[:2] != (members, n)):
        raise ValueError(
            f"X has {n} rows, but y has shape {array.shape}; it needs one row per sample, or "
            f"({members}, {n}, ...) with such rows for each member"
        )
    return array


def _has_own_targets(y: Any, members: int, n: int, model: Model) -> bool:
    """Whether y, an array, has an axis of members; one that may be either belongs to all."""
    if y.ndim == 3:
        return True
    classes = model.loss_function.domain == "classes"
    one_number = model.targets == 1 or classes
    return bool(
        y.ndim == 2 and one_number and y.shape == (members, n) and y.shape != (n, model.targets)
    )


def _dimensions(what: str, value: Any) -> int:
    found = getattr(value, "ndim", None)
    if isinstance(found, int):
        return found
    if not isinstance(value, (list, tuple)):
        return 2  # a frame, or what `checks` refuses
    try:
        return np.ndim(value)
    except ValueError:  # rows of different lengths
        raise ValueError(
            f"{what} has parts of different lengths; members with different numbers of samples "
            "are trained by fp.fit_many(list(ensemble), [X0, X1, ...], [y0, y1, ...])"
        ) from None


class naming_member:  # noqa: N801  # a context manager that reads as a phrase
    """Put the number of the member before the message of a TypeError or ValueError."""

    def __init__(self, i: int, named: bool = True) -> None:
        self._i, self._named = i, named

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if self._named and isinstance(error, (TypeError, ValueError)):
            raise type(error)(f"member {self._i}: {error}") from None


def bootstrapped(
    samples: MemberSamples, seeds_of_members: Iterable[tuple[int, int]]
) -> MemberSamples:
    """With rows drawn with replacement for each member, from its number and training's seed."""
    n = samples.x.shape[-2]
    rows = np.stack(
        [seeds.of_bootstrap(seed, i).integers(0, n, n) for i, seed in seeds_of_members]
    )
    return samples._replace(rows=rows)
