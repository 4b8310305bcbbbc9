"""A network as a diagram; with a trace, one backpropagation written into it."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from flatprop.explain import Trace
from flatprop.network import Network


def network(
    net: Network,
    trace: Trace | None = None,
    ax: Axes | None = None,
    *,
    feature_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    numbers: bool | None = None,
    digits: int = 3,
    max_units: int = 10,
) -> Axes:
    """Draw a network: its units by layer, and its weights as edges between them.

    An edge is the thicker the larger its weight; its colour says the sign. With a trace every
    node also has its z, a, ∂L/∂z and ∂L/∂a, and every edge ∂L/∂W, as one would draw a
    backpropagation on a board.

    Parameters
    ----------
    net
        The network.
    trace
        Of ``net.trace(X, y)`` with one sample, or up to four, which stand one below the other.
    ax
        Where to draw; None makes a figure of a size that suits the network.
    feature_names, output_names
        One per input and output.
    numbers
        Whether weights and biases are written out; None does where there is room.
    digits
        How many significant digits they have.
    max_units
        How many units of a layer are drawn at most; of more the middle ones are left out.

    Returns
    -------
    matplotlib.axes.Axes
        Without frame and ticks.

    Raises
    ------
    TypeError, ValueError
        If the trace is of another network or of too many samples, or the names do not fit.
    """
    raise NotImplementedError
