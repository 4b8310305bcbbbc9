"""`fit_many`: any architectures, over threads."""

import threading

import numpy as np
import pytest

import flatprop as fp
from flatprop.kernels.network import training_loop

RNG = np.random.default_rng(3)
X = RNG.uniform(-1, 1, (20, 2))
Y = np.sin(X.sum(axis=1, keepdims=True))


def networks(count=4, inputs=2):
    return [
        fp.Network(inputs, [fp.Dense(2 + i, "tanh"), fp.Dense(1)], dtype="float64", rng=i)
        for i in range(count)
    ]


def copies(nets):
    return [net.copy() for net in nets]


def test_every_network_is_trained_as_by_its_own_fit():
    nets = networks()
    alone = copies(nets)
    histories = fp.fit_many(nets, X, Y, epochs=4, batch_size=6, threads=3)
    for net, own, history in zip(nets, alone, histories, strict=True):
        expected = own.fit(X, Y, epochs=4, batch_size=6)
        np.testing.assert_array_equal(net.params, own.params)
        np.testing.assert_array_equal(history.loss, expected.loss)


def test_nothing_is_compiled_for_an_architecture():
    fp.fit_many(networks(), X, Y, epochs=1)
    before = len(training_loop.train.signatures)
    fp.fit_many(networks(12), X, Y, epochs=1)
    assert len(training_loop.train.signatures) == before


def test_data_and_options_of_each():
    nets = networks(3)
    alone = copies(nets)
    data = [(RNG.random((n, 2)), RNG.random((n, 1))) for n in (5, 9, 14)]
    xs, ys = zip(*data, strict=True)
    optimizers = [fp.SGD(0.1), "adam", "rprop"]
    seeds, weights = [4, 5, 6], [RNG.random(len(x)) + 0.1 for x in xs]
    options = {"epochs": [2, 3, 4], "patience": [None, 1, 2]}
    histories = fp.fit_many(
        nets, list(xs), ys, optimizer=optimizers, rng=seeds, sample_weight=weights, **options
    )
    for i, net in enumerate(alone):
        own = {name: values[i] for name, values in options.items()}
        expected = net.fit(
            xs[i],
            ys[i],
            optimizer=optimizers[i],
            rng=seeds[i],
            sample_weight=weights[i],
            **own,
        )
        np.testing.assert_array_equal(net.params, nets[i].params)
        np.testing.assert_array_equal(histories[i].loss, expected.loss)


def test_lists_of_rows_are_one_array():
    nets = networks(2)
    alone = copies(nets)
    fp.fit_many(nets, X.tolist(), Y.tolist(), epochs=2, batch_size=5, rng=1)
    for net, own in zip(nets, alone, strict=True):
        own.fit(X, Y, epochs=2, batch_size=5, rng=1)
        np.testing.assert_array_equal(net.params, own.params)


def test_a_generator_gives_each_network_a_seed():
    results = []
    for threads in (1, 2):
        nets = networks(3)
        rng = np.random.default_rng(0)
        fp.fit_many(nets, X, Y, epochs=2, batch_size=5, rng=rng, threads=threads)
        results.append([net.params.tobytes() for net in nets])
    assert results[0] == results[1]


def test_one_failure_does_not_lose_the_others():
    nets = networks(3)
    alone = copies(nets)
    histories = fp.fit_many(nets, [X, X[:, :1], X], Y, epochs=2)
    assert isinstance(histories[1], ValueError)
    assert "network 1 of 3: Network(2 -> 3 tanh" in histories[1].__notes__[0]
    for i in (0, 2):
        alone[i].fit(X, Y, epochs=2)
        np.testing.assert_array_equal(nets[i].params, alone[i].params)
        assert histories[i].epochs == 2


def test_if_all_fail_it_raises():
    with pytest.raises(ExceptionGroup, match="no network was trained") as caught:
        fp.fit_many(networks(3), X[:, :1], Y)
    assert len(caught.value.exceptions) == 3
    with pytest.raises(ValueError, match="X has 1 columns"):
        fp.fit_many(networks(1), X[:, :1], Y)


def test_divergences_are_told_once():
    nets = networks(3)
    with pytest.warns(fp.DivergenceWarning, match="network 1: training diverged") as caught:
        histories = fp.fit_many(
            nets, X, Y, epochs=30, optimizer=[fp.SGD(0.1), fp.SGD(1e200), fp.SGD(0.1)]
        )
    assert len(caught) == 1
    assert [history.stopped_by for history in histories] == ["epochs", "diverged", "epochs"]


def test_ctrl_c_stops_all():
    nets = networks(4)

    def interrupt(epoch):
        if epoch.network is nets[1]:
            raise KeyboardInterrupt

    histories = fp.fit_many(nets, X, Y, epochs=3, callbacks=interrupt, threads=1)
    reasons = [history.stopped_by for history in histories]
    assert reasons == ["epochs", "interrupted", "interrupted", "interrupted"]
    assert [history.epochs for history in histories] == [3, 1, 0, 0]


def test_ctrl_c_in_one_thread_reaches_trainings_in_others():
    nets, started = networks(2), threading.Event()

    def interrupt(epoch):
        if threading.current_thread() is not threading.main_thread():
            started.set()
        elif started.is_set():
            raise KeyboardInterrupt

    histories = fp.fit_many(nets, X, Y, epochs=10**7, callbacks=interrupt, threads=2)
    assert [history.stopped_by for history in histories] == ["interrupted"] * 2


def test_callbacks_are_called_one_at_a_time():
    at_work = threading.Semaphore(1)

    def alone(epoch):
        assert at_work.acquire(blocking=False)
        at_work.release()

    histories = fp.fit_many(networks(6), X, Y, epochs=20, callbacks=alone, threads=3)
    assert [history.epochs for history in histories] == [20] * 6


def test_refusals():
    nets = networks(2)
    with pytest.raises(TypeError, match=r"fp.fit_many takes an fp.Network, got str"):
        fp.fit_many(["net"], X, Y)
    with pytest.raises(TypeError, match="must be a list of networks"):
        fp.fit_many(3, X, Y)
    with pytest.raises(ValueError, match="twice"):
        fp.fit_many([nets[0], nets[0]], X, Y)
    with pytest.raises(ValueError, match="X is a list of 3, but there are 2 networks"):
        fp.fit_many(nets, [X, X, X], Y)
    with pytest.raises(TypeError, match="Did you mean 'epochs'"):
        fp.fit_many(nets, X, Y, epoch_=3)
    with pytest.raises(ValueError, match=r"fp\.Checkpoint writes"):
        fp.fit_many(nets, X, Y, callbacks=[fp.Checkpoint("file")])
    assert fp.fit_many([], X, Y) == []
