"""How a notebook shows a network, a trace and a history: HTML without scripts or further files.

Text and lines take the colour of the page, and there is no background, so that they can be
read on light and dark pages.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from flatprop.model.model import Model

FloatArray = NDArray[np.float64]

# Notebooks have styles of their own for tables, among them stripes, and wrap what stands in pre.
TABLE = (
    "border-collapse:collapse;border:0;margin:0.3em 0;font:inherit;color:inherit;background:none"
)
ROW = "background:none;border:0"
CELL = "padding:0.15em 0.7em;border:0;background:none;text-align:{align};white-space:nowrap"
RULE = ";border-bottom:1px solid currentColor"
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}" '
    'viewBox="0 0 {width} {height}" style="color:inherit;background:none" fill="none" '
    'stroke="currentColor"><title>{title}</title>{drawing}</svg>'
)
WIDTH, HEIGHT = 260, 80
"""The size of a loss curve."""
ACROSS, DOWN, RADIUS = 150, 46, 8
"""From one layer of a diagram to the next, from one unit to the next; and the size of a unit."""
MOST_UNITS = 6
"""How many units of a layer a diagram shows."""


def of_network(net: Model) -> str:
    """A table of the layers."""
    rows, inputs = [], net.inputs
    for number, layer in enumerate(net.dense, start=1):
        shape = f"{inputs:,} → {layer.units:,}"
        rows.append([str(number), shape, layer.name, f"{layer.n_params(inputs):,}"])
        inputs = layer.units
    size = net.params.size
    total = (
        f"{size:,} parameter{'s' * (size != 1)}, {size * net.dtype.itemsize:,} bytes, "
        f"{net.dtype.name}; loss {net.loss_function.name}: {net.loss_function.reduction}"
    )
    header = ["layer", "inputs → units", "activation", "parameters"]
    table = _table(header, rows, ["right", "right", "left", "right"])
    caption = f"<div>{escape(total)}</div>"
    return f"<div><strong>Network</strong>{table}{caption}</div>"


def of_training(
    rows: Iterable[Sequence[str]], losses: FloatArray, val_losses: FloatArray, message: str
) -> str:
    """The results of a training in rows of two columns, and its loss curve."""
    table = _table([], rows, ["left", "left"])
    told = f"<div>{escape(message)}</div>" if message else ""
    return f"<div><strong>History</strong>{table}{_loss_curve(losses, val_losses)}{told}</div>"


def of_trace(
    title: str,
    drawing: str,
    halves: Iterable[tuple[str, Iterable[tuple[str, Iterable[Sequence[str]]]]]],
) -> str:
    """A diagram, and below it the quantities of each step: symbol, meaning, numbers."""
    text = []
    for heading, sections in halves:
        text.append(f"<div><strong>{escape(heading)}</strong></div>")
        for name, rows in sections:
            body = "".join(_quantity(*row) for row in rows)
            table = f'<table style="{TABLE}"><tbody>{body}</tbody></table>'
            text.append(f'<details open="open"><summary>{escape(name)}</summary>{table}</details>')
    return f"<div><strong>{escape(title)}</strong>{drawing}{''.join(text)}</div>"


def _quantity(symbol: str, meaning: str, numbers: str) -> str:
    left = CELL.format(align="left") + ";vertical-align:top"
    pre = "margin:0;background:none;color:inherit;font-family:monospace;white-space:pre"
    return (
        f'<tr style="{ROW}"><td style="{left}">{escape(symbol)}</td>'
        f'<td style="{left}">= {escape(meaning)}</td>'
        f'<td style="{left}"><pre style="{pre}">{escape(numbers)}</pre></td></tr>'
    )


def diagram(
    units: Sequence[int],
    names: Sequence[str],
    values: Sequence[FloatArray] | None,
    gradients: Sequence[FloatArray | None] | None,
) -> str:
    """Layers from left to right, their units joined; of one sample a, and ∂L/∂a below it.

    Of a layer with many units the first ones are shown, and how many there are.
    """
    shown = [min(count, MOST_UNITS) for count in units]
    height = DOWN * max(shown) + 40
    middle = DOWN * max(shown) / 2

    def place(layer: int, unit: int) -> tuple[float, float]:
        return 40 + ACROSS * layer, middle + DOWN * (unit - (shown[layer] - 1) / 2)

    parts = []
    for layer, (count, name) in enumerate(zip(units, names, strict=True)):
        for unit in range(shown[layer]):
            x, y = place(layer, unit)
            for before in range(shown[layer - 1] if layer else 0):
                x0, y0 = place(layer - 1, before)
                line = f'x1="{x0 + RADIUS:g}" y1="{y0:g}" x2="{x - RADIUS:g}" y2="{y:g}"'
                parts.append(f'<line {line} stroke-opacity="0.35"/>')
            parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{RADIUS}"/>')
            if values is not None:
                parts.append(_label(x + RADIUS + 3, y - 5, f"{values[layer][unit]:.4g}"))
            slope = None if gradients is None else gradients[layer]
            if slope is not None:
                parts.append(_label(x + RADIUS + 3, y + 15, f"∂ {slope[unit]:.4g}"))
        caption = name if count == shown[layer] else f"{name}: {count:,}, the first {MOST_UNITS}"
        parts.append(_label(place(layer, 0)[0], height - 10, caption, "middle"))
    width = 80 + ACROSS * (len(units) - 1) + 60
    title = "the layers from left to right" + (", with a and ∂L/∂a" if values is not None else "")
    svg = SVG.format(width=width, height=height, title=title, drawing="".join(parts))
    told = "beside each unit its a, and below it, after ∂, its ∂L/∂a"
    return f"<div>{svg}</div>" + f"<div><small>{told}</small></div>" * (values is not None)


def _label(x: float, y: float, text: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="11" text-anchor="{anchor}" fill="currentColor" '
        f'stroke="none">{escape(text.replace("-", "−"))}</text>'
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], aligned: Sequence[str]) -> str:
    def line(kind: str, texts: Sequence[str], more: str = "") -> str:
        cells = "".join(
            f'<{kind} style="{CELL.format(align=align)}{more}">{escape(text)}</{kind}>'
            for text, align in zip(texts, aligned, strict=True)
        )
        return f'<tr style="{ROW}">{cells}</tr>'

    head = f"<thead>{line('th', header, RULE)}</thead>" if header else ""
    body = "".join(line("td", row) for row in rows)
    return f'<table style="{TABLE}">{head}<tbody>{body}</tbody></table>'


def _loss_curve(losses: FloatArray, val_losses: FloatArray) -> str:
    """Training loss as a line, validation loss dashed; logarithmic where it spans decades."""
    finite = [v for v in (*losses, *val_losses) if math.isfinite(v)]
    if len(losses) < 2 or not finite:
        return ""
    low, high = min(finite), max(finite)
    logarithmic = low > 0 and high > 30 * low
    if logarithmic:
        low, high = math.log(low), math.log(high)
    height = (high - low) or 1.0

    def path(shown: FloatArray, dash: str) -> str:
        epochs, values = _thinned(shown)
        points = []
        for epoch, value in zip(epochs, values, strict=True):
            level = math.log(value) if logarithmic else value
            x = 2 + (WIDTH - 4) * epoch / (len(losses) - 1)
            y = HEIGHT - 2 - (HEIGHT - 4) * (level - low) / height
            points.append(f"{x:.1f},{y:.1f}")
        return f'<polyline points="{" ".join(points)}"{dash}/>'

    drawing = path(losses, "")
    text = "loss by epoch" + (", logarithmic" if logarithmic else "")
    if len(val_losses):
        drawing += path(val_losses, ' stroke-dasharray="4 3" stroke-opacity="0.7"')
        text += "; dashed: of the validation data"
    svg = SVG.format(width=WIDTH, height=HEIGHT, title=text, drawing=drawing)
    return f"<div>{svg}</div><div><small>{text}</small></div>"


def _thinned(losses: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
    """Epochs and their finite losses; of very many, the smallest and largest of each stretch."""
    epochs = np.flatnonzero(np.isfinite(losses))
    if len(epochs) > 2 * WIDTH:
        pieces = np.array_split(epochs, WIDTH // 2)
        ends = [(p[losses[p].argmin()], p[losses[p].argmax()]) for p in pieces]
        epochs = np.unique([epochs[0], *np.ravel(ends), epochs[-1]])
    return epochs, losses[epochs]
