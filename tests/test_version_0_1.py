"""What version 0.1 wrote, files and pickles, is what it was.

They were made before `history.loss` counted a batch with its share; batches here are equal.
"""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

import flatprop as fp

FOLDER = Path(__file__).parent / "data" / "version_0_1"


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "expected.npz") as arrays:
        return dict(arrays)


def close(values, wanted):
    # products are added up in another order on another processor
    np.testing.assert_allclose(values, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["network", "checkpoint"])
def test_networks(expected, name):
    net = fp.load(FOLDER / f"{name}.safetensors")
    assert repr(net).startswith("Network(3 -> 5 mish -> 2 identity; huber, float64")
    close(net.predict(expected["X"]), expected[name])


def test_a_training_goes_on(expected):
    X, Y = expected["X"], expected["Y"]
    layers = [fp.Dense(5, "mish"), fp.Dense(2)]
    net = fp.Network(3, layers, loss=fp.losses.Huber(0.7), dtype="float64", rng=4)
    path = FOLDER / "resumed.safetensors"
    history = net.fit(X, Y, epochs=8, batch_size=20, validation_data=(X, Y), resume=path)
    assert history.epochs == 8
    close(net.predict(X), expected["resumed"])


def unpickled(name):
    with open(FOLDER / f"{name}.pickle", "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, of a version that is not its own
        return pickle.load(file)


def test_pickled_objects(expected):
    X, Y = expected["X"], expected["Y"]
    objects = unpickled("objects")
    net, trainer = objects["network"], objects["trainer"]
    close(net.predict(X), expected["pickled"])
    assert trainer.network is net
    assert trainer.updates == 6
    trainer.partial_fit(X, Y, batch_size=10)
    close(net.predict(X), expected["trainer"])


def test_pickled_estimators(expected):
    pytest.importorskip("sklearn")
    X = expected["X"]
    models = unpickled("estimators")
    close(models["regressor"].predict(X)[:, None], expected["regressor"])
    classifier = models["classifier"]
    close(classifier.predict_proba(X), expected["classifier"])
    classifier.partial_fit(X, np.where(X[:, 0] > 0, "up", "down"))
    close(classifier.predict_proba(X), expected["classifier_on"])


@pytest.mark.parametrize(
    "place",
    [
        "alerts.DivergenceWarning",
        "alerts.ResolutionWarning",
        "callbacks.Checkpoint",
        "callbacks.Epoch",
        "description.Dense",
        "explain.LayerTrace",
        "explain.Trace",
        "formulas.losses.Huber",
        "formulas.optimizers.Adam",
        "formulas.optimizers.OptimizerState",
        "formulas.schedules.Cosine",
        "history.History",
        "kernels.epochs.Progress",
        "kernels.epochs.Rule",
        "network.Network",
        "solvers.lbfgs.LBFGS",
        "solvers.levenberg_marquardt.LevenbergMarquardt",
        "specialized.Specialized",
        "training.trainer.Trainer",
        "training.updates.Updates",
    ],
)
def test_classes_are_found_where_pickles_look(place):
    module, _, name = f"flatprop.{place}".rpartition(".")
    found = pickle.loads(f"c{module}\n{name}\n.".encode())
    assert isinstance(found, type)
    assert found is getattr(fp, name, found)


def test_a_pickled_summary():
    summary = fp.Network(2, [fp.Dense(1)], rng=0).summary()
    place = type(summary).__module__.encode()
    old = pickle.dumps(summary, 0).replace(place, b"flatprop.description")
    assert place not in old
    restored = pickle.loads(old)
    assert restored == summary
    assert type(restored) is type(summary)
