"""The drawing of a network's diagram, in points, at the size of the axes."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch

from flatprop.plot.canvas import checked_axes, colours
from flatprop.plot.diagram.contents import MOST_EDGES, Cell, Contents
from flatprop.plot.diagram.layout import FONT, LINE, SPACE, Column, label_places
from flatprop.plot.diagram.placement import PADDING, TO_THE_LOSS, Placement

Point = tuple[float, float]


class Drawing:
    """One diagram, drawn where its placement says."""

    def __init__(self, contents: Contents, placement: Placement) -> None:
        self.contents, self.placement = contents, placement
        self.traced = contents.trace is not None
        self.colours = colours()
        self.largest = max(float(abs(W).max()) for W in contents.weights) or 1.0

    # ---- the whole

    def draw(self, ax: Axes | None) -> Axes:
        left, right = self.placement.extent()
        low, high = -self.placement.top - 2.5 * LINE, self.placement.top + 3 * LINE
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
        for number in range(len(self.placement.labels)):
            self._edges(number)
        for place, column in enumerate(self.placement.columns):
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
        if not text:
            return
        options = {"ha": "center", "va": "center", "color": self.colours.ink} | options
        size = options.pop("size", 1.0) * FONT * self.scale
        self.ax.text(x, y, text, fontsize=size, parse_math=False, **options)

    def _caption(self, x: float, text: str) -> None:
        self._write(x, self.placement.top + 2.8 * LINE, text, va="top", linespacing=1.4)

    # ---- edges

    def _edges(self, number: int) -> None:
        source, target = self.placement.columns[number], self.placement.columns[number + 1]
        W = self.contents.weights[number]
        pairs = [
            (abs(W[i, j]), i, j, y0, y1)
            for i, y0 in zip(source.units, source.y, strict=True)
            for j, y1 in zip(target.units, target.y, strict=True)
        ]
        for _, i, j, y0, y1 in sorted(pairs):  # the larger ones above the smaller
            start, stop = (source.right, y0), (target.x, y1)
            ends = start, stop
            if not self.traced:
                start, stop = (source.middle, y0), (target.middle, y1)
                ends = _between_circles(start, stop, source.width / 2)
            share = float(abs(W[i, j])) / self.largest
            self._edge(*ends, share, negative=W[i, j] < 0)
            label = self.placement.labels[number]
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
        width = (0.4 + (thickest - 0.4) * share) * self.scale
        colour = self.colours.negative if negative else self.colours.positive
        style: dict[str, Any] = {"color": colour, "alpha": 0.55 + 0.35 * share, "linewidth": width}
        x, y = zip(start, stop, strict=True)
        self.ax.plot(x, y, solid_capstyle="butt", zorder=1, **style)

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
        options |= {"rotation": math.degrees(angle), "rotation_mode": "anchor", "zorder": 3}
        self._write(x, y, text, va="top" if below else "bottom", size=0.88, **options)

    # ---- nodes

    def _circle(self, place: int, unit: int, column: Column, y: float) -> None:
        x, radius = column.middle, column.width / 2
        self.ax.add_patch(Circle((x, y), radius, **self._outline()))
        for cell in self.contents.cells[place][unit]:
            self._cell(x, y + LINE, cell)
        if place == 0:
            name = self.contents.feature_names[unit]
            self._write(x - radius - SPACE / 2, y, name, ha="right")
        if place == len(self.placement.columns) - 1:
            name = self.contents.output_names[unit]
            self._write(x + radius + SPACE / 2, y, name, ha="left")

    def _table(self, place: int, unit: int, column: Column, y: float) -> None:
        self._box(column.x, y, column.width, column.height)
        top = y + column.height / 2 - PADDING
        cells, widths = self.contents.cells[place][unit], self.placement.widths[place]
        x = column.middle - sum(widths) / 2
        for cell, width in zip(cells, widths, strict=True):
            self._cell(x + width / 2, top, cell)
            x += width
        if self.contents.has_bias_line(place):
            b, slope = self.contents.bias_line(place, unit)
            low = y - column.height / 2 + PADDING + LINE / 2
            self._write(column.middle - PADDING, low, b, ha="right")
            colour = self.colours.gradient
            self._write(column.middle + PADDING, low, slope, ha="left", color=colour)

    def _cell(self, x: float, top: float, cell: Cell) -> None:
        colour = self.colours.gradient if cell.gradient else self.colours.ink
        for row, text in enumerate((cell.symbol, *cell.values)):
            self._write(x, top - (row + 0.5) * LINE, text, color=colour)

    def _outline(self) -> dict[str, Any]:
        """No filling, which would show on a transparent page."""
        return {
            "facecolor": "none",
            "edgecolor": self.colours.ink,
            "linewidth": self.scale,
            "zorder": 2,
        }

    def _box(self, x: float, y: float, width: float, height: float) -> None:
        corner, rounded = (x, y - height / 2), "round,pad=0,rounding_size=5"
        box = FancyBboxPatch(corner, width, height, boxstyle=rounded, **self._outline())
        self.ax.add_patch(box)

    def _loss(self) -> None:
        last, cell = self.placement.columns[-1], self.contents.loss
        width, height = self.placement.loss_width, 2 * LINE + 2 * PADDING
        x = last.right + TO_THE_LOSS
        for y in last.y:
            self.ax.plot((last.right, x), (y, 0), color=self.colours.ink, linewidth=0.6, zorder=1)
        self._box(x, 0, width, height)
        self._cell(x + width / 2, LINE, cell)
        self._caption(x + width / 2, self.contents.loss_caption)

    # ---- the key

    def _key(self) -> None:
        entries = self.contents.key()
        lines = [getattr(self.colours, line) if line else "none" for _, line, _ in entries]
        legend = self.ax.legend(
            handles=[Line2D([], [], color=line, linewidth=2.4 * self.scale) for line in lines],
            labels=[text for text, _, _ in entries],
            labelcolor=[getattr(self.colours, colour) for _, _, colour in entries],
            loc="lower center",
            ncols=len(entries),
            frameon=False,
            fontsize=FONT * self.scale,
            borderaxespad=0,
        )
        legend.set_in_layout(False)


def _between_circles(start: Point, stop: Point, radius: float) -> tuple[Point, Point]:
    """The ends of the line between two circles around its ends."""
    length = math.dist(start, stop)
    dx, dy = (radius * (b - a) / length for a, b in zip(start, stop, strict=True))
    return (start[0] + dx, start[1] + dy), (stop[0] - dx, stop[1] - dy)
