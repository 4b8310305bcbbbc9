"""Networks as ONNX, run by onnxruntime and held against `predict` and the NumPy twin."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flatprop as fp
import reference
from flatprop.formulas.activations import ACTIVATIONS, Activation
from flatprop.formulas.losses import LOSSES
from flatprop.model.dense_layer import Dense
from flatprop.numbers import elementary
from flatprop.numbers.numbers import copysign, maximum, minimum, sqrt, where
from networks import DTYPES, both_dtypes
from own_functions import bounded, bumps, by_a_loop, hard_swish, snake, three_quarters

onnx = pytest.importorskip("onnx", reason="ONNX models are made by onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="and run by onnxruntime")

TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-12}
ELEMENTWISE = [name for name in ACTIVATIONS if name != "softmax"]


def run(model, X):
    """What onnxruntime computes on the processor; the model is checked first."""
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(["y"], {"X": X})[0]


def column(function, dtype, z):
    """An activation alone, of every z: what onnxruntime computes, and what `predict` does."""
    net = fp.Network(1, [Dense(1, function)], dtype=dtype)
    net.params[:] = 1, 0
    z = np.asarray(z, dtype)[:, None]
    return run(net.to_onnx(), z)[:, 0], net.predict(z)[:, 0]


def with_biases(net, seed):
    rng = np.random.default_rng(seed)
    for b in net.biases:
        b[:] = rng.normal(0, 0.5, b.shape)
    return net


@both_dtypes
@pytest.mark.parametrize("activation", ELEMENTWISE)
def test_every_activation_at_every_size_of_z(activation, dtype):
    rng = np.random.default_rng(1)
    tiny = np.exp2(np.arange(-60.0, 10.0))
    z = [*np.linspace(-40, 40, 4001), *rng.uniform(-800, 800, 999), *tiny, *-tiny, 0]
    with np.errstate(over="ignore"):
        actual, expected = column(activation, dtype, z)
    overflow = np.isinf(expected)
    np.testing.assert_array_equal(actual[overflow], expected[overflow])
    difference = abs(actual[~overflow] - expected[~overflow])
    bound = 10 * np.finfo(dtype).eps * np.maximum(abs(expected[~overflow]), 1)
    assert (difference <= bound).all(), (difference / bound).max()


@pytest.mark.parametrize(
    ("activation", "dtype"),
    [
        *[(name, dtype) for name in ("silu", "mish", "softplus", "exp") for dtype in DTYPES],
        # onnxruntime's operators of float32 subtract 1 from e^z
        *[("elu", np.float64), ("selu", np.float64)],
    ],
)
def test_small_outputs_keep_their_digits(activation, dtype):
    z = -np.exp2(np.linspace(-40, 6, 500))
    actual, expected = column(activation, dtype, z)
    np.testing.assert_allclose(actual, expected, rtol=20 * np.finfo(dtype).eps)


@both_dtypes
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_in_a_deep_network(activation, dtype):
    hidden = "tanh" if activation == "softmax" else activation
    units = (24, 17, 40, 9)
    layers = [*(Dense(count, hidden) for count in units), Dense(5, activation)]
    net = with_biases(fp.Network(7, layers, dtype=dtype, rng=3), 4)
    rng = np.random.default_rng(5)
    X = rng.normal(0, 1, (60, 7)) * rng.choice([0.1, 1, 100], (60, 1))
    if activation == "exp":  # of which exp five times over would be infinite
        net.params[:] *= 0.1
        X /= 100
    X = X.astype(dtype)
    model = net.to_onnx()
    expected = net.predict(X)
    twin = reference.Twin(net).predict(X)
    for rows in (X, X[:1]):
        actual = run(model, rows)
        assert actual.dtype == dtype
        assert actual.shape == (len(rows), 5)
        # of the size of the row, which the last layer's sums have
        scale = np.maximum(abs(expected[: len(rows)]).max(axis=1, keepdims=True), 1)
        assert (abs(actual - expected[: len(rows)]) / scale).max() < TOLERANCE[net.dtype]
        assert (abs(actual - twin[: len(rows)]) / scale).max() < 2 * TOLERANCE[net.dtype]


@both_dtypes
@pytest.mark.parametrize(
    ("loss", "last"),
    [
        *((loss, cls.activation or "identity") for loss, cls in LOSSES.items()),
        ("poisson", "exp"),
        ("poisson", "softplus"),
    ],
)
def test_every_loss(loss, last, dtype):
    rng = np.random.default_rng(6)
    net = with_biases(fp.Network(4, [Dense(12, "tanh"), Dense(3, last)], loss, dtype, rng=7), 7)
    X = rng.normal(0, 30, (50, 4)).astype(dtype)
    model = net.to_onnx()
    tolerance = TOLERANCE[net.dtype]
    np.testing.assert_allclose(run(model, X), net.predict(X), rtol=tolerance, atol=tolerance)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["loss"] == loss
    assert metadata["loss_reduction"] == net.loss_function.reduction
    assert metadata["flatprop_version"] == fp.__version__
    parameter = net.loss_function.parameter
    assert float(metadata.get("loss_parameter", 0)) == parameter


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 20), min_size=2, max_size=6),
    # exp makes of an error of z a relative one of its output
    names=st.lists(st.sampled_from([n for n in ELEMENTWISE if n != "exp"]), min_size=5),
    last=st.sampled_from([name for name in ACTIVATIONS if name != "exp"]),
    dtype=st.sampled_from(DTYPES),
    rows=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_any_architecture(sizes, names, last, dtype, rows, seed):
    inputs, *units = sizes
    activations = [*names[: len(units) - 1], last]
    layers = [Dense(*pair) for pair in zip(units, activations, strict=True)]
    net = with_biases(fp.Network(inputs, layers, dtype=dtype, rng=seed), seed)
    X = np.random.default_rng(seed).normal(0, 1, (rows, inputs)).astype(dtype)
    actual, expected = run(net.to_onnx(), X), net.predict(X)
    scale = max(1, abs(expected).max())
    assert abs(actual - expected).max() / scale < TOLERANCE[net.dtype]


@both_dtypes
def test_large_and_equal_logits(dtype):
    net = fp.Network(3, [Dense(3, "softmax")], "cross_entropy", dtype)
    net.params[:] = [*np.eye(3).ravel(), 0, 0, 0]
    X = np.array([[1e4, 0, 1e4], [0, 0, 0], [-1e30, 3e30, 0], [88, 89, 90]], dtype)
    actual, info = run(net.to_onnx(), X), np.finfo(dtype)
    np.testing.assert_allclose(actual, net.predict(X), rtol=4 * info.eps, atol=info.tiny)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_comes_out_as_nan(activation, dtype):
    net = fp.Network(2, [Dense(3, "relu"), Dense(2, activation)], dtype=dtype, rng=0)
    assert np.isnan(run(net.to_onnx(), np.array([[np.nan, 1]], dtype))).all()


@both_dtypes
def test_another_runtime_agrees(dtype):
    """ONNX's own, slow one, which computes with NumPy as the standard says."""
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator
    names = [name for name in ELEMENTWISE if name != "exp"]
    layers = [*(Dense(6, name) for name in names), Dense(3, "exp"), Dense(4, "softmax")]
    net = with_biases(fp.Network(3, layers, dtype=dtype, rng=2), 3)
    X = np.random.default_rng(4).normal(0, 2, (20, 3)).astype(dtype)
    actual = evaluator(net.to_onnx()).run(["y"], {"X": X})[0]
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, net.predict(X), rtol=100 * np.finfo(dtype).eps)


# ---- the graph


def test_a_reader_finds_one_operator_per_activation():
    names = ["relu", "tanh", "sigmoid", "leaky_relu", "elu", "selu", "softplus", "softsign", "exp"]
    layers = [Dense(3, name) for name in names]
    graph = fp.Network(2, [*layers, Dense(4), Dense(2, "softmax")]).to_onnx().graph
    operators = [node.op_type for node in graph.node if node.op_type != "Gemm"]
    assert operators == [
        *("Relu", "Tanh", "Sigmoid", "LeakyRelu", "Elu", "Selu", "Softplus", "Softsign", "Exp"),
        "Softmax",
    ]
    assert len(graph.node) == len(operators) + 11


def test_the_model_says_what_it_is():
    net = fp.Network(4, [Dense(8, "gelu"), Dense(3)], fp.losses.Huber(delta=2.5), rng=0)
    model = net.to_onnx()
    assert (model.producer_name, model.producer_version) == ("flatprop", fp.__version__)
    assert model.doc_string == repr(net)
    assert [entry.version for entry in model.opset_import] == [11]
    assert model.ir_version <= 6
    (given,), (out,) = model.graph.input, model.graph.output
    for value, name, width in ((given, "X", 4), (out, "y", 3)):
        batch, columns = value.type.tensor_type.shape.dim
        assert (value.name, batch.dim_param, columns.dim_value) == (name, "batch", width)
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    for l, (W, b) in enumerate(zip(net.weights, net.biases, strict=True), start=1):
        np.testing.assert_array_equal(arrays[f"W{l}"], W)
        np.testing.assert_array_equal(arrays[f"b{l}"], b)
    names = [name for node in model.graph.node for name in node.output]
    assert len({*names, *arrays}) == len(names) + len(arrays)


def test_the_file_is_the_model(tmp_path):
    net = fp.Network(2, [Dense(3, "mish"), Dense(1)], rng=0)
    path = tmp_path / "net.onnx"
    path.write_text("something older")
    model = net.to_onnx(path)
    assert onnx.load(path) == model == fp.interchange.to_onnx(net)
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.onnx"]
    before = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    net.params[:] = 0  # the model has its own copy
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(model.graph.initializer[0]), before)


# ---- formulas of the user's own


@numba.njit
def turned(z):
    return math.atan(z), 1 / (1 + z * z)


@numba.njit
def inverse_sinh(z):
    sign, size = math.copysign(1.0, z), abs(z)
    a = math.log1p(size + size * size / (1 + math.sqrt(size * size + 1)))
    return sign * a, 1 / math.sqrt(size * size + 1)


@numba.njit
def hyperbolic(z):
    return math.sinh(z) / math.cosh(z) + math.sinh(z / 9), 1 / math.cosh(z) ** 2 + math.cosh(
        z / 9
    ) / 9


@numba.njit
def slope_of_tangent(z):
    t = math.tan(0.2 * z)
    return t, 0.2 * (1 + t * t)


@numba.njit
def bell(z):
    return math.erf(z) + math.expm1(-z * z), math.exp(-z * z) * (2 / math.sqrt(math.pi) - 2 * z)


@numba.njit
def nothing(z):
    return 0.5, 0.0


OWN = [snake, hard_swish, three_quarters, bumps, turned, inverse_sinh, hyperbolic]
OWN += [slope_of_tangent, bell, nothing, bounded]


@both_dtypes
@pytest.mark.parametrize("function", OWN, ids=lambda function: function.__name__)
def test_the_users_own_activations(function, dtype):
    z = [*np.linspace(-7, 7, 333), 0, -0.0, -1, 1, 2, 3, -3, 1e-30, 1e-9, -1e-5]
    actual, expected = column(function, dtype, z)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(actual, expected, rtol=30 * eps, atol=8 * eps)


def test_own_activations_beside_others():
    layers = [Dense(4, snake), Dense(5, "gelu"), Dense(6, hard_swish), Dense(3, snake)]
    net = fp.Network(2, layers, dtype="float64", rng=0)
    X = np.random.default_rng(0).normal(0, 1, (20, 2))
    np.testing.assert_allclose(run(net.to_onnx(), X), net.predict(X), atol=1e-14)


@both_dtypes
def test_a_new_activation_is_exported_without_another_line(dtype, monkeypatch):
    def bent(z):
        root = sqrt(z * z + 1.0)
        a = where(z.equals(0.5), 3.0, copysign(minimum(root - 1.0, 2.0), z) / root)
        return maximum(a, -0.625) + elementary.log1p(root), root

    monkeypatch.setitem(ACTIVATIONS, "bent", Activation("bent", 99, "he", bent))
    net = fp.Network(1, [Dense(1, "bent")], dtype=dtype)
    net.params[:] = 1, 0
    z = np.array([*np.linspace(-5, 5, 50), 0.5, 0], dtype)
    root = np.sqrt(z * z + 1)
    a = np.where(z == 0.5, 3, np.copysign(np.minimum(root - 1, 2), z) / root)
    expected = np.maximum(a, -0.625) + np.log1p(root)
    actual = run(net.to_onnx(), z[:, None])[:, 0]
    np.testing.assert_allclose(actual, expected, rtol=8 * np.finfo(dtype).eps)


@both_dtypes
def test_zeros_have_a_sign(dtype, monkeypatch):
    formula = lambda z: (copysign(1.0, -abs(z)) + copysign(2.0, abs(z)), z)  # noqa: E731
    monkeypatch.setitem(ACTIVATIONS, "signs", Activation("signs", 99, "he", formula))
    net = fp.Network(1, [Dense(1, "signs")], dtype=dtype)
    net.params[:] = 1, 0
    X = np.array([[-3], [0], [2]], dtype)
    np.testing.assert_array_equal(run(net.to_onnx(), X), [[1], [1], [1]])


@pytest.mark.parametrize("size", [-1.0, -1.5, np.inf, 1e300, -0.0])
def test_log1p_where_it_ends(size, monkeypatch):
    formula = lambda z: (elementary.log1p(z), z)  # noqa: E731
    monkeypatch.setitem(ACTIVATIONS, "ends", Activation("ends", 99, "he", formula))
    net = fp.Network(1, [Dense(1, "ends")], dtype="float64")
    net.params[:] = 1, 0
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.log1p(size)
    np.testing.assert_allclose(run(net.to_onnx(), np.array([[size]])), [[expected]], rtol=1e-15)


# ---- what cannot be written, before anything is


def test_what_onnx_cannot_express(tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    with pytest.raises(ValueError, match=r"activation by_a_loop of layers\[1\]: it has a loop"):
        fp.Network(1, [Dense(2, "tanh"), Dense(1, by_a_loop)]).to_onnx(path)
    with pytest.raises(ValueError, match=r"it calls floor; .* of math exp, expm1"):
        fp.Network(1, [Dense(1, numba.njit(lambda z: (math.floor(z), 0.0)))]).to_onnx(path)

    def bits(z):
        return z.as_integers(), z

    monkeypatch.setitem(ACTIVATIONS, "bits", Activation("bits", 99, "he", bits))
    with pytest.raises(ValueError, match='cannot write "bits"'):
        fp.Network(1, [Dense(1, "bits")]).to_onnx(path)
    net = fp.Network(1, [Dense(1)])
    net.params[1] = np.nan
    with pytest.raises(ValueError, match=r"params\[1\] is nan"):
        net.to_onnx(path)
    assert not list(tmp_path.iterdir())


def test_more_than_a_file_holds(monkeypatch):
    monkeypatch.setattr("flatprop.export.onnx.MOST_BYTES", 11)
    assert fp.Network(1, [Dense(1)]).to_onnx()
    with pytest.raises(ValueError, match="12 bytes, but one ONNX file holds less than 2 GiB"):
        fp.Network(2, [Dense(1)]).to_onnx()


def test_without_onnx(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'flatprop\[onnx\]'"):
        fp.Network(1, [Dense(1)]).to_onnx()
