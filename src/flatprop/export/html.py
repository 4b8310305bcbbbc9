"""How a notebook shows a network and a history: HTML without scripts or further files.

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

# Notebooks have styles of their own for tables, among them stripes.
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
