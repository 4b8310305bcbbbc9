"""How this package compiles: entry points, and what they are made of.

They are cached on disk, see `cache`. Where no cache folder can be written, functions are
compiled in memory.
"""

import contextlib
import functools
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numba
import numba.extending
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock

from flatprop.kernels.cache import PackageCache, mark
from flatprop.kernels.pipeline import Pipeline, PipelineOfC

if config.DISABLE_JIT:  # type: ignore[attr-defined]
    # `name` lets `python -m flatprop` end with this line, not with a traceback.
    raise ImportError(
        "flatprop needs Numba's compiler, which NUMBA_DISABLE_JIT switches off: unset it, and run "
        "what you debug as `your_function.py_func`",
        name="flatprop",
    )

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
    dispatcher = numba.njit(pipeline_class=Pipeline, **_OPTIONS, **_CALLED_FROM_PYTHON)(function)
    compile = _undisturbed(dispatcher.compile)

    def compile_and_mark(signature: Any) -> Any:
        address = compile(signature)
        for result in list(dispatcher.overloads.values()):
            mark(result.environment)
        return address

    dispatcher.compile = compile_and_mark
    # Without a folder to write to, Numba's own memory-only cache stays.
    with contextlib.suppress(RuntimeError, OSError):
        dispatcher._cache = PackageCache(dispatcher.py_func)
    return dispatcher


def c_address(function: Callable[..., Any], result: Any, arguments: tuple[Any, ...]) -> int:
    """Where C finds a function of these types, compiled the first time or from the cache.

    The address holds until the process ends.
    """
    from numba.core.ccallback import CFunc

    with global_compiler_lock:
        key = function, result, arguments
        if key not in _c_functions:
            # forceinline: into Numba's wrapper, which would call Python if a function raised.
            # LLVM sees that none does, and one call less is a twentieth of a small forward pass.
            options = {**_OPTIONS, "_nrt": False, "forceinline": True}
            signature = arguments, result
            pipeline: Any = PipelineOfC  # Numba's annotation names one class only
            compiled: Any = CFunc(function, signature, {}, options, pipeline_class=pipeline)
            with contextlib.suppress(RuntimeError, OSError):
                compiled._cache = PackageCache(function)
            _undisturbed(compiled.compile)()
            _c_functions[key] = compiled
        return int(_c_functions[key].address)


_c_functions: dict[Any, Any] = {}

if hasattr(os, "register_at_fork"):
    # A child that is forked while a thread compiles has a compiler in the middle of that
    # work, and a lock that nobody will release. So a fork waits until nothing is compiled.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def _undisturbed(compile: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without collecting garbage, and without losing a Ctrl-C.

    Compiling makes millions of objects that live to its end; looking through them again
    and again would take a tenth of the time.
    """

    @functools.wraps(compile)
    def compile_undisturbed(*arguments: Any) -> Any:
        collects = gc.isenabled()
        gc.disable()
        try:
            with _interruptible():
                return compile(*arguments)
        finally:
            if collects:
                gc.enable()

    return compile_undisturbed


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Raise a KeyboardInterrupt at the end, at the latest, if there was one.

    LLVM calls back into Python while it works, and an exception that is raised there is
    printed and forgotten.
    """
    usual = signal.getsignal(signal.SIGINT)
    of_main_thread = threading.current_thread() is threading.main_thread()
    if usual is not signal.default_int_handler or not of_main_thread:
        yield
        return
    interrupted = False

    def note(number: int, frame: Any) -> None:
        nonlocal interrupted
        interrupted = True
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if interrupted:  # and nobody heard of it
        raise KeyboardInterrupt


def jittable(function: F) -> F:
    """A function for Python that compiled code can call too."""
    numba.extending.register_jitable(function)
    return function


def arguments_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the positional arguments; `inspect.signature` takes long to say them."""
    code = function.__code__
    return code.co_varnames[: code.co_argcount]


def intrinsic(function: Callable[..., Any]) -> Any:
    """A function that writes its own LLVM instructions, called from compiled code."""
    return numba.extending.intrinsic(function)
