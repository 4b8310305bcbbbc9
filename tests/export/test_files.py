"""Saved networks: exact, without pickle, and files that lie."""

import json
import struct
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import flatprop as fp
from flatprop.export import files
from flatprop.export.random_states import plain_state
from processes import python


def make(**options):
    layers = [fp.Dense(5, "mish"), fp.Dense(3, "exp")]
    return fp.Network(2, layers, **{"loss": fp.losses.Huber(0.7), "rng": 4, **options})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "loss", ["mse", "ssr", "poisson", fp.losses.Huber(0.1), fp.losses.Quantile(0.9)]
)
def test_round_trip_is_exact(tmp_path, dtype, loss):
    net = make(dtype=dtype, loss=loss)
    net.params[:3] = [0.1, -0.0, np.finfo(dtype).tiny / 4]
    path = tmp_path / "net.safetensors"
    net.save(path)
    twin = fp.load(path)
    assert twin.params.tobytes() == net.params.tobytes()
    assert repr(twin) == repr(net)
    assert twin.dense == net.dense
    assert twin.loss_function == net.loss_function
    assert np.array_equal(twin.predict([[1, 2]]), net.predict([[1, 2]]))


def test_training_goes_on_as_if_it_had_not_been_saved(tmp_path):
    X, y = np.random.default_rng(0).uniform(size=(2, 60, 3))
    net = make()
    net.fit(X[:, :2], y, epochs=2)
    net.save(tmp_path / "net")
    twin = fp.load(str(tmp_path / "net"))
    for each in (net, twin):
        each.fit(X[:, :2], y, epochs=2)
    assert np.array_equal(net.params, twin.params)


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_any_bit_generator_survives(tmp_path, kind):
    net = make(rng=np.random.Generator(kind(3)))
    net.save(tmp_path / "net")
    twin = fp.load(tmp_path / "net")
    assert np.array_equal(twin.rng.integers(0, 99, 20), net.rng.integers(0, 99, 20))


def test_saving_replaces_in_one_step(tmp_path):
    net = make()
    path = tmp_path / "net"
    net.save(path)
    net.params += 1
    net.save(path)
    assert np.array_equal(fp.load(path).params, net.params)
    assert [p.name for p in tmp_path.iterdir()] == ["net"]


def test_links_and_permissions_survive(tmp_path):
    net, path, link = make(), tmp_path / "net", tmp_path / "link"
    net.save(path)
    path.chmod(0o600)
    link.symlink_to(path)
    net.params += 1
    net.save(link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert np.array_equal(fp.load(path).params, net.params)


def test_numpy_numbers_as_parameters_of_a_loss(tmp_path):
    net = make(loss=fp.losses.Huber(np.float32(1.5)))
    net.save(tmp_path / "net")
    assert fp.load(tmp_path / "net").loss_function == fp.losses.Huber(1.5)


def test_extra_information_is_kept(tmp_path):
    files.save(make(), tmp_path / "net", extra={"columns": ["a", "b"], "mean": [0.1, 2.5]})
    assert files.load(fp.Network, tmp_path / "net")[1] == {
        "columns": ["a", "b"],
        "mean": [0.1, 2.5],
    }
    make().save(tmp_path / "plain")
    assert files.load(fp.Network, tmp_path / "plain")[1] is None


def test_the_file_is_readable_by_anyone(tmp_path):
    net = make()
    net.save(tmp_path / "net")
    assert np.array_equal(load_file(tmp_path / "net")["params"], net.params)


def altered(tmp_path, change):
    """A saved network whose tensors or description `change` has made a lie of."""
    net = make()
    description = files.described(net)
    tensors = {"params": net.params.copy()}
    change(tensors, description)
    path = tmp_path / "liar"
    save_file(tensors, path, metadata={"flatprop": json.dumps(description)})
    return path


def state(kind, **fields):
    """A change to the random state: that of another bit generator, with these fields."""

    def change(tensors, description):
        description["rng"] = plain_state(np.random.Generator(kind(3)))
        description["rng"]["state"] |= fields.pop("state", {})
        description["rng"] |= fields

    return change


def tall(depth):
    nested = []
    for _ in range(depth):
        nested = [nested]
    return nested


LIES = {
    "too few parameters": (
        lambda t, d: t.update(params=t["params"][:-1].copy()),
        r"must be F32 of shape \(33,\), but it is F32 of shape \(32,\)",
    ),
    "other dtype": (
        lambda t, d: t.update(params=t["params"].astype("float64")),
        "contradicts itself: .* is F64",
    ),
    "half precision": (lambda t, d: t.update(params=t["params"].astype("f2")), "is F16 of"),
    "a column of parameters": (lambda t, d: t.update(params=t["params"][:, None]), r"\(33, 1\)"),
    "no parameters": (lambda t, d: t.update(other=t.pop("params")), "holds no parameters"),
    "newer format": (lambda t, d: d.update(format="flatprop 9"), "'flatprop 9'"),
    "unknown activation": (lambda t, d: d.update(layers=[[5, "mush"], [3, "exp"]]), "mush"),
    "no activation": (lambda t, d: d.update(layers=[[5, None]]), "must be a name, got None"),
    "an own one without a name": (lambda t, d: d.update(layers=[[5, {"own": 1}]]), "without a na"),
    "a hidden softmax": (lambda t, d: d.update(layers=[[5, "softmax"], [3, "exp"]]), "only the l"),
    "negative width": (lambda t, d: d.update(layers=[[-5, "mish"]]), "at least 1"),
    "width of 5.0": (lambda t, d: d.update(layers=[[5.0, "mish"], [3, "exp"]]), "whole number"),
    "width of true": (lambda t, d: d.update(layers=[[True, "mish"], [3, "exp"]]), "whole number"),
    "enormous width": (lambda t, d: d.update(layers=[[10**400, "exp"]]), "below 2.48"),
    "a layer of three": (lambda t, d: d.update(layers=[[5, "mish", 1]]), "1 is not of l1, l2 and"),
    "a layer of four": (
        lambda t, d: d.update(layers=[[5, "mish", {}, 1]]),
        r"\[units, activation",
    ),
    "no layers": (lambda t, d: d.pop("layers"), "layers"),
    "empty layers": (lambda t, d: d.update(layers=[]), "layers must be a list"),
    "inputs of null": (lambda t, d: d.update(inputs=None), "inputs must be a whole number"),
    "other inputs": (lambda t, d: d.update(inputs=3), r"of shape \(38,\)"),
    "unknown loss": (lambda t, d: d.update(loss={"name": "hinge"}), "hinge"),
    "loss of 1": (lambda t, d: d.update(loss=1), "the loss must have a name"),
    "unknown parameter of a loss": (
        lambda t, d: d.update(loss={"name": "huber", "epsilon": 1}),
        "epsilon",
    ),
    "delta of true": (lambda t, d: d["loss"].update(delta=True), "delta .* must be a number"),
    "delta below 0": (lambda t, d: d["loss"].update(delta=-1.0), "delta must be positive"),
    "delta of infinity": (lambda t, d: d["loss"].update(delta=np.inf), "delta .* a number"),
    "an own loss without reduction": (lambda t, d: d.update(loss={"own": "f"}), "no own function"),
    "a loss that softmax lacks": (
        lambda t, d: d.update(loss={"name": "cross_entropy"}),
        "needs a last layer",
    ),
    "dtype float16": (lambda t, d: d.update(dtype="float16"), "dtype must be"),
    "a list for a description": (lambda t, d: d.clear(), "format None"),
    "no random state": (lambda t, d: d.update(rng=7), "random state must be one of PCG64"),
    "unknown generator": (lambda t, d: d["rng"].update(bit_generator="PCG65"), "must be one of"),
    "what is no generator": (lambda t, d: d["rng"].update(bit_generator="seterr"), "must be one"),
    "MT19937 beyond its key": (state(np.random.MT19937, state={"pos": 10**9}), "'pos'"),
    "MT19937 of zeros": (state(np.random.MT19937, state={"key": [0] * 624}), "'key'"),
    "MT19937 with a short key": (state(np.random.MT19937, state={"key": [1] * 623}), "'key'"),
    "Philox beyond its buffer": (state(np.random.Philox, buffer_pos=99), "'buffer_pos'"),
    "Philox with a long buffer": (state(np.random.Philox, buffer=[1] * 5), "'buffer'"),
    "PCG64 without increment": (state(np.random.PCG64, state={"inc": 0}), "'inc'"),
    "PCG64 of 129 bits": (state(np.random.PCG64, state={"state": 2**128}), "'state'"),
    "PCG64 with a text": (state(np.random.PCG64, has_uint32="1"), "'has_uint32'"),
    "SFC64 with a float": (state(np.random.SFC64, state={"state": [1.0, 2, 3, 4]}), "'state'"),
    "a field too many": (state(np.random.SFC64, pos=1), "must have state, has_uint32"),
    "deep": (lambda t, d: d.update(rng=tall(300)), "nested too deeply"),
    "a list of lists": (lambda t, d: d.update(rng=tall(30)), "random state must be"),
}


@pytest.mark.parametrize("lie", LIES)
def test_files_that_lie(tmp_path, lie):
    change, message = LIES[lie]
    with pytest.raises(ValueError, match=message) as caught:
        fp.load(altered(tmp_path, change))
    assert "\n" not in str(caught.value)


def raw(tmp_path, header, tensors=b"", length=None):
    path = tmp_path / "raw"
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + tensors)
    return path


def entry(dtype="F32", shape=(2,), place=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(place), **more}


HEADERS = {
    "no JSON": (b"{", b"", "header: Expecting"),
    "no text": (b"\xff\xfe", b"", "codec can't decode"),
    "UTF-16": (json.dumps({}).encode("utf-16"), b"", "codec can't decode"),
    "deep": (b"[" * 200_000, b"", "nested too deeply"),
    "deep tables": (b'{"a":' * 100_000, b"", "nested too deeply"),
    "many values": (b"[" + b"0," * 400_000 + b"0]", b"", "more than 301,000 values"),
    "many megabytes": (b" " * 5_000_000, b"", "longer than any flatprop writes"),
    "a list": ([], b"", "no table"),
    "a name twice": (b'{"a": 1, "a": 1}', b"", "stands in it twice"),
    "a number of 5000 digits": (b'{"a": ' + b"9" * 5000 + b"}", b"", "header: "),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, b"", "must hold texts"),
    "a tensor of null": ({"a": None}, b"", "too little or too much of 'a'"),
    "a tensor without place": ({"a": {"dtype": "F32", "shape": []}}, b"", "too little or too"),
    "a dtype of 1": ({"a": entry(1)}, bytes(8), "too little or too much"),
    "a negative size": ({"a": entry(shape=(-2,))}, bytes(8), "are no sizes"),
    "a size of true": ({"a": entry(shape=(True, 2))}, bytes(8), "are no sizes"),
    "a size of 2.0": ({"a": entry(shape=(2.0,))}, bytes(8), "are no sizes"),
    "sizes that overflow": ({"a": entry(shape=(2**62, 2**62))}, bytes(8), "not as large as"),
    "three places": ({"a": entry(place=(0, 4, 8))}, bytes(8), "are no sizes"),
    "an end before its beginning": ({"a": entry(place=(8, 0))}, bytes(8), "ends before it begins"),
    "too small a place": ({"a": entry(place=(0, 4))}, bytes(4), "not as large as its shape"),
    "overlapping tensors": ({"a": entry(), "b": entry(place=(4, 12))}, bytes(12), "overlap"),
    "a gap": ({"a": entry(), "b": entry(place=(12, 20))}, bytes(20), "gap"),
    "too short": ({"a": entry()}, bytes(7), "need .* bytes, but it has"),
    "too long": ({"a": entry()}, bytes(9), "need .* bytes, but it has"),
    "nothing of ours": ({}, b"", "flatprop did not write it"),
    "a description of half a JSON": ({"__metadata__": {"flatprop": "{"}}, b"", "description in"),
    "a deep description": (
        {"__metadata__": {"flatprop": "[" * 200_000}},
        b"",
        "description in .* nested too deeply",
    ),
    "a kind that NumPy lacks": (
        {"__metadata__": {"flatprop": json.dumps(files.described(make()))}}
        | {"params": entry("BF16", (33,), (0, 66))},
        bytes(66),
        "F32 of shape .33,., but it is BF16",
    ),
    "a kind that nobody knows": (
        {"__metadata__": {"flatprop": json.dumps(files.described(make()))}}
        | {"params": entry("F4\n" * 99, (33,), (0, 17))},
        bytes(17),
        "too little or too much of 'params'",
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_lie(tmp_path, name):
    header, tensors, message = HEADERS[name]
    with pytest.raises(ValueError, match=message) as caught:
        fp.load(raw(tmp_path, header, tensors))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("length", [0, 7, 2**63, 2**64 - 1])
def test_lengths_of_headers_that_lie(tmp_path, length):
    with pytest.raises(ValueError, match="damaged"):
        fp.load(raw(tmp_path, {}, length=length))
    (tmp_path / "raw").write_bytes(b"\0" * min(length, 9))
    with pytest.raises(ValueError, match="damaged"):
        fp.load(tmp_path / "raw")


def test_nothing_is_made_before_the_sizes_agree(tmp_path):
    def change(tensors, description):
        description.update(layers=[[30_000_000, "relu"], [1, "identity"]])

    path = altered(tmp_path, change)
    tracemalloc.start()
    with pytest.raises(ValueError, match="contradicts itself"):
        fp.load(path)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_reading_takes_little_memory(tmp_path):
    net = fp.Network(1000, [fp.Dense(1000), fp.Dense(1)], rng=0)
    X = np.zeros((3, 1000))
    net.fit(X, X[:, :1], epochs=1, callbacks=fp.Checkpoint(tmp_path / "run"))
    net.save(tmp_path / "net")
    for name, most in (("net", 1.1), ("run", 0.4)):  # a network is a third of its checkpoint
        tracemalloc.start()
        fp.load(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < most * (tmp_path / name).stat().st_size + 1e5
        tracemalloc.stop()


def test_a_file_that_is_cut_off_while_it_is_read(tmp_path, monkeypatch):
    fp.Network(100, [fp.Dense(100)]).save(tmp_path / "net")  # more than is read at once
    content = (tmp_path / "net").read_bytes()

    def shorter(file, path):
        (tmp_path / "net").write_bytes(content[:-9])
        return read_description(file, path)

    read_description = files.read_description
    monkeypatch.setattr(files, "read_description", shorter)
    with pytest.raises(ValueError, match="ended while it was read"):
        fp.load(tmp_path / "net")


def test_more_beside_the_network_than_a_header_holds(tmp_path):
    for extra in (list(range(400_000)), "x" * 5_000_000, tall(200_000)):
        with pytest.raises(ValueError, match="too much for a header"):
            files.save(make(), tmp_path / "net", extra=extra)
    assert not list(tmp_path.iterdir())


def test_files_that_are_not_networks(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        fp.load(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="a folder"):
        fp.load(tmp_path)
    text = tmp_path / "text"
    text.write_text("hello")
    with pytest.raises(ValueError, match="not a safetensors file"):
        fp.load(text)
    net = make()
    net.save(tmp_path / "net")
    content = (tmp_path / "net").read_bytes()
    (tmp_path / "half").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="damaged"):
        fp.load(tmp_path / "half")
    save_file({"params": net.params}, tmp_path / "foreign")
    with pytest.raises(ValueError, match="did not write it"):
        fp.load(tmp_path / "foreign")


def test_resuming_what_cannot_be_resumed(tmp_path):
    X, y = np.random.default_rng(0).uniform(size=(2, 60, 3))
    net = make()
    net.save(tmp_path / "net")
    net.fit(X[:, :2], y, epochs=2, callbacks=fp.Checkpoint(tmp_path / "run"))
    before = net.params.copy()
    for path, options, message in (
        ("net", {}, "no training to resume"),
        ("run", {"batch_size": 5}, "batch_size = 32"),
        ("run", {"optimizer": "rmsprop"}, "optimizer = Adam"),
        ("run", {"epochs": 1}, "has 2 epochs behind it, more than epochs=1"),
        ("run", {"trainable": np.arange(33) > 3}, "trainable = a mask"),
    ):
        with pytest.raises(ValueError, match=message):
            net.fit(X[:, :2], y, resume=tmp_path / path, **options)
    other = fp.Network(2, [fp.Dense(3, "exp")], loss=fp.losses.Huber(0.7))
    with pytest.raises(ValueError, match="other layers"):
        other.fit(X[:, :2], y, resume=tmp_path / "run")
    assert np.array_equal(net.params, before)


def test_a_folder_that_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        make().save(tmp_path / "nowhere" / "net")


@pytest.mark.parametrize("path", [True, 3, 2.5, None, b"\0"])
def test_what_is_no_name_of_a_file(path):
    net = make()
    for use in (fp.load, net.save, lambda p: net.fit([[1, 2]], [[1] * 3], resume=p or 0)):
        with pytest.raises((TypeError, ValueError), match=r"name of a file|null byte"):
            use(path)


def test_json_of_any_depth_on_a_small_stack():
    """The stack of a thread may end before Python's own limit is reached."""
    script = """
import sys, threading
from flatprop.export.tensor_file import parsed
sys.setrecursionlimit(10**6)
threading.stack_size(2**17)
found = []
def parse():
    for text in ("[" * 140_000, '{"a":' * 100_000, '["' + "[" * 10**5 + '"]', "[" * 90 + "]" * 90):
        try:
            found.append(parsed(text))
        except ValueError as error:
            found.append(str(error))
thread = threading.Thread(target=parse)
thread.start()
thread.join()
assert found[:2] == ["it is nested too deeply"] * 2, found[:2]
assert found[2] == ["[" * 10**5]
assert str(found[3]) == "[" * 90 + "]" * 90
"""
    python(script)


def test_a_random_state_that_would_not_be_read_is_not_written(tmp_path):
    net = make()
    state = net.rng.bit_generator.state
    state["state"]["inc"] -= 1  # even, as NumPy never makes it
    net.rng.bit_generator.state = state
    net.save(tmp_path / "net")
    assert np.array_equal(fp.load(tmp_path / "net").params, net.params)


def test_functions_that_are_no_table(tmp_path):
    make().save(tmp_path / "net")
    with pytest.raises(TypeError, match="functions must be a table"):
        fp.load(tmp_path / "net", functions="act")
