"""The training loss as a function of the trained part of the flat vector."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flatprop import calls
from flatprop.arrays import aligned_empty
from flatprop.kernels import batches

if TYPE_CHECKING:
    from flatprop.network import Network

Vector: TypeAlias = NDArray[np.float64]


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
        self, network: "Network", data: batches.Data, trainable: NDArray[np.int64]
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
        return self.network.params[self.trained].astype(np.float64)

    def move_to(self, theta: Vector) -> None:
        """Give the network these parameters, rounded to its dtype."""
        with np.errstate(over="ignore"):  # seen in the loss
            self.network.params[self.trained] = theta

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

    def parts(self, rows: int) -> Iterator[batches.Data]:
        """The samples, so many at a time."""
        for start in range(0, self.data.rows, rows):
            yield calls.rows_of(self.data, slice(start, min(start + rows, self.data.rows)))


def _places(trainable: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """The ranges as an index into the flat vector, a slice where there is but one."""
    if len(trainable) == 1:
        return slice(int(trainable[0, 0]), int(trainable[0, 1]))
    return np.concatenate([np.arange(start, stop) for start, stop in trainable])
