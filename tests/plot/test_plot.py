"""Pictures: what is drawn is what was computed, in any style, and nothing is left behind."""

import re
import subprocess
import sys
import types

import numpy as np
import pytest

import flatprop as fp

matplotlib = pytest.importorskip("matplotlib", reason="fp.plot needs matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

from matplotlib.colors import to_rgb  # noqa: E402

from flatprop.plot import canvas, screens  # noqa: E402


@pytest.fixture(autouse=True)
def nothing_left():
    """No setting is changed; figures are the caller's, who closes them."""
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


def texts(ax):
    """All that is written into the axes."""
    return [text.get_text() for text in ax.texts if text.get_text()]


def numbers(text):
    return [float(n) for n in re.findall(r"-?\d[\d.]*(?:e-?\d+)?", text.replace("−", "-"))]


def line(ax, label):
    (found,) = (one for one in ax.lines if one.get_label() == label)
    return found


# ---- histories


def history(epochs=50, **fields):
    loss = 2.0 * 0.9 ** np.arange(epochs)
    given = {"loss": loss, "learning_rate": np.full(epochs, 0.1), "stopped_by": "epochs"}
    return fp.History(**(given | fields))


def test_loss_curves():
    val_loss = 1 + (np.arange(50) - 30.0) ** 2
    h = history(val_loss=val_loss, best_epoch=30, stopped_by="patience")
    ax = fp.plot.history(h)
    np.testing.assert_array_equal(line(ax, "training").get_xydata().T, [np.arange(50), h.loss])
    np.testing.assert_array_equal(line(ax, "validation").get_ydata(), val_loss)
    best = line(ax, "best: 1 in epoch 30")
    np.testing.assert_array_equal(best.get_xydata(), [[30, 1]])
    assert ax.get_title() == "stopped by patience after 50 epochs"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")
    assert ax.get_yscale() == "log"
    assert not ax.child_axes  # the learning rate is constant
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize(
    ("loss", "log", "scale"),
    [
        ([1.0, 0.5], None, "linear"),
        ([100.0, 0.5], None, "log"),
        ([100.0, -0.5], None, "linear"),
        ([100.0, 0.0], None, "linear"),
        ([100.0, 0.5], False, "linear"),
        ([1.0, 0.5], True, "log"),
        ([100.0, 0.5, np.nan], None, "log"),
    ],
)
def test_scale_of_the_loss(loss, log, scale):
    assert fp.plot.history(fp.History(np.array(loss)), log=log).get_yscale() == scale


def test_a_learning_rate_that_changes():
    rate = np.linspace(0.1, 0.01, 50)
    ax = fp.plot.history(history(learning_rate=rate))
    (panel,) = ax.child_axes
    np.testing.assert_array_equal(panel.lines[0].get_ydata(), rate)
    assert panel.get_xlabel() == "epoch"
    ax.figure.canvas.draw()
    box = panel.get_tightbbox()
    assert ax.figure.bbox.count_contains(box.get_points()) == 2  # all of it can be seen


def test_several_histories():
    given = {
        "sgd": history(),
        "lbfgs": history(20, learning_rate=np.empty(0), val_loss=np.ones(20)),
    }
    _, ax = plt.subplots()
    assert fp.plot.history(given, ax) is ax
    sgd, lbfgs, validation = ax.lines
    assert sgd.get_label() == "sgd: all 50 epochs done"
    assert lbfgs.get_label() == "lbfgs: all 20 epochs done"
    assert lbfgs.get_color() == validation.get_color() != sgd.get_color()
    np.testing.assert_array_equal(validation.get_ydata(), np.ones(20))
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert shown == [sgd.get_label(), lbfgs.get_label(), "training", "validation"]


@pytest.mark.parametrize("name", [0, 0.0, False, "", "_a", "price in $ or C$"])
def test_any_name_of_a_history_is_in_the_legend(name):
    ax = fp.plot.history({name: history(), "other": history()})
    shown = ax.get_legend().get_texts()
    assert [text.get_text() for text in shown] == [
        f"{name}: all 50 epochs done",
        "other: all 50 epochs done",
    ]
    assert not any(text.get_parse_math() for text in shown)
    ax.figure.canvas.draw()


def test_histories_of_few_epochs():
    empty = fp.plot.history(fp.History(stopped_by="interrupted"))
    assert empty.get_title() == "interrupted after 0 epochs"
    one = fp.plot.history(history(1))
    assert line(one, "training").get_marker() == "o"
    diverged = fp.History(np.array([1.0]), np.array([np.nan]), stopped_by="diverged")
    assert fp.plot.history(diverged).get_title() == "diverged after 1 epoch"


# ---- the diagram


def dosage():
    """The tutorial's network, and its three observations."""
    layers = [fp.Dense(2, "softplus"), fp.Dense(1)]
    net = fp.Network(1, layers, loss="ssr", dtype="float64")
    net.params = [3.34, -3.53, -1.43, 0.57, -1.22, -2.30, 0]
    return net, np.array([[0.0], [0.5], [1.0]]), np.array([[0.0], [1.0], [0.0]])


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


# ---- regions


def moons(outputs=1):
    rng = np.random.default_rng(0)
    angle, y = rng.uniform(0, np.pi, 80), np.arange(80) % 2
    X = np.column_stack([np.cos(angle) + y, np.sin(angle) * (1 - 2 * y) + 0.5 * y])
    last, loss = (1, "sigmoid"), "binary_cross_entropy"
    if outputs > 1:
        last, loss = (outputs, "softmax"), "cross_entropy"
    net = fp.Network(2, [fp.Dense(8, "tanh"), fp.Dense(*last)], loss, rng=0)
    net.fit(X, y, epochs=60, optimizer=fp.Adam(0.02))
    return net, X, y


def regions_as_predicted(ax, probabilities):
    """The colour of each pixel is that of the likeliest class, and its alpha grows with it."""
    (image,) = ax.images
    rgba = np.asarray(image.get_array())
    palette = np.array([to_rgb(colour) for colour in canvas.CLASSES])
    left, right, bottom, top = image.get_extent()
    size = len(rgba)
    middle = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(left + middle * (right - left), bottom + middle * (top - bottom))
    p = probabilities(np.column_stack([x.ravel(), y.ravel()]))
    np.testing.assert_allclose(rgba.reshape(-1, 4)[:, :3], palette[p.argmax(axis=1)])
    order = np.argsort(p.max(axis=1))
    alpha = rgba.reshape(-1, 4)[order, 3]
    assert (np.diff(alpha) >= 0).all()
    assert alpha[0] < alpha[-1] or np.ptp(p.max(axis=1)) == 0
    assert alpha.min() > 0
    assert alpha.max() < 0.7


@pytest.mark.parametrize("outputs", [1, 3])
def test_regions_of_a_network(outputs):
    net, X, y = moons(outputs)
    ax = fp.plot.decision_regions(net, X, y, resolution=40)

    def probabilities(points):
        p = net.predict(points)
        return np.hstack([1 - p, p]) if outputs == 1 else p

    regions_as_predicted(ax, probabilities)
    first, second = ax.collections[:2]
    np.testing.assert_allclose(first.get_offsets(), X[y == 0])
    np.testing.assert_allclose(second.get_offsets(), X[y == 1])
    assert not np.array_equal(first.get_paths()[0].vertices, second.get_paths()[0].vertices)
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert shown == [str(k) for k in range(max(outputs, 2))]


class Nearest:
    """A classifier as scikit-learn has them, without probabilities."""

    classes_ = np.array(["red", "white"])

    def predict(self, X):
        return self.classes_[(np.asarray(X)[:, 1] > 1.25).astype(int)]


def test_regions_of_two_features_among_more():
    rng = np.random.default_rng(0)
    X = rng.normal(1.25, 1, (30, 4))
    y = Nearest().predict(X)
    ax = fp.plot.decision_regions(Nearest(), X, y, features=(3, 1), resolution=10)
    regions_as_predicted(ax, lambda at: np.eye(2)[(at[:, 1] > 1.25).astype(int)])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("X[:, 3]", "X[:, 1]")
    np.testing.assert_allclose(ax.collections[0].get_offsets(), X[y == "red"][:, [3, 1]])
    held = fp.plot.decision_regions(
        Nearest(), X, y, features=(0, 3), at=[0, 2, 0, 0], resolution=10, class_names=["R", "W"]
    )
    colours = np.asarray(held.images[0].get_array())[..., :3].reshape(-1, 3)
    np.testing.assert_allclose(np.unique(colours, axis=0), [to_rgb(canvas.CLASSES[1])])
    assert [text.get_text() for text in held.get_legend().get_texts()] == ["R", "W"]


def test_regions_of_a_scikit_learn_classifier_and_a_frame():
    linear_model = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    pandas = pytest.importorskip("pandas")
    _, X, y = moons()
    frame = pandas.DataFrame(X, columns=["length", "width"])
    names = np.array(["left", "right"])[y]
    model = linear_model.LogisticRegression().fit(frame, names)
    ax = fp.plot.decision_regions(model, frame, pandas.Series(names), resolution=20)
    regions_as_predicted(
        ax, lambda at: model.predict_proba(pandas.DataFrame(at, columns=frame.columns))
    )
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("length", "width")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["left", "right"]


def test_names_are_written_as_they_are():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.eye(4)[:, :2], columns=["price in $ or C$", "b"])
    model = Nearest()
    model.classes_ = np.array(["_yes", "$10-$20"])
    ax = fp.plot.decision_regions(model, frame, model.predict(frame), resolution=4)
    shown = ax.get_legend().get_texts()
    assert [text.get_text() for text in shown] == ["_yes", "$10-$20"]
    assert not any(text.get_parse_math() for text in (*shown, ax.xaxis.label, ax.yaxis.label))
    assert ax.get_xlabel() == "price in $ or C$"
    ax.figure.canvas.draw()


# ---- regression, histograms


def test_a_fit_of_one_input():
    net = fp.Network(1, [fp.Dense(4, "tanh"), fp.Dense(2)], rng=0)
    X = np.linspace(-1, 2, 20)
    y = np.column_stack([X, X**2])
    top, bottom = fp.plot.fit(net, X, y, output=1)
    np.testing.assert_allclose(line(top, "observed y").get_xydata(), np.column_stack([X, X**2]))
    curve = line(top, "fitted ŷ").get_xydata()
    assert (curve[0, 0], curve[-1, 0]) == (-1, 2)
    np.testing.assert_allclose(curve[:, 1], net.predict(curve[:, 0])[:, 1], rtol=1e-6)
    residuals = X**2 - net.predict(X)[:, 1]
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), residuals, rtol=1e-5, atol=1e-7)
    rmse, r2 = numbers(top.get_title().replace("R²", ""))
    assert rmse == pytest.approx(np.sqrt(np.mean(residuals**2)), rel=1e-2)
    assert r2 == pytest.approx(1 - np.mean(residuals**2) / np.var(X**2), rel=1e-3)
    assert top.figure is bottom.figure


class Line:
    """A regressor that, as scikit-learn's, takes two dimensions only."""

    def predict(self, X):
        X = np.asarray(X)
        assert X.ndim == 2
        return 2 * X[:, 0]


@pytest.mark.parametrize("model", [fp.Network(1, [fp.Dense(1)]), Line()], ids=["net", "other"])
def test_a_fit_of_one_dimension(model):
    pandas = pytest.importorskip("pandas")
    x = np.linspace(-1, 2, 20)
    expected = np.asarray(model.predict(x[:, None])).ravel()
    for X, name in ((x, "x"), (pandas.Series(x, name="dose"), "dose"), (pandas.Series(x), "x")):
        top, bottom = fp.plot.fit(model, X, pandas.Series(x))
        np.testing.assert_allclose(bottom.lines[0].get_ydata(), x - expected)
        assert bottom.get_xlabel() == name
        curve = line(top, "fitted ŷ").get_xydata()
        np.testing.assert_allclose(curve[[0, -1], 1], expected[[0, -1]])


def test_a_fit_of_several_inputs():
    net = fp.Network(3, [fp.Dense(1)], rng=0)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 3)), rng.normal(size=30)
    figure = plt.figure()
    left, right = fp.plot.fit(net, X, y, figure)
    predicted = net.predict(X)[:, 0]
    np.testing.assert_allclose(left.lines[0].get_xydata(), np.column_stack([y, predicted]))
    expected = np.column_stack([predicted, y - predicted])
    np.testing.assert_allclose(right.lines[0].get_xydata(), expected)
    assert left.figure is figure
    r2 = 1 - np.sum((y - predicted) ** 2) / np.sum((y - y.mean()) ** 2)
    assert left.get_title().endswith(f"R² {r2:.4g}")


@pytest.mark.parametrize("how", ["none", "samples", "gradient"])
def test_histograms(how):
    net = fp.Network(5, [fp.Dense(7, "relu"), fp.Dense(2)], rng=0)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(9, 5)), rng.normal(size=(9, 2))
    _, gradient = net.loss_and_gradient(X, y)
    given = {"none": {}, "samples": {"X": X, "y": y}, "gradient": {"gradient": gradient}}[how]
    axes = fp.plot.histograms(net, **given, bins=6)
    assert axes.shape == (2, 1 if how == "none" else 2)
    columns = [net.weights, [gradient[:35], gradient[42:56]]]
    for column, values in zip(axes.T, columns, strict=False):
        for ax, W in zip(column, values, strict=True):
            edges = [*(bar.get_x() for bar in ax.patches), W.max() + 1]
            counts = [bar.get_height() for bar in ax.patches]
            assert len(counts) == 6
            assert sum(counts) == W.size
            np.testing.assert_array_equal(counts, np.histogram(W, edges)[0])


# ---- the live loss


class Recorder:
    """A screen that keeps what it was shown."""

    def __init__(self):
        self.shown, self.closed = [], False

    def show(self, draw, text):
        figure = matplotlib.figure.Figure()
        draw(figure)
        (ax,) = figure.axes
        self.shown.append((line(ax, "training").get_ydata(), text))

    def close(self):
        self.closed = True


def stop_at(epoch, how):
    def callback(report):
        if report.epoch == epoch:
            if how == "interrupted":
                raise KeyboardInterrupt
            return True
        return None

    return callback


@pytest.mark.parametrize("how", ["epochs", "patience", "converged", "callback", "interrupted"])
def test_the_last_state_is_drawn_however_training_ends(how, monkeypatch):
    recorders = []
    monkeypatch.setattr(
        "flatprop.plot.live.screen", lambda: recorders.append(Recorder()) or recorders[-1]
    )
    net = fp.Network(1, [fp.Dense(2, "tanh"), fp.Dense(1)], rng=0)
    X = np.linspace(-1, 1, 20)
    live = fp.plot.LiveLoss(seconds=1000)
    options = {
        "epochs": {},
        "patience": {"patience": 1, "optimizer": fp.SGD(3.0)},
        "converged": {"tol": 0.1},
        "callback": {"callbacks": [live, stop_at(3, how)]},
        "interrupted": {"callbacks": [live, stop_at(3, how)]},
    }[how]
    history = net.fit(X, X**2, **({"callbacks": live, "epochs": 12} | options))
    assert history.stopped_by == how
    (recorder,) = recorders
    assert recorder.closed
    assert len(recorder.shown) == 2  # the first epoch, and the last
    losses, text = recorder.shown[-1]
    np.testing.assert_array_equal(losses, history.loss)
    assert history.epochs > 1
    assert text.startswith(f"{history.epochs} of 12 epochs, loss ")

    net.fit(X, X**2, callbacks=live, epochs=2)  # the same again: a new picture
    assert len(recorders) == 2
    assert len(recorders[1].shown[-1][0]) == 2


def test_it_is_drawn_no_more_often_than_asked_for(monkeypatch):
    recorder = Recorder()
    clock = iter(np.arange(0, 1000, 0.1))
    monkeypatch.setattr("flatprop.plot.live.screen", lambda: recorder)
    monkeypatch.setattr("flatprop.plot.live.perf_counter", lambda: next(clock))
    net = fp.Network(1, [fp.Dense(1)], rng=0)
    net.fit([0.0, 1.0], [0.0, 1.0], epochs=60, callbacks=fp.plot.LiveLoss(5, seconds=0.05))
    drawn = [len(losses) for losses, _ in recorder.shown]
    # a drawing takes 0.1 s of this clock, and the next waits for 1 s: nine more looks at it
    assert drawn == [5, 55, 60]


def test_screens(monkeypatch, capsys):
    def draw(figure):
        figure.add_subplot().plot([0, 1])

    chosen = screens.screen()
    assert isinstance(chosen, screens.Text)  # Agg has no windows
    assert not plt.get_fignums()
    chosen.show(draw, "1 of 2 epochs")
    chosen.show(draw, "2 of 2 epochs")
    chosen.close()
    assert capsys.readouterr().err == "2 of 2 epochs\n"

    pictures = []

    class Handle:
        def update(self, picture):
            pictures.append(picture)

    def display(picture, display_id):
        pictures.append(picture)
        return Handle()

    shell = types.SimpleNamespace(kernel=None)
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = display
    ipython.display.Image = lambda data, format, alt: data
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    notebook = screens.screen()
    assert isinstance(notebook, screens.Notebook)
    notebook.show(draw, "")
    notebook.show(draw, "")
    notebook.close()
    assert [picture[:4] for picture in pictures] == [b"\x89PNG"] * 2
    assert not plt.get_fignums()

    figure = plt.figure()
    monkeypatch.setattr(figure, "show", lambda: None)
    window = screens.Window(figure)
    window.show(draw, "")
    window.show(draw, "")
    assert len(figure.axes) == 1
    window.close()
    assert plt.get_fignums() == [figure.number]
    plt.close(figure)
    figure.clear()
    window.show(draw, "")  # closed by its user
    assert not figure.axes


# ---- styles, errors, imports


def test_dark_pages():
    net, X, y = dosage()
    light = canvas.colours()
    with plt.style.context("dark_background"):
        ax = fp.plot.network(net, net.trace(X, y))
        dark = canvas.colours()
    inks = {to_rgb(text.get_color()) for text in ax.texts}
    assert inks == {(1, 1, 1), to_rgb(dark.gradient)}
    assert not set(dark) & set(light)


NET = fp.Network(2, [fp.Dense(3, "tanh"), fp.Dense(1)], rng=0)
CLASSIFIER = fp.Network(2, [fp.Dense(2, "softmax")], "cross_entropy", rng=0)
X2, Y = np.zeros((6, 2)), np.zeros(6)
POISONED, SURE = NET.copy(), CLASSIFIER.copy()
POISONED.params[:] = SURE.params[:] = np.nan
ONE_CLASS = fp.Network(2, [fp.Dense(1, "softmax")], "cross_entropy", rng=0)


class Failing:
    classes_ = np.array([0, 1])

    def predict(self, X):
        raise ValueError("the model fails")


P = fp.plot


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: P.history([1, 0.5]), r"an fp.History, or a dict .* got \[1, 0.5\]"),
        (lambda: P.history({}), "empty dict"),
        (lambda: P.history(fp.History(), ax=3), "ax must be a Matplotlib Axes, got 3"),
        (lambda: P.network(fp.Dense(3)), "net must be an fp.Network"),
        (lambda: P.network(NET, 3), "trace must be what net.trace"),
        (lambda: P.network(NET, NET.trace(X2, Y)), r"6 samples.*no more than 4.*net.trace\(X\[:1"),
        (lambda: P.network(CLASSIFIER, NET.trace(X2[:1], Y[:1])), "of another network"),
        (lambda: P.network(NET, feature_names=["a"]), "feature_names has 1 names, but .* 2"),
        (lambda: P.network(NET, digits=0), "digits must be at least 1"),
        (lambda: P.network(NET, max_units=2), "max_units must be at least 3"),
        (lambda: P.decision_regions(NET, X2, Y), '"cross_entropy", or .* one output'),
        (
            lambda: P.decision_regions(CLASSIFIER, np.zeros((6, 3)), Y),
            r"3 columns.*features=\(i, j",
        ),
        (lambda: P.decision_regions(CLASSIFIER, np.zeros((6, 1)), Y), "1 column, but .* two"),
        (lambda: P.decision_regions(CLASSIFIER, X2, Y + 7), "y holds 7.0, but the classes"),
        (lambda: P.decision_regions(CLASSIFIER, X2, Y[:3]), r"y must have shape \(6,\)"),
        (lambda: P.decision_regions(CLASSIFIER, X2, Y, features=(0, 2)), "two different columns"),
        (lambda: P.decision_regions(CLASSIFIER, X2, Y, features=0), "two columns of X.* not 0"),
        (
            lambda: P.decision_regions(CLASSIFIER, X2, Y, features=(0, 1, 2)),
            r"two columns of X.* not \(0, 1, 2\)",
        ),
        (lambda: P.decision_regions(ONE_CLASS, X2, Y), "need two classes or more"),
        (lambda: P.decision_regions(Failing(), X2, Y), "the model fails"),
        (lambda: P.decision_regions(SURE, X2, Y), r"probabilities\[0, 0\] is nan"),
        (lambda: P.decision_regions(CLASSIFIER, X2, Y, at=[1]), r"at must have shape \(2,\)"),
        (
            lambda: P.decision_regions(CLASSIFIER, X2, Y, class_names=["a"]),
            "1 names for 2 classes",
        ),
        (lambda: P.decision_regions(object(), X2, Y), "or a fitted classifier"),
        (lambda: P.fit(CLASSIFIER, X2, Y), "classifier; see fp.plot.decision_regions"),
        (lambda: P.fit(NET, X2, Y[:3]), "6 rows, but y has shape"),
        (lambda: P.fit(NET, X2, Y, output=1), "output is 1, but y has 1 column"),
        (lambda: P.fit(NET, X2, np.zeros((6, 2))), "y has 2 columns, but the model predicts 1"),
        (lambda: P.fit(NET, X2, Y, figure=3), "figure must be a Matplotlib Figure"),
        (lambda: P.fit(object(), X2, Y), "a method predict"),
        (lambda: P.fit(Line(), np.zeros((6, 2, 1)), Y), "X must have two dimensions"),
        (lambda: P.fit(types.SimpleNamespace(predict=Failing().predict), X2, Y), "model fails"),
        (lambda: P.fit(POISONED, X2, Y), r"model\.predict\(X\)\[0, 0\] is nan"),
        (lambda: P.histograms(POISONED), r"net\.params\[0\] is nan"),
        (lambda: P.histograms(NET, X2), "both X and y"),
        (lambda: P.histograms(NET, X2, Y, gradient=Y), "not both"),
        (lambda: P.histograms(NET, gradient=Y), r"gradient must have shape \(13,\)"),
        (lambda: P.LiveLoss(0), "every must be at least 1"),
        (lambda: P.LiveLoss(seconds=-1), "seconds must be finite and not negative"),
    ],
)
def test_errors(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
    assert not plt.get_fignums()  # nothing was begun


def test_without_matplotlib():
    script = """
import sys
import flatprop as fp
assert "plot" in dir(fp)
sys.modules["matplotlib"] = None
for attempt in range(2):
    try:
        fp.plot
    except ImportError as error:
        print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert (
        run.stdout.splitlines() == ["fp.plot needs Matplotlib: pip install 'flatprop[plot]'"] * 2
    )
    with pytest.raises(AttributeError, match="no attribute 'plott'"):
        fp.plott  # noqa: B018
