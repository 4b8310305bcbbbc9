"""Specialised networks, held against the NumPy twin and the kernels for any network."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core import event

import flatprop as fp
import reference
from networks import HIDDEN, LOSSES, NEEDED_OUTPUT, TOLERANCE, both_dtypes, network, samples
from processes import edit, python

RATE = 0.01


def assert_as_the_twin(net, batch_size, X, y, w=None):
    """Outputs, loss and gradient, and three steps of gradient descent.

    The kernels for any network are held against `unrolled_backprop`, too.
    """
    s = fp.specialize(net, batch_size)
    tolerance = TOLERANCE[net.dtype.type]
    twin = reference.Twin(net)
    out = np.full((len(X), net.outputs), np.nan, net.dtype)
    s.forward(net.params, X, out)
    assert reference.error(out, twin.predict(X)) < tolerance

    gradient = np.full_like(net.params, np.nan)
    loss = s.loss_and_gradient(net.params, X, y, w, gradient)
    expected, expected_gradient = twin.loss_and_gradient(X, y, w)
    assert type(loss) is float
    assert abs(loss - expected) < tolerance * max(abs(expected), 1)
    scale = max(np.abs(expected_gradient).max(), 1e-3)
    assert np.abs(gradient - expected_gradient).max() < tolerance * scale
    general_loss, general_gradient = net.loss_and_gradient(X, y, w)
    assert abs(general_loss - loss) < tolerance * max(abs(loss), 1)
    assert np.abs(general_gradient - gradient).max() < tolerance * scale
    assert reference.error(net.predict(X), out) < tolerance

    rate = RATE / max(scale, 1)
    losses = twin.fit(X, y, reference.updating("sgd"), [rate] * 3, w=w)
    params = net.params.copy()
    last = s.sgd_steps(params, X, y, w, rate, 3)
    assert abs(last - losses[-1]) < tolerance * max(abs(losses[-1]), 1)
    assert reference.error(params, twin.theta) < tolerance
    # no softmax of one unit, whose gradient is 0
    assert np.array_equal(params, net.params) == (not expected_gradient.any())


# each activation and each loss at least once
PAIRS = [(name, list(LOSSES)[i % len(LOSSES)]) for i, name in enumerate(HIDDEN)]


@both_dtypes
@pytest.mark.parametrize(("hidden", "loss"), PAIRS)
@pytest.mark.slow
def test_every_activation_and_loss(hidden, loss, dtype):
    output = NEEDED_OUTPUT.get(loss, "identity")
    net = network((3, 5, 2), (hidden, output), LOSSES[loss], dtype)
    assert_as_the_twin(net, 3, *samples(net, 3))


@both_dtypes
def test_softmax_under_a_loss_of_its_outputs(dtype):
    net = network((2, 3, 4), ("tanh", "softmax"), "mse", dtype)
    assert_as_the_twin(net, 5, *samples(net, 5))


@settings(max_examples=12, deadline=None)
@given(data=st.data())
@pytest.mark.slow
def test_any_small_network(data):
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=5), "units")
    loss = data.draw(st.sampled_from(list(LOSSES)), "loss")
    # where the slope jumps, rounding decides on which side a sum lies
    smooth = [name for name in HIDDEN if name not in ("relu", "leaky_relu", "selu")]
    names = data.draw(st.lists(st.sampled_from(smooth[:-1]), min_size=4, max_size=4), "hidden")
    output = NEEDED_OUTPUT.get(loss, "identity")
    dtype = data.draw(st.sampled_from(["float32", "float64"]), "dtype")
    rows = data.draw(st.one_of(st.integers(1, 9), st.integers(60, 150)), "rows")
    net = network(sizes, [*names[: len(sizes) - 2], output], LOSSES[loss], dtype)
    X, y, w = samples(net, rows)
    fixed = data.draw(st.booleans(), "fixed")
    weighted = data.draw(st.booleans(), "weighted")
    assert_as_the_twin(net, rows if fixed else None, X, y, w if weighted else None)


def test_any_number_of_rows():
    net = network((2, 4, 1), ("tanh", "identity"), "mse")
    s = fp.specialize(net)
    for rows in range(1, 45):
        X, y, w = samples(net, rows, seed=rows)
        gradient = np.empty_like(net.params)
        loss = s.loss_and_gradient(net.params, X, y, w, gradient)
        expected, expected_gradient = net.loss_and_gradient(X, y, w)
        assert loss == pytest.approx(expected, rel=1e-13)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-11, atol=1e-14)


@both_dtypes
@pytest.mark.parametrize("batch_size", [None, 6])
@pytest.mark.slow
def test_class_indices(dtype, batch_size):
    net = network((2, 3, 3), ("tanh", "softmax"), "cross_entropy", dtype)
    X, _, w = samples(net, 6)
    y = np.array([0, 2, 1, 1, 0, 2])
    assert_as_the_twin(net, batch_size, X, y, w)
    s = fp.specialize(net, batch_size)
    gradient = np.empty_like(net.params)
    kinds = [y.astype(kind) for kind in ("int64", "int32", "uint8", dtype)]
    kinds.append(np.eye(3, dtype=dtype)[y])
    losses = [s.loss_and_gradient(net.params, X, kind, None, gradient) for kind in kinds]
    np.testing.assert_allclose(losses, net.loss(X, y), rtol=1e-6)


def test_one_output_takes_a_flat_y():
    net = network((2, 3, 1), ("tanh", "identity"), "mse")
    X, y, _ = samples(net, 4)
    s = fp.specialize(net, 4)
    gradient = np.empty_like(net.params)
    first = s.loss_and_gradient(net.params, X, y, None, gradient)
    assert s.loss_and_gradient(net.params, X, y[:, 0].copy(), None, gradient) == first


@both_dtypes
def test_training_is_that_of_fit(dtype):
    net = fp.Network(2, [fp.Dense(4, "tanh"), fp.Dense(1)], dtype=dtype, rng=0)
    X, y, w = samples(net, 4)
    other = net.copy()
    history = other.fit(
        X, y, optimizer=fp.SGD(0.1), epochs=500, batch_size=None, sample_weight=w, shuffle=False
    )
    s = fp.specialize(net, 4)
    losses = [s.sgd_step(net.params, X, y, w, 0.1) for _ in range(20)]
    losses.append(s.sgd_steps(net.params, X, y, w, 0.1, 480))
    tolerance = 20 * TOLERANCE[dtype]
    np.testing.assert_allclose(losses[:20], history.loss[:20], rtol=tolerance)
    np.testing.assert_allclose(losses[-1], history.loss[-1], rtol=tolerance)
    # params were trained in place
    np.testing.assert_allclose(net.predict(X), other.predict(X), rtol=0, atol=tolerance)
    assert losses[-1] < losses[0] / 10


def test_networks_of_equal_sizes_share_code():
    first, second = (network((1, 2, 1), ("tanh", "identity"), "mse", seed=i) for i in range(2))
    X, y, _ = samples(first, 3)
    s = fp.specialize(first, 3)
    s.sgd_step(first.params, X, y, None, RATE)
    with event.install_recorder("numba:compile") as recorder:
        fp.specialize(second, 3).sgd_step(second.params, X, y, None, RATE)
    assert not recorder.buffer
    assert fp.specialize(second, 3) == s
    assert fp.specialize(second, 4) != s
    huber = [fp.Network(1, [fp.Dense(1)], fp.losses.Huber(delta), rng=0) for delta in (1.0, 2.0)]
    assert fp.specialize(huber[0]) != fp.specialize(huber[1])


def test_in_compiled_code_without_allocation(allocations):
    net = network((2, 4, 1), ("tanh", "identity"), "mse")
    X, y, w = samples(net, 4)
    s = fp.specialize(net, 4)

    @numba.njit
    def train(params, gradient, out, times):
        for _ in range(times):
            s.sgd_step(params, X, y, None, 0.1)
        s.sgd_steps(params, X, y, w, 0.1, 10)
        s.forward(params, X, out)
        return s.loss_and_gradient(params, X, y, w, gradient)

    params, gradient, out = net.params.copy(), np.empty_like(net.params), np.empty((4, 1))
    train(params, gradient, out, 10)
    for weight in (None, w):
        net.fit(X, y, optimizer=fp.SGD(0.1), epochs=10, batch_size=None, sample_weight=weight)
    np.testing.assert_allclose(params, net.params, rtol=1e-11)
    np.testing.assert_allclose(out, net.predict(X), rtol=1e-11)
    np.testing.assert_allclose(gradient, net.loss_and_gradient(X, y, w)[1], rtol=1e-9)

    gradient_of = net.params, X, y, w, gradient
    s.loss_and_gradient(*gradient_of)
    assert allocations(s.loss_and_gradient, *gradient_of) == 0
    # what Numba makes of the arguments, once
    once = [allocations(train, params, gradient, out, times) for times in (1, 100)]
    assert once == [3, 3]


def test_nan_and_infinity_go_through():
    net = network((2, 3, 1), ("relu", "identity"), "mse")
    s = fp.specialize(net, 3)
    X, y, _ = samples(net, 3)
    for bad in (np.nan, np.inf):
        X[1, 0] = bad
        assert np.isnan(s.sgd_steps(net.params.copy(), X, y, None, RATE, 2))


# ---- what is refused


X, Y, W = np.zeros((4, 2)), np.zeros((4, 1)), np.ones(4)
G, OUT = np.zeros(17), np.zeros((4, 1))


def call(name, batch_size=4, **changed):
    arguments = {
        "forward": {"params": None, "x": X, "out": OUT},
        "loss_and_gradient": {"params": None, "x": X, "y": Y, "weight": None, "gradient": G},
        "sgd_step": {"params": None, "x": X, "y": Y, "weight": None, "learning_rate": RATE},
    }
    arguments["sgd_steps"] = arguments["sgd_step"] | {"steps": 5}
    net = fp.Network(2, [fp.Dense(4, "tanh"), fp.Dense(1)], dtype="float64", rng=0)
    given = arguments[name] | {"params": net.params} | changed
    before = given["params"].copy()
    try:
        getattr(fp.specialize(net, batch_size), name)(*given.values())
    finally:
        assert np.array_equal(given["params"], before)


SHAPES = {
    "params": ("forward", {"params": np.zeros(16)}, r"params must have shape \(17,\)"),
    "inputs": ("forward", {"x": np.zeros((4, 3))}, r"x must have shape \(4, 2\)"),
    "rows": ("sgd_step", {"x": np.zeros((5, 2))}, r"x must have shape \(4, 2\)"),
    "outputs": ("forward", {"out": np.zeros((4, 2))}, r"out must have shape \(4, 1\)"),
    "y": ("sgd_step", {"y": np.zeros((3, 1))}, r"y must have shape \(4, 1\)"),
    "flat y": ("sgd_steps", {"y": np.zeros(5)}, r"y must have shape \(4,\)"),
    "weight": ("sgd_steps", {"weight": np.ones(3)}, r"weight must have shape \(4,\)"),
    "no weight": ("sgd_steps", {"weight": np.zeros(4)}, "weight must add up to more than 0"),
    "gradient": ("loss_and_gradient", {"gradient": G[1:]}, r"gradient must have shape \(17,\)"),
    "no steps": ("sgd_steps", {"steps": 0}, "steps must be at least 1"),
}
ANY_ROWS = {
    "y": ("sgd_step", {"y": np.zeros((3, 1))}, r"y must have shape \(rows, 1\)"),
    "out": ("forward", {"out": np.zeros((3, 1))}, r"out must have shape \(rows, 1\)"),
    "no rows": ("forward", {"x": X[:0], "out": OUT[:0]}, "x has no rows"),
}


@pytest.mark.parametrize("case", SHAPES)
def test_wrong_shapes(case):
    name, changed, message = SHAPES[case]
    with pytest.raises(ValueError, match=message):
        call(name, **changed)


@pytest.mark.parametrize("case", ANY_ROWS)
def test_wrong_shapes_where_rows_are_free(case):
    name, changed, message = ANY_ROWS[case]
    with pytest.raises(ValueError, match=message):
        call(name, batch_size=None, **changed)


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("forward", {"x": X.astype("float32")}, "x must be a C-contiguous array of float64"),
        ("forward", {"x": np.zeros((2, 4)).T}, r"x must be .* \(4, 2\), but it is"),
        ("forward", {"x": X[:, 0].copy()}, r"x must be .* \(4, 2\), but it is"),
        ("sgd_step", {"y": Y.astype(int)}, "y must be a C-contiguous array of float64"),
        ("sgd_step", {"weight": 1.0}, "weight must be a C-contiguous array"),
    ],
)
def test_wrong_types(name, changed, message):
    with pytest.raises(numba.TypingError, match=message):
        call(name, **changed)


def test_what_would_be_overwritten_must_be_writable():
    params = np.zeros(17)
    params.flags.writeable = False
    call("forward", params=params)
    with pytest.raises(numba.TypingError, match="params is read-only"):
        call("sgd_step", params=params)


@numba.njit
def bent(z):
    return z + 0.1 * z * z, 1.0 + 0.2 * z


def test_networks_that_cannot_be_specialised():
    net = fp.Network(8, [fp.Dense(64, "tanh"), fp.Dense(64), fp.Dense(1)], rng=0)
    with pytest.raises(ValueError, match=r"4,801 parameters is too large .*kernels.sgd_step"):
        fp.specialize(net)
    net = fp.Network(2, [fp.Dense(2), fp.Dense(1)], rng=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        fp.specialize(net, 0)
    with pytest.raises(TypeError, match=r"specialize takes an fp.Network, got int"):
        fp.specialize(3)
    with pytest.raises(TypeError, match=r"batch_size must be a whole number, got 2.5"):
        fp.specialize(net, 2.5)
    net = fp.Network(2, [fp.Dense(2, bent), fp.Dense(1)], rng=0)
    with pytest.raises(ValueError, match="activation or a loss of your own"):
        fp.specialize(net)


# ---- the cache on disk

SCRIPT = """
import numpy as np
import flatprop as fp
net = fp.Network(1, [fp.Dense(1, "leaky_relu")], dtype="float64")
net.params = [1.0, 0.0]
x, out, gradient = np.array([[-1.0]]), np.empty((1, 1)), np.empty(2)
s = fp.specialize(net, 1)
s.forward(net.params, x, out)
# another network of the same process has a place of its own
t = fp.specialize(fp.Network(1, [fp.Dense(1, "relu")], dtype="float64"))
t.forward(net.params, x, gradient[:1].reshape(1, 1))
s.sgd_steps(net.params, x, out, None, 0.1, 3)
functions = s.forward, s.sgd_steps, t.forward
print(out[0, 0], gradient[0], *(f._cache_hits.total() for f in functions))
"""


def test_the_second_process_finds_the_first_one_s_code(copy_of_package):
    environment, _ = copy_of_package
    assert python(SCRIPT, **environment).split() == ["-0.01", "0.0", "0", "0", "0"]
    assert python(SCRIPT, **environment).split() == ["-0.01", "0.0", "1", "1", "1"]


def test_an_edited_formula_is_not_served_from_the_cache(copy_of_package):
    environment, folder = copy_of_package
    python(SCRIPT, **environment)
    edit(folder)
    assert python(SCRIPT, **environment).split() == ["-0.5", "0.0", "0", "0", "0"]


def test_samples_without_weight_add_nothing_to_a_sum():
    net = fp.Network(2, [fp.Dense(4, "tanh"), fp.Dense(1)], "ssr", "float64", rng=0)
    gradient = np.ones_like(net.params)
    s = fp.specialize(net)
    assert s.loss_and_gradient(net.params, X, Y, np.zeros(4), gradient) == 0
    assert not gradient.any()
