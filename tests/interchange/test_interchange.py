"""`fp.interchange` and what needs no other library: Keras's lists of parameters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flatprop as fp
from flatprop.interchange import get_weights, set_weights
from flatprop.model.dense_layer import Dense
from processes import python


def test_it_is_imported_when_it_is_used():
    program = """
import sys
import flatprop as fp
others = {"onnx", "torch", "sklearn"}
assert "flatprop.interchange" not in sys.modules
assert "interchange" in dir(fp)
fp.interchange.state_dict(fp.Network(1, [fp.Dense(1)]))
assert not others & {*sys.modules}, others & {*sys.modules}
try:
    fp.intercharge
except AttributeError as error:
    assert "flatprop" in str(error) and "intercharge" in str(error)
else:
    raise AssertionError
"""
    python(program)


@settings(deadline=None)  # the first example may compile
@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=6),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_keras_weights(sizes, dtype):
    inputs, *units = sizes
    net = fp.Network(inputs, [Dense(count, "tanh") for count in units], dtype=dtype, rng=0)
    net.params[:] = np.random.default_rng(1).normal(size=net.params.size)
    weights = get_weights(net)
    x = X = np.random.default_rng(2).normal(size=(4, inputs)).astype(dtype)
    for W, b in zip(weights[::2], weights[1::2], strict=True):  # as Keras's Dense does
        x = np.tanh(np.dot(x, W) + b)
    np.testing.assert_allclose(net.predict(X), x, atol=20 * np.finfo(dtype).eps)
    assert {array.dtype.name for array in weights} == {dtype}
    assert not any(np.shares_memory(array, net.params) for array in weights)
    other = net.copy().reset()
    set_weights(other, [array.astype("float64") for array in weights])
    np.testing.assert_array_equal(other.params, net.params)


class Estimator:
    network_ = fp.Network(1, [Dense(1)])


@pytest.mark.parametrize(("wrong", "message"), [(3, "got int"), (Estimator(), "network_$")])
@pytest.mark.parametrize(
    ("name", "more"),
    [
        *(("get_weights", ()), ("set_weights", ([],)), ("state_dict", ())),
        *(("load_state_dict", ({},)), ("to_torch", ()), ("to_sklearn", ()), ("to_onnx", ())),
    ],
)
def test_what_is_no_network_is_refused(name, more, wrong, message):
    packages = {"to_sklearn": "sklearn", "to_onnx": "onnx"}
    if name in packages:
        pytest.importorskip(packages[name])
    with pytest.raises(TypeError, match=f"{name} takes an fp.Network, .*{message}"):
        getattr(fp.interchange, name)(wrong, *more)


FITTING = [np.ones((2, 3)), np.ones(3), np.ones((3, 1)), np.ones(1)]


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (None, TypeError, "weights must be a list"),
        (FITTING[:3], ValueError, "must hold 4 arrays, .* but it holds 3"),
        (FITTING[::2], ValueError, "holds 2; layers without bias"),
        ([*FITTING[:2], np.ones((1, 3)), [1]], ValueError, r"weights\[2\] .*Is it transposed"),
        ([*FITTING[:3], 1.0], ValueError, r"weights\[3\] must have shape \(units,\) = \(1,\)"),
        ([*FITTING[:3], [np.inf]], ValueError, r"weights\[3\]\[0\] is inf"),
        ([*FITTING[:3], ["x"]], TypeError, r"weights\[3\] must hold numbers"),
        ([*FITTING[:3], [1e300]], ValueError, "too large for float32"),
    ],
)
def test_keras_weights_that_do_not_fit_change_nothing(weights, error, message):
    net = fp.Network(2, [Dense(3, "tanh"), Dense(1)], rng=0)
    before = net.params.copy()
    with pytest.raises(error, match=message):
        set_weights(net, weights)
    np.testing.assert_array_equal(net.params, before)
    set_weights(net, FITTING)
    assert (net.params == 1).all()
