"""How large the nodes of a diagram are for what is written into them, and where they go."""

from flatprop.plot.diagram.contents import Cell, Contents
from flatprop.plot.diagram.layout import CHARACTER, LINE, SPACE, Label, arrange

PADDING = 4.0
"""Between the outline of a node and what is in it."""
LEAST_DIAMETER = 24.0
TO_THE_LOSS = 60.0


class Placement:
    """Sizes and places of one diagram, in points.

    Attributes
    ----------
    columns : list of Column
        The nodes of the inputs and of each layer.
    widths : list of list of float
        The widths of the columns of the tables in these nodes.
    labels : list of Label or None
        What stands along the edges into each layer.
    top : float
        The y of the upper end of the highest node; the lower end of the lowest is at -top.
    """

    def __init__(self, contents: Contents, most: int) -> None:
        self._contents = contents
        self.widths = [_widths(nodes) for nodes in contents.cells]
        sizes = [self._node_size(place) for place in range(len(contents.units))]
        inset = sizes[0][0] / 2 if contents.trace is None else 0.0
        self.labels = [self._label(number, inset) for number in range(len(contents.net.dense))]
        self.columns = arrange(contents.units, sizes, most, self.labels)
        self.top = max(column.y[0] + column.height / 2 for column in self.columns)

    @property
    def loss_width(self) -> float:
        """The width of the node with the loss."""
        return self._contents.loss.width + 2 * PADDING

    def extent(self) -> tuple[float, float]:
        """The least and the largest x of all that is drawn."""
        contents, columns = self._contents, self.columns
        left, right = 0.0, columns[-1].right
        if contents.trace is None:
            left -= max(map(len, contents.feature_names)) * CHARACTER + SPACE / 2
            right += max(map(len, contents.output_names)) * CHARACTER + SPACE / 2
        else:
            half = max(self.loss_width, _width(contents.loss_caption)) / 2
            right += TO_THE_LOSS + self.loss_width / 2 + half
        for place, column in enumerate(columns):
            half = _width(contents.caption(place)) / 2
            left, right = min(left, column.middle - half), max(right, column.middle + half)
        key = sum(len(text) * CHARACTER + 4 * LINE for text, _, _ in contents.key())
        missing = max(0.0, key - (right - left)) / 2
        return left - missing - SPACE, right + missing + SPACE

    def _node_size(self, place: int) -> tuple[float, float]:
        contents = self._contents
        if contents.trace is None:
            diameter = max(LEAST_DIAMETER, *(sum(widths) + PADDING for widths in self.widths))
            return diameter, diameter
        width, rows = sum(self.widths[place]), 1 + len(contents.trace.y)
        if contents.has_bias_line(place):
            rows += 1
            lines = [contents.bias_line(place, unit) for unit in contents.shown[place]]
            longest = max(len(text) for line in lines for text in line)
            width = max(width, 2 * (longest * CHARACTER + PADDING))
        return width + 2 * PADDING, rows * LINE + 2 * PADDING

    def _label(self, number: int, inset: float) -> Label | None:
        contents = self._contents
        if not contents.numbers:
            return None
        longest = max(
            len(text)
            for i in contents.shown[number]
            for j in contents.shown[number + 1]
            for text in contents.on_edge(number, i, j)
        )
        both_ends = contents.at_both_ends(number)
        lines = 2 if contents.trace is not None and not both_ends else 1
        return Label(longest * CHARACTER, lines, both_ends, inset)


def _width(text: str) -> float:
    return max(map(len, text.split("\n"))) * CHARACTER


def _widths(nodes: dict[int, list[Cell]]) -> list[float]:
    """The widths of the columns of the tables of one layer."""
    return [max(cell.width for cell in cells) for cells in zip(*nodes.values(), strict=True)]
