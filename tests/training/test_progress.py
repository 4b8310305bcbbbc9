"""The progress bar in notebooks."""

import sys
import warnings
from types import SimpleNamespace

import pytest

import flatprop as fp


def test_a_notebook_without_widgets_has_the_bar_as_text(monkeypatch, capsys):
    pytest.importorskip("tqdm")
    notebook = SimpleNamespace(config={"IPKernelApp": {}})
    for module in [name for name in sys.modules if name.startswith("tqdm.")]:
        if module not in ("tqdm.std", "tqdm.utils", "tqdm._monitor"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: notebook))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.setitem(sys.modules, "IPython.html.widgets", None)
    net = fp.Network(1, [fp.Dense(1)], rng=0)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")  # as an error the warning would be lost within tqdm
        net.fit([[0.0], [1.0]], [[0.0], [1.0]], epochs=3, progress=True)
    assert not warned
    assert "3/3" in capsys.readouterr().err
