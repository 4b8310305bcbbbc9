"""Checkpoints: what they say is checked, and a training that had ended has ended."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import flatprop as fp
from networks import network
from processes import python

X = np.random.default_rng(0).normal(size=(60, 3))
Y = np.sin(X[:, :1])

make = partial(network, (3, 8, 1), dtype="float32")


def train(net, **options):
    return net.fit(X, Y, **{"epochs": 5, "validation_data": (X, Y), "patience": 9, **options})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "a.ckpt"
    train(make(), callbacks=fp.Checkpoint(path))
    return path


def altered(checkpoint, path, change):
    """The checkpoint, of whose tensors and header `change` has made a lie."""
    tensors = load_file(checkpoint)
    with safe_open(checkpoint, "numpy") as file:
        description = json.loads(file.metadata()["flatprop"])
    change(tensors, description)
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    save_file(tensors, path, metadata={"flatprop": json.dumps(description)})
    return path


def tensor(name, value):
    return lambda t, d: t.update({name: value(t[name]) if callable(value) else value})


def training(**fields):
    return lambda t, d: d["training"].update(fields)


def setting(**fields):
    return lambda t, d: d["training"]["settings"].update(fields)


def put(array, place, value):
    array = array.copy()
    array.flat[place] = value
    return array


def cursor(*numbers):
    return tensor("cursor", np.array(numbers))


LIES = {
    "a row far below": (cursor(5, -(10**9), 10), "its cursor is"),
    "a row within": (cursor(5, 32, 10), "its cursor is"),
    "another epoch": (cursor(4, 0, 10), "its cursor is"),
    "an epoch below 0": (cursor(-5, 0, 10), "its cursor is"),
    "no updates": (cursor(5, 0, 0), "5 epochs cannot have taken 0 updates"),
    "too many updates": (cursor(5, 0, 11), "5 epochs cannot have taken 11 updates"),
    "a short cursor": (cursor(5, 0), r"I64 of shape \(3,\), but it is I64 of shape \(2,\)"),
    "a cursor of floats": (cursor(5.0, 0.0, 10.0), "must be I64 .* but it is F64"),
    "one loss": (tensor("losses", lambda a: a[:1]), "its cursor|val_losses"),
    "no losses": (tensor("losses", lambda a: a[:0]), "number of losses must be at least 1"),
    "a column of losses": (tensor("losses", lambda a: a[:, None]), "number of losses"),
    "a loss of NaN": (tensor("losses", lambda a: put(a, 2, np.nan)), "losses are not finite"),
    "a loss of infinity": (tensor("losses", lambda a: put(a, 2, np.inf)), "losses are not fin"),
    "single precision": (tensor("losses", lambda a: a.astype("f4")), "must be F64"),
    "few losses of validation": (tensor("val_losses", lambda a: a[:3]), r"shape \(5,\)"),
    "one loss of validation": (tensor("val_losses", lambda a: a[:1]), r"shape \(5,\)"),
    "metrics": (setting(metrics=["a"]), r"metrics = \['a'\], but fit was called with None"),
    "a split": (
        setting(validation_split=0.5),
        r"validation_split = 0\.5, but fit was called with",
    ),
    "few rates": (tensor("rates", lambda a: a[:-1]), "'rates' must be"),
    "rates below 0": (tensor("rates", lambda a: -a), "rates are negative"),
    "rates of NaN": (tensor("rates", lambda a: a * np.nan), "rates are not finite"),
    "one state for all": (tensor("optimizer_state", lambda a: a[:, :1]), "'optimizer_state' must"),
    "a state of one slot": (tensor("optimizer_state", lambda a: a[:1]), r"shape \(2, 41\)"),
    "a state of 1": (tensor("optimizer_state", lambda a: a[0, :1]), r"shape \(2, 41\)"),
    "a state of NaN": (tensor("optimizer_state", lambda a: a * np.nan), "holds NaN"),
    "parameters of NaN": (tensor("params", lambda a: put(a, 3, np.nan)), "params are not finite"),
    "few parameters": (tensor("params", lambda a: a[:1]), "'params' must be"),
    "few of the best": (tensor("best_params", lambda a: a[:1]), "'best_params' must be"),
    "no best": (lambda t, d: t.pop("best_params"), "lacks the tensor 'best_params'"),
    "no rates": (lambda t, d: t.pop("rates"), "lacks the tensor 'rates'"),
    "a later best epoch": (training(best_epoch=5), "best epoch is 5, but only 5 are done"),
    "a best epoch below 0": (training(best_epoch=-1), "best_epoch must be at least 0"),
    "a best epoch of 1.0": (training(best_epoch=1.0), "best_epoch must be a whole number"),
    "a seed below 0": (training(seed=-1), "seed must be a whole number of 64 bits"),
    "a seed of 65 bits": (training(seed=2**64), "seed must be a whole number of 64 bits"),
    "a seed of text": (training(seed="1"), "seed must be a whole number of 64 bits"),
    "epochs of null": (training(epochs=None), "epochs must be a whole number"),
    "fewer epochs than losses": (training(epochs=4), "losses of 5 epochs out of 4"),
    "another end": (training(stopped_by="boredom"), "stopped by 'boredom'"),
    "settings of 1": (training(settings=1), "settings are no table"),
    "no settings": (training(settings={}), "with optimizer = None, but fit was called with Adam"),
    "a setting more": (setting(x=[1]), r"with x = \[1\], but fit was called with None"),
    "other rows": (setting(rows=10**12), "rows = 1000000000000"),
    "no validation": (setting(validation=False), "validation = False"),
    "a training of 7": (lambda t, d: d.update(training=7), "'settings' is missing"),
    "other layers": (lambda t, d: d.update(layers=[[9, "tanh"], [1, "identity"]]), "other layers"),
    "layers of 1": (lambda t, d: d.update(layers=1), "other layers"),
    "a lying generator": (lambda t, d: d["rng"]["state"].update(inc=2), "impossible 'inc'"),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, d: t.pop("raw_params"), "lacks the tensor 'raw_params'"),
        (tensor("raw_params", lambda a: a[:1]), "'raw_params' must be"),
        (tensor("raw_params", lambda a: put(a, 3, np.inf)), "raw_params are not finite"),
        (setting(ema=None), "ema = None, but fit was called with 0.9"),
    ],
)
def test_checkpoints_with_an_average_that_lie(tmp_path, change, message):
    train(make(), callbacks=fp.Checkpoint(tmp_path / "a.ckpt"), ema=0.9)
    path = altered(tmp_path / "a.ckpt", tmp_path / "evil.ckpt", change)
    net = make()
    before = net.params.tobytes()
    with pytest.raises(ValueError, match=message):
        train(net, resume=path, ema=0.9)
    assert net.params.tobytes() == before


@pytest.mark.parametrize("lie", LIES)
def test_checkpoints_that_lie(checkpoint, tmp_path, lie):
    change, message = LIES[lie]
    path = altered(checkpoint, tmp_path / "evil.ckpt", change)
    net = make()
    before = net.params.tobytes(), net.rng.bit_generator.state
    with pytest.raises(ValueError, match=message) as caught:
        train(net, epochs=10, resume=path)
    assert "\n" not in str(caught.value)
    assert (net.params.tobytes(), net.rng.bit_generator.state) == before


METRIC_LIES = {
    "few": (lambda a: a[:, :-1], r"must be F64 of shape \(1, 5\)"),
    "more": (lambda a: np.vstack([a, a]), r"must be F64 of shape \(1, 5\)"),
    "of single precision": (lambda a: a.astype("f4"), "must be F64"),
    "none": (None, "lacks the tensor 'metrics'"),
}


@pytest.mark.parametrize("lie", METRIC_LIES)
def test_metrics_that_lie(tmp_path, lie):
    change, message = METRIC_LIES[lie]
    options = {"metrics": {"a": lambda y, prediction: 1.0}}
    train(make(), callbacks=fp.Checkpoint(tmp_path / "a.ckpt"), **options)
    lying = (lambda t, d: t.pop("metrics")) if change is None else tensor("metrics", change)
    path = altered(tmp_path / "a.ckpt", tmp_path / "evil.ckpt", lying)
    with pytest.raises(ValueError, match=message):
        train(make(), epochs=10, resume=path, **options)


@pytest.mark.parametrize("lie", ["a seed below 0", "a training of 7", "settings of 1"])
def test_checkpoints_that_lie_to_a_split(checkpoint, tmp_path, lie):
    """The seed is read before anything else."""
    change, message = LIES[lie]
    path = altered(checkpoint, tmp_path / "evil.ckpt", change)
    with pytest.raises(ValueError, match=message):
        train(make(), resume=path, validation_data=None, validation_split=0.5)


def test_an_unaltered_checkpoint_is_taken(checkpoint, tmp_path):
    path = altered(checkpoint, tmp_path / "same.ckpt", lambda t, d: None)
    whole = make()
    expected = train(whole, epochs=10)
    net = make()
    assert train(net, epochs=10, resume=path).loss.tobytes() == expected.loss.tobytes()
    assert net.params.tobytes() == whole.params.tobytes()


def test_a_checkpoint_of_the_version_before(checkpoint, tmp_path):
    """Version 0.1 said nothing of `stopped_by`."""
    path = altered(checkpoint, tmp_path / "old.ckpt", lambda t, d: d["training"].pop("stopped_by"))
    assert train(make(), epochs=7, resume=path).epochs == 7


# ---- trainings that a rule had ended


def stop(epoch):
    return epoch.epoch == 6


RULES = {
    "converged": {"tol": 0.02},
    "patience": {"patience": 2, "optimizer": fp.SGD(0.6)},
    "callback": {"callbacks": [stop]},
    "a callback before": {"callbacks": [stop], "before": True},
    "epochs": {"epochs": 7},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_the_same_call_after_the_end_gives_the_same(tmp_path, rule, validated, stream):
    path = tmp_path / "run.ckpt"
    options = {"epochs": 60, "rng": 3, **RULES[rule]}
    if validated:
        options["validation_data"] = X[:20], Y[:20]
    callbacks = [*options.pop("callbacks", []), fp.Checkpoint(path)]
    if options.pop("before", False):
        callbacks.reverse()
    given = ([(X[:30], Y[:30]), (X[30:], Y[30:])],) if stream else (X, Y)
    if stream:
        options["patience"] = options.get("patience")

    net, again = make(), make()
    ended = net.fit(*given, callbacks=callbacks, **options)
    resumed = again.fit(*given, callbacks=callbacks, resume=path, **options)
    assert ended.stopped_by == rule.replace("a callback before", "callback")
    assert ended.epochs < 60
    for name in ("stopped_by", "best_epoch", "message", "epochs"):
        assert getattr(resumed, name) == getattr(ended, name)
    for name in ("loss", "val_loss", "learning_rate"):
        assert getattr(resumed, name).tobytes() == getattr(ended, name).tobytes()
    assert again.params.tobytes() == net.params.tobytes()
    state = again.rng.bit_generator.state
    assert state == net.rng.bit_generator.state or "rng" in options


def test_another_call_after_the_end_trains_on(tmp_path):
    path = tmp_path / "run.ckpt"
    make().fit(X, Y, epochs=20, callbacks=[fp.Checkpoint(path), stop])
    whole = make()
    whole.fit(X, Y, epochs=20)
    net = make()
    assert net.fit(X, Y, epochs=20, callbacks=fp.Checkpoint(path), resume=path).epochs == 20
    assert net.params.tobytes() == whole.params.tobytes()

    make().fit(X, Y, epochs=60, tol=0.02, callbacks=fp.Checkpoint(path))
    assert make().fit(X, Y, epochs=60, resume=path).epochs == 60


def test_patience_that_is_taken_away_or_new(tmp_path):
    path = tmp_path / "run.ckpt"
    make().fit(X, Y, epochs=20, patience=50, callbacks=fp.Checkpoint(path))
    net = make()
    history = net.fit(X, Y, epochs=60, resume=path)
    assert history.best_epoch is None
    assert net.loss(X, Y) < history.loss[25]  # what was trained since is kept

    make().fit(X, Y, epochs=20, callbacks=fp.Checkpoint(path))
    history = make().fit(X, Y, epochs=40, patience=5, resume=path)
    assert history.epochs == 40
    assert history.best_epoch > 20


def test_rates_of_the_past_are_those_that_were_used(tmp_path):
    path = tmp_path / "run.ckpt"
    options = {"optimizer": fp.Adam(fp.schedules.Cosine(0.01))}
    first = make().fit(X, Y, epochs=5, callbacks=fp.Checkpoint(path), **options)
    more = make().fit(X, Y, epochs=10, resume=path, **options)
    assert np.array_equal(more.learning_rate[:5], first.learning_rate)


def test_parameters_that_are_not_finite_are_not_written(tmp_path):
    path = tmp_path / "run.ckpt"
    make().fit(X, Y, epochs=1, batch_size=None, callbacks=fp.Checkpoint(path))
    before = path.read_bytes()
    with pytest.warns(fp.DivergenceWarning):
        make().fit(
            X,
            Y * 100,
            epochs=5,
            batch_size=None,
            optimizer=fp.SGD(3e38),
            callbacks=fp.Checkpoint(path),
        )
    assert path.read_bytes() == before

    def spoil(epoch):
        epoch.network.params[3] = np.inf

    with pytest.raises(ValueError, match="is not written: the parameters are not finite"):
        make().fit(X, Y, epochs=2, callbacks=[spoil, fp.Checkpoint(path)])
    assert path.read_bytes() == before


def clip(epoch):
    np.clip(epoch.network.params, -0.3, 0.3, out=epoch.network.params)


def draw(epoch):
    epoch.network.rng.normal()


@pytest.mark.parametrize("change", [clip, draw])
def test_a_checkpoint_knows_what_a_later_callback_did(tmp_path, change):
    path, whole, net = tmp_path / "run.ckpt", make(), make()
    whole.fit(X, Y, epochs=10, callbacks=[fp.Checkpoint(path), change])
    make().fit(X, Y, epochs=5, callbacks=[fp.Checkpoint(path), change])
    net.fit(X, Y, epochs=10, callbacks=[fp.Checkpoint(path), change], resume=path)
    assert net.params.tobytes() == whole.params.tobytes()
    assert net.rng.bit_generator.state == whole.rng.bit_generator.state


def test_another_callback_is_not_the_one_that_ended_a_training(tmp_path):
    path = tmp_path / "run.ckpt"
    make().fit(X, Y, epochs=20, callbacks=[fp.Checkpoint(path), stop])
    seen = []
    history = make().fit(X, Y, epochs=20, callbacks=lambda e: seen.append(e.epoch), resume=path)
    assert seen == list(range(7, 20))
    assert history.stopped_by == "epochs"
    make().fit(X, Y, epochs=20, callbacks=[fp.Checkpoint(path), lambda e: e.epoch == 4])
    assert make().fit(X, Y, epochs=20, callbacks=lambda e: e.epoch == 4, resume=path).epochs == 5
    assert make().fit(X, Y, epochs=20, callbacks=lambda e: e.epoch == 9, resume=path).epochs == 10


def test_a_checkpoint_is_not_written_later(tmp_path):
    kept = []
    make().fit(X, Y, epochs=3, patience=2, callbacks=kept.append)
    with pytest.raises(ValueError, match="written while fit calls back"):
        kept[-1].save_checkpoint(tmp_path / "late")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "error"),
    [("", IsADirectoryError), ("missing/a", FileNotFoundError)],
)
def test_what_cannot_be_written_is_told_before_the_first_epoch(tmp_path, path, error):
    net = make()
    before = net.params.tobytes(), net.rng.bit_generator.state
    with pytest.raises(error):
        net.fit(X, Y, epochs=2, callbacks=fp.Checkpoint(tmp_path / path))
    assert (net.params.tobytes(), net.rng.bit_generator.state) == before


@pytest.mark.parametrize("path", [3, None, True])
def test_a_checkpoint_needs_a_name(path):
    with pytest.raises(TypeError, match="path must be the name of a file"):
        fp.Checkpoint(path)


def test_settings_that_are_equal(tmp_path):
    path = tmp_path / "run.ckpt"
    one, other = fp.SGD(np.float64(0.1)), fp.SGD(0.1)
    assert repr(one) == repr(other)
    assert repr(fp.Adam(betas=[np.float32(0.5), 0.75])) == repr(fp.Adam(betas=(0.5, 0.75)))
    make().fit(X, Y, epochs=2, optimizer=one, callbacks=fp.Checkpoint(path))
    assert make().fit(X, Y, epochs=4, optimizer=other, resume=path).epochs == 4


# ---- SIGKILL

KILLED = """
import sys
import numpy as np
import flatprop as fp
X = np.random.default_rng(0).normal(size=(400, 3))
net = fp.Network(3, [fp.Dense(32, "tanh"), fp.Dense(1)], rng=0)
def say(epoch):
    print("epoch", flush=True)
callbacks = [fp.Checkpoint(sys.argv[1]), say]
options = {"epochs": int(sys.argv[2]), "optimizer": "adam", "batch_size": 64}
if len(sys.argv) > 3:
    options["resume"] = sys.argv[3]
net.fit(X, np.sin(X[:, :1]), callbacks=callbacks, **options)
print(net.params.tobytes().hex())
"""
MOMENTS = int(os.environ.get("KILLED_TRAININGS", "12"))
"""How many trainings are killed; KILLED_TRAININGS=100 takes some minutes."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_killed_trainings_continue_bit_for_bit(tmp_path):
    path, rng = tmp_path / "run.ckpt", random.Random(0)
    epochs = {}
    for _ in range(MOMENTS):
        command = [sys.executable, "-c", KILLED, str(path), "100000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
            for _ in range(rng.randrange(1, 5 * MOMENTS)):
                assert run.stdout.readline() == "epoch\n"
            time.sleep(rng.uniform(0, 0.01))  # anywhere in an epoch, or in writing
            run.send_signal(signal.SIGKILL)
        net = fp.load(path)
        assert np.isfinite(net.params).all()
        done = int(load_file(path)["cursor"][0])
        epochs[done] = net.params.tobytes()
        more = python(KILLED, tmp_path / "on", done + 5, path)
        epochs[done + 5] = bytes.fromhex(more.split()[-1])
    whole = {}

    def keep(epoch):
        whole[epoch.epoch + 1] = epoch.network.params.tobytes()

    data = np.random.default_rng(0).normal(size=(400, 3))
    net = fp.Network(3, [fp.Dense(32, "tanh"), fp.Dense(1)], rng=0)
    net.fit(data, np.sin(data[:, :1]), epochs=max(epochs), batch_size=64, callbacks=keep)
    assert len(epochs) > MOMENTS
    for done, params in epochs.items():
        assert params == whole[done], f"after {done} epochs"
