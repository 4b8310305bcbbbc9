"""Members in lanes: their training is the one of `ens[i].fit`, up to rounding."""

import numpy as np
import pytest

import flatprop as fp
from flatprop.formulas.activations import ACTIVATIONS
from flatprop.formulas.losses import LOSSES
from flatprop.kernels.lanes.lane_training import train_lanes
from flatprop.many import lane_run, side_by_side

MEMBERS = 3
RNG = np.random.default_rng(5)
X = RNG.uniform(-1, 1, (23, 3))
Y = np.stack([np.sin(X.sum(axis=1)), np.cos(X[:, 0])], axis=1)
CLASSES = (X.sum(axis=1) > 0).astype(int) + (X[:, 0] > 0.5)

OPTIMIZERS = [
    fp.SGD(0.05),
    fp.SGD(0.02, momentum=0.9, nesterov=True, weight_decay=0.01),
    fp.Adam(0.01, amsgrad=True, weight_decay=0.1),
    fp.AdamW(0.01),
    fp.RMSprop(0.003),
    fp.RMSprop(0.003, momentum=0.5, centered=True),
    fp.Adagrad(0.05, lr_decay=0.01),
    fp.Rprop(0.01),
]


@pytest.fixture(autouse=True)
def in_lanes(monkeypatch):
    """Members of any size are trained in lanes, so that these tests see the lanes."""
    monkeypatch.setattr(side_by_side, "is_small", lambda task: True)


def ensemble(hidden="tanh", loss="mse", last=None, members=MEMBERS, dtype="float64", units=(5,)):
    layers = [*(fp.Dense(n, hidden) for n in units), last or fp.Dense(2)]
    return fp.Ensemble(3, layers, loss, dtype, members=members, rng=1)


def check(ens, X, Y, each=lambda i: {}, own_data=False, rtol=1e-11, **options):
    """Train both ways and compare parameters, histories and generators."""
    alone = [net.copy() for net in ens]
    by_member = {name: [each(i)[name] for i in range(len(ens))] for name in each(0)}
    if "optimizer" in by_member:
        by_member["learning_rate"] = [o.learning_rate for o in by_member.pop("optimizer")]
    history = ens.fit(X, Y, **options, **by_member)
    for i, net in enumerate(alone):
        x, y = X[i] if np.ndim(X) == 3 else X, Y[i] if own_data else Y
        own = net.fit(x, y, **(options | each(i)))
        np.testing.assert_allclose(ens[i].params, net.params, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(history[i].loss, own.loss, rtol=rtol, atol=rtol**1.2)
        np.testing.assert_allclose(history[i].val_loss, own.val_loss, rtol=rtol)
        np.testing.assert_array_equal(history[i].learning_rate, own.learning_rate)
        assert history[i].stopped_by == own.stopped_by
        assert history[i].best_epoch == own.best_epoch
        assert ens[i].rng.bit_generator.state == net.rng.bit_generator.state
    return history


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_optimizers(optimizer):
    check(ensemble(), X, Y, optimizer=optimizer, epochs=25, batch_size=6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    last = fp.Dense(2, activation)
    hidden = "tanh" if activation == "softmax" else activation
    check(ensemble(hidden, last=last), X, Y, optimizer=fp.SGD(0.02), epochs=25, batch_size=6)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss):
    needed = LOSSES[loss].activation or "softplus"
    y = np.abs(Y) / 2
    if loss == "cross_entropy":
        y = y / y.sum(axis=1, keepdims=True)
    options = {"optimizer": fp.SGD(0.005), "epochs": 25, "batch_size": 6}
    check(ensemble(loss=loss, last=fp.Dense(2, needed)), X, y, **options)
    weight = RNG.uniform(0.5, 2, len(X))
    check(ensemble(loss=loss, last=fp.Dense(2, needed)), X, y, sample_weight=weight, **options)


def test_class_indices():
    ens = ensemble(loss="cross_entropy", last=fp.Dense(3, "softmax"))
    check(ens, X, CLASSES, epochs=25, batch_size=6)
    own = RNG.integers(0, 3, (MEMBERS, len(X)))
    check(ens, X, own, own_data=True, epochs=5, batch_size=6)


def test_own_activations():
    from numba import njit

    @njit
    def bent(z):
        return z + 0.1 * z * z, 1.0 + 0.2 * z

    check(ensemble(bent), X, Y, epochs=10, batch_size=6, optimizer=fp.SGD(0.01))


SAMPLES = {
    "own orders": {"batch_size": 6},
    "one order": {"batch_size": 6, "rng": 3},
    "no order": {"batch_size": 6, "shuffle": False},
    "full batch": {"batch_size": None},
}


@pytest.mark.parametrize("order", SAMPLES)
@pytest.mark.parametrize("own", [(), "x", "y", "xy"], ids=lambda own: f"own {''.join(own)}")
@pytest.mark.parametrize("weighted", ["", "shared", "own"])
def test_samples(order, own, weighted):
    x = RNG.uniform(-1, 1, (MEMBERS, 23, 3)) if "x" in own else X
    y = RNG.uniform(-1, 1, (MEMBERS, 23, 2)) if "y" in own else Y
    options, weight = SAMPLES[order] | {"epochs": 6}, RNG.uniform(0.5, 1, (MEMBERS, 23))
    if weighted == "shared":
        options["sample_weight"] = weight[0]

    def each(i):
        return {"sample_weight": weight[i]} if weighted == "own" else {}

    check(ensemble(), x, y, each, "y" in own, **options)


def test_many_rows_are_taken_in_chunks():
    x = RNG.uniform(-1, 1, (700, 3))
    check(ensemble(units=(4, 3)), x, np.sin(x[:, :2]), epochs=4, batch_size=None)
    check(ensemble(units=(4, 3)), x, np.sin(x[:, :2]), epochs=4, batch_size=300, tol=1e-2)


def test_each_member_has_its_own_learning_rate_and_patience():
    rates, patience = np.linspace(0.01, 1.5, MEMBERS), [1, None, 2]

    def each(i):
        return {"optimizer": fp.SGD(rates[i]), "patience": patience[i]}

    for batch_size in (5, None):
        history = check(ensemble(), X, Y, each, optimizer="sgd", epochs=60, batch_size=batch_size)
    assert len(set(history.stopped_by)) > 1


def test_validation_patience_tol_and_clipping():
    validation = X[:7], Y[:7] + 0.1
    options = {"epochs": 60, "batch_size": 8, "validation_data": validation, "clip_norm": 0.5}
    history = check(ensemble(), X, Y, optimizer=fp.Adam(0.05), patience=2, **options)
    assert history.val_loss.shape == history.loss.shape
    assert "patience" in history.stopped_by
    history = check(ensemble(), X, Y, optimizer=fp.SGD(0.05), tol=3e-3, epochs=200, patience=50)
    assert "converged" in history.stopped_by
    weighted = X[:7], Y[:7], RNG.uniform(0, 1, 7)
    check(ensemble(), X, Y, validation_data=weighted, epochs=3)
    mask = np.arange(ensemble()[0].params.size) % 3 > 0
    check(ensemble(), X, Y, trainable=mask, optimizer=fp.Adam(0.01, weight_decay=0.1), epochs=9)


def test_schedules():
    check(ensemble(), X, Y, optimizer=fp.SGD(fp.schedules.Cosine(0.1)), epochs=9)

    def each(i):
        return {"optimizer": fp.Adam(fp.schedules.Step(0.1, 2) if i else 0.02)}

    check(ensemble(), X, Y, each, optimizer="adam", epochs=9)


def test_bootstrap():
    ens = ensemble()
    twins = [net.copy() for net in ens]
    history = ens.fit(X, Y, epochs=5, bootstrap=True, batch_size=7)
    for net, rows, own in zip(twins, history.bootstrap_rows, ens, strict=True):
        net.fit(X[rows], Y[rows], epochs=5, batch_size=7)
        np.testing.assert_allclose(net.params, own.params, rtol=1e-11, atol=1e-12)


def test_members_that_end_make_room(monkeypatch):
    """New blocks change no result, nor do blocks of another size or calls of another length."""
    rates = np.geomspace(1e-3, 0.5, 40)
    options = {
        "optimizer": "sgd",
        "learning_rate": rates,
        "tol": 1e-3,
        "epochs": 400,
        "batch_size": 8,
    }
    made, results = [], []
    blocks = lane_run.LaneRun._blocks

    def note(run, members):
        made.append(len(members.numbers))
        return blocks(run, members)

    monkeypatch.setattr(lane_run.LaneRun, "_blocks", note)
    for most, seconds, recorded, threads in ((128, 5e-3, 4096, 1), (16, 1e-5, 3, 2)):
        monkeypatch.setattr(lane_run, "MOST_LANES", most)
        monkeypatch.setattr(lane_run.calls, "SECONDS", seconds)
        monkeypatch.setattr("flatprop.many.lane_blocks.MOST_RECORDED", recorded)
        ens = ensemble(members=40)
        history = ens.fit(X, Y, threads=threads, **options)
        results.append((ens.params.tobytes(), history.loss.tobytes(), history.stopped_by))
    assert results[0] == results[1]
    assert made[0] == 40
    assert made[-1] < 20
    lengths = history.epochs_of_members
    assert len(np.unique(lengths)) > 5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_number_of_threads_changes_nothing(dtype):
    results = []
    for threads in (1, 2, 3):
        ens = ensemble(members=70, dtype=dtype)
        history = ens.fit(X, Y, epochs=5, threads=threads, patience=2)
        results.append((ens.params.tobytes(), history.loss.tobytes(), history.best_epoch))
    assert results[0] == results[1] == results[2]


def test_a_diverged_member_leaves_the_others_alone():
    ens, before = ensemble(), ensemble()
    rates = [0.05, 1e300, 0.05]
    with pytest.warns(fp.DivergenceWarning, match="member 1: training diverged in epoch") as told:
        history = ens.fit(X, Y, epochs=20, optimizer="sgd", learning_rate=rates, batch_size=None)
    assert len(told) == 1
    assert history.stopped_by == ("epochs", "diverged", "epochs")
    assert np.isfinite(ens.params).all()
    assert np.isfinite(history.loss[:, 0]).all()
    assert history.epochs_of_members.tolist() == [20, 1, 20]
    before.fit(X, Y, epochs=20, optimizer=fp.SGD(0.05), batch_size=None)
    np.testing.assert_array_equal(ens.params[::2], before.params[::2])


def test_validation_data_may_be_what_diverges():
    far = np.full((1, 3), 1e200), np.zeros((1, 2))
    ens = ensemble("identity")
    with pytest.warns(fp.DivergenceWarning, match="loss of the validation data"):
        history = ens.fit(X, Y, epochs=3, validation_data=far)
    assert history.stopped_by == ("diverged",) * MEMBERS


def test_ctrl_c(monkeypatch):
    calls = []
    advance = lane_run.BlockAtWork.advance

    def interrupted(block, chunks):
        calls.append(advance(block, 7))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return calls[-1]

    monkeypatch.setattr(lane_run.BlockAtWork, "advance", interrupted)
    ens = ensemble()
    history = ens.fit(X, Y, epochs=10**6, batch_size=None)
    assert history.stopped_by == ("interrupted",) * MEMBERS
    assert history.epochs > 0
    assert np.isfinite(history.loss).all()
    twin = ensemble()
    twin.fit(X, Y, epochs=history.epochs, batch_size=None)
    if history.epochs * 2 == 3 * 7:
        np.testing.assert_array_equal(ens.params, twin.params)


def test_warnings_of_columns():
    narrow = X + 1e9
    with pytest.warns(fp.ResolutionWarning, match="column 0 of X"):
        ensemble(dtype="float32").fit(narrow, Y, epochs=1)
    with pytest.warns(fp.ResolutionWarning, match="column 0 of X"):
        ensemble(dtype="float32").fit(np.stack([X, narrow, X]), Y, epochs=1)


@pytest.mark.parametrize(
    ("options", "obstacle"),
    [
        ({"validation_split": 0.2}, "validation_split"),
        ({"metrics": {"n": lambda y, p: 0}}, "metrics"),
        ({"ema": 0.9}, "ema"),
        ({"learning_rate_factors": np.linspace(0, 2, 32)}, "learning_rate_factors"),
        ({"optimizer": "lbfgs"}, "a solver"),
        ({"callbacks": lambda epoch: None}, "callbacks"),
        ({"sample_weight": np.arange(23.0)}, "samples without weight"),
        ({"optimizer": fp.SGD(fp.schedules.ReduceOnPlateau(0.1))}, "follows the loss"),
    ],
)
def test_what_lanes_lack_is_trained_one_by_one(options, obstacle, monkeypatch):
    found, ask = [], side_by_side.obstacle

    def note(task):
        found.append(ask(task))
        return found[-1]

    monkeypatch.setattr(side_by_side, "obstacle", note)
    check(ensemble(), X, Y, epochs=3, **options)
    assert obstacle in found[0]


def test_progress(capsys):
    ensemble().fit(X, Y, epochs=3, progress=True)
    assert "3/3" in capsys.readouterr().err


def test_no_option_compiles_the_training_once_more():
    ensemble().fit(X, Y, epochs=1)
    before = list(train_lanes.signatures)
    for options in (
        {"patience": 2},
        {"patience": [1, None, 2]},
        {"validation_data": (X[:7], Y[:7]), "patience": 1},
        {"learning_rate": [0.1, 0.2, 0.3], "optimizer": "sgd"},
        {"sample_weight": np.arange(23), "batch_size": 5},
        {"clip_norm": 1, "tol": 0, "shuffle": False, "batch_size": None},
        {"trainable": np.arange(32) % 2 == 0},
    ):
        ensemble().fit(X, Y, epochs=2, **options)
    assert list(train_lanes.signatures) == before
