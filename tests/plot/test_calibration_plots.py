"""Pictures of how sure a model is, against how right it is."""

import sys

import numpy as np
import pytest

import flatprop as fp
from figures import line, plt

pytestmark = pytest.mark.usefixtures("nothing_left")

stats = pytest.importorskip("scipy.stats", reason="distribution functions are SciPy's")

RNG = np.random.default_rng(0)
ROWS = 400
X = RNG.uniform(-1, 1, (ROWS, 2))
CENTRE, SPREAD = X[:, 0], 0.1 + np.abs(X[:, 1])
Y = CENTRE + SPREAD * RNG.normal(size=ROWS)


class Normal:
    """A regressor that knows the truth, or multiplies its deviations by a factor."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def predict(self, X, return_std=False):
        mean, deviation = X[:, 0], self.factor * (0.1 + np.abs(X[:, 1]))
        return (mean, deviation) if return_std else mean


def networks(members, loss="gaussian_nll", outputs=2):
    ens = fp.Ensemble(2, [fp.Dense(outputs)], loss, "float64", rng=0, members=members)
    ens.weights[0][:] *= 0.3
    return ens


def expected_of(net_outputs):
    """F(y) of networks with means and log-variances, (members, n, 2)."""
    mean, log_variance = np.moveaxis(net_outputs, 2, 0)
    return stats.norm(mean, np.exp(log_variance / 2)).cdf(Y).mean(axis=0)


def check_coverage(axes, below, bins=10):
    left, right = axes
    levels, inside = line(left, "observed").get_xydata().T
    for level, share in zip(levels[[20, 50, 90]], inside[[20, 50, 90]], strict=True):
        interval = np.abs(below - 0.5) <= level / 2 + 1e-12
        assert share == pytest.approx(interval.mean(), abs=1 / ROWS)
    (histogram,) = right.patches
    heights, edges, _ = histogram.get_data()
    np.testing.assert_allclose(heights, np.histogram(below, bins, (0, 1), density=True)[0])
    assert edges[[0, -1]].tolist() == [0, 1]


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_coverage_of_a_regressor_with_deviations(factor):
    figure = plt.figure()
    axes = fp.plot.coverage(Normal(factor), X, Y, figure)
    assert axes[0].figure is figure
    check_coverage(axes, stats.norm(CENTRE, factor * SPREAD).cdf(Y))
    levels, inside = line(axes[0], "observed").get_xydata().T
    off = np.abs(inside - levels).max()
    assert off < 0.09 if factor == 1 else off > 0.15
    assert axes[0].get_ylabel() == "observed coverage"
    figure.canvas.draw()


def test_coverage_of_networks():
    ens = networks(3)
    check_coverage(fp.plot.coverage(ens, X, Y, bins=7), expected_of(ens.predict(X)), 7)
    check_coverage(fp.plot.coverage(ens[1], X, Y), expected_of(ens[1].predict(X)[None]))
    others = networks(4, "mse", 1)
    mean, deviation = others.predict(X).mean(axis=0)[:, 0], others.predict(X).std(axis=0)[:, 0]
    check_coverage(fp.plot.coverage(others, X, Y), stats.norm(mean, deviation).cdf(Y))


def test_coverage_of_a_target():
    ens = networks(2, outputs=4)
    outputs = ens.predict(X)[:, :, [1, 3]]
    both = np.column_stack([Y - 3, Y])
    check_coverage(fp.plot.coverage(ens, X, both, output=1), expected_of(outputs))


def test_coverage_of_learnt_quantiles():
    net = fp.Network(2, [fp.Dense(4)], fp.losses.Quantiles((0.1, 0.25, 0.75, 0.9)), rng=0)
    net.params[:] = 0
    net.biases[0][:] = -1, -0.5, 0.5, 1
    left, right = fp.plot.coverage(net, X, Y)
    inside = [np.mean(np.abs(Y) < bound) for bound in (0.5, 1)]
    np.testing.assert_allclose(line(left, "observed").get_xydata().T, [[0.5, 0.8], inside])
    heights, edges, _ = right.patches[0].get_data()
    np.testing.assert_allclose(edges, [0, 0.1, 0.25, 0.75, 0.9, 1])
    expected = np.histogram(Y, [-np.inf, -1, -0.5, 0.5, 1, np.inf])[0] / ROWS
    np.testing.assert_allclose(heights * np.diff(edges), expected)


def test_a_fit_of_an_ensemble_has_a_band():
    x = np.linspace(-1, 1, 30)
    for loss, outputs, words in (
        ("gaussian_nll", 2, "two standard deviations"),
        ("mse", 1, "two standard deviations of the members"),
    ):
        ens = fp.Ensemble(1, [fp.Dense(outputs)], loss, "float64", rng=0, members=3)
        top, bottom = fp.plot.fit(ens, x, x)
        found = ens.predict(x[:, None])
        mean, variance = found[:, :, 0].mean(axis=0), found[:, :, 0].var(axis=0)
        if outputs == 2:
            variance = variance + np.exp(found[:, :, 1]).mean(axis=0)
        np.testing.assert_allclose(bottom.lines[0].get_ydata(), x - mean, atol=1e-12)
        (band,) = top.collections
        assert band.get_label() == words
        corners = band.get_paths()[0].vertices[:, 1]
        high = (mean + 2 * np.sqrt(variance)).max()
        assert corners.max() == pytest.approx(high, rel=1e-6)


# ---- classifiers

sklearn = pytest.importorskip("sklearn", reason="calibration_curve is scikit-learn's")


def certain(classes):
    """A network whose probabilities of classes follow from X."""
    if classes == 2:
        net = fp.Network(2, [fp.Dense(1, "sigmoid")], "binary_cross_entropy", "float64", rng=0)
        net.weights[0][:, 0] = 4, 0
    else:
        net = fp.Network(2, [fp.Dense(3, "softmax")], "cross_entropy", "float64", rng=0)
        net.weights[0][:] = [[4, 0, -4], [0, 3, 0]]
    return net


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_reliability(classes, strategy):
    net = certain(classes)
    outputs = net.predict(X)
    if classes == 2:
        y = (RNG.uniform(size=ROWS) < outputs[:, 0]).astype(int)
        happened, probability = y == 1, outputs[:, 0]
        words = "predicted probability of 1"
    else:
        y = np.array([RNG.choice(3, p=p) for p in outputs])
        happened, probability = outputs.argmax(axis=1) == y, outputs.max(axis=1)
        words = "predicted probability of the predicted class"
    curve, below = fp.plot.reliability(net, X, y, bins=5, strategy=strategy)
    edges = np.linspace(0, 1, 6)
    if strategy == "quantile":
        edges = np.quantile(probability, edges)
    expected, observed = line(curve, "observed").get_xydata().T
    places = np.digitize(probability, edges[1:-1])
    for k, (at, share) in enumerate(zip(expected, observed, strict=True)):
        mine = places == np.unique(places)[k]
        assert at == pytest.approx(probability[mine].mean())
        assert share == pytest.approx(happened[mine].mean())
    assert np.abs(expected - observed).max() < 0.2  # y was drawn from these probabilities
    counts = [bar.get_height() for bar in below.patches]
    np.testing.assert_array_equal(counts, np.histogram(probability, np.linspace(0, 1, 6))[0])
    assert curve.get_xlabel() == below.get_xlabel() == words
    (loss,) = (float(curve.get_title().removeprefix("log-loss ")),)
    assert loss == pytest.approx(net.loss(X, y), rel=1e-2)
    curve.figure.canvas.draw()


def test_reliability_of_estimators():
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from flatprop.sklearn import EnsembleClassifier, EnsembleRegressor

    names = np.where(X[:, 0] + 0.3 * Y > 0, "yes", "no")
    options = {"hidden_layer_sizes": (4,), "solver": "lbfgs", "max_iter": 200, "random_state": 0}
    model = make_pipeline(StandardScaler(), EnsembleClassifier(n_estimators=2, **options))
    curve, _ = fp.plot.reliability(model.fit(X, names), X, names)
    assert curve.get_xlabel() == "predicted probability of yes"
    options |= {"solver": "adam", "max_iter": 3}
    with pytest.warns(sklearn.exceptions.ConvergenceWarning):
        deep = make_pipeline(StandardScaler(), EnsembleRegressor("gaussian_nll", **options)).fit(
            X, Y
        )
    axes = fp.plot.coverage(deep, X, Y)
    check_coverage(axes, expected_of(deep[-1].ensemble_.predict(deep[:-1].transform(X))))


P = fp.plot
NET = networks(1)[0]


class Silent:
    classes_ = np.array([0, 1])

    def predict(self, X):
        return np.zeros(len(X))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: P.coverage(NET, X, Y[:3]), r"y must have shape \(400, 1\).* not \(3, 1\)"),
        (lambda: P.coverage(NET, X, Y, output=1), "output is 1, but y has 1 column"),
        (lambda: P.coverage(NET, X, Y, bins=0), "bins must be at least 1"),
        (lambda: P.coverage(networks(1, "mse", 1)[0], X, Y), "predicts no distribution"),
        (lambda: P.coverage(Silent(), X, Y), r"return_std=True\); got"),
        (lambda: P.coverage(Normal(0), X, Y), "not positive"),
        (lambda: P.coverage(object(), X, Y), r"return_std=True\); got"),
        (
            lambda: P.coverage(
                fp.Network(2, [fp.Dense(2)], fp.losses.Quantiles((0.1, 0.5)), rng=0), X, Y
            ),
            r"no two of the quantiles \[0.1, 0.5\]",
        ),
        (lambda: P.reliability(NET, X, Y > 0), 'loss "cross_entropy", or'),
        (lambda: P.reliability(certain(2), X, Y), "but the classes of the model are"),
        (lambda: P.reliability(certain(2), X, Y[:3] > 0), r"y must have shape \(400,\)"),
        (lambda: P.reliability(certain(2), X, Y > 0, bins=0), "bins must be at least 1"),
        (lambda: P.reliability(certain(2), X, Y > 0, strategy="wide"), "strategy"),
        (lambda: P.reliability(Silent(), X, Y > 0), "must have predict_proba"),
        (lambda: P.reliability(object(), X, Y > 0), "or a fitted classifier"),
    ],
)
def test_errors(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
    assert not plt.get_fignums()  # nothing was begun


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.calibration", None)
    with pytest.raises(ImportError, match=r"pip install 'flatprop\[sklearn\]'"):
        fp.plot.reliability(certain(2), X, Y > 0)
