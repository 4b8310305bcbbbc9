"""The examples run, draw their picture, and find what they look for."""

import os
import re
import runpy
import shutil
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import flatprop as fp
import processes
from flatprop.kernels import gradient_workspace_size

pytestmark = pytest.mark.slow  # whole programs

EXAMPLES = Path(__file__).parent.parent / "examples"
NUMBER = r"(-?\d[\d.,]*(?:e[+-]\d+)?)"


pytest.importorskip("matplotlib", reason="the examples draw with matplotlib")
pytest.importorskip("scipy", reason="the examples use SciPy")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Numba's cache of a user's own functions does not notice an edit of the kernels."""
    return tmp_path_factory.mktemp("cache")


def run(name, folder, cache, options=("--fast",)):
    """What an example prints; its picture must be one with something in it."""
    from matplotlib.image import imread

    picture = folder / f"{name}.png"
    script = str(EXAMPLES / f"{name}.py")
    environment = {"MPLBACKEND": "Agg", "NUMBA_CACHE_DIR": str(cache), "PYTHONIOENCODING": "utf-8"}
    command = sys.executable, "-W", "error", script, *options, "--output", picture
    printed = processes.run(*command, **environment)
    pixels = imread(picture)
    assert min(pixels.shape[:2]) > 300
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 20
    return printed


def numbers(pattern, printed):
    found = re.findall(pattern.replace("#", NUMBER), printed)
    assert found, f"{pattern!r} is not in {printed!r}"
    return np.array(found, float)


def test_neural_ode(tmp_path, cache):
    printed = run("neural_ode", tmp_path, cache)
    (error,) = numbers("4 times as long: #", printed)
    assert error < 0.2  # of amplitudes of 2 and 3; it was wrong by a whole phase otherwise


def test_controller(tmp_path, cache):
    printed = run("controller", tmp_path, cache)
    (upright,) = numbers("above 1.9 m for #%", printed)
    assert upright > 40  # hanging or turning, it would be there for 0 to 10


def test_calibration(tmp_path, cache):
    printed = run("calibration", tmp_path, cache)
    found = numbers(r"= +# ± # \(true +#,", printed)
    assert found.shape == (3, 3)
    value, sigma, true = found.T
    assert (np.abs(value - true) < 3 * sigma).all()
    assert (sigma < 0.1).all()


def test_burgers(tmp_path, cache):
    """The error of the article, where FULL_EXAMPLES asks for its problem, which takes minutes."""
    full = bool(os.environ.get("FULL_EXAMPLES"))
    printed = run("burgers", tmp_path, cache, () if full else ("--fast",))
    (error,) = numbers("relative error #", printed)
    assert error <= (6.7e-4 if full else 2e-2)
    off = numbers(r"noise: off by \+?# %", printed)
    assert (np.abs(off) < [3, 15]).all()  # with 1 % and 5 % of noise


def test_uci(tmp_path, cache):
    """Two of the five sets, and two of their twenty splits."""
    printed = run("uci", tmp_path, cache)
    found = numbers(r"(?:yacht|energy) +# ± # +# +# +# ± # +#", printed)
    rmse, _, published, published_2015, nll = found.T[:5]
    assert (rmse < 0.6 * np.minimum(published, published_2015)).all()
    assert nll[0] < 0.2  # of yacht; published is 1.18
    assert "20 networks" in printed


def test_spectrum(tmp_path, cache):
    printed = run("spectrum", tmp_path, cache)
    error_of_mean, error_of_sigma = numbers("mean #, of sigma # %", printed)[0]
    assert error_of_mean < 0.02  # of an absorbance up to 1.3
    assert error_of_sigma < 10
    inside = numbers("sigma: # % of the held-out", printed)
    np.testing.assert_allclose(inside, [68.3, 95.4], atol=1.5)


def test_molecule(tmp_path, cache):
    printed = run("molecule", tmp_path, cache)
    of_forces = numbers("of forces # meV/Å", printed)
    assert of_forces[1] < min(10, of_forces[0] / 3)
    error, drift = numbers("energy # µeV, drift # µeV", printed).T
    assert error[0] / error[1] == pytest.approx(4, rel=0.1)  # the square of the time step
    assert (np.abs(drift) < 0.05 * error).all()
    network, potential = numbers("bend # cm⁻¹, stretches # cm⁻¹", printed)
    np.testing.assert_allclose(network, potential, atol=2)


def test_map(tmp_path, cache):
    printed = run("map", tmp_path, cache)
    error, of_one_for_all = numbers("off by # °C .*off by # °C", printed)[0]
    assert error < 1.2
    assert of_one_for_all > 4


def test_c_program(tmp_path, cache):
    compiler = os.environ.get("CC", "cc").split()[0]
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no C compiler {compiler} here")
    printed = run("c_program", tmp_path, cache)
    (error,) = numbers("125 °C: # °C", printed)
    (difference,) = numbers("C and predict: # °C", printed)
    assert error < 1
    assert difference < 1e-3  # rounding of float32 at 125


def compiled(function):
    """Afresh, see `cache`."""
    return numba.njit(function.py_func)


def check_gradient(value, params, gradient):
    """Against central differences along random directions."""
    rng = np.random.default_rng(3)
    for _ in range(5):
        v = rng.standard_normal(params.size)
        high, low = value(params + 1e-5 * v), value(params - 1e-5 * v)
        assert gradient @ v == pytest.approx((high - low) / 2e-5, rel=1e-6, abs=1e-8)
    assert np.abs(gradient).min() > 0  # no parameter is passed over


def test_gradient_of_the_neural_ode():
    example = runpy.run_path(str(EXAMPLES / "neural_ode.py"))
    net = fp.Network(2, [fp.Dense(6, "tanh"), fp.Dense(2)], dtype="float64", rng=0)
    observed = np.random.default_rng(0).standard_normal((8, 3, 2))
    workspace = np.empty(gradient_workspace_size(net.layers, 3))

    misfit_and_gradient = compiled(example["misfit_and_gradient"])

    def misfit(params):
        return misfit_and_gradient(params, net.layers, observed, 0.1, 2, workspace)

    value, gradient = misfit(net.params)
    check_gradient(lambda params: misfit(params)[0], net.params, gradient)

    def solve(x, f, h):  # Runge-Kutta's method in the textbook's words
        for _ in range(2):
            k1 = f(x)
            k2 = f(x + h / 2 * k1)
            k3 = f(x + h / 2 * k2)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + f(x + h * k3))
        return x

    solution = [observed[0]]
    for _ in observed[1:]:
        solution.append(solve(solution[-1], net.predict, 0.05))
    assert value == pytest.approx(np.mean((np.array(solution) - observed) ** 2), rel=1e-12)


def test_gradient_of_the_controller():
    example = runpy.run_path(str(EXAMPLES / "controller.py"))
    net = fp.Network(4, [fp.Dense(6, "tanh"), fp.Dense(2, "tanh")], dtype="float64", rng=0)
    start = np.random.default_rng(0).uniform(-1, 1, (3, 4))
    workspace = np.empty(gradient_workspace_size(net.layers, 3))
    gradient = np.empty_like(net.params)
    cost_and_gradient = compiled(example["cost_and_gradient"])

    def cost(params):
        out = np.empty_like(params)
        return cost_and_gradient(net.layers, params, start, 20, out, workspace)

    cost_and_gradient(net.layers, net.params, start, 20, gradient, workspace)
    check_gradient(cost, net.params, gradient)
