"""Construction, parameters and views, initialisation, prediction, copies."""

import copy
import pickle

import numpy as np
import pytest

import flatprop as fp
from flatprop.evaluation import calls
from flatprop.formulas.activations import ACTIVATIONS


def make(**options):
    layers = [fp.Dense(5, "tanh"), fp.Dense(4, "relu"), fp.Dense(2)]
    return fp.Network(3, layers, **{"rng": 0, **options})


def test_params_are_one_flat_array_laid_out_by_layer():
    net = make(dtype="float64")
    assert net.params.shape == (3 * 5 + 5 + 5 * 4 + 4 + 4 * 2 + 2,)
    assert net.params.flags.c_contiguous
    start = 0
    for W, b in zip(net.weights, net.biases, strict=True):
        for view in (W, b):
            assert np.shares_memory(view, net.params)
            assert np.array_equal(net.params[start : start + view.size], view.ravel())
            start += view.size
    assert start == net.params.size


def test_writing_changes_the_network_at_once():
    net, X = make(), np.ones((1, 3))
    before = net.predict(X)
    net.params[:] = 0
    net.biases[-1][:] = [1, 2]
    assert np.array_equal(net.predict(X), [[1, 2]])
    assert not np.array_equal(before, [[1, 2]])


def test_assigning_copies():
    net = make()
    own = np.arange(net.params.size, dtype=float)
    buffer = net.params
    net.params = own
    assert net.params is buffer
    own[:] = -1
    assert np.array_equal(net.params, np.arange(net.params.size))
    net.weights[0] = np.zeros((3, 5))
    assert not net.params[:15].any()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_initial_weights_have_the_variance_that_suits_the_activation(name):
    units = 400
    loss = "cross_entropy" if name == "softmax" else "mse"
    net = fp.Network(300, [fp.Dense(units, name)], loss, dtype="float64", rng=1)
    variance = {"he": 2 / 300, "glorot": 2 / (300 + units), "lecun": 1 / 300}
    expected = variance[ACTIVATIONS[name].initialisation]
    assert net.weights[0].var() == pytest.approx(expected, rel=0.02)
    assert abs(net.weights[0].mean()) < 4 * np.sqrt(expected / net.weights[0].size)
    assert not net.biases[0].any()


@pytest.mark.parametrize("units", [2**20, 2**46])  # together below 2**64 and above
def test_networks_that_nobody_can_address_are_refused(units):
    with pytest.raises(ValueError, match=r"layers\[1\] would take the network to .* parameters"):
        fp.Network(3, [fp.Dense(2**40), fp.Dense(units)])


def test_rng_reproduces():
    assert np.array_equal(make(rng=7).params, make(rng=7).params)
    assert not np.array_equal(make(rng=7).params, make(rng=8).params)
    assert np.array_equal(make(rng=np.random.default_rng(7)).params, make(rng=7).params)
    assert not np.array_equal(make(rng=None).params, make(rng=None).params)
    double, single = make(rng=7, dtype="float64"), make(rng=7)
    assert np.array_equal(double.params.astype("float32"), single.params)


def test_reset_draws_anew():
    net = make()
    first = net.params.copy()
    assert net.reset() is net
    assert not np.array_equal(net.params, first)
    assert np.array_equal(net.reset(0).params, first)


def test_predict_takes_what_people_have():
    pandas = pytest.importorskip("pandas")
    net = make(dtype="float64")
    X = np.random.default_rng(0).integers(-5, 5, (6, 3)).astype(float)
    expected = net.predict(X)
    frozen = X.copy()
    frozen.flags.writeable = False
    kinds = {
        "list": X.tolist(),
        "Fortran order": np.asfortranarray(X),
        "strided": np.repeat(X, 2, axis=0)[::2],
        "read-only": frozen,
        "float16": X.astype("float16"),
        "int8": X.astype("int8"),
        "float32": X.astype("float32"),
        "big-endian": X.astype(">f8"),
        "pandas": pandas.DataFrame(X),
        "objects": X.astype(object),
    }
    for kind, value in kinds.items():
        assert np.array_equal(net.predict(value), expected), kind
    assert net.predict(X > 0).shape == (6, 2)


def test_one_input_and_one_output_may_be_flat():
    net = fp.Network(1, [fp.Dense(1)], rng=0)
    x = np.linspace(0, 1, 5)
    assert net.predict(x).shape == (5, 1)
    assert net.loss(x, 2 * x) == net.loss(x[:, None], 2 * x[:, None])


def test_inputs_are_not_changed():
    net = make()
    X, y = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")
    w = np.ones(4, "float32")
    net.fit(X, y, sample_weight=w, epochs=3, batch_size=2)
    net.loss_and_gradient(X, y)
    net.predict(X)
    for array in (X, y, w):
        assert (array == 1).all()


def test_what_the_kernels_would_not_see_cannot_be_assigned():
    net = make()
    for name in ("weights", "biases", "loss_function"):
        with pytest.raises(AttributeError):
            setattr(net, name, None)
    with pytest.raises(ValueError, match="read-only"):
        net.layers["units"] = 7
    with pytest.raises(TypeError, match="one layer at a time"):
        net.weights[0:1] = [np.zeros((3, 5))]


def test_repr_and_summary():
    net = make()
    assert repr(net) == (
        "Network(3 -> 5 tanh -> 4 relu -> 2 identity; mse, float32, 54 parameters)"
    )
    text = str(net.summary())
    assert "tanh" in text
    assert "[20:44]" in text
    assert "54 parameters, 216 bytes" in text
    assert repr(net.summary()) == text
    assert "Huber" not in repr(fp.losses.Huber(2.0)).replace("Huber(delta=2.0)", "")


@pytest.mark.parametrize("duplicate", [fp.Network.copy, copy.deepcopy, copy.copy])
def test_copies_are_independent(duplicate):
    net = make()
    twin = duplicate(net)
    X = np.ones((2, 3))
    assert np.array_equal(twin.predict(X), net.predict(X))
    assert np.shares_memory(twin.weights[0], twin.params)
    assert not np.shares_memory(twin.params, net.params)
    twin.weights[0][:] = 0
    assert net.weights[0].any()


def test_a_copy_trains_alike():
    net = make()
    twin = net.copy()
    X, y = np.random.default_rng(0).normal(size=(2, 40, 3))
    for each in (net, twin):
        each.fit(X, y[:, :2], epochs=3)
    assert np.array_equal(net.params, twin.params)


def test_pickle_round_trip():
    net = make(loss=fp.losses.Huber(0.5))
    twin = pickle.loads(pickle.dumps(net))
    assert np.array_equal(twin.params, net.params)
    assert twin.loss_function == net.loss_function
    assert np.shares_memory(twin.biases[1], twin.params)


def test_sample_weights():
    net = make(dtype="float64")
    rng = np.random.default_rng(2)
    X, y, w = rng.normal(size=(7, 3)), rng.normal(size=(7, 2)), rng.uniform(0, 2, 7)
    each = np.array([net.loss(X[i : i + 1], y[i : i + 1]) for i in range(7)])
    assert net.loss(X, y, w) == pytest.approx((w * each).sum() / w.sum(), rel=1e-12)
    total = make(dtype="float64", loss="ssr")
    each = np.array([total.loss(X[i : i + 1], y[i : i + 1]) for i in range(7)])
    assert total.loss(X, y, w) == pytest.approx((w * each).sum(), rel=1e-12)


def test_gradient_is_descent():
    net = make(dtype="float64")
    X, y = np.ones((3, 3)), np.zeros((3, 2))
    loss, gradient = net.loss_and_gradient(X, y)
    net.params -= 1e-3 * gradient
    assert net.loss(X, y) < loss
    assert gradient.dtype == net.dtype
    assert gradient.shape == net.params.shape


def test_the_workspace_does_not_grow_with_the_batch():
    from flatprop.kernels.network.workspace import backward_workspace_size

    net = fp.Network(4, [fp.Dense(32, "relu"), fp.Dense(16, "relu"), fp.Dense(4)])
    sizes = []
    for rows in (20_000, 200_000):
        block = calls.block_for(net, rows)
        assert block.rows <= calls.block_rows(net)
        assert block.workspace.size == (
            backward_workspace_size(net.layers, block.rows) + 2 * block.rows * net.outputs
        )
        sizes.append(block.workspace.nbytes)
    assert abs(sizes[1] - sizes[0]) < 0.02 * sizes[0]
    assert max(sizes) < 300_000
