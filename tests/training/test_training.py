"""`fit` as people expect it: what it records, when it stops, what it leaves."""

import math
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import flatprop as fp
from flatprop.evaluation import calls
from flatprop.training import run
from reference import Twin, updating


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(101, 4))
    return X, np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], axis=1)


def make(**options):
    return fp.Network(4, [fp.Dense(16, "tanh"), fp.Dense(2)], **{"rng": 0, **options})


def test_training_fits(data):
    net = make()
    before = net.loss(*data)
    history = net.fit(*data, optimizer=fp.Adam(0.01), epochs=300)
    assert net.loss(*data) < before / 20
    assert history.epochs == 300
    assert history.stopped_by == "epochs"
    assert history.loss.shape == (300,)
    assert history.val_loss.size == 0
    assert history.seconds > 0
    assert "300 epochs" in repr(history)


def test_full_batch_loss_is_measured_before_the_update(data):
    net = make(dtype="float64")
    expected = []
    for _ in range(4):
        expected.append(net.loss(*data))
        net.fit(*data, optimizer=fp.SGD(0.1), epochs=1, batch_size=None)
    other = make(dtype="float64")
    history = other.fit(*data, optimizer=fp.SGD(0.1), epochs=4, batch_size=None)
    assert history.loss == pytest.approx(expected, rel=1e-13)


def test_an_epoch_without_updates_has_the_loss_of_all_samples():
    """The last row is alone in its batch, and far away."""
    X = np.random.default_rng(0).normal(size=(129, 1))
    y = X[:, 0].copy()
    y[-1] = 100.0
    net = fp.Network(1, [fp.Dense(1)], dtype="float64", rng=0)
    whole = net.loss(X, y)
    options = {"optimizer": fp.SGD(0.0), "epochs": 2}
    for more in ({"shuffle": False}, {"shuffle": True}, {"batch_size": 7}, {"batch_size": None}):
        assert net.fit(X, y, **options, **more).loss == pytest.approx([whole] * 2, rel=1e-13)
    mean_of_batches = np.mean([net.loss(X[i : i + 32], y[i : i + 32]) for i in range(0, 129, 32)])
    assert mean_of_batches > 15 * whole  # what it was before


WEIGHTS = {
    "none": None,
    "of all kinds": np.random.default_rng(2).integers(0, 4, 101) / 2,
    "of whole batches": np.repeat([1.0, 0.0, 3.0, 0.0, 0.5], [20, 30, 20, 20, 11]),
    "of the last row alone": np.r_[np.zeros(100), 2.0],
}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("loss", ["mse", "half_mse", "ssr", "mae"])
@pytest.mark.parametrize("batch_size", [10, 32, None])
def test_every_batch_counts_with_its_share(data, loss, weights, batch_size):
    (X, y), w = data, WEIGHTS[weights]
    net = make(loss=loss, dtype="float64")
    twin = Twin(net)
    expected = twin.fit(X, y, updating("sgd"), [1e-3] * 3, batch_size=batch_size, w=w)
    options = {"epochs": 3, "shuffle": False, "batch_size": batch_size}
    history = net.fit(X, y, optimizer=fp.SGD(1e-3), sample_weight=w, **options)
    assert history.loss == pytest.approx(expected, rel=1e-12)
    assert net.params == pytest.approx(twin.theta, rel=1e-9, abs=1e-9)


def test_tol_sees_the_loss_with_its_shares(data):
    """In the plain mean of the batches the last row, alone in its batch, never settles."""
    X, y = data
    y = y.copy()
    y[-1] += 30
    history = make().fit(X, y, optimizer=fp.SGD(1e-3), batch_size=50, epochs=500, tol=2e-3)
    assert history.stopped_by == "converged"
    assert (np.abs(np.diff(history.loss)) <= 2e-3).tolist()[-1]


def test_validation_is_measured_after_the_epoch(data):
    X, y = data
    net = make(dtype="float64")
    seen = []
    history = net.fit(
        X[:80],
        y[:80],
        epochs=5,
        validation_data=(X[80:], y[80:]),
        callbacks=lambda e: seen.append(e.network.loss(X[80:], y[80:])),
    )
    assert history.val_loss.tolist() == seen
    weighted = make(dtype="float64").fit(
        X[:80], y[:80], epochs=1, validation_data=(X, y, np.r_[np.zeros(80), np.ones(21)])
    )
    assert weighted.val_loss == pytest.approx(history.val_loss[:1], rel=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad", "rprop"])
def test_optimizers_by_name(data, name):
    net = make()
    before = net.loss(*data)
    net.fit(*data, optimizer=name, epochs=5, batch_size=None if name == "rprop" else 32)
    assert net.loss(*data) < before


def test_same_rng_gives_the_same_bits(data):
    runs = [make() for _ in range(3)]
    runs[0].fit(*data, epochs=4, rng=5)
    runs[1].fit(*data, epochs=4, rng=np.random.default_rng(5))
    runs[2].fit(*data, epochs=4, rng=6)
    assert np.array_equal(runs[0].params, runs[1].params)
    assert not np.array_equal(runs[0].params, runs[2].params)
    again = [make(rng=3) for _ in range(2)]
    for net in again:
        net.fit(*data, epochs=2)
        net.fit(*data, epochs=2)
    assert np.array_equal(again[0].params, again[1].params)


def test_shuffling_matters_only_for_mini_batches(data):
    a, b = make(), make()
    a.fit(*data, epochs=2, shuffle=False)
    b.fit(*data, epochs=2, shuffle=True)
    assert not np.array_equal(a.params, b.params)
    a, b = make(), make()
    a.fit(*data, epochs=2, shuffle=False, batch_size=None)
    b.fit(*data, epochs=2, shuffle=True, batch_size=500)
    assert np.array_equal(a.params, b.params)


def test_tol_stops_as_converged(data):
    history = make().fit(*data, epochs=10_000, batch_size=None, tol=1e-6)
    assert history.stopped_by == "converged"
    steps = np.abs(np.diff(history.loss))
    assert steps[-1] <= 1e-6
    assert (steps[:-1] > 1e-6).all()


@pytest.mark.parametrize("batch_size", [16, None])
@pytest.mark.parametrize("validated", [True, False])
def test_patience_restores_the_best_parameters(data, batch_size, validated):
    X, y = data
    net = make(dtype="float64")
    rng = np.random.default_rng(1)
    noisy = y[:50] + rng.normal(size=(50, 2))
    validation = (X[50:], y[50:]) if validated else None
    history = net.fit(
        X[:50],
        noisy,
        optimizer=fp.Adam(0.05),
        epochs=2000,
        batch_size=batch_size,
        validation_data=validation,
        patience=15,
    )
    assert history.stopped_by == "patience"
    losses = history.val_loss if validated else history.loss
    assert history.best_epoch == int(np.argmin(losses))
    assert history.epochs == history.best_epoch + 15 + 1
    if validated:
        assert net.loss(*validation) == losses.min()
    elif batch_size is None:
        assert net.loss(X[:50], noisy) == pytest.approx(losses.min(), rel=1e-12)


def test_patience_leaves_the_best_even_when_epochs_run_out(data):
    X, y = data
    net = make()
    history = net.fit(
        X, y, optimizer=fp.Adam(0.3), epochs=20, validation_data=(X, y), patience=1000
    )
    assert history.stopped_by == "epochs"
    assert net.loss(X, y) == history.val_loss.min()


def test_callbacks_see_every_epoch_and_can_stop(data):
    seen = []

    def callback(epoch):
        seen.append((epoch.epoch, epoch.loss, epoch.learning_rate, epoch.val_loss))
        return epoch.epoch == 3

    history = make().fit(*data, epochs=10, callbacks=[callback])
    assert [e for e, *_ in seen] == [0, 1, 2, 3]
    assert [loss for _, loss, *_ in seen] == history.loss.tolist()
    assert history.stopped_by == "callback"
    assert seen[0][2:] == (1e-3, None)


def test_a_failing_callback_leaves_a_usable_network(data):
    net = make()

    def fail(epoch):
        if epoch.epoch == 2:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        net.fit(*data, epochs=5, callbacks=fail)
    assert np.isfinite(net.loss(*data))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("each_epoch", [False, True])
def test_divergence_keeps_finite_parameters(data, dtype, each_epoch):
    net = make(dtype=dtype)
    callbacks = (lambda epoch: None,) if each_epoch else ()
    with pytest.warns(fp.DivergenceWarning, match="smaller learning rate") as caught:
        history = net.fit(*data, optimizer=fp.SGD(1e9), epochs=200, callbacks=callbacks)
    assert history.stopped_by == "diverged"
    assert np.isfinite(net.params).all()
    assert np.isfinite(history.loss).all()
    assert history.epochs < 200
    assert str(caught[0].message) == history.message
    assert caught[0].filename == __file__


def test_divergence_in_the_very_last_update_is_seen(data):
    net, (X, y) = make(), data
    with pytest.warns(fp.DivergenceWarning):
        history = net.fit(X, 1e6 * y, optimizer=fp.SGD(3e38), epochs=1, batch_size=None)
    assert history.stopped_by == "diverged"
    assert np.isfinite(net.params).all()


def test_a_validation_loss_that_is_not_finite_is_divergence(data):
    X, y = data
    far = (np.full((1, 4), 1e30), np.zeros((1, 2)))
    net = fp.Network(4, [fp.Dense(2)], rng=0)
    with pytest.warns(fp.DivergenceWarning):
        history = net.fit(X, y, epochs=5, validation_data=far)
    assert history.stopped_by == "diverged"
    assert history.epochs == len(history.val_loss) == 1


HUGE = np.full(101, 1e38)
NOT_FINITE = {
    # the fit's data from X and y, options, what the message says, what it does not say
    "validation inputs": (
        {"validation_data": lambda X, y: (1e30 * X, y)},
        r"loss of the validation data is not finite; that of the training data is \d.*"
        r"reach 3\.\d+, of the validation data 3\.\d+e\+30.*scaled by the same numbers",
    ),
    "validation targets": (
        {"validation_data": lambda X, y: (X, 1e25 * y)},
        r"targets of validation_data of up to \d.*e\+25 the loss overflows float32.*targets s",
    ),
    "validation weights": (
        {"validation_data": lambda X, y: (X, 10 * y, HUGE)},
        r"weights of validation_data of up to 1e\+38.*sample_weight / sample_weight\.mean\(\)",
    ),
    "targets": ({"y": lambda X, y: 1e25 * y}, r"targets of up to \d.*e\+25.*targets scaled"),
    "one target of many": (
        {"y": lambda X, y: np.where(np.arange(101)[:, None] == 70, 1e25, y)},
        r"targets of up to 1e\+25 the loss overflows",
    ),
    "weights": (
        {"y": lambda X, y: 10 * y, "sample_weight": lambda X, y: HUGE},
        r"sample weights of up to 1e\+38 the loss overflows float32.*only their proportions count",
    ),
    "weights and the initial residuals": (
        {"sample_weight": lambda X, y: HUGE},
        r"sample weights of up to 1e\+38",
    ),
    "inputs": ({"X": lambda X, y: 1e30 * X}, r"inputs of up to 3\.\d+e\+30.*inputs and targets s"),
    "one input of many": (
        {"X": lambda X, y: np.where((np.arange(404) == 283).reshape(101, 4), -1e28, X)},
        r"inputs of up to 1e\+28 the loss or its gradient overflows float32",
    ),
}


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "levenberg_marquardt"])
@pytest.mark.parametrize("case", NOT_FINITE)
def test_what_is_not_finite_is_named(data, optimizer, case):
    X, y = data
    made, message = NOT_FINITE[case]
    given = {name: make_it(X, y) for name, make_it in made.items()}
    net = fp.Network(4, [fp.Dense(2)], rng=0)
    with pytest.warns(fp.DivergenceWarning, match=message) as caught:
        history = net.fit(
            given.pop("X", X), given.pop("y", y), optimizer=optimizer, epochs=5, **given
        )
    assert history.stopped_by == "diverged"
    assert "smaller learning rate" not in history.message
    assert str(caught[0].message) == history.message
    assert np.isfinite(net.params).all()


LAST_WORDS = {
    # loss, last activation, factors of X and y, what the message says
    "steps": ("mse", "identity", 1, 1, "not finite. The last .* Try a smaller learning rate"),
    "inputs": (
        "mse",
        "identity",
        1e9,
        1,
        r"inputs reach 3\.\d+e\+09 and targets reach .*Try input",
    ),
    "logarithm": ("poisson", "identity", 1, 1, r'as low as -.*Try fp.Dense\(1, "exp"\)'),
    "logarithm of 0": ("poisson", "relu", 1, 1, r'those of "relu" need not be.*"softplus"\)'),
    "exp": ("poisson", "exp", 1e3, 1, "inputs of up to"),
}


@pytest.mark.parametrize("case", LAST_WORDS)
def test_what_is_beside_steps_is_named(data, case):
    loss, last, of_X, of_y, message = LAST_WORDS[case]
    X, y = of_X * data[0], of_y * data[1][:, :1] ** 2
    net = fp.Network(4, [fp.Dense(6, "relu"), fp.Dense(1, last)], loss, rng=0)
    with pytest.warns(fp.DivergenceWarning, match=message):
        net.fit(X, y, optimizer=fp.SGD(1e4), epochs=100)


def test_outputs_for_validation_data_that_have_no_logarithm():
    net = fp.Network(1, [fp.Dense(1)], "poisson", rng=0)
    net.params[:] = 1, 0
    X = np.linspace(1, 2, 9)[:, None]
    with pytest.warns(fp.DivergenceWarning, match=r'validation.*logarithm.*"exp"'):
        net.fit(X, X, epochs=2, validation_data=(-X, X))


def ruin(epoch):
    if epoch.epoch == 2:
        epoch.network.params[-1] = np.nan


@pytest.mark.parametrize("options", [{}, {"patience": 9}, {"epochs": 3}])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "levenberg_marquardt", "batches"])
def test_a_callback_that_leaves_nan_is_named(data, optimizer, options):
    net, options = make(), {"epochs": 20, "callbacks": ruin, **options}
    given = ([data],) if optimizer == "batches" else data
    options["optimizer"] = "adam" if optimizer == "batches" else optimizer
    with pytest.warns(fp.DivergenceWarning, match="a callback left parameters") as caught:
        history = net.fit(*given, **options)
    assert (history.stopped_by, history.epochs) == ("diverged", 3)
    assert str(caught[0].message) == history.message
    assert np.isfinite(net.params).all()


@pytest.mark.parametrize("batches", [False, True])
def test_a_callback_that_leaves_nan_with_the_epoch_that_converged(data, batches):
    def ruin(epoch):
        epoch.network.params[0] = np.inf if epoch.epoch else 0

    net = make()
    with pytest.warns(fp.DivergenceWarning, match="a callback left parameters"):
        history = net.fit(*([data],) if batches else data, epochs=9, tol=1e9, callbacks=ruin)
    assert (history.stopped_by, history.epochs) == ("diverged", 2)
    assert np.isfinite(net.params).all()


def test_weights_of_a_sum_have_to_be_smaller():
    net = fp.Network(1, [fp.Dense(1)], "ssr", rng=0)
    X = np.ones((5, 1))
    with pytest.warns(
        fp.DivergenceWarning, match=r"weights of up to 1e\+38.*smaller sample weights"
    ):
        net.fit(X, 100 * X, sample_weight=HUGE[:5])


def test_targets_of_a_batch_from_a_stream_are_named(data):
    X, y = data
    batches = [(X[:50], y[:50]), (X[50:], 1e25 * y[50:])]
    with pytest.warns(fp.DivergenceWarning, match=r"after 1 updates.*targets of up to \d.*e\+25"):
        make().fit(batches)


def test_steps_that_ruin_the_validation_are_named(data):
    """Training data of which one is alone: the last update of the epoch is not seen in a loss."""
    net = fp.Network(1, [fp.Dense(1)], rng=0)
    x = np.ones((1, 1))
    with pytest.warns(fp.DivergenceWarning, match="validation.*smaller learning rate"):
        net.fit(x, 5 * x, optimizer=fp.SGD(1e25), epochs=1, validation_data=(x, x))


WEIGHTS_WITHOUT_ROOM = {
    "float64": (np.full(9, 1e308), "add up to inf, which float64 has no room for"),
    "float32": (np.full(9, 1e-41), "add up to 8.*e-41, which float32 has no room for"),
    "float32 alone": (np.full(9, 1e-60), "so small that it is 0 in float32"),
}


@pytest.mark.parametrize("case", WEIGHTS_WITHOUT_ROOM)
@pytest.mark.parametrize("where", ["training", "validation"])
def test_weights_that_a_dtype_has_no_room_for(case, where):
    weight, message = WEIGHTS_WITHOUT_ROOM[case]
    net = fp.Network(1, [fp.Dense(1)], dtype=case.split()[0], rng=0)
    before = net.params.copy()
    x = np.ones((9, 1))
    given = (
        {"sample_weight": weight} if where == "training" else {"validation_data": (x, x, weight)}
    )
    with pytest.raises(ValueError, match=message):
        net.fit(x, x, **given)
    assert np.array_equal(net.params, before)


# ---- inputs that the dtype cannot tell apart

NOW = 1.7e9
LOST = {
    # a column, in float64, of which a float32 network cannot tell the rows apart
    "seconds": NOW + np.arange(300),
    "minutes": NOW + 60 * np.arange(300),
    "half a day": NOW + np.linspace(0, 43_200, 300),
    "constant in float32": NOW + np.linspace(0, 50, 300),
    "nanoseconds": 1.7e18 + 1e9 * np.arange(300),
    "whole numbers": (NOW + np.arange(300)).astype(np.int64),
    "negative": -NOW - np.arange(300),
    "a flag": 1e9 + (np.arange(300) == 280),
    "a small spread": 1 + 1e-7 * np.arange(300),
    "a day": NOW + 86_400 * np.linspace(0, 1, 300),
    "codes that are close": 2e7 + np.arange(300) % 3,
    "microseconds": (1.7e15 + 1e6 * np.arange(300)).astype(np.int64),
}
ORDINARY = {
    "standardised": np.random.default_rng(0).normal(size=300),
    "constant": np.full(300, NOW),
    "zero": np.zeros(300),
    "one-hot": (np.arange(300) == 290).astype(float),
    "years": 1900.0 + np.arange(300) % 125,
    "whole numbers": np.random.default_rng(0).integers(0, 10**6, 300),
    "large": np.random.default_rng(0).integers(0, 10**9, 300),
    "an offset": 1000 + np.random.default_rng(0).normal(size=300),
    "months of timestamps": NOW + 86_400 * np.arange(300),
    "tiny": 1e-30 * np.arange(300),
    "mostly one value": np.where(np.arange(300) == 299, 5.0, 4.0),
    "two codes": 10_000 + np.arange(300) % 2,
    "postcodes": 90_001 + np.arange(300) % 5,
    "float codes": 50_000.0 + np.arange(300) % 2,
    "pressure": 101_300 + 10 * np.random.default_rng(0).random(300),
    "pressure in steps": 101_300 + np.random.default_rng(0).integers(0, 101, 300) / 10,
    "one is rounded": 0.1 + np.where(np.arange(300) == 7, 1.4e-17, 0),
    "rounded sums": np.cumsum(np.full(300, 0.1)) - np.arange(300) * 0.1 + 1,
    "a rounded product": 7e5 * (1 + 3e-16 * np.arange(300)),
}


def with_column(column):
    return np.column_stack([np.linspace(-1, 1, 300), column])


def fit_once(X, dtype="float32", **options):
    net = fp.Network(2, [fp.Dense(3, "tanh"), fp.Dense(1)], dtype=dtype, rng=0)
    return net.fit(X, np.zeros(300), epochs=1, **options)


@pytest.mark.parametrize("case", LOST)
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_rows_that_cannot_be_told_apart(case, optimizer):
    X = with_column(LOST[case])
    with pytest.warns(fp.ResolutionWarning, match="column 1 of X ranges from .*Subtract") as told:
        fit_once(X, optimizer=optimizer)
    assert len(told) == 1
    assert told[0].filename == __file__
    assert f"from {X[:, 1].min():.10g} to {X[:, 1].max():.10g}" in str(told[0].message)
    fit_once(X, "float64", optimizer=optimizer)


def test_rows_that_were_lost_before_they_came_or_lie_in_a_frame():
    X = with_column(LOST["minutes"])
    with pytest.warns(fp.ResolutionWarning, match="column 1 of X"):
        fit_once(X.astype("float32"))
    with pytest.warns(fp.ResolutionWarning, match="column 1 of X"):
        fit_once(X.tolist())
    pandas = pytest.importorskip("pandas", reason="the frame is one of pandas")
    with pytest.warns(fp.ResolutionWarning, match="column 'time' of X"):
        fit_once(pandas.DataFrame({"place": X[:, 0], "time": X[:, 1].astype(np.int64)}))
    with pytest.warns(fp.ResolutionWarning, match=r"column 0 of X.*and 1 more columns"):
        fit_once(np.column_stack([X[:, 1], X[:, 1]]))


@pytest.mark.parametrize("case", ORDINARY)
def test_ordinary_columns_are_not_told_of(case):
    fit_once(with_column(ORDINARY[case]))
    fit_once(with_column(ORDINARY[case]).astype("float32"))
    fit_once(with_column(ORDINARY[case]), "float64")


def test_ordinary_columns_of_a_frame_are_not_told_of():
    pandas = pytest.importorskip("pandas", reason="the frame is one of pandas")
    frame = pandas.DataFrame({name: ORDINARY[name] for name in ORDINARY})
    net = fp.Network(len(ORDINARY), [fp.Dense(2)], rng=0)
    net.fit(frame, np.zeros((300, 2)), epochs=1, optimizer=fp.SGD(0.0))


def test_columns_that_differ_by_less_than_is_written():
    column = 1e9 * (1 + 1e-14 * np.arange(300))
    with pytest.warns(fp.ResolutionWarning, match=r"from 1000000000 to 1000000000\.00[23]"):
        fit_once(with_column(column))


def test_a_column_of_a_stream_is_told_of_after_its_first_epoch():
    y = np.zeros(300)

    def in_batches(X):
        return [(X[i : i + 50], y[i : i + 50]) for i in range(0, 300, 50)]

    net = fp.Network(2, [fp.Dense(1)], rng=0)
    with pytest.warns(fp.ResolutionWarning, match="column 1 of X") as told:
        net.fit(in_batches(with_column(LOST["minutes"])), optimizer=fp.SGD(0.0), epochs=2)
    assert len(told) == 1
    sorted_stamps = with_column(NOW + 3600 * np.arange(300))  # of which each batch is too narrow
    net.fit(in_batches(sorted_stamps), optimizer=fp.SGD(0.0), epochs=1)


def test_clipping_saves_a_training_that_would_diverge(data):
    net = make()
    history = net.fit(*data, optimizer=fp.SGD(0.5), epochs=50, clip_norm=0.1)
    assert history.stopped_by == "epochs"
    assert history.loss[-1] < history.loss[0]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (fp.schedules.Step(0.1, step_size=2, gamma=0.5), [0.1, 0.1, 0.05, 0.05, 0.025]),
        (fp.schedules.Exponential(0.1, gamma=0.9), [0.1 * 0.9**e for e in range(5)]),
        (
            fp.schedules.Cosine(0.1, eta_min=0.02),
            [0.02 + 0.04 * (1 + math.cos(math.pi * e / 5)) for e in range(5)],
        ),
        (fp.schedules.WarmUp(0.1, epochs=3), [0.025, 0.05, 0.075, 0.1, 0.1]),
        (
            fp.schedules.WarmUp(fp.schedules.Exponential(0.1, gamma=0.5), epochs=1),
            [0.05, 0.1, 0.05, 0.025, 0.0125],
        ),
    ],
)
def test_schedules(data, schedule, expected):
    history = make().fit(*data, optimizer=fp.Adam(schedule), epochs=5)
    assert history.learning_rate == pytest.approx(expected, rel=1e-12)


def test_an_endless_training_needs_no_endless_memory(data):
    history = make().fit(*data, epochs=10**9, batch_size=None, tol=1e-4)
    assert history.stopped_by == "converged"
    assert (history.learning_rate == 1e-3).all()
    assert history.learning_rate.size == history.loss.size


def test_a_schedule_is_obeyed(data):
    schedule = fp.schedules.Step(0.1, step_size=2, gamma=0.0)
    net, other = make(dtype="float64"), make(dtype="float64")
    net.fit(*data, optimizer=fp.SGD(schedule), epochs=6, batch_size=None)
    other.fit(*data, optimizer=fp.SGD(0.1), epochs=2, batch_size=None)
    assert np.array_equal(net.params, other.params)


def test_reduce_on_plateau(data):
    schedule = fp.schedules.ReduceOnPlateau(0.5, factor=0.5, patience=2, min_lr=0.1)
    history = make().fit(*data, optimizer=fp.SGD(schedule), epochs=200)
    assert history.learning_rate[0] == 0.5
    assert history.learning_rate[-1] < 0.5
    assert history.learning_rate.min() >= 0.1


def test_weight_decay_shrinks(data):
    norms = []
    for decay in (0.0, 0.1):
        net = make()
        net.fit(*data, optimizer=fp.AdamW(1e-2, weight_decay=decay), epochs=50)
        norms.append(np.linalg.norm(net.params))
    assert norms[1] < norms[0]


def test_progress_bar(data, capsys):
    make().fit(*data, epochs=3, progress=True, validation_data=data)
    text = capsys.readouterr().err
    for word in ("3/3", "loss=", "val_loss=", "lr=", "epoch/s"):
        assert word in text


def test_a_batch_larger_than_a_block(data):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9001, 4))
    y = X[:, :2] ** 2
    net = make(dtype="float64")
    assert calls.block_rows(net) < 9001
    expected = net.params - 0.1 * net.loss_and_gradient(X, y)[1]
    net.fit(X, y, optimizer=fp.SGD(0.1), epochs=1, batch_size=None)
    assert net.params == pytest.approx(expected, abs=1e-13)
    parts = [net.loss(X[i : i + 1000], y[i : i + 1000]) for i in range(0, 9001, 1000)]
    assert net.loss(X, y) == pytest.approx(np.average(parts, weights=[1000] * 9 + [1]), rel=1e-12)


def test_weights_of_zero_in_a_whole_batch(data):
    X, y = data
    net = make(dtype="float64")
    before = net.params.copy()
    weight = np.r_[np.zeros(50), np.ones(51)]
    options = {"optimizer": fp.SGD(0.1, momentum=0.9), "epochs": 2, "shuffle": False}
    history = net.fit(X, y, sample_weight=weight, batch_size=50, **options)
    other = make(dtype="float64")
    expected = other.fit(X[50:], y[50:], batch_size=50, **options)
    assert net.params == pytest.approx(other.params, abs=1e-14)
    assert history.loss == pytest.approx(expected.loss, rel=1e-13)
    assert not np.array_equal(net.params, before)


# ---- interruption


def test_an_interruption_before_the_validation_undoes_the_epoch_s_entry(data, monkeypatch):
    measured = run.loss_over
    measurements = []

    def interrupted(*arguments):
        measurements.append(1)
        if len(measurements) == 4:
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(run, "loss_over", interrupted)
    history = make().fit(*data, epochs=10, validation_data=data)
    assert history.stopped_by == "interrupted"
    assert len(history.loss) == len(history.val_loss) == len(history.learning_rate) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize("after", [0.05, 0.1, 0.25])
def test_ctrl_c_during_the_first_call_of_a_process(after):
    script = """
import threading, signal, sys, time
import numpy as np
import flatprop as fp
net = fp.Network(4, [fp.Dense(16, "tanh"), fp.Dense(2)], rng=0)
before = net.params.copy()
threading.Timer(float(sys.argv[1]), signal.raise_signal, [signal.SIGINT]).start()
history = net.fit(np.ones((101, 4)), np.ones((101, 2)), epochs=10**7)
print(history.stopped_by, np.isfinite(net.params).all())
"""
    command = [sys.executable, "-c", script, str(after)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.stdout.split() == ["interrupted", "True"], run.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to itself")
@pytest.mark.parametrize("rows", [1000, 200_000])
def test_ctrl_c_stops_and_leaves_the_history(rows):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 20))
    net = fp.Network(20, [fp.Dense(128, "tanh"), fp.Dense(1)], rng=0)
    y = X[:, 0]
    net.fit(X[:64], y[:64], epochs=1)  # compiled
    sent = []

    def interrupt():
        sent.append(time.perf_counter())
        signal.raise_signal(signal.SIGINT)

    timer = threading.Timer(0.5, interrupt)
    timer.start()
    history = net.fit(X, y, epochs=10**6, batch_size=None)
    late = time.perf_counter() - sent[0]
    timer.join()
    assert history.stopped_by == "interrupted"
    assert late < 2  # generous: the suite times nothing; benchmarks do
    assert np.isfinite(net.params).all()
    assert history.loss.size == history.epochs
    assert np.isfinite(history.loss).all()
    net.fit(X[:64], y[:64], epochs=1)


# ---- checkpoints

OPTIONS = {
    "adam": "optimizer=fp.Adam(fp.schedules.Cosine(0.01)), batch_size=16",
    "momentum": "optimizer=fp.SGD(0.01, momentum=0.9), batch_size=7, clip_norm=0.5",
    "plateau": (
        "optimizer=fp.RMSprop(fp.schedules.ReduceOnPlateau(0.05, patience=1)), "
        "validation_data=(X[:20], y[:20]), patience=30"
    ),
    "full batch": "optimizer=fp.Rprop(), batch_size=None, patience=30",
}

SETTING = """
import sys
import numpy as np
import flatprop as fp

X = np.random.default_rng(0).normal(size=(101, 4))
y = np.sin(X[:, :2])

def trained(path, **options):
    net = fp.Network(4, [fp.Dense(16, "tanh"), fp.Dense(2)], rng=0)
    if path is not None:
        net.rng.normal(size=3)  # the checkpoint's random state counts, not this one
        options["resume"] = path
    history = net.fit(X, y, epochs=12, **options)
    return net, history

def outcome(net, history):
    numbers = [history.loss, history.val_loss, history.learning_rate, net.params]
    state = net.rng.bit_generator.state["state"]
    return " ".join([*(n.tobytes().hex() for n in numbers), history.stopped_by, str(state)])
"""


@pytest.mark.parametrize("name", OPTIONS)
def test_a_resumed_training_is_the_one_that_never_stopped(name, tmp_path):
    options, path = OPTIONS[name], tmp_path / "run.ckpt"
    session = {"path": path, "stop": lambda epoch: epoch.epoch == 6}
    exec(SETTING, session)
    exec(f"whole = trained(None, {options})", session)
    halt = "callbacks=[fp.Checkpoint(path, every=5), stop]"
    exec(f"stopped = trained(None, {halt}, {options})", session)
    assert session["stopped"][1].epochs == 7
    assert not np.array_equal(session["stopped"][0].params, session["whole"][0].params)

    script = f"{SETTING}\nprint(outcome(*trained(sys.argv[1], {options})))"
    command = [sys.executable, "-c", script, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == session["outcome"](*session["whole"])


def test_a_checkpoint_is_also_a_network(data, tmp_path):
    path = tmp_path / "run.ckpt"
    net = make()
    net.fit(*data, epochs=4, callbacks=fp.Checkpoint(path, every=2))
    assert np.array_equal(fp.load(path).params, net.params)
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]


def test_a_finished_training_can_be_prolonged(data, tmp_path):
    path = tmp_path / "run.ckpt"
    net = make()
    net.fit(*data, epochs=4, callbacks=fp.Checkpoint(path))
    after = net.params.copy()
    assert net.fit(*data, epochs=4, resume=path).epochs == 4
    assert np.array_equal(net.params, after)
    assert net.fit(*data, epochs=6, resume=path).epochs == 6
    whole = make()
    whole.fit(*data, epochs=6)
    assert np.array_equal(net.params, whole.params)
