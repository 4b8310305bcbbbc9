"""Files are written beside their place and renamed: a reader never sees half of one."""

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import IO, Any

from flatprop.validation import checks

fcntl: Any
try:
    import fcntl
except ImportError:  # on Windows, where an open file cannot be removed
    fcntl = None

MOST_WRITERS = 16
"""So many may write to one name at the same time."""


def write_in_one_step(path: str | PathLike[str], content: bytes) -> None:
    """Write a file, whole or not at all, also where the process is killed or the power fails.

    What a killed writer left beside the file is removed by the next call for the same path.

    Parameters
    ----------
    path
        Where to write. An existing file is replaced and its permissions are kept. A link stays,
        and the file behind it is replaced.
    content
        What the file is to hold.

    Raises
    ------
    OSError
        If the file cannot be written. What was there before is then still there.
    """
    write_together({path: content})


def write_together(contents: Mapping[str | PathLike[str], bytes]) -> None:
    """Write files by their paths; all of them lie on the disk before the first is renamed."""
    with contextlib.ExitStack() as stack:
        for put in [stack.enter_context(_beside(*item)) for item in contents.items()]:
            put()


def checked_target(path: str | PathLike[str]) -> Path:
    """The file that `path` leads to, behind links; an error if there cannot be such a file."""
    try:
        target = Path(checks.file_name("path", path)).resolve()
    except RuntimeError as error:  # links that lead to each other, before Python 3.13
        raise OSError(errno.ELOOP, str(error)) from None
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file in it")
    if target.exists() and not target.is_file():  # a device, which a rename would remove
        raise FileExistsError(f"{path} is not a regular file, and would be replaced by one")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {target.parent}")
    return target


@contextlib.contextmanager
def _beside(path: str | PathLike[str], content: bytes) -> Iterator[Callable[[], None]]:
    """The content in a file beside its place; what is yielded puts it there."""
    target = checked_target(path)
    temporary, file = _created_beside(target)

    def put() -> None:
        if target.exists():
            temporary.chmod(target.stat().st_mode)
        if fcntl is None:
            file.close()
        temporary.replace(target)
        _sync_folder(target.parent)

    with file:  # and with it its lock, to the end
        try:
            file.write(content)
            file.flush()
            # The rename may reach the disk before the content does, unless that is there already.
            os.fsync(file.fileno())
            yield put
        finally:
            if _is_still(temporary, file):  # it was not renamed
                if fcntl is None:
                    file.close()
                temporary.unlink(missing_ok=True)


def _created_beside(target: Path) -> tuple[Path, IO[bytes]]:
    """A new, locked file in the folder of `target`; leftovers of killed writers are removed."""
    for _ in range(200):
        created = _try_beside(target)
        if created is not None:
            return created
        time.sleep(0.01)
    raise FileExistsError(
        f"{target}: {MOST_WRITERS} others are writing to this file; try again later"
    )


def _try_beside(target: Path) -> tuple[Path, IO[bytes]] | None:
    """The same, or None where all names are taken."""
    chosen: tuple[Path, IO[bytes]] | None = None
    for place in _places(target):
        _remove_leftover(place)
        if chosen is not None:
            continue
        try:
            file = open(place, "xb")  # noqa: SIM115
        except FileExistsError:  # somebody else is writing to it
            continue
        except OSError as error:  # names the target: nobody knows the temporary file
            raise OSError(error.errno, error.strerror, str(target)) from None
        if _lock(file) and _is_still(place, file):
            chosen = place, file
        else:
            file.close()
    return chosen


def _places(target: Path) -> Iterator[Path]:
    """The names under which `target` may be written; short, whatever its own length is."""
    mark = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]
    for number in range(MOST_WRITERS):
        yield target.with_name(f".fp-{mark}-{number}")


def _remove_leftover(place: Path) -> None:
    """Remove a temporary file unless its writer is alive, and so has it locked."""
    try:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(place, flags)
    except OSError:
        return
    with open(descriptor, "rb") as file, contextlib.suppress(OSError):
        if fcntl is None:
            file.close()
            place.unlink()
        elif _lock(file) and _is_still(place, file):
            place.unlink()


def _lock(file: IO[bytes]) -> bool:
    """Whether the file is now locked by this call; the end of a process unlocks it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: nothing is swept there, everything is written
        return file.writable()
    return True


def _is_still(place: Path, file: IO[bytes]) -> bool:
    """Whether the name still belongs to this open file; it may have been renamed or removed."""
    try:
        return os.path.samestat(os.lstat(place), os.fstat(file.fileno()))
    except (OSError, ValueError):  # the second of a file that was closed
        return False


def _sync_folder(folder: Path) -> None:
    """Have the rename itself on the disk, where the system can."""
    try:
        descriptor: Any = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows; or a folder that may be written but not read
        return
    try:
        with contextlib.suppress(OSError):  # file systems that know no such thing
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
