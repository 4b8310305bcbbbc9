"""Regression and histograms, what the functions of `fp.plot` refuse, and what they need."""

import types

import numpy as np
import pytest

import flatprop as fp
from figures import line, numbers, plt
from processes import python

pytestmark = pytest.mark.usefixtures("nothing_left")


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


@pytest.mark.parametrize("kind", ["gaussian_nll", "quantiles", "estimator"])
def test_a_band_where_the_network_is_uncertain(kind):
    x = np.linspace(-1, 1, 60)
    y = x + 0.1 * np.random.default_rng(0).normal(size=60)
    if kind == "quantiles":
        net = fp.Network(1, [fp.Dense(3)], fp.losses.Quantiles(), rng=0)
        net.biases[0][:] = -1, 0, 2
        low, middle, high = net.predict(x).T
        label = "quantiles 0.05 to 0.95"
    else:
        net = fp.Network(1, [fp.Dense(2)], "gaussian_nll", rng=0)
        middle, log_variance = net.predict(x).T
        deviation = np.exp(log_variance / 2)
        low, high, label = (
            middle - 2 * deviation,
            middle + 2 * deviation,
            "two standard deviations",
        )
    model, X = net, x
    if kind == "estimator":
        MLPRegressor = pytest.importorskip("flatprop.sklearn").MLPRegressor
        model = MLPRegressor("gaussian_nll", (4,), solver="lbfgs", max_iter=3000, random_state=0)
        X = x[:, None]
        model.fit(X, y)
        middle, deviation = model.predict(X, return_std=True)
        low, high = middle - 2 * deviation, middle + 2 * deviation
    top, bottom = fp.plot.fit(model, X, y)
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), y - middle, rtol=1e-5, atol=1e-6)
    (band,) = top.collections
    assert band.get_label() == label
    corners = band.get_paths()[0].vertices
    assert corners[:, 1].min() == pytest.approx(low.min(), abs=1e-3)
    assert corners[:, 1].max() == pytest.approx(high.max(), abs=1e-3)


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


# ---- errors, imports

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
        (lambda: P.network(fp.Dense(3)), "takes an fp.Network, got"),
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
    printed = python(script).splitlines()
    assert printed == ["fp.plot needs Matplotlib: pip install 'flatprop[plot]'"] * 2
    with pytest.raises(AttributeError, match="no attribute 'plott'"):
        fp.plott  # noqa: B018
