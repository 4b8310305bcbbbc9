"""What other compiled code calls: results, allocation, recompilation, threads, caches."""

import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numba
import numpy as np
import pytest
from numba.core import event

import flatprop as fp
from flatprop import kernels
from flatprop.evaluation import crew
from flatprop.kernels import checked
from flatprop.kernels.network import entry_points
from flatprop.kernels.network import workspace as sizes_of
from flatprop.kernels.threads.team import MOST_UNITS
from flatprop.samples.in_memory import in_memory
from guards import assert_guards_intact, guarded, read_only
from networks import both_dtypes, double_first, samples
from networks import network as make
from processes import run

ARCHITECTURES = [
    pytest.param([3, 5, 2], 1, id="3-5-2 b1"),
    pytest.param([3, 5, 2], 7, id="3-5-2 b7"),
    pytest.param([1, 1], 3, id="1-1 b3"),
    pytest.param([2, 33, 17, 1], 300, id="2-33-17-1 b300"),
    pytest.param([600, 1030, 9], 20, id="600-1030-9 b20"),
]


@numba.njit
def all_of_them(layers, objectives, params, v, x, y, weight, results, workspace):
    out, gradient, dL_dx, by_inputs, by_params, each, hessian, newton = results
    k = layers[layers.size - 1].units
    rows = x.shape[0]
    kernels.forward(layers, params, x, out, workspace)
    loss = kernels.loss(layers, objectives, params, x, y, weight, workspace)
    same = kernels.loss_and_gradient(
        layers, objectives, params, x, y, weight, gradient[0], workspace
    )
    gradient[1] = 0
    kernels.vjp(layers, params, x, y, dL_dx, gradient[1], workspace)
    kernels.jacobian(layers, params, x, by_inputs.reshape(rows * k, x.shape[1]), workspace)
    flat = by_params.reshape(rows * k, params.size)
    kernels.parameter_jacobian(layers, params, x, flat, workspace)
    kernels.per_sample_gradients(layers, objectives, params, x, y, each, workspace)
    kernels.hessian_vector_product(layers, objectives, params, v, x, y, weight, hessian, workspace)
    kernels.gauss_newton_vector_product(
        layers, objectives, params, v, x, y, weight, newton, workspace
    )
    return loss, same, kernels.gradient_workspace_size(layers, rows)


@numba.njit
def along_directions(layers, params, x, directions, results, workspace):
    u, du, d2u, alone, gradient, first = results
    none = d2u[:0]
    kernels.derivatives(layers, params, x, directions, u, du, d2u, workspace)
    kernels.derivatives(layers, params, x, directions, u, alone, none, workspace)
    kernels.derivatives_vjp(layers, params, x, directions, u, du, d2u, gradient, workspace)
    kernels.derivatives_vjp(layers, params, x, directions, u, du, none, first, workspace)
    return kernels.derivatives_workspace_size(layers, x.shape[0], directions.shape[0])


@pytest.mark.parametrize(("sizes", "rows"), ARCHITECTURES)
@pytest.mark.parametrize("count", [1, 3])
@both_dtypes
@pytest.mark.slow
def test_derivatives_along_directions(sizes, rows, count, dtype):
    net = make(sizes, dtype=dtype)
    x, *_ = samples(net, rows)
    directions = np.random.default_rng(0).normal(size=(count, net.inputs)).astype(dtype)
    size = kernels.derivatives_workspace_size(net.layers, rows, count)
    whole, workspace = guarded(np.empty(size, dtype))
    outputs, derivatives = (rows, net.outputs), (rows * count, net.outputs)
    results = [np.full(shape, np.nan, dtype) for shape in (outputs, *[derivatives] * 3)]
    results += [np.zeros_like(net.params), np.zeros_like(net.params)]
    arguments = net.layers, net.params, x, directions, tuple(results), workspace
    assert along_directions(*arguments) == size
    assert_guards_intact(whole)
    u, du, d2u, alone, gradient, first = results
    shape = rows, count, net.outputs
    expected = net.derivatives(x, directions)
    slopes = u, du.reshape(shape), d2u.reshape(shape)
    tolerance = (
        {"rtol": 1e-4, "atol": 2e-4} if dtype == np.float32 else {"rtol": 1e-10, "atol": 1e-12}
    )
    for ours, theirs in zip(slopes, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, **tolerance)
    np.testing.assert_array_equal(alone, du)
    scale = np.abs(gradient).max()
    of_both = net.derivatives_vjp(x, *slopes, directions)
    of_first = net.derivatives_vjp(x, *slopes[:2], None, directions)
    np.testing.assert_allclose(gradient / scale, of_both / scale, **tolerance)
    np.testing.assert_allclose(first / scale, of_first / scale, **tolerance)


@numba.njit
def curved(layers, params, x, out, workspace):
    kernels.hessian(layers, params, x, out, workspace)
    return kernels.hessian_workspace_size(layers, x.shape[0])


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (3, 2), (13, 1)])
@both_dtypes
@pytest.mark.slow
def test_hessian_with_respect_to_inputs(inputs, outputs, dtype):
    """13 inputs have more pairs than go through the network together."""
    net = make([inputs, 9, outputs], dtype=dtype)
    x = np.random.default_rng(0).normal(size=(5, inputs)).astype(dtype)
    size = kernels.hessian_workspace_size(net.layers, 5)
    whole, workspace = guarded(np.empty(size, dtype))
    out = np.full((5 * outputs, inputs**2), np.nan, dtype)
    assert curved(net.layers, net.params, x, out, workspace) == size
    assert_guards_intact(whole)
    expected = net.hessian(x)
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(out.reshape(expected.shape), expected, tolerance, tolerance)
    assert (expected != 0).all()
    checked.hessian(net.layers, net.params, x, again := np.empty_like(out), workspace)
    np.testing.assert_array_equal(again, out)
    with pytest.raises(ValueError, match="workspace is smaller"):
        checked.hessian(net.layers, net.params, x, again, workspace[:-1])
    with pytest.raises(ValueError, match="has not the shape"):
        checked.hessian(net.layers, net.params, x, again[1:], workspace)


def empty_results(net, rows):
    k, n, size = net.outputs, net.inputs, net.params.size
    shapes = [
        (rows, k),
        (2, size),
        (rows, n),
        (rows, k, n),
        (rows, k, size),
        (rows, size),
        (size,),
        (size,),
    ]
    return tuple(np.full(shape, np.nan, net.dtype) for shape in shapes)


# float32 is held against this by `test_c_functions.py`, which compiles it anyway.
@pytest.mark.parametrize(("sizes", "rows"), ARCHITECTURES)
@pytest.mark.slow
def test_every_function_gives_what_network_gives(sizes, rows):
    net = make(sizes)
    x, y, weight = samples(net, rows)
    v = np.linspace(-1, 1, net.params.size)
    results = empty_results(net, rows)
    whole, workspace = guarded(np.empty(kernels.gradient_workspace_size(net.layers, rows)))
    loss, same, size = all_of_them(
        net.layers, net.objectives, net.params, v, x, y, weight, results, workspace
    )
    assert size == workspace.size
    assert_guards_intact(whole)
    out, gradient, dL_dx, by_inputs, by_params, each, hessian, newton = results
    expected_loss, expected = net.loss_and_gradient(x, y, weight)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert same == pytest.approx(expected_loss, rel=1e-6)
    back = net.vjp(x, y)
    for ours, theirs in (
        (out, net.predict(x)),
        (gradient[0], expected),
        (dL_dx, back[0]),
        (gradient[1], back[1]),
        (by_inputs, net.jacobian(x)),
        (by_params, net.jacobian(x, wrt="params")),
        (each, net.per_sample_gradients(x, y)),
        (hessian, net.hessian_vector_product(x, y, v, weight)),
        (newton, net.gauss_newton_vector_product(x, y, v, weight)),
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@both_dtypes
@pytest.mark.parametrize(
    ("sizes", "rows"), [([3, 5, 2], 7), ([2, 33, 17, 1], 264), ([600, 1030, 260], 340)]
)
@pytest.mark.slow
def test_kernels_stay_within_the_workspace_they_ask_for(sizes, rows, dtype):
    """Each inner kernel with just what its own function says, less than the public one."""
    net = make(sizes, dtype=dtype)
    x, y, _ = samples(net, rows)
    v, out, weight = np.ones_like(net.params), np.empty_like(net.params), np.ones_like(y)
    network, with_loss = (net.layers, net.params), (net.layers, net.objectives, net.params)
    units = sum(sizes[1:])

    def within(size, kernel, *arguments):
        whole, workspace = guarded(np.empty(size(net.layers, rows), dtype))
        if kernel is entry_points.loss_and_gradient:
            ones, scratch = np.ones(y.size, dtype), workspace[2 * rows * units :]
            block = sizes_of.Block(rows, ones, workspace, scratch, np.zeros(MOST_UNITS))
            kernel(*arguments, block, crew.ALONE, True)
        else:
            kernel(*arguments, workspace)
        assert_guards_intact(whole)

    within(sizes_of.workspace_size, entry_points.predict, *network, x, np.empty_like(y), rows)
    size, data = sizes_of.backward_workspace_size, in_memory(net, x, y)
    one = 1, np.zeros(1)
    within(size, entry_points.loss_and_gradient, *with_loss, data, 0, rows, 1.0, *one, out)
    within(size, entry_points.vjp, *network, x, y, np.empty_like(x), out)
    if net.params.size < 10_000:  # otherwise the result alone would be gigabytes
        each = np.empty((rows, out.size), dtype)
        within(size, entry_points.per_sample_gradients, *with_loss, x, y, weight, 1.0, each)
    result = np.empty((rows, y.shape[1] * x.shape[1]), dtype)
    size = sizes_of.jacobian_workspace_size
    within(size, entry_points.jacobian, *network, x, 0, net.outputs, result)
    size = sizes_of.curvature_workspace_size
    for kernel in (entry_points.hessian_vector_product, entry_points.gauss_newton_vector_product):
        within(size, kernel, *with_loss, v, x, y, weight, 1.0, False, out)


@numba.njit
def steps(layers, objectives, params, x, y, weight, optimizer, gradient, workspace, times):
    loss = 0.0
    for _ in range(times):
        loss = kernels.training_step(
            layers, objectives, params, x, y, weight, optimizer, gradient, workspace
        )
    return loss


@numba.njit
def sgd_steps(layers, objectives, params, x, y, weight, rate, workspace, times):
    loss = 0.0
    for _ in range(times):
        loss = kernels.sgd_step(layers, objectives, params, x, y, weight, rate, workspace)
    return loss


OPTIMIZERS = [
    fp.SGD(0.05),
    fp.SGD(0.05, momentum=0.9, nesterov=True),
    fp.Adam(0.01),
    fp.Adam(0.01, amsgrad=True),
    fp.AdamW(0.01),
    fp.RMSprop(centered=True),
    fp.Adagrad(0.1, initial_accumulator_value=0.2),
    fp.Rprop(),
    fp.Adam(fp.schedules.Exponential(0.01, 1.0)),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_training_steps_are_those_of_fit(optimizer):
    net = make([3, 8, 2])
    x, y, weight = samples(net, 30)
    ours = net.copy()
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 30))
    state = optimizer.start(ours.params)
    gradient = np.empty_like(ours.params)
    network = ours.layers, ours.objectives, ours.params
    loss = steps(*network, x, y, weight, state, gradient, workspace, 25)
    history = net.fit(x, y, optimizer=optimizer, epochs=25, batch_size=None, sample_weight=weight)
    assert loss == pytest.approx(history.loss[-1], rel=1e-12)
    np.testing.assert_allclose(ours.params, net.params, atol=1e-13)
    assert state.settings[0] == 25


def test_sgd_step_is_that_of_fit():
    net = make([3, 8, 2])
    x, y, _ = samples(net, 30)
    ours = net.copy()
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 30))
    network = ours.layers, ours.objectives, ours.params
    loss = sgd_steps(*network, x, y, None, 0.05, workspace, 25)
    history = net.fit(x, y, optimizer=fp.SGD(0.05), epochs=25, batch_size=None)
    assert loss == history.loss[-1]
    np.testing.assert_array_equal(ours.params, net.params)


def test_the_learning_rate_can_be_changed_between_steps():
    net = make([3, 8, 2])
    x, y, _ = samples(net, 30)
    state = fp.SGD(0.1).start(net.params)
    before, gradient = net.params.copy(), net.loss_and_gradient(x, y)[1]
    state.settings[kernels.LEARNING_RATE] = 0.25
    kernels.update(state, net.params, gradient)
    np.testing.assert_allclose(net.params, before - 0.25 * gradient, rtol=1e-14)


@pytest.mark.parametrize(
    ("last", "loss"), [("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy")]
)
def test_losses_from_logits_and_class_indices(last, loss):
    net = make([3, 6, 4], ["tanh", last], loss)
    x, y, weight = samples(net, 9)
    if loss == "cross_entropy":
        y = (np.arange(9.0) % 4)[:, None]
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 9))
    gradient = np.empty_like(net.params)
    network = net.layers, net.objectives, net.params
    expected = net.loss_and_gradient(x, y[:, 0] if y.shape[1] == 1 else y, weight)
    value = kernels.loss_and_gradient(*network, x, y, weight, gradient, workspace)
    assert value == pytest.approx(expected[0], rel=1e-14)
    np.testing.assert_allclose(gradient, expected[1], atol=1e-15)
    assert kernels.loss(*network, x, y, weight, workspace) == pytest.approx(value, rel=1e-14)


# ---- allocation, recompilation, threads, caches


@numba.njit
def often(layers, objectives, params, v, x, y, weight, results, optimizer, workspace, times):
    """Every function, `times` times."""
    gradient = results[1][0]
    for _ in range(times):
        all_of_them(layers, objectives, params, v, x, y, weight, results, workspace)
        network = layers, objectives, params
        steps(*network, x, y, weight, optimizer, gradient, workspace, 1)
        sgd_steps(*network, x, y, weight, 1e-3, workspace, 1)


@pytest.mark.slow
def test_nothing_is_allocated(allocations):
    net = make([8, 64, 64, 2])
    x, y, weight = samples(net, 1)
    network = net.layers, net.objectives, net.params
    results = empty_results(net, 1)
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 1))
    rest = np.ones_like(net.params), x, y, weight, results, fp.Adam().start(net.params), workspace

    def beyond_the_first(function, *arguments):
        """Of a call that repeats something a hundred times, beyond those of doing it once."""
        function(*arguments, 1)
        once, more = (allocations(function, *arguments, times) for times in (1, 101))
        return more - once

    assert beyond_the_first(often, *network, *rest) == 0


@pytest.mark.slow
def test_another_architecture_compiles_nothing():
    for first, sizes in ((True, [3, 5, 2]), (False, [7, 70, 33, 4])):
        net = make(sizes, loss="mse" if first else "huber")
        x, y, weight = samples(net, 6)
        network = net.layers, net.objectives, net.params
        workspace = np.empty(kernels.gradient_workspace_size(net.layers, 6))
        v, state = np.ones_like(net.params), OPTIMIZERS[0 if first else 5].start(net.params)
        with event.install_recorder("numba:compile") as recorder:
            all_of_them(*network, v, x, y, weight, empty_results(net, 6), workspace)
            steps(*network, x, y, weight, state, np.empty_like(v), workspace, 1)
    assert not recorder.buffer


def test_eight_threads_at_once_give_the_bits_of_one():
    nets = [make([4, 24, 24, 2]) for _ in range(8)]
    for number, net in enumerate(nets):
        net.reset(number)
    shared = make([4, 24, 24, 2])
    x, y, weight = samples(shared, 40)
    barrier = Barrier(8)

    @numba.njit(nogil=True)
    def work(layers, objectives, params, fixed, x, y, weight, state, out, gradient, workspace):
        for _ in range(200):
            kernels.training_step(
                layers, objectives, params, x, y, weight, state, gradient, workspace
            )
            kernels.forward(layers, fixed, x, out, workspace)

    def run(net, wait):
        params, state = net.params.copy(), fp.Adam().start(net.params)
        out, gradient = np.empty_like(y), np.empty_like(params)
        workspace = np.empty(kernels.gradient_workspace_size(net.layers, 40))
        fixed = shared.params, x, y, weight
        if wait:
            barrier.wait()
        work(net.layers, net.objectives, params, *fixed, state, out, gradient, workspace)
        return params, out

    serial = [run(net, False) for net in nets]
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(lambda net: run(net, True), nets))
    for one, other in zip(serial, parallel, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    np.testing.assert_array_equal(serial[0][1], shared.predict(x))


@pytest.mark.slow
def test_the_caller_s_own_cache_is_found_by_the_next_process(tmp_path):
    module = tmp_path / "simulation.py"
    module.write_text(
        textwrap.dedent("""
            import numba, numpy as np
            import flatprop as fp
            from flatprop import kernels

            @numba.njit(cache=True)
            def simulate(layers, params, x, out, workspace):
                for _ in range(10):
                    kernels.forward(layers, params, x, out, workspace)
                    x[0, 0] = out[0, 0]

            net = fp.Network(2, [fp.Dense(4, "tanh"), fp.Dense(1)], dtype="float64", rng=0)
            x, out = np.ones((1, 2)), np.empty((1, 1))
            workspace = np.empty(kernels.workspace_size(net.layers, 1))
            simulate(net.layers, net.params, x, out, workspace)
            print(out[0, 0].hex(), simulate.stats.cache_hits.total())
        """)
    )
    command = sys.executable, "-W", "error", module
    printed = [run(*command, NUMBA_CACHE_DIR=str(tmp_path / "cache")).split() for _ in "12"]
    assert [hits for _, hits in printed] == ["0", "1"]
    assert printed[0][0] == printed[1][0]


@double_first
def test_arrays_that_are_not_aligned_or_read_only(dtype):
    net = make([3, 5, 2], dtype=dtype)
    x, y, _ = samples(net, 6)
    size = kernels.gradient_workspace_size(net.layers, 6)

    def misplaced(array):
        memory = np.zeros(array.nbytes + 1, np.uint8)
        view = memory[1:].view(array.dtype).reshape(array.shape)
        view[...] = array
        assert not view.flags.aligned
        return view

    results = []
    for place in (np.array, misplaced):
        params, gradient = place(net.params), place(np.zeros_like(net.params))
        given = read_only(place(x)), read_only(place(y)), None
        workspace = place(np.empty(size, dtype))
        value = checked.loss_and_gradient(
            net.layers, net.objectives, read_only(params), *given, gradient, workspace
        )
        results.append((value, gradient.tobytes()))
    assert results[0] == results[1]
    assert any(results[0][1])


def test_functions_take_keywords():
    net = make([3, 5, 2])
    x, out = np.ones((1, 3)), np.empty((1, 2))
    workspace = np.empty(kernels.workspace_size(rows=1, layers=net.layers))
    kernels.forward(workspace=workspace, out=out, x=x, params=net.params, layers=net.layers)
    assert np.array_equal(out, net.predict(x))
