"""The self-test in the C of a network: it passes where nothing is wrong, and fails where it is."""

import math
import platform
import re
import subprocess

import numba
import numpy as np
import pytest

import flatprop as fp
from compilers import COMPILER, STRICT, needs_compiler
from flatprop.export.c_self_test import bounds
from flatprop.formulas.activations import ACTIVATIONS
from flatprop.model.dense_layer import Dense
from flatprop.numbers.c_source import hexadecimal
from networks import double_first
from own_functions import bumps
from processes import run


def passes(net, X, folder, *flags, change=None):
    """Whether the file's own test does, and the largest part of its bound."""
    source, program = folder / "thermostat.c", folder / "thermostat"
    net.to_c(source, test=X)
    if change is not None:
        text = source.read_text()
        changed = change(text)
        assert changed != text
        source.write_text(changed)
    run(COMPILER, *(flags or STRICT), "-DTHERMOSTAT_TEST", source, "-lm", "-o", program)
    done = subprocess.run([program], capture_output=True, text=True)
    assert (done.returncode == 0) == (", 0 of " in done.stdout)
    return done.returncode == 0, float(done.stdout.split()[2])


def cancelling(dtype):
    """Of 1,000 inputs, outputs near 0 because terms as large as 1 cancel."""
    net = fp.Network(1000, [Dense(4)], dtype=dtype, rng=0)
    net.weights[0][500:] = -net.weights[0][:500]
    x = np.random.default_rng(1).normal(size=(20, 500))
    return net, np.concatenate([x, x], axis=1)


def alike(dtype):
    """Every rounding in the same direction."""
    net = fp.Network(3000, [Dense(2)], dtype=dtype)
    net.params[:] = 1 / 3
    return net, np.full((2, 3000), 0.1)


def deep(dtype):
    layers = [Dense(20, name) for name in ("relu", "tanh", "gelu", "mish", "silu", "elu", "selu")]
    net = fp.Network(20, [*layers, Dense(5, "softmax")], "cross_entropy", dtype=dtype, rng=1)
    return net, np.random.default_rng(2).normal(size=(40, 20))


def scaled(inputs, weights, activation="tanh"):
    def make(dtype):
        rng = np.random.default_rng(3)
        net = fp.Network(6, [Dense(8, activation), Dense(3)], dtype=dtype)
        net.params[:] = rng.normal(0, weights, net.params.size)
        return net, rng.normal(0, inputs, (20, 6))

    return make


def steps(dtype):
    """Activations that jump, at places that sums come close to."""
    net = fp.Network(10, [Dense(20, bumps), Dense(2)], dtype=dtype, rng=0)
    net.weights[0][:] = 0.1
    return net, np.concatenate([np.ones((1, 10)), np.full((1, 10), 3)])


CASES = {
    "cancelling": cancelling,
    "alike": alike,
    "deep": deep,
    "tiny inputs": scaled(1e-20, 1),
    "tiny weights": scaled(1e-3, 1e-20),
    "subnormal": scaled(1e-19, 1e-19),
    "large": scaled(1e18, 1e15),
    "large relu": scaled(1e10, 1e10, "relu"),
    "large softplus": scaled(1e20, 1e-20, "softplus"),
    "steps": steps,
}


@needs_compiler
@double_first
@pytest.mark.parametrize("case", CASES)
def test_the_file_passes_its_own_test(case, dtype, tmp_path, record_property):
    net, X = CASES[case](dtype)
    intel = platform.machine() in ("x86_64", "AMD64")
    fast = ["-std=c99", "-O3", "-ffast-math", *["-march=native"] * intel]
    for flags in (["-std=c99", "-O0"], STRICT, fast):
        passed, part = passes(net, X, tmp_path, *flags)
        record_property("part", part)
        assert passed


@needs_compiler
@double_first
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_passes_its_own_test(activation, dtype, tmp_path, record_property):
    hidden = "tanh" if activation in ("softmax", "exp") else activation
    net = fp.Network(5, [Dense(12, hidden), Dense(12, hidden), Dense(3, activation)], rng=0)
    net = fp.Network(5, net.dense, dtype=dtype, rng=1)
    passed, part = passes(net, np.random.default_rng(0).normal(size=(30, 5)), tmp_path)
    record_property("part", part)
    assert passed


@numba.njit
def siren(z):
    return math.sin(30 * z), 30 * math.cos(30 * z)


@numba.njit
def rings(z):
    size = z * z + 1
    return math.cos(size / 3), -2 / 3 * z * math.sin(size / 3)


@numba.njit
def hyperbolic(z):
    half = z / 2 - 0.25
    return math.sinh(half) - math.cosh(half), (math.cosh(half) - math.sinh(half)) / 2


@numba.njit
def nested(z):
    wave = math.tan(math.sin(z) / 2) + math.atan(3 * z)
    return wave, math.cos(z) / (2 * math.cos(math.sin(z) / 2) ** 2) + 3 / (1 + 9 * z * z)


@needs_compiler
@double_first
@pytest.mark.parametrize(
    "function", [siren, rings, hyperbolic, nested], ids=lambda function: function.__name__
)
def test_functions_whose_slopes_are_each_others(function, dtype, tmp_path):
    net = fp.Network(3, [Dense(4, function), Dense(4, function), Dense(2)], dtype=dtype, rng=0)
    X = np.random.default_rng(0).normal(size=(20, 3))
    passed, _ = passes(net, X, tmp_path)
    assert passed
    wrong, _ = passes(net, X, tmp_path, change=weight(0, lambda old: hexadecimal(old * 1.01)))
    assert not wrong


def weight(number, new):
    """Another number in the place of a parameter of the first layer."""

    def change(text):
        begin, end = text.index("_W1["), text.index("_b1[")
        literals = list(re.finditer(r"-?0x[0-9a-f.]+p[+-]\d+", text[begin:end]))
        one = literals[number]
        old = float.fromhex(one.group())
        return text[: begin + one.start()] + new(old) + text[begin + one.end() :]

    return change


def swapped(text):
    start = text.index("_W2[")
    one, other = list(re.finditer(r"-?0x[0-9a-f.]+p[+-]\d+", text[start:]))[:2]
    middle = text[start + one.end() : start + other.start()]
    rest = text[start + other.end() :]
    return text[: start + one.start()] + other.group() + middle + one.group() + rest


WRONG = {
    "another": weight(5, lambda old: "0x1.8p+0"),
    "the sign": weight(17, lambda old: hexadecimal(-old)),
    "a hundredth": weight(17, lambda old: hexadecimal(old * 1.01)),
    "swapped": swapped,
    "a bias left out": lambda text: text.replace("z[j] = b[j]", "z[j] = 0"),
    "another activation": lambda text: re.sub(r"= thermostat_tanh\(", "= thermostat_sin(", text),
    "not a number": weight(3, lambda old: "NAN * 0x1p+0"),
}


@needs_compiler
@double_first
@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_in_the_file_is_found(case, dtype, tmp_path):
    net = fp.Network(8, [Dense(32, "tanh"), Dense(32, "tanh"), Dense(2)], dtype=dtype, rng=0)
    for b in net.biases:
        b[:] = 0.1
    X = np.random.default_rng(10).normal(size=(20, 8))
    sine = "#define thermostat_sin sinf" if dtype == np.float32 else "#define thermostat_sin sin"

    def change(text):
        return WRONG[case](text).replace("#include <math.h>", f"#include <math.h>\n{sine}")

    flags = "-std=c99", "-O2"
    assert passes(net, X, tmp_path, *flags)[0]
    assert not passes(net, X, tmp_path, *flags, change=change)[0]


def test_bounds_are_no_wider_than_a_few_roundings():
    """Of one sum of two terms: three halves of a unit of each, doubled."""
    net = fp.Network(2, [Dense(1)], dtype="float64")
    net.params[:] = 1, 1, 0
    x = np.array([[1.0, 2.0]])
    (bound,) = bounds(net, x, net.predict(x))[0]
    unit = np.finfo(np.float64).eps / 2
    assert 2 * (1 + 2 + 1 + 3) * unit == pytest.approx(bound)
