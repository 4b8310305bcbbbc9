"""A network as a diagram; with a trace, one backpropagation written into it."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from flatprop.evaluation.laid_open import Trace
from flatprop.model.model import checked_dense, checked_model
from flatprop.network import Network
from flatprop.plot.canvas import in_their_colours
from flatprop.plot.diagram.contents import Contents
from flatprop.plot.diagram.drawing import Drawing
from flatprop.plot.diagram.placement import Placement
from flatprop.validation import checks

MOST_SAMPLES = 4


@in_their_colours
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

    An edge is the thicker, the larger its weight is; its colour says the sign. The number in a
    node is its bias b. With a trace one backpropagation is written into the picture, as on a
    board: in the nodes z and a, then ∂L/∂a, ∂a/∂z and their product ∂L/∂z, on the edges W and
    ∂L/∂W, and at the right the loss L.

    Parameters
    ----------
    net
        The network.
    trace
        What ``net.trace(X, y)`` returned for one sample, or for up to four, whose numbers
        stand one below the other.
    ax
        Where to draw; None makes a figure of a size that suits the network. Text is scaled to
        the axes that are given, which should not be much smaller than that.
    feature_names, output_names
        One per input and output.
    numbers
        Whether W and b, and the gradients with respect to them, are written out; None writes
        them for up to 64 edges, if no units are left out.
    digits
        How many significant digits numbers have.
    max_units
        How many units of a layer are drawn at most, 3 or more. Of a larger layer the middle
        units are left out.

    Returns
    -------
    matplotlib.axes.Axes
        Without frame and ticks. At the size that None for `ax` chooses, one unit along either
        axis is a point, 1/72 inch.

    Raises
    ------
    TypeError, ValueError
        If the trace is of another network or of too many samples, or the names do not fit.

    Examples
    --------
    >>> net = fp.Network(1, [fp.Dense(2, "softplus"), fp.Dense(1)], loss="ssr", rng=0)
    >>> fp.plot.network(net)  # doctest: +SKIP
    >>> fp.plot.network(net, net.trace([[0.5]], [[1.0]]))  # doctest: +SKIP
    """
    checked_model("plot.network", net)
    checked_dense("plot.network", net)
    checks.finite("net.params", net.params)
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
    return Drawing(contents, Placement(contents, most)).draw(ax)


def _checked_trace(net: Network, trace: Trace | None) -> Trace | None:
    if trace is None:
        return None
    if not isinstance(trace, Trace):
        raise TypeError(f"trace must be what net.trace(X, y) returned, got {trace!r}")
    layers = [(layer.W.shape, layer.activation) for layer in trace.layers]
    if layers != [(W.shape, d.name) for W, d in zip(net.weights, net.dense, strict=True)]:
        raise ValueError("trace is of another network: its layers are not those of net")
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
