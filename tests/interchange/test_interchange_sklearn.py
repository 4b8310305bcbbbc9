"""Networks from and to scikit-learn, whose own predictions and training are the reference."""

import numpy as np
import pytest

import flatprop as fp
from flatprop.interchange import from_sklearn, to_sklearn
from flatprop.model.dense_layer import Dense
from networks import both_dtypes

pytest.importorskip("sklearn", reason="networks are exchanged with scikit-learn")

from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HIDDEN = {"identity": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}
KNOWS_POISSON = "loss" in MLPRegressor().get_params()
needs_poisson = pytest.mark.skipif(not KNOWS_POISSON, reason="scikit-learn is older than 1.7")


def data(dtype, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 3)).astype(dtype)
    return X, (X @ rng.normal(size=(3, 3)) + 0.1 * rng.normal(size=(60, 3))).astype(dtype)


TARGETS = {
    "several classes": lambda Z: np.array(["c", "a", "b"])[Z.argmax(axis=1)],
    "two classes": lambda Z: np.where(Z[:, 0] > 0, "yes", "no"),
    "labels": lambda Z: (Z > 0).astype(int),
    "one output": lambda Z: Z[:, 0],
    "three outputs": lambda Z: Z,
    "counts": lambda Z: np.floor(np.exp(Z[:, 0])),
}


@pytest.mark.filterwarnings(f"ignore::{ConvergenceWarning.__module__}.ConvergenceWarning")
@both_dtypes
@pytest.mark.parametrize(
    ("kind", "settings", "loss"),
    [
        ("several classes", {}, "cross_entropy"),
        ("two classes", {"activation": "tanh"}, "binary_cross_entropy"),
        ("labels", {"activation": "logistic"}, "binary_cross_entropy"),
        ("one output", {"activation": "identity"}, "half_mse"),
        ("three outputs", {"hidden_layer_sizes": (5, 4, 3)}, "half_mse"),
        ("three outputs", {"hidden_layer_sizes": ()}, "half_mse"),
        ("one output", {"hidden_layer_sizes": (8,), "solver": "lbfgs"}, "half_mse"),
        pytest.param("counts", {"loss": "poisson"}, "poisson", marks=needs_poisson),
    ],
)
def test_from_a_fitted_estimator(kind, settings, loss, dtype):
    X, Z = data(dtype)
    y = TARGETS[kind](Z)
    classifies = kind in ("several classes", "two classes", "labels")
    maker = MLPClassifier if classifies else MLPRegressor
    estimator = maker(**{"hidden_layer_sizes": (6,), "max_iter": 5, "random_state": 0, **settings})
    net = from_sklearn(estimator.fit(X, y))
    assert net.dtype == estimator.coefs_[0].dtype
    assert net.dtype == ("float64" if settings.get("solver") == "lbfgs" else dtype)
    assert net.loss_function.name == loss
    assert net.outputs == {"two classes": 1, "one output": 1, "counts": 1}.get(kind, 3)
    expected = estimator.predict_proba(X) if classifies else estimator.predict(X)
    if kind == "two classes":
        expected = expected[:, 1]
    actual = net.predict(X)
    np.testing.assert_allclose(actual, expected.reshape(actual.shape), atol=50 * eps(dtype))
    for ours, theirs in zip(net.weights, estimator.coefs_, strict=True):
        assert not np.shares_memory(ours, theirs)


def eps(dtype):
    return np.finfo(dtype).eps


@pytest.mark.parametrize("kind", [kind for kind in TARGETS if kind != "counts" or KNOWS_POISSON])
def test_the_loss_is_the_one_that_it_was_trained_by(kind):
    """One step of plain gradient descent takes both to the same parameters."""
    X, Z = data("float64")
    y = TARGETS[kind](Z)
    classifies = kind in ("several classes", "two classes", "labels")
    settings = {"loss": "poisson"} if kind == "counts" else {}
    estimator = (MLPClassifier if classifies else MLPRegressor)(
        hidden_layer_sizes=(4,),
        alpha=0,
        solver="sgd",
        momentum=0,
        learning_rate_init=0.1,
        random_state=0,
        **settings,
    )
    classes = {"classes": range(3) if kind == "labels" else np.unique(y)} if classifies else {}
    estimator.partial_fit(X, y, **classes)
    net = from_sklearn(estimator)
    if kind in ("several classes", "two classes"):
        y_net = np.searchsorted(estimator.classes_, y)
    else:
        y_net = y
    net.fit(X, y_net, optimizer=fp.SGD(0.1), epochs=1, batch_size=None)
    estimator.partial_fit(X, y)
    for ours, theirs in zip(net.weights, estimator.coefs_, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (MLPClassifier(), ValueError, "the MLPClassifier is not fitted"),
        (LogisticRegression(), TypeError, "got LogisticRegression$"),
        (make_pipeline(StandardScaler(), MLPRegressor()), TypeError, "pass its last step"),
        (MLPRegressor, TypeError, "fitted estimator, got the class MLPRegressor"),
    ],
)
def test_what_is_no_network(estimator, error, message):
    with pytest.raises(error, match=message):
        from_sklearn(estimator)


# ---- to scikit-learn


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([1, "a", "b"], r"all numbers or all texts, got \[1, 'a', 'b'\]"),
        ([0, 0.5, 1], "whole numbers or texts for scikit-learn, got 0.5"),
        ([0, 1, np.nan], "whole numbers or texts for scikit-learn, got nan"),
        ([0, 1, None], "whole numbers or texts for scikit-learn, got None"),
    ],
)
def test_classes_that_scikit_learn_has_not(classes, message):
    net = network([Dense(3, "softmax")], "cross_entropy")
    with pytest.raises(ValueError, match=message):
        to_sklearn(net, classes)
    assert to_sklearn(net, [np.int64(2), 7.0, True]).classes_.tolist() == [1, 2, 7]


def network(layers, loss, dtype="float64"):
    net = fp.Network(3, layers, loss, dtype, rng=0)
    rng = np.random.default_rng(1)
    net.params[:] = rng.normal(0, 0.5, net.params.size)
    return net


def trains_on(estimator, X, y):
    """partial_fit starts from these parameters and lowers the loss."""
    for _ in range(30):
        estimator.partial_fit(X, y)
    assert len(estimator.loss_curve_) == 30
    assert estimator.loss_curve_[-1] < estimator.loss_curve_[0]
    assert estimator.t_ == 30 * len(X)
    return estimator.loss_curve_[0]


@both_dtypes
@pytest.mark.parametrize("activation", HIDDEN)
def test_classes(activation, dtype):
    net = network(
        [Dense(9, activation), Dense(4, activation), Dense(3, "softmax")], "cross_entropy", dtype
    )
    before = net.params.copy()
    X, Z = data(dtype)
    estimator = to_sklearn(net, classes=["c", "a", "b"])
    assert estimator.activation == HIDDEN[activation]
    assert estimator.hidden_layer_sizes == (9, 4)
    assert estimator.classes_.tolist() == ["a", "b", "c"]
    expected = net.predict(X)
    probabilities = estimator.predict_proba(X)
    assert probabilities.dtype == dtype
    np.testing.assert_allclose(probabilities, expected[:, [1, 2, 0]], atol=20 * eps(dtype))
    np.testing.assert_array_equal(
        estimator.predict(X), np.array(["c", "a", "b"])[expected.argmax(axis=1)]
    )
    y = Z.argmax(axis=1)
    labels = np.array(["c", "a", "b"])[y]
    assert estimator.score(X, labels) == (expected.argmax(axis=1) == y).mean()
    again = from_sklearn(estimator)
    np.testing.assert_allclose(again.predict(X)[:, [2, 0, 1]], expected, rtol=10 * eps(dtype))
    # the loss of these parameters, before any update: one batch is all of the data
    loss = trains_on(estimator, X, labels)
    np.testing.assert_allclose(loss, net.loss(X, y), rtol=1e-5 if dtype == np.float32 else 1e-12)
    np.testing.assert_array_equal(net.params, before)


@both_dtypes
@pytest.mark.parametrize("labels", [None, ["no", "yes"], ["yes", "no"], [False, True], [7, -7]])
@pytest.mark.parametrize("units", [1, 2])
def test_two_classes(units, labels, dtype):
    last = (Dense(1, "sigmoid"), "binary_cross_entropy")
    if units == 2:
        last = (Dense(2, "softmax"), "cross_entropy")
    net = network([Dense(5, "relu"), last[0]], last[1], dtype)
    X, Z = data(dtype)
    estimator = to_sklearn(net, labels)
    labels = np.array([0, 1] if labels is None else labels)
    assert estimator.n_outputs_ == 1
    np.testing.assert_array_equal(estimator.classes_, np.sort(labels))
    p = net.predict(X)
    p = np.hstack([1 - p, p]) if units == 1 else p
    columns = estimator.predict_proba(X)[:, np.searchsorted(estimator.classes_, labels)]
    np.testing.assert_allclose(columns, p, atol=20 * eps(dtype))
    y = (Z[:, 0] > 0).astype(int)
    assert estimator.score(X, labels[y]) == pytest.approx((p.argmax(axis=1) == y).mean())
    loss = trains_on(estimator, X, labels[y])
    np.testing.assert_allclose(loss, net.loss(X, y), rtol=1e-5 if dtype == np.float32 else 1e-12)


@both_dtypes
def test_classes_that_may_hold_at_once(dtype):
    net = network([Dense(5, "tanh"), Dense(3, "sigmoid")], "binary_cross_entropy", dtype)
    X, Z = data(dtype)
    estimator = to_sklearn(net)
    np.testing.assert_allclose(estimator.predict_proba(X), net.predict(X), atol=20 * eps(dtype))
    np.testing.assert_array_equal(estimator.predict(X), net.predict(X) > 0.5)
    y = (Z > 0).astype(int)
    loss = trains_on(estimator, X, y)
    np.testing.assert_allclose(loss, net.loss(X, y), rtol=1e-5 if dtype == np.float32 else 1e-12)


@both_dtypes
@pytest.mark.parametrize(
    ("layers", "loss"),
    [
        ([Dense(5, "tanh"), Dense(3)], "mse"),
        ([Dense(5), Dense(4), Dense(1)], "half_mse"),
        ([Dense(3)], "ssr"),
        pytest.param([Dense(5, "relu"), Dense(1, "exp")], "poisson", marks=needs_poisson),
    ],
)
def test_regression(layers, loss, dtype):
    net = network(layers, loss, dtype)
    X, Z = data(dtype)
    estimator = to_sklearn(net)
    expected = net.predict(X)
    shape = (60,) if net.outputs == 1 else (60, 3)
    assert estimator.predict(X).shape == shape
    np.testing.assert_allclose(estimator.predict(X), expected.reshape(shape), atol=50 * eps(dtype))
    y = np.exp(Z[:, 0]) if loss == "poisson" else Z[:, : net.outputs].reshape(shape)
    spread = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    r2 = 1 - ((estimator.predict(X) - y) ** 2).sum(axis=0) / spread
    assert estimator.score(X, y) == pytest.approx(np.mean(r2), rel=1e-4)
    trains_on(estimator, X, y)


def test_parameters_are_copies_and_nothing_else_changes():
    net = network([Dense(4, "relu"), Dense(2)], "mse")
    before = net.params.copy()
    np.random.seed(3)  # noqa: NPY002  # the state that scikit-learn would draw from
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    estimator = to_sklearn(net)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert estimator.random_state is None
    for array in (*estimator.coefs_, *estimator.intercepts_):
        assert array.flags.c_contiguous
        array[:] = 0
    np.testing.assert_array_equal(net.params, before)
    assert (estimator.n_iter_, estimator.t_, estimator.loss_curve_) == (0, 0, [])
    # as an estimator of scikit-learn's own has them
    X, Z = data("float64")
    fitted = MLPRegressor(hidden_layer_sizes=(4,)).partial_fit(X, Z[:, :2])
    assert {*vars(fitted)} - {"_optimizer"} == {*vars(estimator)}


def test_a_hundred_classes():
    net = network([Dense(100, "softmax")], "cross_entropy")
    assert to_sklearn(net).predict_proba(np.ones((2, 3))).shape == (2, 100)


@pytest.mark.parametrize(
    ("layers", "loss", "classes", "message"),
    [
        ([Dense(2, "gelu"), Dense(1)], "mse", None, "identity, sigmoid, tanh or relu"),
        ([Dense(2, "relu"), Dense(2, "tanh"), Dense(1)], "mse", None, "share one activation"),
        ([Dense(1)], "huber", None, "no estimator for .*; huber"),
        ([Dense(1, "tanh")], "mse", None, "no estimator for"),
        ([Dense(1, "softplus")], "poisson", None, "poisson and exp"),
        ([Dense(1)], "mse", ["a", "b"], 'the loss is "mse"'),
        ([Dense(3, "softmax")], "cross_entropy", ["a", "b"], r"3 labels .* shape is \(2,\)"),
        ([Dense(3, "softmax")], "cross_entropy", ["a", "b", "a"], "differ from each other"),
        ([Dense(1, "softmax")], "cross_entropy", None, "needs two classes"),
        ([Dense(2, "sigmoid")], "binary_cross_entropy", ["a", "b"], "leave classes out"),
    ],
)
def test_what_scikit_learn_does_not_have(layers, loss, classes, message):
    net = fp.Network(3, layers, loss)
    with pytest.raises(ValueError, match=message):
        to_sklearn(net, classes)


def test_parameters_that_are_no_numbers():
    net = fp.Network(3, [Dense(1)])
    net.params[2] = np.nan
    with pytest.raises(ValueError, match=r"params\[2\] is nan"):
        to_sklearn(net)


def test_without_sklearn(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"needs scikit-learn: .*flatprop\[sklearn\]"):
        to_sklearn(fp.Network(1, [Dense(1)]))
