"""The two tutorials' examples, number by number."""

import math

import numpy as np
import pytest

import flatprop as fp


@pytest.fixture
def neuron() -> fp.Network:
    net = fp.Network(1, [fp.Dense(1, "sigmoid")], loss="half_mse", dtype="float64")
    net.params = [0.3, 0.2]
    return net


@pytest.fixture
def dosage() -> fp.Network:
    net = fp.Network(1, [fp.Dense(2, "softplus"), fp.Dense(1)], loss="ssr", dtype="float64")
    net.weights[0] = [[3.34, -3.53]]
    net.biases[0] = [-1.43, 0.57]
    net.weights[1] = [[-1.22], [-2.30]]
    net.biases[1] = [0.0]
    return net


DOSAGES, EFFECTIVENESS = [[0.0], [0.5], [1.0]], [0.0, 1.0, 0.0]


def test_neuron_step_by_step(neuron):
    t = neuron.trace([[0.5]], [1.0])
    layer = t.layers[0]
    a = 1 / (1 + math.exp(-0.35))
    expected = {
        "z": 0.35,
        "a": a,
        "dL_da": a - 1,
        "da_dz": a * (1 - a),
        "dL_dz": (a - 1) * a * (1 - a),
        "dL_dW": 0.5 * (a - 1) * a * (1 - a),
    }
    for name, value in expected.items():
        assert getattr(layer, name) == pytest.approx(np.array([[value]]), abs=1e-12), name
    assert layer.dL_db == pytest.approx([(a - 1) * a * (1 - a)], abs=1e-12)
    assert t.loss == pytest.approx(0.5 * (1 - a) ** 2, abs=1e-12)
    # the same to six digits, worked out by hand
    assert a == pytest.approx(0.586618, abs=1e-6)
    assert t.loss == pytest.approx(0.085442, abs=1e-6)
    assert layer.dL_dW[0, 0] == pytest.approx(-0.050122, abs=1e-6)
    assert layer.dL_db[0] == pytest.approx(-0.100244, abs=1e-6)


def test_neuron_update(neuron):
    neuron.fit([[0.5]], [1.0], optimizer=fp.SGD(0.1), epochs=1, batch_size=None)
    assert neuron.params == pytest.approx([0.3050122, 0.2100244], abs=1e-7)


def test_dosage_gradient(dosage):
    loss, gradient = dosage.loss_and_gradient(DOSAGES, EFFECTIVENESS)
    assert gradient[-1] == pytest.approx(-15.655108, abs=1e-6)
    assert round(gradient[-1], 1) == -15.7
    residuals = np.array(EFFECTIVENESS) - dosage.predict(DOSAGES)[:, 0]
    assert loss == pytest.approx((residuals**2).sum(), abs=1e-12)
    assert gradient[-1] == pytest.approx((-2 * residuals).sum(), abs=1e-12)


def test_dosage_converges(dosage):
    before = dosage.params.copy()
    only_b3 = np.zeros(dosage.params.size, bool)
    only_b3[-1] = True
    options = {"optimizer": fp.SGD(0.1), "batch_size": None, "trainable": only_b3}
    dosage.fit(DOSAGES, EFFECTIVENESS, epochs=1, **options)
    assert dosage.params[-1] == pytest.approx(1.5655108, abs=1e-6)
    history = dosage.fit(DOSAGES, EFFECTIVENESS, epochs=1000, tol=1e-13, **options)
    assert history.stopped_by == "converged"
    assert dosage.params[-1] == pytest.approx(2.609185, abs=1e-6)
    assert np.array_equal(dosage.params[:-1], before[:-1])


def test_trace_agrees_with_the_kernels():
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(5, 4)), rng.integers(0, 3, 5)
    for loss, last in (("cross_entropy", "softmax"), ("mse", "softmax")):
        layers = [fp.Dense(6, "gelu"), fp.Dense(3, last)]
        net = fp.Network(4, layers, loss, dtype="float64", rng=1)
        target = y if loss == "cross_entropy" else np.eye(3)[y]
        t = net.trace(X, target)
        value, gradient = net.loss_and_gradient(X, target)
        assert t.loss == value
        laid_out = np.concatenate([np.r_[l.dL_dW.ravel(), l.dL_db] for l in t.layers])
        assert laid_out == pytest.approx(gradient, abs=1e-15)
        for layer in t.layers:  # the products that the printed formulas promise
            assert layer.x.T @ layer.dL_dz == pytest.approx(layer.dL_dW, abs=1e-12)
            assert layer.dL_dz.sum(axis=0) == pytest.approx(layer.dL_db, abs=1e-12)
            assert layer.x @ layer.W + layer.b == pytest.approx(layer.z, abs=1e-12)
        assert t.layers[-1].a == pytest.approx(net.predict(X), abs=1e-14)


def test_trace_of_cross_entropy_starts_from_its_definition():
    net = fp.Network(2, [fp.Dense(3, "softmax")], "cross_entropy", dtype="float64", rng=0)
    t = net.trace([[1.0, 2.0]], [2])
    p = t.layers[0].a[0]
    assert t.layers[0].dL_da[0] == pytest.approx([0, 0, -1 / p[2]], abs=1e-12)
    assert t.layers[0].dL_dz[0] == pytest.approx(p - [0, 0, 1], abs=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("z", "y", "expected"), [(50, 1, -1), (-50, 0, 1), (0, 1, -2)])
def test_trace_of_a_saturated_sigmoid(z, y, expected):
    net = fp.Network(1, [fp.Dense(1, "sigmoid")], "binary_cross_entropy")
    net.params = [z, 0]
    layer = net.trace([[1.0]], [y]).layers[0]
    assert layer.dL_da == pytest.approx(np.array([[expected]]), rel=1e-6)
    assert np.isfinite(layer.dL_dz).all()


def test_check_gradients_does_not_pass_a_loss_that_is_nan():
    net = fp.Network(1, [fp.Dense(1)], loss="poisson", dtype="float64")
    net.params = [-1.0, 0.0]
    assert math.isnan(fp.check_gradients(net, [[1.0], [2.0]], [1.0, 2.0]))


def test_trace_reads_in_order(dosage):
    text = str(dosage.trace(DOSAGES, EFFECTIVENESS))
    order = ["FORWARD", "layer 1", "z", "softplus(z)", "layer 2", "loss: ssr", "BACKWARD"]
    places = [text.index(word) for word in order]
    assert places == sorted(places)
    assert "∂L/∂W = xᵀ ∂L/∂z" in text
    assert "-15.655108" in text
    wide = fp.Network(30, [fp.Dense(40, "tanh"), fp.Dense(2)], "quantile", rng=0)
    for shown in (text, str(wide.trace(np.ones((50, 30)), np.ones((50, 2))))):
        assert max(map(len, shown.splitlines())) <= 79
