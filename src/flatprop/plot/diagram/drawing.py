"""The drawing of a network's diagram, in points, at the size of the axes."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch

from flatprop.plot.canvas import checked_axes, colours
from flatprop.plot.diagram.contents import MOST_EDGES, Cell, Contents
from flatprop.plot.diagram.layout import (
    CHARACTER,
    FONT,
    LINE,
    SPACE,
    Column,
    Label,
    arrange,
    label_places,
)

PADDING = 4.0
LEAST_DIAMETER = 24.0
TO_THE_LOSS = 60.0
Point = tuple[float, float]


class Drawing:
    """One diagram: where everything goes, then the drawing of it."""

    def __init__(self, contents: Contents, most: int) -> None:
        self.contents = contents
        self.traced = contents.trace is not None
        self.colours = colours()
        self.largest = max(float(abs(W).max()) for W in contents.net.weights) or 1.0
        self.widths = [_widths(nodes) for nodes in contents.cells]
        sizes = [self._node_size(place) for place in range(len(contents.units))]
        self.labels = [self._label(number) for number in range(len(contents.net.dense))]
        self.columns = arrange(contents.units, sizes, most, self.labels)
        self.top = max(column.y[0] + column.height / 2 for column in self.columns)

    # ---- sizes

    def _node_size(self, place: int) -> Point:
        if not self.traced:
            diameter = max(LEAST_DIAMETER, *(sum(widths) + PADDING for widths in self.widths))
            return diameter, diameter
        contents, width = self.contents, sum(self.widths[place])
        rows = max(len(cell.values) for cell in contents.cells[place][0]) + 1
        if self._has_bias_line(place):
            rows += 1
            lines = [contents.bias_line(place, unit) for unit in contents.shown[place]]
            longest = max(len(text) for line in lines for text in line)
            width = max(width, 2 * (longest * CHARACTER + PADDING))
        return width + 2 * PADDING, rows * LINE + 2 * PADDING

    @property
    def loss_width(self) -> float:
        return self.contents.loss.width + 2 * PADDING

    def _has_bias_line(self, place: int) -> bool:
        return self.traced and place > 0 and self.contents.numbers

    def _label(self, number: int) -> Label | None:
        contents = self.contents
        if not contents.numbers:
            return None
        longest = max(
            len(text)
            for i in contents.shown[number]
            for j in contents.shown[number + 1]
            for text in contents.on_edge(number, i, j)
        )
        both_ends = contents.at_both_ends(number)
        return Label(longest * CHARACTER, 2 if self.traced and not both_ends else 1, both_ends)

    def _extent(self) -> tuple[float, float]:
        """The least and the largest x."""
        contents, columns = self.contents, self.columns
        left, right = 0.0, columns[-1].right
        if self.traced:
            middle = right + TO_THE_LOSS + self.loss_width / 2
            half = max(self.loss_width, _caption_width(contents.loss_caption)) / 2
            right = middle + half
        else:
            left -= max(map(len, contents.feature_names)) * CHARACTER + SPACE / 2
            right += max(map(len, contents.output_names)) * CHARACTER + SPACE / 2
        for place, column in enumerate(columns):
            half = _caption_width(contents.caption(place)) / 2
            left, right = min(left, column.middle - half), max(right, column.middle + half)
        missing = self._key_width() - (right - left)
        if missing > 0:
            left, right = left - missing / 2, right + missing / 2
        return left - SPACE, right + SPACE

    # ---- the whole

    def draw(self, ax: Axes | None) -> Axes:
        left, right = self._extent()
        low, high = -self.top - 2.5 * LINE, self.top + 3 * LINE
        width, height = right - left, high - low
        own = ax is None
        self.ax = ax = checked_axes(ax, (width / 72, height / 72))
        self.scale = 1.0
        if not own:
            box, points = ax.get_window_extent(), 72 / ax.figure.dpi
            self.scale = min(box.width * points / width, box.height * points / height, 1.5)
        ax.set_aspect("equal")
        ax.set_axis_off()
        ax.set_xlim(left, right)
        ax.set_ylim(low, high)
        for number in range(len(self.labels)):
            self._edges(number)
        for place, column in enumerate(self.columns):
            self._caption(column.middle, self.contents.caption(place))
            for unit, y in zip(column.units, column.y, strict=True):
                (self._table if self.traced else self._circle)(place, unit, column, y)
            if column.omitted:
                self._write(column.middle, column.omitted_y, f"⋮\n{column.omitted:,} more")
        if self.traced:
            self._loss()
        self._key()
        return ax

    def _write(self, x: float, y: float, text: str, **options: Any) -> None:
        options = {"ha": "center", "va": "center", "color": self.colours.ink} | options
        size = options.pop("size", 1.0) * FONT * self.scale
        self.ax.text(x, y, text, fontsize=size, **options)

    def _caption(self, x: float, text: str) -> None:
        self._write(x, self.top + 2.8 * LINE, text, va="top", linespacing=1.4)

    # ---- edges

    def _edges(self, number: int) -> None:
        source, target = self.columns[number], self.columns[number + 1]
        W = self.contents.net.weights[number]
        pairs = [
            (abs(W[i, j]), i, j, y0, y1)
            for i, y0 in zip(source.units, source.y, strict=True)
            for j, y1 in zip(target.units, target.y, strict=True)
        ]
        for _, i, j, y0, y1 in sorted(pairs):  # the larger ones above the smaller
            start, stop = (source.right, y0), (target.x, y1)
            if not self.traced:
                start, stop = _between_circles(source, y0, target, y1)
            share = float(abs(W[i, j])) / self.largest
            self._edge(start, stop, share, negative=W[i, j] < 0)
            label = self.labels[number]
            if label is not None:
                texts = self.contents.on_edge(number, i, j)
                places = label_places(source.slots, target.slots, label.both_ends)
                self._along(start, stop, places[0], texts[0], share)
                colour = self.colours.gradient
                below = not label.both_ends
                self._along(start, stop, places[1], texts[1], share, below, color=colour)

    def _edge(self, start: Point, stop: Point, share: float, negative: bool) -> None:
        edges = self.contents.edges
        thickest = 3.2 if edges <= 12 else 2.4 if edges <= MOST_EDGES else 1.6
        self.ax.plot(
            (start[0], stop[0]),
            (start[1], stop[1]),
            color=self.colours.negative if negative else self.colours.positive,
            linewidth=(0.4 + (thickest - 0.4) * share) * self.scale,
            alpha=0.3 + 0.6 * share,
            solid_capstyle="butt",
            zorder=1,
        )

    def _along(
        self,
        start: Point,
        stop: Point,
        place: float,
        text: str,
        share: float,
        below: bool = False,
        **options: Any,
    ) -> None:
        """Write along an edge, above or below it, the further off the thicker it is."""
        angle = math.atan2(stop[1] - start[1], stop[0] - start[0])
        off = (1.0 + 1.6 * share) * (-1 if below else 1)
        x = start[0] + place * (stop[0] - start[0]) - off * math.sin(angle)
        y = start[1] + place * (stop[1] - start[1]) + off * math.cos(angle)
        options |= {
            "size": 0.88,
            "rotation": math.degrees(angle),
            "rotation_mode": "anchor",
            "zorder": 3,
        }
        self._write(x, y, text, va="top" if below else "bottom", **options)

    # ---- nodes

    def _circle(self, place: int, unit: int, column: Column, y: float) -> None:
        x, radius = column.middle, column.width / 2
        edge = self.colours.ink
        self.ax.add_patch(Circle((x, y), radius, facecolor="none", edgecolor=edge, zorder=2))
        for cell in self.contents.cells[place][unit]:
            self._cell(x, y + LINE, cell)
        if place == 0:
            name = self.contents.feature_names[unit]
            self._write(x - radius - SPACE / 2, y, name, ha="right")
        if place == len(self.columns) - 1:
            name = self.contents.output_names[unit]
            self._write(x + radius + SPACE / 2, y, name, ha="left")

    def _table(self, place: int, unit: int, column: Column, y: float) -> None:
        self._box(column.x, y, column.width, column.height)
        top = y + column.height / 2 - PADDING
        cells, widths = self.contents.cells[place][unit], self.widths[place]
        x = column.middle - sum(widths) / 2
        for cell, width in zip(cells, widths, strict=True):
            self._cell(x + width / 2, top, cell)
            x += width
        if self._has_bias_line(place):
            b, slope = self.contents.bias_line(place, unit)
            low = y - column.height / 2 + PADDING + LINE / 2
            self._write(column.middle - PADDING, low, b, ha="right")
            colour = self.colours.gradient
            self._write(column.middle + PADDING, low, slope, ha="left", color=colour)

    def _cell(self, x: float, top: float, cell: Cell) -> None:
        colour = self.colours.gradient if cell.gradient else self.colours.ink
        for row, text in enumerate((cell.symbol, *cell.values)):
            self._write(x, top - (row + 0.5) * LINE, text, color=colour)

    def _box(self, x: float, y: float, width: float, height: float) -> None:
        patch = FancyBboxPatch(
            (x, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=5",
            facecolor="none",
            edgecolor=self.colours.ink,
            zorder=2,
        )
        self.ax.add_patch(patch)

    def _loss(self) -> None:
        last, cell = self.columns[-1], self.contents.loss
        width, height = self.loss_width, 2 * LINE + 2 * PADDING
        x = last.right + TO_THE_LOSS
        for y in last.y:
            self.ax.plot((last.right, x), (y, 0), color=self.colours.ink, linewidth=0.6, zorder=1)
        self._box(x, 0, width, height)
        self._cell(x + width / 2, LINE, cell)
        self._caption(x + width / 2, self.contents.loss_caption)

    # ---- the key

    def _key_entries(self) -> list[tuple[str, str, str]]:
        """Text, and the colours of line and text."""
        shades = self.colours
        entries = [
            ("positive weight", shades.positive, shades.ink),
            ("negative weight", shades.negative, shades.ink),
        ]
        if self.traced:
            entries.append(("values: forward →", "none", shades.ink))
            entries.append(("derivatives: backward ←", "none", shades.gradient))
        if any(label is not None and label.both_ends for label in self.labels):
            entries.append(("W at the start of an edge, ∂L/∂W at its end", "none", shades.ink))
        return entries

    def _key_width(self) -> float:
        return sum(len(text) * CHARACTER + 4 * FONT for text, _, _ in self._key_entries())

    def _key(self) -> None:
        entries = self._key_entries()
        legend = self.ax.legend(
            handles=[Line2D([], [], color=line, linewidth=2.4) for _, line, _ in entries],
            labels=[text for text, _, _ in entries],
            labelcolor=[colour for _, _, colour in entries],
            loc="lower center",
            ncols=len(entries),
            frameon=False,
            fontsize=FONT * self.scale,
            borderaxespad=0,
        )
        legend.set_in_layout(False)


def _caption_width(text: str) -> float:
    return max(map(len, text.split("\n"))) * CHARACTER


def _widths(nodes: dict[int, list[Cell]]) -> list[float]:
    """Of the columns of the tables of one layer."""
    return [max(cell.width for cell in cells) for cells in zip(*nodes.values(), strict=True)]


def _between_circles(source: Column, y0: float, target: Column, y1: float) -> tuple[Point, Point]:
    """The ends of the line between two circles."""
    x0, x1 = source.middle, target.middle
    length = math.hypot(x1 - x0, y1 - y0)
    dx, dy = (x1 - x0) / length, (y1 - y0) / length
    r0, r1 = source.width / 2, target.width / 2
    return (x0 + r0 * dx, y0 + r0 * dy), (x1 - r1 * dx, y1 - r1 * dy)
