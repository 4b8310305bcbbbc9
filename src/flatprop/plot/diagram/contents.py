"""All that is written into the diagram of a network: names, numbers, captions."""

from typing import Any, NamedTuple

from flatprop.evaluation.laid_open import Trace
from flatprop.network import Network
from flatprop.plot.diagram.layout import CHARACTER, SPACE, shown_units

MOST_EDGES = 64
"""On how many edges numbers are written, unless they are asked for."""
TOGETHER = 4
"""Up to how many edges that cross ∂L/∂W stands with W, not at the other end."""


class Cell(NamedTuple):
    """One quantity in a node: its symbol, and a number for every sample."""

    symbol: str
    values: tuple[str, ...]
    gradient: bool = False

    @property
    def width(self) -> float:
        return max(len(text) for text in (self.symbol, *self.values)) * CHARACTER + SPACE


class Contents:
    """The texts of one diagram, by layer and unit; place 0 stands for the inputs.

    Parameters
    ----------
    feature_names, output_names
        One per input and output; outputs without names have "".
    numbers
        Whether W and b are written out; None decides by how many there are.
    most
        How many units of a layer are shown at most.
    """

    def __init__(
        self,
        net: Network,
        trace: Trace | None,
        feature_names: list[str],
        output_names: list[str],
        numbers: bool | None,
        digits: int,
        most: int,
    ) -> None:
        self.net, self.trace, self.digits = net, trace, digits
        # of the trace: the network may have been trained on since
        self.weights = [layer.W for layer in trace.layers] if trace else list(net.weights)
        self.feature_names, self.output_names = feature_names, output_names
        self.units = [net.inputs, *(layer.units for layer in net.dense)]
        self.shown = [shown_units(count, most) for count in self.units]
        self.edges = sum(len(m) * len(n) for m, n in zip(self.shown, self.shown[1:], strict=False))
        all_shown = max(self.units) <= most
        self.numbers = self.edges <= MOST_EDGES and all_shown if numbers is None else bool(numbers)
        self.cells = [
            {unit: self._cells(place, unit) for unit in units}
            for place, units in enumerate(self.shown)
        ]

    def text(self, value: Any) -> str:
        number = float(value)
        return f"{number if number else 0:.{self.digits}g}".replace("-", "−")

    def caption(self, place: int) -> str:
        if place == 0:
            return _many(self.net.inputs, "input")
        layer = self.net.dense[place - 1]
        return f"layer {place}: {_many(layer.units, 'unit')}\n{layer.name}"

    def _cells(self, place: int, unit: int) -> list[Cell]:
        """The quantities of a node, in the order of the chain rule."""
        if self.trace is None:
            if place == 0 or not self.numbers:
                return []
            return [Cell("b", (self.text(self.net.biases[place - 1][unit]),))]
        if place == 0:
            table = [(self.feature_names[unit], self.trace.layers[0].x, False)]
        else:
            layer = self.trace.layers[place - 1]
            last = place == len(self.net.dense)
            table = [("z", layer.z, False), ("a = ŷ" if last else "a", layer.a, False)]
            if last:
                table.append(("y", self.trace.y, False))
            table.append(("∂L/∂a", layer.dL_da, True))
            if layer.da_dz is not None:
                table.append(("∂a/∂z", layer.da_dz, True))
            table.append(("∂L/∂z", layer.dL_dz, True))
        cells = [
            Cell(symbol, tuple(map(self.text, values[:, unit])), gradient)
            for symbol, values, gradient in table
        ]
        if place == len(self.net.dense) and self.output_names[unit]:
            cells.insert(0, Cell(self.output_names[unit], ()))
        return cells

    def has_bias_line(self, place: int) -> bool:
        return self.trace is not None and place > 0 and self.numbers

    def bias_line(self, place: int, unit: int) -> tuple[str, str]:
        """b and ∂L/∂b, below the table of a traced node."""
        assert self.trace is not None
        layer = self.trace.layers[place - 1]
        return f"b = {self.text(layer.b[unit])}", f"∂L/∂b = {self.text(layer.dL_db[unit])}"

    @property
    def loss_caption(self) -> str:
        assert self.trace is not None
        return f"loss\n{self.trace.loss_name}"

    @property
    def loss(self) -> Cell:
        """The loss of a trace."""
        assert self.trace is not None
        return Cell("L", (self.text(self.trace.loss),))

    def at_both_ends(self, number: int) -> bool:
        """Whether W stands at the beginning of an edge into a layer, and ∂L/∂W at its end."""
        m, n = len(self.shown[number]), len(self.shown[number + 1])
        return self.trace is not None and min(m, n) > 1 and m * n > TOGETHER

    def on_edge(self, number: int, i: int, j: int) -> tuple[str, str]:
        """W, and ∂L/∂W or "" without a trace; with symbols where these stand together."""
        w = self.text(self.weights[number][i, j])
        if self.trace is None:
            return w, ""
        slope = self.text(self.trace.layers[number].dL_dW[i, j])
        if self.at_both_ends(number):
            return w, slope
        return f"W = {w}", f"∂L/∂W = {slope}"

    def key(self) -> list[tuple[str, str, str]]:
        """For each entry its text, the colour of its line, "" for none, and that of the text."""
        entries = [("positive weight", "positive", "ink"), ("negative weight", "negative", "ink")]
        if self.trace is not None:
            entries.append(("values: forward →", "", "ink"))
            entries.append(("derivatives: backward ←", "", "gradient"))
        if self.numbers and any(map(self.at_both_ends, range(len(self.net.dense)))):
            entries.append(("W at the start of an edge, ∂L/∂W at its end", "", "ink"))
        return entries


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
