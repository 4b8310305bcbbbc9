"""The airspeed velocity suite; `asv.conf.json` says how it is run.

asv imports this file before the others, so that what is set here is in force
when NumPy and Numba start.
"""

import ctypes
import hashlib
import os
from pathlib import Path

from .repetitions import ONCE

# One thread, so that what is compared is the arithmetic; where threads are what is compared,
# `machine.restart` leaves each library those that it takes by itself.
if os.environ.get("BENCHMARK_THREADS") != "default":
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[_name] = "1"

    # asv measures the size of objects with Pympler, which has imported NumPy by now:
    # the OpenBLAS of its wheels must be told.
    from numpy._core import _multiarray_umath

    _blas = ctypes.CDLL(_multiarray_umath.__file__)
    for _prefix, _suffix in (("scipy_", "64_"), ("scipy_", ""), ("", "64_"), ("", "")):
        _name = f"{_prefix}openblas_set_num_threads{_suffix}"
        if hasattr(_blas, _name):
            getattr(_blas, _name)(1)

# flatprop's cache is keyed by the source of flatprop; loops.py is compiled through
# it, too, and is keyed here. CI's pass over the suite takes the cache that the tests have filled:
# it is as new as these files.
_here = Path(__file__).parent
_key = hashlib.sha256((_here / "loops.py").read_bytes()).hexdigest()[:12]
if not (ONCE and "NUMBA_CACHE_DIR" in os.environ):
    os.environ["NUMBA_CACHE_DIR"] = str(_here.parent / ".asv" / "numba" / _key)
