"""`learning_rate_range`: its losses, its end, its suggestion, and that nothing changes."""

import warnings
from functools import partial

import numpy as np
import pytest

import flatprop as fp
from flatprop.training import range_test
from flatprop.training.trainer import Trainer
from networks import curves, make_small
from networks import network as any_network
from reference import Twin, updating

X, Y, W = curves(120)
C = np.random.default_rng(0).integers(0, 3, 120)

classifier = partial(any_network, (3, 8, 3), ["tanh", "softmax"], "cross_entropy")


def state(net):
    return net.params.tobytes(), repr(net.rng.bit_generator.state)


def test_every_rate_is_one_update():
    """The full batch, against the library in NumPy."""
    net = make_small(dtype="float64")
    found = fp.learning_rate_range(
        net, X, Y, optimizer="sgd", low=1e-4, high=0.1, steps=31, batch_size=None, sample_weight=W
    )
    np.testing.assert_allclose(found.rates, 1e-4 * 1000 ** (np.arange(31) / 30), rtol=1e-12)
    twin = Twin(net)
    expected = twin.fit(X, Y, updating("sgd"), found.rates, batch_size=None, w=W)
    np.testing.assert_allclose(found.losses, expected, rtol=1e-10)
    steps = np.arange(31)
    for step in steps:
        weight = np.exp(-0.5 * ((steps - step) / (31 / 20)) ** 2)
        assert found.smoothed[step] == pytest.approx(np.average(found.losses, weights=weight))
    assert found.stopped_by == "completed"


def test_the_optimizer_goes_on_from_update_to_update():
    """Momentum, its own rate unused, frozen parameters and clipping: as a Trainer has them."""
    net, other = make_small(), make_small()
    mask = np.arange(net.params.size) > 9
    optimizer = fp.SGD(77.0, momentum=0.9)
    factors = np.linspace(0.5, 2, mask.size)
    options = {"trainable": mask, "clip_norm": 0.5, "learning_rate_factors": factors}
    found = fp.learning_rate_range(
        net, X, Y, optimizer=optimizer, low=1e-3, high=0.1, steps=20, batch_size=120, **options
    )
    trainer = Trainer(other, optimizer, **options)
    for rate, loss in zip(found.rates, found.losses, strict=True):
        trainer.learning_rate = rate
        assert trainer.partial_fit(X, Y) == loss


def test_mini_batches_are_drawn_anew_each_time_through():
    """Of each sample alone the loss is known while the rate is next to nothing."""
    net = make_small(dtype="float64")
    options = {"optimizer": "sgd", "low": 1e-300, "high": 1e-299, "batch_size": 50, "steps": 8}
    found = fp.learning_rate_range(net, X, Y, **options)
    rng, expected = net.copy().rng, []
    for _ in range(4):
        order = rng.permutation(120)  # 50, 50, and 20 that are left out
        expected += [net.loss(X[rows], Y[rows]) for rows in (order[:50], order[50:100])]
    np.testing.assert_allclose(found.losses, expected, rtol=1e-12)
    again = fp.learning_rate_range(net, X, Y, **options)
    np.testing.assert_array_equal(again.losses, found.losses)
    other = fp.learning_rate_range(net, X, Y, rng=3, **options)
    assert (other.losses != found.losses).all()


def test_weights_of_classes():
    net = classifier()
    factors = np.array([0.5, 1.0, 3.0])
    options = {"steps": 10, "batch_size": None}
    found = fp.learning_rate_range(net, X, C, class_weight=factors, **options)
    expected = fp.learning_rate_range(net, X, C, sample_weight=factors[C], **options)
    np.testing.assert_array_equal(found.losses, expected.losses)


def test_batches_without_weight_are_left_out():
    weight = np.r_[np.ones(3), np.zeros(117)]
    found = fp.learning_rate_range(make_small(), X, Y, sample_weight=weight, batch_size=4)
    assert found.losses.size > 20
    assert (found.losses > 0).all()


def test_files(mapped, small_parts):
    found = fp.learning_rate_range(make_small(), mapped(X), mapped(Y), batch_size=8)
    assert found.losses.size > 50


@pytest.mark.parametrize("optimizer", ["sgd", fp.SGD(1, momentum=0.9), "adam", "adagrad"], ids=str)
@pytest.mark.parametrize("batch_size", [16, None])
def test_the_suggestion_is_a_rate_that_trains(optimizer, batch_size):
    """Better than a hundredth of it, and than the rate at which the test ended."""
    net = make_small(dtype="float64")
    chosen = {"sgd": fp.SGD(1), "adam": fp.Adam(), "adagrad": fp.Adagrad()}
    chosen = chosen.get(optimizer, optimizer) if isinstance(optimizer, str) else optimizer
    options = {"optimizer": optimizer, "batch_size": batch_size}
    found = fp.learning_rate_range(net, X, Y, high=100, steps=150, **options)
    assert found.stopped_by == "diverged"
    assert found.rates[-1] < 100
    losses = []
    for factor in (1, 0.01, found.rates[-1] / found.suggestion):
        settings = {**vars(chosen), "learning_rate": factor * found.suggestion}
        copy = net.copy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fp.DivergenceWarning)
            copy.fit(X, Y, optimizer=type(chosen)(**settings), epochs=20, batch_size=batch_size)
        losses.append(copy.loss(X, Y))
    assert losses[0] == min(losses)


SHAPES = {
    "a valley": (lambda t: 2 - np.exp(-(((t - 60) / 12) ** 2)), 60 - 12 / np.sqrt(2)),
    "a step": (lambda t: 1 / (1 + np.exp((t - 40) / 4)), 40),
    "a later, deeper fall": (lambda t: 9 - (t > 30) - 5 * (t > 70), 70),
    "below 0": (lambda t: -1 / (1 + np.exp((40 - t) / 4)), 40),
    "a fall after the minimum": (
        lambda t: 3 - 2.0 * (abs(t - 30) < 9) + 9 * (t > 60) * (t < 80),
        21,
    ),
    "flat": (lambda t: np.ones(100), None),
    "rising": (lambda t: 1 + t, None),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_where_the_suggestion_lies(shape, noise):
    losses, expected = SHAPES[shape]
    losses = losses(np.arange(100.0)) + noise * np.random.default_rng(0).normal(size=100)
    rates = np.geomspace(1e-6, 10, 100)
    found = range_test.suggested(rates, losses, range_test._smoothed(losses, 5.0))
    if expected is None:
        assert found is None
    else:
        place = np.log(found / 1e-6) / np.log(rates[1] / rates[0])
        assert place == pytest.approx(expected, abs=3)


def test_when_it_ends(monkeypatch):
    """The running mean against 4 times its lowest value; a loss below 0 is no end."""
    rates = np.geomspace(1e-6, 1, 50)

    def stops(losses):
        given = iter(losses)
        trainer = Trainer(make_small())
        monkeypatch.setattr(trainer, "go_through", lambda batch: next(given), raising=False)
        found, why = range_test._sweep(trainer, iter(range(50)), rates)
        assert found.tolist() == list(losses)[: found.size]
        return found.size, why

    assert stops([1.0] * 20 + [100.0] * 30) == (21, "diverged")
    # 1, then 1 + 19 (1 - 0.9^k) in the running mean, which is nearly settled
    late = 1 + int(np.ceil(np.log(1 - 3 / 19) / np.log(0.9)))
    assert stops([1.0] * 40 + [20.0] * 10)[0] - 40 in (late - 1, late, late + 1)
    assert stops([1.0] * 20 + [3.9] * 30) == (50, "completed")
    assert stops(np.linspace(1, -5, 50)) == (50, "completed")
    assert stops([1.0] * 5 + [np.nan] * 45) == (5, "diverged")
    assert stops([np.inf] * 50) == (0, "diverged")


def test_nothing_changes():
    net = make_small()
    before = state(net)
    fp.learning_rate_range(net, X, Y)
    assert state(net) == before
    net.params.flags.writeable = False
    assert fp.learning_rate_range(net, X, Y).losses.size
    assert state(net) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_nothing_changes_when_it_breaks_off(error, monkeypatch):
    net, calls = make_small(), []
    before = state(net)
    go_through = Trainer.go_through

    def broken(self, batch):
        calls.append(1)
        if len(calls) == 8:
            raise error
        return go_through(self, batch)

    monkeypatch.setattr(Trainer, "go_through", broken)
    if error is KeyboardInterrupt:
        found = fp.learning_rate_range(net, X, Y)
        assert (found.losses.size, found.stopped_by) == (7, "interrupted")
    else:
        with pytest.raises(error):
            fp.learning_rate_range(net, X, Y)
    assert state(net) == before


def test_how_it_shows_itself():
    found = fp.learning_rate_range(make_small(), X, Y, rng=0)
    assert f"suggestion {found.suggestion:.2g}, {found.rates.size} rates from 1e-06" in repr(found)
    empty = fp.LearningRateRange(*[np.empty(0)] * 3, None, "diverged")
    assert repr(empty) == "LearningRateRange(no suggestion, diverged)"


REFUSED = {
    "a solver": ({"optimizer": "lbfgs"}, "LBFGS follows no learning rate from update to update"),
    "Rprop": ({"optimizer": fp.Rprop()}, "Rprop follows no learning rate"),
    "low of 0": ({"low": 0}, "low must be above 0 and below high, got low=0, high=10"),
    "low above high": ({"low": 1, "high": 0.1}, "low must be above 0 and below high"),
    "no high": ({"high": None}, "high must be a number"),
    "high of infinity": ({"high": np.inf}, "high must be finite"),
    "one step": ({"steps": 1}, "steps must be at least 2, got 1"),
    "half a step": ({"steps": 2.5}, "steps must be a whole number"),
    "no batch": ({"batch_size": 0}, "batch_size must be at least 1"),
    "other rows": ({"sample_weight": [1]}, r"sample_weight must have shape \(120,\)"),
    "no classes": ({"class_weight": "balanced"}, "this network has mse"),
    "a bad seed": ({"rng": -1}, "rng must be None, a seed"),
    "a bad mask": ({"trainable": [True]}, "trainable must have shape"),
    "their name": ({"start_lr": 1e-7}, r"Here it is: low=1e-07"),
    "a misspelt option": ({"hihg": 1}, "Did you mean 'high'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    options, message = REFUSED[case]
    net = make_small()
    before = state(net)
    with pytest.raises((TypeError, ValueError), match=message):
        fp.learning_rate_range(net, X, Y, **options)
    assert state(net) == before


def test_what_is_no_network_is_refused():
    with pytest.raises(TypeError, match=r"fp.learning_rate_range takes an fp.Network, got list"):
        fp.learning_rate_range([], X, Y)
