"""Formulas as MathML, which browsers draw themselves: no script, no network, any colour scheme."""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert


def mathml(tex: str, display: str) -> str:
    """A formula; what the converter does not know would stand there as it was written."""
    converted = convert(tex, display=display)
    if "\\" in converted or "<mi>&</mi>" in converted:
        raise ValueError(f"latex2mathml cannot convert {tex!r}")
    return converted


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="formula">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
