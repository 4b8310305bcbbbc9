"""What the processor has, what is chosen for it, and that compiled code knows."""

import pytest

import flatprop as fp
from flatprop.kernels import cache, processor
from flatprop.kernels.processor import Caches
from flatprop.kernels.products.blocks import blocks_for


def write_table(folder, *rows):
    """The files in which Linux tells what caches there are."""
    for number, (level, kind, size) in enumerate(rows):
        index = folder / f"index{number}"
        index.mkdir()
        for name, content in (("level", level), ("type", kind), ("size", size)):
            (index / name).write_text(f"{content}\n")


def test_caches_as_linux_tells_them(tmp_path):
    rows = (1, "Data", "48K"), (1, "Instruction", "32K"), (2, "Unified", "1280K")
    write_table(tmp_path, *rows, (3, "Unified", "24M"))
    assert processor._on_linux(tmp_path) == {1: 48 << 10, 2: 1280 << 10, 3: 24 << 20}


def test_caches_where_nothing_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "_LINUX", str(tmp_path / "missing"))
    monkeypatch.setattr(processor.sys, "platform", "linux")
    assert processor.caches.__wrapped__() == Caches()
    write_table(tmp_path, (1, "Data", "a lot"))
    monkeypatch.setattr(processor, "_LINUX", str(tmp_path))
    assert processor.caches.__wrapped__() == Caches()


@pytest.mark.parametrize("first", [16, 32, 48, 64, 128, 192])
@pytest.mark.parametrize("second", [128, 256, 512, 1024, 2048, 12288])
@pytest.mark.parametrize("third", [0, 2048, 32768, 524288])
def test_blocks_fit_the_caches(first, second, third):
    sizes = Caches(first << 10, second << 10, third << 10)
    blocks = blocks_for(sizes)
    assert blocks.depth % 16 == blocks.rows % 48 == blocks.columns % 64 == 0
    assert blocks.depth * 64 < sizes.first
    assert blocks.rows >= 48
    assert blocks.depth * blocks.rows * 4 <= max(sizes.second * 2 // 3, 48 * 4 * blocks.depth)
    # besides the rows of A there is room for two panels of B and the tiles' results
    beside = 2 * blocks.depth * 64 + blocks.rows * 64
    assert blocks.rows == 48 or blocks.depth * blocks.rows * 4 + beside <= sizes.second
    assert 256 <= blocks.columns <= 1024


def test_larger_caches_have_larger_blocks():
    small, large = blocks_for(Caches(32 << 10, 512 << 10)), blocks_for(Caches(64 << 10, 2 << 20))
    assert small.depth < large.depth
    assert small.rows < large.rows


def test_compiled_code_is_kept_apart_by_caches(tmp_path, monkeypatch):
    here, place = cache.edition.__wrapped__(), cache._Files(tmp_path, "f", "f")._path("key")
    monkeypatch.setattr(cache, "caches", lambda: Caches(1, 2, 3))
    assert cache.edition.__wrapped__() != here
    assert cache._Files(tmp_path, "f", "f")._path("key") != place


def test_show_config(capsys):
    fp.show_config()
    shown = capsys.readouterr().out
    sizes = processor.caches()
    assert f"{sizes.first // 1024} KiB, {sizes.second // 1024} KiB" in shown
    blocks = blocks_for(sizes)
    assert f"blocks of {blocks.depth} by {blocks.rows} by {blocks.columns}" in shown
