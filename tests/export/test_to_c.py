"""Networks as C: compiled under strict flags and held against `predict`."""

import ctypes
import math
import platform
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from scipy import special

import flatprop as fp
import reference
from compilers import COMPILER, STRICT, WARNINGS, needs_compiler
from flatprop.formulas.activations import ACTIVATIONS, Activation
from flatprop.model.dense_layer import Dense
from flatprop.numbers import elementary
from flatprop.numbers.numbers import copysign, maximum, minimum, sqrt, where
from networks import both_dtypes, double_first
from own_functions import bounded, bumps, by_a_loop, hard_swish, snake, three_quarters
from processes import run

IN_C = ["-Wstrict-prototypes", "-Wmissing-prototypes", "-Wc++-compat"]
LANGUAGES = {
    # the standard: which compilers there may be, and their options
    "c99": (("gcc", "clang"), IN_C),
    "c11": (("gcc", "clang"), IN_C),
    "gnu17": (("gcc", "clang"), IN_C),
    "c++17": (("g++", "clang++"), ["-x", "c++", "-Wold-style-cast"]),
}


class Compiled:
    """The C of a network as a shared library."""

    def __init__(self, net, folder, flags=()):
        source, library = folder / "model.c", folder / "model.so"
        net.to_c(source)
        run(COMPILER, *STRICT, *flags, "-shared", "-fPIC", source, "-lm", "-o", library)
        self.library = ctypes.CDLL(str(library))
        self.inputs, self.outputs, self.dtype = net.inputs, net.outputs, net.dtype

    def predict(self, X):
        X = np.ascontiguousarray(X, self.dtype)
        out = np.full((len(X), self.outputs), np.nan, self.dtype)
        pointers = ctypes.c_void_p(X.ctypes.data), ctypes.c_void_p(out.ctypes.data)
        self.library.model_batch(ctypes.c_size_t(len(X)), *pointers)
        return out

    def one_row(self, x):
        x, out = np.ascontiguousarray(x, self.dtype), np.full(self.outputs, np.nan, self.dtype)
        self.library.model(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(out.ctypes.data))
        return out


def uncertainty(net, X):
    """How far outputs may be off, in units of the rounding error, to first order.

    A sum is as uncertain as the sizes of its terms, whatever cancels, and an activation
    as its argument times its slope; both add a rounding of their own.
    """
    W, b = reference.split(np.array(net.params, float), [net.inputs, *net.layers["units"]])
    names = [layer.activation for layer in net.dense]
    a, slopes = reference.forward(W, b, names, X)
    e = np.zeros_like(a[0])
    for l, name in enumerate(names):
        e = e @ abs(W[l]) + abs(a[l]) @ abs(W[l]) + abs(b[l])
        z = a[l] @ W[l] + b[l]
        if name == "softmax":
            e = np.einsum("nj,nij->ni", e + abs(z), abs(slopes[l]))
        else:
            e = e * abs(slopes[l])
        e += abs(a[l + 1])
        if name == "gelu":
            e += abs(z)  # 1/2 + 1/2 erf is as uncertain as its halves
    return e


def random_network(rng, dtype):
    """Of any depth and widths; exp, which soon overflows, only where it is last."""
    hidden = [name for name in ACTIVATIONS if name not in ("softmax", "exp")]
    sizes = rng.integers(1, 40, rng.integers(0, 5))
    layers = [Dense(int(units), str(rng.choice(hidden))) for units in sizes]
    last = Dense(int(rng.integers(1, 12)), str(rng.choice(list(ACTIVATIONS))))
    seed = int(rng.integers(1000))
    net = fp.Network(int(rng.integers(1, 20)), [*layers, last], dtype=dtype, rng=seed)
    for b in net.biases:
        b[:] = rng.normal(0, 0.5, b.shape)
    return net


@needs_compiler
@double_first
@pytest.mark.parametrize("seed", range(12))
def test_random_networks(seed, dtype, tmp_path, record_property):
    rng = np.random.default_rng(seed)
    net = random_network(rng, dtype)
    X = rng.normal(0, 1, (50, net.inputs)).astype(dtype)
    actual, expected = Compiled(net, tmp_path).predict(X), net.predict(X)
    rounding = np.finfo(dtype).eps / 2
    bound = np.maximum(rounding * uncertainty(net, X), np.finfo(dtype).tiny)  # a dead relu's is 0
    worst = (abs(actual - expected) / bound).max()
    record_property("roundings", worst)
    assert worst <= 4, net


@needs_compiler
@double_first
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_in_a_network(activation, dtype, tmp_path, record_property):
    hidden = "tanh" if activation == "softmax" else activation
    layers = [Dense(24, hidden), Dense(16, hidden), Dense(5, activation)]
    net = fp.Network(7, layers, dtype=dtype, rng=3)
    net.params[:] *= 0.5 if activation == "exp" else 1
    X = np.random.default_rng(4).normal(0, 1, (200, 7)).astype(dtype)
    library = Compiled(net, tmp_path)
    actual, expected = library.predict(X), net.predict(X)
    np.testing.assert_array_equal(library.one_row(X[3]), actual[3])
    # of each output's own scale, its largest value over the rows
    scale = np.maximum(abs(expected).max(axis=0), np.finfo(dtype).tiny)
    error = (abs(actual - expected) / scale).max()
    record_property("relative", error)
    assert error <= (1e-14 if dtype == np.float64 else 10 * np.finfo(dtype).eps)


@needs_compiler
@double_first
@pytest.mark.parametrize("activation", [a.name for a in ACTIVATIONS.values() if a.formula])
def test_activations_at_every_size_of_z(activation, dtype, tmp_path):
    net = fp.Network(1, [Dense(1, activation)], dtype=dtype)
    net.params[:] = 1, 0
    info = np.finfo(dtype)
    rng = np.random.default_rng(1)
    sizes = [
        *np.exp2(np.arange(np.log2(info.smallest_subnormal), info.maxexp - 1)),
        *np.exp2(rng.uniform(-20, 10, 2000)),
        *rng.uniform(0, 20, 2000),
        *[0, info.tiny, info.max, 88.7, 88.8, 103.9, 104.1, 709.7, 709.8, 745.1, 745.2],
        *np.random.default_rng(2).uniform(0, 1, 20) * info.tiny,
    ]
    x = np.array(sizes).astype(dtype)
    z = np.concatenate([x, -x])
    with np.errstate(over="ignore"):
        expected = net.predict(z[:, None])[:, 0]
    actual = Compiled(net, tmp_path).predict(z[:, None])[:, 0]
    overflow = np.isinf(expected)
    np.testing.assert_array_equal(actual[overflow], expected[overflow])
    z, actual, expected = (array[~overflow] for array in (z, actual, expected))
    # both sides within 2 ulp (float64: 4) of their elementary functions, and one or two
    # roundings on; below the normal numbers a factor's last digit counts z times
    bound = 8 * np.spacing(np.minimum(abs(expected), info.max / 2)).astype(float)
    bound += 2 * float(info.smallest_subnormal) * np.minimum(abs(z.astype(float)), 1e4)
    if activation == "gelu":  # as `uncertainty` says, until Φ is 0 or 1
        bound += 4 * info.eps * np.minimum(abs(z.astype(float)), 10)
    error = abs(actual.astype(float) - expected.astype(float))
    worst = int(np.argmax(error / bound))
    assert error[worst] <= bound[worst], (z[worst], actual[worst], expected[worst])


@needs_compiler
@both_dtypes
def test_softmax_of_large_and_equal_logits(dtype, tmp_path):
    net = fp.Network(4, [Dense(4, "softmax")], "cross_entropy", dtype=dtype)
    net.params[:] = [*np.eye(4).ravel(), 0, 0, 0, 0]
    X = np.array([[1e4, 0, -1e4, 1e4], [0, 0, 0, 0], [-1e30, -1e30, 3e30, 0], [88, 89, 90, 91]])
    actual = Compiled(net, tmp_path).predict(X)
    np.testing.assert_allclose(actual, net.predict(X), rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(actual[:2], [[0.5, 0, 0, 0.5], [0.25] * 4])


@needs_compiler
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_comes_out_as_nan(activation, tmp_path):
    net = fp.Network(2, [Dense(3, "relu"), Dense(2, activation)], rng=0)
    assert np.isnan(Compiled(net, tmp_path).one_row([np.nan, 1])).all()


@needs_compiler
@both_dtypes
def test_compilers_may_fuse_and_vectorise(dtype, tmp_path):
    rng = np.random.default_rng(8)
    net = fp.Network(30, [Dense(40, "silu"), Dense(9, "tanh")], dtype=dtype, rng=0)
    X = rng.normal(0, 1, (40, 30)).astype(dtype)
    intel = platform.machine() in ("x86_64", "AMD64")  # elsewhere fused by default
    flags = "-O3", "-ffp-contract=fast", *["-march=native"] * intel
    difference = abs(Compiled(net, tmp_path, flags).predict(X) - net.predict(X))
    assert (difference <= 2 * np.finfo(dtype).eps * uncertainty(net, X)).all()


VARIANTS = {
    "plain C99": ["-DMODEL_PLAIN"],
    "libm": ["-DMODEL_LIBM"],
    "not optimised": ["-O0"],
    "small": ["-Os"],
}


@needs_compiler
@double_first
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_way_to_compile_computes_the_same(variant, dtype, tmp_path):
    names = [name for name in ACTIVATIONS if name not in ("softmax", "exp")]
    layers = [*(Dense(9, name) for name in names), Dense(3, "softmax")]
    net = fp.Network(5, layers, "cross_entropy", dtype=dtype, rng=0)
    X = np.random.default_rng(0).normal(0, 1, (40, 5)).astype(dtype)
    difference = abs(Compiled(net, tmp_path, VARIANTS[variant]).predict(X) - net.predict(X))
    assert (difference <= 2 * np.finfo(dtype).eps * uncertainty(net, X)).all()


@both_dtypes
def test_only_c_library_functions_of_libm_are_left_to_it(dtype, tmp_path):
    layers = [Dense(2, name) for name in ACTIVATIONS]
    fp.Network(2, layers, "cross_entropy", dtype=dtype, rng=0).to_c(tmp_path / "model.c")
    text = (tmp_path / "model.c").read_text()
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    called = set(re.findall(r"(?<!_)\b([a-z0-9]+)\(", code)) & set(dir(math))
    assert {name.removesuffix("f") for name in called} <= {"fabs", "copysign"}
    fp.Network(2, [Dense(2, "relu")], dtype=dtype, rng=0).to_c(tmp_path / "model.c")
    text = (tmp_path / "model.c").read_text()
    assert re.findall("#include <(.*)>", text) == ["math.h", "stddef.h"]


@needs_compiler
@both_dtypes
def test_it_is_re_entrant(dtype, tmp_path):
    rng = np.random.default_rng(9)
    layers = [Dense(20, "gelu"), Dense(30, "sigmoid"), Dense(4, "softmax")]
    net = fp.Network(6, layers, "cross_entropy", dtype=dtype, rng=0)
    library = Compiled(net, tmp_path)
    # nothing that could be written to, and nothing that is not asked for
    symbols = tmp_path / "model.o"
    run(COMPILER, *STRICT, "-fno-stack-protector", "-c", tmp_path / "model.c", "-o", symbols)
    if sys.platform == "linux" and shutil.which("nm"):  # others write names otherwise
        lines = [line.split()[-2:] for line in run("nm", symbols).splitlines()]
        kinds = {name: kind for kind, name in lines}
        assert {name for name, kind in kinds.items() if kind == "T"} == {"model", "model_batch"}
        assert not [name for name, kind in kinds.items() if kind in "DdBbCGgSs"]
        wanted = {name for name, kind in kinds.items() if kind == "U"}
        # loops become the first two; the others are for position-independent code and AVX2
        assert wanted <= {"memcpy", "memmove", "_GLOBAL_OFFSET_TABLE_", "__cpu_model"}
    blocks = [rng.normal(0, 1, (2000, 6)).astype(dtype) for _ in range(8)]
    alone = [library.predict(X) for X in blocks]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(library.predict, blocks))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@numba.njit
def with_equalities(z):
    if z == 0.5 or z != z or z == math.inf:
        return 3.0, 0.0
    return (z, 1.0) if z != 2.0 else (7.0, 0.0)


def strict_networks(dtype):
    hidden = [name for name in ACTIVATIONS if name != "softmax"]
    layers = [Dense(2, activation) for activation in [*hidden, *OWN, with_equalities]]
    layers.append(Dense(3, "softmax"))
    yield fp.Network(4, layers, "cross_entropy", dtype=dtype, rng=0)
    yield fp.Network(1, [Dense(1)], dtype=dtype, rng=0)


@both_dtypes
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.slow
def test_compilers_have_no_warning(language, compiler, dtype, tmp_path):
    compilers, options = LANGUAGES[language]
    command = shutil.which(compilers[compiler == "clang"])
    if command is None:
        pytest.skip(f"there is no {compilers[compiler == 'clang']} here")
    for number, net in enumerate(strict_networks(dtype)):
        source, program = tmp_path / f"net{number}.c", tmp_path / "program"
        net.to_c(source, test=np.random.default_rng(0).normal(size=(5, net.inputs)), header=True)
        flags = f"-std={language}", *WARNINGS, *options, "-O1"
        run(command, *flags, "-fsyntax-only", source)
        run(command, *flags, f"-DNET{number}_TEST", source, "-lm", "-o", program)
        assert ", 0 of " in run(program)


# ---- the header


@needs_compiler
@pytest.mark.parametrize("stem", ["net", "net.v1", 'a "b" \\ c', "naïve"])
@both_dtypes
def test_the_header_declares_what_the_file_defines(stem, dtype, tmp_path):
    net = fp.Network(3, [Dense(2)], dtype=dtype, rng=0)
    net.to_c(tmp_path / f"{stem}.c", name="plant", header=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{stem}.c", f"{stem}.h"]
    (tmp_path / f"{stem}.h").rename(tmp_path / "plant.h")
    kind = "float" if dtype == np.float32 else "double"
    main = f"""
#include "plant.h"
#include "plant.h"
int main(void)
{{
    const {kind} x[2 * PLANT_INPUTS] = {{0}};
    {kind} out[2 * PLANT_OUTPUTS];
    plant(x, out);
    plant_batch(2, x, out);
    return PLANT_INPUTS != 3 || PLANT_OUTPUTS != 2;
}}
"""
    source, program = tmp_path / f"{stem}.c", tmp_path / "main"
    run(COMPILER, *STRICT, "-c", source, "-o", tmp_path / "plant.o")
    run(COMPILER, *STRICT, "-include", tmp_path / "plant.h", "-c", source, "-o", tmp_path / "p.o")
    compilers = [(COMPILER, "c", STRICT)]
    if shutil.which("c++"):  # which finds the names of C only by extern "C"
        compilers.append((shutil.which("c++"), "cpp", ["-std=c++17", *WARNINGS]))
    for compiler, suffix, flags in compilers:
        (tmp_path / f"main.{suffix}").write_text(main)
        objects = tmp_path / "plant.o", "-lm", "-o", program
        run(compiler, *flags, tmp_path / f"main.{suffix}", *objects)
        run(program)


def test_a_header_has_no_other_file_in_its_place(tmp_path):
    net = fp.Network(1, [Dense(1)], rng=0)
    for name in ("net.h", "net.H"):
        with pytest.raises(ValueError, match=r"net\.c"):
            net.to_c(tmp_path / name, header=True)
    (tmp_path / "model.h").mkdir()
    with pytest.raises(OSError, match="folder"):
        net.to_c(tmp_path / "model.c", header=True)
    with pytest.raises(FileNotFoundError):
        net.to_c(tmp_path / "nowhere" / "net.c", header=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model.h"]
    net.to_c(tmp_path / "model", header=False)
    (tmp_path / "folder.c").mkdir()
    (tmp_path / "folder.h").write_text("before")
    with pytest.raises(OSError):
        net.to_c(tmp_path / "folder.c", header=True)
    assert (tmp_path / "folder.h").read_text() == "before"
    left = {"folder.c", "folder.h", "model", "model.h"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_a_functions_name_stays_inside_its_comment(tmp_path):
    def odd(z):
        return z, 1.0

    odd.__name__ = "*/ int é??/"
    net = fp.Network(1, [Dense(1, numba.njit(odd))])
    net.to_c(tmp_path / "net.c", header=True)
    for suffix in ("c", "h"):
        text = (tmp_path / f"net.{suffix}").read_text(encoding="ascii")
        assert text.count("/*") == text.count("*/")
        assert "??" not in text


# ---- the text


def test_the_file_says_what_it_is(tmp_path):
    net = fp.Network(4, [Dense(32, "tanh"), Dense(16, "tanh"), Dense(3)], dtype="float64", rng=0)
    net.to_c(tmp_path / "model.c", name="controller")
    text = (tmp_path / "model.c").read_text()
    for line in (
        f"written by flatprop {fp.__version__}",
        "4 inputs -> 32 tanh -> 16 tanh -> 3 identity",
        "739 parameters, float64",
        "Stack           384 bytes for 32 + 16 numbers",
        "Constants       5912 bytes",
        "enum { CONTROLLER_INPUTS = 4, CONTROLLER_OUTPUTS = 3 };",
        "void controller(const double *x, double *out);",
        "double u[32], v[16];",
    ):
        assert line in text
    # only the activation that is used
    assert re.findall(r"static double (\w+)", text) == ["controller_number", "controller_tanh"]
    assert max(map(len, text.splitlines())) <= 100


@both_dtypes
def test_parameters_are_exact(dtype, tmp_path):
    info = np.finfo(dtype)
    net = fp.Network(4, [Dense(3, "relu")], dtype=dtype)
    values = [0, -0.0, 1, -1, 0.1, 1 / 3, 1e-5, info.max, info.min, info.tiny]
    net.params[:] = [*values, info.smallest_subnormal, -info.smallest_subnormal, 2, 3, 1e30]
    net.to_c(tmp_path / "net.c")
    text = (tmp_path / "net.c").read_text()
    literals = re.findall(r"-?0x[0-9a-f.]+p[+-]\d+", text)
    read = np.array([float.fromhex(number) for number in literals], dtype)
    np.testing.assert_array_equal(read, net.params)
    np.testing.assert_array_equal(np.signbit(read), np.signbit(net.params))


# ---- new activations


@needs_compiler
@both_dtypes
def test_a_new_activation_is_exported_without_another_line(dtype, tmp_path, monkeypatch):
    def bent(z):
        root = sqrt(z * z + 1.0)
        a = where(z.equals(0.5), 3.0, copysign(minimum(root - 1.0, 2.0), z) / root)
        return maximum(a, -0.625), root

    monkeypatch.setitem(ACTIVATIONS, "bent", Activation("bent", 99, "he", bent))
    net = fp.Network(1, [Dense(1, "bent")], dtype=dtype)
    net.params[:] = 1, 0
    z = np.array([*np.linspace(-5, 5, 50), 0.5, 0]).astype(dtype)
    root = np.sqrt(z * z + 1)
    a = np.where(z == 0.5, 3, np.copysign(np.minimum(root - 1, 2), z) / root)
    actual = Compiled(net, tmp_path, ["-DMODEL_PLAIN"]).predict(z[:, None])[:, 0]  # not fused
    np.testing.assert_allclose(actual, np.maximum(a, -0.625), rtol=4 * np.finfo(dtype).eps)


ELEMENTARY = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "softplus": lambda x: np.logaddexp(x, 0),
    "erf": lambda x: special.erf(x.astype(np.float64)),
}


@needs_compiler
@both_dtypes
@pytest.mark.parametrize("function", ELEMENTARY)
def test_elementary_functions_for_every_argument(function, dtype, tmp_path, monkeypatch):
    def formula(z):
        return getattr(elementary, function)(z), z

    monkeypatch.setitem(ACTIVATIONS, "new", Activation("new", 99, "he", formula))
    net = fp.Network(1, [Dense(1, "new")], dtype=dtype)
    net.params[:] = 1, 0
    info, rng = np.finfo(dtype), np.random.default_rng(0)
    sizes = [
        *np.exp2(rng.uniform(info.minexp, 11, 3000)),
        *np.exp2(rng.uniform(-9, 9, 3000)),
        0,
        1,
    ]
    x = np.array([*sizes, *np.negative(sizes), np.nan]).astype(dtype)
    with np.errstate(all="ignore"):
        exact = ELEMENTARY[function](x.astype(np.longdouble)).astype(dtype)
    for flags in [], ["-DMODEL_PLAIN"]:
        actual = Compiled(net, tmp_path, flags).predict(x[:, None])[:, 0]
        np.testing.assert_array_max_ulp(np.nan_to_num(actual), np.nan_to_num(exact), 4)
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(exact))


def test_a_formula_that_c_cannot_express(tmp_path, monkeypatch):
    def bits(z):
        return z.builder, z

    monkeypatch.setitem(ACTIVATIONS, "bits", Activation("bits", 99, "he", bits))
    net = fp.Network(1, [Dense(1, "bits")])
    with pytest.raises(ValueError, match='cannot write "bits"'):
        net.to_c(tmp_path / "net.c")
    assert not list(tmp_path.iterdir())


@numba.njit
def square_plus(z):
    if not math.isfinite(z):
        raise ValueError
    root = math.sqrt(z * z + 4)
    return 0.5 * (z + root), 0.5 * (1 + z / root)


OWN = [bounded, snake, hard_swish, square_plus, three_quarters, bumps]


@needs_compiler
@both_dtypes
@pytest.mark.parametrize("function", OWN, ids=lambda function: function.__name__)
def test_the_users_own_activations(function, dtype, tmp_path):
    net = fp.Network(1, [Dense(1, function)], dtype=dtype)
    net.params[:] = 1, 0
    z = np.array([*np.linspace(-8, 8, 333), 0, -1, 1, 2, 3, -3, 1e-30]).astype(dtype)[:, None]
    expected = net.predict(z)
    actual = Compiled(net, tmp_path).predict(z)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(actual, expected, rtol=8 * eps, atol=4 * eps)
    assert f"1 inputs -> 1 {function.__name__}" in (tmp_path / "model.c").read_text()


@needs_compiler
def test_own_activations_beside_others(tmp_path):
    layers = [Dense(4, snake), Dense(5, "tanh"), Dense(6, hard_swish), Dense(3, snake)]
    net = fp.Network(2, layers, dtype="float64", rng=0)
    X = np.random.default_rng(0).normal(0, 1, (20, 2))
    np.testing.assert_allclose(Compiled(net, tmp_path).predict(X), net.predict(X), atol=1e-14)
    text = (tmp_path / "model.c").read_text()
    assert "/* the user's snake */\nstatic double model_own1(double z)" in text
    assert text.count("static double model_own") == 2


def test_an_own_activation_that_c_cannot_express(tmp_path):
    net = fp.Network(1, [Dense(2, "tanh"), Dense(1, by_a_loop)])
    with pytest.raises(ValueError, match=r"activation by_a_loop of layers\[1\]: it has a loop"):
        net.to_c(tmp_path / "net.c")
    stairs = fp.Network(1, [Dense(1, numba.njit(lambda z: (math.floor(z), 0.0)))])
    with pytest.raises(ValueError, match=r"it calls floor; .* of math exp, expm1"):
        stairs.to_c(tmp_path / "net.c")
    assert not list(tmp_path.iterdir())


# ---- bad input, before anything is written


def test_the_name_comes_from_the_path(tmp_path):
    net = fp.Network(1, [Dense(1)])
    net.to_c(str(tmp_path / "net_2.c"))
    assert "void net_2(const float *x" in (tmp_path / "net_2.c").read_text()
    with pytest.raises(ValueError, match="from the path"):
        net.to_c(tmp_path / "my-net.c")
    with pytest.raises(TypeError, match="name must be a string"):
        net.to_c(tmp_path / "net.c", name=3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_parameters_that_are_not_finite(bad, tmp_path):
    net = fp.Network(1, [Dense(1)])
    net.params[1] = bad
    with pytest.raises(ValueError, match=r"params\[1\] is"):
        net.to_c(tmp_path / "net.c")
    assert not list(tmp_path.iterdir())


def test_a_test_that_does_not_fit(tmp_path):
    net = fp.Network(2, [Dense(1)])
    with pytest.raises(ValueError, match="test: X has 3 columns"):
        net.to_c(tmp_path / "net.c", test=np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"test: X\[0, 1\] is nan"):
        net.to_c(tmp_path / "net.c", test=[[1, np.nan]])
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_in_one_step_or_not_at_all(tmp_path):
    net = fp.Network(1, [Dense(1)])
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        net.to_c(tmp_path / "nowhere" / "net.c")
    target = tmp_path / "net.c"
    target.write_text("before")
    net.to_c(target)
    assert target.read_text().startswith("/* A neural network")
    (tmp_path / "folder.c").mkdir()
    with pytest.raises(OSError):
        net.to_c(tmp_path / "folder.c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.c", "net.c"]
