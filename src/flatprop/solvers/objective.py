"""The training loss as a function of the trained parameters."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flatprop.evaluation import calls
from flatprop.evaluation.values import loss_over, predict, scale_of, sum_and_gradient
from flatprop.kernels.network.damping import Iterations
from flatprop.kernels.network.records import DENSE
from flatprop.model.model import Model
from flatprop.samples.in_memory import Data
from flatprop.validation.arrays import aligned_empty

Vector: TypeAlias = NDArray[np.float64]

FAR = 100.0
"""Outputs so many standard deviations of the targets away are moved to the targets first."""


class Objective:
    """The loss over all samples, at the parameters that the network has.

    For the solver θ, the trained parameters, is a float64 vector. In the network θ is rounded
    to the network's dtype, in which the kernels compute.

    Attributes
    ----------
    trained : slice or ndarray of int
        The places of θ in `net.params`.
    scale : float
        The factor that makes Σ w ℓ the loss.
    block : Block
        Scratch for the loss.
    course : Iterations
        What the training has reached. A compiled solver may add iterations to it by itself ...
    attended : bool
        ... unless this says that each iteration is looked at.
    """

    def __init__(
        self,
        network: Model,
        data: Data,
        trainable: NDArray[np.int64],
        course: Iterations,
        attended: bool,
    ) -> None:
        self.network = network
        self.data = data
        self.course = course
        self.attended = attended
        self.trained = _places(trainable)
        self.scale = scale_of(network, data)
        self.block = calls.block_for(network, data.rows)
        self._gradient = aligned_empty(network.params.size, network.dtype)
        strength = np.zeros(network.params.size)
        dense = network.layers[network.layers["kind"] == DENSE]
        for layer, record in zip(network.dense_layers, dense, strict=True):
            strength[record["W_start"] : record["b_start"]] = layer.l2
        self._l2 = strength[self.trained] if strength.any() else None

    @property
    def theta(self) -> Vector:
        """The trained parameters, a copy."""
        theta: Vector = self.network._arrays.params[self.trained].astype(np.float64)
        return theta

    def move_to(self, theta: Vector) -> None:
        """Give the network these parameters, rounded to its dtype."""
        with np.errstate(over="ignore"):  # an overflow shows in the loss
            self.network._arrays.params[self.trained] = theta

    def loss(self) -> float:
        """The loss."""
        return loss_over(self.network, self.data, self.block)

    def loss_and_gradient(self) -> tuple[float, Vector]:
        """The loss, with the terms l2 Σ W² of trained weights, and its gradient by θ."""
        loss, gradient = self._of_samples()
        if self._l2 is not None:
            theta = self.theta[: self._l2.size]
            loss += float(self._l2 @ theta**2)
            gradient[: theta.size] += 2 * self._l2 * theta
        return loss, gradient

    def _of_samples(self) -> tuple[float, Vector]:
        """The same without these terms; a new array."""
        net, total = self.network, 0.0
        gradient: Any = 0.0
        for data in self.parts(16 * self.block.rows):
            total += sum_and_gradient(net, data, self.scale, self._gradient, self.block)
            gradient = gradient + self._gradient[self.trained].astype(np.float64)
        return total * self.scale, gradient

    def loss_of_the_mean(self) -> float:
        """The loss of predicting the targets' weighted mean, for a loss that is of squares."""
        y, w = self._targets_and_weights()
        with np.errstate(over="ignore", invalid="ignore"):
            squares = float((w * (y - _mean(y, w)) ** 2).sum())
        return self.scale * self.network.loss_function.squares * squares

    def unexplained(self) -> float:
        """Which part of the targets' weighted variance, over all outputs, is left in ŷ - y.

        0 if the loss is not of squares, for only such a loss is measured by a variance. 0 also
        if all targets are equal and the outputs are within a tenth of them.
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
        """Give outputs that are `FAR` off the mean and the standard deviation of the targets.

        Only the last layer changes, and only if it is linear and all of it is trained. Returns
        whether it has changed.
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
        return predict(self.network, x).astype(np.float64)

    def parts(self, rows: int) -> Iterator[Data]:
        """The samples, `rows` at a time."""
        for start in range(0, self.data.rows, rows):
            yield self.data.some(start, min(start + rows, self.data.rows))


def _mean(values: Vector, w: Vector) -> Vector:
    """Each column's weighted mean."""
    return np.asarray((w * values).sum(axis=0) / w.sum())


def _places(trainable: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """The ranges as an index into the flat vector; one range alone becomes a slice."""
    if len(trainable) == 1:
        return slice(int(trainable[0, 0]), int(trainable[0, 1]))
    return np.concatenate([np.arange(start, stop) for start, stop in trainable])
