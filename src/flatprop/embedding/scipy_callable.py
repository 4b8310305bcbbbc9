"""A network as a callback that SciPy calls without Python."""

import ctypes
from typing import Any

import numpy as np

from flatprop.embedding.c_interface import c_network
from flatprop.kernels.network.workspace import workspace_size
from flatprop.model.model import Model
from flatprop.validation import checks
from flatprop.validation.arrays import aligned_empty

SIGNATURES = {
    "integrand": "double (int, double *, void *)",
    "filter": "int (double *, npy_intp, double *, void *)",
}


class _UserData(ctypes.c_void_p):
    """A pointer for C that keeps alive what it leads to."""

    kept: tuple[Any, ...]


def low_level_callable(net: Model, kind: str = "integrand", output: int = 0) -> Any:
    """A network as a `scipy.LowLevelCallable`.

    It computes in the network's dtype; SciPy's numbers are converted from and to float64.
    Only the number of inputs is checked. If it is wrong, the value is NaN.

    Parameters
    ----------
    net
        The network. The callable computes with its parameters as they are when it is
        called, and keeps it alive.
    kind
        "integrand", for `scipy.integrate.quad` of a network with one input, `dblquad`,
        `tplquad` and `nquad` of one with more, which they pass in the order of their
        documentation; or "filter", for `scipy.ndimage.generic_filter` with as many
        elements in its footprint as the network has inputs. What a float32 network gives is
        rough to 1e-7 of its size, and `quad` cannot be asked for more.
    output
        Which of the network's outputs is the value.

    Returns
    -------
    scipy.LowLevelCallable
        For one thread at a time, since it has a workspace of its own; make one for each.

    Raises
    ------
    ImportError
        If there is no SciPy.
    TypeError, ValueError
        If `net` is not a Network, or it has no such output.

    Examples
    --------
    >>> import flatprop as fp
    >>> from scipy.integrate import quad
    >>> net = fp.Network(1, [fp.Dense(8, "tanh"), fp.Dense(1)], dtype="float64", rng=0)
    >>> area, error = quad(fp.low_level_callable(net), 0, 1)
    """
    try:
        from scipy import LowLevelCallable
    except ImportError:
        raise ImportError(
            "low_level_callable needs SciPy, which is not installed: pip install scipy"
        ) from None
    from flatprop.kernels.embedded import scipy_functions

    network = c_network(net)
    checks.choice("kind", kind, SIGNATURES)
    place = checks.count("output", output, least=0)
    if place >= net.outputs:
        raise ValueError(f"output is {place}, but the network has {net.outputs}, from 0 on")
    function = ctypes.CFUNCTYPE(None)(scipy_functions.address(kind, net.dtype))
    call = np.zeros(1, scipy_functions.CALLABLE)
    row, out, workspace = (
        aligned_empty(size, net.dtype)
        for size in (net.inputs, net.outputs, workspace_size(net.layers, 1))
    )
    addresses = (array.ctypes.data for array in (row, out, workspace))
    call[0] = (network.address, place, *addresses)
    data = _UserData(call.ctypes.data)
    data.kept = (network, call, row, out, workspace)
    return LowLevelCallable(function, data, SIGNATURES[kind])
