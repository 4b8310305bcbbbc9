"""What the processor has: its caches, read once from the system's tables."""

import contextlib
import functools
import sys
from pathlib import Path
from typing import NamedTuple

_LINUX = "/sys/devices/system/cpu/cpu0/cache"
_MACOS = {
    1: ("hw.perflevel0.l1dcachesize", "hw.l1dcachesize"),
    2: ("hw.perflevel0.l2cachesize", "hw.l2cachesize"),
    3: ("hw.perflevel0.l3cachesize", "hw.l3cachesize"),
}
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Caches(NamedTuple):
    """The bytes of the data caches that one core reads through, from the fastest on."""

    first: int = 32 << 10
    second: int = 512 << 10
    third: int = 0
    """0 where there is none."""


@functools.cache
def caches() -> Caches:
    """Those of this machine; where the system does not tell, what most have at least."""
    found = {1: 0, 2: 0, 3: 0}
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found.update(_on_macos() if sys.platform == "darwin" else _on_linux(Path(_LINUX)))
    usual = Caches()
    return Caches(found[1] or usual.first, found[2] or usual.second, found[3])


def _on_linux(folder: Path) -> dict[int, int]:
    """The size of every level, as the files of `folder` tell it."""
    found = {}
    for index in sorted(folder.glob("index*")):
        level, kind, size = (
            (index / name).read_text("ascii").strip() for name in ("level", "type", "size")
        )
        if kind in ("Data", "Unified"):
            unit = _UNITS.get(size[-1:], 1)
            found[int(level)] = int(size.rstrip("KMG")) * unit
    return found


def _on_macos() -> dict[int, int]:
    """The size of every level, as `sysctl` tells it: for the fast cores, if some are slow."""
    import ctypes

    ask = ctypes.CDLL(None).sysctlbyname
    found = {}
    for level, names in _MACOS.items():
        for name in names:
            value, size = ctypes.c_int64(0), ctypes.c_size_t(8)
            known = ask(name.encode(), ctypes.byref(value), ctypes.byref(size), None, 0) == 0
            if known and value.value > 0:
                found[level] = value.value
                break
    return found
