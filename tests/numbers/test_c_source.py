"""Formulas and numbers, written as C."""

import numpy as np
import pytest

from flatprop.numbers.c_source import CNumber, hexadecimal, literal, statements
from flatprop.numbers.numbers import copysign, fma, minimum, sqrt, where
from networks import both_dtypes


@pytest.mark.parametrize("number", [0.5, -0.5, 20.0, 0.01, 1 / 3, 1e30, 5e-324, -1.05e-7])
@both_dtypes
def test_literals_are_exact(number, dtype):
    text = literal(number, np.dtype(dtype))
    assert text.endswith("f") == (dtype == np.float32)
    number_read = text.removesuffix("f")
    if "x" in text:
        assert float.fromhex(number_read) == dtype(number)
    else:
        assert dtype(number_read) == dtype(number)
    assert float.fromhex(hexadecimal(number)) == number


def c_of(formula):
    return statements(formula(CNumber(np.dtype(np.float64), "z")))


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        (lambda z: z - (z - 1.0), "return z - (z - 1.0);"),
        (lambda z: (z - z) - 1.0, "return z - z - 1.0;"),
        (lambda z: z / (z * 2.0), "return z / (z * 2.0);"),
        (lambda z: (z + 1.0) * z, "return (z + 1.0) * z;"),
        (lambda z: 1.0 + z * 2.0, "return 1.0 + z * 2.0;"),
        (lambda z: -(z + 1.0), "return -(z + 1.0);"),
        (lambda z: -(0.0 - -z), "return -(0.0 - -z);"),
        (lambda z: fma(-z, z, 1.0), "return -z * z + 1.0;"),
        (lambda z: where(z > 0.0, z, -z) + 1.0, "return (z > 0.0 ? z : -z) + 1.0;"),
        (
            lambda z: where(z > 0.0, where(z < 1.0, z, 1.0), 0.0),
            "return z > 0.0 ? (z < 1.0 ? z : 1.0) : 0.0;",
        ),
        (lambda z: where(z < 0.0, z.like(np.nan), np.inf), 'return z < 0.0 ? nan("") : HUGE_VAL;'),
        (lambda z: minimum(z, -np.inf), "return z > -HUGE_VAL ? -HUGE_VAL : z;"),
        (lambda z: where(z.equals(2.0), z, 0.0), "return z <= 2.0 && z >= 2.0 ? z : 0.0;"),
        (lambda z: copysign(sqrt(abs(z)), z), "return copysign(sqrt(fabs(z)), z);"),
    ],
)
def test_expressions(formula, text):
    assert c_of(formula) == [text]


def test_truth_values_are_conditions_again():
    def formula(z):
        low, high = where(z < 1.0, z.like(1.0), 0.0), where(z > 2.0, z.like(1.0), 0.0)
        either = where(low > 0.5, 1.0, low * (1.0 - high))
        return where(either > 0.5, z, 1.0 * z.like(2.0))

    assert c_of(formula) == [
        "const int t1 = z < 1.0;",
        "return t1 || (t1 && !(z > 2.0)) ? z : 2.0;",
    ]


def test_what_is_used_twice_is_a_variable():
    def formula(z):
        n = z * z + 1.0
        return n / (n + 2.0)

    assert c_of(formula) == ["const double t1 = z * z + 1.0;", "return t1 / (t1 + 2.0);"]


def test_a_long_expression_is_divided():
    def formula(z):
        result = z.like(1 / 3)
        for number in range(1, 9):
            result = fma(result, z, -1 / (2 * number + 1))
        return result

    assert c_of(formula) == [
        "const double t1 = ((0x1.5555555555555p-2 * z - 0x1.5555555555555p-2) * z - 0.2) * z;",
        "const double t2 = ((t1 - 0x1.2492492492492p-3) * z - 0x1.c71c71c71c71cp-4) * z;",
        "const double t3 = ((t2 - 0x1.745d1745d1746p-4) * z - 0x1.3b13b13b13b14p-4) * z;",
        "return (t3 - 0x1.1111111111111p-4) * z - 0x1.e1e1e1e1e1e1ep-5;",
    ]


def test_bits_are_unsigned():
    z = CNumber(np.dtype(np.float32), "z")
    k = z.as_integers() - z.like(12582912.0).as_integers()
    half = (k >> 1).plus(127) << 23
    assert statements(half.read_as(z), "net") == [
        "const uint32_t t1 = ((net_bits(z) - 0x4b400000u + 0x80000000u) >> 1u)"
        " - 0x40000000u + 127u;",
        "return net_number(t1 << 23u);",
    ]
