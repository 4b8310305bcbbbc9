"""A network as a diagram; with a trace, one backpropagation written into it."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from flatprop import checks
from flatprop.explain import Trace
from flatprop.network import Network
from flatprop.plot.diagram.contents import Contents
from flatprop.plot.diagram.drawing import Drawing

MOST_SAMPLES = 4


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
    if not isinstance(net, Network):
        raise TypeError(f"net must be an fp.Network, got {net!r}")
    most = checks.count("max_units", max_units, least=3)
    contents = Contents(
        net,
        _checked_trace(net, trace),
        _names("feature_names", feature_names, net.inputs, "x"),
        _names("output_names", output_names, net.outputs, ""),
        numbers,
        checks.count("digits", digits),
        most,
    )
    return Drawing(contents, most).draw(ax)


def _checked_trace(net: Network, trace: Trace | None) -> Trace | None:
    if trace is None:
        return None
    if not isinstance(trace, Trace):
        raise TypeError(f"trace must be what net.trace(X, y) returned, got {trace!r}")
    sizes = [layer.W.shape for layer in trace.layers]
    if sizes != [W.shape for W in net.weights]:
        raise ValueError("trace is of another network: its layers have other sizes")
    samples = len(trace.y)
    if samples > MOST_SAMPLES:
        raise ValueError(
            f"trace holds {samples} samples, of which no more than {MOST_SAMPLES} can be drawn; "
            "take net.trace(X[:1], y[:1])"
        )
    return trace


def _names(what: str, names: Sequence[str] | None, count: int, letter: str) -> list[str]:
    if names is None:
        if not letter:
            return [""] * count
        below = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
        return [
            letter + (str(k).translate(below) if count > 1 else "") for k in range(1, count + 1)
        ]
    names = [str(name) for name in names]
    if len(names) != count:
        raise ValueError(f"{what} has {len(names)} names, but the network has {count} of them")
    return names
