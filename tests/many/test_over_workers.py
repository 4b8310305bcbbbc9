"""`fit_many` and searches over the workers of joblib's backends: loky, Dask, Ray."""

import contextlib
import os
import threading
from unittest import mock

import numpy as np
import pytest

import flatprop as fp
from flatprop.many import over_workers
from flatprop.samples import in_parts

joblib = pytest.importorskip("joblib")

# On a machine that is busy, a worker of loky's may seem idle while work is on its way to it.
pytestmark = pytest.mark.filterwarnings("ignore:A worker stopped while some jobs were given")

RNG = np.random.default_rng(3)
X = RNG.uniform(-1, 1, (60, 2))
Y = np.sin(X.sum(axis=1, keepdims=True))


def networks(count=6):
    return [
        fp.Network(2, [fp.Dense(2 + i, "tanh"), fp.Dense(1)], dtype="float64", rng=i)
        for i in range(count)
    ]


def loky():
    return joblib.parallel_config(backend="loky", n_jobs=2)


@contextlib.contextmanager
def dask():
    distributed = pytest.importorskip("distributed")
    from dask import config

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        config.set({"distributed.comm.timeouts.connect": "300s"}),
        distributed.LocalCluster(silence_logs=50, **options) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        yield


PATIENT_RAY = {
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_gcs_server_port_wait_time_s": "300",
    "RAY_gcs_server_request_timeout_seconds": "300",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_memory_monitor_refresh_ms": "0",  # ends workers where others have the memory
}


@contextlib.contextmanager
def ray():
    with mock.patch.dict(os.environ, PATIENT_RAY):
        ray = pytest.importorskip("ray")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    from ray.util.joblib import register_ray

    register_ray()
    try:
        with joblib.parallel_config(backend="ray", n_jobs=2):
            yield
    finally:
        ray.shutdown()


BACKENDS = [
    loky,
    pytest.param(dask, marks=pytest.mark.slow),
    pytest.param(ray, marks=pytest.mark.slow),
]


def by_value(function):
    """A function that is sent as code, since workers cannot import this module."""
    function.__module__ = "__main__"
    return function


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_trainings_and_searches_have_the_same_results(backend):
    options = {
        "epochs": [3, 4, 5, 3, 4, 5],
        "optimizer": ["adam", fp.SGD(0.1), "rprop"] * 2,
        "batch_size": 8,
        "validation_data": (X[:9], Y[:9]),
        "sample_weight": np.linspace(0.5, 1, 60),
    }
    expected = networks()
    expected_histories = fp.fit_many(expected, X, Y, threads=1, **options)
    scores = search_scores() if has_sklearn() else None
    with backend():
        nets = networks()
        histories = fp.fit_many(nets, X, Y, **options)
        with_seed = networks(2)
        generators = [np.random.default_rng(i) for i in range(2)]
        fp.fit_many(with_seed, [X[:30], X[30:]], [Y[:30], Y[30:]], epochs=2, rng=generators)
        if scores is not None:
            np.testing.assert_array_equal(search_scores(), scores)
    for net, own, history, one in zip(nets, expected, histories, expected_histories, strict=True):
        np.testing.assert_array_equal(net.params, own.params)
        np.testing.assert_array_equal(history.loss, one.loss)
        np.testing.assert_array_equal(history.val_loss, one.val_loss)
        assert net.rng.bit_generator.state == own.rng.bit_generator.state
    for i, net in enumerate(networks(2)):
        rng, half = np.random.default_rng(i), slice(30 * i, 30 * i + 30)
        net.fit(X[half], Y[half], epochs=2, rng=rng)
        np.testing.assert_array_equal(with_seed[i].params, net.params)
        assert generators[i].bit_generator.state == rng.bit_generator.state


def has_sklearn():
    with contextlib.suppress(ImportError):
        import sklearn.model_selection  # noqa: F401

        return True
    return False


def search_scores():
    from sklearn.model_selection import GridSearchCV

    from flatprop.sklearn import MLPRegressor

    # `tol` ends each training: those that `max_iter` ends are warned of.
    model = MLPRegressor(
        activation="tanh", tol=1, n_iter_no_change=1, batch_size=8, random_state=0
    )
    grid = {"hidden_layer_sizes": [(3,), (4,)], "learning_rate_init": [1e-3, 1e-2]}
    search = GridSearchCV(model, grid, cv=2).fit(X, Y[:, 0])
    return search.cv_results_["mean_test_score"]


def test_when_workers_are_asked_for():
    asked = over_workers.are_asked_for
    assert not asked()
    for settings, expected in (
        ({"backend": "loky"}, False),  # one job, as joblib has it
        ({"backend": "loky", "n_jobs": 2}, True),
        ({"n_jobs": 2}, True),
        ({"prefer": "threads", "n_jobs": 2}, False),
        ({"backend": "threading", "n_jobs": 2}, False),
        ({"backend": "sequential"}, False),
    ):
        with joblib.parallel_config(**settings):
            assert asked() == expected, settings


def test_failures_and_warnings_come_back():
    @by_value
    def fail(epoch):
        class OwnError(Exception):
            def __init__(self, one, two):
                super().__init__(f"{one} {two}")

        if epoch.network.dense[0].units == 5:
            raise OwnError("no", "luck")

    nets = networks()
    nets[4].params.flags.writeable = False
    alone = [net.copy() for net in nets]
    optimizers = [fp.SGD(1e200 if i == 2 else 0.1) for i in range(6)]
    xs = [X, X[:, :1], X, X, X, X]
    with loky(), pytest.warns(fp.DivergenceWarning, match="network 2: training diverged"):
        results = fp.fit_many(
            nets, xs, Y, optimizer=optimizers, epochs=30, callbacks=fail, progress=True
        )
    assert isinstance(results[1], ValueError)
    assert "network 1 of 6: Network(2 -> 3 tanh" in results[1].__notes__[-1]
    assert results[2].stopped_by == "diverged"
    assert isinstance(results[3], RuntimeError), "an OwnError cannot be unpickled"
    assert str(results[3]) == "OwnError: no luck"
    assert "in a worker" in results[3].__notes__[0]
    assert isinstance(results[4], ValueError)
    assert "read-only" in str(results[4])
    for i in (0, 5):
        own = alone[i].fit(X, Y, optimizer=fp.SGD(0.1), epochs=30)
        np.testing.assert_array_equal(nets[i].params, alone[i].params)
        np.testing.assert_array_equal(results[i].loss, own.loss)
    with loky(), pytest.raises(ValueError, match="X has 1 columns"):
        fp.fit_many(networks(1), X[:, :1], Y)


@pytest.mark.slow
def test_a_worker_that_dies_takes_no_other_network_along():
    @by_value
    def die(epoch):
        if epoch.network.dense[0].units == 4:
            import os

            os._exit(1)

    nets, alone = networks(), networks()
    with loky():
        results = fp.fit_many(nets, X, Y, epochs=2, callbacks=die)
    assert "TerminatedWorkerError" in type(results[2]).__name__
    np.testing.assert_array_equal(nets[2].params, alone[2].params)
    for i in (0, 1, 3, 4, 5):
        alone[i].fit(X, Y, epochs=2)
        np.testing.assert_array_equal(nets[i].params, alone[i].params)


def test_an_interruption_in_a_worker_stops_all():
    @by_value
    def interrupt(epoch):
        if epoch.network.dense[0].units == 3:
            raise KeyboardInterrupt

    with loky():
        results = fp.fit_many(networks(2), X, Y, epochs=2, callbacks=interrupt)
    assert results[1].stopped_by == "interrupted"


def test_what_cannot_be_sent_is_said():
    lock = threading.Lock()
    with loky(), pytest.raises(Exception, match="pickle"):
        fp.fit_many(networks(2), X, Y, epochs=1, callbacks=lambda epoch: bool(lock))


def test_arrays_that_joblib_mapped_are_arrays_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(in_parts, "PART_BYTES", 64)
    for name, array in (("C", X), ("F", np.asfortranarray(X)), ("strided", X[::2])):
        joblib.dump(array, tmp_path / name)
        mapped = joblib.load(tmp_path / name, mmap_mode="r")
        assert in_parts.is_large(mapped, np.dtype("float64"))
        there = over_workers._unmapped(mapped)
        assert not in_parts.is_large(there, np.dtype("float64"))
        np.testing.assert_array_equal(there, array)
        if name != "strided":
            assert np.shares_memory(there, mapped)


def test_tasks_are_worth_sending():
    nets = networks(40)
    small = over_workers._Job(nets, [{"X": X, "epochs": 1}] * 40, None)
    large = over_workers._Job(nets, [{"X": X, "epochs": 10**7}] * 40, None)
    unknown = over_workers._Job(nets, [{"X": iter([]), "y": None}] * 40, None)
    with loky():
        assert [len(group) for group in small._grouped(range(40))] == [5] * 8
        for job in (large, unknown):
            assert [len(group) for group in job._grouped(range(40))] == [1] * 40
    arrays = over_workers._Arrays()
    assert arrays.put({"X": X, "v": (X, Y)}) == {"X": (0,), "v": ((0,), (1,))}
    assert arrays.found[0] is X
    assert arrays.found[1] is Y
