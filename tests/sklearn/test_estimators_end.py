"""How the training of an estimator ends: interrupted, diverged, with what is told of it."""

import math

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")


import flatprop as fp
from estimator_data import BINARY, NAMES, NUMBERS, X, furthest, quiet
from flatprop.sklearn import MLPClassifier, MLPRegressor


@quiet
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("epoch", [0, 3])
def test_an_interruption_leaves_a_model(solver, epoch):
    def interrupt(report):
        if report.epoch == epoch:
            raise KeyboardInterrupt

    model = MLPClassifier(solver=solver, callbacks=interrupt, random_state=0)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model.fit(X, NAMES)
    assert model.n_iter_ == epoch + 1 == len(model.loss_curve_)
    assert math.isfinite(model.loss_)
    shorter = MLPClassifier(solver=solver, random_state=0, max_iter=epoch + 1).fit(X, NAMES)
    assert furthest(model, shorter) == 0


@pytest.mark.parametrize("streamed", [False, True])
def test_an_interruption_of_the_first_epoch_is_no_divergence(streamed, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(fp.Trainer, "epochs", interrupt)
    monkeypatch.setattr(fp.Trainer, "go_through", interrupt)
    model = MLPRegressor(random_state=0)
    with pytest.warns(UserWarning, match="interrupted by user"):
        (model.partial_fit if streamed else model.fit)(X, NUMBERS)
    assert model.n_iter_ == 0
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.filterwarnings("ignore")
def test_a_stream_that_diverges_at_once_keeps_its_classes():
    model = MLPClassifier(solver="sgd", learning_rate_init=1e300, batch_size=10, random_state=0)
    with pytest.raises(ValueError, match="non-finite"):
        model.partial_fit(1e150 * X, NAMES, classes=["ant", "bee", "cow"])
    assert set(model.predict(X)) <= set(NAMES)
    refused = MLPClassifier()
    with pytest.raises(ValueError, match="inconsistent"):
        refused.partial_fit(X, NAMES[:3], classes=["ant", "bee", "cow"])
    assert not hasattr(refused, "classes_")


@quiet
def test_an_error_in_a_callback_leaves_the_best():
    def fail(report):
        if report.epoch == 9:
            raise ZeroDivisionError

    model = MLPRegressor(early_stopping=True, callbacks=fail, random_state=0, max_iter=20)
    with pytest.raises(ZeroDivisionError):
        model.fit(X[:180], NUMBERS[:180], X_val=X[180:], y_val=NUMBERS[180:])
    assert model.score(X[180:], NUMBERS[180:]) == pytest.approx(max(model.validation_scores_))


@pytest.mark.filterwarnings("ignore")
def test_a_divergence_keeps_what_was_before_it():
    quietly = MLPRegressor(solver="sgd", learning_rate_init=1e3, activation="identity")
    seen = MLPRegressor(**{**quietly.get_params(), "callbacks": lambda epoch: None})
    for model in (quietly, seen):
        with pytest.raises(ValueError, match="non-finite"):
            model.set_params(random_state=0).fit(X, NUMBERS)
    np.testing.assert_array_equal(quietly.loss_curve_, seen.loss_curve_)
    assert quietly.n_iter_ == seen.n_iter_ > 1


DIVERGING = {"solver": "sgd", "activation": "identity", "random_state": 0}


@pytest.mark.parametrize("held_out", [False, True])
def test_a_divergence_with_early_stopping_keeps_the_best_and_says_so(held_out):
    model = MLPRegressor(early_stopping=True, learning_rate_init=1.0, **DIVERGING)
    given = {"X_val": X[180:], "y_val": NUMBERS[180:]} if held_out else {}
    with pytest.warns(fp.DivergenceWarning, match="best validation score so far.*kept") as told:
        model.fit(X[:180], 9 * NUMBERS[:180], **given)
    assert told[0].filename == __file__
    assert "smaller learning_rate_init (it was 1)" in str(told[0].message)
    assert not math.isfinite(model.validation_scores_[-1])
    assert model.best_validation_score_ == np.nanmax(model.validation_scores_)
    assert np.isfinite(model.predict(X)).all()
    if held_out:
        assert model.score(X[180:], NUMBERS[180:]) == pytest.approx(model.best_validation_score_)


NEVER_FINITE = {
    "steps": (1e3, X, NUMBERS, "smaller learning_rate_init"),
    "targets": (0.01, X, 1e200 * NUMBERS, r"targets of up to \d.*e\+200 the loss overflows"),
    "inputs": (0.01, 1e300 * X, NUMBERS, "inputs of up to"),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("case", NEVER_FINITE)
def test_a_training_without_any_finite_score_raises(case, early_stopping):
    rate, inputs, y, message = NEVER_FINITE[case]
    options = {"early_stopping": early_stopping, "learning_rate_init": rate, "batch_size": 20}
    with pytest.raises(ValueError, match=f"non-finite parameter weights.*{message}"):
        MLPRegressor(**DIVERGING, **options).fit(inputs, y)


VALIDATION = {
    # factors of X_val and y_val, dtype, what the message says
    "targets": (
        1,
        1e200,
        "float64",
        r"targets of the validation set of up to \d.*e\+200 the loss",
    ),
    "targets in float32": (1, 1e25, "float32", r"set of up to \d.*e\+25 .*float32.*X in float64"),
    "inputs": (1e300, 1, "float64", r"the validation data \d.*e\+300.*scaled by the same numbers"),
    "inputs in float32": (
        1e25,
        1,
        "float32",
        r"the validation data \d.*e\+25.*by the same numbers",
    ),
}


@quiet
@pytest.mark.parametrize("case", VALIDATION)
@pytest.mark.parametrize("solver", ["adam", "lbfgs", "levenberg_marquardt"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_validation_data_that_overflow_are_named(case, solver, early_stopping):
    of_X, of_y, dtype, message = VALIDATION[case]
    options = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0}
    model = MLPRegressor(early_stopping=early_stopping, solver=solver, **options)
    given = {"X_val": (of_X * X).astype(dtype), "y_val": of_y * NUMBERS}
    X_train = X.astype(dtype)
    # In float32 R² is of float64 still, so that there are scores.
    scored = dtype == "float32"
    if early_stopping and solver == "adam" and not scored:
        with pytest.raises(ValueError, match=f"No validation score was finite.*{message}") as told:
            model.fit(X_train, NUMBERS, **given)
    else:
        with pytest.warns(
            fp.DivergenceWarning, match=f"loss of the validation set.*{message}"
        ) as w:
            model.fit(X_train, NUMBERS, **given)
        told = w[0].message
        assert w[0].filename == __file__
    assert "learning_rate_init" not in str(told)


@quiet
@pytest.mark.parametrize("streamed", [False, True])
def test_an_optimizer_that_overflows_is_told(streamed):
    model = MLPRegressor(max_iter=2, random_state=0)
    with pytest.warns(fp.DivergenceWarning, match="no longer moves .*or X in float64") as told:
        (model.partial_fit if streamed else model.fit)(1e12 * X.astype("float32"), NUMBERS)
    assert told[0].filename == __file__
    assert "clip_norm" not in str(told[0].message)


@quiet
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs", "levenberg_marquardt"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_callback_that_leaves_nan_is_named(solver, early_stopping):
    def ruin(report):
        report.network.params[3] = np.nan

    options = {"solver": solver, "early_stopping": early_stopping, "callbacks": ruin}
    model = MLPRegressor(hidden_layer_sizes=(4,), max_iter=1, random_state=0, **options)
    if early_stopping and solver in ("sgd", "adam"):
        with pytest.warns(fp.DivergenceWarning, match="A callback left .*best validation score"):
            model.fit(X, NUMBERS)
    else:
        with pytest.raises(ValueError, match="A callback left parameters that are not finite"):
            model.fit(X, NUMBERS)
    assert np.isfinite(model.predict(X)).all()


@quiet
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs", "levenberg_marquardt"])
def test_one_outlying_input_is_named(solver):
    given = X.copy()
    given[5, 2] = 1e300
    model = MLPRegressor(hidden_layer_sizes=(4,), solver=solver, max_iter=3, random_state=0)
    with pytest.raises(ValueError, match=r"inputs of up to 1e\+300 the loss or its gradient"):
        model.fit(given, NUMBERS)


def test_least_squares_is_advised_other_weights():
    model = MLPRegressor(hidden_layer_sizes=(4,), solver="levenberg_marquardt", random_state=0)
    with pytest.raises(ValueError, match=r"other initial weights \(random_state\)"):
        model.fit(7e152 * X, NUMBERS)


def test_a_part_without_weight_is_named():
    few = np.zeros(240)
    few[:2] = 1
    with pytest.raises(ValueError, match="among the 24 samples that early_stopping set aside"):
        MLPRegressor(early_stopping=True, random_state=0).fit(X, NUMBERS, few)
    aside = MLPRegressor(early_stopping=True, random_state=0, validation_fraction=0.99)
    with pytest.raises(ValueError, match="among the 2 samples that are left to train on"):
        aside.fit(X, NUMBERS, few)
    with pytest.raises(ValueError, match="every sample_weight_val is zero"):
        MLPRegressor().fit(X, NUMBERS, X_val=X, y_val=NUMBERS, sample_weight_val=np.zeros(240))
    none = MLPClassifier(class_weight={False: 1, True: 0}, early_stopping=True)
    with pytest.raises(ValueError, match=r"every weight of the validation set \(X_val, y_val\)"):
        none.fit(X, BINARY, X_val=X[BINARY], y_val=BINARY[BINARY])


def test_timestamps_in_float32_are_told_of():
    stamps = np.column_stack([X[:, 0], 1.7e9 + 60 * np.arange(240)]).astype("float32")
    model = MLPRegressor(callbacks=lambda epoch: True)
    with pytest.warns(fp.ResolutionWarning, match="column 1 of X ranges from") as told:
        model.fit(stamps, NUMBERS)
    assert told[0].filename == __file__
    pandas = pytest.importorskip("pandas", reason="the frame is one of pandas")
    with pytest.warns(fp.ResolutionWarning, match="column 'time' of X"):
        model.fit(pandas.DataFrame(stamps, columns=["place", "time"]), NUMBERS)
    model.fit(stamps.astype("float64"), NUMBERS)
    codes = pandas.DataFrame({"code": 80_001 + np.arange(240) % 4, "one": 7.0}, dtype="float32")
    model.fit(codes, NUMBERS)
