"""The API reference: generated from what modules call public, complete, and linked from the text.

- The directive `public` documents what a module has to offer, or a part of it.
- A name such as `fp.SGD(0.1)`, `net.fit` or `Network.loss`, in the text of a page or of a
  docstring, links to its entry.
- A public name without an entry is a warning, and so an error of the build.
- A page with several entries begins with a table of them, each with its first sentence.
"""

import inspect
import re
from importlib import import_module
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.domains.python import PyObject
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

OBJECTS = {"fp": "flatprop", "net": "flatprop.Network", "history": "flatprop.History"}
"""What the names that the pages give to things stand for."""
PLACES = ("flatprop.", "flatprop.kernels.", "flatprop.losses.", "flatprop.schedules.")
"""Where a name without a module is looked for."""
RESULTS = {"Epoch", "History", "LayerTrace", "LearningRateRange", "Specialized", "Trace"}
"""Classes that flatprop makes and a user reads."""


def public(name: str) -> tuple[Any, dict[str, Any]]:
    """A module, and its public names: `__all__`, or the classes that are defined there."""
    try:
        module = import_module(name)
    except ModuleNotFoundError:  # a module by another name, such as flatprop.losses
        package, _, last = name.rpartition(".")
        module = getattr(import_module(package), last)
    listed = getattr(module, "__all__", None)
    if listed is None:
        listed = [
            key
            for key, value in vars(module).items()
            if inspect.isclass(value) and value.__module__ == module.__name__
        ]
    return module, {key: getattr(module, key) for key in listed}


def short_type(name: str) -> type:
    """What shows as its name in a signature, whatever it is subscripted by."""
    return type(name, (), {"__class_getitem__": classmethod(lambda cls, item: cls)})


class Public(SphinxDirective):
    """``public:: module``: an entry for each of its classes and functions.

    `of` takes only the subclasses of a class, `only` names what is taken.
    """

    required_arguments = 1
    option_spec: ClassVar = {
        "of": directives.unchanged,
        "only": str.split,
        "members": lambda names: [member.strip() for member in names.split(",")],
    }

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        module, found = public(name)
        base = getattr(module, self.options["of"]) if "of" in self.options else None
        if base is not None:
            found = {
                key: value
                for key, value in found.items()
                if inspect.isclass(value) and issubclass(value, base) and value is not base
            }
        lines = ["```{eval-rst}"]
        for key in self.options.get("only", found):
            value = getattr(module, key)
            if inspect.ismodule(value):
                continue
            kind = "autoclass" if inspect.isclass(value) else "autofunction"
            if not callable(value):
                kind = "autodata"
            lines.append(f".. {kind}:: {name}.{key}")
            for member in self.options.get("members", []) if kind == "autoclass" else []:
                # One by one: `:members:` would put inherited ones behind the class's own.
                lines.append(f"\n   .. {_member_kind(value, member)}:: {name}.{key}.{member}")
            lines.append("")
        return self.parse_text_to_nodes("\n".join([*lines, "```"]))


def _member_kind(owner: type, name: str) -> str:
    member = getattr(owner, name, None)
    if isinstance(member, property):
        return "autoproperty"
    return "automethod" if callable(member) else "autoattribute"


def _complete(app: Any, env: Any) -> None:
    """Warn of public names that have no entry."""
    entries = env.domains.python_domain.objects
    for module in app.config.public_modules:
        for key, value in public(module)[1].items():
            if not inspect.ismodule(value) and f"{module}.{key}" not in entries:
                logging.getLogger(__name__).warning("%s.%s is not in the reference", module, key)


def _link(app: Any, doctree: Any, docname: str) -> None:
    """Make links of the names in the text."""
    entries = app.env.domains.python_domain.objects
    for literal in list(doctree.findall(nodes.literal)):
        if isinstance(literal.parent, (nodes.reference, nodes.title)):
            continue
        match = re.fullmatch(r"([A-Za-z]\w*)((?:\.\w+)*)(?:[(\[].*)?", literal.astext())
        if match is None:
            continue
        first, rest = match.groups()
        whole = OBJECTS.get(first, first) + rest
        wanted = [whole, *(place + whole for place in PLACES if first[0].isupper() or rest)]
        wanted += [name.rpartition(".")[0] for name in wanted]  # an attribute of a class
        target = next((name for name in wanted if name in entries), None)
        if target is None or entries[target].objtype == "module":
            continue
        entry = entries[target]
        literal.replace_self(
            make_refnode(
                app.builder, docname, entry.docname, entry.node_id, literal.deepcopy(), target
            )
        )


def _summarise(app: Any, doctree: Any) -> None:
    """Put a table of the page's entries before the first of them."""
    entries = [node for node in doctree.findall(addnodes.desc) if node["domain"] == "py"]
    if len(entries) < 2:
        return
    body = nodes.tbody()
    for entry in entries:
        signature, sentence = entry[0], _first_sentence(entry)
        if not sentence:  # an attribute that its class describes
            continue
        _, dot, own = signature["fullname"].rpartition(".")
        name = nodes.literal("", dot + own)
        link = nodes.reference("", "", name, internal=True, refid=signature["ids"][0])
        cells = nodes.paragraph("", "", link), nodes.paragraph("", "", *sentence)
        body += nodes.row("", *(nodes.entry("", cell) for cell in cells))
    columns = [nodes.colspec(colwidth=width) for width in (35, 65)]
    table = nodes.table("", nodes.tgroup("", *columns, body, cols=2), classes=["summary"])
    first = next(
        node for node in doctree.findall() if isinstance(node, addnodes.desc) or _is_part(node)
    )
    first.parent.insert(first.parent.index(first), table)


def _is_part(node: nodes.Node) -> bool:
    """Whether it is a section of a page, not the page itself."""
    return isinstance(node, nodes.section) and isinstance(node.parent, nodes.section)


def _first_sentence(entry: addnodes.desc) -> list[nodes.Node]:
    paragraph = next((node for node in entry[-1] if isinstance(node, nodes.paragraph)), None)
    sentence: list[nodes.Node] = []
    for part in paragraph or ():
        # A shape such as "(slots, parameters)." says too little by itself.
        end = re.search(r"(?<!\))[.:](?= |$)", part) if isinstance(part, nodes.Text) else None
        if end:
            return [*sentence, nodes.Text(part[: end.start()])]
        sentence.append(part.deepcopy())
    return sentence


def _docstring(app: Any, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Take a docstring as it was meant."""
    if kind == "method":
        lines[:] = _without_field(lines, next(iter(inspect.signature(thing).parameters)))
    if kind == "property":  # of which napoleon takes what precedes a colon for its type
        lines[:] = [*(inspect.getdoc(thing) or "").split("\n"), ""]
    if kind == "data" and inspect.getdoc(thing) == inspect.getdoc(type(thing)):
        lines.clear()
    lines[:] = _one_by_one(lines)
    # In plain text |d| is the size of d, in reStructuredText the name of a substitution.
    lines[:] = [re.sub(r"(``.*?``)|\|", lambda match: match[1] or r"\|", line) for line in lines]


def _without_field(lines: list[str], parameter: str) -> list[str]:
    """A docstring without this parameter: what stands before the dot when a method is called."""
    result: list[str] = []
    inside = False
    for line in lines:
        inside = line.startswith(f":param {parameter}:") or (inside and line.startswith(" "))
        if not inside:
            result.append(line)
    return result


def _one_by_one(lines: list[str]) -> list[str]:
    """Napoleon's fields for attributes, each with one name, of which no underscore is lost."""
    result: list[str] = []
    fields: list[list[str]] = []  # the copies of the field that is being read
    for line in lines:
        head = re.match(r":(ivar|vartype) ([^:]+):(.*)", line)
        if head or not line.startswith(" "):
            result += [part for field in fields for part in field]
            fields = []
        if head:
            names = [re.sub("_$", r"\\_", name) for name in head[2].split(", ")]
            fields = [[f":{head[1]} {name}:{head[3]}"] for name in names]
        elif fields:
            for field in fields:
                field.append(line)
        else:
            result.append(line)
    return result + [part for field in fields for part in field]


def _signature(
    app: Any, kind: str, name: str, thing: Any, options: Any, signature: str, result: str
) -> tuple[str, str] | None:
    """What a user does not call has no signature."""
    return ("", "") if name.rpartition(".")[2] in RESULTS else None


def _model_is_network(app: Any, env: Any, node: Any, shown: Any) -> Any:
    """Functions take any `Model`; a user has its public subclass, `fp.Network`."""
    if node.get("reftarget", "").rpartition(".")[2] != "Model":
        return None
    target = "flatprop.Network"
    entry = env.domains.python_domain.objects[target]
    text = (
        nodes.literal("", "Network") if isinstance(shown, nodes.literal) else nodes.Text("Network")
    )
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, text, target)


def setup(app: Any) -> dict[str, Any]:
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.add_config_value("public_modules", [], "env")
    app.add_directive("public", Public)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _docstring, priority=900)  # after napoleon
    app.connect("env-check-consistency", _complete)
    app.connect("missing-reference", _model_is_network)
    app.connect("doctree-read", _summarise)
    app.connect("doctree-resolved", _link)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
