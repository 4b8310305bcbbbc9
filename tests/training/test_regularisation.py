"""l1, l2 and max_norm of dense layers, against formulas in NumPy and PyTorch."""

import pickle

import numba
import numpy as np
import pytest

import flatprop as fp
from networks import both_dtypes

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 4)), RNG.normal(size=(60, 2))


def network(dtype="float64", loss="mse", **options):
    layers = [fp.Dense(7, "tanh", **options), fp.LayerNorm(), fp.Dense(2, l2=options.get("l2", 0))]
    net = fp.Network(4, layers, loss, dtype, rng=0)
    net.biases[0][:] = 0.5
    return net


def penalty(net):
    """The terms and their gradient."""
    total, gradient = 0.0, net.copy()
    gradient.params[:] = 0
    for layer, W, slope in zip(net.dense_layers, net.weights, gradient.weights, strict=True):
        total += layer.l1 * abs(W).sum() + layer.l2 * (W**2).sum()
        slope[:] = layer.l1 * np.sign(W) + 2 * layer.l2 * W
    return total, gradient.params


@pytest.mark.parametrize("loss", ["mse", "ssr"])
@pytest.mark.parametrize("options", [{"l1": 0.01}, {"l2": 0.02}, {"l1": 0.01, "l2": 0.02}])
@pytest.mark.parametrize("batch_size", [None, 60, 16])
def test_one_update(loss, options, batch_size):
    net = network(loss=loss, **options)
    net.weights[0][0, 0] = 0  # where |W| has no slope
    data = X[:16], Y[:16]
    data = data if batch_size == 16 else (X, Y)
    (value, gradient), (terms, slopes) = net.loss_and_gradient(*data), penalty(net)
    trained = net.copy()
    history = trained.fit(*data, optimizer=fp.SGD(0.01), epochs=1, batch_size=batch_size)
    np.testing.assert_allclose(history.loss[0], value + terms, rtol=1e-13)
    expected = net.params - 0.01 * (gradient + slopes)
    np.testing.assert_allclose(trained.params, expected, rtol=1e-12, atol=1e-14)


@numba.njit
def residual(x, u, du, d2u):
    return d2u[0][0] + u[1] * du[1][0] - x[2]


WITH_DERIVATIVES = {
    "slopes": lambda: {"derivatives": np.ones((60, 2, 4)), "derivative_weight": 0.3},
    "an equation": lambda: {"equations": fp.Equation(residual, X)},
}
with_derivatives = pytest.mark.parametrize(
    "given", WITH_DERIVATIVES.values(), ids=WITH_DERIVATIVES
)


@with_derivatives
def test_one_update_with_derivatives(given):
    plain, penalised = network(), network(l1=0.01, l2=0.02)
    terms, slopes = penalty(penalised)
    options = {"optimizer": fp.SGD(0.1), "epochs": 1, "batch_size": None}
    one, other = (net.fit(X, Y, **given(), **options) for net in (plain, penalised))
    assert other.loss[0] - one.loss[0] == pytest.approx(terms, rel=1e-12)
    np.testing.assert_allclose(plain.params - penalised.params, 0.1 * slopes, atol=1e-15)


@with_derivatives
@pytest.mark.parametrize("threads", [1, 2])
def test_max_norm_with_derivatives(given, threads):
    norms, net = [], network(max_norm=0.8)
    net.fit(
        X,
        Y,
        **given(),
        optimizer=fp.SGD(0.1),
        epochs=5,
        batch_size=16,
        threads=threads,
        callbacks=lambda epoch: norms.append(np.linalg.norm(epoch.network.weights[0], axis=0)),
        rng=0,
    )
    assert 0.8 * (1 - 1e-14) <= np.max(norms) <= 0.8 * (1 + 1e-14)


@both_dtypes
def test_a_trajectory_is_pytorchs(dtype):
    torch = pytest.importorskip("torch")
    net = network(dtype, l1=0.01, l2=0.02)
    module = fp.interchange.to_torch(net)
    x, y = (torch.from_numpy(a.astype(dtype)) for a in (X, Y))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = ((module(x) - y) ** 2).mean()
        loss = loss + 0.01 * module[0].weight.abs().sum() + 0.02 * (module[0].weight ** 2).sum()
        loss = loss + 0.02 * (module[3].weight ** 2).sum()
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    history = net.fit(X, Y, optimizer=fp.Adam(0.01), epochs=50, batch_size=None)
    tolerance = 1e-10 if np.dtype(dtype).itemsize == 8 else 2e-4
    np.testing.assert_allclose(history.loss, losses, rtol=tolerance)


@both_dtypes
@pytest.mark.parametrize("optimizer", [fp.SGD(0.3), "adam"])
@pytest.mark.parametrize("threads", [1, 2])
def test_max_norm_holds_after_every_update(dtype, optimizer, threads):
    limited, free = network(dtype, max_norm=0.8), network(dtype)
    norms = []
    options = {"optimizer": optimizer, "epochs": 20, "batch_size": 16, "threads": threads}
    limited.fit(
        X,
        Y,
        callbacks=lambda epoch: norms.append(np.linalg.norm(epoch.network.weights[0], axis=0)),
        rng=0,
        **options,
    )
    free.fit(X, Y, rng=0, **options)
    accuracy = 1e-15 * 8 if np.dtype(dtype).itemsize == 8 else 5e-7
    assert np.max(norms) <= 0.8 * (1 + accuracy)
    assert np.linalg.norm(free.weights[0], axis=0).max() > 0.8


def test_max_norm_scales_units_by_themselves():
    net = network(max_norm=0.9)
    net.weights[0][:] = np.random.default_rng(3).normal(size=(4, 7))
    trained = net.copy()
    trained.fit(X, Y, optimizer=fp.SGD(1e-9), epochs=1, batch_size=None)
    norms = np.linalg.norm(net.weights[0], axis=0)
    expected = net.weights[0] * np.minimum(1, 0.9 / norms)
    np.testing.assert_allclose(trained.weights[0], expected, atol=1e-7)
    assert (norms > 0.9).any()
    assert (norms < 0.9).any()
    np.testing.assert_allclose(trained.weights[1], net.weights[1], atol=1e-7)


def test_max_norm_and_frozen_weights():
    net = network(max_norm=0.01)
    mask = np.ones(net.params.size, bool)
    mask[3] = False
    with pytest.raises(ValueError, match="max_norm"):
        net.fit(X, Y, trainable=mask)
    mask[:28] = False
    before = net.weights[0].copy()
    net.fit(X, Y, trainable=mask, epochs=2)
    assert np.array_equal(net.weights[0], before)


def test_val_loss_and_loss_are_of_the_data():
    net = network(l2=0.1)
    history = net.fit(X, Y, epochs=3, validation_data=(X, Y), rng=0)
    np.testing.assert_allclose(history.val_loss[-1], net.loss(X, Y), rtol=1e-13)
    assert history.loss[-1] > history.val_loss[-1]


@pytest.mark.parametrize("threads", [1, 2])
def test_checkpoints_trainers_and_files(threads, tmp_path):
    options = {"l1": 1e-3, "l2": 1e-3, "max_norm": 1.5}
    whole, again = network("float32", **options), network("float32", **options)
    path = tmp_path / "checkpoint"

    def stop(epoch):
        if epoch.epoch == 2:
            raise RuntimeError

    settings = {"epochs": 6, "batch_size": 16, "threads": threads}
    whole.fit(X, Y, rng=1, **settings)
    with pytest.raises(RuntimeError):
        again.fit(X, Y, rng=1, callbacks=[fp.Checkpoint(path), stop], **settings)
    again.fit(X, Y, resume=path, **settings)
    assert again.params.tobytes() == whole.params.tobytes()
    again.save(tmp_path / "net")
    for same in (fp.load(tmp_path / "net"), pickle.loads(pickle.dumps(again))):
        assert same.dense == again.dense
        assert same.dense[0].regularisation == options
    one, other = (fp.Trainer(network("float32", **options), rng=0) for _ in range(2))
    losses = [one.partial_fit(X, Y) for _ in range(3)]
    first = other.partial_fit(X, Y)
    other = pickle.loads(pickle.dumps(other))
    assert [first, other.partial_fit(X, Y), other.partial_fit(X, Y)] == losses


def without_norm():
    """No layer before a normalisation: W could go on becoming smaller there at no cost."""
    layers = [fp.Dense(7, "tanh", l2=0.05), fp.Dense(2, l2=0.02)]
    return fp.Network(4, layers, dtype="float64", rng=0)


def test_lbfgs_takes_l2():
    net = without_norm()
    history = net.fit(X, Y, optimizer=fp.LBFGS(gtol=1e-7, ftol=0), epochs=2000)
    _, gradient = net.loss_and_gradient(X, Y)
    terms, slopes = penalty(net)
    assert abs(gradient + slopes).max() < 1e-6
    np.testing.assert_allclose(history.loss[-1], net.loss(X, Y) + terms, rtol=1e-9)


@numba.njit
def decay(x, u, du, d2u, rate):
    return du[0][0] + rate * u[0]


def test_lbfgs_takes_l2_with_derivatives_and_unknowns():
    net, equation = without_norm(), fp.Equation(decay, X, unknowns={"rate": 0.5})
    slopes = np.ones((60, 2, 4))
    options = {"derivatives": slopes, "optimizer": fp.LBFGS(gtol=1e-8, ftol=0), "epochs": 2000}
    history = net.fit(X, Y, equations=equation, **options)
    terms, of_terms = penalty(net)
    plain = fp.Network(4, [fp.Dense(7, "tanh"), fp.Dense(2)], dtype="float64", rng=0)
    plain.params, before = net.params, equation.unknowns["rate"]
    options = {"derivatives": slopes, "optimizer": fp.SGD(1.0), "epochs": 1, "batch_size": None}
    loss = plain.fit(X, Y, equations=equation, **options).loss[0]
    assert history.loss[-1] == pytest.approx(loss + terms, rel=1e-9)
    assert abs(net.params - plain.params + of_terms).max() < 1e-6
    assert equation.unknowns["rate"] == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "solver"),
    [
        ({"l1": 0.1}, "lbfgs"),
        ({"max_norm": 1.0}, "lbfgs"),
        ({"l2": 0.1}, "levenberg_marquardt"),
    ],
)
def test_solvers_refuse_what_they_cannot_take(options, solver):
    with pytest.raises(ValueError, match=next(iter(options))):
        network(**options).fit(X, Y, optimizer=solver)


def test_impossible_numbers_and_repr():
    for name, value in [("l1", -1), ("l2", np.nan), ("max_norm", 0), ("max_norm", -2)]:
        with pytest.raises(ValueError, match=name):
            fp.Dense(3, **{name: value})
    with pytest.raises(TypeError, match="l1"):
        fp.Dense(3, l1="small")
    assert repr(fp.Dense(3, "relu")) == "Dense(units=3, activation='relu')"
    assert repr(fp.Dense(3, l2=0.5)) == "Dense(units=3, activation='identity', l2=0.5)"
