"""The training loss as a function of the trained part of the flat vector."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flatprop.evaluation import calls
from flatprop.kernels.network import entry_points
from flatprop.validation.arrays import aligned_empty

if TYPE_CHECKING:
    from flatprop.network import Network

Vector: TypeAlias = NDArray[np.float64]

FAR = 100.0
"""How many standard deviations of the targets are out of all proportion."""


class Objective:
    """The loss over all samples, at the parameters that the network has.

    θ, the trained parameters, is a float64 vector for the solver; in the network they are
    rounded to its dtype, in which its kernels compute.

    Attributes
    ----------
    trained : slice or ndarray of int
        Where in `net.params` θ lies.
    scale : float
        What Σ w ℓ is multiplied by.
    """

    def __init__(
        self, network: "Network", data: entry_points.Data, trainable: NDArray[np.int64]
    ) -> None:
        self.network = network
        self.data = data
        self.trained = _places(trainable)
        self.scale = network.scale(data)
        self._block = network.block(data)
        self._gradient = aligned_empty(network.params.size, network.dtype)

    @property
    def theta(self) -> Vector:
        """The trained parameters, a copy."""
        theta: Vector = self.network._model.params[self.trained].astype(np.float64)
        return theta

    def move_to(self, theta: Vector) -> None:
        """Give the network these parameters, rounded to its dtype."""
        with np.errstate(over="ignore"):  # seen in the loss
            self.network._model.params[self.trained] = theta

    def loss(self) -> float:
        """The loss."""
        return self.network.loss_of(self.data, self._block)

    def loss_and_gradient(self) -> tuple[float, Vector]:
        """The loss and its gradient with respect to θ."""
        net, total = self.network, 0.0
        gradient: Any = 0.0
        for data in self.parts(16 * self._block.rows):
            total += calls.loss_and_gradient(net, data, self.scale, self._gradient, self._block)
            gradient = gradient + self._gradient[self.trained].astype(np.float64)
        return total * self.scale, gradient

    def loss_of_the_mean(self) -> float:
        """The loss, where it is a sum of squares, of predicting the targets' weighted mean."""
        y, w = self._targets_and_weights()
        with np.errstate(over="ignore", invalid="ignore"):
            squares = float((w * (y - _mean(y, w)) ** 2).sum())
        return self.scale * self.network.loss_function.squares * squares

    def unexplained(self) -> float:
        """Which part of the targets' weighted variance, over all outputs, is left in ŷ - y.

        0 where the loss is not one of squares, of which alone the variance is a measure, and
        where the targets do not differ and are met to a tenth.
        """
        if not self.network.loss_function.squares:
            return 0.0
        y, w = self._targets_and_weights()
        with np.errstate(over="ignore", invalid="ignore"):
            left = float((w * (self._outputs() - y) ** 2).sum())
            apart = float((w * (y - _mean(y, w)) ** 2).sum())
            size = float((w * y**2).sum())
        if apart <= 1e-24 * size:
            return left / size if left > 0.01 * size > 0 else 0.0
        return left / apart

    def bring_outputs_to_targets(self) -> bool:
        """Give the outputs mean and standard deviation of the targets, where they are `FAR` off.

        By the last layer alone, if that is linear and all of it is trained; whether that was so.
        """
        net, last = self.network, self.network.layers[-1]
        places = np.arange(net.params.size)[self.trained]
        linear = net.dense[-1].activation == "identity"
        if not linear or (places >= last["W_start"]).sum() < net.params.size - last["W_start"]:
            return False
        y, w = self._targets_and_weights()
        with np.errstate(over="ignore", invalid="ignore"):
            outputs = self._outputs()
            here, there = _mean(outputs, w), _mean(y, w)
            spread, wanted = (_mean((a - m) ** 2, w) for a, m in ((outputs, here), (y, there)))
            away = _mean((outputs - y) ** 2, w)
            off = (away > FAR**2 * wanted) | (FAR**2 * spread < wanted)
            ratio = np.sqrt(np.where(spread > 0, wanted / spread, 1.0))
            W, b = net.weights[-1] * ratio, there + ratio * (net.biases[-1] - here)
        if not (off.any() and np.isfinite(W).all() and np.isfinite(b).all()):
            return False
        net.weights[-1][:, off] = W[:, off]
        net.biases[-1][off] = b[off]
        return True

    def _targets_and_weights(self) -> tuple[Vector, Vector]:
        """y, (rows, columns), and w, (rows, 1)."""
        _, y, weight, rows = self.data
        w = weight if weight.size else np.ones(rows)
        return y.reshape(rows, -1).astype(np.float64), w.astype(np.float64)[:, None]

    def _outputs(self) -> Vector:
        x = self.data.x.reshape(self.data.rows, -1)
        return self.network.predict(x).astype(np.float64)

    def parts(self, rows: int) -> Iterator[entry_points.Data]:
        """The samples, so many at a time."""
        for start in range(0, self.data.rows, rows):
            yield calls.rows_of(self.data, slice(start, min(start + rows, self.data.rows)))


def _mean(values: Vector, w: Vector) -> Vector:
    """Each column's weighted mean."""
    return np.asarray((w * values).sum(axis=0) / w.sum())


def _places(trainable: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """The ranges as an index into the flat vector, a slice where there is but one."""
    if len(trainable) == 1:
        return slice(int(trainable[0, 0]), int(trainable[0, 1]))
    return np.concatenate([np.arange(start, stop) for start, stop in trainable])
