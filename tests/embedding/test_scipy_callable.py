"""Networks as SciPy's low-level callables."""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import flatprop as fp
from c_library import both_dtypes

pytestmark = pytest.mark.slow  # each function is compiled for C


def integrand(net, output=0):
    return lambda *x: float(net.predict([x])[0, output])


def test_quad_of_a_network():
    from scipy.integrate import quad

    net = fp.Network(1, [fp.Dense(1, "exp"), fp.Dense(2)], dtype="float64")
    net.params = [0.7, 0.2, 3.0, -2.0, 0.5, 0.25]  # 3 e^(0.7 x + 0.2) + 0.5, -2 e^... + 0.25
    area = (np.exp(1.6) - np.exp(0.2)) / 0.7  # from 0 to 2
    for output, exact in enumerate([3 * area + 1, -2 * area + 0.5]):
        callback = fp.low_level_callable(net, output=output)
        gc.collect()
        assert quad(callback, 0, 2)[0] == pytest.approx(exact, rel=1e-14)


@both_dtypes
def test_integrals_of_networks_of_several_inputs(dtype):
    from scipy.integrate import dblquad, nquad, quad

    net = fp.Network(2, [fp.Dense(6, "tanh"), fp.Dense(1)], dtype=dtype, rng=3)
    callback = fp.low_level_callable(net)
    options = {"epsabs": 1e-4, "epsrel": 1e-4}
    assert dblquad(callback, 0, 1, -1, 2, **options) == dblquad(
        integrand(net), 0, 1, -1, 2, **options
    )
    ranges = [[-1, 2], [0, 1]]
    assert nquad(callback, ranges, opts=options) == nquad(integrand(net), ranges, opts=options)
    one = quad(callback, 0, 1, args=(0.5,), **options)
    assert one == quad(integrand(net), 0, 1, args=(0.5,), **options)


def test_another_number_of_values_gives_nan():
    from scipy.integrate import IntegrationWarning, quad

    callback = fp.low_level_callable(fp.Network(2, [fp.Dense(1)], rng=0))
    with pytest.warns(IntegrationWarning):
        assert np.isnan(quad(callback, 0, 1)[0])


@both_dtypes
def test_a_network_as_a_filter(dtype):
    from scipy.ndimage import generic_filter

    net = fp.Network(9, [fp.Dense(12, "relu"), fp.Dense(2)], dtype=dtype, rng=0)
    image = np.random.default_rng(0).normal(size=(12, 9))
    callback = fp.low_level_callable(net, "filter", output=1)
    actual = generic_filter(image, callback, size=3)
    expected = generic_filter(image, lambda x: integrand(net, 1)(*x), size=3)
    assert np.array_equal(actual, expected)
    assert np.isnan(generic_filter(image, callback, size=2)).all()


def test_a_callback_is_for_one_thread_and_threads_have_their_own():
    from scipy.integrate import quad

    net = fp.Network(1, [fp.Dense(40, "tanh"), fp.Dense(1)], dtype="float64", rng=0)
    expected = quad(integrand(net), 0, 3)

    def work(_):
        return quad(fp.low_level_callable(net), 0, 3)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(64))) == {expected}


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match="pip install scipy"):
        fp.low_level_callable(fp.Network(1, [fp.Dense(1)]))
