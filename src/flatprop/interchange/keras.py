"""Parameters as Keras has them: `model.get_weights()` of a model of Dense layers."""

from collections.abc import Sequence

from numpy.typing import ArrayLike

from flatprop.interchange.arrays_in import assign
from flatprop.model.model import checked_model
from flatprop.network import Network
from flatprop.validation.arrays import Array


def get_weights(network: Network) -> list[Array]:
    """The parameters as ``model.set_weights`` of a Keras model with the same layers takes them.

    Parameters
    ----------
    network
        The network.

    Returns
    -------
    list of ndarray
        Copies: W (inputs, units) and b (units,) of the first layer, then of the next.
    """
    checked_model("get_weights", network)
    layers = zip(network.weights, network.biases, strict=True)
    return [array.copy() for layer in layers for array in layer]


def set_weights(network: Network, weights: Sequence[ArrayLike]) -> None:
    """Copy what ``model.get_weights()`` of a Keras model gives into a network.

    The model must have a Dense layer with a bias for every layer of the network and nothing
    else that has weights. Activations and loss are those of the network; mind that Keras's
    "leaky_relu" has the slope 0.2, flatprop's 0.01.

    Parameters
    ----------
    network
        The network; unchanged if anything does not fit.
    weights
        W (inputs, units) and b (units,) of the first layer, then of the next; converted to the
        network's dtype.

    Raises
    ------
    TypeError, ValueError
        If there are too few arrays or too many, a shape is another, or one holds anything but
        finite numbers.
    """
    checked_model("set_weights", network)
    try:
        arrays = list(weights)
    except TypeError:
        raise TypeError(
            f"weights must be a list [W, b, W, b, ...], as model.get_weights() gives, got "
            f"{weights!r}"
        ) from None
    wanted = 2 * len(network.dense)
    if len(arrays) != wanted:
        raise ValueError(
            f"weights must hold {wanted} arrays, W and b of each layer of {network!r}, but it "
            f"holds {len(arrays)}; layers without bias, normalisation and the like have no "
            "counterpart"
        )
    assign(network, ((f"weights[{place}]", array) for place, array in enumerate(arrays)))
