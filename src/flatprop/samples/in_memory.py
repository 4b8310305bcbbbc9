"""Samples that are taken into memory as a whole."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from flatprop.model.model import Model
from flatprop.validation import checks
from flatprop.validation.arrays import Array, flat


class Data(NamedTuple):
    """Samples in memory, and their targets."""

    x: Any
    """(rows · inputs,)"""
    y: Any
    """(rows · columns,): a column per output, or one of class indices."""
    weight: Any
    """(rows,), or empty where every sample counts alike."""
    rows: int

    @property
    def in_memory(self) -> bool:
        """Whether this is all of the samples, as it is."""
        return True

    @property
    def batches_given(self) -> bool:
        """Whether this is one batch among others, as somebody else made it."""
        return False

    def parts(self, batch_size: int | None, rng: Any = None) -> Iterator["Data"]:
        """All samples once, which are one part."""
        yield self

    def some(self, start: int, stop: int) -> "Data":
        """Rows start to stop, as views."""
        inputs, columns = self.x.size // self.rows, self.y.size // self.rows
        x, y = self.x[start * inputs : stop * inputs], self.y[start * columns : stop * columns]
        return Data(x, y, self.weight[start:stop], stop - start)

    def at(self, places: Array) -> "Data":
        """The rows with these numbers, as copies."""
        x, y = (flat(part.reshape(self.rows, -1)[places]) for part in (self.x, self.y))
        weight = flat(self.weight[places]) if self.weight.size else self.weight
        return Data(x, y, weight, places.size)


def in_memory(
    network: Model, X: Any, y: Any, sample_weight: Any = None, *, by_class: bool = True
) -> Data:
    """Samples, targets and weights: checked, contiguous and of the network's dtype.

    The weights hold those of the classes, if the loss has some, unless `by_class` is False.
    """
    x = checks.inputs(X, network.inputs, network.dtype)
    rows = x.shape[0]
    target = checks.targets(y, rows, network.targets, network.loss_function.domain, network.dtype)
    weight = checks.sample_weights(sample_weight, rows, network.dtype)
    if by_class:
        weight = weights_by_class(weight, network.loss_function.weight_factors(target))
    return Data(flat(x), flat(target), flat(weight), rows)


def weights_by_class(weight: Array, factors: Array | None) -> Array:
    """(rows,), the weights of samples times those of their classes; `weight` may be empty."""
    if factors is None:
        return weight
    product = weight * factors if weight.size else factors
    if not product.any():
        raise checks.NoWeightError(
            "every sample_weight is 0, or the class_weight of the sample's class is: nothing "
            "would be learnt or measured"
        )
    return checks.sample_weights(product, len(product), product.dtype)
