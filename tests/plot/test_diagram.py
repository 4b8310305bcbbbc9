"""The diagram of a network and of its trace."""

import re

import numpy as np
import pytest

import flatprop as fp

matplotlib = pytest.importorskip("matplotlib", reason="fp.plot needs matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

from matplotlib.colors import to_rgb  # noqa: E402

from figures import dosage, numbers, texts  # noqa: E402
from flatprop.plot import canvas  # noqa: E402

pytestmark = pytest.mark.usefixtures("nothing_left")


def drawn_weights(ax):
    """The edges: their colour and width."""
    return [(l.get_color(), l.get_linewidth()) for l in ax.lines if l.get_linewidth() != 0.6]


def test_the_diagram_of_a_network():
    net, _, _ = dosage()
    ax = fp.plot.network(net, feature_names=["dosage"], output_names=["effect"])
    shown = texts(ax)
    assert {"dosage", "effect", "1 input", "layer 1: 2 units\nsoftplus"} <= set(shown)
    assert {"3.34", "−3.53", "−1.22", "−2.3", "−1.43", "0.57", "0"} <= set(shown)
    edges = drawn_weights(ax)
    colours = canvas.colours()
    by_width = sorted(edges, key=lambda edge: edge[1])
    signs = [colours.negative, colours.negative, colours.positive, colours.negative]
    assert [colour for colour, _ in by_width] == signs  # -1.22, -2.3, 3.34, -3.53
    assert len({width for _, width in edges}) == 4


@pytest.mark.parametrize("digits", [3, 8])
def test_every_number_of_a_backpropagation(digits):
    net, X, y = dosage()
    trace = net.trace(X, y)
    ax = fp.plot.network(net, trace, digits=digits)
    shown = np.array([n for text in texts(ax) for n in numbers(text)])
    for layer in trace.layers:
        for name in ("x", "W", "b", "z", "a", "da_dz", "dL_da", "dL_dz", "dL_dW", "dL_db"):
            for value in getattr(layer, name).flat:
                nearest = np.abs(shown - value).min()
                assert nearest <= 0.5001 * 10.0 ** (1 - digits) * abs(value), name
    assert f"{trace.loss:.{digits}g}" in texts(ax)
    if digits == 3:
        assert "∂L/∂b = −15.7" in texts(ax)  # the gradient of b3, as the tutorial has it


def test_gradients_that_cross_stand_at_the_other_end():
    net = fp.Network(3, [fp.Dense(4, "tanh"), fp.Dense(2, "softmax")], "cross_entropy", rng=0)
    X = np.random.default_rng(0).normal(size=(1, 3))
    trace = net.trace(X, [1])
    ax = fp.plot.network(net, trace)
    shade = canvas.colours().gradient
    places = {t.get_text(): t.get_position()[0] for t in ax.texts if t.get_rotation()}
    gradients = {t.get_text() for t in ax.texts if t.get_rotation() and t.get_color() == shade}
    first = trace.layers[0]
    for i in range(3):
        for j in range(4):
            w, slope = (f"{m[i, j]:.3g}".replace("-", "−") for m in (first.W, first.dL_dW))
            assert places[w] < places[slope]
            assert slope in gradients
    assert "a = ŷ" in texts(ax)
    assert texts(ax).count("∂a/∂z") == 4  # none of softmax, whose outputs depend on all z


def test_what_the_trace_saw_is_drawn():
    net, X, y = dosage()
    trace = net.trace(X[:1], y[:1])
    net.params = np.ones(net.params.size)
    assert "W = 3.34" in texts(fp.plot.network(net, trace))


def test_large_networks():
    net = fp.Network(784, [fp.Dense(128, "relu"), fp.Dense(10, "softmax")], "cross_entropy", rng=0)
    ax = fp.plot.network(net)
    shown = texts(ax)
    assert {"⋮\n775 more", "⋮\n119 more", "784 inputs", "x₁", "x₇₈₄"} <= set(shown)
    assert len(ax.lines) == 9 * 9 + 9 * 10
    assert not [text for text in shown if re.fullmatch(r"−?[\d.]+", text)]
    small = fp.plot.network(net, net.trace(np.zeros((1, 784)), [3]), max_units=3, numbers=True)
    on_edges = [text.split(" = ")[0] for text in texts(small) if "W" in text]
    assert on_edges == ["W", "∂L/∂W"] * (2 * 2 + 2 * 2)


def overlaps(ax):
    """Pairs of texts whose boxes, turned as they are, have points in common."""
    figure = ax.figure
    figure.canvas.draw()
    boxes = []
    for text in ax.texts:
        if not text.get_text():
            continue
        angle, at = np.radians(text.get_rotation()), ax.transData.transform(text.get_position())
        turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        straight = text.get_rotation()
        text.set_rotation(0)
        corners = text.get_window_extent().get_points() - at
        text.set_rotation(straight)
        (x0, y0), (x1, y1) = corners
        rows = np.linspace(y0, y1, 5)[1:-1]
        grid = np.array([(x, y) for x in np.linspace(x0, x1, 60) for y in rows])
        boxes.append((text.get_text(), at + grid @ turned, at, turned, corners))
    found = []
    for name, points, *_ in boxes:
        for other, _, at, turned, ((x0, y0), (x1, y1)) in boxes:
            if other is name:
                continue
            x, y = ((points - at) @ turned.T).T
            height = 0.2 * (y1 - y0)  # a box is higher than the digits in it
            if ((x > x0) & (x < x1) & (y > y0 + height) & (y < y1 - height)).any():
                found.append((name, other))
    return found


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1), (1, 2, 1), (2, 4, 1), (4, 8, 3), (2, 3, 3, 2)])
def test_numbers_do_not_overlap(sizes, traced):
    hidden = [fp.Dense(units, "tanh") for units in sizes[1:-1]]
    net = fp.Network(sizes[0], [*hidden, fp.Dense(sizes[-1])], rng=1)
    rng = np.random.default_rng(2)
    net.params[:] = rng.normal(size=net.params.size)
    X, y = rng.normal(size=(1, sizes[0])), rng.normal(size=(1, sizes[-1]))
    ax = fp.plot.network(net, net.trace(X, y) if traced else None)
    assert [text for text in ax.texts if text.get_rotation() or sizes == (1, 1)]
    assert overlaps(ax) == []


def test_dark_pages():
    net, X, y = dosage()
    light = canvas.colours()
    with plt.style.context("dark_background"):
        ax = fp.plot.network(net, net.trace(X, y))
        dark = canvas.colours()
    inks = {to_rgb(text.get_color()) for text in ax.texts}
    assert inks == {(1, 1, 1), to_rgb(dark.gradient)}
    assert not set(dark) & set(light)
