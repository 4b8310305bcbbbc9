"""What the members of an ensemble compute: outputs, losses, gradients."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flatprop.evaluation import crew, values
from flatprop.many.member_samples import MemberSamples, member_samples, own_or_shared
from flatprop.many.members import Members
from flatprop.samples.in_parts import is_large
from flatprop.validation import frames, other_names
from flatprop.validation.arrays import Array, aligned_empty


def predict(
    ensemble: Members,
    X: ArrayLike,
    *,
    dropout: bool = False,
    rng: int | np.random.Generator | None = None,
    threads: int | None = None,
) -> Array:
    """The outputs of every member.

    Parameters
    ----------
    X
        (n, inputs) for all members, of any kind that `Network.predict` takes; or
        (members, n, inputs) with rows for each.
    dropout, rng
        As for `Network.predict`; a seed is the same for all members.
    threads
        As for `Network.predict`; threads take one member after the other.

    Returns
    -------
    ndarray
        (members, n, outputs).

    Raises
    ------
    TypeError, ValueError
        If X does not fit the networks, is empty, or holds NaN or infinity.
    """
    first, members = ensemble[0], len(ensemble)
    crew.check_threads(threads)
    own = getattr(X, "ndim", None) == 3 or (isinstance(X, (list, tuple)) and np.ndim(X) == 3)
    given: Any = X
    if frames.is_in_blocks(X):
        given = given.compute()  # once for all members
    if not is_large(given, first.dtype):
        given = own_or_shared("X", given, members, first, own)
    rows = given.shape[1 if own else 0]
    out = np.empty((members, rows, first.outputs), first.dtype)

    def predict_one(_: int, i: int) -> None:
        with crew.using(1):
            x = given[i] if own else given
            out[i] = values.predict(ensemble[i], x, dropout=dropout, rng=rng)

    with crew.using(threads):
        crew.each(_threads(ensemble, rows), predict_one, range(members))
    return out


@other_names.suggests(other_names.MEASURE)
def loss(
    ensemble: Members,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    threads: int | None = None,
) -> Array:
    """The loss of every member.

    Parameters
    ----------
    X, y, sample_weight
        As for `Network.loss`, for all members; or each with a first axis of members.
    threads
        As for `predict`.

    Returns
    -------
    ndarray
        (members,), float64.

    Raises
    ------
    TypeError, ValueError
        If the data do not fit the networks or each other.
    """
    samples = _checked(ensemble, X, y, sample_weight, threads)
    out = np.empty(len(ensemble))

    def measure(_: int, i: int) -> None:
        with crew.using(1):
            out[i] = values.loss(ensemble[i], *samples.of(i))

    with crew.using(threads):
        crew.each(_threads(ensemble, len(samples.of(0)[0])), measure, range(len(ensemble)))
    return out


@other_names.suggests(other_names.MEASURE)
def loss_and_gradient(
    ensemble: Members,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    threads: int | None = None,
) -> tuple[Array, Array]:
    """The loss of every member, and its gradient with respect to the member's parameters.

    Parameters
    ----------
    X, y, sample_weight, threads
        As for `loss`.

    Returns
    -------
    loss : ndarray
        (members,), float64.
    gradient : ndarray
        (members, parameters), as `params`.

    Raises
    ------
    TypeError, ValueError
        As for `loss`.
    """
    samples = _checked(ensemble, X, y, sample_weight, threads)
    first, members = ensemble[0], len(ensemble)
    out = np.empty(members)
    gradient = aligned_empty(members * first.params.size, first.dtype).reshape(members, -1)

    def measure(_: int, i: int) -> None:
        with crew.using(1):
            out[i], gradient[i] = values.loss_and_gradient(ensemble[i], *samples.of(i))

    with crew.using(threads):
        crew.each(_threads(ensemble, len(samples.of(0)[0])), measure, range(members))
    return out, gradient


def _checked(ensemble: Members, X: Any, y: Any, sample_weight: Any, threads: Any) -> MemberSamples:
    crew.check_threads(threads)
    if y is None:
        raise TypeError("y is None; an array of numbers is needed")
    return member_samples(ensemble[0], len(ensemble), X, y, sample_weight)


WORTH = 2**20
"""So many products of a row with a parameter pay for waking a thread up."""


def _threads(ensemble: Members, rows: int) -> int:
    """How many threads such a call has."""
    work = len(ensemble) * rows * ensemble[0].params.size
    return crew.size_for(int(max(1, min(work // WORTH, len(ensemble)))))
