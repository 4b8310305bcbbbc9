"""Where everything in the diagram of a network goes, in points, y upwards.

The numbers of edges stand along them, where the edges of one unit have parted and have not
yet met those of the next. The edges from m units to n, evenly spaced over the same height,
are at 1 / (m + 1) of their way when the fans of neighbouring units touch; the numbers stand a
little before, as far apart as a part 1 / n (m + 1) of the height. From the other end it is the
same with m and n exchanged.
"""

from collections.abc import Sequence
from dataclasses import dataclass

FONT = 8.0
LINE = 1.45 * FONT
"""From one line of text to the next."""
CHARACTER = 0.62 * FONT
"""How wide a digit is, nearly."""
SPACE = 8.0
"""Around what must not touch."""
LEAST_GAP = 90.0
LABEL = 1.4 * FONT
"""How far apart neighbouring edges are where their numbers stand."""

LEANING = 0.43
"""How far, as a part of their length, the outermost numbers of two fans reach towards each
other, with edges as steep as `_gap` lets them be."""


@dataclass(frozen=True)
class Column:
    """The nodes of one layer."""

    x: float
    """Of their left sides."""
    width: float
    height: float
    units: tuple[int, ...]
    """Those that are drawn, from the top."""
    y: tuple[float, ...]
    """Of their middles."""
    omitted: int
    omitted_y: float

    @property
    def slots(self) -> int:
        """Nodes, and one place for all that are left out."""
        return len(self.units) + (self.omitted > 0)

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width


@dataclass(frozen=True)
class Label:
    """The numbers along the edges between two layers."""

    length: float
    lines: int = 1
    """How many there are beside each other."""
    both_ends: bool = False
    """Whether there are some at each end."""
    inset: float = 0.0
    """How far within the nodes the edges begin: at the middles of circles."""


def shown_units(units: int, most: int) -> tuple[int, ...]:
    """All units, or the first and the last ones with room for what is left out."""
    if units <= most:
        return tuple(range(units))
    first = most // 2
    return (*range(first), *range(units - (most - 1 - first), units))


def from_end(units: int) -> float:
    """How far from the end with so many units the numbers stand, as a part of the edge."""
    return 0.6 if units == 1 else 0.8 / (units + 1)


def label_places(sources: int, targets: int, both_ends: bool) -> tuple[float, float]:
    """How far along an edge its two numbers stand, 0 to 1; the same place if not apart."""
    if sources == targets == 1:
        return 0.5, 0.5
    first, last = from_end(sources), 1 - from_end(targets)
    if both_ends:
        return first, last
    place = first if sources <= targets else last
    return place, place


def arrange(
    units: Sequence[int],
    node_sizes: Sequence[tuple[float, float]],
    most: int,
    labels: Sequence[Label | None],
) -> list[Column]:
    """Places for the nodes of all layers.

    Parameters
    ----------
    units
        Of the inputs and of each layer.
    node_sizes
        Width and height of a node of each.
    most
        How many units of a layer are drawn at most.
    labels
        What stands along the edges from each to the next.
    """
    shown = [shown_units(count, most) for count in units]
    slots = [len(s) + (len(s) < count) for s, count in zip(shown, units, strict=True)]
    height = max(count * (size[1] + SPACE) for count, size in zip(slots, node_sizes, strict=True))
    for place, label in enumerate(labels):
        if label is not None:
            height = max(height, _height_for(label, slots[place], slots[place + 1]))
    columns: list[Column] = []
    x = 0.0
    for place, (width, node_height) in enumerate(node_sizes):
        middles = [height * (0.5 - (slot + 0.5) / slots[place]) for slot in range(slots[place])]
        omitted_y = 0.0
        if slots[place] > len(shown[place]):
            omitted_y = middles.pop(most // 2)
        omitted = units[place] - len(shown[place])
        column = Column(x, width, node_height, shown[place], tuple(middles), omitted, omitted_y)
        columns.append(column)
        if place < len(labels):
            x += width + _gap(labels[place], slots[place], slots[place + 1], height)
    return columns


def _height_for(label: Label, m: int, n: int) -> float:
    """The height at which numbers of neighbouring edges do not touch."""
    first, last = label_places(m, n, label.both_ends)
    ends = [(first, m, n), (1 - last, n, m)]
    if first == last:
        ends = ends[:1] if m <= n else ends[1:]
    least = 0.0
    for along, near, far in ends:
        within = along / far  # a fan, as parts of the height
        between = (1 - along) / near - along * (far - 1) / far
        tall = label.lines * LABEL
        if far > 1:
            least = max(least, tall / within)
        if near > 1:  # the outermost numbers of two fans lean towards each other
            least = max(least, (tall + LEANING * label.length * (far > 1)) / between)
    return least


def _gap(label: Label | None, m: int, n: int, height: float) -> float:
    """How far apart two columns are, so that numbers have room and edges are not steep."""
    steepest = height * (1 - (1 / m + 1 / n) / 2)
    if label is None:
        return max(LEAST_GAP, 0.4 * steepest)
    first, last = label_places(m, n, label.both_ends)
    reach = min(first, 1 - first, last, 1 - last)
    room = label.inset + SPACE + label.length / 2  # up to the middle of the numbers
    return max(LEAST_GAP, room / reach - 2 * label.inset, 0.9 * steepest)
