"""Second derivatives by dual numbers, against mpmath's derivatives of the definitions."""

import mpmath
import numpy as np
import pytest
from llvmlite import ir
from mpmath import mp, mpf
from numba.core import types

from flatprop.formulas.activations import ACTIVATIONS
from flatprop.formulas.losses import LOSSES
from flatprop.kernels.compile import kernel
from flatprop.kernels.loops import elementwise
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import cases, registers
from flatprop.numbers import elementary
from flatprop.numbers.duals import Dual
from flatprop.numbers.numbers import Elementary, copysign, fma, maximum, minimum, sqrt, where
from networks import both_dtypes, loss_records

ACTIVATION_NAMES = [a.name for a in ACTIVATIONS.values() if a.formula is not None]
every_activation = pytest.mark.parametrize("name", ACTIVATION_NAMES)
INF, NAN = np.inf, np.nan


@kernel
def activate_with_slope(code, z, slope):
    elementwise.activate_with_slope(code, 0, z, slope)


@kernel
def activate_with_curvature(code, z, slope, curvature):
    elementwise.activate_with_curvature(code, 0, z, slope, curvature)


@kernel
def _loss_with_slope(records, scale, prediction, y, weight, slope):
    return elementwise.loss_with_slope(records[0], scale, prediction, y, weight, slope)


def loss_with_slope(code, parameter, *rest):
    return _loss_with_slope(loss_records(code, parameter), *rest)


@kernel
def _loss_curvature(records, scale, prediction, y, weight, tangent):
    elementwise.loss_curvature(records[0], scale, prediction, y, weight, tangent)


def loss_curvature(code, parameter, *rest):
    _loss_curvature(loss_records(code, parameter), *rest)


def with_curvature(name, z):
    a = z.copy()
    slope, curvature = np.full_like(z, 7), np.full_like(z, 7)
    activate_with_curvature(ACTIVATIONS[name].code, a, slope, curvature)
    return a, slope, curvature


def second_derivative(function, x):
    """By central differences of `function` at 80 digits, of which 30 are right."""
    with mp.workdps(80):
        h = mpf(10) ** -20
        x = mpf(float(x))
        result = float((function(x + h) - 2 * function(x) + function(x - h)) / h**2)
    return result if abs(result) > 1e-30 else 0.0


# ---- activations


def logistic(x):
    return 1 / (1 + mpmath.exp(-x))


SELU_ALPHA = mpf("1.6732632423543772848170429916717")
SELU_SCALE = mpf("1.0507009873554804934193349852946")

DEFINITIONS = {
    "identity": lambda z: z,
    "sigmoid": logistic,
    "tanh": mpmath.tanh,
    "relu": lambda z: max(z, 0),
    "leaky_relu": lambda z: z if z > 0 else mpf("0.01") * z,
    "elu": lambda z: z if z > 0 else mpmath.expm1(z),
    "selu": lambda z: SELU_SCALE * (z if z > 0 else SELU_ALPHA * mpmath.expm1(z)),
    "gelu": lambda z: z * mpmath.ncdf(z),
    "silu": lambda z: z * logistic(z),
    "mish": lambda z: z * mpmath.tanh(mpmath.log1p(mpmath.exp(z))),
    "softplus": lambda z: mpmath.log1p(mpmath.exp(z)),
    "softsign": lambda z: z / (1 + abs(z)),
    "exp": mpmath.exp,
}
# Where the second derivative changes its sign, as sums of terms that cancel there do.
ZEROS = {
    "sigmoid": [0],
    "tanh": [0],
    "gelu": [-np.sqrt(2), np.sqrt(2)],
    "silu": [-2.3993572805, 2.3993572805],
    "mish": [-2.2563763963, 1.4905608338],
}


def arguments(name):
    """In [-8, 8], away from a kink at 0 and from where the second derivative is 0."""
    rng = np.random.default_rng(5)
    z = np.concatenate([rng.uniform(-8, 8, 300), [-8, 8, 1e-3, -1e-3, 1e-9, -1e-9]])
    for zero in ZEROS.get(name, []):
        z = z[abs(z - zero) > 1e-2]
    return z


@both_dtypes
@every_activation
def test_curvature_of_every_activation(name, dtype, record_property):
    z = arguments(name).astype(dtype)
    exact = np.array([second_derivative(DEFINITIONS[name], x) for x in z])
    curvature = with_curvature(name, z)[2].astype(float)
    error = abs(curvature - exact)
    if dtype == np.float64:
        relative = (error[exact != 0] / abs(exact[exact != 0])).max(initial=0)
        record_property("relative", relative)
        assert relative < 1e-9
    assert (curvature[exact == 0] == 0).all()
    assert error.max() <= 16 * np.finfo(dtype).eps * abs(exact).max()


@both_dtypes
@pytest.mark.parametrize("name", ZEROS)
def test_curvature_where_it_changes_its_sign(name, dtype):
    z = np.concatenate([zero + np.linspace(-0.02, 0.02, 41) for zero in ZEROS[name]]).astype(dtype)
    exact = np.array([second_derivative(DEFINITIONS[name], x) for x in z])
    error = abs(with_curvature(name, z)[2] - exact)
    assert error.max() <= 8 * np.finfo(dtype).eps


@both_dtypes
@every_activation
def test_value_and_slope_are_those_of_training_to_the_bit(name, dtype):
    special = [0, -0.0, INF, -INF, NAN, 1e-40, -5e-324, 1e30, -1e30, 100, -100]
    z = np.concatenate([arguments(name), special]).astype(dtype)
    a, slope = z.copy(), np.empty_like(z)
    activate_with_slope(ACTIVATIONS[name].code, a, slope)
    for expected, actual in zip((a, slope), with_curvature(name, z), strict=False):
        np.testing.assert_array_equal(actual, expected)
        assert (np.signbit(actual) == np.signbit(expected))[~np.isnan(expected)].all()


# At a kink the branch that gives the value decides; far out the curvature vanishes.
KINKS = {"relu": 0, "leaky_relu": 0, "elu": 1, "selu": 1.7580993408473766, "softsign": -2}


@both_dtypes
@pytest.mark.parametrize("zero", [0.0, -0.0])
@every_activation
def test_curvature_at_zero(name, zero, dtype):
    expected = KINKS.get(name)
    if expected is None:
        expected = second_derivative(DEFINITIONS[name], 0)
    actual = with_curvature(name, np.array([zero], dtype))[2][0]
    np.testing.assert_allclose(actual, expected, rtol=4 * np.finfo(dtype).eps, atol=1e-30)


@both_dtypes
@every_activation
def test_no_nan_far_out(name, dtype):
    z = np.array([-80, -60, -30, 30, 60, 80], dtype)
    exact = np.array([second_derivative(DEFINITIONS[name], x) for x in z])
    np.testing.assert_allclose(with_curvature(name, z)[2], exact, rtol=1e-4, atol=1e-6)


# ---- losses: of the prediction, y and the parameter


def huber(p, y, delta):
    d = abs(p - y)
    return d**2 / 2 if d <= delta else delta * (d - delta / 2)


LOSS_DEFINITIONS = {
    "mse": lambda p, y, _: (p - y) ** 2,
    "half_mse": lambda p, y, _: (p - y) ** 2 / 2,
    "ssr": lambda p, y, _: (p - y) ** 2,
    "mae": lambda p, y, _: abs(p - y),
    "huber": huber,
    "log_cosh": lambda p, y, _: mpmath.log(mpmath.cosh(p - y)),
    "quantile": lambda p, y, q: max(q * (y - p), (q - 1) * (y - p)),
    "poisson": lambda p, y, _: p - (y * mpmath.log(p) if y else 0),
    "binary_cross_entropy": lambda z, y, _: mpmath.log1p(mpmath.exp(z)) - y * z,
    "cross_entropy": lambda p, y, _: -y * mpmath.log(p) if y else mpf(0),
}


@both_dtypes
@pytest.mark.parametrize("name", LOSSES)
def test_curvature_of_every_loss(name, dtype):
    rng = np.random.default_rng(6)
    n, parameter, scale = 203, 0.75, 0.3
    prediction, y = rng.normal(0, 3, n), rng.normal(0, 1, n)
    if name in ("poisson", "cross_entropy"):
        prediction, y = abs(prediction) + 0.1, rng.integers(0, 4, n)
    if name == "binary_cross_entropy":
        y = rng.uniform(0, 1, n)
    weight, tangent = rng.uniform(0, 2, n), rng.normal(0, 1, n)
    weight[::10] = 0
    tangent[::7] = 0
    prediction, y, weight, tangent = (
        array.astype(dtype) for array in (prediction, y, weight, tangent)
    )
    definition = LOSS_DEFINITIONS[name]
    exact = np.array(
        [
            second_derivative(lambda x, t=float(t): definition(x, t, parameter), p)
            for p, t in zip(prediction, y, strict=True)
        ]
    )
    expected = scale * weight.astype(float) * exact * tangent
    loss_curvature(list(LOSSES).index(name), parameter, scale, prediction, y, weight, tangent)
    # a tanh within 2 ulp at a rounded difference, and three products
    bound = {np.float32: 2e-6, np.float64: 1e-13 if name != "log_cosh" else 1e-12}[dtype]
    np.testing.assert_allclose(tangent, expected, rtol=bound, atol=1e-30)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_curvature_is_the_change_of_the_slope_in_training(name):
    """Against central differences of the kernel that training uses, in float64."""
    prediction, y = np.array([0.3, 0.7, 1.9, 2.6]), np.array([0.5, 0.0, 1.0, 1.0])
    weight, direction, h = np.array([1, 0.5, 2, 0.0]), np.array([1, -2, 0.5, 3]), 1e-6
    code, numbers = list(LOSSES).index(name), (0.3, 0.7)
    slopes = []
    for sign in (1, -1):
        slope = np.empty(4)
        moved = prediction + sign * h * direction
        loss_with_slope(code, *numbers, moved, y, weight, slope)
        slopes.append(slope)
    tangent = direction.copy()
    loss_curvature(code, *numbers, prediction, y, weight, tangent)
    np.testing.assert_allclose(tangent, (slopes[0] - slopes[1]) / (2 * h), rtol=1e-8, atol=1e-8)


# ---- the parts: every operation and its derivative

ELEMENTARY = {
    **{name: f for name, f in vars(elementary).items() if isinstance(f, Elementary)},
    "sigmoid": elementary.sigmoid,
    "softplus": elementary.softplus,
}


def of_negative(function):
    return lambda x: function(-x)


# name: (formula, its derivative, arguments)
OPERATIONS = {
    "sum": (lambda x: x + x + 2.0 + x, lambda x: 3, None),
    "difference": (lambda x: (1.0 - x) - (x - 3.0) - x, lambda x: -3, None),
    "product": (lambda x: x * x * (2.0 * x), lambda x: 6 * x**2, None),
    "quotient": (lambda x: x / (x * x + 1.0), lambda x: (1 - x**2) / (1 + x**2) ** 2, None),
    "number over": (lambda x: 3.0 / x, lambda x: -3 / x**2, None),
    "over number": (lambda x: x / 4.0, lambda x: 0.25, None),
    "negative": (lambda x: -x, lambda x: -1, None),
    "abs": (abs, mpmath.sign, None),
    "fma": (lambda x: fma(x, -x, x * 3.0), lambda x: 3 - 2 * x, None),
    "sqrt": (lambda x: sqrt(x * x + 1.0), lambda x: x / mpmath.sqrt(1 + x**2), None),
    "copysign": (lambda x: copysign(x * x, x), lambda x: 2 * abs(x), None),
    "copysign of negative": (lambda x: copysign(-x * x, x), lambda x: 2 * abs(x), None),
    "copysign of number": (lambda x: copysign(2.0, x), lambda x: 0, None),
    "minimum": (lambda x: minimum(x * x, 1.5), lambda x: 2 * x if x * x < 1.5 else 0, None),
    "maximum": (lambda x: maximum(x, -x * 0.5), lambda x: 1 if x > 0 else -0.5, None),
    "constant": (lambda x: x.like(3.0), lambda x: 0, None),
    "NaN not chosen": (
        lambda x: where(x > 0.0, sqrt(x), x.like(NAN) * x),
        lambda x: 0.5 / mpmath.sqrt(x),
        (0.1, 5),
    ),
    "infinity not chosen": (
        lambda x: where(x > 0.0, x, elementary.log((x - x) * x)),
        lambda x: 1,
        (0.1, 5),
    ),
    "equals": (lambda x: where(x.equals(x), x * x, x), lambda x: 2 * x, None),
    "exp": (elementary.exp, mpmath.exp, None),
    "exp_of_negative": (elementary.exp_of_negative, mpmath.exp, (-20, 0)),
    "expm1": (elementary.expm1, mpmath.exp, (-20, 20)),
    "expm1_of_negative": (elementary.expm1_of_negative, mpmath.exp, (-15, 0)),
    "tanh": (elementary.tanh, lambda x: mpmath.sech(x) ** 2, (-15, 15)),
    "tanh_of_activation": (
        elementary.tanh_of_activation,
        lambda x: mpmath.sech(x) ** 2,
        (-1.5, 1.5),
    ),
    "sigmoid": (elementary.sigmoid, lambda x: logistic(x) * logistic(-x), (-30, 30)),
    "log": (elementary.log, lambda x: 1 / x, (0.01, 50)),
    "log1p": (elementary.log1p, lambda x: 1 / (1 + x), (-0.5, 50)),
    "log1p_of_fraction": (elementary.log1p_of_fraction, lambda x: 1 / (1 + x), (0, 1)),
    "softplus": (elementary.softplus, logistic, (-30, 30)),
    "erf": (elementary.erf, lambda x: mpmath.exp(-x * x) * 2 / mpmath.sqrt(mpmath.pi), (-4, 4)),
}
FORMULAS = tuple(formula for formula, _, _ in OPERATIONS.values())


@routine(code=types.int64)
def differentiate(builder: ir.IRBuilder, code, x, tangent):
    """tangent ← that of a formula of x."""
    for formula in cases(builder, code, FORMULAS):
        for register in registers(x, tangent):
            register.store(formula(Dual(register[0], register[1])).tangent, 1)


@kernel
def derivative(code, x, tangent):
    differentiate(code, x, tangent)


@both_dtypes
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_and_its_derivative(name, dtype):
    _, definition, span = OPERATIONS[name]
    rng = np.random.default_rng(7)
    x = rng.uniform(*(span or (-3, 3)), 200).astype(dtype)
    direction = rng.normal(0, 1, 200).astype(dtype)
    exact = np.array([float(definition(mpf(float(number)))) for number in x])
    tangent = direction.copy()
    derivative(list(OPERATIONS).index(name), x, tangent)
    # e^-x² at a rounded square: x² times the rounding
    ulps = 64 if name == "erf" else 16
    tolerance = {"rtol": ulps * np.finfo(dtype).eps, "atol": np.finfo(dtype).eps}
    np.testing.assert_allclose(tangent, exact * direction, **tolerance)


def test_no_elementary_function_was_forgotten():
    assert set(ELEMENTARY) <= set(OPERATIONS)
    assert {f.__name__ for f in elementary.FUNCTIONS} <= set(ELEMENTARY)
