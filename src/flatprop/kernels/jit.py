"""How this package compiles: entry points, what they are made of, and their cache.

Numba keys a cached function by its own source file. An entry point here pulls in
code from many files, so its cache is keyed by the source of the whole package
instead. Where no cache folder can be written, functions are compiled in memory.
"""

import contextlib
import functools
import gc
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numba.extending
from numba.core.caching import FunctionCache, IndexDataCacheFile

F = TypeVar("F", bound=Callable[..., Any])

# error_model: a division by zero gives inf or NaN, as in NumPy, without a branch.
# contract: a multiplication and an addition may become one fused instruction;
# nothing here lets the compiler assume that NaN does not occur.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}

# Nothing that is called from Python allocates, so it needs no reference counting;
# nor is it called from C: what is has its own functions, `c_address`.
_CALLED_FROM_PYTHON: dict[str, Any] = {"no_cfunc_wrapper": True, "_nrt": False}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function into each of its callers.

    Numba would optimise a callee by itself and then once more within every
    caller, level by level, which makes the first call half as long again.
    """
    return numba.njit(inline="always", **_OPTIONS)(function)


def entry_point(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls; it is cached on disk where possible."""
    dispatcher = numba.njit(**_OPTIONS, **_CALLED_FROM_PYTHON)(function)
    dispatcher.compile = _without_garbage_collection(dispatcher.compile)
    # Without a folder to write to, Numba's own memory-only cache stays.
    with contextlib.suppress(RuntimeError, OSError):
        dispatcher._cache = _PackageCache(dispatcher.py_func)
    return dispatcher


def c_address(function: Callable[..., Any], result: Any, arguments: tuple[Any, ...]) -> int:
    """Where C finds a function of these types, compiled the first time or from the cache.

    The address holds until the process ends.
    """
    from numba.core.ccallback import CFunc

    with _c_lock:
        key = function, result, arguments
        if key not in _c_functions:
            # forceinline: into Numba's wrapper, which would call Python if a function raised.
            # LLVM sees that none does, and one call less is a twentieth of a small forward pass.
            options = {**_OPTIONS, "_nrt": False, "forceinline": True}
            compiled: Any = CFunc(function, (arguments, result), locals={}, options=options)
            with contextlib.suppress(RuntimeError, OSError):
                compiled._cache = _PackageCache(function)
            _without_garbage_collection(compiled.compile)()
            _c_functions[key] = compiled
        return int(_c_functions[key].address)


_c_lock = threading.Lock()
_c_functions: dict[Any, Any] = {}


def _without_garbage_collection(compile: Callable[..., Any]) -> Callable[..., Any]:
    """Compiling makes millions of objects that live to its end; looking through them again
    and again would take a tenth of the time.
    """

    @functools.wraps(compile)
    def undisturbed(*arguments: Any) -> Any:
        collects = gc.isenabled()
        gc.disable()
        try:
            return compile(*arguments)
        finally:
            if collects:
                gc.enable()

    return undisturbed


def jittable(function: F) -> F:
    """A function for Python that compiled code can call too."""
    numba.extending.register_jitable(function)
    return function


def intrinsic(function: Callable[..., Any]) -> Any:
    """A function that writes its own LLVM instructions, called from compiled code."""
    return numba.extending.intrinsic(function)


class _PackageCache(FunctionCache):
    """A disk cache keyed by the package's source, that never fails the caller."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(
            self._cache_path, self._impl.filename_base, _package_fingerprint()
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            # Not through Numba's own method, which would first load everything that
            # compiling needs: a tenth of a second that finished code does without.
            return self._load_overload(sig, target_context)
        except Exception:
            # Whatever is wrong with the file (truncated, another LLVM, no
            # permission), compiling afresh gives the same function.
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        # A full or read-only disk costs the next process a compilation, no more.
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


@functools.cache
def _package_fingerprint() -> str:
    """A hash over every source file that compiled code may come from."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for folder in ("formulas", "kernels"):
        for path in sorted((package / folder).glob("*.py")):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
