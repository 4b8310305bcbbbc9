"""What the ranks of MPI run in `tests/training/test_ranks.py`: one process for many cases.

    mpiexec -n 2 python rank_programs.py FILE FOLDER CASE [CASE ...]

Every rank goes through these cases. FILE gets, as JSON, what went wrong in each of them on any
rank. A case must not wait for the other ranks once it has failed: it asserts at its end.
"""

import contextlib
import itertools
import json
import os
import signal
import sys
import traceback
import warnings
from functools import partial
from pathlib import Path

import numba
import numpy as np
from mpi4py import MPI

import flatprop as fp
from flatprop.kernels.loops import minibatch
from flatprop.training import seeds
from interruption import ctrl_c
from networks import KINDS

COMM = MPI.COMM_WORLD
FIRST = COMM.rank == 0
ROWS = 101
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 4))
Y = np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], axis=1)
WEIGHT = RNG.uniform(0.5, 2, ROWS)
CUTS = np.array([0, 1, 60, ROWS] if COMM.size == 3 else [0, 60, ROWS])
"""Where the rows of each rank begin."""
MINE = slice(CUTS[COMM.rank], CUTS[COMM.rank + 1])
CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


def make(seed=0, *layers, loss="mse", last=None):
    layers = layers or (fp.Dense(16, "tanh"),)
    return fp.Network(4, [*layers, last or fp.Dense(2)], loss, dtype="float64", rng=seed)


def own(options):
    """The options of this rank: its part of what has a number for each row."""
    options = dict(options)
    if "sample_weight" in options:
        options["sample_weight"] = options["sample_weight"][MINE]
    if "validation_data" in options:
        options["validation_data"] = tuple(part[MINE] for part in options["validation_data"])
    return options


def together(net, y=Y, **options):
    return net.fit(X[MINE], y[MINE], communicator=COMM, **own(options))


def assert_equal_on_all(array):
    for other in COMM.allgather(np.asarray(array)):
        np.testing.assert_array_equal(other, array)


def assert_alike(net, history, other, of_other):
    """Training over ranks gave what training in one process gave."""
    size = np.abs(other.params).max()
    assert np.abs(net.params - other.params).max() <= 1e-12 * size
    for name in ("loss", "val_loss", "learning_rate"):
        expected = getattr(of_other, name)
        np.testing.assert_allclose(getattr(history, name), expected, rtol=1e-12, atol=1e-14)
    assert history.stopped_by == of_other.stopped_by
    assert history.best_epoch == of_other.best_epoch


# ---- the batch of all samples


@numba.njit
def bent(z):
    return z / (1 + z * z), (1 - z * z) / (1 + z * z) ** 2


@numba.njit
def fourth_power(prediction, y):
    return (prediction - y) ** 4, 4 * (prediction - y) ** 3


LAYERS = {
    "dense": lambda: make(),
    "regularised": lambda: make(0, fp.Dense(8, "tanh", l1=1e-3, l2=1e-2, max_norm=0.8)),
    "normalised": lambda: make(0, fp.Dense(8, "relu"), fp.LayerNorm()),
    "sum": lambda: make(loss="ssr"),
    "gaussian": lambda: make(loss="gaussian_nll", last=fp.Dense(4)),
    "own": lambda: make(0, fp.Dense(8, bent), loss=fourth_power),
}
FACTORS = {"learning_rate_factors": np.linspace(0, 2, 114)}
FULL_BATCH = [
    *[("dense", {"optimizer": optimizer}) for optimizer in KINDS],
    ("dense", {"optimizer": fp.SGD(0.1), "sample_weight": WEIGHT, "clip_norm": 0.05}),
    ("dense", {"ema": 0.9, **FACTORS}),
    ("dense", {"trainable": np.arange(114) % 3 > 0, "tol": 1e-3, "optimizer": fp.SGD(0.01)}),
    ("dense", {"validation_data": (X[::-1], Y), "patience": 2, "optimizer": fp.SGD(0.9)}),
    ("dense", {"optimizer": fp.SGD(fp.schedules.ReduceOnPlateau(0.5, patience=1))}),
    ("regularised", {"sample_weight": WEIGHT}),
    ("normalised", {}),
    ("sum", {"optimizer": fp.SGD(1e-4), "clip_norm": 1.0}),
    ("gaussian", {}),
    ("own", {}),
]


@case
def full_batch():
    for layers, options in FULL_BATCH:
        options = {"epochs": 12, "batch_size": None} | options
        net, other = LAYERS[layers](), LAYERS[layers]()
        net.reset(COMM.rank)  # all begin with the parameters of rank 0
        history = together(net, **options)
        of_other = other.reset(0).fit(X, Y, **options)
        assert_alike(net, history, other, of_other)
        assert_equal_on_all(net.params)
        assert_equal_on_all(history.loss)


# ---- mini-batches


@numba.njit
def shuffle(seed, epoch, order):
    minibatch.shuffle(seed, epoch, order)


def batches(seed, batch_size, y, weight=None, shuffled=True):
    """A function that gives the batches of each epoch, the rows of rank 0 first."""
    epoch = 0

    def of_epoch():
        nonlocal epoch
        orders = []
        for rank, (first, stop) in enumerate(itertools.pairwise(CUTS)):
            order = np.arange(stop - first)
            if shuffled:
                shuffle(np.uint64(seeds.of_rank(seed, rank)), epoch, order)
            orders.append(first + order)
        epoch += 1
        for start in range(0, ROWS, batch_size):
            low, high = start, min(start + batch_size, ROWS)
            chosen = np.concatenate(
                [o[low * len(o) // ROWS : high * len(o) // ROWS] for o in orders]
            )
            some = (
                (X[chosen], y[chosen])
                if weight is None
                else (X[chosen], y[chosen], weight[chosen])
            )
            if chosen.size:
                yield some

    return of_epoch


@case
def mini_batches():
    classes = (X[:, 0] > 0).astype(int) + (X[:, 1] > 1)
    softmax, cross_entropy = fp.Dense(3, "softmax"), fp.losses.CrossEntropy(0.1, [1.0, 2.0, 0.5])
    drops = make(0, fp.Dense(16, "relu"), fp.Dropout(0.4))
    classifier = make(0, fp.Dense(16, "tanh"), loss=cross_entropy, last=softmax)
    cases = [
        (make(), Y, {"optimizer": fp.SGD(0.1)}),
        (make(), Y, {"batch_size": 1}),  # most batches have no row of some rank
        (make(), Y, {"sample_weight": WEIGHT * (np.arange(ROWS) % 4 != 1)}),
        (make(), Y, {"shuffle": False, "sample_weight": WEIGHT, "clip_norm": 0.1, "ema": 0.8}),
        (drops, Y, {}),
        (classifier, classes, {}),
    ]
    for net, y, options in cases:
        options = {"epochs": 4, "batch_size": 16, "rng": 3} | options
        other = net.copy()
        history = together(net, y, **options)
        size, shuffled = options.pop("batch_size"), options.pop("shuffle", True)
        seed = seeds.drawn(np.random.default_rng(options.pop("rng")))
        weight = options.pop("sample_weight", None)
        given = batches(seed, size, y, weight, shuffled)
        assert_alike(net, history, other, other.fit(given, rng=3, **options))
        assert_equal_on_all(net.params)


@case
def blocks_and_threads():
    """Batches of many blocks, cut over calls and threads; the bits are the same each time."""
    rng = np.random.default_rng(1)
    rows = 6000
    x, y = rng.normal(size=(rows, 4)), rng.normal(size=(rows, 2))
    mine = slice(COMM.rank * rows // COMM.size, (COMM.rank + 1) * rows // COMM.size)
    found = []
    for threads in (1, 2, 1):
        net = make()
        net.fit(x[mine], y[mine], epochs=3, batch_size=4001, communicator=COMM, threads=threads)
        found.append(net.params)
    for params in found[1:]:
        np.testing.assert_array_equal(params, found[0])
    alone, other = make(), make()
    alone.fit(x, y, epochs=3, batch_size=64, communicator=MPI.COMM_SELF)
    other.fit(x, y, epochs=3, batch_size=64)
    np.testing.assert_array_equal(alone.params, other.params)


@case
def single_precision():
    options = {"epochs": 6, "batch_size": None, "tol": 1e-9}
    net, other = (fp.Network(4, [fp.Dense(16, "tanh"), fp.Dense(2)], rng=0) for _ in range(2))
    history, of_other = together(net, **options), other.fit(X, Y, **options)
    np.testing.assert_allclose(net.params, other.params, atol=1e-6)
    np.testing.assert_allclose(history.loss, of_other.loss, rtol=1e-6)
    assert (history.loss != history.loss.astype(np.float32)).any()


def raised(call):
    """What a call raises on each rank."""
    try:
        call()
        found = None
    except Exception as error:
        found = type(error).__name__, str(error)
    return COMM.allgather(found)


# ---- after an epoch


@case
def metrics():
    def rmse(y, prediction):
        return np.sqrt(np.mean((y - prediction) ** 2))

    options = {"epochs": 3, "batch_size": None, "metrics": {"rmse": rmse}}
    for more in ({}, {"validation_data": (X, Y)}):
        net, other = make(), make()
        history = together(net, **options, **more)
        expected = other.fit(X, Y, **options, **more).metrics["rmse"]
        np.testing.assert_allclose(history.metrics["rmse"], expected, rtol=1e-12)


@case
def callbacks():
    seen = []

    def on_last(epoch):
        seen.append(epoch.loss)
        return epoch.epoch == 2 and COMM.rank == COMM.size - 1

    history = together(make(), epochs=9, callbacks=on_last)
    ends = history.stopped_by == "callback" and history.epochs == 3
    assert_equal_on_all(seen)

    def on_first(epoch):
        epoch.network.params[:] = 0.125
        return True

    net = make()
    together(net, epochs=2, callbacks=on_first if FIRST else [])
    assert ends
    assert (net.params == 0.125).all()


@case
def checkpoints():
    path = Path(sys.argv[2]) / "run.ckpt"
    options = {"epochs": 8, "batch_size": 16, "patience": 30, "validation_data": (X, Y)}
    stop = [fp.Checkpoint(path), lambda epoch: epoch.epoch == 4]
    whole, halted, resumed = make(), make(), make(COMM.rank + 5)
    history = together(whole, **options)
    together(halted, callbacks=stop if FIRST else [], **options)
    again = together(resumed, resume=path, **options)
    try:
        together(make(), resume=path, **options | {"batch_size": 17})
        message = ""
    except ValueError as error:
        message = str(error)
    assert not np.array_equal(halted.params, whole.params)
    np.testing.assert_array_equal(resumed.params, whole.params)
    np.testing.assert_array_equal(again.loss, history.loss)
    assert "batch_size = 16" in message


@case
def divergence():
    for size in (16, None):
        net = make()
        options = {"epochs": 30, "batch_size": size, "optimizer": fp.SGD(1e30)}
        kinds = [kind for kind, _ in raised(partial(together, net, **options))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            history = together(net, **options)
        assert kinds == ["DivergenceWarning"] + ["RuntimeError"] * (COMM.size - 1)
        assert history.stopped_by == "diverged"
        assert "diverged" in history.message
        assert np.isfinite(net.params).all()
        assert_equal_on_all(net.params)


# ---- errors


@case
def errors_before():
    """What is wrong on the last rank, or not alike on it, is raised on all."""
    last = COMM.rank == COMM.size - 1
    nan = np.full_like(X[MINE], np.nan) if last else X[MINE]
    float32 = fp.Network(4, [fp.Dense(16, "tanh"), fp.Dense(2)], rng=0)
    wide = make(0, fp.Dense(17, "tanh"))
    cases = [
        ("X", make(), {"X": nan}),
        ("epochs = 3", make(), {"epochs": 3 if last else 2}),
        ("dtype", float32 if last else make(), {}),
        ("17", wide if last else make(), {}),
        ("the loss", make(loss="mae") if last else make(), {}),
        ("optimizer", make(), {"optimizer": "sgd" if last else "adam"}),
        ("batch_size", make(), {"batch_size": 8 if last else None}),
        ("validation", make(), {"validation_data": (X, Y)} if last else {}),
        ("threads", make(), {"threads": 0 if last else 1}),
        ("solver", make(), {"optimizer": "lbfgs"}),
        ("pass validation_data", make(), {"validation_split": 0.5}),
        ("derivatives", make(), {"derivatives": np.zeros((ROWS, 2, 4))[MINE]}),
    ]
    for word, net, options in cases:
        before = net.params.copy()
        options = {"X": X[MINE], "epochs": 2} | options
        found = raised(partial(net.fit, y=Y[MINE], communicator=COMM, **options))
        assert all(error is not None for error in found), (word, found)
        assert len({kind for kind, _ in found}) == 1, (word, found)
        assert all(word in message for _, message in found), (word, found)
        np.testing.assert_array_equal(net.params, before)
    found = raised(lambda: make().fit(lambda: iter([]), communicator=COMM))
    assert all("arrays X and y" in message for _, message in found)


@case
def errors_within():
    """What a function of the user's raises on one rank is raised on all."""

    def fails(*_):
        raise KeyError("a fault of the last rank")

    def nothing(*_):
        return 0.0

    last = COMM.rank == COMM.size - 1
    for options, place in (
        ({"callbacks": fails if last else []}, COMM.size - 1),
        ({"metrics": {"m": fails}}, 0),  # computed on rank 0
    ):
        found = raised(lambda options=options: together(make(), epochs=3, **options))
        assert all("a fault of the last rank" in message for _, message in found), found
        kinds = [kind for kind, _ in found]
        assert kinds[place] == "KeyError"
        assert set(kinds[:place] + kinds[place + 1 :]) == {"RuntimeError"}
    assert together(make(), epochs=1, metrics={"m": nothing}).epochs == 1


@case
def interruption():
    """Ctrl-C on one rank: while it is called back, and in the middle of the compiled loop."""
    last = COMM.rank == COMM.size - 1

    def interrupt(epoch):
        if epoch.epoch == 1 and last:
            signal.raise_signal(signal.SIGINT)

    for callbacks in (interrupt, []):
        net = make()
        pressed = ctrl_c(0.3, partial(os.kill, os.getpid(), signal.SIGINT))
        with pressed if last and not callbacks else contextlib.nullcontext():
            history = together(net, epochs=10_000_000, callbacks=callbacks)
        assert history.stopped_by == "interrupted"
        assert_equal_on_all(history.loss)
        assert_equal_on_all(net.params)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# ---- what ends all ranks; these do not come back


def killed():
    def kill(epoch):
        if epoch.epoch == 1 and not FIRST:
            os.kill(os.getpid(), signal.SIGKILL)

    together(make(), epochs=10_000_000, callbacks=[] if FIRST else kill)


def left():
    def leave(epoch):
        if epoch.epoch == 1 and not FIRST:
            sys.exit("the last rank has left")

    together(make(), epochs=10_000_000, callbacks=[] if FIRST else leave)


ENDS = {"killed": killed, "left": left}


def main():
    file, _, *names = sys.argv[1:]
    if names[0] in ENDS:
        ENDS[names[0]]()
        return
    outcomes = {}
    for name in names:
        try:
            CASES[name]()
            found = ""
        except Exception:
            found = f"rank {COMM.rank}:\n{traceback.format_exc()}"
        outcomes[name] = "".join(COMM.allgather(found))
        if FIRST:
            Path(file).write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main()
