"""Weights of classes: each sample's weight is multiplied by the factor of its class."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatprop.model.model import Model
from flatprop.samples.in_memory import Data
from flatprop.samples.labels import classes_of, labels_of
from flatprop.samples.samples import Samples
from flatprop.validation import checks
from flatprop.validation.arrays import flat

Factors = NDArray[np.float64]

BALANCED = "balanced"


def class_weighted(network: Model, samples: Samples, class_weight: Any) -> Samples:
    """The samples with other weights.

    Parameters
    ----------
    network
        The network that the samples are for.
    samples
        What `samples_of` returned.
    class_weight
        As for `Network.fit`.
    """
    classes = classes_of(network)
    if not classes:
        raise ValueError(
            "class_weight needs targets that are classes, with the loss cross_entropy or "
            f"binary_cross_entropy; this network has {network.loss_function.name}: give "
            "sample_weight, one weight per sample"
        )
    if isinstance(class_weight, str):
        if class_weight != BALANCED:
            raise ValueError(f'class_weight must be "balanced", {_KINDS}, got {class_weight!r}')
        factors = _balanced(network, samples, classes)
    else:
        factors = _given(class_weight, classes)
    if not isinstance(samples, Data):
        return ClassWeighted(network, samples, factors)
    weighted = _weighted(network, samples, factors)
    try:
        checks.sample_weights(weighted.weight, samples.rows, network.dtype)
    except checks.NoWeightError:
        raise checks.NoWeightError(_NO_WEIGHT) from None
    return weighted


_KINDS = "a dict from class to weight, or an array with a weight for each class"
_NO_WEIGHT = (
    "class_weight and sample_weight leave every sample without weight: nothing would be learnt; "
    "give a class that is in y a weight"
)


class ClassWeighted:
    """`Samples` that come a part at a time; their weights are multiplied as they come by."""

    in_memory = False
    weight = np.empty(0)

    def __init__(self, network: Model, source: Samples, factors: Factors) -> None:
        self._network, self._source, self._factors = network, source, factors
        self.rows, self.batches_given = source.rows, source.batches_given

    def parts(
        self, batch_size: int | None, rng: np.random.Generator | None = None
    ) -> Iterator[Data]:
        """All samples once; see `Samples`."""
        weighed = False
        for part in self._source.parts(batch_size, rng):
            weighted = _weighted(self._network, part, self._factors)
            weighed = weighed or bool(weighted.weight.any())
            yield weighted
        if not weighed:
            raise checks.NoWeightError(_NO_WEIGHT)


def _weighted(network: Model, data: Data, factors: Factors) -> Data:
    weight = factors[_labels(network, data)]
    if data.weight.size:
        weight = weight * data.weight
    with np.errstate(over="ignore"):  # the sum of the weights is checked
        return data._replace(weight=flat(weight.astype(network.dtype)))


def _labels(network: Model, data: Data) -> NDArray[np.int64]:
    y = data.y.reshape(data.rows, -1)
    labels = labels_of(network, y)
    if labels is not None:
        return labels
    if network.loss_function.domain == "fraction" and y.shape[1] > 1:
        raise ValueError(
            f"class_weight needs one class per sample, but y has {y.shape[1]} columns; give "
            "sample_weight, one weight per sample"
        )
    place = tuple(int(i) for i in np.argwhere((y != 0) & (y != 1))[0])
    raise ValueError(
        f"class_weight needs one class per sample, but a probability in y is {y[place]:g}; give "
        "sample_weight, one weight per sample"
    )


def _balanced(network: Model, samples: Samples, classes: int) -> Factors:
    """n / (k n_c) for each of the k classes that occur, n_c times each, among n samples."""
    if samples.batches_given:
        raise ValueError(
            'class_weight="balanced" needs all samples, but X gives batches; pass an array with '
            "a weight for each class"
        )
    counts = np.zeros(classes, np.int64)
    for part in samples.parts(1):
        counts += np.bincount(_labels(network, part), minlength=classes)
    present = np.maximum(counts, 1)  # the factor of a class that does not occur is not used
    return np.asarray(counts.sum() / (np.count_nonzero(counts) * present))


def _given(class_weight: Any, classes: int) -> Factors:
    if hasattr(class_weight, "items"):  # a dict, or a series of pandas
        factors = np.ones(classes)
        for label, value in class_weight.items():
            factors[_checked_label(label, classes)] = checks.positive(
                f"class_weight[{label!r}]", value, or_zero=True
            )
    else:
        if class_weight is None or np.ndim(class_weight) == 0:
            raise TypeError(f'class_weight must be "balanced", {_KINDS}, got {class_weight!r}')
        factors = checks.numbers("class_weight", class_weight, np.dtype(np.float64))
        if factors.shape != (classes,):
            raise ValueError(
                f"class_weight must have a weight for each of the {classes} classes, but its "
                f"shape is {factors.shape}"
            )
        if (factors < 0).any():
            at = int(np.argmax(factors < 0))
            raise ValueError(f"class_weight[{at}] is {factors[at]}; weights are not negative")
    if not factors.any():
        raise ValueError("every class_weight is zero: nothing would be learnt")
    return factors


def _checked_label(label: Any, classes: int) -> int:
    whole = checks.is_number(label) and float(label) == np.floor(float(label))
    if not whole or not 0 <= float(label) < classes:
        raise ValueError(
            f"class_weight has a weight for {label!r}, but the classes are the numbers 0 to "
            f"{classes - 1}, as in y; other labels are for flatprop.sklearn.MLPClassifier"
        )
    return int(label)
