"""What embedded functions refuse: wrong types when they are compiled, the rest with `checked`."""

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

import flatprop as fp
from flatprop import kernels
from flatprop.kernels import checked
from flatprop.kernels.loops.addresses import CUSTOM, here
from flatprop.kernels.network.records import CROSS_ENTROPY, SOFTMAX
from guards import read_only
from networks import network as make
from networks import samples
from row_functions import squares


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.ones((4, 3), "float32")}, "expected x to be an array of float64"),
        ({"x": np.ones(3)}, "expected x to be an array that is two-dimensional"),
        ({"x": np.ones((3, 4)).T}, "C-contiguous"),
        ({"out": np.ones((8, 2))[::2]}, "expected out to be a C-contiguous"),
        ({"workspace": np.ones((9, 999))}, "flat"),
        ({"workspace": np.ones(9_999, "float32")}, "array of float64"),
        ({"out": np.broadcast_to(np.zeros((4, 2)), (4, 2)).copy(order="F")}, "C-contiguous"),
        ({"out": read_only(np.ones((4, 2)))}, "read-only"),
        ({"workspace": read_only(np.ones(9_999))}, "into workspace, which is read-only"),
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


@pytest.mark.parametrize(
    ("number", "wrong", "message"),
    [
        (0, np.zeros(2), "records, net.layers"),
        (1, make([3, 2]).layers, "records, net.objectives"),
        (2, np.zeros(9, "float16"), "params of float32 or float64"),
        (6, 0.1, "Optimizer.start"),
        (7, None, "flat"),
    ],
)
def test_wrong_structures_do_not_compile(number, wrong, message):
    net = make([3, 5, 2])
    x, y, weight = samples(net, 4)
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 4))
    state, gradient = fp.Adam().start(net.params), np.zeros_like(net.params)
    given = [net.layers, net.objectives, net.params, x, y, weight, state, gradient, workspace]
    given[number] = wrong
    with pytest.raises(TypingError, match=message):
        kernels.training_step(*given)


@pytest.mark.parametrize("rate", [1, True, np.float32(1)])
def test_a_learning_rate_may_be_any_real_number(rate):
    net, other = make([3, 2]), make([3, 2])
    x, y, _ = samples(net, 4)
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 4))
    for network, value in ((net, 1.0), (other, rate)):
        kernels.sgd_step(
            network.layers, network.objectives, network.params, x, y, None, value, workspace
        )
    np.testing.assert_array_equal(other.params, net.params)
    with pytest.raises(TypingError, match="expected learning_rate to be a real number"):
        kernels.sgd_step(net.layers, net.objectives, net.params, x, y, None, 1j, workspace)


def test_one_column_is_no_class_index_for_another_loss():
    net = make([3, 5, 3], ["tanh", "sigmoid"], "binary_cross_entropy")
    x, y, _ = samples(net, 6)
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 6))
    with pytest.raises(ValueError, match="must be"):
        checked.loss(net.layers, net.objectives, net.params, x, y[:, :1].copy(), None, workspace)


indices = pytest.mark.parametrize(
    ("index", "expected"), [(1, None), (7, 0.0), (-3, 0.0), (1e300, 0.0), (np.nan, np.nan)]
)


def of_an_index(index):
    """A network for classes, x, and an index that may be none of theirs as y."""
    net = make([3, 4], ["softmax"], "cross_entropy")
    x, _, _ = samples(net, 2)
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 2))
    return net, x, np.full((2, 1), float(index)), workspace


@indices
def test_an_index_that_is_no_class_counts_as_none(index, expected):
    net, x, y, workspace = of_an_index(index)
    value = kernels.loss(net.layers, net.objectives, net.params, x, y, None, workspace)
    known = expected is None
    np.testing.assert_allclose(value, net.loss(x, [1, 1]) if known else expected, rtol=1e-14)
    gradient = np.empty_like(net.params)
    network = net.layers, net.objectives, net.params
    kernels.loss_and_gradient(*network, x, y, None, gradient, workspace)
    assert gradient.any() == known


@pytest.mark.slow
@indices
def test_such_an_index_adds_nothing_to_a_product(index, expected):
    net, x, y, workspace = of_an_index(index)
    product, v = np.empty_like(net.params), np.linspace(-1, 1, net.params.size)
    network = net.layers, net.objectives, net.params
    kernels.hessian_vector_product(*network, v, x, y, None, product, workspace)
    assert product.any() == (expected is None)


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


ALONG_LIES = {
    "x": (lambda a: {"x": a["x"][:, :-1].copy()}, "x must be"),
    "no direction": (lambda a: {"directions": a["directions"][:0]}, "directions must be"),
    "long directions": (lambda a: {"directions": np.ones((2, 4))}, "directions must be"),
    "u": (lambda a: {"u": np.zeros((6, 3))}, "has not the shape"),
    "du": (lambda a: {"du": np.zeros((11, 2))}, "has not the shape"),
    "d2u": (lambda a: {"d2u": np.zeros((6, 2))}, "has not the shape"),
    "workspace": (lambda a: {"workspace": a["workspace"][:-1]}, "workspace is smaller"),
    "overlap": (lambda a: {"d2u": a["du"]}, "overlaps"),
}


@pytest.mark.parametrize("lie", ALONG_LIES)
@pytest.mark.slow
def test_checked_derivatives_refuse_before_they_write(lie):
    net = make([3, 5, 2])
    x, _, _ = samples(net, 6)
    change, message = ALONG_LIES[lie]
    size = kernels.derivatives_workspace_size(net.layers, 6, 2)
    given = {"x": x, "directions": np.ones((2, 3)), "u": np.zeros((6, 2))}
    given |= {"du": np.zeros((12, 2)), "d2u": np.zeros((12, 2)), "workspace": np.zeros(size)}
    given |= change(given)
    with pytest.raises(ValueError, match=message):
        checked.derivatives(net.layers, net.params, *given.values())
    assert not any(given[name].any() for name in ("u", "du", "d2u", "workspace"))
    if lie == "overlap":
        return  # what `derivatives_vjp` only reads may overlap
    *slopes, workspace = (given[name] for name in ("u", "du", "d2u", "workspace"))
    arguments = net.layers, net.params, given["x"], given["directions"], *slopes
    gradient = np.zeros_like(net.params)
    message = message if lie != "u" else "has not the shape"
    with pytest.raises(ValueError, match=message):
        checked.derivatives_vjp(*arguments, gradient, workspace)
    assert not gradient.any()


@pytest.mark.parametrize("seconds", [0, 2])
@pytest.mark.slow
def test_checked_derivatives_compute_the_same(seconds):
    net = make([3, 5, 2])
    x, _, _ = samples(net, 6)
    directions = np.random.default_rng(0).normal(size=(2, 3))
    workspace = np.zeros(kernels.derivatives_workspace_size(net.layers, 6, 2))
    u, du, d2u = np.zeros((6, 2)), np.zeros((12, 2)), np.zeros((6 * seconds, 2))
    arguments = net.layers, net.params, x, directions, u, du, d2u
    checked.derivatives(*arguments, workspace)
    expected = net.derivatives(x, directions)
    np.testing.assert_array_equal(du.reshape(6, 2, 2), expected[1])
    if seconds:
        np.testing.assert_array_equal(d2u.reshape(6, 2, 2), expected[2])
    gradients = np.zeros((2, net.params.size))
    for module, gradient in zip((kernels, checked), gradients, strict=True):
        module.derivatives_vjp(*arguments, gradient, workspace)
    np.testing.assert_array_equal(*gradients)
    assert gradients.any()


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
    "negative targets": lambda objectives: changed(objectives, 0, targets=-1),
    "other targets": lambda objectives: changed(objectives, 0, targets=1),
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
    adam, solver = fp.Adam().start(params), fp.LevenbergMarquardt().start(params)
    large = np.zeros(kernels.levenberg_marquardt_workspace_size(net.layers, 6))
    full = layers, objectives, params
    calls = {
        "loss": (*full, x, y, weight, workspace),
        "loss_and_gradient": (*full, x, y, weight, flat, workspace),
        "per_sample_gradients": (*full, x, y, each, workspace),
        "hessian_vector_product": (*full, v, x, y, weight, flat, workspace),
        "gauss_newton_vector_product": (*full, v, x, y, weight, flat, workspace),
        "training_step": (*full, x, y, weight, adam, flat, workspace),
        "sgd_step": (*full, x, y, weight, 0.1, workspace),
        "levenberg_marquardt": (*full, x, y, weight, solver, 3, large),
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
    written = (workspace, large, out, flat, inputs, by_params, each, dL_dx, adam.state)
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
    net = make([3, 5, 2], ["tanh", last], loss)
    x, y, weight = samples(net, 6)
    y /= y.sum(axis=1, keepdims=True)  # probabilities, for cross-entropy
    gradient = np.empty_like(net.params)
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 6))
    network = net.layers, net.objectives, net.params
    value = checked.loss_and_gradient(*network, x, y, weight, gradient, workspace)
    assert value == pytest.approx(net.loss(x, y, weight), rel=1e-12, nan_ok=True)


ROW_LOSSES = {
    "gaussian_nll": ("gaussian_nll", 4, 2),
    "quantiles": (fp.losses.Quantiles(), 3, 1),
    "classes": (fp.losses.CrossEntropy(0.1, (1, 2, 3)), 3, 1),
    "probabilities": (fp.losses.CrossEntropy(0.1, (1, 2, 3)), 3, 3),
    "own": (fp.losses.Row(squares, targets=3), 3, 3),
}


@pytest.mark.parametrize("case", ROW_LOSSES)
@pytest.mark.slow
def test_checked_functions_take_losses_of_rows(case):
    loss, outputs, columns = ROW_LOSSES[case]
    last = getattr(loss, "activation", None) or "identity"
    net = fp.Network(3, [fp.Dense(5, "tanh"), fp.Dense(outputs, last)], loss, "float64", rng=0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, columns))
    weight = rng.uniform(0.5, 2, 6)
    given, weighed = y, weight
    if last == "softmax":
        y = np.arange(6.0)[:, None] % 3 if columns == 1 else rng.dirichlet(np.ones(3), 6)
        given = y.ravel().astype(int) if columns == 1 else y
        if columns == 1:  # the caller multiplies the weights by those of the classes
            weighed = weight * np.array(loss.class_weight)[given]
    gradient, product = np.empty((2, net.params.size))
    workspace = np.empty(kernels.gradient_workspace_size(net.layers, 6))
    network = net.layers, net.objectives, net.params
    value = checked.loss_and_gradient(*network, x, y, weighed, gradient, workspace)
    expected, slope = net.loss_and_gradient(x, given, weight)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-10, atol=1e-14)
    v = rng.normal(size=net.params.size)
    checked.hessian_vector_product(*network, v, x, y, weighed, product, workspace)
    np.testing.assert_allclose(
        product, net.hessian_vector_product(x, given, v, weight), rtol=1e-9, atol=1e-13
    )
    before = net.params.copy()
    step = checked.sgd_step(*network, x, y, weighed, 0.1, workspace)
    assert step == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(net.params, before - 0.1 * slope, rtol=1e-10, atol=1e-14)
    for false in (np.zeros((6, 5)), np.zeros((5, columns))):
        with pytest.raises(ValueError, match="y or dL_dy must be"):
            checked.loss_and_gradient(*network, x, false, weighed, gradient, workspace)


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


@pytest.mark.slow
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
