"""What the scikit-learn estimators have beyond scikit-learn's own, and where they are used."""

import copy
import io
import math
import pickle
import weakref

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

import joblib
from numba import njit
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import flatprop as fp
from estimator_data import (
    BINARY,
    CLASSES,
    NAMES,
    NUMBERS,
    WEIGHT,
    X,
    furthest,
    quiet,
)
from flatprop.kernels.network import training_loop
from flatprop.sklearn import MLPClassifier, MLPRegressor

# ---- what they have beyond


@njit
def cube(z):
    return z**3, 3 * z**2


@njit
def cauchy(prediction, y):
    d = prediction - y
    return math.log1p(d * d), 2 * d / (1 + d * d)


@quiet
@pytest.mark.parametrize(
    "options",
    [
        {"activation": ["tanh", "gelu"]},
        {"activation": [cube, "softplus"]},
        {"loss": "absolute_error"},
        {"loss": "huber"},
        {"loss": fp.losses.Quantile(q=0.9)},
        {"loss": cauchy},
        {"output_activation": "softplus"},
    ],
    ids="-".join,  # of the names; a function's address would differ between processes
)
def test_layers_and_losses_of_choice(options):
    """The loss before the first update is that of a network built by hand."""
    model = MLPRegressor(hidden_layer_sizes=(5, 4), max_iter=1, batch_size=240, **options)
    model.set_params(alpha=0.0, random_state=0)
    first, second = (clone(model).fit(X, NUMBERS) for _ in range(2))
    assert first.loss_ == second.loss_
    activations = options.get("activation", ["relu", "relu"])
    names = {"absolute_error": "mae"}
    last = fp.Dense(1, options.get("output_activation", "identity"))
    loss = options.get("loss", "half_mse")
    net = fp.Network(
        6,
        [fp.Dense(n, a) for n, a in zip((5, 4), activations, strict=True)] + [last],
        names.get(loss, loss) if isinstance(loss, str) else loss,
        "float64",
    )
    net.params = model.set_params(max_iter=1).fit(X, NUMBERS).network_.params
    assert model.set_params(warm_start=True).fit(X, NUMBERS).loss_ == pytest.approx(
        net.loss(X, NUMBERS)
    )


def test_a_quantile_is_one():
    model = MLPRegressor(fp.losses.Quantile(q=0.9), 10, solver="lbfgs", max_iter=300)
    noisy = X[:, 0] + np.random.default_rng(1).normal(size=240)
    below = noisy <= model.set_params(random_state=0, tol=1e-6).fit(X[:, :1], noisy).predict(
        X[:, :1]
    )
    assert 0.86 < below.mean() < 0.94


@quiet
def test_class_weight_is_a_weight_of_samples():
    weights = {"ant": 1.0, "bee": 3.0, "cow": 0.5}
    options = {"random_state": 0, "max_iter": 5}
    one = MLPClassifier(class_weight=weights, **options).fit(X, NAMES, WEIGHT)
    by_sample = WEIGHT * np.array([weights[name] for name in NAMES])
    other = MLPClassifier(**options).fit(X, NAMES, by_sample)
    assert furthest(one, other) == 0
    balanced = MLPClassifier(class_weight="balanced", **options).fit(X, NAMES)
    counts = np.bincount(CLASSES)
    by_hand = MLPClassifier(**options).fit(X, NAMES, (240 / (3 * counts))[CLASSES])
    assert furthest(balanced, by_hand) == 0


@quiet
def test_label_smoothing_is_a_target_between():
    options = {"random_state": 0, "max_iter": 5}
    smooth = MLPClassifier(label_smoothing=0.3, **options).fit(X, NAMES)
    loss = fp.losses.CrossEntropy(label_smoothing=0.3)
    np.testing.assert_allclose(
        smooth.predict_proba(X), MLPClassifier(loss=loss, **options).fit(X, NAMES).predict_proba(X)
    )
    # Of two classes, no probability goes beyond the targets 0.15 and 0.85 for long.
    two = MLPClassifier(label_smoothing=0.3, solver="lbfgs", random_state=0).fit(X, NAMES == "ant")
    surest = two.predict_proba(X).max(axis=1)
    assert 0.8 < np.median(surest) < 0.9


@quiet
def test_early_stopping_by_the_loss_keeps_the_weights_of_the_lowest():
    model = MLPClassifier(early_stopping="loss", max_iter=15, random_state=0, batch_size=10)
    model.fit(X, NAMES, X_val=X[::2], y_val=NAMES[::-2])
    assert model.validation_scores_ == [-loss for loss in model.validation_loss_curve_]
    p = model.predict_proba(X[::2])
    chosen = np.searchsorted(model.classes_, NAMES[::-2])
    lowest = -np.log(p[np.arange(len(p)), chosen]).mean()
    np.testing.assert_allclose(lowest, min(model.validation_loss_curve_), rtol=1e-5)


@quiet
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_validation_set_of_ones_own(solver):
    model = MLPClassifier(random_state=0, max_iter=7, solver=solver)
    model.fit(X[:180], NAMES[:180], X_val=X[180:], y_val=NAMES[180:])
    assert len(model.validation_loss_curve_) == len(model.loss_curve_) == model.n_iter_
    indices = np.searchsorted(model.classes_, NAMES[180:].astype(str))
    assert model.validation_loss_curve_[-1] == model.network_.loss(X[180:], indices)
    plain = MLPClassifier(random_state=0, max_iter=7, solver=solver).fit(X[:180], NAMES[:180])
    assert furthest(plain, model) == 0


@quiet
def test_early_stopping_on_a_validation_set_of_ones_own():
    model = MLPRegressor(early_stopping=True, max_iter=30, random_state=0)
    model.fit(X[:180], NUMBERS[:180], X_val=X[180:], y_val=NUMBERS[180:])
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.score(X[180:], NUMBERS[180:]) == pytest.approx(model.best_validation_score_)


@quiet
@pytest.mark.parametrize(
    "solver",
    [
        "sgd",
        "adam",
        "adamw",
        "rmsprop",
        "adagrad",
        "rprop",
        "lbfgs",
        "levenberg_marquardt",
        fp.Adam(0.01),
        fp.AdamW(fp.schedules.Cosine(0.02), weight_decay=0.1),
        fp.SGD(fp.schedules.ReduceOnPlateau(0.1, patience=1), momentum=0.5),
        fp.LBFGS(maxcor=3),
    ],
    ids=str,
)
def test_every_optimizer(solver):
    model = MLPRegressor(
        hidden_layer_sizes=8, solver=solver, max_iter=60, random_state=0, learning_rate_init=0.01
    )
    assert model.fit(X, NUMBERS).loss_curve_[-1] < 0.8 * model.loss_curve_[0]
    takes_all = isinstance(solver, fp.Solver) or solver in ("lbfgs", "levenberg_marquardt")
    assert hasattr(model, "partial_fit") != takes_all
    assert np.isfinite(model.predict(X)).all()


@quiet
def test_a_schedule_is_followed():
    rates = []
    MLPRegressor(
        solver=fp.SGD(fp.schedules.Step(0.1, step_size=2, gamma=0.5)),
        max_iter=5,
        callbacks=lambda epoch: rates.append(epoch.learning_rate),
        random_state=0,
    ).fit(X, NUMBERS)
    assert rates == [0.1, 0.1, 0.05, 0.05, 0.025]


@quiet
def test_a_balanced_weight_is_that_of_the_training_samples():
    few = np.r_[np.flatnonzero(BINARY)[:15], np.flatnonzero(~BINARY)]
    model = MLPClassifier(class_weight="balanced", max_iter=3, random_state=0)
    model.fit(X[few], BINARY[few], X_val=X, y_val=BINARY)
    weight = np.where(BINARY, len(few) / 30, len(few) / (2 * (~BINARY).sum()))
    net = model.network_
    assert model.validation_loss_curve_[-1] == pytest.approx(net.loss(X, BINARY, weight))


@quiet
def test_a_stream_follows_its_parameters():
    rates = []
    model = MLPRegressor(
        solver=fp.SGD(fp.schedules.Step(0.1, step_size=2)),
        callbacks=lambda epoch: rates.append(epoch.learning_rate),
        alpha=0.0,
        batch_size=240,
        random_state=0,
    )
    for _ in range(4):
        model.partial_fit(X, NUMBERS)
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01])
    squares = sum((W**2).sum() for W in model.coefs_)
    plain = copy.deepcopy(model).partial_fit(X, NUMBERS)
    penalised = model.set_params(alpha=10.0).partial_fit(X, NUMBERS)
    assert penalised.loss_ - plain.loss_ == pytest.approx(10 / 480 * squares)


def test_a_fitted_estimator_lets_go_of_the_samples():
    mine = X.copy()
    gone = weakref.ref(mine)
    model = MLPRegressor(max_iter=12, n_iter_no_change=20)
    with pytest.warns(ConvergenceWarning) as told:
        model.fit(mine, NUMBERS)
    assert told[0].filename == __file__
    del mine
    assert gone() is None


# ---- callbacks


def test_flatprops_callbacks():
    seen = []

    def watch(epoch):
        seen.append((epoch.epoch, epoch.loss, epoch.val_loss, epoch.network))
        return epoch.epoch == 3

    model = MLPClassifier(callbacks=[watch], max_iter=50).fit(X, CLASSES)
    assert [entry[0] for entry in seen] == [0, 1, 2, 3]
    assert [entry[1] for entry in seen] == model.loss_curve_
    assert seen[0][3] is model.network_
    refused = MLPClassifier(callbacks=lambda epoch: epoch.save_checkpoint("never"))
    with pytest.raises(ValueError, match="warm_start or partial_fit"):
        refused.fit(X, CLASSES)


def test_numpys_truth_stops_too():
    seen = []

    def stop(epoch):
        seen.append(epoch.epoch)
        return np.float64(epoch.loss) > 0

    MLPRegressor(callbacks=stop).fit(X, NUMBERS)
    assert seen == [0]


class Recorder:
    """scikit-learn's protocol of a callback."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.scores, self.tasks = [], []

    def setup(self, estimator, context):
        self.tasks.append("setup")

    def teardown(self, estimator, context):
        self.tasks.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.tasks.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.tasks.append(f"end {context.task_name}")
        self.scores.append(fitted_estimator.score(X, y))
        return len(self.scores) == self.stop_after


@quiet
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_scikit_learns_callbacks(solver):
    pytest.importorskip("sklearn.callback", reason="new in scikit-learn 1.9")
    recorder = Recorder(stop_after=4)
    model = MLPClassifier(max_iter=9, solver=solver, random_state=0)
    model.set_callbacks(recorder).fit(X, NAMES)
    assert model.n_iter_ == 4
    epochs = ["begin epoch", "end epoch"] * 4
    assert recorder.tasks == ["setup", "begin fit", *epochs, "end fit", "teardown"]
    assert recorder.scores[-1] == model.score(X, NAMES)
    assert recorder.scores[0] != recorder.scores[-1]


@quiet
def test_a_monitor_of_scikit_learn_in_a_search():
    callback = pytest.importorskip("sklearn.callback", reason="new in scikit-learn 1.9")
    monitor = callback.ScoringMonitor(scoring="accuracy")
    search = GridSearchCV(MLPClassifier(max_iter=3), {"alpha": [0.1, 1.0]}, cv=2)
    search.estimator.set_callbacks(monitor)
    search.fit(X, NAMES)
    # two candidates, two folds, three epochs, and the best once more
    epochs = [entry for entry in monitor.get_logs().data if "epoch" in str(entry)]
    assert len(epochs) == 3 * (2 * 2 + 1)


# ---- among scikit-learn's tools


@quiet
@pytest.mark.filterwarnings("ignore:A worker stopped while some jobs were given")
def test_a_search_with_processes():
    model = make_pipeline(StandardScaler(), MLPClassifier(max_iter=5, random_state=0))
    grid = {"mlpclassifier__hidden_layer_sizes": [(3,), (4, 3), (5,)]}
    one, two = (
        GridSearchCV(model, grid, cv=2, n_jobs=jobs, error_score="raise").fit(X, NAMES)
        for jobs in (1, 2)
    )
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
    )


@quiet
def test_another_architecture_compiles_nothing():
    MLPClassifier(5, max_iter=1).fit(X, CLASSES)
    before = list(training_loop.train.signatures)
    MLPClassifier((7, 3, 2), ["gelu", "mish", "tanh"], solver="rmsprop", max_iter=1).fit(
        X, CLASSES
    )
    assert list(training_loop.train.signatures) == before


def through_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


@quiet
@pytest.mark.parametrize(
    "again", [lambda m: pickle.loads(pickle.dumps(m)), through_joblib, copy.deepcopy]
)
def test_a_copy_goes_on_bit_for_bit(again):
    model = MLPClassifier(random_state=0, batch_size=50)
    model.partial_fit(X, NAMES, classes=["ant", "bee", "cow"]).partial_fit(X, NAMES)
    other = again(model)
    for each in (model, other):
        each.partial_fit(X, NAMES)
    assert furthest(model, other) == 0
    assert np.shares_memory(other.coefs_[0], other.network_.params)
    np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X))


@quiet
def test_weights_that_somebody_replaces():
    model = MLPRegressor(hidden_layer_sizes=4, max_iter=2, random_state=0).fit(X, NUMBERS)
    model.coefs_[1][:] = 0  # a view
    model.intercepts_ = [np.zeros(4), np.array([2.5])]  # others
    np.testing.assert_array_equal(model.predict(X), np.full(240, 2.5))
    assert model.network_.biases[1] == 2.5


@quiet
@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_array, sparse.coo_array])
def test_sparse_inputs(form):
    some = np.where(np.abs(X) > 1, X, 0)
    one, other = (MLPClassifier(max_iter=3, random_state=0, early_stopping=True) for _ in range(2))
    one.fit(some, CLASSES)
    other.fit(form(some), CLASSES)
    assert furthest(one, other) == 0
    np.testing.assert_array_equal(other.predict_proba(form(some)), one.predict_proba(some))


@quiet
def test_frames_keep_their_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    model = MLPClassifier(max_iter=2).fit(frame, pandas.Series(NAMES))
    assert model.feature_names_in_.tolist() == list("abcdef")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("bacdef")])


@quiet
def test_the_network_of_an_estimator():
    model = MLPClassifier(activation=["gelu"], max_iter=2).fit(X, NAMES)
    net = fp.interchange.from_sklearn(model)
    np.testing.assert_array_equal(net.predict(X), model.predict_proba(X))
    assert not np.shares_memory(net.params, model.network_.params)
