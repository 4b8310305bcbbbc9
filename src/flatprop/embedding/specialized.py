"""Networks so small that it pays to compile one's sizes into the code."""

from typing import Any, NamedTuple

from flatprop.model.model import Model, checked_dense, checked_model
from flatprop.validation import checks

MOST_PARAMETERS = 1500
"""Compiling one function takes some seconds then, and soon a minute; other kernels have
been faster for long."""


class Specialized(NamedTuple):
    """Functions for networks of certain sizes, to be called from Python or from `@njit` code.

    Arrays are C-contiguous and of the network's dtype: `params` as `net.params`, `x` (rows,
    inputs), `y` (rows, outputs), or (rows,) where there is one output; for "cross_entropy"
    class indices (rows,), of any integer type too, or probabilities (rows, outputs).
    `weight` is (rows,) or None. Nothing is allocated, and no lock is held.

    Numba does not cache on disk a function of yours that calls them, and warns where it has
    ``cache=True``: in a later process the same name may stand for another network.

    Shapes are checked, the values are not: NaN goes through to the result, and an index
    that is no class counts as none. Another shape raises ValueError, before anything
    changed, another dtype or layout `numba.TypingError`.

    Attributes
    ----------
    forward : function
        ``forward(params, x, out)`` writes the outputs after the last activation to `out`,
        (rows, outputs).
    loss_and_gradient : function
        ``loss_and_gradient(params, x, y, weight, gradient)`` returns the loss, a float64, and
        overwrites `gradient`, laid out as `params`.
    sgd_step : function
        ``sgd_step(params, x, y, weight, learning_rate)`` takes one step of plain gradient
        descent, θ ← θ - lr ∂L/∂θ, in `params`; returns the loss before it.
    sgd_steps : function
        ``sgd_steps(params, x, y, weight, learning_rate, steps)`` takes so many of them;
        returns the loss before the last one. Ctrl-C waits for the end of a call.
    """

    forward: Any
    loss_and_gradient: Any
    sgd_step: Any
    sgd_steps: Any


def specialize(network: Model, batch_size: int | None = None) -> Specialized:
    """Compile functions with the sizes of a network as constants.

    The numbers are those of `Network.predict`, `Network.loss_and_gradient` and a full-batch
    `Network.fit` with plain `SGD`, but for the order in which sums are added up.

    It pays for the smallest networks: their parameters stay in registers from step to step.
    A step's time is then mostly latency: each operation waits for the previous one. Steps of
    `sgd_steps` are 5 to 15 times as fast as those of `fit` in networks such as 1-2-1 or 2-4-1
    with a few rows, 2 to 6 times with two hidden layers of 8 units, no faster with 16 and
    slower beyond. Widths that are powers of two suit it best. ``python -m
    benchmarks.specialized`` measures all this.

    Parameters
    ----------
    network
        Gives sizes, activations, loss and dtype; not the parameters, which every function
        takes. Networks of equal sizes share one set of functions.
    batch_size
        The number of rows, if it is always the same: one more constant. None takes any.

    Returns
    -------
    Specialized
        Functions, each compiled by its first call: in about a tenth of a second for a tiny
        network, in seconds for one near the limit. Later processes find them on disk.

    Raises
    ------
    TypeError, ValueError
        If `network` is no Network, `batch_size` is not a positive whole number, or the network
        has more than 1,500 parameters, a layer that is not dense, an activation or a loss of
        your own, or a loss over the whole row of outputs.

    Examples
    --------
    >>> import flatprop as fp, numpy as np
    >>> net = fp.Network(1, [fp.Dense(2, "relu"), fp.Dense(1)], rng=0)
    >>> s = fp.specialize(net, batch_size=3)
    >>> x = np.array([[0.0], [0.5], [1.0]], np.float32)
    >>> loss = s.sgd_steps(net.params, x, 2 * x, None, 0.1, 1000)  # net is trained
    """
    from flatprop.kernels.fixed_size.fixed_functions import functions
    from flatprop.kernels.fixed_size.sizes import Sizes

    checked_model("specialize", network)
    checked_dense("specialize", network)
    rows = 0 if batch_size is None else checks.count("batch_size", batch_size)
    loss_record = network.objectives[0]
    if network.layers["activation"].min() < 0 or loss_record["loss"] < 0:
        raise ValueError(
            "a network with an activation or a loss of your own, or with a loss over the whole "
            "row of outputs, cannot be specialised; use net.fit, or flatprop.kernels.sgd_step in "
            "compiled code"
        )
    if network.params.size > MOST_PARAMETERS:
        raise ValueError(
            f"a network of {network.params.size:,} parameters is too large to be specialised: "
            f"more than {MOST_PARAMETERS:,} take long to compile and are slower for it; "
            "use net.fit, or flatprop.kernels.sgd_step in compiled code"
        )
    sizes = Sizes(
        bits=8 * network.dtype.itemsize,
        units=(network.inputs, *network.layers["units"].tolist()),
        activations=tuple(network.layers["activation"].tolist()),
        loss=int(loss_record["loss"]),
        divisor=float(loss_record["divisor"]),
        from_logits=int(loss_record["from_logits"]),
        parameter=float(loss_record["parameter"]),
        rows=rows,
    )
    return Specialized(*functions(sizes.text()))
