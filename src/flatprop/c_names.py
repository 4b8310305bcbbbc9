"""Names for a function in C: which there may be."""

import re
from os import PathLike
from pathlib import Path

_WORDS = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
char32_t class compl concept const consteval constexpr constinit const_cast continue co_await
co_return co_yield decltype default delete do double dynamic_cast else enum explicit export
extern false float for friend goto if inline int long mutable namespace new noexcept not
not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires
restrict return short signed sizeof static static_assert static_cast struct switch template
this thread_local throw true try typedef typeid typename typeof union unsigned using virtual
void volatile wchar_t while xor xor_eq
"""
_LIBRARY = """
abort abs calloc clock div exit free labs llabs main malloc memcmp memcpy memmove memset printf
putchar puts raise rand realloc remove rename scanf signal srand strcmp strcpy strlen system time
size_t ptrdiff_t float_t double_t offsetof NULL NAN INFINITY HUGE_VAL EOF
"""
_LOCAL = (
    "x i j rows out worst largest error expected"  # what the exported functions call their own
)
_TAKEN = frozenset(f"{_WORDS} {_LIBRARY} {_LOCAL}".split())
_MATH = re.compile(
    r"(a?(cos|sin|tan)h?|atan2|exp2?|exp10|expm1|frexp|[is]?logb|ldexp|log(10|1p|2|b)?|modf"
    r"|scalbl?n?|cbrt|fabs|hypot|pow(10)?|sqrt|erfc?|[lt]?gamma|ceil|floor|nearbyint|l{0,2}rint"
    r"|l{0,2}round|trunc|fmod|rem(ainder|quo)|drem|copysign|nan|next(after|toward|up|down)"
    r"|fdim|fmax|fmin|fma|finite|fpclassify|is(finite|inf|nan|normal)|signbit|significand|sincos"
    r"|[jy][01n])[fl]?"
)


def checked_name(name: str | None, path: str | PathLike[str]) -> str:
    """The name of a function; None takes that of the file it will stand in."""
    given = Path(path).stem if name is None else name
    if not isinstance(given, str):
        raise TypeError(f"name must be a string, got {name!r}")
    possible = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", given)
    if not possible or given in _TAKEN or _MATH.fullmatch(given):
        source = f" (from the path {str(path)!r})" if name is None else ""
        why = "is taken in C, C++ or the file" if possible else "cannot be a name in C"
        raise ValueError(
            f"{given!r}{source} {why}; pass as name letters, digits and underscores, a "
            'letter first, such as name="network"'
        )
    return given
