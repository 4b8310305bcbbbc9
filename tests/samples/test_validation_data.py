"""`validation_split`: what is held back, and that it is as if it had been given."""

from functools import partial

import numpy as np
import pytest

import flatprop as fp
from flatprop.samples.validation_data import drawn_rows
from networks import bits, curves, in_batches, make_small
from networks import network as any_network

X, Y, W = curves(97)
C = np.repeat([0, 1, 2], [60, 30, 7])

classifier = partial(any_network, (3, 8, 3), ["tanh", "softmax"], "cross_entropy")


def halves(history, *arrays):
    """The training and the held-back part of each array."""
    held = np.zeros(len(arrays[0]), bool)
    held[history.validation_rows] = True
    return [array[~held] for array in arrays], tuple(array[held] for array in arrays)


OPTIONS = {
    "plain": {},
    "in order": {"shuffle": False},
    "the full batch": {"batch_size": None},
    "a solver": {"optimizer": "lbfgs"},
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", OPTIONS)
def test_a_split_is_validation_data_that_are_given(case, weighted):
    options = {"epochs": 4, "patience": 2, "rng": 5} | OPTIONS[case]
    arrays = (X, Y, W) if weighted else (X, Y)
    net = make_small(dtype="float64")
    history = net.fit(X, Y, sample_weight=W if weighted else None, validation_split=0.2, **options)
    assert history.validation_rows.size == round(0.2 * 97)
    assert (np.diff(history.validation_rows) > 0).all()
    training, held = halves(history, *arrays)
    other = make_small(dtype="float64")
    names = ("X", "y", "sample_weight")
    expected = other.fit(
        **dict(zip(names, training, strict=False)), validation_data=held, **options
    )
    assert bits(net, history) == bits(other, expected)
    assert not expected.validation_rows.size


def test_the_split_follows_from_the_seed():
    def rows(net, **options):
        return net.fit(X, Y, epochs=1, validation_split=0.3, **options).validation_rows.tolist()

    assert rows(make_small(), rng=1) == rows(make_small(seed=9), rng=1)
    assert rows(make_small(), rng=1) != rows(make_small(), rng=2)
    net = make_small()
    assert rows(net) == rows(make_small())
    assert rows(net) != rows(make_small())  # the generator has moved on


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_generator_makes_one_step(optimizer):
    net, other = make_small(), make_small()
    net.fit(X, Y, epochs=1, optimizer=optimizer, validation_split=0.3)
    other.rng.integers(0, 2**64, dtype=np.uint64)
    assert net.rng.bit_generator.state == other.rng.bit_generator.state


@pytest.mark.parametrize("y", [C, np.eye(3)[C]], ids=["indices", "rows"])
def test_every_class_has_its_share(y):
    counts = np.zeros(3)
    for seed in range(20):
        history = classifier().fit(X, y, epochs=1, validation_split=0.1, rng=seed)
        assert history.validation_rows.size == 10
        held = np.bincount(C[history.validation_rows], minlength=3)
        assert (abs(held - [6, 3, 0.7]) < 1).all()
        counts += held
    assert counts[:2].tolist() == [120, 60]


def test_binary_targets_are_classes():
    y = (C == 2).astype(float)
    net = any_network((3, 1), ["sigmoid"], "binary_cross_entropy")
    for seed in range(10):
        history = net.fit(X, y, epochs=1, validation_split=3 / 7, rng=seed)
        assert y[history.validation_rows].sum() == 3


@pytest.mark.parametrize("labels", [None, C, np.zeros(97, int)], ids=["none", "three", "one"])
def test_every_sample_may_be_held_back(labels):
    """Each equally often: by the binomial distribution, within 5 standard deviations."""
    times, times_drawn = 400, np.zeros(97)
    for seed in range(times):
        rows = drawn_rows(19, 97, labels, np.random.default_rng(seed))
        assert len({*rows.tolist()}) == 19
        times_drawn[rows] += 1
    chance = np.full(97, 19 / 97)
    if labels is C:  # 19 is shared out as 12, 6 and 1
        chance = np.array([12 / 60, 6 / 30, 1 / 7])[C]
    spread = np.sqrt(times * chance * (1 - chance))
    assert (abs(times_drawn - times * chance) < 5 * spread).all()


def test_a_resumed_training_has_the_same_split(tmp_path):
    path = tmp_path / "a.ckpt"
    options = {"validation_split": 0.25, "patience": 20}
    whole = make_small()
    expected = whole.fit(X, Y, epochs=9, **options)
    make_small().fit(X, Y, epochs=4, callbacks=fp.Checkpoint(path), **options)
    net = make_small(seed=3)  # whose generator would hold back other samples
    history = net.fit(X, Y, epochs=9, resume=path, **options)
    assert bits(net, history) == bits(whole, expected)
    assert history.validation_rows.tolist() == expected.validation_rows.tolist()
    for other in ({"validation_split": 0.3}, {"validation_data": (X, Y)}):
        with pytest.raises(ValueError, match=r"validation_split = 0\.25, but fit was called with"):
            make_small().fit(X, Y, epochs=9, resume=path, **other)


def test_data_of_any_kind():
    pandas, sparse = pytest.importorskip("pandas"), pytest.importorskip("scipy.sparse")
    expected = make_small()
    first = expected.fit(X, Y, epochs=2, validation_split=0.2, sample_weight=W)
    for kind in (pandas.DataFrame, sparse.csr_array, np.asfortranarray, lambda x: x.tolist()):
        net = make_small()
        history = net.fit(kind(X), Y, epochs=2, validation_split=0.2, sample_weight=W)
        assert bits(net, history) == bits(expected, first)


ONE = np.r_[1.0, np.zeros(96)]

REFUSED = {
    "0": ({"validation_split": 0}, "must lie between 0 and 1, got 0$"),
    "1": ({"validation_split": 1.0}, "must lie between 0 and 1, got 1.0"),
    "minus": ({"validation_split": -0.1}, "must be finite and not negative, got -0.1"),
    "NaN": ({"validation_split": np.nan}, "must be finite and not negative, got nan"),
    "text": ({"validation_split": "0.2"}, "validation_split must be a number, got '0.2'"),
    "True": ({"validation_split": True}, "must lie between 0 and 1, got True"),
    "none held back": ({"validation_split": 0.005}, "of 97 samples holds back 0"),
    "all held back": ({"validation_split": 0.999}, "of 97 samples holds back 97"),
    "two kinds": ({"validation_split": 0.2, "validation_data": (X, Y)}, "exclude each other"),
    "no weight": (
        {"validation_split": 0.2, "sample_weight": ONE},
        "zero among the (19 samples that validation_split holds|78 samples that are left)",
    ),
    "a bad seed": ({"validation_split": 0.2, "rng": -1}, "rng must be None, a seed"),
    "a later fault": ({"validation_split": 0.2, "patience": 0}, "patience must be at least 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    options, message = REFUSED[case]
    net = make_small()
    before = net.params.tobytes(), net.rng.bit_generator.state
    with pytest.raises((TypeError, ValueError), match=message):
        net.fit(X, Y, **options)
    assert (net.params.tobytes(), net.rng.bit_generator.state) == before


def test_samples_that_come_a_part_at_a_time_are_refused(mapped, small_parts):
    with pytest.raises(ValueError, match="X gives batches; give validation_data="):
        make_small().fit(in_batches((X, Y)), validation_split=0.2)
    with pytest.raises(ValueError, match=r"a part at a time; give X\[:n\], y\[:n\] and"):
        make_small().fit(mapped(X), Y, validation_split=0.2)
    # An update with all samples takes them into memory.
    history = make_small().fit(mapped(X), Y, validation_split=0.2, batch_size=None, epochs=2)
    assert history.val_loss.size == 2
