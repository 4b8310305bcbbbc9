"""What is compiled when, where it is cached, and what a step allocates."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from numba.core import event

import flatprop as fp
from flatprop.kernels import compile
from flatprop.kernels.network import entry_points, training_loop
from processes import python


def use_everything(net, X, y):
    net.fit(X, y, epochs=2)
    net.fit(X, y, epochs=1, ema=0.5)  # one loop for all that few trainings ask for
    net.predict(X)
    net.loss(X, y)
    net.loss_and_gradient(X, y)
    net.trace(X, y)


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_a_second_architecture_compiles_nothing(dtype):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2, 50, 3))
    use_everything(fp.Network(3, [fp.Dense(4, "tanh"), fp.Dense(3)], dtype=dtype, rng=0), X, y)
    compiled = [
        training_loop.train,
        entry_points.predict,
        entry_points.sum_of_losses,
        entry_points.loss_and_gradient,
    ]
    before = [list(entry.signatures) for entry in compiled]
    with event.install_recorder("numba:compile") as recorder:
        layers = [fp.Dense(70, "gelu"), fp.Dense(5, "relu"), fp.Dense(3, "softmax")]
        other = fp.Network(4, layers, "cross_entropy", dtype=dtype, rng=0)
        use_everything(other, rng.normal(size=(9, 4)), rng.integers(0, 3, 9))
        for optimizer in (fp.SGD(0.1, momentum=0.9), "rprop", fp.RMSprop(centered=True)):
            other.fit(
                rng.normal(size=(2000, 4)).astype("float16"),
                np.full((2000, 3), 1 / 3),
                optimizer=optimizer,
                epochs=2,
                batch_size=None,
                sample_weight=np.ones(2000),
                trainable=np.arange(other.params.size) % 2 == 0,
                clip_norm=1.0,
                learning_rate_factors=np.full(other.params.size, 0.5),
                ema=0.9,
                tol=1e-9,
            )
        use_everything(other.copy(), rng.normal(size=(9, 4)), rng.integers(0, 3, 9))
    assert not recorder.buffer
    assert [list(entry.signatures) for entry in compiled] == before


def test_nothing_is_compiled_on_import():
    script = """
import sys
import threading
from numba.core import event
with event.install_recorder("numba:compile") as recorder:
    import flatprop
assert not recorder.buffer
heavy = {"pandas", "tqdm", "safetensors", "scipy.linalg", "sklearn", "matplotlib", "torch", "onnx"}
heavy |= {"joblib", "dask", "distributed", "ray", "mpi4py"}
print(sorted(heavy & set(sys.modules)))
"""
    assert python(script).strip() == "[]"


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": None, "optimizer": fp.SGD(0.01)},
        {"batch_size": 7, "optimizer": fp.Adam(), "clip_norm": 1.0},
        {"batch_size": 32, "optimizer": fp.RMSprop(), "sample_weight": np.ones(100)},
        {"ema": 0.9, "learning_rate_factors": np.full(50, 0.5)},
        {"ema": 0.9, "optimizer": fp.SGD(0.01)},
    ],
)
def test_a_training_step_allocates_nothing(options, allocations):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 3)), rng.normal(size=(100, 2))
    net = fp.Network(3, [fp.Dense(8, "tanh"), fp.Dense(2)], rng=0)
    net.fit(X, y, epochs=1, **options)
    assert allocations(lambda: net.fit(X, y, epochs=400, **options)) == 0


# ---- beside other users of the compiler


def test_without_a_compiler_one_sentence_says_what_to_do():
    for arguments in (["-c", "import flatprop"], ["-m", "flatprop", "train", "digits"]):
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        )
        assert done.returncode != 0
        assert "unset" in done.stderr.splitlines()[-1]
        assert "NUMBA_DISABLE_JIT" in done.stderr.splitlines()[-1]
    assert len(done.stderr.splitlines()) == 1  # of the command line, which shows no traceback


FORK = """
import os, signal, threading, time, warnings
import numba, numba.extending
from numba.core import types
import flatprop
inside = threading.Event()

@numba.extending.intrinsic
def slow(context):
    inside.set()
    time.sleep(0.5)  # in the middle of a compilation, with the compiler's lock
    return types.int64(), lambda context, *_: context.get_constant(types.int64, 1)

thread = threading.Thread(target=numba.njit(lambda: slow()))
thread.start()
assert inside.wait(60)
warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on: there are threads
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(numba.njit(lambda: 7)())
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), numba.njit(lambda: 8)())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_while_a_thread_compiles():
    assert python(FORK).split() == ["7", "8"]


def test_a_ctrl_c_that_nobody_heard_of():
    def swallow():
        with contextlib.suppress(KeyboardInterrupt):  # as a callback of LLVM's does
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        compile._undisturbed(swallow)()
    assert signal.getsignal(signal.SIGINT) is before
    thread = threading.Thread(target=compile._undisturbed(lambda: None))
    thread.start()
    thread.join()
