"""The C functions as a C library of the tests calls them."""

import ctypes

import numpy as np
import pytest

import flatprop as fp
from compilers import COMPILER
from flatprop.embedding import c_interface
from processes import TESTS, run

DTYPES = ["float32", "float64"]
SUFFIX = {"float32": "f32", "float64": "f64"}
REAL = {"float32": "float", "float64": "double"}
STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-O2"]
STACK = 64 * 1024
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
# What float32 is tested with; the rest, of the same source, need not be compiled.
USED = [
    "workspace_size",
    "gradient_workspace_size",
    "forward",
    "loss_and_gradient",
    "hessian_vector_product",
    "update",
    "training_step",
    "sgd_step",
]


def functions(dtype):
    return fp.c_functions(dtype, only=None if dtype == "float64" else USED)


def shared_library(path, source, *flags):
    include = ["-I", fp.get_include()]
    run(COMPILER, "-std=c99", *STRICT, *include, *flags, "-shared", "-fPIC", source, "-o", path)
    return path


def compiled_library(path, dtype, *flags):
    flags = [f"-Dreal={REAL[dtype]}", f"-DNAME(x)=x##_{SUFFIX[dtype]}", f"-DSTACK={STACK}", *flags]
    flags += ["-D_XOPEN_SOURCE=700", "-pthread"]
    return shared_library(path, TESTS / "c" / "library.c", *flags)


def passed(value):
    """A value as an argument of the C library."""
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        return ctypes.c_void_p(value.ctypes.data)
    if isinstance(value, c_interface.CFunctions):
        return ctypes.c_void_p(value.address)
    if isinstance(value, ctypes.Structure):
        return ctypes.byref(value)
    if isinstance(value, float):
        return ctypes.c_double(value)
    return None if value is None else ctypes.c_int64(value)


def call(library, name, *values, result=None, loader=ctypes.CDLL):
    function = getattr(loader(str(library)), name)
    function.restype = result
    return function(*map(passed, values))


def problem(dtype, loss="mse", rows=50, rng=0):
    last = fp.Dense(3, "softmax" if loss == "cross_entropy" else "identity")
    net = fp.Network(5, [fp.Dense(20, "tanh"), fp.Dense(17, "gelu"), last], loss, dtype, rng)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, 5)).astype(dtype)
    if loss == "cross_entropy":
        return net, x, rng.integers(0, 3, (rows, 1)).astype(dtype)
    return net, x, rng.normal(size=(rows, 3)).astype(dtype)


def workspace(table, network, rows):
    return np.full(table.gradient_workspace_size(network, rows), np.nan, table.dtype)
