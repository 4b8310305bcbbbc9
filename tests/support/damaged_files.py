"""Files of every kind that flatprop reads, and what may have happened to them on the way."""

import contextlib
import importlib.util
import io
import json
import struct
import tracemalloc
import warnings
from functools import cache

import numba
import numpy as np
from hypothesis import strategies as st
from safetensors.numpy import load, save

import flatprop as fp
from flatprop.cli import main as command
from flatprop.export.random_states import plain_state

# ---- the files


@numba.njit
def bent(z):
    return z + 0.1 * z * z, 1.0 + 0.2 * z


@numba.njit
def fourth(prediction, y):
    d = prediction - y
    return d**4, 4.0 * d**3


FUNCTIONS = {"bent": bent, "fourth": fourth}
X = np.random.default_rng(0).normal(size=(40, 3))
Y = np.sin(X[:, :2])


def plain():
    layers = [fp.Dense(5, "mish"), fp.Dense(2)]
    return fp.Network(3, layers, loss=fp.losses.Huber(0.7), rng=4)


def classes():
    rng = np.random.Generator(np.random.MT19937(3))
    return fp.Network(3, [fp.Dense(3, "softmax")], "cross_entropy", "float64", rng)


def other():
    rng = np.random.Generator(np.random.Philox(3))
    loss = fp.losses.Quantile(0.9)
    return fp.Network(3, [fp.Dense(4, "relu"), fp.Dense(2, "exp")], loss, rng=rng)


def own():
    rng = np.random.Generator(np.random.SFC64(3))
    return fp.Network(3, [fp.Dense(2, bent)], loss=fourth, rng=rng)


NETWORKS = {"plain": plain, "classes": classes, "other": other, "own": own}

BATCHES = [(X[:20], Y[:20]), (X[20:], Y[20:])]
TRAININGS = {
    "in memory": lambda net, **o: net.fit(
        X, Y, epochs=6, batch_size=16, validation_data=(X, Y), patience=9, **o
    ),
    "full batch": lambda net, **o: net.fit(
        X,
        Y,
        epochs=6,
        batch_size=None,
        optimizer=fp.SGD(fp.schedules.ReduceOnPlateau(0.01, patience=1), momentum=0.9),
        **o,
    ),
    "stream": lambda net, **o: net.fit(BATCHES, epochs=6, optimizer="rprop", **o),
}


@cache
def contents(folder):
    """Each kind of file, by name, as bytes."""
    found = {}
    for name, make in NETWORKS.items():
        make().save(folder / "net")
        found[name] = (folder / "net").read_bytes()
    for name, train in TRAININGS.items():
        train(plain(), callbacks=[fp.Checkpoint(folder / "run", every=4)])
        found[name] = (folder / "run").read_bytes()
    return found


# ---- what may have happened to them

DEEP = "[" * 100_000
ODD = [
    *(None, True, False, -1, 0, 1, 2, 3, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**400),
    *(0.5, -0.0, 1.0, 1e-320, 1e300, float("inf"), float("nan"), 3e7),
    *("", "x", "tanh", "softmax", "sum", "F32", "F64", "I64", "BF16", "F4", "U8", "BOOL"),
    *("float32", "mse", "huber", "PCG64", "MT19937", "\ud800", "é" * 99, "n\nn", "x" * 100_000),
    *([], {}, [[]], [0, 0], [3, "tanh"], {"own": "bent"}, {"name": "mse"}, [1] * 3000),
]


def places(node, path=()):
    """The way to every value in what JSON holds."""
    yield path
    if isinstance(node, dict):
        for key in node:
            yield from places(node[key], (*path, key))
    elif isinstance(node, list):
        for index in range(min(len(node), 12)):
            yield from places(node[index], (*path, index))


def changed(draw, root):
    """The same with one value replaced, left out, renamed or doubled."""
    paths = list(places(root))
    path = paths[draw(st.integers(0, len(paths) - 1))]
    if not path:
        return draw(st.sampled_from(ODD))
    parent = root
    for step in path[:-1]:
        parent = parent[step]
    last = path[-1]
    match draw(st.sampled_from(["odd", "near", "left out", "renamed", "swapped"])):
        case "odd":
            parent[last] = draw(st.sampled_from(ODD))
        case "near" if isinstance(parent[last], (int, float)):
            parent[last] += draw(st.sampled_from([-1, 1, -1e9, 2**32, -parent[last]]))
        case "near" if isinstance(parent[last], list):
            parent[last] = parent[last] + parent[last][:1]
        case "renamed" if isinstance(parent, dict):
            parent[draw(st.sampled_from(["x", "own", "name", "params"]))] = parent.pop(last)
        case "swapped":
            other_path = paths[draw(st.integers(0, len(paths) - 1))]
            value = root
            for step in other_path:
                value = value[step]
            parent[last] = json.loads(json.dumps(value))
        case _:
            del parent[last]
    return root


def with_header(content, text, longer=0):
    """The tensors of a file behind another header."""
    length = struct.unpack("<Q", content[:8])[0]
    return struct.pack("<Q", max(len(text) + longer, 0)) + text + content[8 + length :]


def header_of(content):
    length = struct.unpack("<Q", content[:8])[0]
    return content[8 : 8 + length]


def written(value):
    return json.dumps(value).encode()


NUMBERS = [0, -1, 1, 2, 7, -(2**63), 2**63 - 1, 10**9, -(10**9), 1e300, float("nan"), np.inf]


def other_tensors(draw, content):
    """One tensor with another number, shape, dtype or name, or gone."""
    tensors = {name: array.copy() for name, array in load(content).items()}
    metadata = json.loads(header_of(content))["__metadata__"]
    name = draw(st.sampled_from(sorted(tensors)))
    array = tensors[name]
    match draw(st.sampled_from(["number", "shape", "dtype", "left out", "longer", "renamed"])):
        case "number" if array.size:
            with np.errstate(all="ignore"):
                place = draw(st.integers(0, array.size - 1))
                array.flat[place] = np.float64(draw(st.sampled_from(NUMBERS))).astype(array.dtype)
        case "shape":
            tensors[name] = array.reshape(draw(st.sampled_from([(-1, 1), (1, -1), (1, 1, -1)])))
        case "dtype":
            kind = draw(st.sampled_from(["f2", "f4", "f8", "i8", "i4", "u1", "?"]))
            with np.errstate(all="ignore"):
                tensors[name] = array.astype(kind)
        case "longer":
            count = draw(st.sampled_from([1, 2, 1000]))
            tensors[name] = np.concatenate([array.ravel()] * count + [array.ravel()[:1]])
        case "renamed":
            tensors[draw(st.sampled_from(["x", "losses", "best_params"]))] = tensors.pop(name)
        case _:
            del tensors[name]
    return save(tensors, metadata=metadata)


def other_bytes(draw, content):
    """Bytes changed, cut off, doubled or put in, anywhere."""
    # the header and what is near its end are more telling than the numbers
    limit = draw(st.sampled_from([9, 200, len(header_of(content)) + 16, len(content)]))
    place = draw(st.integers(0, min(limit, len(content)) - 1))
    length = draw(st.sampled_from([1, 1, 1, 2, 8, 64]))
    match draw(st.sampled_from(["bit", "byte", "cut", "doubled", "zeros", "more", "text"])):
        case "bit":
            flipped = content[place] ^ (1 << draw(st.integers(0, 7)))
            return content[:place] + bytes([flipped]) + content[place + 1 :]
        case "byte":
            new = draw(st.binary(min_size=length, max_size=length))
            return content[:place] + new + content[place + length :]
        case "cut":
            return content[:place] + content[place + draw(st.sampled_from([1, 8, 10**9])) :]
        case "doubled":
            return content[:place] + content[place : place + length] * 2 + content[place:]
        case "zeros":
            return content[:place] + bytes(length) + content[place + length :]
        case "more":
            return content + draw(st.binary(min_size=1, max_size=16))
        case _:
            header = header_of(content)
            odd = draw(st.sampled_from([DEEP, '{"a":1,"a":2}', "[1" * 9, "\\ud800", "1e999", "é"]))
            place = min(place, len(header))
            text = header[:place] + odd.encode() + header[place:]
            return with_header(content, text, draw(st.sampled_from([0, 0, -1, 1, 2**40])))


@st.composite
def damaged(draw, content):
    """A file of this content to which one to three things have happened."""
    levels = ["bytes", "header", *["description"] * 4, *["tensors"] * 2]
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        kind = draw(st.sampled_from(levels))
        try:
            if kind == "tensors":
                content = other_tensors(draw, content)
                continue
            header = json.loads(header_of(content))
            if kind == "header":
                content = with_header(content, written(changed(draw, header)))
            elif kind == "description":
                said = json.loads(header["__metadata__"]["flatprop"])
                said = changed(draw, said)
                header["__metadata__"]["flatprop"] = json.dumps(said)
                content = with_header(content, written(header))
            else:
                content = other_bytes(draw, content)
        except Exception:  # what was done before leaves nothing to take apart
            if content:
                content = other_bytes(draw, content + bytes(8))
    return content


# ---- what may come of reading them


def state_of(net):
    return net.params.tobytes(), json.dumps(plain_state(net.rng))


def load_and_use(path):
    """`fp.load`, and whatever is done with a network; the ValueError or OSError, if any."""
    try:
        net = fp.load(path, FUNCTIONS)
    except (ValueError, OSError) as error:
        return error
    with np.errstate(all="ignore"):
        net.predict(np.ones((2, net.inputs)))
    net.rng.integers(0, 7, 3)
    return None


def resume(kind, path):
    """`fit(resume=path)` as the training of this kind was called; the error, if any."""
    net = plain()
    before = state_of(net)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fp.DivergenceWarning)
            TRAININGS[kind](net, resume=path)
    except (ValueError, OSError) as error:
        assert state_of(net) == before, "changed, in spite of an error"
        return error
    return None


def ask_command(path, folder):
    """The command line's predictions; what it printed as an error, if it failed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = command(["predict", str(path), str(folder / "three.csv")])
    if status == 0:
        out.getvalue().encode()
        return None
    assert out.getvalue() == ""
    assert status in (1, 2)
    lines = err.getvalue().splitlines()
    assert max(map(len, lines)) <= 79
    return " ".join(lines).removeprefix("flatprop: error: ")


def outcomes(kind, content, folder):
    """What comes of reading it in each way: texts of errors, or None."""
    path = folder / "damaged"
    path.write_bytes(content)
    (folder / "three.csv").write_text("a,b,c\n1,2,3\n4,5,6\n")
    results = [load_and_use(path)]
    if kind in TRAININGS:
        results.append(resume(kind, path))
    if importlib.util.find_spec("polars"):  # which reads the table
        results.append(ask_command(path, folder))
    return [None if result is None else str(result) for result in results]


def check(kind, content, folder):
    """Read a file in every way, and raise AssertionError unless that ends as it should."""
    tracemalloc.start()
    try:
        found = outcomes(kind, content, folder)
        most = 3 * len(content) + 50e6
        assert tracemalloc.get_traced_memory()[1] < most, "too much memory"
    finally:
        tracemalloc.stop()
    for text in found:
        if text is not None:
            assert "\n" not in text, "more than one line"
            assert len(text) < 1500, "a long message"
