"""What is compiled when, where it is cached, and what a step allocates."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import event
from numba.core.runtime import _nrt_python, rtsys

import flatprop as fp
from flatprop.kernels import batches, epochs

PACKAGE = Path(fp.__file__).parent


def run(script: str, **environment: str) -> str:
    """The output of a fresh interpreter."""
    command = [sys.executable, "-W", "error", "-c", script]
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def use_everything(net, X, y):
    net.fit(X, y, epochs=2)
    net.predict(X)
    net.loss(X, y)
    net.loss_and_gradient(X, y)
    net.trace(X, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_second_architecture_compiles_nothing(dtype):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2, 50, 3))
    use_everything(fp.Network(3, [fp.Dense(4, "tanh"), fp.Dense(3)], dtype=dtype), X, y)
    entry_points = [
        epochs.train,
        batches.predict,
        batches.sum_of_losses,
        batches.loss_and_gradient,
    ]
    before = [list(entry.signatures) for entry in entry_points]
    with event.install_recorder("numba:compile") as recorder:
        layers = [fp.Dense(70, "gelu"), fp.Dense(5, "relu"), fp.Dense(3, "softmax")]
        other = fp.Network(4, layers, "cross_entropy", dtype=dtype)
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
                tol=1e-9,
            )
        use_everything(other.copy(), rng.normal(size=(9, 4)), rng.integers(0, 3, 9))
    assert not recorder.buffer
    assert [list(entry.signatures) for entry in entry_points] == before


def test_nothing_is_compiled_on_import():
    script = """
import sys
from numba.core import event
with event.install_recorder("numba:compile") as recorder:
    import flatprop
assert not recorder.buffer
heavy = {"pandas", "tqdm", "safetensors", "scipy.linalg", "sklearn", "matplotlib", "torch", "onnx"}
print(sorted(heavy & set(sys.modules)))
"""
    assert run(script).strip() == "[]"


@pytest.fixture
def allocations():
    """A function that gives the allocations of Numba's runtime during a call."""

    def during(call) -> int:
        before = rtsys.get_allocation_stats()
        call()
        return rtsys.get_allocation_stats().alloc - before.alloc

    _nrt_python.memsys_enable_stats()
    yield during
    _nrt_python.memsys_disable_stats()


@numba.njit
def allocate(times):
    total = 0.0
    for i in range(times):
        total += np.ones(i + 1).sum()
    return total


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": None, "optimizer": fp.SGD(0.01)},
        {"batch_size": 7, "optimizer": fp.Adam(), "clip_norm": 1.0},
        {"batch_size": 32, "optimizer": fp.RMSprop(), "sample_weight": np.ones(100)},
    ],
)
def test_a_training_step_allocates_nothing(options, allocations):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 3)), rng.normal(size=(100, 2))
    net = fp.Network(3, [fp.Dense(8, "tanh"), fp.Dense(2)], rng=0)
    net.fit(X, y, epochs=1, **options)
    allocate(1)
    assert allocations(lambda: allocate(10)) == 10  # the counter counts
    assert allocations(lambda: net.fit(X, y, epochs=400, **options)) == 0


# ---- caches

PREDICT = """
import flatprop as fp
net = fp.Network(1, [fp.Dense(1, "leaky_relu")], dtype="float64")
net.params = [1.0, 0.0]
print(net.predict([[-1.0]])[0, 0], fp.kernels.batches.predict._cache_hits.total())
"""


@pytest.fixture
def copy_of_package(tmp_path):
    """The package where nothing else uses its cache: (environment, folder)."""
    folder = tmp_path / "flatprop"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}, folder


def test_the_second_process_finds_the_first_one_s_code(copy_of_package):
    environment, _ = copy_of_package
    assert run(PREDICT, **environment).split() == ["-0.01", "0"]
    assert run(PREDICT, **environment).split() == ["-0.01", "1"]


def test_an_edited_formula_is_not_served_from_the_cache(copy_of_package):
    environment, folder = copy_of_package
    run(PREDICT, **environment)
    source = folder / "formulas" / "activations.py"
    source.write_text(source.read_text().replace("z.like(1.0), 0.01)", "z.like(1.0), 0.5)"))
    assert run(PREDICT, **environment).split() == ["-0.5", "0"]


def test_damaged_cache_files_are_replaced(copy_of_package, tmp_path):
    environment, _ = copy_of_package
    run(PREDICT, **environment)
    files = [path for path in (tmp_path / "cache").rglob("*.nb?") if "predict" in path.name]
    assert len(files) == 2
    for path in files:
        path.write_bytes(path.read_bytes()[:40])
    assert run(PREDICT, **environment).split() == ["-0.01", "0"]
    assert run(PREDICT, **environment).split() == ["-0.01", "1"]


def test_without_any_cache_folder(copy_of_package, tmp_path):
    environment, folder = copy_of_package
    # Files where the folders would have to be: not writable for root either.
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    (folder / "kernels" / "__pycache__").write_text("")
    environment |= {
        "NUMBA_CACHE_DIR": str(nowhere / "cache"),
        "HOME": str(nowhere),
        "XDG_CACHE_HOME": str(nowhere),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    assert run(PREDICT, **environment).split() == ["-0.01", "0"]
    assert run(PREDICT, **environment).split() == ["-0.01", "0"]


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="root can write to read-only folders"
)
def test_with_a_read_only_cache_folder(copy_of_package, tmp_path):
    environment, folder = copy_of_package
    for path in (tmp_path / "cache", folder / "kernels"):
        path.mkdir(exist_ok=True)
        path.chmod(0o555)
    environment |= {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent"}
    assert run(PREDICT, **environment).split() == ["-0.01", "0"]
    for path in (tmp_path / "cache", folder / "kernels"):
        path.chmod(0o755)


def test_a_disk_that_fills_up(copy_of_package):
    environment, _ = copy_of_package
    script = """
from numba.core.caching import IndexDataCacheFile
def full(*_):
    raise OSError(28, "No space left on device")
IndexDataCacheFile.save = full
"""
    assert run(script + PREDICT, **environment).split() == ["-0.01", "0"]
