"""Many networks at once, called from compiled code."""

import numba
import numpy as np
import pytest

import flatprop as fp
from flatprop import kernels
from flatprop.kernels import checked


@numba.njit
def closures(layers, params, x, out, workspace):
    kernels.forward_each(layers, params, x, out, workspace)
    return out.sum()


@numba.njit
def checked_closures(layers, params, x, out, workspace):
    checked.forward_each(layers, params, x, out, workspace)


def arguments(members=6):
    ens = fp.Ensemble(2, [fp.Dense(3, "tanh"), fp.Dense(2)], members=members, rng=0)
    x = np.random.default_rng(1).uniform(-1, 1, (members, 2)).astype("f4")
    workspace = np.empty(kernels.workspace_size(ens.layers, 1), "f4")
    return ens, x, np.empty((members, 2), "f4"), workspace


def test_each_row_goes_through_its_own_member():
    ens, x, out, workspace = arguments()
    total = closures(ens.layers, ens.params, x, out, workspace)
    expected = np.concatenate([net.predict(row[None]) for net, row in zip(ens, x, strict=True)])
    np.testing.assert_array_equal(out, expected)
    assert total == pytest.approx(out.sum())
    out[:] = 0
    checked_closures(ens.layers, ens.params, x, out, workspace)
    np.testing.assert_array_equal(out, expected)
    kernels.forward_each(ens.layers, ens.params, x, out, workspace)
    np.testing.assert_array_equal(out, expected)


def test_sizes_are_checked():
    ens, x, out, workspace = arguments()
    with pytest.raises(ValueError, match="one row for each member"):
        checked_closures(ens.layers, ens.params[:5], x, out, workspace)
    with pytest.raises(ValueError, match="workspace"):
        checked_closures(ens.layers, ens.params, x, out, workspace[:1])
    with pytest.raises(ValueError, match="layers and params"):
        checked_closures(ens.layers, np.ascontiguousarray(ens.params[:, :8]), x, out, workspace)


def test_what_is_read_only_is_not_written():
    ens, x, out, workspace = arguments()
    out.flags.writeable = False
    with pytest.raises(numba.TypingError, match="read-only"):
        closures(ens.layers, ens.params, x, out, workspace)
