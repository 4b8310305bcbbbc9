"""Samples that an iterable brings in batches."""

import itertools
from functools import partial

import numpy as np
import pytest

import flatprop as fp
from networks import bits, curves, every_kind, in_batches, network

ROWS = 203


make = partial(network, (3, 8, 2), dtype="float32")


class Loader:
    """As a data loader: gone through as often as one likes, and no list."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


@pytest.mark.parametrize("weighted", [False, True])
@every_kind
def test_batches_are_bit_for_bit_the_arrays(optimizer, weighted):
    data = curves(ROWS) if weighted else curves(ROWS)[:2]
    given = in_batches(data)
    assert len(given[-1][0]) != 32
    net = make()
    weight = data[2] if weighted else None
    options = {"optimizer": optimizer, "epochs": 3}
    expected = net.fit(*data[:2], sample_weight=weight, shuffle=False, **options)
    for batches in (given, Loader(given), lambda: iter(given), lambda: (list(b) for b in given)):
        other = make()
        assert bits(other, other.fit(batches, **options)) == bits(net, expected)
    once = make()
    history = once.fit(iter(given), optimizer=optimizer, epochs=1)
    assert history.loss == expected.loss[:1]


def test_a_data_loader_of_pytorch():
    torch = pytest.importorskip("torch", reason="data loaders need torch")
    X, y, _ = curves(ROWS)
    tensors = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(y))
    net, other = make(), make()
    expected = net.fit(X, y, shuffle=False, epochs=2)
    history = other.fit(torch.utils.data.DataLoader(tensors, batch_size=32), epochs=2)
    assert bits(other, history) == bits(net, expected)


def test_batches_of_changing_size():
    X, y, weight = curves(ROWS)
    cuts = [0, 1, 40, 41, 100, 203]
    given = [(X[a:b], y[a:b], weight[a:b]) for a, b in itertools.pairwise(cuts)]
    net, trainer = make(), fp.Trainer(make())
    history = net.fit(given, epochs=1)
    losses = [trainer.partial_fit(*batch) for batch in given]
    assert np.array_equal(net.params, trainer.network.params)
    shares = [w.sum() for _, _, w in given]
    assert history.loss == pytest.approx([np.average(losses, weights=shares)], rel=1e-6)


PAIR = curves(ROWS)[:2]
BATCHES = {
    "no y": (lambda: PAIR[0], {}, r"y is missing, and X is a ndarray; pass fit\(X, y\)"),
    "lists of numbers": (lambda: PAIR[0].tolist(), {}, "y is missing, and X is a list"),
    "text": (lambda: "batches", {}, "y is missing, and X is a str"),
    "a dict": (lambda: {"X": 1}, {}, "y is missing, and X is a dict"),
    "a number": (lambda: 3, {}, "y is missing, and X is a int"),
    "nothing": (lambda: None, {}, "y is missing, and X is a NoneType"),
    "an empty list": (list, {}, "there was no batch to train on"),
    "an empty generator": (lambda: iter(()), {"epochs": 1}, "there was no batch to train on"),
    "an iterator for two epochs": (
        lambda: iter(in_batches(PAIR)),
        {"epochs": 2},
        "can be gone through only once, but epochs is 2; pass epochs=1, a list",
    ),
    "a function of a number": (lambda: lambda: 3, {}, "must return an iterable.*returned a int"),
    "a batch size": (
        lambda: in_batches(PAIR),
        {"batch_size": 8},
        "batch_size has no mea",
    ),
    "weights": (lambda: in_batches(PAIR), {"sample_weight": [1]}, r"\(X, y, sample_w"),
    "a solver": (
        lambda: in_batches(PAIR),
        {"optimizer": "lbfgs"},
        "LBFGS needs all sam",
    ),
    "the arrays themselves": (
        lambda: PAIR,
        {},
        "batch 0, counted from 0, must be.*nda",
    ),
    "X alone": (lambda: [(PAIR[0],)], {}, "but it is a tuple of 1"),
    "rows that do not fit": (
        lambda: [(PAIR[0], PAIR[1][:3])],
        {},
        "batch 0, counted from 0: X has 203 rows, but y has",
    ),
}


@pytest.mark.parametrize("case", BATCHES)
def test_message(case):
    bring, options, message = BATCHES[case]
    net = make()
    before = net.params.copy()
    with pytest.raises((TypeError, ValueError), match=message):
        net.fit(bring(), **options)
    assert np.array_equal(net.params, before)


def test_an_iterable_that_is_used_up_in_the_second_epoch():
    once = iter(in_batches(curves(ROWS)[:2]))
    net = make()
    with pytest.raises(ValueError, match=r"if an earlier epoch had batches, .* only once"):
        net.fit(Loader(once), epochs=2)
    known = make()
    known.fit(in_batches(curves(ROWS)[:2]), epochs=1)
    assert np.array_equal(net.params, known.params)


def test_a_bad_batch_in_the_middle_keeps_what_was_learnt():
    given = in_batches(curves(ROWS)[:2])
    known = make()
    known.fit(given[:3], epochs=1)
    bad = given[3][0].copy()
    bad[4, 2] = np.nan
    net = make()
    with pytest.raises(ValueError, match=r"batch 3, counted from 0: X\[4, 2\] is nan"):
        net.fit([*given[:3], (bad, given[3][1]), *given[4:]])
    assert np.array_equal(net.params, known.params)


def test_an_interruption_between_batches_keeps_what_was_learnt():
    given = in_batches(curves(ROWS)[:2])

    def interrupted():
        yield from given[:5]
        raise KeyboardInterrupt

    known, net = make(), make()
    known.fit(given[:5], epochs=1)
    history = net.fit(interrupted, epochs=7)
    assert history.stopped_by == "interrupted"
    assert history.epochs == 0
    assert np.array_equal(net.params, known.params)


def test_a_resumed_training_on_batches(tmp_path):
    given, path = in_batches(curves(ROWS)[:2]), tmp_path / "run.ckpt"
    whole, resumed = make(), make()
    expected = whole.fit(given, epochs=5)
    make().fit(given, epochs=3, callbacks=fp.Checkpoint(path))
    assert bits(resumed, resumed.fit(given, epochs=5, resume=path)) == bits(whole, expected)


def test_batches_without_any_weight_change_nothing():
    X, y, _ = curves(16)
    net = make()
    before = net.params.copy()
    nothing = (X, y, np.zeros(16))
    with pytest.raises(ValueError, match="every sample_weight of every batch is zero"):
        net.fit([nothing, nothing], epochs=1)
    assert np.array_equal(net.params, before)
    with pytest.raises(ValueError, match="batch 1, counted from 0: X"):
        net.fit([(X, y), (X[:, :2], y, np.zeros(16))], epochs=1)
    # What a batch without weight leaves is what the others leave.
    one, other = make(), make()
    one.fit([(X, y), nothing, (X, y)], epochs=2)
    other.fit([(X, y), (X, y)], epochs=2)
    assert np.array_equal(one.params, other.params)
