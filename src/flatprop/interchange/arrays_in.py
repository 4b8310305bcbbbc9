"""Parameters that come from elsewhere: all are checked, then copied into a network."""

from collections.abc import Iterable

from flatprop.model.model import Model
from flatprop.validation import checks


def assign(network: Model, arrays: Iterable[tuple[str, object]], transposed: bool = False) -> None:
    """Copy the named arrays W, b, W, b, ... into the network; none unless all of them fit.

    W is (inputs, units), or (units, inputs) if `transposed`.
    """
    places = []
    for W, b in network.parameter_pairs():
        places += [W.T if transposed else W, b]
    axes = "(units, inputs)" if transposed else "(inputs, units)"
    copies = []
    for place, (name, value) in zip(places, arrays, strict=True):
        array = checks.numbers(name, value, network.dtype)
        if array.shape != place.shape:
            wanted = f"{axes} = {place.shape}" if place.ndim == 2 else f"(units,) = {place.shape}"
            turned = place.ndim == 2 and array.shape == place.shape[::-1]
            hint = " Is it transposed?" if turned else ""
            raise ValueError(
                f"{name} must have shape {wanted}, but it has {array.shape}; the network is "
                f"{network!r}.{hint}"
            )
        copies.append(array)
    for place, array in zip(places, copies, strict=True):
        place[:] = array
