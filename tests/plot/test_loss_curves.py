"""Histories, drawn afterwards and while a network is trained."""

import sys
import types

import numpy as np
import pytest

import flatprop as fp
from figures import line, matplotlib, plt
from flatprop.plot import screens

pytestmark = pytest.mark.usefixtures("nothing_left")

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


def test_metrics_have_panels_below():
    metrics = {"accuracy": np.linspace(0.1, 0.9, 50), "a$b$": np.geomspace(1e-3, 1, 50)}
    ax = fp.plot.history(history(metrics=metrics, learning_rate=np.linspace(1, 0.5, 50)))
    rate, accuracy, other = ax.child_axes
    assert (accuracy.get_ylabel(), other.get_ylabel()) == tuple(metrics)
    np.testing.assert_array_equal(accuracy.lines[0].get_ydata(), metrics["accuracy"])
    np.testing.assert_array_equal(other.lines[0].get_ydata(), metrics["a$b$"])
    assert (accuracy.get_yscale(), other.get_yscale()) == ("linear", "log")
    assert [one.get_xlabel() for one in (ax, rate, accuracy, other)] == ["", "", "", "epoch"]
    ax.figure.canvas.draw()
    heights = [one.get_window_extent().y0 for one in (ax, rate, accuracy, other)]
    assert heights == sorted(heights, reverse=True)


def test_metrics_of_several_histories():
    given = {"a": history(metrics={"r2": np.ones(50)}), "b": history(20)}
    (panel,) = fp.plot.history(given).child_axes
    assert [one.get_xdata().size for one in panel.lines] == [50, 0]


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


def test_metrics_are_drawn_while_training(monkeypatch):
    drawn = []
    screen = types.SimpleNamespace(
        show=lambda draw, text: drawn.append(draw), close=lambda: drawn[-1](plt.figure())
    )
    monkeypatch.setattr("flatprop.plot.live.screen", lambda: screen)
    net = fp.Network(1, [fp.Dense(1)], rng=0)
    options = {"epochs": 5, "callbacks": fp.plot.LiveLoss(seconds=1000)}
    history = net.fit([0.0, 1.0], [0.0, 1.0], metrics={"sum": lambda y, p: p.sum()}, **options)
    (panel,) = plt.gcf().axes[0].child_axes
    np.testing.assert_array_equal(panel.lines[0].get_ydata(), history.metrics["sum"])


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
