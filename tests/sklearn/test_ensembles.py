"""Estimators that are ensembles: their members, what they predict together, how sure they are."""

import copy
import inspect
import math
import os
import pickle
import threading
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

from scipy import integrate, sparse, stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, mean_pinball_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import flatprop as fp
from estimator_data import BINARY, CLASSES, LABELS, NAMES, NUMBERS, PAIRS, WEIGHT, X, quiet
from flatprop.evaluation import processors
from flatprop.sklearn import (
    EnsembleClassifier,
    EnsembleRegressor,
    MLPClassifier,
    MLPRegressor,
)

pytestmark = quiet
FAST = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0, "n_estimators": 3}


def regressor(loss="gaussian_nll", y=NUMBERS, **options):
    return EnsembleRegressor(loss, **(FAST | options)).fit(X, y)


def member_outputs(model, X=X):
    """(members, n, outputs), of each network by itself."""
    return np.stack([member.network_.predict(X) for member in model.estimators_])


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [kind(n_estimators=2) for kind in (EnsembleClassifier, EnsembleRegressor)]
)
def test_the_conventions_of_scikit_learn(estimator, check):
    check(estimator)


# ---- members


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_members_are_estimators_trained_by_themselves(solver):
    ensemble = regressor(solver=solver, early_stopping=solver == "adam")
    assert len({member.random_state for member in ensemble.estimators_}) == 3
    for member in ensemble.estimators_:
        alone = clone(member).fit(X, NUMBERS)
        np.testing.assert_array_equal(alone.network_.params, member.network_.params)
        assert alone.loss_curve_ == member.loss_curve_
        assert member.get_params().items() <= ensemble.get_params().items() | {
            ("random_state", member.random_state)
        }
    assert ensemble.n_iter_ == max(member.n_iter_ for member in ensemble.estimators_)
    assert ensemble.loss_ == pytest.approx(np.mean([m.loss_ for m in ensemble.estimators_]))


def test_a_member_does_not_depend_on_how_many_there_are():
    few, more = regressor(n_estimators=2), regressor(n_estimators=4)
    np.testing.assert_array_equal(few.ensemble_.params, more.ensemble_.params[:2])
    assert np.ptp(more.ensemble_.params, axis=0).any()
    other = regressor(random_state=1)
    assert (other.ensemble_.params != few.ensemble_.params[0]).any(axis=1).all()


def test_one_thread_has_the_same_result(monkeypatch):
    before = regressor().ensemble_.params
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # Forgets how many processors there were. Afterwards both are as they were again.
    monkeypatch.setitem(processors._remembered, "until", -math.inf)
    monkeypatch.setitem(processors._remembered, "processors", 1)
    np.testing.assert_array_equal(regressor().ensemble_.params, before)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_a_bootstrap_counts_what_it_draws(weight):
    model = EnsembleRegressor(bootstrap=True, **FAST).fit(X, NUMBERS, weight)
    seeds = np.random.RandomState(0).randint(2**31 - 1, size=(3, 2))
    for member, (_, seed) in zip(model.estimators_, seeds, strict=True):
        counts = np.bincount(np.random.RandomState(seed).randint(240, size=240), minlength=240)
        rows = np.flatnonzero(counts)
        drawn = counts[rows] * (1.0 if weight is None else weight[rows])
        alone = clone(member).fit(X[rows], NUMBERS[rows], drawn)
        np.testing.assert_array_equal(alone.network_.params, member.network_.params)
    assert (
        EnsembleRegressor(**FAST).fit(X, NUMBERS).ensemble_.params != model.ensemble_.params
    ).any()


def test_every_member_knows_the_rare_classes():
    y = NAMES.astype(str)
    y[17] = "dod"
    model = EnsembleClassifier(bootstrap=True, **FAST | {"n_estimators": 12}).fit(X, y)
    assert model.classes_.tolist() == ["ant", "bee", "cow", "dod"]
    assert all(member.classes_.tolist() == model.classes_.tolist() for member in model.estimators_)
    assert model.predict_proba(X).shape == (240, 4)


def test_the_networks_are_one_ensemble():
    model = regressor()
    assert isinstance(model.ensemble_, fp.Ensemble)
    assert model.ensemble_ is model.ensemble_
    member = model.estimators_[1]
    assert member.network_ is model.ensemble_[1]
    member.coefs_[0][:] = 0
    assert (model.ensemble_.weights[0][1] == 0).all()
    member.intercepts_ = [np.ones(4), np.array([5.0, 0.0])]  # others than its network's
    assert model.ensemble_.biases[1][1, 0] == 5
    del model.estimators_[0]
    assert len(model.ensemble_) == 2
    np.testing.assert_allclose(model.predict(X), member_outputs(model)[:, :, 0].mean(axis=0))


@pytest.mark.parametrize("again", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy])
def test_a_copy_is_whole_and_independent(again):
    model = regressor()
    other = again(model)
    np.testing.assert_array_equal(other.predict(X, quantiles=0.3), model.predict(X, quantiles=0.3))
    assert np.shares_memory(other.estimators_[2].coefs_[0], other.ensemble_.params)
    other.ensemble_.params[:] = 0
    assert model.predict(X).any()
    assert len(pickle.dumps(model)) < 3 * len(pickle.dumps(model.estimators_[0]))


def test_a_warm_start_goes_on():
    model = EnsembleRegressor(warm_start=True, **FAST).fit(X, NUMBERS)
    alone = copy.deepcopy(model.estimators_[1])
    model.fit(X, NUMBERS)
    seed = np.random.RandomState(0).randint(2**31 - 1, size=(3, 2))[1, 0]
    alone.set_params(random_state=seed).fit(X, NUMBERS)
    np.testing.assert_array_equal(model.estimators_[1].network_.params, alone.network_.params)
    with pytest.raises(ValueError, match="has 3 members, which go on with warm_start=True"):
        model.set_params(n_estimators=4).fit(X, NUMBERS)
    assert len(model.set_params(warm_start=False).fit(X, NUMBERS).estimators_) == 4


def test_callbacks_are_called_one_at_a_time():
    inside, seen = threading.Lock(), []

    def watch(epoch):
        assert inside.acquire(blocking=False)
        seen.append(id(epoch.network))
        inside.release()

    model = regressor(callbacks=watch)
    assert sorted(seen.count(network) for network in set(seen)) == [3, 3, 3]
    assert all(member.callbacks is watch for member in model.estimators_)


def test_a_validation_set_of_ones_own():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    model = EnsembleRegressor(early_stopping=True, **FAST)
    model.fit(frame[:180], NUMBERS[:180], X_val=frame[180:], y_val=NUMBERS[180:])
    assert model.feature_names_in_.tolist() == list("abcdef")
    for member in model.estimators_:
        score = member.score(X[180:], NUMBERS[180:])
        assert member.best_validation_score_ == pytest.approx(score)
    with pytest.raises(ValueError, match="needs both X_val and y_val"):
        model.fit(X, NUMBERS, X_val=X)


def interrupting(at):
    """A callback that stands for Ctrl-C in an epoch of one thread."""
    calls = []

    def press(epoch):
        calls.append(epoch)
        if len(calls) == at:
            raise KeyboardInterrupt

    return press


def test_ctrl_c_keeps_the_members_that_had_begun():
    # So many that the thread which is interrupted gets a processor before the others are done.
    most = 200 * (os.cpu_count() or 1)
    options = FAST | {"n_estimators": most, "callbacks": interrupting(5)}
    with (
        pytest.warns(UserWarning, match=f"of {most} members: those that had begun"),
        pytest.warns(UserWarning, match="interrupted by user"),
    ):
        model = EnsembleRegressor(**options).fit(X, NUMBERS)
    assert 0 < len(model.estimators_) < most
    assert np.isfinite(model.predict(X)).all()


def test_ctrl_c_in_one_thread_ends_the_members_in_all():
    most = 10**7  # an hour, for the members that nothing ended
    options = FAST | {"n_estimators": 2, "max_iter": most, "tol": 0.0, "n_iter_no_change": np.inf}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = EnsembleRegressor(**options | {"callbacks": interrupting(50)}).fit(X, NUMBERS)
    # Whether the other member had begun by then is for the threads to say.
    told = [str(warning.message) for warning in caught]
    others = [words for words in told if "interrupted by user" not in words]
    assert len(others) < len(told)
    assert others in ([], ["The ensemble has 1 of 2 members: those that had begun."])
    assert max(member.n_iter_ for member in model.estimators_) < most


# ---- what they predict


@pytest.mark.parametrize("y", [NUMBERS, PAIRS], ids=["one", "two"])
def test_a_mixture_has_the_moments_of_its_density(y):
    model = regressor(y=y)
    mean, deviation = model.predict(X[:5], return_std=True)
    assert mean.shape == deviation.shape == y[:5].shape
    np.testing.assert_array_equal(mean, model.predict(X[:5]))
    outputs = member_outputs(model, X[:5])
    means, log_variances = np.split(outputs, 2, axis=2)
    for place in np.ndindex(means.shape[1:]):
        parts = [
            stats.norm(m[place], np.exp(s[place] / 2))
            for m, s in zip(means, log_variances, strict=True)
        ]
        ends = min(p.ppf(1e-15) for p in parts), max(p.isf(1e-15) for p in parts)

        def moment(f, parts=parts, ends=ends):
            density = lambda t: np.mean([p.pdf(t) for p in parts]) * f(t)  # noqa: E731
            return integrate.quad(density, *ends, limit=500, points=[p.mean() for p in parts])[0]

        expected = moment(lambda t: t)
        spread = np.sqrt(moment(lambda t, c=expected: (t - c) ** 2))
        found = mean.reshape(5, -1)[place], deviation.reshape(5, -1)[place]
        np.testing.assert_allclose(found, (expected, spread), rtol=1e-7, atol=1e-9)


def apart():
    """A regressor whose members are far apart, with narrow and with wide distributions."""
    model = regressor()
    for member, mean, log_variance in zip(
        model.estimators_, (-30, 0, 4), (-8, -2, 3), strict=True
    ):
        member.intercepts_[1][:] = mean, log_variance
    return model


def distribution_function(model, t):
    """F(t) of the mixture, for t of shape (n, ...)."""
    means, log_variances = np.moveaxis(member_outputs(model), 2, 0)
    lift = (slice(None), slice(None), *(None,) * (t.ndim - 1))
    return stats.norm(means[lift], np.exp(log_variances / 2)[lift]).cdf(t).mean(axis=0)


@pytest.mark.parametrize("make", [regressor, apart])
def test_quantiles_invert_the_distribution_function(make):
    model = make()
    q = np.array([1e-12, 0.025, 1 / 3, 0.5, 2 / 3, 0.975, 1 - 1e-12])
    found = model.predict(X, quantiles=q)
    assert found.shape == (240, 7)
    assert (np.diff(found, axis=1) > 0).all()
    np.testing.assert_allclose(
        distribution_function(model, found), np.tile(q, (240, 1)), atol=1e-11
    )
    np.testing.assert_array_equal(model.predict(X, quantiles=0.975), found[:, 5])


def test_quantiles_of_members_that_agree_are_those_of_one():
    model = regressor()
    for member in model.estimators_:
        member.network_.params[:] = model.estimators_[0].network_.params
    one = model.estimators_[0]
    mean, deviation = one.predict(X, return_std=True)
    expected = stats.norm(mean, deviation).ppf(0.9)
    np.testing.assert_allclose(one.predict(X, quantiles=0.9), expected, rtol=1e-12)
    np.testing.assert_allclose(model.predict(X, quantiles=0.9), expected, rtol=1e-10)
    np.testing.assert_allclose(model.predict(X, return_std=True), (mean, deviation), rtol=1e-12)


def test_quantiles_of_several_targets():
    model = regressor(y=PAIRS)
    q = [0.1, 0.6]
    found = model.predict(X, quantiles=q)
    assert found.shape == (240, 2, 2)
    assert model.predict(X, quantiles=0.1).shape == (240, 2)
    means, log_variances = np.split(member_outputs(model), 2, axis=2)
    parts = stats.norm(means[..., None], np.exp(log_variances / 2)[..., None])
    np.testing.assert_allclose(parts.cdf(found).mean(axis=0) - q, 0, atol=1e-12)


@pytest.mark.parametrize("y", [NUMBERS, PAIRS], ids=["one", "two"])
def test_the_likelihood_is_that_of_the_mixture(y):
    model = regressor(y=y)
    means, log_variances = np.split(member_outputs(model), 2, axis=2)
    each = stats.norm(means, np.exp(log_variances / 2)).pdf(y.reshape(240, -1)).mean(axis=0)
    expected = np.log(each).sum(axis=1)
    assert model.log_likelihood(X, y) == pytest.approx(expected.mean())
    weighted = np.average(expected, weights=WEIGHT)
    assert model.log_likelihood(X, y, WEIGHT) == pytest.approx(weighted)
    one = model.estimators_[0]
    assert one.log_likelihood(X, y) == pytest.approx(-one.network_.loss(X, y))


def test_other_losses_have_the_spread_of_the_members():
    model = regressor("squared_error", PAIRS)
    outputs = member_outputs(model)
    mean, deviation = model.predict(X, return_std=True)
    np.testing.assert_allclose(mean, outputs.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(deviation, outputs.std(axis=0), rtol=1e-9)
    np.testing.assert_allclose(
        model.predict(X, quantiles=[0.2, 0.5]),
        np.moveaxis(np.quantile(outputs, [0.2, 0.5], axis=0), 0, -1),
    )


def test_learnt_quantiles_are_averaged():
    model = regressor(fp.losses.Quantiles((0.1, 0.4, 0.9)))
    outputs = member_outputs(model).mean(axis=0)
    middle, every = model.predict(X, return_quantiles=True)
    np.testing.assert_allclose(every, outputs, rtol=1e-12)
    np.testing.assert_allclose(middle, outputs[:, 1], rtol=1e-12)
    np.testing.assert_array_equal(model.predict(X, quantiles=[0.9, 0.1]), every[:, [2, 0]])
    np.testing.assert_array_equal(
        model.estimators_[0].predict(X, quantiles=0.4), member_outputs(model)[0, :, 1]
    )
    with pytest.raises(ValueError, match=r"learnt the quantiles \(0.1, 0.4, 0.9\), not \[0.5\]"):
        model.predict(X, quantiles=0.5)


def test_float32_stays():
    model = EnsembleRegressor("gaussian_nll", **FAST).fit(X.astype("float32"), NUMBERS)
    found = *model.predict(X[:3], return_std=True), model.predict(X[:3], quantiles=[0.1])
    assert {one.dtype for one in found} == {np.dtype("float32")}
    assert model.ensemble_.dtype == np.float32


@pytest.mark.parametrize("y", [BINARY, CLASSES, NAMES, LABELS], ids=str)
def test_probabilities_are_averaged(y):
    model = EnsembleClassifier(**FAST).fit(X, y)
    expected = np.mean([member.predict_proba(X) for member in model.estimators_], axis=0)
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-12)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(expected), rtol=1e-10)
    if y is LABELS:
        np.testing.assert_array_equal(model.predict(X), expected > 0.5)
    else:
        np.testing.assert_array_equal(model.predict(X), model.classes_[expected.argmax(axis=1)])
        assert model.score(X, y) == accuracy_score(y.astype(str), model.predict(X).astype(str))


def test_sparse_inputs():
    some = np.where(np.abs(X) > 1, X, 0)
    dense, other = (EnsembleClassifier(bootstrap=True, **FAST) for _ in range(2))
    dense.fit(some, CLASSES)
    other.fit(sparse.csr_array(some), CLASSES)
    np.testing.assert_array_equal(
        other.predict_proba(sparse.csr_array(some)), dense.predict_proba(some)
    )


# ---- among scikit-learn's tools


def test_a_search():
    model = make_pipeline(StandardScaler(), EnsembleRegressor("gaussian_nll", **FAST))
    name = "ensembleregressor__"
    grid = {f"{name}n_estimators": [1, 3], f"{name}hidden_layer_sizes": [(3,), (5, 4)]}

    def scoring(model, X, y):
        return model[-1].log_likelihood(model[:-1].transform(X), y)

    search = GridSearchCV(model, grid, scoring=scoring, cv=2, error_score="raise")
    search.fit(X, NUMBERS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_[-1]
    assert len(best.ensemble_) == search.best_params_[f"{name}n_estimators"]
    quantile = search.predict(X)
    assert mean_pinball_loss(NUMBERS, quantile, alpha=0.5) < 1
    by_method = GridSearchCV(
        EnsembleRegressor("gaussian_nll", **FAST),
        {"hidden_layer_sizes": [(3,), (6,)]},
        scoring=EnsembleRegressor.log_likelihood,
        cv=2,
    )
    assert np.isfinite(by_method.fit(X, NUMBERS).best_score_)


@pytest.mark.parametrize(
    ("ensemble", "member"),
    [(EnsembleClassifier, MLPClassifier), (EnsembleRegressor, MLPRegressor)],
)
def test_parameters_are_those_of_the_members_and_two_more(ensemble, member):
    theirs = inspect.signature(member).parameters
    own = inspect.signature(ensemble).parameters
    assert list(own) == [*theirs, "n_estimators", "bootstrap"]
    assert all(own[name] == theirs[name] for name in theirs)
    assert ensemble().get_params() == member().get_params() | {
        "n_estimators": 5,
        "bootstrap": False,
    }
    given = next(iter(theirs))
    assert getattr(ensemble("some"), given) == "some"
    with pytest.raises(TypeError, match="unexpected keyword argument 'members'"):
        ensemble(members=3)
    for name in own:
        assert name in ensemble.__doc__
    assert "{" not in ensemble.__doc__.replace("{array", "").replace('{"', "")


# ---- what cannot be

WRONG = {
    "no members": ({"n_estimators": 0}, "n_estimators must be at least 1"),
    "half a member": ({"n_estimators": 2.5}, "n_estimators must be a whole number"),
    "a word for a truth": ({"bootstrap": "yes"}, "bootstrap must be True or False"),
    "of the members": ({"solver": "adm"}, "Did you mean 'adam'"),
    "callbacks": ({"callbacks": [3]}, "callbacks must be functions"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_said(case):
    options, message = WRONG[case]
    model = EnsembleRegressor(**(FAST | options))
    with pytest.raises((TypeError, ValueError), match=message):
        model.fit(X, NUMBERS)
    assert not hasattr(model, "n_features_in_")
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_a_refused_fit_changes_nothing():
    model = regressor()
    before = model.predict(X)
    with pytest.raises(ValueError, match="not negative") as told:
        model.fit(X[:, :3], NUMBERS, -WEIGHT)
    assert told.value.__notes__ == ["member 0 of 3"]
    np.testing.assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantiles": 0}, "between 0 and 1, got 0"),
        ({"quantiles": [0.5, 1.0]}, "between 0 and 1"),
        ({"quantiles": []}, "quantiles is empty"),
        ({"quantiles": [[0.5]]}, "between 0 and 1"),
        ({"quantiles": "median"}, "quantiles"),
        ({"quantiles": 0.5, "return_std": True}, "quantiles alone"),
        ({"return_quantiles": True}, r"fp.losses.Quantiles\(...\)"),
    ],
    ids=str,
)
def test_predictions_that_cannot_be(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        regressor().predict(X, **options)


def test_what_one_network_does_not_know():
    model = MLPRegressor(**{k: v for k, v in FAST.items() if k != "n_estimators"}).fit(X, NUMBERS)
    for options in ({"return_std": True}, {"quantiles": 0.5}):
        with pytest.raises(ValueError, match=r"gaussian_nll.*EnsembleRegressor"):
            model.predict(X, **options)
    with pytest.raises(ValueError, match=r"log_likelihood needs .*; the loss is 'half_mse'"):
        model.log_likelihood(X, NUMBERS)
    with pytest.raises(ValueError, match="y has 2 columns, not 1"):
        regressor().log_likelihood(X, PAIRS)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        regressor().log_likelihood(X, NUMBERS[:7])
