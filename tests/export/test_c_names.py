"""Names that a C or C++ implementation may take."""

import contextlib
import platform
import re
import shutil
import subprocess

import pytest

import flatprop as fp
from flatprop.export.c_names import checked_name

NAMES = {
    # what is refused: what is proposed
    "": "network",
    "2nd": "net_2nd",
    "a-b": "a_b",
    "a b": "a_b",
    "naïve": "na_ve",
    "_net": "net",
    "net_": "net",
    "a__b": "a_b",
    "FILE": "file",
    "M_PI": "m_pi",
    "linux": "linux_net",
    "my-linux!": "my_linux",
}
KINDS = {
    "of its own": "x i W u out t1 largest",
    "keywords": "int class typeof constexpr contract_assert co_await nullptr concept not_eq final",
    "C": "main exp tanhf stdin stdout errno assert offsetof printf exit time signal div abs",
    "C23": "unreachable free_sized sinpi rsqrtf fmaximum_num strdup memccpy",
    "complex": "complex imaginary I noreturn bool csqrtf cpow",
    "capitals": "NULL NAN EOF BUFSIZ L_tmpnam FILE HUGE_VAL PRId64 SIGINT E2BIG",
    "POSIX": "index select random read write open close link pipe environ y0 signgam j1 strtok_r",
    "GNU and BSD": "bzero basename sincosf lgamma_r stat64 printf_l strlcpy arc4random heapsort",
    "Windows": "near far small interface min max itoa kbhit",
    "macros": "linux unix i386 sparc mips sun hpux",
    "types": "size_t float_t uint8_t plant_t max_align_t",
    "C++": "std asm new typeid template co_yield",
    "C++17's functions": "beta expintf cyl_bessel_j comp_ellint_3l sph_legendref lerp",
    "numbers of GNU": "M_PIf M_1_PIl M_SQRT2f128 strtof32 strtof64x_l wcstof32 strfromf64",
    "families": "pthread_net posix_net atomic_load memory_order_relaxed mtx_net thrd_busy cnd_a",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_that_there_may_not_be_and_what_to_take(name, tmp_path):
    net = fp.Network(1, [fp.Dense(1)])
    with pytest.raises(ValueError, match=f'name="{NAMES[name]}"'):
        net.to_c(tmp_path / "net.c", name=name)
    assert not list(tmp_path.iterdir())
    assert checked_name(NAMES[name], "") == NAMES[name]


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_are_taken(kind):
    for name in KINDS[kind].split():
        with pytest.raises(ValueError, match="such as name="):
            checked_name(name, "net.c")


def test_names_that_there_may_be():
    names = "net model Policy controller relu stress torque memory sigmoid net64 state_r linux_net"
    names += " token island strength alphabeta beta1 hermite_net m_pi Mixed"
    for name in names.split():
        assert checked_name(name, "net.c") == name


HEADERS = "math stddef stdio stdlib string time errno limits float stdint signal locale wchar"


@pytest.mark.parametrize("compiler", ["gcc", "clang", "g++", "clang++"])
def test_no_word_of_a_header_is_a_name_with_which_it_does_not_compile(compiler):
    """Of all words in the headers and of all macros, those that are accepted define functions."""
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler} here")
    cpp = compiler.endswith("++")
    headers = "".join(f"#include <{name}.h>\n" for name in HEADERS.split())
    options = ("-x", "c++", "-std=gnu++17") if cpp else ("-x", "c", "-std=gnu17", "-D_GNU_SOURCE")

    def run(source, *more):
        command = [compiler, *options, *more, "-"]
        return subprocess.run(command, input=source, capture_output=True, text=True)

    text = re.sub("(?m)^#.*", "", run(headers, "-E").stdout)
    macros = re.findall(r"(?m)^#define (\w+)", run(headers, "-E", "-dM").stdout)
    words = {*macros, *re.findall(r"\b[A-Za-z]\w*", text)}
    free = []
    for name in sorted(words):
        with contextlib.suppress(ValueError):
            free.append(checked_name(name, ""))
    assert len(macros) > 300
    assert len(words) > 1000
    assert not set(free) & set(macros)
    if platform.libc_ver()[0] != "glibc":
        return  # other libraries may have functions that only they have
    language = 'extern "C" ' if cpp else ""
    lines = [f"{language}int {name}(const float *x, float *out);" for name in free]
    done = run(headers + "\n".join(lines), "-fsyntax-only")
    assert done.returncode == 0, done.stderr
