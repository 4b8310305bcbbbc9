"""What was chosen for this machine, for people to read."""

import llvmlite
import numba
import numpy as np
from llvmlite import ir
from numba.core.registry import cpu_target

from flatprop.kernels.loops.masks import MaskedMoves
from flatprop.kernels.processor import caches
from flatprop.kernels.products.blocks import blocks_of
from flatprop.kernels.products.tiles import Tiles

_ELEMENTS = {"float32": ir.FloatType(), "float64": ir.DoubleType()}

_INSTRUCTIONS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "neon": "NEON"}
"""Features as LLVM names them, the widest vectors first."""


def show_config() -> None:
    """Print the versions, the processor, and how matrix products are cut for it.

    Examples
    --------
    >>> import flatprop as fp
    >>> fp.show_config()  # doctest: +SKIP
    versions: numba 0.68.0, llvmlite 0.48.0, numpy 2.4.0
    processor: znver4, AVX-512
    caches: 32 KiB, 1024 KiB, 32768 KiB
    products in float32: tiles of 12 and 4 rows by 32 columns, blocks of 320 by 528 by 1024
    products in float64: tiles of 12 and 4 rows by 16 columns, blocks of 320 by 264 by 1024
    """
    versions = ((module.__name__, module.__version__) for module in (numba, llvmlite, np))
    print("versions:", ", ".join(f"{name} {version}" for name, version in versions))
    _, name, features = cpu_target.target_context.codegen().magic_tuple()
    print(f"processor: {name}, {_instructions(features)}")
    sizes = (f"{size // 1024} KiB" for size in caches() if size)
    print("caches:", ", ".join(sizes))
    for dtype, element in _ELEMENTS.items():
        tiles = Tiles(ir.IRBuilder(), element, MaskedMoves.of(features))
        rows, columns = " and ".join(map(str, tiles.heights)), tiles.vectors * tiles.lanes
        blocks = blocks_of(tiles.itemsize)
        print(
            f"products in {dtype}: tiles of {rows} rows by {columns} columns, "
            f"blocks of {blocks.depth} by {blocks.rows} by {blocks.columns}"
        )


def _instructions(features: str) -> str:
    """The widest vectors that LLVM may use."""
    names = features.split(",")
    for feature, name in _INSTRUCTIONS.items():
        if f"+{feature}" in names:
            return name
    return "as LLVM knows it"
