"""`fit` with derivatives of the targets, and with equations."""

import math

import numba
import numpy as np
import pytest

import flatprop as fp
from flatprop.evaluation import along_inputs, calls
from layer_networks import torch_function
from networks import DTYPES, KINDS, double_first, network
from row_functions import mixed


def wave(rows, inputs=2, outputs=1, seed=0):
    """X, y and dy of y = Σ sin(x) + o x₀."""
    X = np.random.default_rng(seed).uniform(-1, 1, (rows, inputs))
    some = np.arange(outputs)
    y = np.sin(X).sum(axis=1)[:, None] + some * X[:, :1]
    dy = np.repeat(np.cos(X)[:, None, :], outputs, axis=1)
    dy[:, :, 0] += some
    return X, y, dy


@numba.njit
def burgers(x, u, du, d2u, nu):
    u_x, u_t = du
    return u_t + u * u_x - nu * d2u[0]


@numba.njit
def system(x, u, du, d2u, a, b):
    first = du[1][0] + u[1] * math.exp(x[0]) - a * d2u[0][1]
    if u[0] > 0:
        first += u[0] ** 2
    return first, math.sin(u[0]) * du[0][1] - b * a


@numba.njit
def algebra(x, u, du, d2u):
    return u - x[0]


def expected_loss(net, X, y, weight, dy, share, equation):
    """The loss from its definition, by the public functions."""
    total = net.loss(X, y, weight)
    if dy is not None:
        w = np.ones(len(X)) if weight is None else weight
        d = (net.jacobian(X) - dy) ** 2
        total += share * (w[:, None, None] * d).sum() / (w.sum() * d[0].size)
    if equation is not None:
        u, du, d2u = net.derivatives(equation.points, equation.directions)
        if net.outputs == 1:
            u, du, d2u = u[:, 0], du[:, :, 0], d2u[:, :, 0]
        squares = 0.0
        for x, *given in zip(equation.points, u, du, d2u, strict=True):
            value, first, second = (
                tuple(map(tuple, part)) if np.ndim(part) == 2 else part for part in given
            )
            first, second = tuple(first), tuple(second)
            value = tuple(value) if np.ndim(value) else float(value)
            r = equation.residual(tuple(x), value, first, second, *equation.unknowns.values())
            squares += np.sum(np.square(r))
        total += equation.weight * squares / len(equation.points)
    return total


def of_system(p):
    return fp.Equation(system, p, directions=[[1, 1], [0.5, -1]], unknowns={"a": 0.7, "b": -0.4})


CASES = {
    "slopes": (1, True, True, None, "mse"),
    "slopes of two outputs": (2, True, False, None, "mse"),
    "burgers": (1, False, False, lambda p: fp.Equation(burgers, p, unknowns={"nu": 0.3}), "mse"),
    "both": (
        1,
        True,
        True,
        lambda p: fp.Equation(burgers, p, weight=0.3, unknowns={"nu": 0.3}),
        "mse",
    ),
    "a system": (2, False, False, of_system, "mse"),
    "algebra": (1, False, False, lambda p: fp.Equation(algebra, p), "mse"),
    "own loss of rows": (2, True, True, of_system, fp.losses.Row(mixed, targets=2)),
}


@numba.njit
def ripple(z):
    return z + 0.3 * math.sin(z), 1 + 0.3 * math.cos(z)


NETWORKS = {
    "identity": [fp.Dense(7, "tanh"), fp.Dense(5, "gelu"), "identity"],
    "tanh": [fp.Dense(7, "tanh"), fp.Dense(5, "gelu"), "tanh"],
    "other layers and own activations": [
        fp.Residual([fp.Dense(6, ripple), fp.LayerNorm(), fp.Dense(2)]),
        fp.Dense(5, ripple),
        fp.LayerNorm(),
        "identity",
    ],
}


def made(kind, outputs, loss="mse"):
    *hidden, last = NETWORKS[kind]
    net = fp.Network(2, [*hidden, fp.Dense(outputs, last)], loss, "float64", rng=0)
    net.params += np.random.default_rng(1).uniform(-0.3, 0.3, net.params.size)
    return net


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=pytest.mark.slow if k == "tanh" else ()) for k in NETWORKS],
)
def test_loss_and_gradient_against_differences(case, kind):
    outputs, with_slopes, weighted, make, loss = CASES[case]
    X, y, dy = wave(23, outputs=outputs)
    rng = np.random.default_rng(1)
    weight = rng.uniform(0.5, 2, 23) if weighted else None
    net = made(kind, outputs, loss)
    equation = None if make is None else make(rng.uniform(-1, 1, (17, 2)))
    start, names = net.params.copy(), list(equation.unknowns) if equation else []
    values = np.array([equation.unknowns[name] for name in names])

    def at(theta):
        net.params = theta[: start.size]
        if equation:
            equation.unknowns.update(zip(names, theta[start.size :].tolist(), strict=True))
        given = dy if with_slopes else None
        return expected_loss(net, X, y, weight, given, 0.6, equation)

    theta, rate = np.concatenate([start, values]), 1e-3
    loss = at(theta)
    history = net.fit(
        X,
        y,
        sample_weight=weight,
        derivatives=dy if with_slopes else None,
        derivative_weight=0.6,
        equations=equation,
        optimizer=fp.SGD(rate),
        epochs=1,
        batch_size=None,
    )
    assert history.loss[0] == pytest.approx(loss, rel=1e-12)
    after = np.concatenate([net.params, [equation.unknowns[n] for n in names] if equation else []])
    gradient = (theta - after) / rate
    for v in (*np.random.default_rng(2).normal(size=(3, theta.size)), *np.eye(theta.size)[-3:]):
        h = 1e-4
        near, far = at(theta + h * v) - at(theta - h * v), at(theta + 2 * h * v)
        far -= at(theta - 2 * h * v)
        expected = (8 * near - far) / (12 * h)
        assert gradient @ v == pytest.approx(expected, rel=1e-6, abs=1e-7)


SLOPES = {
    "dense": [fp.Dense(6, "tanh"), fp.Dense(1)],
    "norm": [fp.LayerNorm(), fp.Dense(6, "tanh"), fp.LayerNorm(), fp.Dense(1, "tanh")],
    "residual": [fp.Residual([fp.Dense(4, "silu"), fp.Dense(2)]), fp.Dense(4), fp.Dense(1)],
    "nested": [
        fp.Dense(5, "relu"),
        fp.Residual([fp.LayerNorm(), fp.Residual([fp.Dense(5, "tanh")]), fp.Dense(5, "gelu")]),
        fp.Residual([fp.LayerNorm()]),
        fp.Dense(1),
    ],
}


@pytest.mark.parametrize("layers", SLOPES.values(), ids=SLOPES)
def test_slopes_of_one_output_against_torch(layers):
    torch = pytest.importorskip("torch")
    X, y, dy = wave(20)
    net = fp.Network(2, layers, dtype="float64", rng=0)
    net.params += np.random.default_rng(1).uniform(-0.3, 0.3, net.params.size)
    params = torch.tensor(net.params, requires_grad=True)
    x = torch.tensor(X, requires_grad=True)
    u = torch_function(net)(params, x)
    (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    value = ((u - torch.tensor(y)) ** 2).mean()
    value = value + 2.5 * ((du - torch.tensor(dy[:, 0])) ** 2).mean()
    value.backward()
    theirs = params.grad.numpy()
    before = net.params.copy()
    history = net.fit(
        X,
        y,
        derivatives=dy,
        derivative_weight=2.5,
        optimizer=fp.SGD(1.0),
        epochs=1,
        batch_size=None,
    )
    assert history.loss[0] == pytest.approx(value.item(), rel=1e-12)
    ours = before - net.params
    assert np.abs(ours - theirs).max() <= 1e-10 * np.abs(theirs).max()


@pytest.mark.parametrize("optimizer", [*KINDS, "lbfgs"], ids=repr)
def test_every_optimizer_learns_values_and_slopes(optimizer):
    X, y, dy = wave(60)
    net = network([2, 12, 1])
    solves = optimizer == "lbfgs"
    options = {"epochs": 40} if solves else {"epochs": 60, "batch_size": 16, "rng": 0}
    history = net.fit(X, y, derivatives=dy, optimizer=optimizer, **options)
    assert history.loss[-1] < 0.5 * history.loss[0]


@pytest.mark.parametrize("optimizer", [fp.Adam(0.02), "lbfgs"], ids=repr)
@double_first
def test_an_unknown_is_found(optimizer, dtype):
    """u' = -a u with a = 2, from values of u."""

    @numba.njit
    def decay(x, u, du, d2u, a):
        return du[0] + a * u

    X = np.linspace(0, 1, 30)[:, None]
    net = network([1, 10, 1], dtype=dtype)
    equation = fp.Equation(decay, np.linspace(0, 1, 50)[:, None], unknowns={"a": 0.5})
    epochs = 300 if optimizer == "lbfgs" else 1500
    net.fit(
        X, np.exp(-2 * X), equations=equation, optimizer=optimizer, epochs=epochs, batch_size=None
    )
    assert equation.unknowns["a"] == pytest.approx(2, rel=0.03)
    assert "a=" in repr(equation)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_several_equations(optimizer):
    """u'' = -u, with u(0) = 0 as a value and u'(0) = 1 as an equation at the boundary."""

    @numba.njit
    def oscillation(x, u, du, d2u):
        return d2u[0] + u

    @numba.njit
    def slope_at_0(x, u, du, d2u):
        return du[0] - 1

    net = network([1, 12, 1])
    points = np.linspace(0, 2, 60)[:, None]
    equations = [fp.Equation(oscillation, points), fp.Equation(slope_at_0, [[0.0]])]
    epochs = 200 if optimizer == "lbfgs" else 3000
    net.fit([[0.0]], [[0.0]], equations=equations, optimizer=optimizer, epochs=epochs)
    np.testing.assert_allclose(net.predict(points), np.sin(points), atol=0.03)


@double_first
@pytest.mark.parametrize("batch_size", [None, 50])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_threads_change_no_bit(dtype, batch_size, optimizer, monkeypatch):
    monkeypatch.setattr(along_inputs, "STACK_BYTES", 2**14)
    if optimizer == "lbfgs" and batch_size:
        return
    X, y, dy = wave(333)
    results = []
    for threads in (1, 3):
        net = network([2, 17, 9, 1], dtype=dtype)
        points = np.random.default_rng(2).uniform(-1, 1, (500, 2))
        equation = fp.Equation(burgers, points, unknowns={"nu": 0.1})
        options = {"derivatives": dy, "equations": equation, "epochs": 4, "rng": 3}
        net.fit(X, y, batch_size=batch_size, threads=threads, optimizer=optimizer, **options)
        results.append(np.append(net.params, equation.unknowns["nu"]))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("optimizer", [fp.Adam(0.01), "lbfgs"], ids=repr)
@pytest.mark.parametrize("threads", [1, 2])
def test_short_calls_change_no_bit(optimizer, threads, monkeypatch):
    """A batch of several blocks, of which a call may take few, and parts of an epoch."""
    monkeypatch.setattr(along_inputs, "STACK_BYTES", 2**14)
    X, y, dy = wave(301)
    results = []
    for blocks in (None, 1, 3):
        if blocks:
            monkeypatch.setattr(calls, "blocks_in_time", lambda *_, blocks=blocks: blocks)
            monkeypatch.setattr(calls, "SECONDS", 1e-9)
        net = network([2, 17, 9, 1])
        points = np.random.default_rng(2).uniform(-1, 1, (409, 2))
        equation = fp.Equation(burgers, points, unknowns={"nu": 0.1})
        options = {"derivatives": dy, "equations": equation, "epochs": 5, "rng": 3}
        size = None if optimizer == "lbfgs" else 150
        history = net.fit(X, y, batch_size=size, threads=threads, optimizer=optimizer, **options)
        results.append(np.concatenate([net.params, [equation.unknowns["nu"]], history.loss]))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_training_goes_on_from_a_checkpoint(tmp_path):
    X, y, dy = wave(70)
    options = {"derivatives": dy, "derivative_weight": 0.5, "batch_size": 16, "rng": 1}
    points = np.random.default_rng(2).uniform(-1, 1, (40, 2))

    @numba.njit
    def heat(x, u, du, d2u):
        return du[1] - d2u[0]

    options["equations"] = fp.Equation(heat, points)
    whole, parts = network([2, 8, 1]), network([2, 8, 1])
    history = whole.fit(X, y, epochs=6, **options)
    path = tmp_path / "checkpoint"

    def stop(epoch):
        return epoch.epoch == 2

    parts.fit(X, y, epochs=6, callbacks=[fp.Checkpoint(path), stop], **options)
    resumed = parts.fit(X, y, epochs=6, resume=path, **options)
    np.testing.assert_array_equal(parts.params, whole.params)
    np.testing.assert_array_equal(resumed.loss, history.loss)
    with pytest.raises(ValueError, match="derivative_weight"):
        parts.fit(X, y, epochs=6, resume=path, **(options | {"derivative_weight": 0.7}))


def test_epochs_are_means_of_batches_and_seeds_repeat():
    X, y, dy = wave(50)
    one, other, third = (network([2, 8, 1]) for _ in range(3))
    options = {"derivatives": dy, "batch_size": 20, "epochs": 3}
    first = one.fit(X, y, rng=5, **options)
    second = other.fit(X, y, rng=5, **options)
    np.testing.assert_array_equal(one.params, other.params)
    np.testing.assert_array_equal(first.loss, second.loss)
    third.fit(X, y, rng=6, **options)
    assert not np.array_equal(one.params, third.params)
    frozen = network([2, 8, 1])
    options |= {"optimizer": fp.SGD(1e-300), "shuffle": False}
    loss = frozen.fit(X, y, **options).loss[0]
    parts = [slice(0, 20), slice(20, 40), slice(40, 50)]
    losses = [expected_loss(frozen, X[p], y[p], None, dy[p], 1.0, None) for p in parts]
    assert loss == pytest.approx(np.dot(losses, [0.4, 0.4, 0.2]), rel=1e-12)


def test_batches_without_weight_are_passed_over():
    X, y, dy = wave(40)
    weight = np.ones(40)
    weight[20:] = 0
    one, other = network([2, 8, 1]), network([2, 8, 1])
    options = {"batch_size": 20, "shuffle": False, "epochs": 3}
    options["optimizer"] = fp.SGD(0.05, momentum=0.9)
    history = one.fit(X, y, sample_weight=weight, derivatives=dy, **options)
    expected = other.fit(X[:20], y[:20], derivatives=dy[:20], **options)
    np.testing.assert_array_equal(one.params, other.params)
    np.testing.assert_array_equal(history.loss, expected.loss)


def test_points_count_where_no_sample_does():
    """A batch whose samples have no weight trains on its points, and its loss does not count."""
    X, y, dy = wave(30)
    points = np.random.default_rng(2).uniform(-1, 1, (40, 2))
    weight = np.ones(30)
    weight[:15] = 0
    rate = 1e-2
    options = {"optimizer": fp.SGD(rate), "epochs": 1}
    net, other = network([2, 8, 1]), network([2, 8, 1])
    equation = fp.Equation(burgers, points, unknowns={"nu": 0.2})
    more = {"sample_weight": weight, "derivatives": dy, "equations": equation}
    history = net.fit(X, y, batch_size=15, shuffle=False, **more, **options)
    # by hand: an update by the first half of the points, then one by the rest of everything
    u, du, d2u = other.derivatives(points[:20])
    u, u_x, u_t, u_xx = u, du[:, 0], du[:, 1], d2u[:, 0]
    r = 2 / 20 * (u_t + u * u_x - 0.2 * u_xx)
    of_du, of_d2u = np.stack([r * u, r], axis=1), np.stack([-0.2 * r, 0 * r], axis=1)
    other.params -= rate * other.derivatives_vjp(points[:20], r * u_x, of_du, of_d2u)
    nu = 0.2 + rate * float((r * u_xx).sum())
    second = fp.Equation(burgers, points[20:], unknowns={"nu": nu})
    given = {"derivatives": dy[15:], "equations": second, "batch_size": None}
    expected = other.fit(X[15:], y[15:], **given, **options)
    np.testing.assert_allclose(net.params, other.params, rtol=1e-12, atol=1e-14)
    assert equation.unknowns["nu"] == pytest.approx(second.unknowns["nu"], rel=1e-12)
    assert history.loss[0] == pytest.approx(expected.loss[0], rel=1e-12)


@pytest.mark.parametrize("loss", ["ssr", "mae", "gaussian_nll"])
def test_every_loss_of_outputs_takes_slopes(loss):
    X, y, dy = wave(30, outputs=2)
    net = network([2, 6, 2], loss=loss)
    if loss == "gaussian_nll":
        y = y[:, :1]
    expected = expected_loss(net, X, y, None, dy, 0.5, None)
    options = {"derivatives": dy, "derivative_weight": 0.5, "batch_size": None, "epochs": 1}
    assert net.fit(X, y, **options).loss[0] == pytest.approx(expected, rel=1e-12)


def test_the_best_epoch_has_its_unknowns():
    X, y, _ = wave(40)
    seen = []

    def trained(optimizer, callbacks):
        net, equation = network([2, 8, 1]), fp.Equation(burgers, X, unknowns={"nu": 0.2})

        def look(epoch):
            seen.append(equation.unknowns["nu"])

        history = net.fit(
            X,
            y,
            equations=equation,
            optimizer=optimizer,
            batch_size=10,
            epochs=10,
            patience=100,
            callbacks=look if callbacks else (),
            rng=0,
        )
        return history, equation.unknowns["nu"]

    for optimizer in (fp.SGD(0.05), fp.Adam(0.5)):
        seen.clear()
        history, unknown = trained(optimizer, True)
        assert unknown == seen[history.best_epoch]
        assert trained(optimizer, False)[1] == unknown
    assert history.best_epoch < 9


def test_a_mask_and_clipping():
    X, y, dy = wave(40)
    net = network([2, 8, 1])
    mask = np.zeros(net.params.size, bool)
    mask[:5] = True
    before = net.params.copy()
    options = {"derivatives": dy, "trainable": mask, "epochs": 1, "batch_size": None}
    net.fit(X, y, optimizer=fp.SGD(1.0), clip_norm=1e-3, **options)
    moved = net.params - before
    assert not moved[5:].any()
    assert np.linalg.norm(moved) == pytest.approx(1e-3, rel=1e-3)
    net.fit(X, y, optimizer="lbfgs", **(options | {"epochs": 3}))
    np.testing.assert_array_equal(net.params[5:], before[5:])


def test_factors_and_averages_of_parameters():
    X, y, dy = wave(40)
    equation = fp.Equation(burgers, X, unknowns={"nu": 0.2})
    options = {"derivatives": dy, "batch_size": None, "optimizer": fp.SGD(0.1)}
    plain, net = network([2, 8, 1]), network([2, 8, 1])
    start, factors = plain.params.copy(), np.linspace(0, 2, plain.params.size)
    plain.fit(X, y, epochs=1, equations=equation, **options)
    equation.unknowns["nu"] = 0.2
    net.fit(X, y, epochs=1, learning_rate_factors=factors, equations=equation, **options)
    expected = start + factors * (plain.params - start)
    np.testing.assert_allclose(net.params, expected, rtol=1e-12, atol=1e-15)

    net, seen = network([2, 8, 1]), []
    for epochs in (1, 2, 3):
        net.params = start
        net.fit(X, y, epochs=epochs, **options)
        seen.append(net.params.copy())
    net.params = start
    net.fit(X, y, epochs=3, ema=0.5, **options)
    expected = np.average(seen, axis=0, weights=[0.25, 0.5, 1])
    np.testing.assert_allclose(net.params, expected, rtol=1e-12, atol=1e-15)


def test_a_loss_that_is_not_finite_ends_the_training():
    X, y, dy = wave(40)
    net = network([2, 8, 1])
    with pytest.warns(fp.DivergenceWarning):
        history = net.fit(X, y, derivatives=dy, optimizer=fp.SGD(1e200), epochs=50)
    assert history.stopped_by == "diverged"
    assert np.isfinite(net.params).all()


@numba.njit
def looping(x, u, du, d2u):
    total = 0.0
    for k in range(len(du)):
        total += du[k] * x[0] ** k
    i = int(u * 10) % 2
    while total > 1:
        total = total / 2 + i
    return total


@numba.njit
def wrong_index(x, u, du, d2u):
    return du[5]


@numba.njit
def of_words(x, u, du, d2u):
    return "r"


# ---- slopes of the user's own


@numba.njit
def slopes_of_burgers(x, u, du, d2u, nu):
    return du[0], (u, 1), (-nu, 0), -d2u[0]


@numba.njit
def roots(x, u, du, d2u, a, b):
    """Two residuals with a loop: u = the cube root of v by Newton's method, for two outputs."""
    root = 1.0
    for _ in range(60):
        root -= (root**3 - (2 + u[0])) / (3 * root**2)
    return root - a * du[1][1], u[1] * d2u[0][0] - b


@numba.njit
def slopes_of_roots(x, u, du, d2u, a, b):
    root = 1.0
    for _ in range(60):
        root -= (root**3 - (2 + u[0])) / (3 * root**2)
    none = (0.0, 0.0)
    first = (1 / (3 * root**2), 0.0), (none, (0.0, -a)), (none, none), -du[1][1], 0.0
    second = (0.0, d2u[0][0]), (none, none), ((u[1], 0.0), none), 0.0, -1.0
    return first, second


@double_first
def test_slopes_of_the_users_own_are_taken(dtype):
    X, y, _ = wave(30)
    results = []
    for slopes in (None, slopes_of_burgers):
        net = network([2, 8, 1], dtype=dtype)
        equation = fp.Equation(burgers, X, unknowns={"nu": 0.3}, slopes=slopes)
        history = net.fit(X, y, equations=equation, batch_size=11, epochs=3, rng=0)
        results.append(np.concatenate([net.params, [equation.unknowns["nu"]], history.loss]))
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(*results, rtol=tolerance, atol=tolerance)


def test_a_residual_with_a_loop_and_its_slopes():
    """Against differences of the loss; 23 points do not fill all registers."""
    X, y, _ = wave(20, outputs=2)
    places = np.random.default_rng(1).uniform(-1, 1, (23, 2))
    net = network([2, 7, 2])
    start = np.append(net.params, [0.7, 0.4])

    def at(theta, rate=1e-300):
        net.params = theta[:-2]
        values = {"a": theta[-2], "b": theta[-1]}
        equation = fp.Equation(roots, places, unknowns=values, slopes=slopes_of_roots)
        options = {"equations": equation, "batch_size": None, "epochs": 1}
        loss = net.fit(X, y, optimizer=fp.SGD(rate), **options).loss[0]
        return loss, np.append(net.params, list(equation.unknowns.values()))

    rate, h = 1e-3, 1e-4
    loss, after = at(start, rate)
    gradient = (start - after) / rate
    for v in (*np.random.default_rng(2).normal(size=(3, start.size)), *np.eye(start.size)[-2:]):
        near, far = (at(start + k * h * v)[0] - at(start - k * h * v)[0] for k in (1, 2))
        assert gradient @ v == pytest.approx((8 * near - far) / (12 * h), rel=1e-6, abs=1e-7)
    net.params = start[:-2]
    equation = fp.Equation(roots, places, unknowns={"a": 0.7, "b": 0.4}, slopes=slopes_of_roots)
    assert loss == pytest.approx(expected_loss(net, X, y, None, None, 1.0, equation), rel=1e-12)
    # derivatives that the residual does not read are not computed
    wanted = equation.compiled(net)
    assert (wanted.directions, wanted.seconds) == ((0, 1), 1)


@numba.njit
def wrong_slope(x, u, du, d2u, nu):
    return du[0], (u, 1), (nu, 0), -d2u[0]


@numba.njit
def few_slopes(x, u, du, d2u, nu):
    return du[0], (u, 1), (-nu, 0)


@numba.njit
def kinked(x, u, du, d2u):
    return max(u, 0.25) if x[0] > 0 else u


def test_a_kink_is_no_wrong_slope():
    net = network([1, 1])
    net.params = [0.0, 0.25]
    equation = fp.Equation(kinked, np.linspace(-1, 1, 9)[:, None], slopes=slopes_of_one_kink)
    net.fit([[0.0]], [[0.0]], equations=equation, epochs=1)


@numba.njit
def slopes_of_one_kink(x, u, du, d2u):
    return (1.0 if u > 0.25 or x[0] <= 0 else 0.0), (0,), (0,)


def points(columns=2):
    return np.zeros((3, columns))


def fitted(**options):
    X, y, _ = wave(10)
    network([2, 4, 1]).fit(X, y, **options)


def dropping(**options):
    layers = [fp.Dense(4), fp.Residual([fp.Dropout(0.1), fp.Dense(4)]), fp.Dense(1)]
    net = fp.Network(2, layers, rng=0)
    before, state = net.params.copy(), net.rng.bit_generator.state
    try:
        net.fit(*wave(10)[:2], **options)
    finally:
        np.testing.assert_array_equal(net.params, before)
        assert net.rng.bit_generator.state == state


WRONG = {
    "shape": (lambda: fitted(derivatives=np.zeros((10, 3))), "derivatives must have shape"),
    "rows": (lambda: fitted(derivatives=np.zeros((9, 1, 2))), "derivatives must have shape"),
    "NaN": (lambda: fitted(derivatives=np.full((10, 1, 2), np.nan)), "nan"),
    "weight": (lambda: fitted(derivatives=wave(10)[2], derivative_weight=-1), "derivative_weight"),
    "split": (lambda: fitted(derivatives=wave(10)[2], validation_split=0.2), "validation_split"),
    "solver": (
        lambda: fitted(derivatives=wave(10)[2], optimizer="levenberg_marquardt"),
        "no derivatives",
    ),
    "logits": (
        lambda: fp.Network(2, [fp.Dense(2, "softmax")], "cross_entropy").fit(
            np.zeros((4, 2)), [0, 1, 0, 1], derivatives=np.zeros((4, 2, 2))
        ),
        "logits",
    ),
    "dropout and slopes": (lambda: dropping(derivatives=wave(10)[2]), "dropout, which is off"),
    "dropout and an equation": (
        lambda: dropping(equations=fp.Equation(algebra, points()), optimizer="lbfgs"),
        "dropout, which is off",
    ),
    "batches": (lambda: network([2, 4, 1]).fit([], derivatives=wave(10)[2]), "need y"),
    "no equation": (lambda: fitted(equations=burgers), "fp.Equation"),
    "twice": (lambda: fitted(equations=[(e := fp.Equation(algebra, points())), e]), "twice"),
    "names": (
        lambda: fitted(
            equations=[fp.Equation(burgers, points(), unknowns={"nu": 1}) for _ in range(2)]
        ),
        "same name",
    ),
    "not compiled": (lambda: fp.Equation(lambda x, u, du, d2u: u, points()), "njit"),
    "slopes not compiled": (
        lambda: fp.Equation(algebra, points(), slopes=lambda x, u, du, d2u: u),
        "slopes must be a function",
    ),
    "slopes that are wrong": (
        lambda: fitted(
            equations=fp.Equation(burgers, wave(7)[0], unknowns={"nu": 1}, slopes=wrong_slope)
        ),
        r"with respect to d2u\[0\] is -1 by differences, and 1 by",
    ),
    "slopes of other arguments": (
        lambda: fitted(equations=fp.Equation(algebra, points(), slopes=wrong_slope)),
        "the slopes wrong_slope takes 5 arguments",
    ),
    "few slopes": (
        lambda: fitted(
            equations=fp.Equation(burgers, points(), unknowns={"nu": 1}, slopes=few_slopes)
        ),
        "d2u and each unknown, in tuples like these",
    ),
    "no points": (lambda: fp.Equation(algebra, np.zeros((0, 2))), "points"),
    "columns": (lambda: fitted(equations=fp.Equation(algebra, points(3))), "3 columns"),
    "directions": (
        lambda: fitted(equations=fp.Equation(algebra, points(), directions=[[1, 2, 3]])),
        "directions must be",
    ),
    "unknowns": (lambda: fp.Equation(algebra, points(), unknowns={"a": np.nan}), "unknowns"),
    "weight of it": (lambda: fp.Equation(algebra, points(), weight=0), "weight"),
    "loop": (lambda: fitted(equations=fp.Equation(looping, points())), "cannot be derived"),
    "index": (lambda: fitted(equations=fp.Equation(wrong_index, points())), "does not compile"),
    "words": (lambda: fitted(equations=fp.Equation(of_words, points())), "must return"),
    "arguments": (lambda: fitted(equations=fp.Equation(burgers, points())), "takes 5 arguments"),
    "checkpoint": (
        lambda: fitted(
            equations=fp.Equation(burgers, points(), unknowns={"nu": 1}),
            callbacks=fp.Checkpoint("nowhere"),
        ),
        "unknowns",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_an_error(case):
    call, message = WRONG[case]
    with pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.parametrize("dtype", DTYPES)
def test_only_the_derivatives_that_are_used_are_computed(dtype):
    net = network([2, 4, 1], dtype=dtype)
    found = fp.Equation(burgers, points(), unknowns={"nu": 1}).compiled(net)
    assert (found.directions, found.seconds, found.results) == ((0, 1), 1, 1)
    found = fp.Equation(algebra, points()).compiled(net)
    assert (found.directions, found.seconds) == ((0,), 0)
    assert fp.Equation(algebra, points()).compiled(net) is found
