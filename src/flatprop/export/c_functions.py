"""The functions that the layers of a network call, in C.

An elementary function is written from its formula in `numbers.elementary`, so that the file
computes what `predict` does, and compilers can compute it for several numbers at once.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from flatprop.numbers import elementary
from flatprop.numbers.c_source import (
    BITS,
    NUMBER,
    CNumber,
    c_type,
    calls,
    function_name,
    statements,
)
from flatprop.numbers.numbers import Elementary


class FileFunctions:
    """The functions of one file, each once, in an order in which they can be defined.

    Parameters
    ----------
    name
        What their names begin with: the name of the network's function.
    dtype
        The network's.
    """

    def __init__(self, name: str, dtype: np.dtype[Any]) -> None:
        self.name = name
        self.dtype = dtype
        self.elementary: dict[str, str] = {}
        """Those of `numbers.elementary`, and what they call; by name, without the file's."""
        self.c_names: dict[str, str] = {}
        """The functions of <math.h> that could stand in their places."""
        self.others: dict[str, str] = {}
        """Those of layers and activations, by name."""

    def add(self, function: str, a: CNumber, comment: str) -> None:
        """An activation: a static function of z that returns `a`."""
        self._require(a)
        if isinstance(a.operation, Elementary) and a.operation.__name__ == function:
            return  # it is there already
        self.others[function] = comment + self._of_one_number(function, "z", a)

    def add_dense(self) -> None:
        self.others.setdefault("dense", _dense(self.name, c_type(self.dtype)))

    def add_softmax(self) -> None:
        exp = elementary.exp_of_negative
        self._require(exp(CNumber(self.dtype, "z")))
        text = _softmax(self.name, c_type(self.dtype), f"{self.name}_{exp.__name__}")
        self.others.setdefault("softmax", text)

    def _require(self, expression: CNumber) -> None:
        """Add the elementary functions that an expression calls."""
        for called in calls(expression):
            if not isinstance(called, Elementary):
                text = _bits(self.name, self.dtype)[called]
                self.elementary.setdefault(called.removeprefix("_"), text)
            elif called.__name__ not in self.elementary:
                value = called.body(CNumber(self.dtype, "x"))
                self._require(value)
                function = called.__name__
                text = self._of_one_number(function, "x", value)
                self.elementary[function] = f"/* {_first_line(called)} */\n{text}"
                self.c_names[function] = function_name(called.c_name, self.dtype)

    def _of_one_number(self, function: str, argument: str, value: CNumber) -> str:
        kind = c_type(self.dtype)
        body = "\n".join(f"    {statement}" for statement in statements(value, self.name))
        return f"static {kind} {self.name}_{function}({kind} {argument})\n{{\n{body}\n}}\n"

    def texts(self) -> Iterable[str]:
        if self.elementary:
            yield self._elementary_part()
        yield from self.others.values()

    def _elementary_part(self) -> str:
        libm = f"{self.name.upper()}_LIBM"
        digits = "FLT_MANT_DIG != 24" if self.dtype == np.float32 else "DBL_MANT_DIG != 53"
        macros = "\n".join(f"#define {self.name}_{f} {c}" for f, c in self.c_names.items())
        functions = "\n".join(self.elementary.values())
        return f"""\
/* Polynomials, as flatprop computes them: faster than <math.h>, and as exact. They need each
   operation as it is written and rounded by IEEE 754; elsewhere <math.h> takes their place. */
#if defined(__FAST_MATH__) || defined(_M_FP_FAST) || FLT_EVAL_METHOD != 0 || {digits}
#define {libm}
#endif
#ifdef {libm}
{macros}
#else
{functions}
#endif
"""


def _first_line(function: Elementary) -> str:
    text: str = (function.__doc__ or function.__name__).splitlines()[0]
    return text.removesuffix(".")


def _bits(name: str, dtype: np.dtype[Any]) -> dict[str, str]:
    """Both ways between a number and its bits; only `memcpy` is defined in C and in C++."""
    kind, unsigned = c_type(dtype), c_type(np.dtype(f"u{dtype.itemsize}"))

    def copied(function: str, result: str, to: str, argument: str, source: str) -> str:
        return f"""\
static {result} {name}{function}({argument} {source})
{{
    {result} {to};
    memcpy(&{to}, &{source}, sizeof {to});
    return {to};
}}
"""

    bits = copied(BITS, unsigned, "k", kind, "x")
    number = copied(NUMBER, kind, "x", unsigned, "k")
    return {
        BITS: f"/* the bits of a number */\n{bits}",
        NUMBER: f"/* the number that has these bits */\n{number}",
    }


def _dense(name: str, kind: str) -> str:
    return f"""\
/* z = x W + b, four inputs at a time: z is read and written once for all four */
static void {name}_dense(const {kind} *W, const {kind} *b, size_t inputs, size_t units,
    const {kind} *x, {kind} *z)
{{
    for (size_t j = 0; j < units; j++)
        z[j] = b[j];
    for (; inputs >= 4; inputs -= 4, x += 4, W += 4 * units)
        for (size_t j = 0; j < units; j++)
            z[j] += x[0] * W[j] + x[1] * W[units + j] + x[2] * W[2 * units + j]
                + x[3] * W[3 * units + j];
    for (; inputs > 0; inputs--, x++, W += units)
        for (size_t j = 0; j < units; j++)
            z[j] += x[0] * W[j];
}}
"""


def _softmax(name: str, kind: str, exp: str) -> str:
    return f"""\
/* e^z / sum of e^z; shifted by the largest z, so that nothing overflows */
static void {name}_softmax({kind} *z, size_t units)
{{
    {kind} largest = z[0], total = 0;
    for (size_t j = 1; j < units; j++)
        if (z[j] > largest)
            largest = z[j];
    for (size_t j = 0; j < units; j++)
        z[j] = {exp}(z[j] - largest);
    for (size_t j = 0; j < units; j++)
        total += z[j];
    for (size_t j = 0; j < units; j++)
        z[j] /= total;
}}
"""
