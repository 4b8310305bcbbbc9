"""Data in Dask collections: computed a block at a time, and trained on meanwhile."""

import numpy as np
import pytest

import flatprop as fp
from flatprop.samples import in_parts
from flatprop.samples.samples import samples_of

dask = pytest.importorskip("dask")
array = pytest.importorskip("dask.array")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(103, 3))
Y = np.sin(X.sum(axis=1))


def network(**options):
    return fp.Network(3, [fp.Dense(5, "tanh"), fp.Dense(1)], dtype="float64", rng=0, **options)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Parts of 40 rows, so that these samples are large."""
    monkeypatch.setattr(in_parts, "PART_BYTES", 40 * 4 * 8)


class Counted:
    """A Dask array of X that counts how often each of its blocks is computed."""

    def __init__(self, chunks):
        self.computed = []

        def note(block, block_info=None):
            if block_info:
                self.computed.append(block_info[0]["chunk-location"][0])
            return block

        source = array.from_array(X, chunks=(chunks, 3))
        self.X = source.map_blocks(note, meta=np.empty((0, 3)))


@pytest.mark.parametrize("chunks", [7, 60, (50, 0, 50, 3)])
def test_without_shuffling_the_result_is_that_of_arrays(chunks):
    given, net, other = Counted(chunks), network(), network()
    y = array.from_array(Y, chunks=20)  # other blocks than those of X
    options = {"epochs": 3, "batch_size": 8, "shuffle": False}
    history = net.fit(given.X, y, sample_weight=np.linspace(1, 2, 103), **options)
    expected = other.fit(X, Y, sample_weight=np.linspace(1, 2, 103), **options)
    np.testing.assert_array_equal(net.params, other.params)
    np.testing.assert_array_equal(history.loss, expected.loss)
    blocks = [k for k, rows in enumerate(given.X.chunks[0]) if rows]
    assert given.computed == 3 * blocks, "each once in each epoch, in order"
    assert net.loss(given.X, y) == net.loss(X, Y)
    np.testing.assert_array_equal(net.predict(given.X), net.predict(X))


def test_blocks_and_their_rows_are_shuffled():
    given, seen = Counted(20), []
    for part in samples_of(network(), given.X, Y).parts(8, np.random.default_rng(1)):
        seen.append(part.x.reshape(part.rows, 3).copy())
        np.testing.assert_array_equal(part.y, Y[places_of(seen[-1])])
        assert part.rows % 8 == 0 or len(seen) == 3
    rows = np.concatenate(seen)
    assert sorted(given.computed) == [0, 1, 2, 3, 4, 5]
    assert given.computed != sorted(given.computed)
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(X, axis=0))
    assert (np.diff(places_of(rows)) == 1).mean() < 0.2


def places_of(rows):
    return [np.flatnonzero((row == X).all(axis=1)).item() for row in rows]


def test_one_block_is_computed_ahead():
    given = Counted(10)
    parts = samples_of(network(), given.X, Y).parts(8)
    assert next(parts).rows == 40
    parts.close()
    assert len(given.computed) in (4, 5)


def test_the_rest_of_fit():
    given, net = Counted(30), network()
    y = array.from_array(Y, chunks=30)
    history = net.fit(
        given.X,
        y,
        epochs=20,
        batch_size=8,
        optimizer=fp.Adam(0.01),
        validation_data=(given.X, y),
        patience=5,
        metrics={"error": lambda y, prediction: np.abs(y - prediction).max()},
    )
    assert history.val_loss[-1] < history.val_loss[0] / 2
    assert history.val_loss.min() == net.loss(X, Y)
    assert len(history.metrics["error"]) == history.epochs
    # what needs all samples takes them whole
    whole, other = network(), network()
    whole.fit(given.X, y, batch_size=None, epochs=2)
    other.fit(X, Y, batch_size=None, epochs=2)
    np.testing.assert_array_equal(whole.params, other.params)
    np.testing.assert_array_equal(net.loss_and_gradient(given.X, y)[1],
                                  net.loss_and_gradient(X, Y)[1])  # fmt: skip
    net.fit(X, y, epochs=1)


def test_small_collections_are_taken_whole(monkeypatch):
    monkeypatch.setattr(in_parts, "PART_BYTES", 2**25)
    given, net, other = Counted(30), network(), network()
    net.fit(given.X, Y, epochs=3)
    other.fit(X, Y, epochs=3)
    np.testing.assert_array_equal(net.params, other.params)
    assert sorted(given.computed) == [0, 1, 2, 3]


def test_frames_and_series():
    pandas = pytest.importorskip("pandas")
    frames = pytest.importorskip("dask.dataframe")
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    frame["y"] = Y
    lazy = frames.from_pandas(frame, npartitions=4)
    net, other = network(), network()
    options = {"epochs": 2, "batch_size": 8, "shuffle": False}
    net.fit(lazy[["a", "b", "c"]], lazy["y"], **options)
    other.fit(X, Y, **options)
    np.testing.assert_array_equal(net.params, other.params)
    np.testing.assert_array_equal(net.predict(lazy[["a", "b", "c"]]), net.predict(X))
    other.fit(lazy[["a", "b", "c"]].values, lazy["y"].values, **options)  # unknown lengths
    net.fit(X, Y, **options)
    np.testing.assert_array_equal(net.params, other.params)
    with pytest.raises(TypeError, match="column 'c'"):
        net.fit(lazy.assign(c="text")[["a", "b", "c"]], lazy["y"])
    with pytest.raises(ValueError, match=r"X has blocks of .* rows, but y of 103"):
        net.fit(lazy[["a", "b", "c"]], frames.from_pandas(frame["y"], npartitions=1))


def test_classes_with_weights():
    labels = (Y > 0).astype(int)
    y, given = array.from_array(labels, chunks=30), Counted(30)
    nets = [
        fp.Network(
            3,
            [fp.Dense(5, "tanh"), fp.Dense(2, "softmax")],
            fp.losses.CrossEntropy(class_weight=(1.0, 3.0)),
            dtype="float64",
            rng=0,
        )
        for _ in range(2)
    ]
    options = {"epochs": 2, "batch_size": 8, "shuffle": False}
    nets[0].fit(given.X, y, **options)
    nets[1].fit(X, labels, **options)
    np.testing.assert_array_equal(nets[0].params, nets[1].params)


def test_an_ensemble_takes_them_whole():
    ens = fp.Ensemble(3, [fp.Dense(2, "tanh"), fp.Dense(1)], dtype="float64", members=2, rng=0)
    other = ens.copy()
    options = {"epochs": 2, "callbacks": lambda epoch: None}  # one after the other
    ens.fit(Counted(30).X, array.from_array(Y), **options)
    other.fit(X, Y, **options)
    np.testing.assert_array_equal(ens.params, other.params)
    np.testing.assert_array_equal(ens.predict(Counted(30).X), ens.predict(X))


def test_refusals():
    net = network()
    before = net.params.copy()
    with pytest.raises(ValueError, match="X has 2 columns"):
        net.fit(Counted(30).X[:, :2], Y)
    with pytest.raises(ValueError, match="103 rows, but y has shape"):
        net.fit(Counted(30).X, array.from_array(Y[:99]))
    with pytest.raises(ValueError, match=r"X\.compute\(\)"):
        samples_of(net, Counted(30).X, Y).parts(None)
    np.testing.assert_array_equal(net.params, before)
    bad = X.copy()
    bad[57, 1] = np.nan
    with pytest.raises(ValueError, match=r"X\[57, 1\] is nan"):
        net.fit(array.from_array(bad, chunks=(30, 3)), Y)
