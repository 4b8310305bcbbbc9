"""The extension of Sphinx that runs a page and shows what each block of Python leaves."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from docutils import nodes
from page_code import ON_PAGES, Figure, run
from sphinx.util import logging


def setup(app: Any) -> dict[str, Any]:
    app.connect("doctree-read", show, priority=400)  # before Sphinx collects the images
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def show(app: Any, doctree: Any) -> None:
    """Put below each block what it printed and drew."""
    page = Path(app.env.doc2path(app.env.docname))
    literal = [
        node
        for node in doctree.findall(nodes.literal_block)
        if node.source == str(page) and node.get("language") in ("python", "console")
    ]
    if not literal:
        return
    try:
        with TemporaryDirectory() as folder:
            done = run(page, Path(folder))
    except Exception as error:
        places = "\n".join(getattr(error, "__notes__", ()))
        logging.getLogger(__name__).error("%s: %s\n%s", type(error).__name__, error, places)
        return
    results = [
        (block, shown)
        for block, shown in zip(done.blocks, done.shown, strict=True)
        if block.language in ("python", "console")
    ]
    for number, (node, (block, shown)) in enumerate(zip(literal, results, strict=True)):
        assert node.astext().strip() == block.text.strip(), f"{page}, line {block.line}"
        below = [
            _image(app, figure, mode, f"{number}-{place}")
            for place, figure in enumerate(shown.figures)
            for mode in ON_PAGES
        ]
        if shown.printed.strip():
            text = shown.printed.rstrip()
            below.insert(0, nodes.literal_block(text, text, language="text", classes=["printed"]))
        place = node.parent.index(node) + 1
        node.parent[place:place] = below


def _image(app: Any, figure: Figure, mode: str, name: str) -> Any:
    docname = app.env.docname
    path = Path(app.doctreedir, "figures", f"{docname.replace('/', '-')}-{name}-{mode}.svg")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(figure.on(mode), encoding="utf-8")
    uri = os.path.relpath(path, Path(app.env.doc2path(docname)).parent)
    return nodes.image(uri=uri, alt=figure.description, classes=[f"only-{mode}", "drawn"])
