"""Layers beside Dense: values and every derivative against PyTorch, and where they are written."""

import pickle
from itertools import pairwise

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flatprop as fp
from flatprop.evaluation import calls
from flatprop.samples import in_parts
from layer_networks import LAYERS, network, samples, torch_function, without_dropout
from reference import error

each = pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)


def close(a, b, tolerance=1e-10):
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= tolerance * max(1.0, np.abs(b).max())


# ---- against PyTorch


@each
def test_values_and_gradients_are_pytorchs(layers):
    torch = pytest.importorskip("torch")
    net = network(layers)
    X, y = samples()
    module = fp.interchange.to_torch(net).eval()
    close(net.predict(X), module(torch.from_numpy(X)).detach().numpy())
    x = torch.from_numpy(X).requires_grad_()
    loss = ((module(x) - torch.from_numpy(y)) ** 2).mean()
    loss.backward()
    value, gradient = net.loss_and_gradient(X, y)
    close(value, loss.item())
    theirs = [
        p.grad.T.numpy().ravel() if p.ndim == 2 else p.grad.numpy() for p in module.parameters()
    ]
    close(gradient, np.concatenate(theirs))
    dL_dx, again = net.vjp(X, 2 * (net.predict(X) - y) / y.size)
    close(dL_dx, x.grad.numpy())
    close(again, gradient)


@numba.njit
def residual(x, u, du, d2u):
    return d2u[0][0] + u[1] * du[1][0] - x[0] * d2u[1][1]


class Case:
    """A network, what its derivatives are taken of, and the same as tensors."""

    def __init__(self, layers):
        torch = pytest.importorskip("torch")
        rng = np.random.default_rng(5)
        self.net, self.layers = network(layers), layers
        self.X, self.y = samples(6)
        self.directions, self.v = rng.normal(size=(2, 5)), rng.normal(size=self.net.params.size)
        self.weights = [rng.normal(size=shape) for shape in ((6, 2), (6, 2, 2), (6, 2, 2))]
        self.dy = rng.normal(size=(6, 2, 5))
        self.f = torch_function(self.net)
        arrays = self.net.params, self.X, self.y, self.directions, self.v, self.dy
        self.p, self.x, self.t, self.along, self.tangent, self.slopes = map(torch.tensor, arrays)

    def gradient_of_derivatives(self, *parts):
        given = [self.weights[i] if i in parts else None for i in range(3)]
        return self.net.derivatives_vjp(self.X, *given, self.directions)

    def gradient_of_fit(self, **options):
        """What an update of plain gradient descent takes off the parameters, and the loss."""
        trained = network(without_dropout(self.layers))
        options |= {"optimizer": fp.SGD(1.0), "epochs": 1, "batch_size": None}
        history = trained.fit(self.X, self.y, **options)
        return np.append(self.net.params - trained.params, history.loss[0])

    def fit_an_equation(self):
        equation = fp.Equation(residual, self.X, directions=self.directions, weight=0.3)
        return self.gradient_of_fit(equations=equation)

    # ---- in PyTorch

    def loss(self, p):
        return ((self.f(p, self.x) - self.t) ** 2).mean()

    def loss_of_one(self, p, x, t):
        return ((self.f(p, x) - t) ** 2).mean()

    def derivatives(self, p):
        """Outputs, derivatives along the directions, Jacobians and Hessians."""
        import torch
        from torch.func import hessian, jacrev, vmap

        J = vmap(jacrev(self.f, 1), (None, 0))(p, self.x)
        H = vmap(hessian(self.f, 1), (None, 0))(p, self.x)
        du = torch.einsum("nki,di->ndk", J, self.along)
        d2u = torch.einsum("nkij,di,dj->ndk", H, self.along, self.along)
        return self.f(p, self.x), du, d2u, J, H

    def weighted(self, *parts):
        """The gradient of a sum over derivatives."""
        import torch
        from torch.func import grad

        def total(p):
            found = self.derivatives(p)
            return sum((found[i] * torch.tensor(self.weights[i])).sum() for i in parts)

        return grad(total)(self.p)

    def gradient_and_loss(self, added):
        import torch
        from torch.func import grad_and_value

        gradient, value = grad_and_value(lambda p: self.loss(p) + added(p))(self.p)
        return torch.cat([gradient, value[None]])

    def of_slopes(self, p):
        return 0.7 * ((self.derivatives(p)[3] - self.slopes) ** 2).mean()

    def of_equation(self, p):
        u, du, d2u, *_ = self.derivatives(p)
        r = residual.py_func(self.x.T, u.T, du.permute(1, 2, 0), d2u.permute(1, 2, 0))
        return 0.3 * (r**2).mean()

    def jacobian(self):
        from torch.func import jacrev

        return jacrev(self.f)(self.p, self.x)

    def gauss_newton(self):
        J = self.jacobian().reshape(-1, self.p.numel())
        return 2 / self.t.numel() * J.T @ (J @ self.tangent)

    def input_gradient(self):
        from torch.func import grad

        weight = self.p.new_tensor(self.weights[0])
        return grad(lambda x: (self.f(self.p, x) * weight).sum())(self.x)

    def per_sample(self):
        from torch.func import grad, vmap

        return vmap(grad(self.loss_of_one), (None, 0, 0))(self.p, self.x, self.t)

    def hessian_product(self):
        from torch.func import grad, jvp

        return jvp(grad(self.loss), (self.p,), (self.tangent,))[1]


DERIVATIVES = {
    "gradient": (
        1e-10,
        lambda c: np.append(*c.net.loss_and_gradient(c.X, c.y)[::-1]),
        lambda c: c.gradient_and_loss(lambda p: 0),
    ),
    "gradient of inputs": (
        1e-10,
        lambda c: c.net.vjp(c.X, c.weights[0])[0],
        Case.input_gradient,
    ),
    "gradient of outputs": (
        1e-10,
        lambda c: c.net.vjp(c.X, c.weights[0])[1],
        lambda c: c.weighted(0),
    ),
    "jacobian": (
        1e-10,
        lambda c: c.net.jacobian(c.X),
        lambda c: c.derivatives(c.p)[3],
    ),
    "jacobian of parameters": (
        1e-10,
        lambda c: c.net.jacobian(c.X, wrt="params"),
        Case.jacobian,
    ),
    "gradients of samples": (
        1e-10,
        lambda c: c.net.per_sample_gradients(c.X, c.y),
        Case.per_sample,
    ),
    "product with the Hessian": (
        1e-9,
        lambda c: c.net.hessian_vector_product(c.X, c.y, c.v),
        Case.hessian_product,
    ),
    "product of Gauss and Newton": (
        1e-10,
        lambda c: c.net.gauss_newton_vector_product(c.X, c.y, c.v),
        Case.gauss_newton,
    ),
    "u": (
        1e-10,
        lambda c: c.net.derivatives(c.X, c.directions)[0],
        lambda c: c.derivatives(c.p)[0],
    ),
    "du": (
        1e-10,
        lambda c: c.net.derivatives(c.X, c.directions)[1],
        lambda c: c.derivatives(c.p)[1],
    ),
    "d2u": (
        1e-9,
        lambda c: c.net.derivatives(c.X, c.directions)[2],
        lambda c: c.derivatives(c.p)[2],
    ),
    "Hessian of inputs": (
        1e-9,
        lambda c: c.net.hessian(c.X),
        lambda c: c.derivatives(c.p)[4],
    ),
    "gradient of u and du": (
        1e-9,
        lambda c: c.gradient_of_derivatives(0, 1),
        lambda c: c.weighted(0, 1),
    ),
    "gradient of d2u": (
        1e-9,
        lambda c: c.gradient_of_derivatives(2),
        lambda c: c.weighted(2),
    ),
    "gradient of u, du and d2u": (
        1e-9,
        lambda c: c.gradient_of_derivatives(0, 1, 2),
        lambda c: c.weighted(0, 1, 2),
    ),
    "fit on slopes": (
        1e-9,
        lambda c: c.gradient_of_fit(derivatives=c.dy, derivative_weight=0.7),
        lambda c: c.gradient_and_loss(c.of_slopes),
    ),
    "fit on an equation": (
        1e-9,
        Case.fit_an_equation,
        lambda c: c.gradient_and_loss(c.of_equation),
    ),
}
"""Of each derivative: the relative error that is allowed, flatprop's and PyTorch's."""


@each
@pytest.mark.parametrize("derivative", DERIVATIVES)
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # within torch.func
def test_every_derivative_is_pytorchs(layers, derivative):
    tolerance, ours, theirs = DERIVATIVES[derivative]
    case = Case(layers)
    found, expected = ours(case), theirs(case).detach().numpy()
    assert expected.any()
    assert error(found, expected) <= tolerance


@each
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_trace_lays_all_layers_open(layers, dtype):
    net = network(layers, dtype)
    X, y = samples(4, dtype=dtype)
    trace = net.trace(X, y)
    _, gradient = net.loss_and_gradient(X, y)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    parts = [p.ravel() for l in trace.layers for p in (l.dL_dW, l.dL_db) if p is not None]
    close(np.concatenate(parts), gradient, tolerance)
    assert len(trace.layers) == len(net.dense)
    for before, layer in pairwise(trace.layers):
        assert np.array_equal(before.a, layer.x)
    close(trace.layers[-1].a, net.predict(X), tolerance)
    text = str(trace)
    assert ("γ" in text) == any(isinstance(layer, fp.LayerNorm) for layer in net.dense)


@given(
    st.lists(
        st.one_of(
            st.builds(fp.LayerNorm),
            st.builds(fp.Dropout, st.floats(0, 0.9)),
            st.builds(fp.Dense, st.integers(1, 20), st.sampled_from(["relu", "tanh", "selu"])),
            st.just("residual"),
        ),
        max_size=5,
    ),
    st.integers(1, 6),
    st.integers(1, 40),
    st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_gradients_of_any_network(parts, inputs, rows, seed):
    layers, width = [], inputs
    for part in parts:
        if part == "residual":
            part = fp.Residual([fp.Dense(3, "relu"), fp.LayerNorm(), fp.Dense(width, "tanh")])
        width = part.units if isinstance(part, fp.Dense) else width
        layers.append(part)
    net = network([*layers, fp.Dense(2)], inputs=inputs, seed=seed)
    X, y = samples(rows, inputs)
    assert fp.check_gradients(net, X, y) < 1e-5
    u, du, d2u = net.derivatives(X)
    J, H = net.jacobian(X), net.hessian(X)
    close(u, net.predict(X))
    close(du.transpose(0, 2, 1), J)
    close(d2u.transpose(0, 2, 1), np.diagonal(H, axis1=2, axis2=3), 1e-9)
    close(net.derivatives_vjp(X, y, None, None), net.vjp(X, y)[1])


# ---- the description


def test_parameters_lie_in_the_place_of_the_layer():
    net = fp.Network(3, [fp.Dense(4, "relu"), fp.LayerNorm(), fp.Dense(2)], rng=0)
    assert net.params.size == 16 + 8 + 10
    assert [W.shape for W in net.weights] == [(3, 4), (4, 2)]
    assert [b.shape for b in net.biases] == [(4,), (2,)]
    assert np.array_equal(net.params[16:24], [1] * 4 + [0] * 4)
    same = fp.Network(3, [fp.Dense(4, "relu"), fp.Dense(2)], rng=0)
    for one, other in zip(net.weights, same.weights, strict=True):
        assert np.array_equal(one, other)
    net.weights[1][:] = 7
    assert (net.params[24:32] == 7).all()


def test_repr_and_summary():
    block = fp.Residual([fp.LayerNorm(), fp.Dense(4, "relu")])
    net = fp.Network(3, [fp.Dense(4, "tanh"), block, fp.Dropout(0.25), fp.Dense(1)], rng=0)
    assert repr(net) == (
        "Network(3 -> 4 tanh -> x + [layer_norm -> 4 relu] -> dropout 0.25 -> 1 identity; "
        "mse, float32, 49 parameters)"
    )
    assert "layer_norm" in net.summary()
    assert "dropout 0.25" in net._repr_html_()
    assert repr(fp.LayerNorm()) == "LayerNorm()"
    assert repr(fp.Dropout(0.25)) == "Dropout(rate=0.25)"
    assert fp.LayerNorm() == net.dense[2]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([fp.Dense(2), fp.LayerNorm()], "the last layer is LayerNorm"),
        ([fp.Dense(2), fp.Dropout(0.1)], "the last layer is Dropout"),
        ([fp.Residual([fp.Dense(3)])], "the last layer is ResidualEnd"),
        ([fp.Residual([fp.Dense(4)]), fp.Dense(1)], "adds its 3 inputs to the 4 outputs"),
        ([fp.Residual([fp.Dense(3, "softmax")]), fp.Dense(1)], "softmax"),
        ([fp.ResidualBegin(1), fp.Dense(3), fp.Dense(1)], "does not end"),
        ([fp.ResidualEnd(1), fp.Dense(1)], "does not begin"),
    ],
)
def test_impossible_layers(layers, message):
    with pytest.raises(ValueError, match=message):
        fp.Network(3, layers)


def test_impossible_settings():
    for rate in (1.0, -0.1, float("nan"), 2):
        with pytest.raises(ValueError, match="rate"):
            fp.Dropout(rate)
    with pytest.raises(TypeError, match="rate"):
        fp.Dropout("a half")
    with pytest.raises(TypeError, match="list of layers"):
        fp.Residual(fp.Dense(3))
    with pytest.raises(TypeError, match="must be a layer"):
        fp.Residual([3])
    with pytest.raises(ValueError, match="at least one"):
        fp.Residual([])


# ---- training


@each
@pytest.mark.parametrize("optimizer", [fp.SGD(0.02), fp.SGD(0.01, momentum=0.8), "adam"])
def test_training_lowers_the_loss(layers, optimizer):
    net = network(layers, "float32")
    X, y = samples(200, dtype="float32")
    history = net.fit(X, y, optimizer=optimizer, epochs=20, batch_size=20, rng=0)
    assert history.loss[-1] < history.loss[0]
    assert net.loss(X, y) < history.loss[0]


WIDE = [
    fp.Dense(96, "relu"),
    fp.LayerNorm(),
    fp.Dropout(0.2),
    fp.Residual([fp.Dense(200, "relu"), fp.Dropout(0.5), fp.Dense(96)]),
    fp.Dense(2),
]


@pytest.mark.parametrize("batch_size", [32, 700, None])
def test_threads_give_the_same_bits(batch_size):
    X, y = samples(2100, 40, dtype="float32")
    found = []
    for threads in (1, 2):
        net = network(WIDE, "float32", inputs=40)
        net.fit(X, y, epochs=2, batch_size=batch_size, rng=0, threads=threads)
        found.append((net.params.tobytes(), net.loss(X, y, threads=threads)))
    assert found[0] == found[1]


class StoppedError(Exception):
    """In the middle of a training."""


def interrupt(epoch):
    if epoch.epoch == 2:
        raise StoppedError


@each
def test_resumed_training_is_the_same(layers, tmp_path):
    X, y = samples(90, dtype="float32")
    options = {"batch_size": 16, "optimizer": "adam", "epochs": 6}
    whole, half, resumed = (network(layers, "float32") for _ in range(3))
    whole.fit(X, y, rng=1, **options)
    path = tmp_path / "checkpoint"
    with pytest.raises(StoppedError):
        half.fit(X, y, rng=1, callbacks=[fp.Checkpoint(path), interrupt], **options)
    resumed.fit(X, y, resume=path, **options)
    assert resumed.params.tobytes() == whole.params.tobytes()


@each
def test_samples_in_parts_train_as_arrays(layers, mapped, monkeypatch):
    monkeypatch.setattr(in_parts, "PART_BYTES", 2**11)
    X, y = samples(300, dtype="float32")
    arrays, files = network(layers, "float32"), network(layers, "float32")
    options = {"epochs": 2, "batch_size": 32, "shuffle": False, "rng": 4}
    one = arrays.fit(X, y, **options)
    other = files.fit(mapped(X), mapped(y), **options)
    assert one.loss.tobytes() == other.loss.tobytes()
    assert arrays.params.tobytes() == files.params.tobytes()


# ---- dropout


def dropped(rate, rows=400, units=50, **options):
    """What a training of one update, of a network that passes x on, has made 0."""
    net = fp.Network(units, [fp.Dropout(rate), fp.Dense(units)], "ssr", "float64", rng=0)
    net.weights[0][:] = np.eye(units)
    return net, net.predict(np.ones((rows, units)), dropout=True, **options)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_rate_and_mean_of_dropout(rate):
    _, out = dropped(rate, rng=7)
    kept = out != 0
    assert np.allclose(out[kept], 1 / (1 - rate), rtol=1e-15)
    sigma = (rate * (1 - rate) / out.size) ** 0.5
    assert abs(kept.mean() - (1 - rate)) <= 3 * sigma
    for axis in (0, 1):  # neither rows nor units are alike
        share = kept.mean(axis=axis)
        assert (
            np.abs(share - (1 - rate)).max() <= 5 * (rate * (1 - rate) / kept.shape[axis]) ** 0.5
        )


def test_masks_are_independent_of_each_other():
    kept = [dropped(0.5, rng=seed)[1].ravel() != 0 for seed in range(4)]
    kept += [dropped(0.5, rng=0)[1].T.ravel() != 0]
    table = np.corrcoef(np.array(kept, float))
    off = table[~np.eye(len(kept), dtype=bool)]
    assert np.abs(off).max() <= 4 / kept[0].size ** 0.5


def test_sampled_predictions():
    net, out = dropped(0.5, rng=3)
    X = np.ones((400, 50))
    assert np.array_equal(net.predict(X, dropout=True, rng=3), out)
    assert not np.array_equal(net.predict(X, dropout=True, rng=4), out)
    assert np.array_equal(net.predict(X[:7], dropout=True, rng=3), out[:7])
    one, other = net.predict(X, dropout=True), net.predict(X, dropout=True)
    assert not np.array_equal(one, other)
    assert np.array_equal(net.predict(X), X)


def gradient_with_dropout(net, X, y, seed=5):
    """The gradient of one update of plain gradient descent; the loss before it."""
    trained = net.copy()
    history = trained.fit(X, y, optimizer=fp.SGD(1.0), epochs=1, batch_size=None, rng=seed)
    return float(history.loss[0]), net.params - trained.params


def test_gradient_with_the_mask_fixed():
    layers = [
        fp.Dense(6, "tanh"),
        fp.Dropout(0.3),
        fp.Residual([fp.Dense(6, "relu"), fp.Dropout(0.5), fp.LayerNorm(), fp.Dense(6)]),
        fp.Dropout(0.1),
        fp.Dense(2),
    ]
    net = network(layers)
    X, y = samples(23)
    loss, gradient = gradient_with_dropout(net, X, y)
    assert loss != net.loss(X, y)
    start, h = net.params.copy(), 1e-5
    for place in range(0, net.params.size, 3):
        values = []
        for step in (h, -h):
            net.params[:] = start
            net.params[place] += step
            values.append(gradient_with_dropout(net, X, y)[0])
        slope = (values[0] - values[1]) / (2 * h)
        assert abs(slope - gradient[place]) <= 1e-7 * max(1.0, abs(slope))


@pytest.mark.parametrize("rows", [16, 48, 144])
def test_masks_do_not_depend_on_blocks(rows, monkeypatch):
    X, y = samples(1000)
    net = network([fp.Dense(8, "tanh"), fp.Dropout(0.5), fp.Dense(2)])

    def results():
        return dropped(0.5, rows=1000, rng=7)[1], *gradient_with_dropout(net, X, y)

    assert calls.block_for(net, 1000).rows > 144
    usual = results()
    monkeypatch.setattr(calls, "block_rows", lambda network: rows)
    assert calls.block_for(net, 1000).rows <= rows
    out, loss, gradient = results()
    np.testing.assert_array_equal(out, usual[0])
    assert loss == pytest.approx(usual[1], rel=1e-13)
    assert error(gradient, usual[2]) <= 1e-12


WITHOUT_TRAINING = {
    "predict": lambda net, X, y, v: net.predict(X),
    "loss": lambda net, X, y, v: net.loss(X, y),
    "loss_and_gradient": lambda net, X, y, v: net.loss_and_gradient(X, y)[1],
    "trace": lambda net, X, y, v: [net.trace(X, y).loss, *net.trace(X, y).layers[-1].dL_dW[0]],
    "vjp": lambda net, X, y, v: np.append(*net.vjp(X, y)),
    "jacobian": lambda net, X, y, v: net.jacobian(X),
    "jacobian by parameters": lambda net, X, y, v: net.jacobian(X, wrt="params"),
    "per_sample_gradients": lambda net, X, y, v: net.per_sample_gradients(X, y),
    "hessian_vector_product": lambda net, X, y, v: net.hessian_vector_product(X, y, v),
    "gauss_newton": lambda net, X, y, v: net.gauss_newton_vector_product(X, y, v),
    "derivatives": lambda net, X, y, v: np.concatenate(net.derivatives(X)[1:]),
    "derivatives_vjp": lambda net, X, y, v: net.derivatives_vjp(X, y, *net.derivatives(X)[1:]),
    "hessian": lambda net, X, y, v: net.hessian(X),
}


@pytest.mark.parametrize("name", WITHOUT_TRAINING)
def test_dropout_is_off_outside_training(name):
    net = network(LAYERS["dropout"])
    plain = network([fp.Dense(8, "tanh"), fp.Dense(2)])
    plain.params = net.params
    v = np.random.default_rng(4).normal(size=net.params.size)
    one, other = (WITHOUT_TRAINING[name](n, *samples(), v) for n in (net, plain))
    np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-13)


def test_dropout_is_off_in_validation_and_refused_by_solvers():
    net = network(LAYERS["dropout"])
    X, y = samples()
    history = net.fit(X, y, epochs=1, validation_data=(X, y), rng=0)
    assert history.val_loss[0] == pytest.approx(net.loss(X, y))
    for solver in ("lbfgs", "levenberg_marquardt"):
        with pytest.raises(ValueError, match="dropout"):
            net.fit(X, y, optimizer=solver)


def test_trainers_drop_and_go_on_after_a_pickle():
    X, y = samples(64, dtype="float32")
    nets = [network(LAYERS["dropout"], "float32") for _ in range(2)]
    one, other = (fp.Trainer(net, "adam", rng=0) for net in nets)
    losses = [one.partial_fit(X, y) for _ in range(4)]
    assert losses[0] != pytest.approx(network(LAYERS["dropout"], "float32").loss(X, y))
    again = [other.partial_fit(X, y) for _ in range(2)]
    other = pickle.loads(pickle.dumps(other))
    again += [other.partial_fit(X, y) for _ in range(2)]
    assert again == losses


# ---- solvers, files, C, ONNX, other libraries


@pytest.mark.parametrize("solver", ["lbfgs", "levenberg_marquardt"])
@pytest.mark.parametrize("layers", [LAYERS["norm"], LAYERS["residual"]], ids=["norm", "residual"])
def test_solvers(layers, solver):
    net = network(layers)
    X, y = samples(30)
    before = net.loss(X, y)
    net.fit(X, y, optimizer=solver, epochs=30)
    assert net.loss(X, y) < 0.3 * before


@each
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_files_and_pickles(layers, dtype, tmp_path):
    net = network(layers, dtype)
    net.save(tmp_path / "net")
    X, _ = samples(dtype=dtype)
    for same in (fp.load(tmp_path / "net"), pickle.loads(pickle.dumps(net)), net.copy()):
        assert same.dense == net.dense
        assert [d.units for d in same.dense] == [d.units for d in net.dense]
        assert np.array_equal(same.params, net.params)
        assert np.array_equal(same.predict(X), net.predict(X))


@each
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_onnx(layers, dtype):
    onnxruntime = pytest.importorskip("onnxruntime")
    net = network(layers, dtype)
    X, _ = samples(dtype=dtype)
    session = onnxruntime.InferenceSession(net.to_onnx().SerializeToString())
    (out,) = session.run(None, {"X": X})
    close(out, net.predict(X), 2e-6 if dtype == "float32" else 1e-14)


@each
def test_torch_and_back(layers):
    pytest.importorskip("torch")
    net = network(layers)
    module = fp.interchange.to_torch(net)
    again = fp.interchange.from_torch(module)
    assert again.dense == net.dense
    assert np.array_equal(again.params, net.params)
    mapping = fp.interchange.state_dict(net)
    theirs = module.state_dict()
    assert list(mapping) == list(theirs)
    for name, array in mapping.items():
        assert np.array_equal(array, theirs[name].numpy())
    other = network(layers, seed=9)
    fp.interchange.load_state_dict(other, theirs)
    assert np.array_equal(other.params, net.params)
    weights = fp.interchange.get_weights(net)
    other = network(layers, seed=9)
    fp.interchange.set_weights(other, weights)
    assert np.array_equal(other.params, net.params)


def test_others_refuse_in_words():
    net = fp.Network(5, LAYERS["norm"], rng=0)
    with pytest.raises(ValueError, match=r"specialize knows dense layers only, .* layer_norm"):
        fp.specialize(net)
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match=r"plot\.network knows dense layers only"):
        fp.plot.network(net)
    assert fp.plot.histograms(net).shape == (2, 1)
    pytest.importorskip("sklearn")
    with pytest.raises(ValueError, match="to_sklearn knows dense layers only"):
        fp.interchange.to_sklearn(net)
