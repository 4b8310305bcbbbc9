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
        Copies: W (inputs, units) and b (units,) of the first layer, then of the next; of a
        LayerNorm scale and shift.
    """
    checked_model("get_weights", network)
    return [array.copy() for pair in network.parameter_pairs() for array in pair]


def set_weights(network: Network, weights: Sequence[ArrayLike]) -> None:
    """Copy what ``model.get_weights()`` of a Keras model gives into a network.

    The model must have a Dense layer with a bias for every dense layer of the network, a
    LayerNormalization for every LayerNorm, and nothing else that has weights. Activations and
    loss are those of the network; mind that Keras's "leaky_relu" has the slope 0.2, flatprop's
    0.01, and that Keras normalises with an epsilon of 1e-3 unless it is given, flatprop with 1e-5.

    Parameters
    ----------
    network
        The network; unchanged if anything does not fit.
    weights
        W (inputs, units) and b (units,) of the first layer, then of the next; of a LayerNorm
        scale and shift. Converted to the network's dtype.

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
    wanted = 2 * len(network.parameter_pairs())
    if len(arrays) != wanted:
        raise ValueError(
            f"weights must hold {wanted} arrays, W and b of each layer of {network!r}, but it "
            f"holds {len(arrays)}; layers without bias, normalisation and the like have no "
            "counterpart"
        )
    assign(network, ((f"weights[{place}]", array) for place, array in enumerate(arrays)))
