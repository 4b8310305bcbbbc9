"""What a training is measured on: validation data that are given, or held back."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flatprop.model.model import Model
from flatprop.samples.in_memory import Data
from flatprop.samples.labels import labels_of
from flatprop.samples.samples import Samples, samples_of
from flatprop.validation import checks

Rows = NDArray[np.int64]
"""Numbers of rows, ascending."""


def given_for_validation(network: Model, validation_data: Sequence[Any] | None) -> Samples | None:
    """The argument `validation_data` of `fit`, checked."""
    if validation_data is None:
        return None
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
        raise TypeError("validation_data must be (X, y) or (X, y, sample_weight)")
    try:
        return samples_of(network, *validation_data)
    except checks.NoWeightError:
        raise ValueError(
            "validation_data: every sample_weight is zero: nothing would be measured; give some "
            "of these samples a weight, or leave validation_data out"
        ) from None
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation_data: {error}") from None


class Split(NamedTuple):
    """Samples of which a part is held back."""

    fraction: float
    training: Data
    held: Data
    """The samples that are held back ..."""
    rows: Rows
    """... and which they are."""


def split(network: Model, samples: Samples, fraction: Any, rng: np.random.Generator) -> Split:
    """Hold back a fraction of the samples, drawn at random.

    Both parts keep the order of the rows. Where the targets are classes, each class has the
    same fraction held back, up to rounding.
    """
    share = checks.fraction("validation_split", fraction)
    if not isinstance(samples, Data):
        raise ValueError(_cannot_split(samples))
    count = round(share * samples.rows)
    if not 0 < count < samples.rows:
        raise ValueError(
            f"validation_split={fraction!r} of {samples.rows} samples holds back {count}; some "
            "are needed to train on and some to measure"
        )
    labels = labels_of(network, samples.y.reshape(samples.rows, -1))
    held_back = np.zeros(samples.rows, bool)
    held_back[drawn_rows(count, samples.rows, labels, rng)] = True
    rows = np.flatnonzero(held_back)
    training = _chosen(samples, np.flatnonzero(~held_back), "are left to train on")
    return Split(share, training, _chosen(samples, rows, "validation_split holds back"), rows)


def drawn_rows(count: int, rows: int, labels: Rows | None, rng: np.random.Generator) -> Rows:
    """`count` of the numbers below `rows`, drawn at random; by class if there are labels."""
    order = rng.permutation(rows)
    if labels is None:
        return order[:count]
    by_class = order[np.argsort(labels[order], kind="stable")]
    _, first, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    exact = count / rows * sizes
    whole = np.floor(exact).astype(np.int64)
    # The rest goes to the classes that lack most for their share (largest remainders).
    lacking = np.argsort(whole - exact, kind="stable")[: count - whole.sum()]
    whole[lacking] += 1
    place_in_class = np.arange(rows) - np.repeat(first, sizes)
    return np.asarray(by_class[place_in_class < np.repeat(whole, sizes)])


def _chosen(samples: Data, rows: Rows, what: str) -> Data:
    chosen = samples.at(rows)
    weight = chosen.weight if chosen.weight.size else None
    try:
        checks.sample_weights(weight, rows.size, chosen.weight.dtype)
    except checks.NoWeightError:
        raise ValueError(
            f"every sample_weight is zero among the {rows.size} samples that {what}; take another "
            "rng or validation_split, give validation_data, or leave out the samples without "
            "weight"
        ) from None
    return chosen


def _cannot_split(samples: Samples) -> str:
    if samples.batches_given:
        return (
            "validation_split needs all samples, but X gives batches; give validation_data=(X, y)"
        )
    return (
        "validation_split needs the samples in memory, but they are read a part at a time; give "
        "X[:n], y[:n] and validation_data=(X[n:], y[n:]), which reads no more of a file"
    )
