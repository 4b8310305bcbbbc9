"""Compiled code on disk: what it is keyed by, and how stale or damaged code stays out.

Numba keys a cached function by its own source file. An entry point here pulls in code from
many files, so its cache is keyed by all files of the package that hold such code: by their
sources, or by their bytecode where the package is shipped without sources. It is keyed by the
sizes of the processor's caches, too, for which products are cut.

Numba caches the users' functions too, with the code of this package that is compiled into
them. `mark` lets them be compiled anew after an upgrade; `keep_out_of_caches` is for code
that is right in this process only.
"""

import contextlib
import functools
import hashlib
import inspect
import os
import pickle
import sys
import uuid
from collections.abc import Callable, Iterator
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import Any

import llvmlite
import numba
from llvmlite import ir
from numba.core import caching
from numba.core.serialize import dumps

from flatprop.kernels.processor import caches

_FOLDERS = ("numbers", "formulas", "kernels")
"""Where compiled code may come from."""


@functools.cache
def edition() -> str:
    """A hash over every file that compiled code may come from, and over what it is compiled for.

    "" where no file can be read.
    """
    package = Path(__file__).parent.parent
    files = [path for folder in _FOLDERS for path in _code_files(package / folder)]
    named = sorted((path.relative_to(package).as_posix(), path) for path in files)
    origin = f"{numba.__version__} {llvmlite.__version__} {caches()}"
    digest = hashlib.sha256(origin.encode())
    try:
        for name, path in named:
            content = path.read_bytes()
            digest.update(f"\n{name} {len(content)}\n".encode())
            digest.update(content)
    except OSError:
        return ""
    return digest.hexdigest() if named else ""


def _code_files(folder: Path) -> Iterator[Path]:
    """Every file that Python imports a module from, in all subfolders."""
    suffixes = tuple(all_suffixes())
    for place, folders, names in os.walk(folder):
        # What is in there was made from the sources beside it, or is no code of ours.
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (Path(place, name) for name in names if name.endswith(suffixes))


# ---- our own functions


class PackageCache(caching.FunctionCache):
    """A disk cache keyed by the package's code, that never fails the caller.

    Raises RuntimeError where there is nothing to key it by, or no folder.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        if not edition():
            raise RuntimeError("the files that compiled code comes from cannot be read")
        super().__init__(function)
        name = f"{function.__module__}.{function.__qualname__}"
        self._cache_file: Any = _Files(Path(self._cache_path), self._impl.filename_base, name)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            # Not through Numba's own method, which would first load everything that
            # compiling needs: a tenth of a second that finished code does without.
            return self._load_overload(sig, target_context)
        except Exception:
            # Whatever is wrong (another LLVM, no permission), compiling afresh gives the
            # same function.
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        # A full or read-only disk costs the next process a compilation, no more.
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


def _beside_the_module(locator: Any) -> Any:
    """A locator of Numba's that asks where a module was loaded from.

    A function's own answer is the source file, which may not have been shipped.
    """

    class Beside(locator):  # type: ignore[misc]
        @classmethod
        def from_function(cls, function: Any, path: str) -> Any:
            found = getattr(sys.modules.get(function.__module__), "__file__", None)
            return super().from_function(function, found or path)

    return Beside


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes: Any = tuple(
        _beside_the_module(locator)
        for locator in (
            caching.UserProvidedCacheLocator,
            caching.InTreeCacheLocator,
            caching.UserWideCacheLocator,
        )
    )

    def check_cachable(self, result: Any) -> bool:
        """All that we compile may be cached: `keep_out_of_caches` is for the users' caches."""
        return True


PackageCache._impl_class = _Implementation


class _Files:
    """One file for each compiled signature of a function: a digest, then a pickle.

    The digest is of the pickle and of everything that it was compiled from and for. A file
    that is damaged, incomplete, of another function or of another edition has another one,
    and is never unpickled.
    """

    def __init__(self, folder: Path, base: str, function: str) -> None:
        self._folder, self._base, self._function = folder, base, function

    def load(self, key: Any) -> Any:
        """What was saved under `key`, or None."""
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        digest, payload = content[: hashlib.blake2b.MAX_DIGEST_SIZE], content[64:]
        return pickle.loads(payload) if digest == self._digest(key, payload) else None

    def save(self, key: Any, data: Any) -> None:
        """Write a file that is there as a whole or not at all, whoever else writes it."""
        payload, path = dumps(data), self._path(key)
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:16]}")
        try:
            partial.write_bytes(self._digest(key, payload) + payload)
            os.replace(partial, path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def flush(self) -> None:
        """Forget everything about the function."""
        for path in self._folder.glob(f"{self._base}.*.nbc"):
            path.unlink(missing_ok=True)

    def _path(self, key: Any) -> Path:
        # Not of the edition: the next one overwrites the files of this one. But of the machine,
        # as `key` is: two that share a folder leave each other's files alone.
        number = hashlib.blake2b(f"{key} {caches()}".encode(), digest_size=8).hexdigest()
        return self._folder / f"{self._base}.{number}.nbc"

    def _digest(self, key: Any, payload: bytes) -> bytes:
        origin = f"{self._function}\n{edition()}\n{key}\n"
        return hashlib.blake2b(origin.encode() + payload).digest()


# ---- functions of the users


class _Mark:
    """Unpickled where this edition of the package is another one, it raises an OSError.

    Otherwise it calls a function again, as whoever left the mark has: with what compiled code
    needs of the process that it is loaded into.
    """

    def __init__(self, call: bytes) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return same_edition, (edition(), self.call)


def same_edition(text: str, call: bytes = b"") -> _Mark:
    """The mark of this edition, if `text` is what it was; OSError otherwise.

    Numba takes that for a file that is gone, and compiles anew. The caches of users name
    this function: it must be found here as long as they may exist. What else they name is
    of their edition, and so is pickled by itself in `call`.
    """
    if not text or text != edition():
        _forget_wrapper()
        raise FileNotFoundError("compiled with another edition of flatprop")
    if call:
        function, arguments = pickle.loads(call)
        function(*arguments)
    return _Mark(call)


def _forget_wrapper() -> None:
    """Have Numba compile the wrapper of a gufunc anew, too, if it is loading a gufunc.

    It keeps the wrapper, with the old code, in a file of its own, and does not see that it is
    stale. It would run the old code, or call NULL where the functions are numbered differently.
    """
    frame = inspect.currentframe()
    while frame is not None:
        file = frame.f_locals.get("self")
        if isinstance(file, caching.IndexDataCacheFile):
            index = Path(file._index_path)
            index.with_name(f"guf-{index.name}").unlink(missing_ok=True)
            return
        frame = frame.f_back


def mark(environment: Any, function: Callable[..., Any] | None = None, *arguments: Any) -> None:
    """Let functions into which this one is compiled be compiled anew after an upgrade.

    If there is a `function`, it is called with `arguments` by every process that loads them.

    `environment` is where Numba keeps the constants of a compiled function. It pickles those
    of all functions that are compiled into a cached one, and unpickles them before it loads it.
    """
    call = pickle.dumps((function, arguments)) if function else b""
    marks = (constant.call for constant in environment.consts if isinstance(constant, _Mark))
    if call not in marks:
        environment.consts.append(_Mark(call))


def keep_out_of_caches(context: Any, builder: Any) -> None:
    """Keep functions into which this code is compiled out of Numba's caches on disk.

    As for addresses, Numba warns then that it "cannot cache" a function with "dynamic globals".
    """
    module, used = builder.module, "llvm.compiler.used"
    if used in module.globals:
        return
    known = set(module.globals)
    context.add_dynamic_addr(builder, 1, info="flatprop")
    pointer = ir.IntType(8).as_pointer()
    # Nobody reads it, so LLVM would drop it.
    added = [module.globals[name].bitcast(pointer) for name in set(module.globals) - known]
    kept = ir.GlobalVariable(module, ir.ArrayType(pointer, len(added)), used)
    kept.initializer = kept.value_type(added)
    kept.linkage, kept.section = "appending", "llvm.metadata"
