"""Which kind of machine figures are from; processes held to AVX2, or with all their threads."""

import os
import platform
import sys
from pathlib import Path

import llvmlite.binding as llvm


def kind():
    """One line for the head of a table: the processor, its vectors, how many of them."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        models = [line for line in lines if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    processors = os.cpu_count()
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    return f"{name} ({llvm.get_host_cpu_name()}), {vectors()}, {processors} processors"


def vectors():
    """The widest vectors that Numba uses here."""
    given = os.environ.get("NUMBA_CPU_FEATURES")
    features = given or llvm.get_host_cpu_features().flatten()
    own = features.split(",")
    held = " (held to)" if given else ""
    for feature, name in (("+avx512f", "AVX-512"), ("+avx2", "AVX2"), ("+neon", "NEON")):
        if feature in own:
            return name + held
    return "no vectors of its own"


def avx2_environment():
    """Variables under which a new process uses AVX2 where it could use AVX-512."""
    features = [
        f"-{feature[1:]}" if feature[1:].startswith(("avx512", "avx10", "evex512")) else feature
        for feature in llvm.get_host_cpu_features().flatten().split(",")
    ]
    amd = llvm.get_host_cpu_name().startswith("znver")
    return {
        "NUMBA_CPU_NAME": "znver3" if amd else "haswell",
        "NUMBA_CPU_FEATURES": ",".join(features),
        "OPENBLAS_CORETYPE": "Haswell",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    }


def restart(module, *, avx2=False, default_threads=False):
    """Run `python -m module` anew where the environment is not yet as it is to be.

    `default_threads` leaves each library the threads that it takes by itself, as `benchmarks`
    otherwise does not.
    """
    wanted = {}
    if avx2:
        wanted |= avx2_environment()
    if default_threads:
        wanted["BENCHMARK_THREADS"] = "default"
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        environment = os.environ | wanted
        if default_threads:
            for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
                environment.pop(name, None)  # which the first start has set
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], environment)
