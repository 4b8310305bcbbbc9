"""Calls that Ctrl-C can stop: no compiled function is given more rows than end in time."""

from itertools import pairwise

import numpy as np
import pytest

import flatprop as fp
from flatprop.evaluation import calls, crew
from flatprop.kernels.network import entry_points
from flatprop.kernels.network.damping import Iterations
from flatprop.samples import in_parts
from flatprop.samples.in_memory import in_memory
from flatprop.solvers.objective import Objective
from networks import network, samples

ROWS = 1100


def of_objective(net, x, y, w):
    ranges = np.array([[0, net.params.size]])
    course = Iterations(np.zeros(1), np.zeros(1, np.int64), net.params.copy())
    return Objective(net, in_memory(net, x, y, w), ranges, course, False).loss_and_gradient()


CALLS = {
    # what Python calls, and the compiled function that does it
    "predict": (lambda net, x, y, w: net.predict(x), "predict"),
    "loss": (lambda net, x, y, w: net.loss(x, y, w), "sum_of_losses"),
    "gradient": (lambda net, x, y, w: net.loss_and_gradient(x, y, w), "loss_and_gradient"),
    "solver": (of_objective, "loss_and_gradient"),
    "vjp": (lambda net, x, y, w: net.vjp(x, y), "vjp"),
    "jacobian": (lambda net, x, y, w: net.jacobian(x), "jacobian"),
    "by params": (lambda net, x, y, w: net.jacobian(x, "params"), "parameter_jacobian"),
    "each": (lambda net, x, y, w: net.per_sample_gradients(x, y), "per_sample_gradients"),
    "hessian": (
        lambda net, x, y, w: net.hessian_vector_product(x, y, np.ones_like(net.params), w),
        "hessian_vector_product",
    ),
    "gauss-newton": (
        lambda net, x, y, w: net.gauss_newton_vector_product(x, y, np.ones_like(net.params), w),
        "gauss_newton_vector_product",
    ),
    "trace": (lambda net, x, y, w: net.trace(x, y).layers[0].dL_dz, "trace"),
}
IN_BLOCKS = ("vjp", "jacobian", "by params", "each", "hessian", "gauss-newton")
"""Every call of these is one block."""


def rows_of_call(name, net, arguments):
    """Of how many rows a compiled function was asked."""
    if name == "predict":
        return len(arguments[3])
    if name in ("sum_of_losses", "loss_and_gradient", "trace"):
        return arguments[5] - arguments[4]
    x = {"vjp": 2, "jacobian": 2, "parameter_jacobian": 2, "per_sample_gradients": 3}
    return len(arguments[x.get(name, 4)])


def watched(monkeypatch, name, net):
    """The rows of every call of a compiled function from now on."""
    kernel, seen = getattr(entry_points, name), []

    def record(*arguments):
        seen.append(rows_of_call(name, net, arguments))
        return kernel(*arguments)

    monkeypatch.setattr(entry_points, name, record)
    return seen


def flattened(result):
    parts = result if isinstance(result, tuple) else (result,)
    return np.concatenate([np.ravel(part) for part in parts])


@pytest.mark.parametrize("case", CALLS)
@pytest.mark.slow
def test_calls_in_parts_give_the_same_bits(case, monkeypatch):
    function, name = CALLS[case]
    net = network((3, 200, 2))
    data = samples(net, ROWS)
    before = net.params.copy()
    seen = watched(monkeypatch, name, net)
    with crew.using(1):  # several threads get several calls anyway
        monkeypatch.setattr(calls, "SECONDS", 1e9)
        whole, at_once = flattened(function(net, *data)), len(seen)
        seen.clear()
        monkeypatch.setattr(calls, "SECONDS", 1e-9)
        in_parts = flattened(function(net, *data))
    assert len(seen) == at_once if case in IN_BLOCKS else len(seen) > at_once
    assert max(seen) <= calls.block_rows(net) < ROWS
    np.testing.assert_array_equal(in_parts, whole)
    np.testing.assert_array_equal(net.params, before)


@pytest.mark.parametrize("case", ["predict", "gradient", "vjp", "jacobian", "hessian"])
def test_what_is_interrupted_leaves_the_network_alone(case, monkeypatch):
    function, name = CALLS[case]
    net = network((3, 200, 2))
    data = samples(net, ROWS)
    expected, before = flattened(function(net, *data)), net.params.copy()
    kernel, count = getattr(entry_points, name), []

    def interrupted(*arguments):
        count.append(1)
        if len(count) == 2:
            raise KeyboardInterrupt
        return kernel(*arguments)

    monkeypatch.setattr(calls, "SECONDS", 1e-9)
    with monkeypatch.context() as patch:
        patch.setattr(entry_points, name, interrupted)
        # A signal comes to the main thread; one thread alone, since others call the same function.
        with crew.using(1), pytest.raises(KeyboardInterrupt):
            function(net, *data)
    np.testing.assert_array_equal(net.params, before)
    np.testing.assert_array_equal(flattened(function(net, *data)), expected)


@pytest.mark.parametrize("sizes", [(1, 1), (2, 4, 1), (20, 128, 1), (784, 256, 10), (1024,) * 3])
@pytest.mark.parametrize("passes", [calls.PREDICT, calls.GRADIENT])
def test_calls_are_short_and_cover_every_row_once(sizes, passes):
    net, rows = network(sizes, dtype="float32"), 1_000_003
    block = calls.block_rows(net)
    parts = calls.in_time(net, rows, block, passes, first=7)
    assert parts[0].start == 7
    assert parts[-1].stop == rows + 7
    assert all(one.stop == other.start for one, other in pairwise(parts))
    lengths = {part.stop - part.start for part in parts[:-1]}
    assert all(length % block == 0 for length in lengths)
    longest = max(part.stop - part.start for part in parts)
    seconds = longest * passes * 2 * net.params.size / calls.PER_SECOND
    assert seconds <= calls.SECONDS or longest == block


def test_few_rows_are_one_call():
    net = network((8, 64, 64, 2), dtype="float32")
    assert calls.in_time(net, 1000, calls.block_rows(net), calls.GRADIENT) == [slice(0, 1000)]


def test_a_jacobian_of_many_outputs_is_divided_by_them(monkeypatch):
    net = network((5, 30, 40))
    x, _, _ = samples(net, 50)
    expected = net.jacobian(x)
    kernel, seen = entry_points.jacobian, []

    def record(*arguments):
        seen.append(arguments[3:5])
        return kernel(*arguments)

    monkeypatch.setattr(entry_points, "jacobian", record)
    monkeypatch.setattr(calls, "LONGEST_BLOCK", 3 * 2 * net.params.size * 50 * 16)
    np.testing.assert_array_equal(net.jacobian(x), expected)
    assert seen == [(0, 16), (16, 32), (32, 40)]
    for layers in ([fp.Dense(7, "softmax")], [fp.Dense(4, "relu"), fp.Dense(7, "softmax")]):
        net = fp.Network(5, layers, "mse", dtype="float64", rng=0)
        parts = net.jacobian(x)
        monkeypatch.setattr(calls, "LONGEST_BLOCK", 2**40)
        np.testing.assert_array_equal(net.jacobian(x), parts)


def test_rows_that_are_written_out_are_bounded_too():
    net = network((1024, 1024, 10), dtype="float32")
    assert calls.rows_of_a_block(net, calls.WRITTEN) * net.params.nbytes < 2**27
    assert calls.rows_of_a_block(net, calls.GRADIENT) == calls.block_rows(net)


def test_rows_in_memory_are_not_copied(monkeypatch):
    net = network((3, 200, 2))
    x, _, _ = samples(net, ROWS)
    kernel, shared = entry_points.predict, []

    def record(layers, params, given, out, *rest):
        shared.append(np.shares_memory(given, x))
        return kernel(layers, params, given, out, *rest)

    monkeypatch.setattr(entry_points, "predict", record)
    monkeypatch.setattr(calls, "SECONDS", 1e-9)
    net.predict(x)
    assert len(shared) > 1
    assert all(shared)


def test_nan_in_a_later_part_is_found(monkeypatch):
    net = network((3, 200, 2))
    x, _, _ = samples(net, ROWS)
    x[ROWS - 1, 1] = np.nan
    monkeypatch.setattr(calls, "SECONDS", 1e-9)
    with pytest.raises(ValueError, match=rf"X\[{ROWS - 1}, 1\] is nan"):
        net.predict(x)


def test_a_file_is_predicted_in_the_same_calls(tmp_path, monkeypatch):
    net = network((3, 200, 2))
    x, _, _ = samples(net, ROWS)
    expected = net.predict(x)
    np.save(tmp_path / "x.npy", x)
    monkeypatch.setattr(in_parts, "PART_BYTES", 2**12)
    monkeypatch.setattr("flatprop.evaluation.values.SURELY_SMALL", 0)
    seen = watched(monkeypatch, "predict", net)
    np.testing.assert_array_equal(
        net.predict(np.load(tmp_path / "x.npy", mmap_mode="r")), expected
    )
    assert max(seen) <= calls.block_rows(net)
