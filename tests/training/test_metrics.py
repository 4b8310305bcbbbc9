"""`metrics`: what the functions are called with, and where their numbers go."""

import functools
import pickle
import warnings
from functools import partial

import numpy as np
import pytest

import flatprop as fp
from networks import bits, curves, in_batches, make_small
from networks import network as any_network

X, Y, W = curves(60)
X2, Y2, W2 = curves(40)
C = np.random.default_rng(0).integers(0, 3, 60)
B = (C == 1).astype(int)

classifier = partial(any_network, (3, 8, 3), ["tanh", "softmax"], "cross_entropy")
binary = partial(any_network, (3, 8, 1), ["tanh", "sigmoid"], "binary_cross_entropy")


def mean_error(y, prediction):
    return np.mean(abs(y - prediction))


# ---- what a metric is called with


class Kept:
    """A metric that keeps what it is called with."""

    def __call__(self, y, prediction):
        self.y, self.prediction = y, prediction
        return 0.0


CALLED = {
    "numbers": (partial(any_network, (3, 4, 2)), Y, lambda y: y, lambda p: p),
    "one number": (partial(any_network, (3, 4, 1)), Y[:, 0], lambda y: y, lambda p: p[:, 0]),
    "a column": (partial(any_network, (3, 1)), Y[:, :1], lambda y: y[:, 0], lambda p: p[:, 0]),
    "class indices": (classifier, C, lambda y: y, lambda p: p.argmax(axis=1)),
    "floats as indices": (classifier, C * 1.0, lambda y: C, lambda p: p.argmax(axis=1)),
    "rows with one 1": (
        classifier,
        np.eye(3)[C],
        lambda y: y.astype(int),
        lambda p: np.eye(3, dtype=int)[p.argmax(axis=1)],
    ),
    "probabilities": (classifier, np.full((60, 3), 1 / 3), lambda y: y, lambda p: p),
    "yes or no": (binary, B, lambda y: y, lambda p: (p[:, 0] > 0.5).astype(int)),
    "fractions": (binary, B / 2, lambda y: y, lambda p: p[:, 0]),
    "several answers": (
        partial(any_network, (3, 2), ["sigmoid"], "binary_cross_entropy"),
        np.column_stack([B, 1 - B]),
        lambda y: y,
        lambda p: (p > 0.5).astype(int),
    ),
    "0 and 1 of mse": (partial(any_network, (3, 1)), B, lambda y: y, lambda p: p[:, 0]),
}

LABELS = ("class indices", "floats as indices", "rows with one 1", "yes or no", "several answers")


@pytest.mark.parametrize("case", CALLED)
def test_the_prediction_is_of_the_kind_of_y(case):
    make, y, targets, predicted = CALLED[case]
    net, kept = make(), Kept()
    net.fit(X, y, epochs=2, metrics={"kept": kept})
    expected = targets(y), predicted(net.predict(X))
    for found, wanted in zip((kept.y, kept.prediction), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == (np.int64 if case in LABELS else np.float64)


@pytest.mark.parametrize("name", ["y_score", "y_proba", "y_prob", "pred_decision"])
def test_some_names_get_the_outputs(name):
    seen = {}
    wanted = eval(f"lambda y, {name}: seen.update(y=y, p={name}) or 1.0", {"seen": seen})
    for make, y in ((classifier, C), (binary, B)):
        net = make()
        for function in (wanted, functools.partial(wanted)):
            net.fit(X, y, epochs=1, metrics={"one": function})
            outputs = net.predict(X)
            np.testing.assert_array_equal(seen["p"], outputs[:, 0] if make is binary else outputs)
            np.testing.assert_array_equal(seen["y"], y)


def test_metrics_cannot_change_the_data():
    def change(y, prediction):
        y[0] = prediction[0]

    with pytest.raises(ValueError, match="read-only"):
        make_small().fit(X, Y, metrics={"change": change})


def test_functions_of_scikit_learn_fit_as_they_are():
    metrics = pytest.importorskip("sklearn.metrics")
    net = classifier()
    given = {
        "accuracy": metrics.accuracy_score,
        "f1": functools.partial(metrics.f1_score, average="macro"),
        "log loss": metrics.log_loss,
        "auc": functools.partial(metrics.roc_auc_score, multi_class="ovr"),
    }
    history = net.fit(X, C, epochs=3, metrics=given)
    outputs = net.predict(X)
    found = outputs.argmax(axis=1)
    expected = {
        "accuracy": np.mean(found == C),
        "f1": metrics.f1_score(C, found, average="macro"),
        "log loss": net.loss(X, C),
        "auc": metrics.roc_auc_score(C, outputs, multi_class="ovr"),
    }
    assert {name: v[-1] for name, v in history.metrics.items()} == pytest.approx(expected)

    net = binary()
    given = {"accuracy": metrics.accuracy_score, "auc": metrics.roc_auc_score}
    history = net.fit(X, B, epochs=3, metrics=given)
    outputs = net.predict(X)[:, 0]
    expected = {"accuracy": np.mean((outputs > 0.5) == B)}
    expected["auc"] = np.mean(outputs[B == 1][:, None] > outputs[B == 0])  # Mann and Whitney's U
    assert {name: v[-1] for name, v in history.metrics.items()} == pytest.approx(expected)

    net = make_small(dtype="float64")
    history = net.fit(X, Y, epochs=3, metrics={"mse": metrics.mean_squared_error})
    assert history.metrics["mse"][-1] == pytest.approx(net.loss(X, Y), rel=1e-12)


# ---- where the numbers go


@pytest.mark.parametrize("options", [{}, {"optimizer": "lbfgs"}, {"batch_size": None}], ids=str)
def test_they_are_measured_after_every_epoch(options):
    """On the validation data, or else on the training data; without a change of the training."""
    for given, on in (
        ({}, (X, Y)),
        ({"validation_data": (X2, Y2, W2)}, (X2, Y2)),
        ({"validation_data": (X2, Y2), "progress": True}, (X2, Y2)),
    ):
        expected, reports = [], []

        def measure(epoch, expected=expected, reports=reports, on=on):
            expected.append(mean_error(on[1], epoch.network.predict(on[0])))
            reports.append(epoch.metrics)

        net, other = make_small(dtype="float64"), make_small(dtype="float64")
        options = {"epochs": 5, **options, **given}
        history = net.fit(X, Y, metrics={"mae": mean_error}, callbacks=measure, **options)
        assert history.metrics.keys() == {"mae"}
        assert history.metrics["mae"].dtype == np.float64
        np.testing.assert_allclose(history.metrics["mae"], expected, rtol=1e-12)
        assert reports == [{"mae": value} for value in history.metrics["mae"]]
        without = other.fit(X, Y, **options)
        assert bits(net, history) == bits(other, without)
        assert without.metrics == {}


def test_they_are_measured_on_what_is_held_back():
    net = make_small(dtype="float64")
    history = net.fit(X, Y, epochs=2, validation_split=0.2, metrics={"mae": mean_error})
    held = history.validation_rows
    assert history.metrics["mae"][-1] == pytest.approx(mean_error(Y[held], net.predict(X[held])))


def test_they_are_measured_on_files(mapped, small_parts):
    net, other = make_small(), make_small()
    options = {"epochs": 3, "shuffle": False, "metrics": {"mae": mean_error}}
    history = net.fit(mapped(X), mapped(Y), **options)
    expected = other.fit(X, Y, **options)
    assert history.metrics["mae"].tolist() == expected.metrics["mae"].tolist()


def test_batches_need_validation_data():
    net = make_small()
    with pytest.raises(ValueError, match="X gives batches; give validation_data="):
        net.fit(in_batches((X, Y)), metrics={"mae": mean_error})
    options = {"validation_data": (X2, Y2), "metrics": {"mae": mean_error}}
    assert net.fit(in_batches((X, Y)), epochs=2, **options).metrics["mae"].size == 2


def test_how_a_history_shows_them():
    history = make_small().fit(X, Y, epochs=2, metrics={"n": lambda y, p: len(y)})
    assert "n 60 -> 60" in repr(history)
    assert "60 → 60" in history._repr_html_()
    assert pickle.loads(pickle.dumps(history)).metrics["n"].tolist() == [60, 60]
    old = fp.History()
    state = {name: value for name, value in vars(history).items() if name != "metrics"}
    old.__setstate__(state)  # as version 0.1 wrote it
    assert (old.metrics, old.epochs) == ({}, 2)


def test_how_the_progress_bar_shows_them(capsys):
    pytest.importorskip("tqdm")
    make_small().fit(X, Y, epochs=3, progress=True, metrics={"rows": lambda y, p: len(y)})
    assert "rows=60" in capsys.readouterr().err


def test_a_resumed_training_has_them_all(tmp_path):
    path = tmp_path / "a.ckpt"
    metrics = {"mae": mean_error, "sometimes": lambda y, p: np.nan if p[0, 0] > 0.1 else p[0, 0]}
    whole, net = make_small(), make_small()
    expected = whole.fit(X, Y, epochs=9, metrics=metrics)
    make_small().fit(X, Y, epochs=4, metrics=metrics, callbacks=fp.Checkpoint(path))
    history = net.fit(X, Y, epochs=9, metrics=metrics, resume=path)
    assert bits(net, history) == bits(whole, expected)
    for name in metrics:
        np.testing.assert_array_equal(history.metrics[name], expected.metrics[name])
    for other in (None, {"mae": mean_error}):
        with pytest.raises(ValueError, match=r"metrics = \['mae', 'sometimes'\], but fit was"):
            make_small().fit(X, Y, epochs=9, metrics=other, resume=path)


# ---- when something goes wrong

REFUSED = {
    "a function": (mean_error, TypeError, "metrics must be a dict from a name to a function"),
    "a list": ([mean_error], TypeError, "metrics must be a dict"),
    "a number for a name": ({1: mean_error}, TypeError, "must have names, got 1"),
    "no name": ({"": mean_error}, TypeError, "must have names, got ''"),
    "a word": ({"a": "accuracy"}, TypeError, r"metrics\['a'\] must be a function, got 'accuracy'"),
    "one argument": (
        {"a": lambda y: 1},
        TypeError,
        r"of two arguments, \(y, prediction\), but it",
    ),
    "three": ({"a": lambda e, X, y: 1}, TypeError, r"but its arguments are \(e, X, y\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    metrics, error, message = REFUSED[case]
    net = make_small()
    before = net.params.tobytes(), net.rng.bit_generator.state
    with pytest.raises(error, match=message):
        net.fit(X, Y, metrics=metrics)
    assert (net.params.tobytes(), net.rng.bit_generator.state) == before


@pytest.mark.parametrize("value", [None, "1", np.ones(2), 1j, np.complex128(1), [1.0]], ids=repr)
def test_what_is_no_number_is_refused(value):
    net, other = make_small(), make_small()
    with pytest.raises(TypeError, match=r"metrics\['a'\] must return one number, but after epoch"):
        net.fit(X, Y, metrics={"a": lambda y, p: value})
    other.fit(X, Y, epochs=1)
    assert net.params.tobytes() == other.params.tobytes()


@pytest.mark.parametrize("value", [True, np.float32(1), np.array(1), 1], ids=repr)
def test_what_is_a_number_is_taken(value):
    history = make_small().fit(X, Y, epochs=1, metrics={"a": lambda y, p: value})
    assert history.metrics["a"].tolist() == [1.0]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_an_error_leaves_what_was_learnt(optimizer):
    calls = []

    def fail(y, prediction):
        calls.append(prediction)
        if len(calls) == 3:
            raise ZeroDivisionError("by hand")
        return 0.0

    net, other = make_small(), make_small()
    with pytest.raises(ZeroDivisionError, match="by hand") as caught:
        net.fit(X, Y, epochs=9, optimizer=optimizer, metrics={"fails": fail})
    (note,) = caught.value.__notes__
    assert "metrics['fails'] after epoch 2" in note
    assert "float32 (60, 2)" in note
    other.fit(X, Y, epochs=3, optimizer=optimizer)
    assert net.params.tobytes() == other.params.tobytes()


def test_an_interruption():
    calls = []

    def interrupt(y, prediction):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return 1.0

    history = make_small().fit(X, Y, epochs=9, metrics={"a": interrupt})
    assert history.stopped_by == "interrupted"
    assert (history.epochs, history.metrics["a"][:2].tolist()) == (3, [1, 1])
    assert np.isnan(history.metrics["a"][2])


def finite(y, prediction):
    assert np.isfinite(prediction).all()  # as scikit-learn's functions insist
    return 0.0


@pytest.mark.parametrize("validation_data", [None, (X2, Y2)], ids=["training", "validation"])
def test_a_divergence_is_no_error_of_a_metric(validation_data):
    options = {"optimizer": fp.SGD(1e6), "epochs": 50, "validation_data": validation_data}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fp.DivergenceWarning)
        history = make_small().fit(X, Y, metrics={"finite": finite}, **options)
    assert history.stopped_by == "diverged"
    assert history.metrics["finite"].shape == history.loss.shape


def test_outputs_that_are_not_finite_are_not_measured():
    """The parameters are finite, and so is the loss before the update; the outputs are not."""
    net = fp.Network(1, [fp.Dense(1), fp.Dense(1, "exp")], "mse", rng=0)
    net.weights[0][:] = 1
    net.weights[1][:] = 1
    options = {"optimizer": fp.SGD(1e4), "batch_size": None, "epochs": 1}
    history = net.fit([[1.0]], [[200.0]], metrics={"finite": finite}, **options)
    assert np.isinf(net.predict([[1.0]])).all()
    assert np.isnan(history.metrics["finite"]).tolist() == [True]
