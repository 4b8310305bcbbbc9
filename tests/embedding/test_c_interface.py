"""The structs and the tables of functions for C, in Python."""

import copy
import ctypes
import gc
import pickle
import re
import sys

import numpy as np
import pytest

import flatprop as fp
from c_library import (
    problem,
    workspace,
)
from processes import run

pytestmark = pytest.mark.slow  # each function is compiled for C


def test_what_does_not_fit_is_refused():
    net, x, _ = problem("float64")
    table, network = fp.c_functions("float64"), fp.c_network(net)
    out, space = np.zeros((len(x), 3)), workspace(table, fp.c_network(net), len(x))
    frozen = out.copy()
    frozen.flags.writeable = False
    single, _, _ = problem("float32")
    cases = [
        ((net, 50, x, out, space), "network must be what flatprop.c_network gives"),
        ((fp.c_network(single), 50, x, out, space), "for float64, but network is of float32"),
        ((network, 50.0, x, out, space), "argument 2"),
        ((network, 50, x.astype("float32"), out, space), "x must be a C-contiguous array"),
        ((network, 50, x[:, ::2], out, space), "x must be a C-contiguous array of float64"),
        ((network, 50, x.tolist(), out, space), "x must be an array of float64"),
        ((network, 50, None, out, space), "x must be an array of float64, got None"),
        ((network, 50, x, frozen, space), "out is overwritten, but the array is read-only"),
    ]
    for given, message in cases:
        with pytest.raises(ctypes.ArgumentError, match=re.escape(message)):
            table.forward(*given)
    assert not out.any()


def test_bad_requests():
    net = fp.Network(1, [fp.Dense(1)])
    with pytest.raises(ValueError, match='dtype must be "float32" or "float64"'):
        fp.c_functions("float16")
    with pytest.raises(ValueError, match=r"unknown function 'forwards'\. Did you mean 'forward'"):
        fp.c_functions("float32", only=["forwards"])
    with pytest.raises(TypeError, match=re.escape('write only=["forward"]')):
        fp.c_functions("float32", only="forward")
    with pytest.raises(AttributeError, match="no C function 'backward'; workspace_size"):
        _ = fp.c_functions("float32").backward
    with pytest.raises(TypeError, match=r"takes an fp\.Network"):
        fp.c_network(net.layers)
    with pytest.raises(TypeError, match=r"takes an fp\.Network"):
        fp.c_optimizer("adam", net.params)
    with pytest.raises(ValueError, match="Did you mean 'adam'"):
        fp.c_optimizer("adan", net)
    with pytest.raises(ValueError, match="output is 1, but the network has 1"):
        fp.low_level_callable(net, output=1)
    with pytest.raises(ValueError, match="unknown kind"):
        fp.low_level_callable(net, "integrands")


def test_a_struct_keeps_its_network_alive_and_shares_its_parameters():
    net, x, _ = problem("float64")
    network = fp.c_network(net)
    expected = net.predict(x)
    table, out = fp.c_functions("float64"), np.zeros((len(x), 3))
    del net
    gc.collect()
    space = workspace(table, network, len(x))
    table.forward(network, len(x), x, out, space)
    assert np.array_equal(out, expected)
    network.network.params[:] = 0
    table.forward(network, len(x), x, out, space)
    assert not out.any()


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_network_with_a_struct_is_still_copied(twin_of):
    net, x, _ = problem("float64")
    network = fp.c_network(net)
    twin = twin_of(net)
    twin.params[:] += 1
    assert network.params == net.params.ctypes.data != fp.c_network(twin).params
    assert not np.array_equal(net.predict(x), twin.predict(x))


def test_what_can_be_pickled():
    table = fp.c_functions("float64", only=["forward"])
    twin = pickle.loads(pickle.dumps(table))
    assert twin.address == table.address
    with pytest.raises(ValueError, match="pointers cannot be pickled"):
        pickle.dumps(fp.c_network(fp.Network(1, [fp.Dense(1)])))


FROM_CACHE = """
from numba.core import event
import flatprop as fp

with event.install_recorder("numba:compile") as recorder:
    table = fp.c_functions("float64", only=["forward", "workspace_size"])
    assert table.address
print(len(recorder.buffer))
"""


def test_the_second_process_compiles_nothing(tmp_path):
    first, second = (
        run(sys.executable, "-c", FROM_CACHE, NUMBA_CACHE_DIR=str(tmp_path)) for _ in "12"
    )
    assert int(first) > 0
    assert int(second) == 0
