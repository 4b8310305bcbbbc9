"""`flatprop.kernels` from other compiled code: results, bounds, threads, caches, errors."""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numba
import numpy as np
import pytest
from numba.core import event
from numba.core.errors import TypingError
from numba.core.runtime import _nrt_python, rtsys

import flatprop as fp
from flatprop import kernels
from flatprop.kernels import checked
from flatprop.kernels.loops.addresses import here
from flatprop.kernels.network import backprop, curvature, entry_points, jacobians
from flatprop.kernels.network.records import CROSS_ENTROPY, CUSTOM, SOFTMAX

ARCHITECTURES = [
    pytest.param([3, 5, 2], 1, id="3-5-2 b1"),
    pytest.param([3, 5, 2], 7, id="3-5-2 b7"),
    pytest.param([1, 1], 3, id="1-1 b3"),
    pytest.param([2, 33, 17, 1], 300, id="2-33-17-1 b300"),
    pytest.param([600, 1030, 9], 20, id="600-1030-9 b20"),
]


def make(sizes, dtype="float64", last="identity", loss="mse"):
    layers = [fp.Dense(n, "tanh") for n in sizes[1:-1]] + [fp.Dense(sizes[-1], last)]
    return fp.Network(sizes[0], layers, loss, dtype, rng=0)


def samples(net, rows):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, net.inputs)).astype(net.dtype)
    y = rng.uniform(size=(rows, net.outputs)).astype(net.dtype)
    return x, y, rng.uniform(0.5, 2, rows).astype(net.dtype)


def guarded(size, dtype):
    """A workspace, and a function that looks whether anything behind it was touched."""
    whole = np.full(size + 64, 77, dtype)

    def intact():
        return (whole[-64:] == 77).all()

    return whole[:size], intact


def read_only(array):
    array.flags.writeable = False
    return array


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
    workspace, intact = guarded(kernels.gradient_workspace_size(net.layers, rows), "float64")
    loss, same, size = all_of_them(
        net.layers, net.objectives, net.params, v, x, y, weight, results, workspace
    )
    assert size == workspace.size
    assert intact()
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("sizes", "rows"), [([3, 5, 2], 7), ([2, 33, 17, 1], 264), ([600, 1030, 260], 340)]
)
@pytest.mark.slow
def test_kernels_stay_within_the_workspace_they_ask_for(sizes, rows, dtype):
    """Each inner kernel with just what its own function says, less than the public one."""
    net = make(sizes, dtype)
    x, y, _ = samples(net, rows)
    flat = x.reshape(-1)
    data = net.data(x, y)
    v, out = np.ones_like(net.params), np.empty_like(net.params)
    network = net.layers, net.params

    def block(size):
        workspace, intact = guarded(size, dtype)
        return entry_points.Block(rows, np.ones(y.size, dtype), workspace), intact

    whole, intact = guarded(backprop.workspace_size(net.layers, rows), dtype)
    entry_points.predict(*network, x, np.empty_like(y), rows, whole)
    assert intact()
    size = backprop.backward_workspace_size(net.layers, rows)
    for kernel in (entry_points.loss_and_gradient, entry_points.per_sample_gradients):
        if kernel is entry_points.per_sample_gradients and net.params.size > 10_000:
            continue  # the result alone would be gigabytes
        space, intact = block(size)
        given = net.layers, net.objectives, net.params, data
        if kernel is entry_points.loss_and_gradient:
            kernel(*given, 0, rows, 0.0, 1.0, out, space)
        else:
            kernel(*given, 1.0, np.empty(rows * out.size, dtype), space)
        assert intact()
    whole, intact = guarded(size, dtype)
    entry_points.vjp(*network, flat, y.reshape(-1), np.empty_like(flat), out, rows, whole)
    assert intact()
    whole, intact = guarded(jacobians.jacobian_workspace_size(net.layers, rows), dtype)
    result = np.empty(rows * net.outputs * net.inputs, dtype)
    entry_points.jacobian(*network, flat, 0, net.outputs, result, rows, whole)
    assert intact()
    size = curvature.curvature_workspace_size(net.layers, rows)
    for kernel in (entry_points.hessian_vector_product, entry_points.gauss_newton_vector_product):
        space, intact = block(size)
        kernel(net.layers, net.objectives, net.params, v, data, 0, rows, 1.0, out, space)
        assert intact()


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
    net = make([3, 6, 4], last=last, loss=loss)
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


@numba.njit
def allocate(times):
    total = 0.0
    for i in range(times):
        total += np.ones(i + 1).sum()
    return total


@pytest.mark.slow
def test_nothing_is_allocated():
    net = make([8, 64, 64, 2])
    x, y, weight = samples(net, 1)
    network = net.layers, net.objectives, net.params
    results = empty_results(net, 1)
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 1))
    rest = np.ones_like(net.params), x, y, weight, results, fp.Adam().start(net.params), workspace

    def allocations(function, *arguments):
        """Of a call that repeats something a hundred times, beyond those of doing it once."""
        function(*arguments, 1)
        counts = [rtsys.get_allocation_stats().alloc]
        for times in (1, 101):
            function(*arguments, times)
            counts.append(rtsys.get_allocation_stats().alloc)
        return (counts[2] - counts[1]) - (counts[1] - counts[0])

    _nrt_python.memsys_enable_stats()
    try:
        assert allocations(allocate) == 100  # the counter counts
        assert allocations(often, *network, *rest) == 0
    finally:
        _nrt_python.memsys_disable_stats()


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
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    printed = []
    for _ in range(2):
        command = [sys.executable, "-W", "error", str(module)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.split())
    assert [hits for _, hits in printed] == ["0", "1"]
    assert printed[0][0] == printed[1][0]


# ---- errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.ones((4, 3), "float32")}, "array of float64"),
        ({"x": np.ones(3)}, "two-dimensional"),
        ({"x": np.ones((3, 4)).T}, "C-contiguous"),
        ({"out": np.ones((8, 2))[::2]}, "C-contiguous"),
        ({"workspace": np.ones((9, 999))}, "flat"),
        ({"workspace": np.ones(9_999, "float32")}, "array of float64"),
        ({"out": np.broadcast_to(np.zeros((4, 2)), (4, 2)).copy(order="F")}, "C-contiguous"),
        ({"out": read_only(np.ones((4, 2)))}, "read-only"),
        ({"workspace": read_only(np.ones(9_999))}, "read-only"),
    ],
)
@pytest.mark.parametrize("forward", [kernels.forward, checked.forward])
@pytest.mark.slow
def test_wrong_types_do_not_compile(forward, change, message):
    net = make([3, 5, 2])
    given = {"x": np.ones((4, 3)), "out": np.ones((4, 2)), "workspace": np.ones(9_999)} | change
    with pytest.raises(TypingError, match=message):
        forward(net.layers, net.params, given["x"], given["out"], given["workspace"])


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(4, "float32"), "array of float64"),
        (np.ones((4, 1)), "flat"),
        (np.ones(8)[::2], "C-contiguous"),
        (np.ones(4, int), "array of float64"),
    ],
)
def test_wrong_weights_do_not_compile(weight, message):
    net = make([3, 5, 2])
    x, y, _ = samples(net, 4)
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 4))
    with pytest.raises(TypingError, match=message):
        kernels.loss(net.layers, net.objectives, net.params, x, y, weight, workspace)


def test_one_column_is_no_class_index_for_another_loss():
    net = make([3, 5, 3], last="sigmoid", loss="binary_cross_entropy")
    x, y, _ = samples(net, 6)
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 6))
    with pytest.raises(ValueError, match="must be"):
        checked.loss(net.layers, net.objectives, net.params, x, y[:, :1].copy(), None, workspace)


@pytest.mark.parametrize(
    ("index", "expected"), [(1, None), (7, 0.0), (-3, 0.0), (1e300, 0.0), (np.nan, np.nan)]
)
def test_an_index_that_is_no_class_counts_as_none(index, expected):
    net = make([3, 4], last="softmax", loss="cross_entropy")
    x, _, _ = samples(net, 2)
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 2))
    y = np.full((2, 1), float(index))
    value = kernels.loss(net.layers, net.objectives, net.params, x, y, None, workspace)
    known = expected is None
    np.testing.assert_allclose(value, net.loss(x, [1, 1]) if known else expected, rtol=1e-14)
    gradient, product = np.empty_like(net.params), np.empty_like(net.params)
    network = net.layers, net.objectives, net.params
    kernels.loss_and_gradient(*network, x, y, None, gradient, workspace)
    v = np.linspace(-1, 1, net.params.size)
    kernels.hessian_vector_product(*network, v, x, y, None, product, workspace)
    assert gradient.any() == product.any() == known


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {"state": np.empty((0, state.state.shape[1]))}, "optimizer's"),
        (lambda state: {"state": state.state[:, :-1].copy()}, "optimizer's"),
        (lambda state: {"settings": state.settings[:3]}, "optimizer's"),
        (lambda state: {"code": 99}, "optimizer's"),
        (lambda state: {"code": -1}, "optimizer's"),
    ],
)
def test_checked_update_refuses_a_state_that_does_not_fit(change, message):
    net = make([3, 5, 2])
    state = fp.Adam().start(net.params)
    before, gradient = net.params.copy(), np.ones_like(net.params)
    with pytest.raises(ValueError, match=message):
        checked.update(state._replace(**change(state)), net.params, gradient)
    np.testing.assert_array_equal(net.params, before)


@pytest.mark.parametrize("name", ["training_step", "sgd_step"])
@pytest.mark.parametrize("shared", ["x", "y", "weight"])
@pytest.mark.slow
def test_checked_steps_refuse_parameters_among_the_samples(name, shared):
    net = make([3, 5, 2])
    given = dict(zip(("x", "y", "weight"), samples(net, 2), strict=True))
    shape = given[shared].shape
    params = net.params.copy()
    given[shared] = params[: given[shared].size].reshape(shape)
    before, gradient = params.copy(), np.zeros_like(params)
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 2))
    arguments = [net.layers, net.objectives, params, *given.values()]
    more = [0.1] if name == "sgd_step" else [fp.Adam().start(params), gradient]
    with pytest.raises(ValueError, match="overlaps"):
        getattr(checked, name)(*arguments, *more, workspace)
    np.testing.assert_array_equal(params, before)


def faults(net, rows):
    """What to change in a correct call, and what `checked` says then."""
    x, y, weight = samples(net, rows)
    size = kernels.gradient_workspace_size(net.layers, rows)
    params = net.params.copy()
    memory = np.zeros(size + params.size + x.size)
    overlapping = memory[:size]
    return [
        ({"params": params[:-1]}, "different networks"),
        ({"x": x[:, :-1].copy()}, "x must be"),
        ({"x": x[:0]}, "x must be"),
        ({"y": y[:-1]}, "must be \\(rows, outputs\\)"),
        ({"y": y[:, :1].copy()}, "must be \\(rows, outputs\\)"),
        ({"weight": weight[:-1]}, "weight must be"),
        ({"workspace": memory[: size - 1]}, "workspace is smaller"),
        ({"gradient": np.empty(params.size - 1)}, "has not the shape"),
        ({"gradient": params, "params": params}, "overlaps"),
        ({"workspace": overlapping, "gradient": overlapping[: params.size]}, "overlaps"),
        ({"workspace": overlapping, "x": overlapping[: x.size].reshape(x.shape)}, "overlaps"),
        ({"workspace": overlapping, "y": overlapping[: y.size].reshape(y.shape)}, "overlaps"),
    ]


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("name", ["loss_and_gradient", "training_step", "hessian_vector_product"])
@pytest.mark.slow
def test_checked_functions_refuse_before_they_write(name, number):
    net = make([3, 5, 2])
    x, y, weight = samples(net, 6)
    change, message = faults(net, 6)[number]
    given = {
        "params": net.params.copy(),
        "x": x,
        "y": y,
        "weight": weight,
        "gradient": np.zeros_like(net.params),
        "workspace": np.zeros(kernels.gradient_workspace_size(net.layers, 6)),
    } | change
    before = {key: value.copy() for key, value in given.items()}
    arguments = [net.layers, net.objectives, *given.values()]
    if name == "training_step":
        arguments.insert(-2, fp.Adam().start(net.params))
    if name == "hessian_vector_product":
        arguments.insert(3, net.params.copy())
    with pytest.raises(ValueError, match=message):
        getattr(checked, name)(*arguments)
    for key, value in given.items():
        np.testing.assert_array_equal(value, before[key])


BIG = 2**62
LAYER_LIES = {
    "no layers": lambda layers, net: layers[:0],
    "no inputs": lambda layers, net: changed(layers, 0, inputs=0),
    "negative inputs": lambda layers, net: changed(layers, 0, inputs=-3),
    "more inputs": lambda layers, net: changed(layers, 0, inputs=4),
    "inputs of the next": lambda layers, net: changed(layers, 1, inputs=4),
    "no units": lambda layers, net: changed(layers, 1, units=0),
    "negative units": lambda layers, net: changed(layers, 1, units=-2),
    "units beyond": lambda layers, net: changed(layers, 1, units=3),
    "units whose product overflows": lambda layers, net: changed(layers, 0, inputs=BIG, units=BIG),
    "units that come to 0": lambda layers, net: changed(layers, 0, units=BIG),
    "weights beyond": lambda layers, net: changed(layers, 0, W_start=net.params.size),
    "weights before": lambda layers, net: changed(layers, 0, W_start=-1),
    "weights that overlap": lambda layers, net: changed(layers, 1, W_start=0),
    "biases beyond": lambda layers, net: changed(layers, 1, b_start=BIG),
    "biases before": lambda layers, net: changed(layers, 0, b_start=-5),
    "another place": lambda layers, net: changed(layers, 1, units_before=BIG),
    "a negative place": lambda layers, net: changed(layers, 0, units_before=-1),
    "the first only": lambda layers, net: layers[:1],
    "one too many": lambda layers, net: read_only(layers[[0, 1, 1]]),
    "unknown activation": lambda layers, net: changed(layers, 0, activation=99),
    "hidden softmax": lambda layers, net: changed(layers, 0, activation=SOFTMAX),
    "a function beside a code": lambda layers, net: changed(layers, 0, function=4096),
    "no function": lambda layers, net: changed(layers, 0, activation=CUSTOM),
    "of another process": lambda layers, net: changed(
        layers, 0, activation=here() - 1, function=4096
    ),
}
LOSS_LIES = {
    "no record": lambda objectives: objectives[:0],
    "two records": lambda objectives: read_only(objectives[[0, 0]]),
    "unknown loss": lambda objectives: changed(objectives, 0, loss=99),
    "another last layer": lambda objectives: changed(
        objectives, 0, loss=CROSS_ENTROPY, from_logits=1
    ),
    "from logits": lambda objectives: changed(objectives, 0, from_logits=1),
    "negative divisor": lambda objectives: changed(objectives, 0, divisor=-1.0),
    "no divisor": lambda objectives: changed(objectives, 0, divisor=np.nan),
    "a function beside a code": lambda objectives: changed(objectives, 0, function=4096),
    "no function": lambda objectives: changed(objectives, 0, loss=CUSTOM),
    "of another process": lambda objectives: changed(
        objectives, 0, loss=here() - 1, function=4096
    ),
}


def changed(records, number, **fields):
    other = records.copy()
    for name, value in fields.items():
        other[name][number] = value
    return read_only(other)  # as those of a network: nothing is compiled for another type


def refused(net, layers, objectives):
    """Every function of `checked` refuses these records, and writes nothing."""
    x, y, weight = samples(net, 6)
    size = net.params.size
    workspace = np.zeros(kernels.gradient_workspace_size(net.layers, 6))
    out, flat, inputs = np.zeros((6, 2)), np.zeros(size), np.zeros((12, 3))
    by_params, each, dL_dx = np.zeros((12, size)), np.zeros((6, size)), np.zeros((6, 3))
    params, v = net.params.copy(), np.ones(size)
    adam = fp.Adam().start(params)
    full = layers, objectives, params
    calls = {
        "loss": (*full, x, y, weight, workspace),
        "loss_and_gradient": (*full, x, y, weight, flat, workspace),
        "per_sample_gradients": (*full, x, y, each, workspace),
        "hessian_vector_product": (*full, v, x, y, weight, flat, workspace),
        "gauss_newton_vector_product": (*full, v, x, y, weight, flat, workspace),
        "training_step": (*full, x, y, weight, adam, flat, workspace),
        "sgd_step": (*full, x, y, weight, 0.1, workspace),
    }
    if not np.array_equal(layers, net.layers):
        calls |= {
            "forward": (layers, params, x, out, workspace),
            "vjp": (layers, params, x, y, dL_dx, flat, workspace),
            "jacobian": (layers, params, x, inputs, workspace),
            "parameter_jacobian": (layers, params, x, by_params, workspace),
        }
    for name, arguments in calls.items():
        with pytest.raises(ValueError, match=r"^flatprop: "):
            getattr(checked, name)(*arguments)
    written = (workspace, out, flat, inputs, by_params, each, dL_dx, adam.state)
    assert not any(array.any() for array in written)
    np.testing.assert_array_equal(params, net.params)


@pytest.mark.parametrize("lie", LAYER_LIES)
@pytest.mark.slow
def test_checked_functions_refuse_layers_that_lie(lie):
    net = make([3, 5, 2])
    refused(net, LAYER_LIES[lie](net.layers, net), net.objectives)


@pytest.mark.parametrize("lie", LOSS_LIES)
@pytest.mark.slow
def test_checked_functions_refuse_losses_that_lie(lie):
    net = make([3, 5, 2])
    refused(net, net.layers, LOSS_LIES[lie](net.objectives))


@pytest.mark.parametrize("loss", fp.losses.LOSSES)
def test_checked_functions_take_every_loss(loss):
    last = fp.losses.LOSSES[loss].activation or "identity"
    net = make([3, 5, 2], last=last, loss=loss)
    x, y, weight = samples(net, 6)
    y /= y.sum(axis=1, keepdims=True)  # probabilities, for cross-entropy
    gradient = np.empty_like(net.params)
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 6))
    network = net.layers, net.objectives, net.params
    value = checked.loss_and_gradient(*network, x, y, weight, gradient, workspace)
    assert value == pytest.approx(net.loss(x, y, weight), rel=1e-12, nan_ok=True)


def test_checked_functions_take_own_functions():
    @numba.njit
    def square(z):
        return z * z, 2 * z

    @numba.njit
    def squared(prediction, y):
        return (prediction - y) ** 2, 2 * (prediction - y)

    net = fp.Network(3, [fp.Dense(5, square), fp.Dense(2)], squared, "float64", rng=0)
    x, y, weight = samples(net, 6)
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 6))
    records = [(net.layers, net.objectives)]
    records.append(
        (changed(net.layers, 0, activation=CUSTOM), changed(net.objectives, 0, loss=CUSTOM))
    )
    for layers, objectives in records:  # the second as C has them: its address is trusted
        gradient = np.empty_like(net.params)
        value = checked.loss_and_gradient(
            layers, objectives, net.params, x, y, weight, gradient, workspace
        )
        expected, expected_gradient = net.loss_and_gradient(x, y, weight)
        assert value == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-10)


def test_checked_functions_compute_the_same():
    net = make([3, 5, 2])
    x, y, weight = samples(net, 6)
    network, rest = (net.layers, net.objectives, net.params), (x, y, weight)
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 6))
    size, rate = net.params.size, 0.1
    v = np.linspace(-1, 1, size)
    shapes = {
        "forward": (6, 2),
        "jacobian": (12, 3),
        "parameter_jacobian": (12, size),
        "per_sample_gradients": (6, size),
        "loss_and_gradient": (size,),
        "hessian_vector_product": (size,),
        "gauss_newton_vector_product": (size,),
    }
    for name, shape in shapes.items():
        outcomes = []
        for module in (kernels, checked):
            out = np.empty(shape)
            function = getattr(module, name)
            match name:
                case "forward" | "jacobian" | "parameter_jacobian":
                    function(net.layers, net.params, x, out, workspace)
                case "per_sample_gradients":
                    function(*network, x, y, out, workspace)
                case "loss_and_gradient":
                    function(*network, *rest, out, workspace)
                case _:
                    function(*network, v, *rest, out, workspace)
            outcomes.append(out)
        np.testing.assert_array_equal(*outcomes, err_msg=name)
    assert kernels.loss(*network, *rest, workspace) == checked.loss(*network, *rest, workspace)

    outcomes = []
    for module in (kernels, checked):
        params, gradient = net.params.copy(), np.zeros(size)
        dL_dx, state = np.empty_like(x), fp.Adam().start(params)
        module.vjp(net.layers, params, x, y, dL_dx, gradient, workspace)
        module.update(state, params, gradient)
        moved = net.layers, net.objectives, params
        module.training_step(*moved, *rest, state, gradient, workspace)
        module.sgd_step(*moved, *rest, rate, workspace)
        outcomes.append(np.concatenate([params, gradient, dL_dx.ravel()]))
    np.testing.assert_array_equal(*outcomes)
