"""The house: floors, no circles of imports, short files, every name once.

Imports inside functions and for types count as all others do.
"""

import ast
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import flatprop

SOURCES = Path(flatprop.__file__).parent
FLOORS = (
    "validation",
    "numbers",
    "formulas",
    "kernels.processor",
    "kernels.cache",
    "kernels.pipeline",
    "kernels.compile",
    "kernels.loops",
    "kernels.products",
    "kernels.threads",
    "kernels.network",
    "kernels.lanes",
    "kernels.embedded",
    "kernels.checked",
    "kernels.fixed_size",
    "kernels",
    "model",
    "samples",
    "evaluation",
    "export",
    "embedding",
    "solvers",
    "training",
    "network",
    "many",
    "version_0_1",
    "interchange",
    "sklearn",
    "plot",
    "",
    "data",
    "tables",
    "worked_examples",
    "cli",
    "__main__",
)
"""From the bottom up; "" is `flatprop/__init__.py`, which hands out what is below."""
LONGEST = 350


def modules():
    """The name below `flatprop` of every module, and its file."""
    found = {}
    for path in sorted(SOURCES.rglob("*.py")):
        parts = path.relative_to(SOURCES).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}


def imported(tree):
    """The modules of the package that a module imports, wherever in it."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide what they import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if below(name) in MODULES else node.module for name in whole]
        for name in names:
            if name.split(".")[0] == "flatprop":
                assert below(name) in MODULES, name
                yield below(name)


def below(name):
    return name.removeprefix("flatprop").removeprefix(".")


def floor(module):
    """The number of the floor whose name is the longest that fits."""
    fitting = [f for f in FLOORS if f and (module == f or module.startswith(f"{f}."))]
    if not fitting:
        assert module == "", f"{module} is on no floor"
        return FLOORS.index("")
    return FLOORS.index(max(fitting, key=len))


GRAPH = {name: sorted(set(imported(tree)) - {name}) for name, tree in TREES.items()}


def test_no_circle_of_imports():
    try:
        list(TopologicalSorter(GRAPH).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("module", MODULES)
def test_nothing_imports_from_a_higher_floor(module):
    assert [other for other in GRAPH[module] if floor(other) > floor(module)] == []


@pytest.mark.parametrize("module", MODULES)
def test_files_are_short(module):
    assert len(MODULES[module].read_text("utf-8").splitlines()) <= LONGEST


def test_every_file_name_is_there_once():
    names = Counter(path.name for path in MODULES.values() if path.name != "__init__.py")
    assert [name for name, times in names.items() if times > 1] == []


def test_every_class_name_is_there_once():
    names = Counter(
        node.name
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, times in names.items() if times > 1] == []
