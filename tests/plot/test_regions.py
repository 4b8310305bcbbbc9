"""The regions of a classifier."""

import numpy as np
import pytest

import flatprop as fp

matplotlib = pytest.importorskip("matplotlib", reason="fp.plot needs matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

from matplotlib.colors import to_rgb  # noqa: E402

from flatprop.plot import canvas  # noqa: E402

pytestmark = pytest.mark.usefixtures("nothing_left")


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
