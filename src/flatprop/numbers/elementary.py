"""exp, expm1, tanh, sigmoid, log, log1p, softplus and erf, branch-free.

Every function follows the same plan: reduce the argument to a small interval,
evaluate a polynomial there, undo the reduction. Special values need no branch:
arguments are clamped where the result has become constant, comparisons are
false for NaN, and powers of two are applied in two steps where the result may
leave the normal numbers.

The polynomials are weighted minimax fits (Lawson's iteration at 50 digits), each
coefficient rounded before the next ones were fitted. `tests/numbers/test_elementary.py`
holds every function against mpmath: float32 within 2 ulp, float64 within 4.

Above each function stands its derivative as a function of x and the value y; y is not used
where it would cancel. The function's name in C follows if it is another one. `sigmoid` and
`softplus` are plain arithmetic on the other functions and need neither.
"""

import math
from math import inf, nan, pi, sqrt

from flatprop.numbers import numbers
from flatprop.numbers.lanes import (
    Lanes,
    exponent,
    half_of_power,
    horner,
    horner_in_pairs,
    nearest_integer,
    power_of_two,
    scale_by_power_of_two,
)
from flatprop.numbers.numbers import (
    B,
    Bits,
    N,
    copysign,
    elementary,
    fma,
    maximum,
    minimum,
    where,
)

LOG2_E = 1.4426950408889634
# ln 2 in two parts (Cody & Waite 1980): the first has trailing zeros, so that
# its product with an exponent is exact.
LN2_HIGH = (0.693145751953125, 0.6931471803691238)
LN2_LOW = (1.42860682030941723e-6, 1.9082149292705877e-10)

# (e^r - 1 - r) / r², |r| <= ln 2 / 2: relative error 2^-28 and 2^-63
EXP = (
    (0.5, 0.1666651964187622, 0.04166640341281891, 0.00836883019655943, 0.001394054270349443),
    (
        0.5,
        0.16666666666666685,
        0.04166666666666667,
        0.008333333333315861,
        0.0013888888888881898,
        0.00019841269898999162,
        2.480158733099933e-05,
        2.755723247605042e-06,
        2.7557267745394327e-07,
        2.5112804836571976e-08,
        2.091681887283022e-09,
    ),
)
# s coth s - 1 in s², |s| <= 3/8 ln 2: 2^-25 and 2^-62
COTH = (
    (0.3333292305469513, -0.02202492021024227),
    (
        0.33333333333333315,
        -0.022222222222169786,
        0.0021164021114537853,
        -0.00021163999676982243,
        2.1373076021100565e-05,
        -2.1131959072618166e-06,
    ),
)
# (2 artanh u - 2 u) / u³ in u², |u| <= (√2 - 1) / (√2 + 1): 2^-34 and 2^-65
ARTANH = (
    (0.6666666269302368, 0.40000972151756287, 0.2849881947040558, 0.2427784949541092),
    (
        0.6666666666666666,
        0.40000000000004954,
        0.2857142856939609,
        0.22222222609750533,
        0.18181778104217466,
        0.15387000743869925,
        0.13251864288712814,
        0.13237470055125666,
    ),
)
# erf(x) / x - 1 in x², |x| <= 1: 2^-29 and 2^-55
ERF = (
    (
        0.12837916612625122,
        -0.3761262893676758,
        0.11283618211746216,
        -0.02685512602329254,
        0.005190733820199966,
        -0.0008030761382542551,
        7.920368079794571e-05,
    ),
    (
        0.12837916709551256,
        -0.3761263890318337,
        0.1128379167093884,
        -0.026866170642321024,
        0.005223977600009338,
        -0.000854832565160227,
        0.00012055285670344022,
        -1.4924567292280329e-05,
        1.6445419166797843e-06,
        -1.619373422328193e-07,
        1.3658678342471259e-08,
        -7.685444240612002e-10,
    ),
)
# -log(1 - erf(x)), from 1 to where erf(x) rounds to 1: 2^-29 and 2^-57
LOG_ERFC = (
    (
        0.0002564846654422581,
        1.1274259090423584,
        0.6376003623008728,
        0.10356658697128296,
        -0.022051841020584106,
        0.00299949967302382,
        -0.00019149990112055093,
    ),
    (
        5.137216977248829e-07,
        1.1283739872563572,
        0.6366440742554728,
        0.10270223910129345,
        -0.018987949580363067,
        -0.00041365982509925317,
        0.0019190699725105083,
        -0.0007731400181693554,
        0.00013661328905343099,
        1.949547949618825e-05,
        -2.2522582758355212e-05,
        8.575756105872322e-06,
        -2.114113145501705e-06,
        3.6944761798997235e-07,
        -4.5918460902205844e-08,
        3.888743334015789e-09,
        -2.0196716887521075e-10,
        4.863461390774671e-12,
    ),
)


# ---- roots

# This minus half the bits of x has the bits of 1 / √x within 3.5 % (Robertson 2012)
INVERSE_ROOT = 0x5FE6EB50C7B537A9


def root_of_squares(x: Lanes) -> Lanes:
    """√x for x >= 0 within 1 ulp; numbers below the normal ones count as about 0.

    In float64 the processor's instruction takes twice as long as all of this. The bits of x
    give a first 1 / √x; one step brings it to 2^-17, and one more to the last place.
    """
    if x.bits == 32:
        return numbers.sqrt(x)
    bits = (-(x.as_integers() >> 1)).plus(INVERSE_ROOT)
    inverse = bits.read_as(x)
    inverse = _refined(inverse, x * inverse, inverse)
    root = x * inverse
    root = _refined(root, root, inverse)
    return where(x < inf, root, x)  # a g² that overflows: the step is 0, not NaN


def _refined(value: Lanes, root: Lanes, inverse: Lanes) -> Lanes:
    """value / √(1 - h), by its series, with h = 1 - root · inverse."""
    h = fma(-root, inverse, 1.0)
    return fma(value * h, horner(h, (0.5, 0.375, 0.3125)), value)


# ---- exponentials


def _reduced_exponential(x: B) -> tuple[B, Bits]:
    """e^r - 1 and k, where x = k ln 2 + r and |r| <= ln 2 / 2."""
    k, integer = nearest_integer(x, LOG2_E)
    r = fma(k, -x.choose(*LN2_HIGH), x)
    r = fma(k, -x.choose(*LN2_LOW), r)
    square = r * r
    return fma(square, horner_in_pairs(r, square, x.choose(*EXP)), r), integer


@elementary(lambda x, y: y)
def exp(x: B) -> B:
    """e^x."""
    x = minimum(maximum(x, x.choose(-104.0, -746.0)), x.choose(89.0, 710.0))
    fraction, k = _reduced_exponential(x)
    return scale_by_power_of_two(fraction + 1.0, k)


@elementary(lambda x, y: y, "exp")
def exp_of_negative(x: B) -> B:
    """e^x for x <= 0, with fewer instructions than `exp`."""
    fraction, k = _reduced_exponential(maximum(x, x.choose(-104.0, -746.0)))
    # 2^k may be below the normal numbers: it is lifted into them, and a product brings it back
    lift = x.choose(64, 512)
    return (fraction + 1.0) * power_of_two(k.plus(lift), x) * 2.0**-lift


def _expm1_in_range(x: B) -> B:
    # 2^k (e^r - 1) + (2^k - 1): no cancellation where k = 0, exact 2^k - 1 elsewhere
    fraction, k = _reduced_exponential(x)
    scale = power_of_two(k, x)
    return fma(scale, fraction, scale - 1.0)


@elementary(lambda x, y: exp_of_negative(x), "expm1")
def expm1_of_negative(x: B) -> B:
    """e^x - 1 for x <= 0, with fewer instructions than `expm1`."""
    return _expm1_in_range(maximum(x, x.choose(-20.0, -40.0)))


@elementary(lambda x, y: exp(x))
def expm1(x: B) -> B:
    """e^x - 1, accurate near 0."""
    middle = x.choose(-20.0, -40.0), x.choose(80.0, 700.0)
    inside = _expm1_in_range(minimum(maximum(x, middle[0]), middle[1]))
    # -0 stays -0; where 2^k leaves the normal numbers the 1 no longer counts
    return where(x.equals(0.0), x, where(x > middle[1], exp(x), inside))


def _square_of_sech(x: N) -> N:
    # 1 - tanh² x without cancellation
    e: N = exp_of_negative(-2.0 * abs(x))
    return 4.0 * e / ((e + 1.0) * (e + 1.0))


@elementary(lambda x, y: _square_of_sech(x))
def tanh(x: B) -> B:
    """The hyperbolic tangent: t = h / (h + 1) with h = (e^2|x| - 1) / 2.

    For |x| = k ln 2 / 2 + s is e^2|x| = 2^k (q + s) / (q - s), where q = s coth s is a short
    polynomial in s². Both sides of the fraction are multiplied by q - s, so that one division is
    enough. Where k = 0, t is s / q, and no digit of a small x is lost.
    """
    size: B = minimum(abs(x), x.choose(9.05, 19.1))
    k, half = half_of_power(size, 2.0 * LOG2_E)
    s = fma(k, -0.5 * math.log(2.0), size)
    q = horner(s * s, (1.0, *x.choose(*COTH)))
    h = fma(half - 0.5, q, (half + 0.5) * s)
    return copysign(h / (h + (q - s)), x)


tanh_of_activation = elementary(lambda x, y: fma(-y, y, 1.0))(tanh.body)
"""`tanh` for the activation, whose slope is 1 - a² anyway: further derivatives of it are products.
Far out, where 1 - a² has few digits, they are as small as it is."""


def sigmoid(x: N) -> N:
    """1 / (1 + e^-x), without overflow: s = E / (1 + E) where x < 0, E = e^-|x|."""
    e: N = exp_of_negative(-abs(x))
    s = where(x < 0.0, e, 1.0) / (e + 1.0)
    # E - E s is the same and keeps the digits that 1 + E rounds away
    return where(x < 0.0, fma(-e, s, e), s)


# ---- logarithms


def _log_near_one(t: B, k: B) -> B:
    """log(1 + t) + k ln 2 for 1 + t in [√½, √2], after fdlibm's `log`.

    log(1 + t) = 2 artanh(u) with u = t / (2 + t), arranged so that t, the
    largest part, is added last.
    """
    half_square = 0.5 * t * t
    u = t / (t + 2.0)
    square = u * u
    tail = fma(square, horner(square, t.choose(*ARTANH)), half_square)
    low = fma(u, tail, k * t.choose(*LN2_LOW))
    return fma(k, t.choose(*LN2_HIGH), t - (half_square - low))


@elementary(lambda x, y: 1.0 / x)
def log(x: B) -> B:
    """The natural logarithm: -inf at 0, NaN below it."""
    smallest_normal = x.choose(2.0**-126, 2.0**-1022)
    lift = x.choose(25.0, 54.0)
    small = x < smallest_normal
    normal: B = where(small, x * 2.0**lift, x)
    k = exponent(normal, sqrt(0.5))
    half = (-k) >> 1
    scaled = normal * power_of_two(half, x) * power_of_two(-k - half, x)
    number: B = k.converted(x)
    value = _log_near_one(scaled - 1.0, number - where(small, x.like(lift), 0.0))
    value = where(x > 0.0, value, where(x.equals(0.0), x.like(-inf), nan))
    return where(x.equals(inf), x, value)


@elementary(lambda x, y: 1.0 / (x + 1.0))
def log1p(x: B) -> B:
    """log(1 + x), accurate near 0: -inf at -1, NaN below it."""
    k = exponent(x + 1.0, sqrt(0.5))
    half = (-k) >> 1
    first, second = power_of_two(half, x), power_of_two(-k - half, x)
    scale = first * second
    # 2^-k (1 + x) - 1, without rounding 1 + x
    t = fma(x * first, second, scale - 1.0)
    number: B = k.converted(x)
    value = _log_near_one(t, number)
    value = where(x > -1.0, value, where(x.equals(-1.0), x.like(-inf), nan))
    return where(x.equals(inf), x, where(x.equals(0.0), x, value))  # -0 stays -0


@elementary(lambda x, y: 1.0 / (x + 1.0), "log1p")
def log1p_of_fraction(x: B) -> B:
    """log(1 + x) for x in [0, 1], with fewer instructions than `log1p`."""
    large = x > sqrt(2.0) - 1.0
    t = where(large, fma(x, 0.5, -0.5), x)
    return _log_near_one(t, where(large, x.like(1.0), 0.0))


def softplus(x: N) -> N:
    """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)."""
    line = maximum(x, 0.0)
    e: N = exp_of_negative(-abs(x))
    return line + log1p_of_fraction(e)


# ---- the error function


@elementary(lambda x, y: exp_of_negative(-x * x) * (2.0 / sqrt(pi)))
def erf(x: B) -> B:
    """The error function: a polynomial up to 1, 1 - e^-q(|x|) beyond."""
    size: B = abs(x)
    inner = fma(x, horner(x * x, x.choose(*ERF)), x)
    q = horner(minimum(size, x.choose(3.92, 5.93)), x.choose(*LOG_ERFC))
    fraction, k = _reduced_exponential(-q)
    outer = copysign(1.0 - (fraction + 1.0) * power_of_two(k, x), x)
    return where(size < 1.0, inner, outer)


FUNCTIONS = (exp, expm1, tanh, sigmoid, log, log1p, softplus, erf)
"""Every function of this file with a number."""
