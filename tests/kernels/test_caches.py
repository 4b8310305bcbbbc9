"""Compiled code on disk: found, out of date, damaged."""

import compileall
import os
import pickle
import random
import runpy
import shutil

import pytest

import flatprop as fp
from flatprop.kernels import cache
from flatprop.kernels.compile import entry_point
from flatprop.kernels.network import entry_points
from processes import PACKAGE, edit, python, user

pytestmark = pytest.mark.slow  # each test compiles, most of them in processes of their own

PREDICT = """
import flatprop as fp
net = fp.Network(1, [fp.Dense(1, "leaky_relu")], dtype="float64")
net.params = [1.0, 0.0]
print(net.predict([[-1.0]])[0, 0], fp.kernels.network.entry_points.predict._cache_hits.total())
"""


def test_the_second_process_finds_the_first_one_s_code(copy_of_package):
    environment, _ = copy_of_package
    assert python(PREDICT, **environment).split() == ["-0.01", "0"]
    assert python(PREDICT, **environment).split() == ["-0.01", "1"]


def test_without_any_cache_folder(copy_of_package, tmp_path):
    environment, folder = copy_of_package
    # Files where the folders would have to be: not writable for root either.
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    for entry in [*folder.rglob("__init__.py")]:
        (entry.parent / "__pycache__").write_text("")
    environment |= {
        "NUMBA_CACHE_DIR": str(nowhere / "cache"),
        "HOME": str(nowhere),
        "XDG_CACHE_HOME": str(nowhere),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    assert python(PREDICT, **environment).split() == ["-0.01", "0"]
    assert python(PREDICT, **environment).split() == ["-0.01", "0"]


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="root can write to read-only folders"
)
def test_with_a_read_only_cache_folder(copy_of_package, tmp_path):
    environment, folder = copy_of_package
    for path in (tmp_path / "cache", folder / "kernels"):
        path.mkdir(exist_ok=True)
        path.chmod(0o555)
    environment |= {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent"}
    assert python(PREDICT, **environment).split() == ["-0.01", "0"]
    for path in (tmp_path / "cache", folder / "kernels"):
        path.chmod(0o755)


def test_a_disk_that_fills_up(copy_of_package, tmp_path):
    environment, _ = copy_of_package
    script = """
import os
def full(*_):
    raise OSError(28, "No space left on device")
os.replace = full
"""
    assert python(script + PREDICT, **environment).split() == ["-0.01", "0"]
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


# ---- code that is out of date


def test_an_edited_formula_is_not_served_from_the_cache(copy_of_package):
    environment, folder = copy_of_package
    python(PREDICT, **environment)
    edit(folder)
    assert python(PREDICT, **environment).split() == ["-0.5", "0"]


def test_every_file_with_code_belongs_to_the_edition(copy_of_package):
    _, folder = copy_of_package

    def edition():
        return runpy.run_path(str(folder / "kernels" / "cache.py"))["edition"]()

    deeper = folder / "kernels" / "loops" / "inner"
    deeper.mkdir(parents=True)
    changes = [
        lambda: (deeper / "new.py").write_text("x = 1"),
        lambda: (deeper / "new.py").write_text("x = 2"),
        lambda: (deeper / "new.py").rename(deeper.parent / "new.py"),
        lambda: (deeper / "bytecode.pyc").write_bytes(b"123"),
        lambda: edit(folder),
    ]
    found = [edition()]
    assert len(found[0]) == 64
    (folder / "kernels" / "__pycache__").mkdir()
    (folder / "kernels" / "__pycache__" / "cached.pyc").write_bytes(b"123")
    assert edition() == found[0]
    for change in changes:
        change()
        found.append(edition())
    assert len(set(found)) == len(found)


def test_compiled_code_comes_from_the_folders_of_the_edition():
    makers = ("flatprop.kernels.compile import", "llvmlite import", "numba.extending")
    for path in PACKAGE.rglob("*.py"):
        if any(maker in path.read_text(encoding="utf-8") for maker in makers):
            assert path.relative_to(PACKAGE).parts[0] in cache._FOLDERS, path


def test_an_application_without_sources(copy_of_package):
    environment, folder = copy_of_package
    sources = folder.with_name("sources")
    folder.rename(sources)

    def ship():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sources, folder)
        compileall.compile_dir(folder, quiet=1, legacy=True)
        for path in folder.rglob("*.py"):
            path.unlink()

    ship()
    assert python(PREDICT, **environment).split() == ["-0.01", "0"]
    assert python(PREDICT, **environment).split() == ["-0.01", "1"]
    edit(sources)
    ship()
    assert python(PREDICT, **environment).split() == ["-0.5", "0"]


def test_where_no_file_can_be_read_nothing_is_cached(copy_of_package, tmp_path):
    environment, folder = copy_of_package
    archive = shutil.make_archive(str(tmp_path / "package"), "zip", tmp_path, "flatprop")
    shutil.rmtree(folder)
    environment["PYTHONPATH"] = archive
    assert python(PREDICT, **environment).split() == ["-0.01", "0"]
    assert not list(tmp_path.rglob("*.nb?"))


# ---- damaged files


class Explosive:
    """What must not be unpickled."""

    def __reduce__(self):
        return explode, ()


def explode():
    raise AssertionError("a damaged file was unpickled")


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def damages(content, rng, flips):
    """Damaged copies of the content of a file."""
    yield from (flipped(content, rng.randrange(8 * len(content))) for _ in range(flips))
    yield from (content[:length] for length in (0, 1, 63, 64, 65, len(content) - 1))
    yield content + b"\0"
    yield bytes(len(content))
    yield content[:64] + pickle.dumps("something else")


def test_a_damaged_file_is_never_unpickled(tmp_path):
    files = cache._Files(tmp_path, "base", "module.function")
    files.save("key", ["data"])
    assert files.load("key") == ["data"]
    assert files.load("another") is None
    files.save("key", Explosive())
    with pytest.raises(AssertionError):
        files.load("key")
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for content in damages(whole, random.Random(0), 200):
        path.write_bytes(content)
        assert files.load("key") is None


def test_a_file_of_another_function_key_or_edition_is_none(tmp_path, monkeypatch):
    files = cache._Files(tmp_path, "base", "module.function")
    files.save("key", Explosive())
    (path,) = tmp_path.iterdir()
    files.save("other", ["data"])
    (other,) = set(tmp_path.iterdir()) - {path}
    other.write_bytes(path.read_bytes())
    assert files.load("other") is None
    assert cache._Files(tmp_path, "base", "module.namesake").load("key") is None
    monkeypatch.setattr(cache, "edition", lambda: "the next")
    assert files.load("key") is None
    files.save("key", ["data"])  # in the same place: editions do not pile up
    assert files.load("key") == ["data"]
    assert set(tmp_path.iterdir()) == {path, other}
    files.flush()
    assert not list(tmp_path.iterdir())


def test_a_damaged_kernel_is_not_loaded(tmp_path):
    """The real files, through Numba's own way to them."""
    fp.Network(1, [fp.Dense(1)], dtype="float64").predict([[1.0]])
    compiled = entry_points.predict.overloads.values()  # more, where other tests called it
    result = next(r for r in compiled if "float64" in str(r.signature))
    again = entry_point(entry_points.predict.py_func)
    stored = again._cache
    stored._cache_file._folder = tmp_path
    again.compile(result.signature.args)
    (path,) = tmp_path.iterdir()
    whole, context = path.read_bytes(), result.target_context
    for content in damages(whole, random.Random(1), 40):
        path.write_bytes(content)
        assert stored.load_overload(result.signature.args, context) is None
    path.write_bytes(whole)
    assert stored.load_overload(result.signature.args, context) is not None


EVERYTHING = """
import sys
import numpy as np
import flatprop as fp
from flatprop.kernels.network import entry_points

results = []
for dtype in sys.argv[1:]:
    layers = [fp.Dense(4, "tanh"), fp.Dense(2, "leaky_relu")]
    net = fp.Network(3, layers, dtype=dtype, rng=0)
    x = np.linspace(-1, 1, 15, dtype=dtype).reshape(5, 3)
    y = np.ones((5, 2), dtype)
    results += [net.predict(x).tobytes().hex(), net.loss(x, y).hex()]
    s, out = fp.specialize(net), np.empty((5, 2), dtype)
    s.forward(net.params, x, out)
    results += [out.tobytes().hex(), s.sgd_steps(net.params, x, y, None, 0.1, 3).hex()]
    table = fp.c_functions(dtype, only=["workspace_size", "gradient_workspace_size"])
    network = fp.c_network(net)
    results += [table.workspace_size(network, 5), table.gradient_workspace_size(network, 5)]
print(*results)
"""


DAMAGED = """
import random
from flatprop.kernels import cache

load, loaded = cache._Files.load, {}

def noted(files, key):
    found = load(files, key)
    if found is not None:
        loaded[files._path(key)] = files, key
    return found

cache._Files.load = noted
EVERYTHING
whole = {path: path.read_bytes() for path in loaded}
rng = random.Random(0)
for path, (files, key) in loaded.items():
    others = [content for other, content in whole.items() if other != path]
    for number in range(100):
        changed = bytearray(whole[path])
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        assert load(files, key) is None
    for content in others:
        path.write_bytes(content)
        assert load(files, key) is None
    path.write_bytes(whole[path])
    assert load(files, key) is not None
print(len(loaded))
""".replace("EVERYTHING", EVERYTHING)


def test_flipped_bits_change_no_result(copy_of_package, tmp_path):
    environment, _ = copy_of_package
    dtypes = ["float32", "float64"]
    script, damaged = tmp_path / "everything.py", tmp_path / "damaged.py"
    script.write_text(EVERYTHING)
    damaged.write_text(DAMAGED)
    expected = user(script, environment, *dtypes)
    files = sorted((tmp_path / "cache").rglob("*.nb*"))
    assert len(files) == 4 * len(dtypes) + 2
    # whatever is damaged is not loaded
    assert user(damaged, environment, *dtypes) == [*expected, str(len(files))]
    # and is compiled again
    rng = random.Random(1)
    whole = {path: path.read_bytes() for path in files}
    for path in files:
        path.write_bytes(flipped(whole[path], rng.randrange(8 * len(whole[path]))))
    one, other = rng.sample(files, 2)
    one.write_bytes(whole[other])
    assert user(script, environment, *dtypes) == expected
    assert sorted((tmp_path / "cache").rglob("*.nb*")) == files
    script.write_text(EVERYTHING + "print(entry_points.predict._cache_hits.total())")
    # replaced by good ones
    assert user(script, environment, *dtypes) == [*expected, str(len(dtypes))]
