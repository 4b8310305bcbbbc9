"""`fit`: options, callbacks, schedules, interruption, checkpoints."""

import math
import sys

import numpy as np
import pytest

import flatprop as fp
from flatprop.evaluation import calls
from flatprop.training import run
from interruption import ctrl_c
from networks import make
from processes import python
from reference import Twin, updating


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
    again = [make(seed=3) for _ in range(2)]
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


WATCHED = {
    "validation": {"validation_data": slice(60, 80)},
    "weighted": {"validation_data": slice(60, 101), "weighted": True, "patience": 30},
    "several blocks": {"validation_data": slice(0, 101), "times": 8, "batch_size": 160},
    "patience": {"validation_data": slice(60, 101), "patience": 3},
    "converged": {"validation_data": slice(60, 101), "patience": 50, "tol": 1e-4},
    "without data": {"patience": 2},
    "before the update": {"patience": 4, "batch_size": None, "optimizer": fp.RMSprop(0.02)},
    "progress": {"validation_data": slice(60, 80), "patience": 5, "progress": True},
}


@pytest.mark.parametrize("case", WATCHED)
def test_epochs_end_the_same_with_and_without_python(data, case):
    """A callback takes every epoch to Python; without it only the last one comes there."""
    options = {"epochs": 60, "batch_size": 16, "optimizer": fp.Adam(0.1)} | WATCHED[case]
    times = options.pop("times", 1)
    X, y = (np.tile(one, (times, 1)) for one in data)
    weights = np.arange(41.0) if options.pop("weighted", False) else None
    if "validation_data" in options:
        rows = options["validation_data"]
        rows = slice(times * rows.start, times * rows.stop)
        options["validation_data"] = (X[rows], y[rows], *([] if weights is None else [weights]))
    y, n = y + np.random.default_rng(0).normal(size=y.shape), 60 * times
    compiled, called = make(dtype="float64"), make(dtype="float64")
    found = compiled.fit(X[:n], y[:n], **options)
    expected = called.fit(X[:n], y[:n], callbacks=lambda epoch: None, **options)
    assert (found.stopped_by, found.best_epoch) == (expected.stopped_by, expected.best_epoch)
    assert found.loss.tobytes() == expected.loss.tobytes()
    assert found.val_loss.tobytes() == expected.val_loss.tobytes()
    assert found.learning_rate.tobytes() == expected.learning_rate.tobytes()
    assert compiled.params.tobytes() == called.params.tobytes()


def test_a_validation_loss_that_overflows_after_some_epochs_ends_the_training(data):
    X, y = data
    far = np.full((3, 4), 5e153), np.zeros((3, 2))
    histories = []
    for callbacks in ((), lambda epoch: None):
        net = fp.Network(4, [fp.Dense(2)], dtype="float64", rng=0)
        net.params[:] = 0
        options = {"optimizer": fp.SGD(0.01), "validation_data": far, "callbacks": callbacks}
        with pytest.warns(fp.DivergenceWarning, match="validation data"):
            histories.append(net.fit(X, 10 * y, **options))
    compiled, called = histories
    assert compiled.stopped_by == called.stopped_by == "diverged"
    assert 3 < compiled.epochs < 50
    assert compiled.loss.tobytes() == called.loss.tobytes()
    assert compiled.val_loss.tobytes() == called.val_loss.tobytes()


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


@pytest.mark.parametrize(
    ("callbacks", "at", "done"), [((lambda epoch: None,), 4, 3), ((), 1, 9)], ids=["each", "last"]
)
def test_an_interruption_before_the_validation_undoes_the_epoch_s_entry(
    data, monkeypatch, callbacks, at, done
):
    """Without callbacks only the last epoch comes to Python."""
    measured = run.loss_over
    measurements = []

    def interrupted(*arguments):
        measurements.append(1)
        if len(measurements) == at:
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(run, "loss_over", interrupted)
    history = make().fit(*data, epochs=10, validation_data=data, callbacks=callbacks)
    assert history.stopped_by == "interrupted"
    assert len(history.loss) == len(history.val_loss) == len(history.learning_rate) == done


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
    assert python(script, after).split() == ["interrupted", "True"]


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to itself")
@pytest.mark.parametrize("rows", [1000, 200_000])
def test_ctrl_c_stops_and_leaves_the_history(rows):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 20))
    net = fp.Network(20, [fp.Dense(128, "tanh"), fp.Dense(1)], rng=0)
    y = X[:, 0]
    net.fit(X[:64], y[:64], epochs=1)  # compiled
    with ctrl_c(0.5) as late:
        history = net.fit(X, y, epochs=10**6, batch_size=None)
    assert history.stopped_by == "interrupted"
    assert len(late) <= 1
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
    "averaged": (
        "ema=0.9, learning_rate_factors=np.linspace(0, 2, 114), validation_data=(X[:20], y[:20])"
    ),
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
    assert python(script, path).strip() == session["outcome"](*session["whole"])


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
