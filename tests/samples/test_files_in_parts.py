"""Samples that come a part at a time: files that are mapped, sparse matrices."""

import signal
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flatprop as fp
from flatprop.evaluation import calls, values
from flatprop.samples import in_parts
from networks import KINDS, bits, curves, make_small
from processes import python

ROWS = 203


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
    mapped, rows, batch_size, part_bytes, optimizer, stored, weighted, layout, y_in_file
):
    X, y, weight = curves(rows)
    X = (10 * np.abs(X)).astype(stored)
    file = mapped(np.hstack([X, X]) if layout == "columns" else np.array(X, order=layout))
    file = file[:, 3:] if layout == "columns" else file
    options = {
        "optimizer": optimizer,
        "batch_size": batch_size,
        "epochs": 2,
        "shuffle": False,
        "sample_weight": weight if weighted else None,
    }
    net, other = make_small(), make_small()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_parts, "PART_BYTES", part_bytes)
        target = mapped(y) if y_in_file else y
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
    "averaged": {"ema": 0.9},
    "averaged and patient": {"ema": 0.9, "validation_data": "file", "patience": 50},
    "factors": {"learning_rate_factors": np.linspace(0, 2, 50)},
    "frozen": {"trainable": np.arange(50) % 3 > 0},
    "callback": {"callbacks": lambda epoch: epoch.epoch == 4},
    "a part without weight": {"sample_weight": np.r_[np.zeros(90), np.ones(ROWS - 90)]},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_does_what_it_does_with_arrays(name, mapped, small_parts):
    X, y, _ = curves(ROWS)
    runs = []
    for source in (X, mapped(X)):
        options = dict(OPTIONS[name])
        if "validation_data" in options:
            options["validation_data"] = (source, y[::-1])
        net = make_small()
        history = net.fit(source, y, epochs=40, batch_size=16, shuffle=False, **options)
        runs.append(bits(net, history))
    assert runs[0] == runs[1]
    assert runs[0][1] == {
        "patience": "patience",
        "patience alone": "patience",
        "tol": "converged",
        "callback": "callback",
    }.get(name, "epochs")


def test_shuffled_parts_hold_every_sample_once_in_a_new_order(mapped, small_parts):
    X = np.arange(3.0 * ROWS).reshape(ROWS, 3)
    parts = in_parts.Parts(make_small(dtype="float64"), mapped(X), X[:, :2], X[:, 0] + 1)
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


def test_shuffled_training_depends_on_rng_only(mapped, small_parts):
    X, y, _ = curves(ROWS)
    file = mapped(X)
    nets = [make_small() for _ in range(4)]
    for net, rng in zip(nets, (5, 5, 6, None), strict=True):
        history = net.fit(file, y, epochs=30, optimizer=fp.Adam(0.01), rng=rng)
        assert history.loss[-1] < history.loss[0] / 3
    assert np.array_equal(nets[0].params, nets[1].params)
    assert not np.array_equal(nets[0].params, nets[2].params)


def test_a_resumed_training_on_a_file_is_the_one_that_never_stopped(mapped, small_parts, tmp_path):
    X, y, _ = curves(ROWS)
    options = {
        "optimizer": fp.Adam(fp.schedules.Cosine(0.01)),
        "epochs": 9,
        "patience": 5,
        "validation_data": (X, y),
    }
    whole, halted = make_small(), make_small()
    file, path = mapped(X), tmp_path / "run.ckpt"
    expected = whole.fit(file, y, **options)
    stop = [fp.Checkpoint(path, every=3), lambda epoch: epoch.epoch == 6]
    assert halted.fit(file, y, callbacks=stop, **options).epochs == 7
    resumed = make_small()
    assert bits(resumed, resumed.fit(file, y, resume=path, **options)) == bits(whole, expected)
    with pytest.raises(ValueError, match="shuffle = by parts, but fit was called with True"):
        resumed.fit(X, y, resume=path, **options)


def test_one_input_needs_one_column_only(mapped, small_parts):
    X, y, _ = curves(500)
    net, other = (fp.Network(1, [fp.Dense(2)], rng=0) for _ in range(2))
    net.fit(X[:, 0], y, shuffle=False, epochs=2)
    other.fit(mapped(X[:, 0].copy()), y, shuffle=False, epochs=2)
    assert np.array_equal(net.params, other.params)


def test_classes_and_outputs_in_a_file(mapped, small_parts):
    X, _, _ = curves(2000)
    classes = (X[:, 0] > 0).astype("int64")
    net, other = (
        fp.Network(3, [fp.Dense(2, "softmax")], "cross_entropy", rng=0) for _ in range(2)
    )
    expected = net.fit(X, classes, shuffle=False, epochs=2)
    assert bits(other, other.fit(X, mapped(classes), shuffle=False, epochs=2)) == bits(
        net, expected
    )
    classes[1234] = 2
    with pytest.raises(ValueError, match=r"y\[1234\] is class 2, but the last layer has 2"):
        other.fit(X, mapped(classes), shuffle=False)
    with pytest.raises(ValueError, match=r"X has 2000 rows, but y has shape \(100,\)"):
        other.fit(mapped(X), classes[:100])


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_what_was_written_into_a_mapping_stays(mode, mapped, small_parts):
    """Pages are given back after they were read; of a copy on write they would be lost."""
    X, y, _ = curves(5000)
    file = mapped(X, mode)
    if mode != "r":
        file[:] = X[::-1]
        X = X[::-1]
    net, other = make_small(), make_small()
    net.fit(X, y, epochs=1, shuffle=False)
    other.fit(file, y, epochs=1, shuffle=False)
    assert np.array_equal(net.params, other.params)
    np.testing.assert_array_equal(file, X)


def test_what_counts_as_a_file(mapped):
    file = mapped(np.ones((4, 3)))
    for view in (file, file[1:], np.asarray(file)[:, :2], file.T):
        assert isinstance(in_parts.mapping(view), np.memmap)
    for array in (np.ones(3), file + 1, file.copy(), file[[0, 1]], [1.0], None):
        assert in_parts.mapping(array) is None


def test_a_block_of_rows_that_is_itself_large(mapped, small_parts):
    X = np.random.default_rng(0).random((1000, 300), np.float32)
    net = fp.Network(300, [fp.Dense(2)], rng=0)
    assert min(calls.block_rows(net), 1000) * 300 > values.SURELY_SMALL
    np.testing.assert_array_equal(net.predict(mapped(X)), net.predict(X))


def test_a_bad_value_in_a_file_is_named_by_its_row(mapped, small_parts):
    X, y, _ = curves(ROWS)
    X[150, 1] = np.nan
    file, net = mapped(X), make_small()
    before = net.params.copy()
    for call in (net.predict, lambda X: net.loss(X, y)):
        with pytest.raises(ValueError, match=r"X\[150, 1\] is nan; remove or replace"):
            call(file)
    assert np.array_equal(net.params, before)
    with pytest.raises(ValueError, match=r"X\[150, 1\] is nan; remove or replace"):
        net.fit(file, y, shuffle=False)
    known = make_small()
    known.fit(X[:128], y[:128], shuffle=False, epochs=1)
    assert np.array_equal(net.params, known.params)  # four parts of 32 rows were learnt
    with pytest.raises(ValueError, match=r"y\[7, 1\] is inf"):
        make_small().fit(mapped(X[:150]), np.where(y == y[7, 1], np.inf, y)[:150])


REFUSED = {
    "wrong width": ({"X": (99, 5)}, "X has 5 columns, but the network takes 3"),
    "three dimensions": ({"X": (99, 3, 2)}, "X must have two dimensions"),
    "complex": ({"X": (99, 3), "dtype": complex}, "X is complex"),
    "text": ({"X": (99, 3), "dtype": "U3"}, "X must hold numbers, got dtype <U3"),
    "weights": ({"sample_weight": [1, 2]}, r"sample_weight must have shape \(203,\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_changed(case, mapped, small_parts):
    options, message = REFUSED[case]
    options = dict(options)
    X, y, _ = curves(ROWS)
    if "X" in options:
        shape, dtype = options.pop("X"), options.pop("dtype", float)
        X, y = np.zeros(shape, dtype), y[: shape[0]]
    net = make_small()
    before = net.params.tobytes(), net.rng.bit_generator.state
    with pytest.raises((TypeError, ValueError), match=message):
        net.fit(mapped(X), y, **options)
    assert (net.params.tobytes(), net.rng.bit_generator.state) == before


@pytest.mark.parametrize("options", [{"batch_size": None}, {"optimizer": "lbfgs"}], ids=str)
def test_what_needs_all_samples_at_once_takes_them(options, mapped, small_parts):
    X, y, _ = curves(ROWS)
    one, other = make_small(), make_small()
    one.fit(X, y, epochs=5, **options)
    other.fit(mapped(X), y, epochs=5, **options)
    assert np.array_equal(one.params, other.params)


def test_divergence_on_a_file_keeps_finite_parameters(mapped, small_parts):
    X, y, _ = curves(ROWS)
    net = make_small()
    with pytest.warns(fp.DivergenceWarning, match="diverged in epoch 0, after") as caught:
        history = net.fit(mapped(X), y, optimizer=fp.SGD(1e9), epochs=50)
    assert history.stopped_by == "diverged"
    assert history.epochs == 0
    assert caught[0].filename == __file__
    assert np.isfinite(net.params).all()


def test_a_callback_that_ruins_the_parameters_is_divergence(mapped, small_parts):
    X, y, _ = curves(ROWS)
    net = make_small()

    def ruin(epoch):
        epoch.network.params[:] = np.nan

    with pytest.warns(fp.DivergenceWarning):
        net.fit(mapped(X), y, callbacks=ruin)
    assert np.isfinite(net.params).all()


def test_progress_bar_on_a_file(mapped, small_parts, capsys):
    X, y, _ = curves(ROWS)
    make_small().fit(mapped(X), y, epochs=3, progress=True)
    assert "3/3" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to itself")
def test_ctrl_c_on_a_file(mapped, small_parts):
    X, y, _ = curves(5000)
    net = make_small()
    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])

    def start(epoch):
        if epoch.epoch == 0:
            timer.start()

    history = net.fit(mapped(X), y, epochs=10**6, callbacks=start)
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
    # The stacks of helper threads count as data, 8 MB each: not one for each processor.
    *words, peak = python(MEMORY, tmp_path / "x.npy", OMP_NUM_THREADS="2").split()
    record_property("peak", peak)
    assert words == ["too", "large,", "peak"]
    assert float(peak) < 1


# ---- sparse matrices


@pytest.mark.parametrize("part_bytes", [in_parts.PART_BYTES, 1000])
@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array", "csc_array", "coo_array"])
def test_a_sparse_matrix_is_the_dense_one(kind, part_bytes, monkeypatch):
    sparse = pytest.importorskip("scipy.sparse", reason="sparse matrices need SciPy")
    monkeypatch.setattr(in_parts, "PART_BYTES", part_bytes)
    X, y, _ = curves(ROWS)
    X[X < 0.3] = 0
    matrix = getattr(sparse, kind)(X)
    net, other = make_small(), make_small()
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
    net, weight = make_small(), np.arange(1, 401)
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


# ---- batches without weight


@pytest.mark.parametrize("kind", ["arrays", "files", "sparse", "batches", "trainer"])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("loss", ["ssr", "mse"])
def test_a_batch_without_weight_is_a_sum_of_0_but_no_mean(mapped, small_parts, kind, first, loss):
    X, y, w = curves(48)
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
        given = mapped(X) if kind == "files" else X
        if kind == "sparse":
            given = pytest.importorskip("scipy.sparse", reason="needs SciPy").csr_array(X)
        found = net.fit(
            given, y, sample_weight=w, batch_size=16, shuffle=False, optimizer=still, epochs=2
        )
    found = found if kind == "trainer" else found.loss
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert np.array_equal(net.params, before)
