"""Samples that come a part at a time: files, sparse matrices, batches, `Trainer`."""

import itertools
import pickle
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from test_optimizers import KINDS, every_kind

import flatprop as fp
from flatprop.samples import in_parts

ROWS = 203


def network(dtype="float32"):
    return fp.Network(3, [fp.Dense(8, "tanh"), fp.Dense(2)], dtype=dtype, rng=0)


def samples(rows=ROWS):
    rng = np.random.default_rng(2)
    X = rng.normal(size=(rows, 3))
    y = np.column_stack([np.sin(2 * X[:, 0]) + X[:, 1], X[:, 0] * X[:, 2]])
    return X, y, rng.uniform(0.2, 2, rows)


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of 32 rows or so, so that a file of a few kilobytes is a large one."""
    monkeypatch.setattr(in_parts, "PART_BYTES", 1000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


_number = itertools.count()


def mapped(folder, array, mode="r"):
    path = folder / f"{next(_number)}.npy"
    np.save(path, array)
    return np.load(path, mmap_mode=mode)


def bits(net, history):
    numbers = (net.params, history.loss, history.val_loss, history.learning_rate)
    return [n.tobytes() for n in numbers], history.stopped_by, history.best_epoch


# ---- files


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 150),
    batch_size=st.integers(1, 60),
    part_bytes=st.integers(1, 4000),
    optimizer=st.sampled_from(KINDS),
    stored=st.sampled_from(["float32", "float64", "uint8", ">f4"]),
    weighted=st.booleans(),
    layout=st.sampled_from(["C", "F", "columns"]),
    y_in_file=st.booleans(),
)
def test_a_file_by_parts_is_bit_for_bit_the_array(
    folder, rows, batch_size, part_bytes, optimizer, stored, weighted, layout, y_in_file
):
    X, y, weight = samples(rows)
    X = (10 * np.abs(X)).astype(stored)
    file = mapped(folder, np.hstack([X, X]) if layout == "columns" else np.array(X, order=layout))
    file = file[:, 3:] if layout == "columns" else file
    options = {
        "optimizer": optimizer,
        "batch_size": batch_size,
        "epochs": 2,
        "shuffle": False,
        "sample_weight": weight if weighted else None,
    }
    net, other = network(), network()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_parts, "PART_BYTES", part_bytes)
        target = mapped(folder, y) if y_in_file else y
        history = other.fit(file, target, **options)
        assert in_parts.is_large(file, other.dtype) or 12 * rows <= part_bytes
        outputs, loss = other.predict(file), other.loss(file, target, options["sample_weight"])
    expected = net.fit(np.array(X), y, **options)
    assert bits(other, history) == bits(net, expected)
    np.testing.assert_array_equal(outputs, net.predict(X))
    assert loss == net.loss(X, y, options["sample_weight"])


OPTIONS = {
    "validation": {"validation_data": "file"},
    "patience": {"validation_data": "file", "patience": 2, "optimizer": fp.SGD(0.9)},
    "patience alone": {"patience": 2, "optimizer": fp.SGD(0.9)},
    "tol": {"tol": 1e-2, "optimizer": fp.SGD(0.02)},
    "schedule": {"optimizer": fp.Adam(fp.schedules.Cosine(0.01))},
    "plateau": {"optimizer": fp.SGD(fp.schedules.ReduceOnPlateau(0.9, patience=1))},
    "clipped": {"clip_norm": 0.1},
    "frozen": {"trainable": np.arange(50) % 3 > 0},
    "callback": {"callbacks": lambda epoch: epoch.epoch == 4},
    "a part without weight": {"sample_weight": np.r_[np.zeros(90), np.ones(ROWS - 90)]},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_does_what_it_does_with_arrays(name, folder, small_parts):
    X, y, _ = samples()
    runs = []
    for source in (X, mapped(folder, X)):
        options = dict(OPTIONS[name])
        if "validation_data" in options:
            options["validation_data"] = (source, y[::-1])
        net = network()
        history = net.fit(source, y, epochs=40, batch_size=16, shuffle=False, **options)
        runs.append(bits(net, history))
    assert runs[0] == runs[1]
    assert runs[0][1] == {
        "patience": "patience",
        "patience alone": "patience",
        "tol": "converged",
        "callback": "callback",
    }.get(name, "epochs")


def test_shuffled_parts_hold_every_sample_once_in_a_new_order(folder, small_parts):
    X = np.arange(3.0 * ROWS).reshape(ROWS, 3)
    parts = in_parts.Parts(network("float64"), mapped(folder, X), X[:, :2], X[:, 0] + 1)
    rng = np.random.default_rng(0)
    orders = []
    for _ in range(3):
        seen = [
            (part.x.reshape(-1, 3).copy(), part.y.reshape(-1, 2).copy(), part.weight.copy())
            for part in parts.parts(8, rng)
        ]
        assert len(seen) > 5
        assert all(len(x) % 8 == 0 for x, *_ in seen[:-1])
        x, y, weight = map(np.concatenate, zip(*seen, strict=True))
        np.testing.assert_array_equal(y, x[:, :2])
        np.testing.assert_array_equal(weight, x[:, 0] + 1)
        order = x[:, 0] / 3
        assert sorted(order) == list(range(ROWS))
        orders.append(tuple(order))
    assert len(set(orders)) == 3


def test_shuffled_training_depends_on_rng_only(folder, small_parts):
    X, y, _ = samples()
    file = mapped(folder, X)
    nets = [network() for _ in range(4)]
    for net, rng in zip(nets, (5, 5, 6, None), strict=True):
        history = net.fit(file, y, epochs=30, optimizer=fp.Adam(0.01), rng=rng)
        assert history.loss[-1] < history.loss[0] / 3
    assert np.array_equal(nets[0].params, nets[1].params)
    assert not np.array_equal(nets[0].params, nets[2].params)


def test_a_resumed_training_on_a_file_is_the_one_that_never_stopped(folder, small_parts, tmp_path):
    X, y, _ = samples()
    options = {
        "optimizer": fp.Adam(fp.schedules.Cosine(0.01)),
        "epochs": 9,
        "patience": 5,
        "validation_data": (X, y),
    }
    whole, halted = network(), network()
    file, path = mapped(folder, X), tmp_path / "run.ckpt"
    expected = whole.fit(file, y, **options)
    stop = [fp.Checkpoint(path, every=3), lambda epoch: epoch.epoch == 6]
    assert halted.fit(file, y, callbacks=stop, **options).epochs == 7
    resumed = network()
    assert bits(resumed, resumed.fit(file, y, resume=path, **options)) == bits(whole, expected)
    with pytest.raises(ValueError, match="shuffle = by parts, but fit was called with True"):
        resumed.fit(X, y, resume=path, **options)


def test_one_input_needs_one_column_only(folder, small_parts):
    X, y, _ = samples(500)
    net, other = (fp.Network(1, [fp.Dense(2)], rng=0) for _ in range(2))
    net.fit(X[:, 0], y, shuffle=False, epochs=2)
    other.fit(mapped(folder, X[:, 0].copy()), y, shuffle=False, epochs=2)
    assert np.array_equal(net.params, other.params)


def test_classes_and_outputs_in_a_file(folder, small_parts):
    X, _, _ = samples(2000)
    classes = (X[:, 0] > 0).astype("int64")
    net, other = (
        fp.Network(3, [fp.Dense(2, "softmax")], "cross_entropy", rng=0) for _ in range(2)
    )
    expected = net.fit(X, classes, shuffle=False, epochs=2)
    assert bits(other, other.fit(X, mapped(folder, classes), shuffle=False, epochs=2)) == bits(
        net, expected
    )
    classes[1234] = 2
    with pytest.raises(ValueError, match=r"y\[1234\] is class 2, but the last layer has 2"):
        other.fit(X, mapped(folder, classes), shuffle=False)
    with pytest.raises(ValueError, match=r"X has 2000 rows, but y has shape \(100,\)"):
        other.fit(mapped(folder, X), classes[:100])


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_what_was_written_into_a_mapping_stays(mode, folder, small_parts):
    """Pages are given back after they were read; of a copy on write they would be lost."""
    X, y, _ = samples(5000)
    file = mapped(folder, X, mode)
    if mode != "r":
        file[:] = X[::-1]
        X = X[::-1]
    net, other = network(), network()
    net.fit(X, y, epochs=1, shuffle=False)
    other.fit(file, y, epochs=1, shuffle=False)
    assert np.array_equal(net.params, other.params)
    np.testing.assert_array_equal(file, X)


def test_what_counts_as_a_file(folder):
    file = mapped(folder, np.ones((4, 3)))
    for view in (file, file[1:], np.asarray(file)[:, :2], file.T):
        assert isinstance(in_parts.mapping(view), np.memmap)
    for array in (np.ones(3), file + 1, file.copy(), file[[0, 1]], [1.0], None):
        assert in_parts.mapping(array) is None


def test_a_block_of_rows_that_is_itself_large(folder, small_parts):
    X = np.random.default_rng(0).random((1000, 300), np.float32)
    net = fp.Network(300, [fp.Dense(2)], rng=0)
    assert min(net.block_rows, 1000) * 300 > fp.network.FEW_NUMBERS
    np.testing.assert_array_equal(net.predict(mapped(folder, X)), net.predict(X))


def test_a_bad_value_in_a_file_is_named_by_its_row(folder, small_parts):
    X, y, _ = samples()
    X[150, 1] = np.nan
    file, net = mapped(folder, X), network()
    before = net.params.copy()
    for call in (net.predict, lambda X: net.loss(X, y)):
        with pytest.raises(ValueError, match=r"X\[150, 1\] is nan; remove or replace"):
            call(file)
    assert np.array_equal(net.params, before)
    with pytest.raises(ValueError, match=r"X\[150, 1\] is nan; remove or replace"):
        net.fit(file, y, shuffle=False)
    known = network()
    known.fit(X[:128], y[:128], shuffle=False, epochs=1)
    assert np.array_equal(net.params, known.params)  # four parts of 32 rows were learnt
    with pytest.raises(ValueError, match=r"y\[7, 1\] is inf"):
        network().fit(mapped(folder, X[:150]), np.where(y == y[7, 1], np.inf, y)[:150])


REFUSED = {
    "wrong width": ({"X": (99, 5)}, "X has 5 columns, but the network takes 3"),
    "three dimensions": ({"X": (99, 3, 2)}, "X must have two dimensions"),
    "complex": ({"X": (99, 3), "dtype": complex}, "X is complex"),
    "text": ({"X": (99, 3), "dtype": "U3"}, "X must hold numbers, got dtype <U3"),
    "weights": ({"sample_weight": [1, 2]}, r"sample_weight must have shape \(203,\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_changed(case, folder, small_parts):
    options, message = REFUSED[case]
    options = dict(options)
    X, y, _ = samples()
    if "X" in options:
        shape, dtype = options.pop("X"), options.pop("dtype", float)
        X, y = np.zeros(shape, dtype), y[: shape[0]]
    net = network()
    before = net.params.tobytes(), net.rng.bit_generator.state
    with pytest.raises((TypeError, ValueError), match=message):
        net.fit(mapped(folder, X), y, **options)
    assert (net.params.tobytes(), net.rng.bit_generator.state) == before


@pytest.mark.parametrize("options", [{"batch_size": None}, {"optimizer": "lbfgs"}], ids=str)
def test_what_needs_all_samples_at_once_takes_them(options, folder, small_parts):
    X, y, _ = samples()
    one, other = network(), network()
    one.fit(X, y, epochs=5, **options)
    other.fit(mapped(folder, X), y, epochs=5, **options)
    assert np.array_equal(one.params, other.params)


def test_divergence_on_a_file_keeps_finite_parameters(folder, small_parts):
    X, y, _ = samples()
    net = network()
    with pytest.warns(fp.DivergenceWarning, match="diverged in epoch 0, after") as caught:
        history = net.fit(mapped(folder, X), y, optimizer=fp.SGD(1e9), epochs=50)
    assert history.stopped_by == "diverged"
    assert history.epochs == 0
    assert caught[0].filename == __file__
    assert np.isfinite(net.params).all()


def test_a_callback_that_ruins_the_parameters_is_divergence(folder, small_parts):
    X, y, _ = samples()
    net = network()

    def ruin(epoch):
        epoch.network.params[:] = np.nan

    with pytest.warns(fp.DivergenceWarning):
        net.fit(mapped(folder, X), y, callbacks=ruin)
    assert np.isfinite(net.params).all()


def test_progress_bar_on_a_file(folder, small_parts, capsys):
    X, y, _ = samples()
    network().fit(mapped(folder, X), y, epochs=3, progress=True)
    assert "3/3" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to itself")
def test_ctrl_c_on_a_file(folder, small_parts):
    X, y, _ = samples(5000)
    net = network()
    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])

    def start(epoch):
        if epoch.epoch == 0:
            timer.start()

    history = net.fit(mapped(folder, X), y, epochs=10**6, callbacks=start)
    timer.join()
    assert history.stopped_by == "interrupted"
    assert history.epochs == history.loss.size > 0
    assert np.isfinite(net.params).all()


MEMORY = """
import resource, sys
import numpy as np
import flatprop as fp

BOUND, rows, columns, path = 100 * 2**20, 400_000, 100, sys.argv[1]
file = np.lib.format.open_memmap(path, "w+", "float64", (rows, columns))
assert file.nbytes > 3 * BOUND
rng = np.random.default_rng(0)
for start in range(0, rows, 10_000):
    file[start : start + 10_000] = rng.integers(0, 2, (10_000, columns), dtype="uint8")
del file

net = fp.Network(columns, [fp.Dense(8, "relu"), fp.Dense(1)], rng=0)
some = np.ones((64, columns))
net.fit(some, some[:, 0], epochs=1)  # compiled, so that no peak is the compiler's
net.loss(some, some[:, 0])
net.predict(some)

def status(name):
    with open("/proc/self/status") as lines:
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

with open("/proc/self/clear_refs", "w") as peaks:
    peaks.write("5")
start, data = status("VmRSS"), status("VmData")
resource.setrlimit(resource.RLIMIT_DATA, (data + BOUND, data + BOUND))

X = np.load(path, mmap_mode="r")
y = X[:, 0]  # of the same file
try:
    np.array(X, "float32")
except MemoryError:
    print("too large,", end=" ")
before = net.loss(X, y)
history = net.fit(X, y, epochs=1, batch_size=256)
outputs = net.predict(X)
assert net.loss(X, y) < before / 2, (before, history)
assert outputs.shape == (rows, 1)
assert not {"pandas", "polars", "scipy.sparse", "torch"} & set(sys.modules)
print("peak", round((status("VmHWM") - start) / BOUND, 2))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_file_three_times_as_large_as_memory(tmp_path, record_property):
    """Neither allocated nor resident is ever more than a third of the file."""
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "x.npy")]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    *words, peak = run.stdout.split()
    record_property("peak", peak)
    assert words == ["too", "large,", "peak"]
    assert float(peak) < 1


# ---- sparse matrices


@pytest.mark.parametrize("part_bytes", [in_parts.PART_BYTES, 1000])
@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array", "csc_array", "coo_array"])
def test_a_sparse_matrix_is_the_dense_one(kind, part_bytes, monkeypatch):
    sparse = pytest.importorskip("scipy.sparse", reason="sparse matrices need SciPy")
    monkeypatch.setattr(in_parts, "PART_BYTES", part_bytes)
    X, y, _ = samples()
    X[X < 0.3] = 0
    matrix = getattr(sparse, kind)(X)
    net, other = network(), network()
    expected = net.fit(X, y, epochs=3, shuffle=False, validation_data=(X, y))
    history = other.fit(matrix, y, epochs=3, shuffle=False, validation_data=(matrix, y))
    assert bits(other, history) == bits(net, expected)
    np.testing.assert_array_equal(other.predict(matrix), net.predict(X))
    assert other.loss(matrix, y) == net.loss(X, y)
    np.testing.assert_array_equal(
        other.loss_and_gradient(matrix, sparse.csr_array(y))[1], net.loss_and_gradient(X, y)[1]
    )


def test_a_shuffled_sparse_matrix_is_mixed_throughout(small_parts):
    sparse = pytest.importorskip("scipy.sparse", reason="sparse matrices need SciPy")
    X = np.zeros((400, 3))
    X[:, 0] = np.arange(400)
    net, weight = network(), np.arange(1, 401)
    parts = in_parts.Parts(net, sparse.csr_array(X), X[:, :2], weight)
    seen = []
    for part in parts.parts(16, np.random.default_rng(0)):
        ids = part.x.reshape(-1, 3)[:, 0]
        assert np.array_equal(part.y.reshape(-1, 2)[:, 0], ids)
        assert np.array_equal(part.weight, ids + 1)
        seen.append(ids.copy())
    assert len(seen) > 4
    assert all(np.ptp(ids) > 200 for ids in seen)
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(400))
    X[250, 1] = np.nan
    with pytest.raises(ValueError, match=r"X\[250, 1\] is nan"):
        net.fit(sparse.csr_array(X), X[:, [0, 2]], epochs=1)


# ---- batches


def in_batches(arrays, size=32):
    rows = len(arrays[0])
    return [tuple(a[i : i + size] for a in arrays) for i in range(0, rows, size)]


class Loader:
    """As a data loader: gone through as often as one likes, and no list."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


@pytest.mark.parametrize("weighted", [False, True])
@every_kind
def test_batches_are_bit_for_bit_the_arrays(optimizer, weighted):
    data = samples() if weighted else samples()[:2]
    given = in_batches(data)
    assert len(given[-1][0]) != 32
    net = network()
    weight = data[2] if weighted else None
    options = {"optimizer": optimizer, "epochs": 3}
    expected = net.fit(*data[:2], sample_weight=weight, shuffle=False, **options)
    for batches in (given, Loader(given), lambda: iter(given), lambda: (list(b) for b in given)):
        other = network()
        assert bits(other, other.fit(batches, **options)) == bits(net, expected)
    once = network()
    history = once.fit(iter(given), optimizer=optimizer, epochs=1)
    assert history.loss == expected.loss[:1]


def test_a_data_loader_of_pytorch():
    torch = pytest.importorskip("torch", reason="data loaders need torch")
    X, y, _ = samples()
    tensors = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(y))
    net, other = network(), network()
    expected = net.fit(X, y, shuffle=False, epochs=2)
    history = other.fit(torch.utils.data.DataLoader(tensors, batch_size=32), epochs=2)
    assert bits(other, history) == bits(net, expected)


def test_batches_of_changing_size():
    X, y, weight = samples()
    cuts = [0, 1, 40, 41, 100, 203]
    given = [(X[a:b], y[a:b], weight[a:b]) for a, b in itertools.pairwise(cuts)]
    net, trainer = network(), fp.Trainer(network())
    history = net.fit(given, epochs=1)
    losses = [trainer.partial_fit(*batch) for batch in given]
    assert np.array_equal(net.params, trainer.network.params)
    shares = [w.sum() for _, _, w in given]
    assert history.loss == pytest.approx([np.average(losses, weights=shares)], rel=1e-6)


BATCHES = {
    "no y": (lambda: samples()[0], {}, r"y is missing, and X is a ndarray; pass fit\(X, y\)"),
    "lists of numbers": (lambda: samples()[0].tolist(), {}, "y is missing, and X is a list"),
    "text": (lambda: "batches", {}, "y is missing, and X is a str"),
    "a dict": (lambda: {"X": 1}, {}, "y is missing, and X is a dict"),
    "a number": (lambda: 3, {}, "y is missing, and X is a int"),
    "nothing": (lambda: None, {}, "y is missing, and X is a NoneType"),
    "an empty list": (list, {}, "there was no batch to train on"),
    "an empty generator": (lambda: iter(()), {"epochs": 1}, "there was no batch to train on"),
    "an iterator for two epochs": (
        lambda: iter(in_batches(samples()[:2])),
        {"epochs": 2},
        "can be gone through only once, but epochs is 2; pass epochs=1, a list",
    ),
    "a function of a number": (lambda: lambda: 3, {}, "must return an iterable.*returned a int"),
    "a batch size": (
        lambda: in_batches(samples()[:2]),
        {"batch_size": 8},
        "batch_size has no mea",
    ),
    "weights": (lambda: in_batches(samples()[:2]), {"sample_weight": [1]}, r"\(X, y, sample_w"),
    "a solver": (lambda: in_batches(samples()[:2]), {"optimizer": "lbfgs"}, "LBFGS needs all sam"),
    "the arrays themselves": (lambda: samples()[:2], {}, "batch 0, counted from 0, must be.*nda"),
    "X alone": (lambda: [(samples()[0],)], {}, "but it is a tuple of 1"),
    "rows that do not fit": (
        lambda: [(samples()[0], samples()[1][:3])],
        {},
        "batch 0, counted from 0: X has 203 rows, but y has",
    ),
}


@pytest.mark.parametrize("case", BATCHES)
def test_message(case):
    make, options, message = BATCHES[case]
    net = network()
    before = net.params.copy()
    with pytest.raises((TypeError, ValueError), match=message):
        net.fit(make(), **options)
    assert np.array_equal(net.params, before)


def test_an_iterable_that_is_used_up_in_the_second_epoch():
    once = iter(in_batches(samples()[:2]))
    net = network()
    with pytest.raises(ValueError, match=r"if an earlier epoch had some, .* only once"):
        net.fit(Loader(once), epochs=2)
    known = network()
    known.fit(in_batches(samples()[:2]), epochs=1)
    assert np.array_equal(net.params, known.params)


def test_a_bad_batch_in_the_middle_keeps_what_was_learnt():
    given = in_batches(samples()[:2])
    known = network()
    known.fit(given[:3], epochs=1)
    bad = given[3][0].copy()
    bad[4, 2] = np.nan
    net = network()
    with pytest.raises(ValueError, match=r"batch 3, counted from 0: X\[4, 2\] is nan"):
        net.fit([*given[:3], (bad, given[3][1]), *given[4:]])
    assert np.array_equal(net.params, known.params)


def test_an_interruption_between_batches_keeps_what_was_learnt():
    given = in_batches(samples()[:2])

    def interrupted():
        yield from given[:5]
        raise KeyboardInterrupt

    known, net = network(), network()
    known.fit(given[:5], epochs=1)
    history = net.fit(interrupted, epochs=7)
    assert history.stopped_by == "interrupted"
    assert history.epochs == 0
    assert np.array_equal(net.params, known.params)


def test_a_resumed_training_on_batches(tmp_path):
    given, path = in_batches(samples()[:2]), tmp_path / "run.ckpt"
    whole, resumed = network(), network()
    expected = whole.fit(given, epochs=5)
    network().fit(given, epochs=3, callbacks=fp.Checkpoint(path))
    assert bits(resumed, resumed.fit(given, epochs=5, resume=path)) == bits(whole, expected)


# ---- Trainer


@every_kind
def test_a_trainer_goes_on_where_fit_begins_anew(optimizer):
    data = samples()
    net, trainer = network(), fp.Trainer(network(), optimizer)
    expected = net.fit(
        *data[:2],
        sample_weight=data[2],
        optimizer=optimizer,
        epochs=2,
        batch_size=32,
        shuffle=False,
    )
    batches = in_batches(data)
    losses = [trainer.partial_fit(*batch) for batch in batches]
    assert trainer.partial_fit(*data, batch_size=32) == expected.loss[1]
    assert np.array_equal(trainer.network.params, net.params)
    shares = [batch[2].sum() for batch in batches]
    assert np.average(losses, weights=shares) == pytest.approx(expected.loss[0], rel=1e-6)
    assert trainer.updates == 2 * len(batches)


@pytest.mark.parametrize(
    "optimizer", [fp.Adam(0.01), fp.SGD(0.1, momentum=0.9, nesterov=True)], ids=repr
)
def test_a_stream_is_that_of_pytorch(optimizer):
    """Another batch in each step: what torch's optimizer remembers goes on, and so must ours."""
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
    net = network("float64")
    trainer = fp.Trainer(net, optimizer)
    parts = [part for pair in zip(net.weights, net.biases, strict=True) for part in pair]
    parameters = [torch.tensor(part, requires_grad=True) for part in parts]
    named = {k: v for k, v in vars(optimizer).items() if k != "learning_rate"}
    rule = getattr(torch.optim, type(optimizer).__name__)(
        parameters, lr=optimizer.learning_rate, **named
    )
    W1, b1, W2, b2 = parameters
    for X, y in 4 * in_batches(samples()[:2]):
        rule.zero_grad()
        hidden = torch.tanh(torch.tensor(X) @ W1 + b1)
        loss = torch.nn.functional.mse_loss(hidden @ W2 + b2, torch.tensor(y))
        loss.backward()
        assert trainer.partial_fit(X, y) == pytest.approx(loss.item(), rel=1e-10)
        rule.step()
    expected = np.concatenate([part.detach().numpy().ravel() for part in parameters])
    np.testing.assert_allclose(net.params, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("loss", ["mse", "ssr"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_penalty_is_a_term_of_the_loss(loss, weighted):
    """Of a step with SGD the gradient is known; held against finite differences."""
    X, y, weight = samples(20)
    weight = weight if weighted else None
    net = fp.Network(3, [fp.Dense(4, "tanh"), fp.Dense(2)], loss, "float64", rng=0)
    net.params[:] = np.random.default_rng(3).normal(0, 0.5, net.params.size)
    alpha, before = 0.7, net.params.copy()
    divisor = 1 if loss == "ssr" else 20 if weight is None else weight.sum()

    def penalised(theta):
        twin = reference.Twin(net)
        twin.theta = theta
        squares = sum((W**2).sum() for W in reference.split(theta, twin.sizes)[0])
        return twin.loss_and_gradient(X, y, weight)[0] + alpha / 2 * squares / divisor

    trainer = fp.Trainer(net, fp.SGD(1e-3), penalty=alpha)
    value = trainer.partial_fit(X, y, weight)
    assert value == pytest.approx(penalised(before), rel=1e-12)
    step = 1e-6 * np.eye(before.size)
    slope = [(penalised(before + e) - penalised(before - e)) / 2e-6 for e in step]
    np.testing.assert_allclose((before - net.params) / 1e-3, slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("loss", ["mse", "ssr"])
def test_the_loss_of_parts_counts_each_batch_with_its_share(loss, folder, small_parts):
    """A file in parts, batches of which the last is short, weights, and a penalty."""
    X, y, weight = samples()
    weight[40:80] = 0  # two batches without weight
    net = fp.Network(3, [fp.Dense(4, "tanh"), fp.Dense(2)], loss, "float64", rng=0)
    squares = sum((W**2).sum() for W in net.weights)
    losses, shares = [], []
    for start in range(0, ROWS, 20):
        part = slice(start, start + 20)
        if not (total := weight[part].sum()):
            if loss == "ssr":  # a sum over nothing
                losses.append(0.0)
                shares.append(1.0)
            continue
        shares.append(1.0 if loss == "ssr" else total)
        losses.append(net.loss(X[part], y[part], weight[part]) + 0.35 * squares / shares[-1])
    assert len(losses) == (11 if loss == "ssr" else 9)
    trainer = fp.Trainer(net, fp.SGD(0.0), penalty=0.7)
    for inputs in (X, mapped(folder, X)):
        value = trainer.partial_fit(inputs, y, weight, batch_size=20)
        assert value == pytest.approx(np.average(losses, weights=shares), rel=1e-12)


@every_kind
def test_a_pickled_trainer_goes_on_bit_for_bit(optimizer):
    X, y, _ = samples()
    trainer = fp.Trainer(network(), optimizer, clip_norm=1.0, penalty=0.1)
    trainer.partial_fit(X, y, batch_size=16, shuffle=True)
    trainer.learning_rate *= 0.5
    copy = pickle.loads(pickle.dumps(trainer))
    losses = [t.partial_fit(X, y, batch_size=16, shuffle=True) for t in (trainer, copy)]
    assert losses[0] == losses[1]
    assert np.array_equal(trainer.network.params, copy.network.params)
    assert np.array_equal(trainer.state, copy.state)
    assert copy.updates == trainer.updates
    assert copy.rng.bit_generator.state == trainer.rng.bit_generator.state


def test_state_and_updates_are_all_that_another_trainer_needs():
    X, y, _ = samples()
    one, other = (fp.Trainer(network(), "adam") for _ in range(2))
    one.partial_fit(X, y, batch_size=16)
    other.network.params, other.updates = one.network.params, one.updates
    other.state[:] = one.state
    for trainer in (one, other):
        trainer.partial_fit(X, y)
    assert np.array_equal(one.network.params, other.network.params)
    with pytest.raises(ValueError, match="updates must be at least 0"):
        other.updates = -1


def test_a_trainer_s_errors_change_nothing():
    X, y, _ = samples()
    trainer = fp.Trainer(network(), "adam")
    trainer.partial_fit(X, y)

    def everything():
        arrays = trainer.network.params.tobytes(), trainer.state.tobytes()
        return arrays, trainer.updates, trainer.rng.bit_generator.state

    before = everything()
    bad = X.copy()
    bad[5, 0] = np.inf
    for arguments, options, message in (
        ((bad, y), {}, r"X\[5, 0\] is inf"),
        ((X, y[:3]), {}, "X has 203 rows, but y has"),
        ((X, y), {"batch_size": 0}, "batch_size must be at least 1"),
        ((X, y, np.zeros(ROWS)), {"shuffle": True}, "nothing would be learnt"),
    ):
        with pytest.raises(ValueError, match=message):
            trainer.partial_fit(*arguments, **options)
        assert everything() == before
    for rate, error in (("fast", TypeError), (-1, ValueError), (np.nan, ValueError)):
        with pytest.raises(error, match="learning_rate must be"):
            trainer.learning_rate = rate
    with pytest.raises(ValueError, match="LBFGS needs all samples at once"):
        fp.Trainer(network(), "lbfgs")
    with pytest.raises(ValueError, match="penalty must be finite and not negative"):
        fp.Trainer(network(), penalty=-1)


def test_the_learning_rate_of_a_trainer():
    X, y, _ = samples()
    net = network("float64")
    trainer = fp.Trainer(net, fp.SGD(fp.schedules.Cosine(0.1)))
    assert trainer.learning_rate == 0.1
    for rate in (0.1, 0.0, 0.3):
        trainer.learning_rate = rate
        expected = net.params - rate * net.loss_and_gradient(X, y)[1]
        trainer.partial_fit(X, y)
        np.testing.assert_allclose(net.params, expected, rtol=0, atol=1e-14)


def test_a_trainer_that_diverges_returns_nan_and_keeps_finite_parameters():
    X, y, _ = samples()
    trainer = fp.Trainer(network(), fp.SGD(1e30))
    assert np.isnan([trainer.partial_fit(X, y, batch_size=8) for _ in range(3)]).all()
    assert np.isfinite(trainer.network.params).all()


def test_a_trainer_takes_a_file_by_parts(folder, small_parts):
    X, y, _ = samples()
    file = mapped(folder, X)
    one, other = (fp.Trainer(network(), "adam") for _ in range(2))
    assert one.partial_fit(X, y, batch_size=16) == other.partial_fit(file, y, batch_size=16)
    assert np.array_equal(one.network.params, other.network.params)
    assert one.partial_fit(X, y) == other.partial_fit(file, y)  # one update, with all of them
    assert np.array_equal(one.network.params, other.network.params)


# ---- batches without weight


@pytest.mark.parametrize("kind", ["arrays", "files", "sparse", "batches", "trainer"])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("loss", ["ssr", "mse"])
def test_a_batch_without_weight_is_a_sum_of_0_but_no_mean(folder, small_parts, kind, first, loss):
    X, y, w = samples(48)
    w[slice(0, 16) if first else slice(32, 48)] = 0
    cuts = [slice(0, 16), slice(16, 32), slice(32, 48)]
    net = fp.Network(3, [fp.Dense(2)], loss, "float64", rng=0)
    before = net.params.copy()
    losses = [net.loss(X[cut], y[cut], w[cut]) for cut in cuts if w[cut].any()]
    expected = np.average(losses, weights=[w[cut].sum() for cut in cuts if w[cut].any()])
    if loss != "mse":
        expected = sum(losses) / 3
    still = fp.SGD(0.0)
    if kind == "trainer":
        found = fp.Trainer(net, still).partial_fit(X, y, w, batch_size=16)
    elif kind == "batches":
        found = net.fit([(X[cut], y[cut], w[cut]) for cut in cuts], optimizer=still, epochs=2)
    else:
        given = mapped(folder, X) if kind == "files" else X
        if kind == "sparse":
            given = pytest.importorskip("scipy.sparse", reason="needs SciPy").csr_array(X)
        found = net.fit(
            given, y, sample_weight=w, batch_size=16, shuffle=False, optimizer=still, epochs=2
        )
    found = found if kind == "trainer" else found.loss
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert np.array_equal(net.params, before)


def test_batches_without_any_weight_change_nothing():
    X, y, _ = samples(16)
    net = network()
    before = net.params.copy()
    nothing = (X, y, np.zeros(16))
    with pytest.raises(ValueError, match="every sample_weight of every batch is zero"):
        net.fit([nothing, nothing], epochs=1)
    assert np.array_equal(net.params, before)
    with pytest.raises(ValueError, match="batch 1, counted from 0: X"):
        net.fit([(X, y), (X[:, :2], y, np.zeros(16))], epochs=1)
    # What a batch without weight leaves is what the others leave.
    one, other = network(), network()
    one.fit([(X, y), nothing, (X, y)], epochs=2)
    other.fit([(X, y), (X, y)], epochs=2)
    assert np.array_equal(one.params, other.params)
