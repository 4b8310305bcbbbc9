"""One network over the ranks of MPI; `support/rank_programs.py` has what they run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import flatprop as fp
from flatprop.training.batches_of_ranks import bounds_of, rows_before, weights_of
from processes import PATH, TESTS, python

PROGRAM = TESTS / "support" / "rank_programs.py"
BESIDE_PYTHON = Path(sys.executable).parent / "mpiexec"
MPIEXEC = str(BESIDE_PYTHON) if BESIDE_PYTHON.exists() else shutil.which("mpiexec")
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": PATH,
    # Open MPI as root, and with more ranks than processors
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    # MPICH, for the same reason: a rank that waits leaves its processor to the others
    "MPIR_CVAR_POLLS_BEFORE_YIELD": "1",
}


def mpi_is_there():
    try:
        import mpi4py  # noqa: F401
    except ImportError:
        return False
    return MPIEXEC is not None


needs_mpi = pytest.mark.skipif(
    not mpi_is_there(), reason="needs mpi4py, and mpiexec of MPICH or Open MPI: the extra mpi"
)


def ranks(count, *arguments):
    """A program of `count` ranks, done."""
    command = [MPIEXEC, "-n", str(count), sys.executable, "-W", "error", str(PROGRAM)]
    return subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=600,
    )


CASES = (
    "full_batch",
    "mini_batches",
    "blocks_and_threads",
    "metrics",
    "callbacks",
    "checkpoints",
    "divergence",
    "errors_before",
    "errors_within",
    "interruption",
)


def outcomes(count, folder, *more):
    done = ranks(count, folder / "outcomes.json", folder, *CASES, *more)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "outcomes.json").read_text())


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    return outcomes(2, tmp_path_factory.mktemp("ranks"))


@needs_mpi
@pytest.mark.parametrize("case", CASES)
def test_two_ranks(case, of_two):
    assert of_two[case] == "", of_two[case]


@pytest.mark.slow
@needs_mpi
def test_three_ranks_of_unequal_size(tmp_path):
    found = outcomes(3, tmp_path, "single_precision")
    assert list(found) == [*CASES, "single_precision"]
    assert not any(found.values()), "\n".join(found.values())


@needs_mpi
@pytest.mark.parametrize(("end", "message"), [("killed", "9"), ("left", "rank 1 of 2 failed")])
def test_a_rank_that_ends_in_the_middle_ends_all(end, message):
    done = ranks(2, "-", "-", end)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr


def test_without_a_communicator_nothing_of_mpi_is_imported():
    script = """
import sys
import flatprop as fp
fp.Network(1, [fp.Dense(1)], dtype="float64").fit([[1.0]], [2.0], epochs=1)
print("mpi4py" in sys.modules, "flatprop.training.ranks" in sys.modules)
"""
    assert python(script).split() == ["False", "False"]


@pytest.mark.parametrize("communicator", [0, "world", object()])
def test_only_communicators_of_mpi4py_are_taken(communicator):
    net = fp.Network(1, [fp.Dense(1)], dtype="float64")
    with pytest.raises(TypeError, match=r"MPI\.COMM_WORLD"):
        net.fit([[1.0]], [2.0], communicator=communicator)


@pytest.mark.parametrize("rows", [[7], [5, 5], [1, 2, 97], [3, 1000, 1], [10**9, 10**9 + 1]])
@pytest.mark.parametrize("batch_size", [1, 3, 64, 10**8 + 1])
def test_each_batch_takes_the_same_part_of_each_rank(rows, batch_size):
    if batch_size <= 64:
        rows = [min(n, 2000) for n in rows]
    total = sum(rows)
    batch_size = min(batch_size, total)
    counts = [np.diff(bounds_of(n, total, batch_size)) for n in rows]
    for n, count in zip(rows, counts, strict=True):
        assert count.sum() == n
        assert count.min() >= 0
        assert np.ptp(count[:-1]) <= 1 if count.size > 1 else True
    sizes = np.sum(counts, axis=0)
    assert sizes.max() < batch_size + len(rows)
    np.testing.assert_array_equal(rows_before(rows, total, batch_size), sizes)
    assert not rows_before([], total, batch_size).any()


def test_weights_of_batches_without_rows():
    weight = np.array([1.0, 2.0, 4.0])
    bounds = np.array([0, 0, 2, 2, 3, 3])
    assert weights_of(weight, bounds).tolist() == [0, 3, 0, 4, 0]
    assert weights_of(weight[:0], bounds).tolist() == [0, 2, 0, 1, 0]


@pytest.mark.slow
@needs_mpi
def test_the_program_of_the_guide(tmp_path):
    page = (TESTS.parent / "docs" / "guide" / "machines.md").read_text("utf-8")
    program = page.partition("```\n# train.py\n")[2].partition("```")[0]
    (tmp_path / "train.py").write_text(program)
    command = [MPIEXEC, "-n", "2", sys.executable, "-m", "mpi4py", "train.py"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("stopped by epochs") == 1
    assert fp.load(tmp_path / "net.safetensors").inputs == 8
