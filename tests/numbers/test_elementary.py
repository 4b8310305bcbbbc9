"""exp, expm1, tanh, sigmoid, log, log1p, softplus and erf against mpmath."""

import mpmath
import numpy as np
import pytest
from mpmath import mp
from numba.core import types
from scipy import special

from flatprop.kernels.compile import kernel
from flatprop.kernels.loops.routines import routine
from flatprop.kernels.loops.vector_loops import cases, registers
from flatprop.numbers import elementary
from networks import DTYPES, both_dtypes

NAMES = [function.__name__ for function in elementary.FUNCTIONS]
ULP = {np.float32: 2, np.float64: 4}

every_function = pytest.mark.parametrize("name", NAMES)


@routine(code=types.int64)
def one_pass(builder, code, x, out):
    """out ← the elementary function `code` of x; they may be one array."""
    for function in cases(builder, code, elementary.FUNCTIONS):
        for register in registers(x, out, written_only=1):
            register.store(function(register[0]), 1)


@kernel
def apply(code, x, out):
    one_pass(code, x, out)


def evaluate(name, x):
    out = np.full_like(x, 7)
    apply(NAMES.index(name), x, out)
    return out


# The definition, and the bound beyond which an argument is replaced by it: there
# the rounded result no longer changes (or is treated apart).
EXACT = {
    "exp": (mpmath.exp, 800),
    "expm1": (mpmath.expm1, 800),
    "tanh": (mpmath.tanh, 60),
    "sigmoid": (lambda x: 1 / (1 + mpmath.exp(-x)), 800),
    "log": (mpmath.log, None),
    "log1p": (mpmath.log1p, None),
    "softplus": (lambda x: x + mpmath.log1p(mpmath.exp(-x)) if x > 0 else log1p_exp(x), None),
    "erf": (mpmath.erf, 30),
}

# Where the function changes most: |x| from 2^-40 to here.
INTERESTING = {
    "exp": (110, 760),
    "expm1": (110, 760),
    "tanh": (12, 25),
    "sigmoid": (110, 760),
    "log": (1e4, 1e4),
    "log1p": (1e4, 1e4),
    "softplus": (110, 760),
    "erf": (5, 7),
}

# Where a reduction changes or a result leaves the normal numbers or the finite ones.
BOUNDARIES = np.array(
    [
        *np.log(2) / 2 * np.arange(-80, 81),
        *np.log(2) / 2 * np.arange(-2152, 2152, 107),
        *(sign * x for x in (0.25, 0.5, 1, 2, 10, 20, 40, 80, 700) for sign in (-1, 1)),
        *(2.0**k * factor for k in range(-6, 7) for factor in (np.sqrt(0.5), 1, np.sqrt(2))),
        *(2.0**k * factor - 1 for k in range(-6, 7) for factor in (np.sqrt(0.5), 1)),
        np.sqrt(2) - 1,
        *(9.05, 9.01, 18.1, 19.1, 19.06, 38.2, -16.6, -17.33, -36.7, -37.43),  # constant beyond
        *(3.832506, 3.92, 4.0, 5.863584, 5.93, 6.0),  # erf
        *(88.0, 88.72283905206835, 89.0, 709.0, 709.782712893384, 710.0),  # overflow
        *(-87.33654475, -103.27893, -103.97207708, -104.0),  # underflow
        *(-708.3964185322641, -744.4400719213812, -745.1332191019412, -746.0),
    ]
)


def log1p_exp(x):
    return mpmath.log1p(mpmath.exp(max(x, -800)))


def arguments(name, dtype, many):
    """Arguments of every kind, in the domain; `many` sets how many are random."""
    rng = np.random.default_rng(2024)
    info = np.finfo(dtype)
    bits = np.int32 if dtype == np.float32 else np.int64
    anything = rng.integers(np.iinfo(bits).min, np.iinfo(bits).max, many, bits).view(dtype)

    top = INTERESTING[name][DTYPES.index(dtype)]
    magnitudes = np.exp2(rng.uniform(-40, np.log2(top), 2 * many))
    evenly = rng.uniform(-top, top, 2 * many)
    near_one = 1 + rng.normal(0, 0.3, many)
    boundaries = BOUNDARIES.astype(dtype)
    around = [boundaries]
    for direction in (-np.inf, np.inf):
        x = boundaries
        for _ in range(3):
            x = np.nextafter(x, dtype(direction))
            around.append(x)

    exponents = np.arange(np.log2(info.smallest_subnormal), info.maxexp)
    powers = np.exp2(exponents.astype(np.float64)).astype(dtype)
    denormals = rng.uniform(0, 1, 50).astype(dtype) * info.smallest_normal
    limits = np.array([info.smallest_subnormal, info.smallest_normal, info.max], dtype)
    below_normal = np.nextafter(info.smallest_normal, dtype(0))

    positive = np.concatenate([magnitudes.astype(dtype), powers, denormals, limits])
    signed = [anything, evenly.astype(dtype), near_one.astype(dtype), *around, [below_normal]]
    x = np.concatenate([positive, -positive, *signed]).astype(dtype)
    lowest = {"log": 0, "log1p": -1}.get(name, -np.inf)
    return np.unique(x[np.isfinite(x) & (x > lowest) & (x != 0)])


def ulps(name, x, result):
    """|result - exact|, in units of the spacing of floats at the rounded exact value."""
    function, bound = EXACT[name]
    info = np.finfo(x.dtype)
    smallest, digits = np.log2(info.smallest_subnormal), info.nmant
    errors = np.empty(x.size)
    for i, (argument, value) in enumerate(zip(x.tolist(), result.tolist(), strict=True)):
        if bound is not None:
            argument = min(max(argument, -bound), bound)
        exact = function(mpmath.mpf(argument))
        if abs(exact) >= mpmath.ldexp(2 - mpmath.ldexp(1, -digits - 1), info.maxexp - 1):
            errors[i] = 0 if value == np.copysign(np.inf, float(mpmath.sign(exact))) else np.inf
            continue
        # where the exact value rounds up to a power of two, the larger spacing counts
        rounded = exact * (1 + mpmath.ldexp(1, -digits - 2))
        exponent = max(mpmath.frexp(rounded)[1] - 1 - digits, smallest)
        finite = np.isfinite(value)
        errors[i] = abs(mpmath.ldexp(value - exact, -int(exponent))) if finite else np.inf
    return errors


@both_dtypes
@every_function
@pytest.mark.slow
def test_within_the_promised_ulps(name, dtype, record_property):
    x = arguments(name, dtype, many=3000)
    with mp.workprec(100):
        errors = ulps(name, x, evaluate(name, x))
    worst = int(np.argmax(errors))
    record_property("ulp", errors[worst])
    assert errors[worst] <= ULP[dtype], f"{errors[worst]} ulp at {x[worst]!r}"


DOUBLE = {
    "exp": np.exp,
    "expm1": np.expm1,
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "log": np.log,
    "log1p": np.log1p,
    "softplus": lambda x: np.logaddexp(0, x),
    "erf": special.erf,
}


@every_function
def test_float32_against_float64_at_many_places(name):
    # every 1021st float32 there is
    bits = np.arange(0, 2**32, 1021, dtype=np.uint32)
    x = bits.view(np.float32)
    lowest = {"log": 0, "log1p": -1}.get(name, -np.inf)
    x = x[np.isfinite(x) & (x > lowest)]
    result = evaluate(name, x).astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        exact = DOUBLE[name](x.astype(np.float64))
        rounded = exact.astype(np.float32)
    overflow = np.isinf(rounded)
    np.testing.assert_array_equal(result[overflow], rounded[overflow])
    x, result, exact = x[~overflow], result[~overflow], exact[~overflow]
    errors = np.abs(result - exact) / np.spacing(np.abs(rounded[~overflow])).astype(np.float64)
    worst = int(np.argmax(errors))
    assert errors[worst] <= ULP[np.float32], f"{errors[worst]} ulp at {x[worst]!r}"


INF, NAN = np.inf, np.nan
# f, x, f(x): exact, with the sign of a zero
SPECIAL = [
    *(("exp", x, y) for x, y in [(0.0, 1), (-0.0, 1), (INF, INF), (-INF, 0.0)]),
    *(("exp", x, y) for x, y in [(1e30, INF), (-1e30, 0.0), (NAN, NAN)]),
    *(("expm1", x, y) for x, y in [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1)]),
    *(("expm1", x, y) for x, y in [(1e30, INF), (-1e30, -1), (NAN, NAN)]),
    *(("tanh", x, y) for x, y in [(0.0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1)]),
    *(("tanh", x, y) for x, y in [(1e30, 1), (-1e30, -1), (NAN, NAN)]),
    *(("sigmoid", x, y) for x, y in [(0.0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0.0)]),
    *(("sigmoid", x, y) for x, y in [(1e30, 1), (-1e30, 0.0), (NAN, NAN)]),
    *(("log", x, y) for x, y in [(0.0, -INF), (-0.0, -INF), (1, 0.0), (INF, INF)]),
    *(("log", x, y) for x, y in [(-1e-30, NAN), (-1, NAN), (-INF, NAN), (NAN, NAN)]),
    *(("log1p", x, y) for x, y in [(0.0, 0.0), (-0.0, -0.0), (-1, -INF), (INF, INF)]),
    *(("log1p", x, y) for x, y in [(-1.5, NAN), (-1e30, NAN), (-INF, NAN), (NAN, NAN)]),
    *(("softplus", x, y) for x, y in [(INF, INF), (-INF, 0.0), (1e30, 1e30)]),
    *(("softplus", x, y) for x, y in [(-1e30, 0.0), (NAN, NAN)]),
    *(("erf", x, y) for x, y in [(0.0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1)]),
    *(("erf", x, y) for x, y in [(1e30, 1), (-1e30, -1), (NAN, NAN)]),
]


@both_dtypes
@pytest.mark.parametrize(("name", "x", "y"), SPECIAL)
def test_special_values(name, x, y, dtype):
    result = evaluate(name, np.array([x], dtype))
    np.testing.assert_array_equal(result, np.array([y], dtype))
    if y == 0:
        assert np.signbit(result[0]) == np.signbit(y)


@both_dtypes
@pytest.mark.parametrize("name", ["expm1", "tanh", "log1p", "erf"])
def test_the_smallest_numbers_are_kept_by_odd_functions(name, dtype):
    # f(x) = x (1 + o(1)) for all but erf, which is 2 x / √π
    smallest = np.finfo(dtype).smallest_subnormal
    x = np.array([smallest, -smallest, 5 * smallest, -5 * smallest], dtype)
    expected = x if name != "erf" else np.array([1, -1, 6, -6], dtype) * smallest
    np.testing.assert_array_equal(evaluate(name, x), expected)


@both_dtypes
@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_odd_functions_are_odd_to_the_bit(name, dtype):
    x = arguments(name, dtype, many=500)
    np.testing.assert_array_equal(evaluate(name, -x), -evaluate(name, x))


@both_dtypes
@every_function
def test_a_result_does_not_depend_on_place_or_length(name, dtype):
    rng = np.random.default_rng(1)
    x = np.abs(rng.normal(0, 5, 64)).astype(dtype)
    x[::7] = [np.nan, np.inf, 0, 1e-40, 1e30, 100, 1, 5e-324, 0.3, 20]
    alone = np.concatenate([evaluate(name, x[i : i + 1]) for i in range(x.size)])
    for length in range(1, 41):
        for start in (0, 1, 13, 24):
            part = slice(start, start + length)
            assert evaluate(name, x[part]).tobytes() == alone[part].tobytes()


@both_dtypes
@every_function
def test_nothing_is_written_beyond_the_end_and_x_may_be_out(name, dtype):
    for length in range(1, 41):
        x = np.linspace(0.1, 3, 60).astype(dtype)
        expected = x.copy()
        expected[3 : 3 + length] = evaluate(name, x[3 : 3 + length].copy())
        apply(NAMES.index(name), x[3 : 3 + length], x[3 : 3 + length])
        np.testing.assert_array_equal(x, expected)


@routine()
def root_of_squares(builder, x, out):
    for register in registers(x, out, written_only=1):
        register.store(elementary.root_of_squares(register[0]), 1)


@kernel
def roots(x, out):
    root_of_squares(x, out)


@both_dtypes
def test_root_of_squares(dtype):
    info = np.finfo(dtype)
    exponents = np.random.default_rng(0).uniform(info.minexp, info.maxexp, 100_000)
    ends = [info.tiny, 1, 4, info.max, 0, np.inf, np.nan]
    x = np.concatenate([np.exp2(exponents), ends]).astype(dtype)
    out = np.full_like(x, 7)
    roots(x, out)
    expected = np.sqrt(x)  # correctly rounded
    assert (np.abs(out[:-2] - expected[:-2]) <= np.spacing(expected[:-2])).all()
    assert out[-3] == 0
    assert out[-2] == np.inf
    assert np.isnan(out[-1])
