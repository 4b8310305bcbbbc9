"""Which names a function in C may have."""

import re
from functools import cache
from importlib.resources import files
from os import PathLike
from pathlib import Path

_OWN = "[xijkWbuvz]|t[0-9]+|xi|out|inputs|units|rows|largest|total|wrong|used|part"
"""What the exported functions call their own."""
# <math.h> with C23's, and <complex.h>. C keeps every word that begins with str, mem, wcs, is or to
# for later; those that no header has yet, such as memory or token, are left to the user.
_PATTERNS = (
    r"(a?(cos|sin|tan)(h|pi)?|atan2(pi)?|exp2?(m1)?|exp10(m1)?|frexp|[is]?logb|llogb|ldexp"
    r"|log(10|1p|2|b|10p1|2p1|p1)?|modf"
    r"|scalbl?n?|cbrt|fabs|hypot|pow(10|n|r)?|rootn|compoundn|r?sqrt|erfc?|[lt]?gamma|ceil|floor"
    r"|nearbyint|l{0,2}rint|l{0,2}round|roundeven|trunc|fmod|rem(ainder|quo)|drem|copysign|nan"
    r"|next(after|toward|up|down)|u?fromfpx?|canonicalize|totalorder(mag)?|[gs]etpayload(sig)?"
    r"|fdim|fmax|fmin|f(max|min)(imum)?(_?mag)?(_num)?|fma|finite|fpclassify"
    r"|is(finite|inf|nan|normal|signaling|subnormal|canonical|zero|unordered"
    r"|(greater|less)(equal)?|lessgreater|eqsig)|signbit|significand|sincos|[jy][01n]"
    r"|c(a?(cos|sin|tan)h?|abs|arg|exp|imag|log|log10|onj|pow|proj|real|sqrt)"
    r"|[fd](add|div|fma|mul|sqrt|sub))([fl]|f(16|32|64|128)x?|d(32|64|128)x?)?(_r)?"
    r"|f(32|64)x?(add|div|fma|mul|sqrt|sub)\w*"
    r"|(assoc_(laguerre|legendre)|beta|(comp_)?ellint_[123]|cyl_(bessel_[ijk]|neumann)|expint"
    r"|hermite|laguerre|legendre|riemann_zeta|sph_(bessel|legendre|neumann)|lerp)[fl]?"  # C++17
    r"|(strto|strfrom|wcsto)(f|d)\d+x?(_l)?"
    r"|(atomic|cnd|memory_order|mtx|posix|pthread|stdc|thrd|tss)_\w+"  # families that may grow
    r"|\w+_t"  # types of POSIX
    r"|[LM]_\w+|P_tmpdir|(PRI|SCN)\w+"  # macros that are not all in capitals
)
_VARIANTS = r"(_r|_l|64)$"
"""Endings of functions that exist beside those without."""


@cache
def _taken() -> frozenset[str]:
    """Every name of `c_taken.txt`."""
    text = files("flatprop.export").joinpath("c_taken.txt").read_text("ascii")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return frozenset(word for line in lines for word in line.split())


def checked_name(name: str | None, path: str | PathLike[str]) -> str:
    """The name of a function; None takes that of the file it will stand in."""
    given = Path(path).stem if name is None else name
    if not isinstance(given, str):
        raise TypeError(f"name must be a string, got {name!r}")
    obstacle = _obstacle(given)
    if obstacle:
        source = f" (from the path {str(path)!r})" if name is None else ""
        raise ValueError(
            f"{given!r}{source} {obstacle}; pass as name letters, digits and single underscores "
            f'between them, a letter first, such as name="{_similar(given)}"'
        )
    return given


def _obstacle(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        return "cannot be a name in C"
    if "__" in name or name.endswith("_"):
        return "would give names with two underscores, which C++ keeps for itself"
    if re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
        return "is in capitals, which are left to macros"
    without = re.sub(_VARIANTS, "", name)
    if {name, without} & _taken() or re.fullmatch(f"{_OWN}|{_PATTERNS}", name):
        return "is taken in C, C++, their libraries or the file"
    return ""


def _similar(name: str) -> str:
    """A name like this one that a function may have."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    for similar in (plain, plain.lower(), f"{plain}_net", f"{plain.lower()}_net", f"net_{plain}"):
        if similar and not _obstacle(similar):
            return similar
    return "network"


def c_comment(text: str) -> str:
    """Functions' names for a comment: in ASCII, and without anything that would end it."""
    return re.sub(r"[^\w<>.\[\]+ -]", "_", text.encode("ascii", "backslashreplace").decode())
