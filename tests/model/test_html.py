"""What notebooks show of a network, a trace and a history: well-formed, escaped, and true."""

import xml.etree.ElementTree as ET

import numba
import numpy as np
import pytest

import flatprop as fp


def parsed(thing):
    """As strict XML, which HTML parsers read the same; no scripts, styles or links."""
    root = ET.fromstring(thing._repr_html_())
    names = {element.tag.split("}")[-1] for element in root.iter()}
    assert not names & {"script", "style", "link", "img", "iframe"}
    return root


def rows(root):
    return [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]


def test_network():
    layers = [fp.Dense(128, "relu"), fp.Dense(10, "softmax")]
    root = parsed(fp.Network(784, layers, "cross_entropy", rng=0))
    assert rows(root) == [
        ["layer", "inputs → units", "activation", "parameters"],
        ["1", "784 → 128", "relu", "100,480"],
        ["2", "128 → 10", "softmax", "1,290"],
    ]
    text = "".join(root.itertext())
    assert "101,770 parameters, 407,080 bytes, float32" in text
    assert "loss cross_entropy: mean over samples" in text


def test_names_are_escaped():
    @numba.njit
    def own(z):
        return z, 1.0

    own.__name__ = "<b>&own"
    root = parsed(fp.Network(1, [fp.Dense(1, own)], rng=0))
    assert rows(root)[1] == ["1", "1 → 1", "<b>&own", "2"]
    history = fp.History(np.array([1.0]), message="<script>alert(1)</script>")
    assert "<script>alert(1)</script>" in "".join(parsed(history).itertext())


def test_it_has_no_colours_of_its_own():
    history = fp.History(np.array([3.0, 1.0]), np.array([4.0, 2.0]))
    html = fp.Network(1, [fp.Dense(1)], rng=0)._repr_html_() + history._repr_html_()
    assert "#" not in html
    assert "rgb" not in html
    assert "currentColor" in html


def points(root):
    lines = root.iter("{http://www.w3.org/2000/svg}polyline")
    return [np.array([p.split(",") for p in l.get("points").split()], float) for l in lines]


def test_history():
    loss, val_loss = np.array([4.0, 2.0, 1.0, 3.0]), np.array([5.0, 3.0, 2.0, 2.5])
    history = fp.History(loss, val_loss, np.ones(4), "patience", 2, seconds=1.25)
    root = parsed(history)
    assert rows(root) == [
        ["epochs", "4"],
        ["stopped by", "patience"],
        ["time", "1.25 s"],
        ["loss", "4 → 3"],
        ["val_loss", "5 → 2.5"],
        ["best epoch", "2"],
    ]
    for line, values in zip(points(root), (loss, val_loss), strict=True):
        assert (np.diff(line[:, 0]) > 0).all()
        # upwards is down in SVG, and all on one scale
        np.testing.assert_allclose(line[:, 1], 78 - 76 * (values - 1) / 4, atol=0.06)


@pytest.mark.parametrize("epochs", [0, 1, 2, 3000])
def test_curves_of_any_length(epochs):
    rng = np.random.default_rng(0)
    loss = np.exp(rng.normal(size=epochs) - 5 * np.arange(epochs) / max(epochs, 1))
    loss[1:2] = np.nan if epochs > 2 else 1
    root = parsed(fp.History(loss))
    lines = points(root)
    assert len(lines) == (epochs > 1)
    if lines:
        (line,) = lines
        assert len(line) <= 520
        x0, x1 = line[0, 0], line[-1, 0]
        assert (x0, x1) == (2, 258)
        assert (line[:, 1].min(), line[:, 1].max()) == (2, 78)  # no peak is lost
    assert ("logarithmic" in "".join(root.itertext())) == (epochs == 3000)


SVG = "{http://www.w3.org/2000/svg}"


def test_a_trace_of_one_sample():
    net = fp.Network(2, [fp.Dense(3, "tanh"), fp.Dense(1)], "half_mse", "float64", rng=0)
    trace = net.trace([[0.25, -2.0]], [[1.0]])
    root = parsed(trace)
    names = [row[0] for row in rows(root)]
    assert names[:8] == ["x", "W", "b", "z", "a", "x", "W", "b"]
    assert names[-5:] == ["∂L/∂a", "∂a/∂z", "∂L/∂z", "∂L/∂W", "∂L/∂b"]
    shown = {row[0]: row[2] for row in rows(root)}  # the last of each name: of the first layer
    assert shown["∂L/∂b"] == np.array2string(trace.layers[0].dL_db, precision=6)
    # six units and nine edges; beside the units their a, ∂L/∂a of all but the inputs; captions
    assert [len(list(root.iter(SVG + kind))) for kind in ("circle", "line", "text")] == [6, 9, 13]
    texts = [text.text.replace("−", "-") for text in root.iter(SVG + "text")]
    for value in (0.25, -2.0, *trace.layers[0].a[0], *trace.layers[1].a[0]):
        assert f"{value:.4g}" in texts
    assert f"∂ {trace.layers[0].dL_da[0, 1]:.4g}" in texts


def test_a_trace_of_many_samples_and_units():
    """Numbers are in the tables alone, and of a wide layer the first units."""
    layers = [fp.Dense(40, "relu"), fp.LayerNorm(), fp.Dense(3, "softmax")]
    net = fp.Network(2, layers, "cross_entropy", rng=0)
    root = parsed(net.trace(np.ones((5, 2)), [0, 1, 2, 0, 1]))
    texts = [text.text for text in root.iter(SVG + "text")]
    many = "40, the first 6"
    assert texts == ["inputs", f"relu: {many}", f"layer_norm: {many}", "softmax"]
    assert {"γ", "β", "∂L/∂γ", "∂L/∂β"} < {row[0] for row in rows(root)}
