"""The scikit-learn estimators: held against scikit-learn's own, and what they have beyond."""

import copy
import io
import math
import pickle
import weakref

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

import joblib
import sklearn.neural_network as theirs
from numba import njit
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import flatprop as fp
from flatprop import sklearn as ours
from flatprop.kernels.network import training_loop
from flatprop.samples.in_memory import in_memory
from flatprop.sklearn import MLPClassifier, MLPRegressor
from flatprop.sklearn.solving import Penalised

rng = np.random.default_rng(0)
X = rng.normal(size=(240, 6))
WEIGHT = rng.uniform(0.5, 2, 240)
NUMBERS = np.sin(X[:, 0]) + X[:, 1]
PAIRS = np.c_[NUMBERS, X[:, 2] ** 2]
COUNTS = rng.poisson(np.exp(0.3 * X[:, 0]))
BINARY = X[:, 0] > 0
CLASSES = BINARY.astype(int) + (X[:, 3] > 1)
NAMES = np.array(["ant", "bee", "cow"], dtype=object)[CLASSES]
LABELS = (rng.normal(size=(240, 3)) + X[:, :3] > 0).astype(int)

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)])
def test_the_conventions_of_scikit_learn(estimator, check):
    check(estimator)


# ---- the same as scikit-learn's

EARLY = {"early_stopping": True}
SAME = {
    "relu": ("MLPRegressor", NUMBERS, {"hidden_layer_sizes": (8, 5)}),
    "tanh": ("MLPRegressor", NUMBERS, {"activation": "tanh"}),
    "logistic": ("MLPRegressor", NUMBERS, {"activation": "logistic"}),
    "identity": ("MLPRegressor", NUMBERS, {"activation": "identity"}),
    "no hidden layer": ("MLPRegressor", NUMBERS, {"hidden_layer_sizes": ()}),
    "no momentum": ("MLPClassifier", CLASSES, {"momentum": 0}),
    "no nesterov": ("MLPClassifier", CLASSES, {"nesterovs_momentum": False}),
    "invscaling": ("MLPClassifier", CLASSES, {"learning_rate": "invscaling", "power_t": 0.1}),
    "adaptive": (
        "MLPClassifier",
        CLASSES,
        {"learning_rate": "adaptive", "tol": 0.02, "n_iter_no_change": 2},
    ),
    "penalty": ("MLPClassifier", CLASSES, {"alpha": 1.0}),
    "binary": ("MLPClassifier", BINARY, {}),
    "labels": ("MLPClassifier", LABELS, {}),
    "names": ("MLPClassifier", NAMES, {}),
    "poisson": ("MLPRegressor", COUNTS, {"loss": "poisson", "learning_rate_init": 1e-3}),
    "early stopping": ("MLPClassifier", CLASSES, EARLY),
    "early stopping, binary": ("MLPClassifier", BINARY, EARLY),
    "early stopping, numbers": ("MLPRegressor", PAIRS, EARLY),
}


def both(kind, y, weight=None, **options):
    options = {"random_state": 3, "shuffle": False, "max_iter": 20, **options}
    return [getattr(module, kind)(**options).fit(X, y, weight) for module in (theirs, ours)]


def furthest(one, other):
    pairs = zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True)
    return max(np.abs(a - b).max() for a, b in pairs)


@quiet
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", SAME)
@pytest.mark.parametrize("batch_size", [60, 75])  # 75 leaves a last batch of 15
def test_gradient_descent_goes_the_same_way(case, weighted, batch_size):
    kind, y, options = SAME[case]
    options = {"batch_size": batch_size, "learning_rate_init": 0.02, **options}
    one, other = both(kind, y, WEIGHT if weighted else None, solver="sgd", **options)
    assert one.n_iter_ == other.n_iter_
    assert one.t_ == other.t_
    assert furthest(one, other) < 1e-13
    if case == "poisson":  # theirs has a term that does not depend on the prediction
        apart = np.subtract(other.loss_curve_, one.loss_curve_)
        assert weighted or np.ptp(apart) < 1e-12
    elif y is not PAIRS:  # of which theirs divides the loss, but not the penalty
        np.testing.assert_allclose(other.loss_curve_, one.loss_curve_, rtol=1e-12)
    else:
        np.testing.assert_allclose(other.loss_curve_, one.loss_curve_, rtol=1e-3)
    if "early" in case:
        np.testing.assert_allclose(other.validation_scores_, one.validation_scores_, rtol=1e-12)
        assert other.best_validation_score_ == pytest.approx(one.best_validation_score_)
    assert other.out_activation_ == one.out_activation_
    assert other.n_layers_ == one.n_layers_
    if kind == "MLPRegressor":
        np.testing.assert_allclose(other.predict(X), one.predict(X), rtol=1e-9)
    else:
        np.testing.assert_array_equal(other.predict(X), one.predict(X))


@quiet
@pytest.mark.parametrize("y", [CLASSES, LABELS])
def test_adam_goes_nearly_the_same_way(y):
    """Theirs adds epsilon before it corrects the bias of the moments."""
    one, other = both("MLPClassifier", y, batch_size=60)
    np.testing.assert_allclose(other.loss_curve_, one.loss_curve_, rtol=1e-5)
    np.testing.assert_allclose(other.predict_proba(X), one.predict_proba(X), atol=1e-4)


@quiet
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize(("kind", "y"), [("MLPClassifier", BINARY), ("MLPRegressor", NUMBERS)])
def test_lbfgs_goes_the_same_way(kind, y, weight):
    one, other = both(kind, y, weight, solver="lbfgs", alpha=0.1)
    assert one.n_iter_ == other.n_iter_
    assert furthest(one, other) < 1e-9
    assert other.loss_ == pytest.approx(one.loss_, rel=1e-11)


@pytest.mark.parametrize("loss", ["half_mse", "ssr"])
def test_the_penalty_of_a_solver_by_differences(loss):
    net = fp.Network(6, [fp.Dense(4, "tanh"), fp.Dense(1)], loss, "float64", rng=0)
    objective = Penalised(net, in_memory(net, X, NUMBERS, WEIGHT), 0.7)
    theta = objective.theta
    squares = sum((W**2).sum() for W in net.weights)
    per = WEIGHT.sum() if loss == "half_mse" else 1.0
    value, gradient = objective.loss_and_gradient()
    assert value == pytest.approx(net.loss(X, NUMBERS, WEIGHT) + 0.35 * squares / per)
    for k in range(0, theta.size, 5):
        sides = []
        for sign in (1, -1):
            moved = theta.copy()
            moved[k] += sign * 1e-5
            objective.move_to(moved)
            sides.append(objective.loss_and_gradient()[0])
        assert (sides[0] - sides[1]) / 2e-5 == pytest.approx(gradient[k], rel=1e-5, abs=1e-7)


@quiet
def test_partial_fit_goes_the_same_way():
    options = {"solver": "sgd", "random_state": 0, "shuffle": False}
    one, other = (module.MLPClassifier(**options) for module in (theirs, ours))
    for start in range(0, 240, 40):
        for model in (one, other):
            part = slice(start, start + 40)
            model.partial_fit(X[part], NAMES[part], classes=["ant", "bee", "cow"])
    assert furthest(one, other) < 1e-13
    assert other.t_ == one.t_ == 240


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
    ids=str,
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
def test_several_outputs_stop_when_theirs_do():
    targets = np.c_[NUMBERS, X[:, 2] ** 2, X[:, 3], X[:, 4]]
    options = {"solver": "sgd", "learning_rate_init": 0.02, "tol": 1e-3, "max_iter": 400}
    one, other = both("MLPRegressor", targets, batch_size=60, **options)
    assert one.n_iter_ == other.n_iter_ < 400


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
    model = MLPClassifier(max_iter=9, solver=solver).set_callbacks(recorder).fit(X, NAMES)
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


# ---- interruptions and changes of mind


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
    def interrupt(*arguments):
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
    model = MLPRegressor(
        hidden_layer_sizes=(4,), early_stopping=early_stopping, solver=solver, max_iter=3
    )
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
    model = MLPRegressor(max_iter=2)
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
    model = MLPRegressor(hidden_layer_sizes=(4,), solver=solver, max_iter=3)
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


@pytest.mark.parametrize("kind", ["names", "binary", "classes", "one number", "pairs"])
def test_plain_arrays_go_the_same_way_as_lists(kind):
    y = {"names": NAMES.astype(str), "binary": BINARY, "classes": CLASSES}.get(kind)
    if y is not None:
        model = MLPClassifier(random_state=0).partial_fit(X, y, classes=np.unique(y))
    else:
        y = NUMBERS if kind == "one number" else PAIRS
        model = MLPRegressor(random_state=0).partial_fit(X, y)
    other = copy.deepcopy(model)
    for rows in (slice(0, 1), slice(3, 20), slice(20, 22)):
        model.partial_fit(X[rows], y[rows])
        other.partial_fit(X[rows].tolist(), y[rows].tolist())
        assert model.loss_ == other.loss_
    assert furthest(model, other) == 0
    np.testing.assert_array_equal(model.predict(X[:5]), other.predict(X[:5].tolist()))


LATER = {
    "NaN": (lambda: (np.full((2, 6), np.nan), CLASSES[:2]), "contains NaN"),
    "columns": (lambda: (X[:2, :3], CLASSES[:2]), "expecting 6 features"),
    "rows": (lambda: (X[:2], CLASSES[:3]), "inconsistent numbers of samples"),
    "a new class": (lambda: (X[:2], np.array([0, 7])), "not in `self.classes_`"),
    "a class below": (lambda: (X[:2], np.array([-1, 0])), "not in `self.classes_`"),
    "half a class": (lambda: (X[:2], np.array([0.5, 1.0])), "Unknown label type"),
    "nothing": (lambda: (X[:0], CLASSES[:0]), "0 sample"),
    "one row": (lambda: (X[0], CLASSES[:1]), "Expected 2D array"),
    "other classes": (lambda: (X[:2], CLASSES[:2], None, [0, 1]), "not the same as on last call"),
}


@pytest.mark.parametrize("case", LATER)
def test_a_later_part_of_a_stream_is_still_validated(case):
    given, message = LATER[case]
    model = MLPClassifier(random_state=0).partial_fit(X, CLASSES, classes=[0, 1, 2])
    before = model.network_.params.copy()
    with pytest.raises(ValueError, match=message):
        model.partial_fit(*given())
    np.testing.assert_array_equal(model.network_.params, before)


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


REFUSED = {
    "validation without y": ((X, BINARY), {"X_val": X}, {}),
    "labels of the validation": ((X, CLASSES), {"X_val": X, "y_val": CLASSES + 1}, {}),
    "weights": ((X, BINARY, WEIGHT[:3]), {}, {}),
    "other columns": ((X[:, :3], BINARY, [1.0]), {}, {}),
    "a small validation set": (
        (X, BINARY),
        {"X_val": X[:1], "y_val": BINARY[:1]},
        {"early_stopping": True},
    ),
    "negative weights": ((X, BINARY, -WEIGHT), {}, {}),
}


@quiet
@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_fit_changes_nothing(case):
    given, options, parameters = REFUSED[case]
    model = MLPClassifier(max_iter=2, random_state=0).fit(X, NAMES)
    before = model.predict(X)
    with pytest.raises((TypeError, ValueError)):
        model.set_params(**parameters).fit(*given, **options)
    np.testing.assert_array_equal(model.predict(X), before)
    fresh = clone(model)
    with pytest.raises((TypeError, ValueError)):
        fresh.fit(*given, **options)
    with pytest.raises(NotFittedError):
        fresh.predict(X)


@quiet
@pytest.mark.parametrize(
    "change", [{"hidden_layer_sizes": 7}, {"activation": "tanh"}, {"loss": "mae"}], ids=str
)
def test_a_warm_start_of_another_network_is_refused(change):
    model = MLPRegressor(max_iter=2, warm_start=True).fit(X, NUMBERS)
    before = model.predict(X)
    with pytest.raises(ValueError, match="warm_start=False"):
        model.set_params(**change).fit(X, NUMBERS)
    np.testing.assert_array_equal(model.predict(X), before)
    model.set_params(warm_start=False).fit(X, NUMBERS)


@quiet
@pytest.mark.parametrize(
    "change",
    [{"solver": "sgd"}, {"solver": "lbfgs"}, {"early_stopping": True}, {"early_stopping": False}],
    ids=str,
)
@pytest.mark.parametrize("first", [{"solver": "lbfgs"}, {"early_stopping": True}, {}], ids=str)
def test_a_warm_start_goes_on_in_another_way(first, change):
    model = MLPRegressor(max_iter=3, warm_start=True, random_state=0, **first).fit(X, NUMBERS)
    model.set_params(**change).fit(X, NUMBERS)
    assert math.isfinite(model.loss_)


# ---- what cannot be

WRONG = {
    "unknown activation": ({"activation": "rleu"}, "Did you mean 'relu'"),
    "activations for other layers": ({"activation": ["tanh", "relu"]}, "2 activations for 1"),
    "unknown solver": ({"solver": "adm"}, "Did you mean 'adam'"),
    "class of an optimizer": ({"solver": fp.Adam}, "write fp.Adam"),
    "no units": ({"hidden_layer_sizes": (4, 0)}, "must be > 0"),
    "alpha": ({"alpha": -1}, "alpha must be"),
    "learning rate": ({"learning_rate_init": 0}, "learning_rate_init must be"),
    "name of a schedule": ({"learning_rate": "inverse"}, "Did you mean 'invscaling'"),
    "iterations": ({"max_iter": 0}, "max_iter must be at least 1"),
    "batch": ({"batch_size": "full"}, "batch_size must be a whole number"),
    "fraction": ({"validation_fraction": 1}, "validation_fraction must lie"),
    "callbacks": ({"callbacks": [3]}, "callbacks must be functions"),
    "loss": ({"loss": "logloss"}, "unknown loss"),
    "a word for a truth": ({"shuffle": "no"}, "shuffle must be True or False"),
    "momentum": ({"solver": "sgd", "momentum": 3}, "momentum must lie in"),
    "number for an activation": ({"activation": 3}, "activation must be"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_said(case):
    options, message = WRONG[case]
    model = MLPClassifier(**options)
    with pytest.raises((TypeError, ValueError), match=message):
        model.fit(X, CLASSES)
    assert not hasattr(model, "coefs_")


def test_data_that_cannot_be_are_said():
    with pytest.raises(ValueError, match="needs both X_val and y_val"):
        MLPClassifier().fit(X, CLASSES, X_val=X)
    with pytest.raises(ValueError, match="early_stopping=True"):
        MLPRegressor(early_stopping=True).partial_fit(X, NUMBERS)
    with pytest.raises(ValueError, match="balanced"):
        MLPClassifier(class_weight="balanced").partial_fit(X, CLASSES, classes=[0, 1, 2])
    with pytest.raises(AttributeError, match="partial_fit") as told:
        MLPRegressor(solver="lbfgs").partial_fit(X, NUMBERS)
    assert "lbfgs is not stochastic" in str(told.value.__cause__)
    with pytest.raises(ValueError, match="not negative"):
        MLPRegressor("poisson").fit(X, NUMBERS)
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        MLPRegressor(max_iter=1).fit(X, NUMBERS)


@quiet
def test_the_network_of_an_estimator():
    model = MLPClassifier(activation=["gelu"], max_iter=2).fit(X, NAMES)
    net = fp.interchange.from_sklearn(model)
    np.testing.assert_array_equal(net.predict(X), model.predict_proba(X))
    assert not np.shares_memory(net.params, model.network_.params)
