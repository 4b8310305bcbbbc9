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
