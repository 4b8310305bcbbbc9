"""The compiled iterations: each against plain NumPy, in parts, in threads, and where they fail."""

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

import flatprop as fp
from flatprop import kernels
from flatprop.evaluation import calls
from flatprop.formulas.activations import ACTIVATIONS
from flatprop.kernels.network import cholesky, least_squares
from flatprop.kernels.network.damping import MU
from flatprop.kernels.network.least_squares_call import N_SOLVER, NOT_A_NUMBER
from solver_problems import SHAPES, every_other, network, samples

# ---- the normal equations


@numba.njit
def gram(a, rows, n, cuts, out, scratch):
    for cut in range(cuts.size - 1):
        some = cuts[cut + 1] - cuts[cut]
        part = np.empty(some * n)
        for j in range(cholesky.tiles_of(n)):
            panel = cholesky.columns_of(part, some, n, j)
            for i in range(some):
                for c in range(panel.shape[1]):
                    panel[i, c] = a[cuts[cut] + i, j * cholesky.EDGE + c]
        for j in range(cholesky.tiles_of(n)):
            cholesky.gram_panel(part, some, n, j, cut > 0, out, scratch)


@numba.njit
def factored(symmetric, scale, mu, n, out, scratch):
    for j in range(cholesky.tiles_of(n)):
        for i in range(j + 1):
            if not cholesky.factor_tile(symmetric, scale, mu, n, i, j, out, scratch):
                return False
    return True


@numba.njit
def solved(factor, n, out):
    cholesky.solve_upwards(factor, n, out)


def dense(panels, n):
    """The upper triangle of a matrix in panels."""
    out, start = np.zeros((n, n)), 0
    for j in range(cholesky.tiles_of(n)):
        left = j * cholesky.EDGE
        columns = min(cholesky.EDGE, n - left)
        rows = left + columns
        start = cholesky.EDGE**2 * (j * (j + 1) // 2)
        out[:rows, left:rows] = panels[start : start + rows * columns].reshape(rows, columns)
    return np.triu(out)


@pytest.mark.parametrize("n", [2, 8, 34, 63, 64, 65, 128, 129, 200])
def test_the_normal_equations_are_those_of_numpy(n):
    rng = np.random.default_rng(n)
    rows = n + 40
    a = rng.normal(size=(rows, n))
    scale = np.r_[rng.uniform(0.5, 2, n - 1), 1.0]
    scratch = np.empty(cholesky.products_scratch_size(rows, n))
    S, U = (np.full(cholesky.panels_size(n), np.nan) for _ in range(2))
    gram(a, rows, n, np.array([0, 17, rows]), S, scratch)
    expected = a.T @ a
    np.testing.assert_allclose(dense(S, n), np.triu(expected), rtol=1e-12, atol=1e-11)
    mu = 0.3
    assert factored(S, scale, mu, n, U, scratch)
    damped = expected * scale * scale[:, None] + mu * np.eye(n)
    upper = np.linalg.cholesky(damped).T
    np.testing.assert_allclose(dense(U, n)[:-1], upper[:-1], rtol=1e-10, atol=1e-10)
    x = np.empty(n)
    solved(U, n, x)
    np.testing.assert_allclose(
        x, np.r_[-np.linalg.solve(damped[:-1, :-1], damped[:-1, -1]), 1.0], rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("n", [5, 70, 200])
@pytest.mark.parametrize("pivot", [0.0, -1.0, np.nan, np.inf])
def test_a_pivot_that_is_not_positive_is_told(n, pivot):
    place = n - 2
    symmetric = np.zeros(cholesky.panels_size(n))
    for k in range(n):
        j, start = k // cholesky.EDGE, 0
        columns = min(cholesky.EDGE, n - j * cholesky.EDGE)
        start = cholesky.EDGE**2 * (j * (j + 1) // 2)
        symmetric[start + k * columns + k % cholesky.EDGE] = pivot if k == place else 1.0
    scratch = np.empty(cholesky.products_scratch_size(n, n))
    U = np.empty_like(symmetric)
    assert not factored(symmetric, np.ones(n), 0.0, n, U, scratch)
    if np.isfinite(pivot):
        assert factored(symmetric, np.ones(n), 2.0, n, U, scratch)


# ---- the iterations


def in_numpy(net, X, y, w, trained, solver, epochs):
    """The algorithm over float64 matrices of J: the losses, μ after each iteration, and θ."""
    net = net.copy()
    mu, D, losses, mus = solver.mu, 0.0, [], []
    root = np.repeat(np.sqrt(w.astype(float)), net.outputs)
    for _ in range(epochs):
        J = net.jacobian(X, wrt="params").reshape(-1, net.params.size)[:, trained].astype(float)
        r = root * (net.predict(X).astype(float) - y).ravel()
        J *= root[:, None]
        losses.append(net.loss(X, y, w))
        A, g = J.T @ J, J.T @ r
        D = np.maximum(D, np.diag(A)) if solver.scaling == "more" else np.ones(len(A))
        before = net.params.copy()
        while True:
            step = -np.linalg.solve(A + mu * np.diag(D), g)
            net.params[trained] = before[trained] + step
            if net.loss(X, y, w) < losses[-1]:
                mu *= solver.mu_dec
                break
            mu *= solver.mu_inc
        mus.append(mu)
    return np.array(losses), np.array(mus), net.params


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scaling", ["levenberg", "more"])
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("masked", [False, True])
def test_every_iteration_is_that_of_numpy(shape, scaling, dtype, masked, monkeypatch):
    net = network(shape, dtype=dtype)
    X, y, w = samples(net)
    trained = every_other(net) if masked else np.ones(net.params.size, bool)
    solver, epochs = fp.LevenbergMarquardt(scaling=scaling), 4
    losses, mus, params = in_numpy(net, X, y, w, trained, solver, epochs)
    seen, advance = [], least_squares.advance

    def observed(*arguments):
        status = advance(*arguments)
        seen.append(arguments[3].settings[MU])
        return status

    monkeypatch.setattr(least_squares, "advance", observed)
    history = net.fit(
        X,
        y,
        optimizer=solver,
        epochs=epochs,
        sample_weight=w,
        trainable=trained,
        callbacks=lambda epoch: None,
    )
    close = {"rtol": 1e-7, "atol": 1e-9} if dtype == "float64" else {"rtol": 2e-3, "atol": 2e-4}
    np.testing.assert_allclose(history.loss, losses, **close)
    np.testing.assert_allclose(net.params, params, **close)
    np.testing.assert_allclose(seen[:epochs], mus, rtol=1e-12)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "softmax"])
def test_each_activation_begins_at_the_loss_of_the_network(activation):
    net = fp.Network(2, [fp.Dense(5, activation), fp.Dense(2)], "mse", "float64", rng=0)
    X, y, w = samples(net)
    before = net.loss(X, y, w)
    history = net.fit(X, y, optimizer="levenberg_marquardt", epochs=6, sample_weight=w)
    assert history.loss[0] == pytest.approx(before, rel=1e-14)
    assert (np.diff(history.loss) < 0).all()
    assert net.loss(X, y, w) <= history.loss[-1]


OPTIONS = {
    "plain": {},
    "weights": {"sample_weight": True},
    "a mask": {"trainable": True},
    "scaled": {"optimizer": fp.LevenbergMarquardt(scaling="more")},
    "relative": {"optimizer": fp.LevenbergMarquardt(relative=True, ftol=1e-9)},
}


def fitted(options, dtype="float64", rows=300, **more):
    net = fp.Network(2, [fp.Dense(30, "tanh"), fp.Dense(2)], "mse", dtype, rng=0)
    X, y, w = samples(net, rows)
    options = {"optimizer": "levenberg_marquardt", "epochs": 12} | options | more
    if "sample_weight" in options:
        options["sample_weight"] = w
    if "trainable" in options:
        options["trainable"] = every_other(net)
    history = net.fit(X, y, **options)
    return net.params.tobytes(), history.loss.tobytes(), history.message


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_parts_callbacks_and_threads_leave_every_bit(options, dtype, monkeypatch):
    given = OPTIONS[options]
    whole = fitted(given, dtype)
    assert fitted(given, dtype, callbacks=lambda epoch: None) == whole
    assert fitted(given, dtype, tol=0.0) == whole
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: fitted(given, dtype), range(8))) == {whole}
    monkeypatch.setattr(calls, "PER_SECOND", 1e-300)  # so that each call does one thing
    monkeypatch.setattr(calls, "SECONDS", 1e-300)
    assert fitted(given, dtype) == whole


def test_a_call_that_is_interrupted_leaves_the_iterations_before_it(monkeypatch):
    """Where no callback looks at them."""
    net, twin = network(), network()
    X, y, _ = samples(net)
    advance, count = least_squares.advance, 0

    def interrupted(*arguments):
        nonlocal count
        count += 1
        if count == 40:
            raise KeyboardInterrupt
        return advance(*arguments)

    monkeypatch.setattr(least_squares, "advance", interrupted)
    monkeypatch.setattr(calls, "SECONDS", 1e-300)
    history = net.fit(X, y, optimizer="levenberg_marquardt", epochs=50)
    assert history.stopped_by == "interrupted"
    assert 0 < history.epochs < 40 / 6
    monkeypatch.undo()
    twin.fit(X, y, optimizer="levenberg_marquardt", epochs=history.epochs)
    assert np.array_equal(net.params, twin.params)


@pytest.mark.slow  # compiled to be called by C
def test_singular_equations_are_damped_until_they_can_be_solved():
    """Two equal inputs, in numbers with which the second pivot is 0 but for μ."""
    net = fp.Network(2, [fp.Dense(1)], "ssr", "float64")
    net.params = [0.0, 0.0, 0.0]
    X = np.array([[2.0, 2.0], [-2.0, -2.0], [2.0, 2.0], [-2.0, -2.0]])
    y = 3 * X[:, :1]
    state = fp.LevenbergMarquardt(mu=1e-19, mu_dec=0.5).start(net.params)
    workspace = np.empty(kernels.levenberg_marquardt_workspace_size(net.layers, 4))
    loss = call((net.layers, net.objectives, net.params), X, y, None, state, 1, workspace)
    assert loss < 1e-6
    assert state[0] > 1e-17  # 16 + 1e-19 is 16
    assert net.params[:2].sum() == pytest.approx(3, rel=1e-3)


def test_an_input_without_an_influence_has_no_column():
    """Its D is 0, and its weight stays as it is."""
    net = fp.Network(2, [fp.Dense(3, "tanh"), fp.Dense(1)], "mse", "float64", rng=0)
    X = np.c_[np.linspace(-1, 1, 30), np.zeros(30)]
    before = net.weights[0][1].copy()
    solver = fp.LevenbergMarquardt(scaling="more")
    history = net.fit(X, X[:, 0] ** 2, optimizer=solver, epochs=20)
    assert history.loss[-1] < history.loss[0] / 10
    assert np.array_equal(net.weights[0][1], before)


def test_more_parameters_than_a_tile_and_fewer_samples_than_parameters():
    net = fp.Network(3, [fp.Dense(40, "tanh"), fp.Dense(1)], "mse", "float64", rng=0)
    X, y, _ = samples(net, 50)
    history = net.fit(X, y, optimizer="levenberg_marquardt", epochs=60)
    assert history.loss[-1] < 1e-9


def test_settings_that_are_not_there():
    with pytest.raises(ValueError, match=r"unknown scaling 'Marquardt'.*levenberg, more"):
        fp.LevenbergMarquardt(scaling="Marquardt")
    with pytest.raises(ValueError, match="only fit does"):
        fp.LevenbergMarquardt(relative=True).start(np.zeros(3))


# ---- from compiled code


@numba.njit(nogil=True)
def call(network, x, y, weight, solver, iterations, workspace):
    return kernels.levenberg_marquardt(*network, x, y, weight, solver, iterations, workspace)


@numba.njit
def sizes(layers, rows):
    return kernels.levenberg_marquardt_workspace_size(layers, rows)


def called(net, solver, epochs, weighted, rows=40, calls=1):
    X, y, w = samples(net, rows)
    X, y, w = (np.ascontiguousarray(array, net.dtype) for array in (X, y, w))
    size = kernels.levenberg_marquardt_workspace_size(net.layers, rows)
    assert size == sizes(net.layers, rows)
    guarded = np.full(size + 64, 7.0, net.dtype)
    state = solver.start(net.params)
    assert (state.size, state.dtype) == (N_SOLVER, net.dtype)
    for _ in range(calls):
        loss = call(
            (net.layers, net.objectives, net.params),
            X,
            y,
            w if weighted else None,
            state,
            epochs,
            guarded[3:-61],
        )
    assert (guarded[:3] == 7).all()
    assert (guarded[-61:] == 7).all()
    return loss, state, (X, y, w if weighted else None)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scaling", ["levenberg", "more"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_code_makes_the_iterations_of_fit(shape, scaling, weighted, dtype):
    net, twin = network(shape, dtype=dtype), network(shape, dtype=dtype)
    solver = fp.LevenbergMarquardt(  # in digits that float32 has, too
        mu=2.0**-10, mu_dec=0.125, mu_inc=8.0, min_grad=0, scaling=scaling
    )
    loss, state, data = called(net, solver, 9, weighted)
    twin.fit(*data[:2], optimizer=solver, epochs=9, sample_weight=data[2])
    assert np.array_equal(net.params, twin.params)
    assert loss == pytest.approx(twin.loss(*data), rel=1e-14 if dtype == "float64" else 1e-6)
    assert state[-1] == 0


@pytest.mark.slow  # compiled to be called by C
def test_a_second_call_goes_on():
    net, twin = network(), network()
    solver = fp.LevenbergMarquardt(min_grad=0)
    _, state, _ = called(net, solver, 4, True, calls=3)
    _, expected, _ = called(twin, solver, 12, True)
    assert np.array_equal(net.params, twin.params)
    assert np.array_equal(state, expected)


RULES = [
    (fp.LevenbergMarquardt(goal=0.02), 1),
    (fp.LevenbergMarquardt(min_grad=1e-3), 2),
    (fp.LevenbergMarquardt(min_grad=0), 3),
    (fp.LevenbergMarquardt(min_grad=0, ftol=1e-4), 4),
    (fp.LevenbergMarquardt(min_grad=0, xtol=1e-2), 5),
]


@pytest.mark.slow  # compiled to be called by C
@pytest.mark.parametrize(("solver", "rule"), RULES)
def test_compiled_code_learns_the_rule(solver, rule):
    net, twin = network(), network()
    loss, state, data = called(net, solver, 5000, True)
    twin.fit(*data[:2], optimizer=solver, epochs=5000, sample_weight=data[2])
    assert state[-1] == rule
    assert np.array_equal(net.params, twin.params)
    assert loss == pytest.approx(net.loss(*data), rel=1e-14)


@pytest.mark.slow  # compiled to be called by C
def test_compiled_code_learns_of_numbers_that_are_not_finite():
    net = network()
    net.params[0] = np.nan
    before = net.params.copy()
    loss, state, _ = called(net, fp.LevenbergMarquardt(), 5, False)
    assert np.isnan(loss)
    assert state[-1] == NOT_A_NUMBER
    assert np.array_equal(net.params, before, equal_nan=True)


@pytest.mark.slow  # compiled to be called by C
@pytest.mark.parametrize("case", ["mae", "no iteration"])
def test_compiled_code_that_asks_for_nothing_gets_nothing(case):
    net = network(loss="mae" if case == "mae" else "mse")
    before = net.params.copy()
    loss, _, _ = called(net, fp.LevenbergMarquardt(), 0 if case == "no iteration" else 3, False)
    assert np.isnan(loss)
    assert np.array_equal(net.params, before)


@pytest.mark.slow  # compiled to be called by C
def test_checked_iterations():
    net = network()
    X, y, _ = samples(net)
    solver = fp.LevenbergMarquardt().start(net.params)
    workspace = np.empty(kernels.levenberg_marquardt_workspace_size(net.layers, 40))
    given = net.layers, net.objectives, net.params, X, y, None
    checked = kernels.checked.levenberg_marquardt
    before = net.loss(X, y)
    assert checked(*given, solver, 3, workspace) < before
    with pytest.raises(ValueError, match="levenberg_marquardt_workspace_size"):
        checked(*given, solver, 3, workspace[:-1])
    with pytest.raises(ValueError, match="has not the shape"):
        checked(*given, solver[:-1], 3, workspace)
    with pytest.raises(ValueError, match="overlaps"):
        checked(*given, workspace[: solver.size], 3, workspace)


@pytest.mark.slow  # compiled to be called by C
def test_c_makes_the_same_iterations():
    net, twin = network(), network()
    _, _, (X, y, w) = called(twin, fp.LevenbergMarquardt(), 7, True)
    names = ["levenberg_marquardt", "levenberg_marquardt_workspace_size"]
    table, c_net = fp.c_functions("float64", only=names), fp.c_network(net)
    workspace = np.empty(table.levenberg_marquardt_workspace_size(c_net, len(X)))
    solver = fp.LevenbergMarquardt().start(net.params)
    table.levenberg_marquardt(c_net, len(X), X, y, 1, w, solver, 7, workspace)
    assert np.array_equal(net.params, twin.params)
