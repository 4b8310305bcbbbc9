"""Layers beside Dense in C: against `predict`, with the file's own test."""

import ctypes
import subprocess

import numpy as np
import pytest

import flatprop as fp
from compilers import COMPILER, STRICT, needs_compiler
from networks import double_first
from processes import run

BLOCK = fp.Residual([fp.LayerNorm(), fp.Dense(9, "relu"), fp.Dropout(0.3), fp.Dense(6, "tanh")])
NETWORKS = {
    "norm": [fp.Dense(6, "relu"), fp.LayerNorm(), fp.Dense(3)],
    "norm first": [fp.LayerNorm(), fp.Dense(3, "sigmoid")],
    "dropout": [fp.Dropout(0.1), fp.Dense(6, "relu"), fp.Dropout(0.5), fp.Dense(3)],
    "only a block": [fp.Residual([fp.Dropout(0.1)]), fp.Dense(3)],
    "block": [fp.Dense(6, "relu"), BLOCK, fp.Dense(3)],
    "nested": [fp.Dense(6), fp.Residual([BLOCK, BLOCK]), BLOCK, fp.LayerNorm(), fp.Dense(3)],
}


def made(name, dtype):
    net = fp.Network(5, NETWORKS[name], dtype=dtype, rng=0)
    rng = np.random.default_rng(1)
    net.params += rng.normal(size=net.params.size) * 0.3
    X = np.concatenate([rng.normal(0, 1, (40, 5)), rng.normal(100, 1, (5, 5)), np.ones((1, 5))])
    return net, X.astype(dtype)


@needs_compiler
@double_first
@pytest.mark.parametrize("name", NETWORKS)
def test_the_c_computes_what_predict_does(name, dtype, tmp_path):
    net, X = made(name, dtype)
    source, library = tmp_path / "model.c", tmp_path / "model.so"
    net.to_c(source)
    assert "dropout" not in source.read_text().split("*/", 1)[1]
    run(COMPILER, *STRICT, "-shared", "-fPIC", source, "-lm", "-o", library)
    out = np.full((len(X), net.outputs), np.nan, dtype)
    pointers = (ctypes.c_void_p(array.ctypes.data) for array in (X, out))
    ctypes.CDLL(str(library)).model_batch(ctypes.c_size_t(len(X)), *pointers)
    # A normalisation makes errors of its inputs larger where they hardly differ.
    near = np.ptp(X, axis=1) > 1e-3
    tolerance = 2e-4 if np.dtype(dtype).itemsize == 4 else 1e-11
    np.testing.assert_allclose(out[near], net.predict(X)[near], tolerance, tolerance)


@needs_compiler
@double_first
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("wrong", [False, True])
def test_the_self_test_tells_right_from_wrong(name, dtype, wrong, tmp_path):
    net, X = made(name, dtype)
    source, program = tmp_path / "model.c", tmp_path / "model"
    net.to_c(source, test=X)
    if wrong:
        other = net.copy()
        other.params += 1e-3 * np.random.default_rng(2).normal(size=net.params.size)
        other.to_c(tmp_path / "other.c")
        program_text, text = source.read_text(), (tmp_path / "other.c").read_text()
        start = program_text.index("#ifdef MODEL_TEST")
        source.write_text(text.replace("other", "model").replace("OTHER", "MODEL"))
        source.write_text(source.read_text() + program_text[start:])
    run(COMPILER, *STRICT, "-DMODEL_TEST", source, "-lm", "-o", program)
    done = subprocess.run([program], capture_output=True, text=True)
    assert (done.returncode != 0) == wrong, done.stdout
